"""The AS-REP and the two sealed parts in it (RFC 4120 5.3, 5.4.2; RFC 6806 section 11)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import AccountChanges
from kdc.crypto.etypes import CHECKSUM_TYPES, KEY_BYTES, EncType, KeyUsage, verify_checksum
from kdc.wire.constants import KdcOption, MessageType, PaType, TicketFlag
from kdc.wire.rfc4120 import Checksum, HostAddress
from pki import asn1
from tests.kdc.builders import (
    BODY,
    KRBTGT,
    NOW,
    REALM,
    Kdc,
    Opened,
    PkinitRequest,
    as_req,
    body_for,
    enc_timestamp,
    key_of,
    name,
    open_password_reply,
    open_reply,
    padata,
    random_keys,
)


def log_on(kdc: Kdc, request: PkinitRequest | None = None) -> Opened:
    sent = (request or PkinitRequest()).build()
    return open_reply(kdc.ask(sent.message), sent, kdc)


def test_as_rep_names_client_and_krbtgt(kdc: Kdc) -> None:
    """RFC 4120 5.4.2: version, type, names; the ticket's part has the same names and times."""
    as_rep = log_on(kdc).as_rep
    assert (as_rep.pvno, as_rep.msg_type) == (5, MessageType.AS_REP)
    assert (as_rep.crealm, as_rep.cname) == (REALM, name("alice"))
    assert (as_rep.ticket.tkt_vno, as_rep.ticket.sname) == (5, KRBTGT)


def test_ticket_part_of_a_logon(kdc: Kdc) -> None:
    """RFC 4120 5.3: what the ticket-granting server will read."""
    ticket = log_on(kdc).ticket
    assert ticket.flags == (
        TicketFlag.FORWARDABLE | TicketFlag.RENEWABLE | TicketFlag.INITIAL | TicketFlag.PRE_AUTHENT
    )
    assert (ticket.crealm, ticket.cname) == (REALM, name("alice"))
    assert (ticket.transited.tr_type, ticket.transited.contents) == (1, b"")
    assert (ticket.authtime, ticket.starttime) == (NOW, NOW)
    assert (ticket.endtime, ticket.renew_till) == (BODY.till, BODY.rtime)
    assert ticket.caddr is None
    assert [element.ad_type for element in ticket.authorization_data or ()] == [1], "a PAC, no more"


def test_client_part_of_a_logon(kdc: Kdc) -> None:
    """RFC 4120 5.4.2, EncKDCRepPart."""
    part = log_on(kdc).part
    assert [(entry.lr_type, entry.lr_value) for entry in part.last_req] == [(0, NOW)]
    assert (part.srealm, part.sname) == (REALM, KRBTGT)
    assert (part.key_expiration, part.encrypted_pa_data) == (None, None)


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_session_key_is_of_the_length_of_its_type(kdc: Kdc, etype: int) -> None:
    """RFC 3962, RFC 8009: random octets are the key."""
    key = log_on(kdc, PkinitRequest(body=replace(BODY, etype=(etype,)))).part.key
    assert len(key.keyvalue) == KEY_BYTES[EncType(etype)]


def test_session_keys_are_never_the_same(kdc: Kdc) -> None:
    """Two logons, two keys; also two confounders, so two ciphertexts."""
    one, other = log_on(kdc), log_on(kdc)
    assert one.part.key != other.part.key
    assert one.as_rep.ticket.enc_part.cipher != other.as_rep.ticket.enc_part.cipher


def test_password_expiry_is_told(kdc: Kdc) -> None:
    """RFC 4120 5.4.2, key-expiration: clients warn their user with it."""
    expires = NOW + timedelta(days=3)
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(password_expires_at=expires))
    body = body_for("pat")
    outcome = kdc.ask(as_req(body, enc_timestamp(key_of(18))))
    assert open_password_reply(outcome, key_of(18), kdc, body).part.key_expiration == expires


def test_addresses_asked_for_are_in_the_ticket(kdc: Kdc) -> None:
    """RFC 4120 3.1.3: caddr is copied from the request; NetBIOS names of Windows as well."""
    addresses = (
        HostAddress(addr_type=2, address=bytes((192, 0, 2, 7))),
        HostAddress(addr_type=20, address=b"PC1             "),
    )
    opened = log_on(kdc, PkinitRequest(body=replace(BODY, addresses=addresses)))
    assert opened.ticket.caddr == addresses


# -- the ticket's own key --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("supported", "etype"), [((18, 17, 20, 19), 18), ((20, 18), 20), ((17,), 17)]
)
def test_ticket_is_sealed_with_the_realms_preferred_type(
    kdc: Kdc, supported: tuple[int, ...], etype: int
) -> None:
    """supported_enctypes: the client's wishes do not matter for a key it never sees."""
    kdc.configure(supported_enctypes=supported)
    body = replace(BODY, etype=(supported[-1],))
    opened = log_on(kdc, PkinitRequest(body=body))
    assert opened.as_rep.ticket.enc_part.etype == etype


def test_ticket_is_sealed_with_the_newest_krbtgt_key(kdc: Kdc) -> None:
    """RFC 4120 5.2.9: kvno tells which; the old one is kept for tickets already issued."""
    krbtgt = kdc.store.krbtgt()
    kdc.store.set_keys(krbtgt.account_id, random_keys("krbtgt", 2), keep_generations=1)
    assert log_on(kdc).as_rep.ticket.enc_part.kvno == 2


def test_service_with_fewer_types_gets_one_it_has(kdc: Kdc) -> None:
    """A keytab with AES-128 only: the ticket is sealed with that."""
    only = tuple(replace(k, kvno=2) for k in random_keys("web") if k.etype == 17)
    account = kdc.store.account_by_spn("host/web.lab.test")
    assert account is not None
    kdc.store.set_keys(account.account_id, only)
    body = replace(BODY, sname=name("host", "web.lab.test"))
    sealed = log_on(kdc, PkinitRequest(body=body)).as_rep.ticket.enc_part
    assert (sealed.etype, sealed.kvno) == (17, 2)


# -- PA-REQ-ENC-PA-REP -----------------------------------------------------------------------


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_req_enc_pa_rep_gets_a_checksum_of_the_request(kdc: Kdc, etype: int) -> None:
    """RFC 6806 section 11: keyed with the reply key, usage 56, over the AS-REQ as sent."""
    request = PkinitRequest(
        body=replace(BODY, etype=(etype,)), before=(padata(PaType.REQ_ENC_PA_REP),)
    )
    sent = request.build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.part.flags & TicketFlag.ENC_PA_REP
    checked, fast, enctypes = opened.part.encrypted_pa_data or ()
    assert checked.padata_type == PaType.REQ_ENC_PA_REP
    checksum = asn1.decode(Checksum, checked.padata_value)
    assert checksum.cksumtype == CHECKSUM_TYPES[EncType(etype)]
    verify_checksum(opened.reply_key, KeyUsage.AS_REQ, sent.message, checksum.checksum)
    assert (enctypes.padata_type, enctypes.padata_value) == (
        PaType.SUPPORTED_ENCTYPES,
        bytes((0x18, 0, 1, 0)),
    )
    assert (fast.padata_type, fast.padata_value) == (PaType.FX_FAST, b"")


def test_without_req_enc_pa_rep_there_is_no_flag(kdc: Kdc) -> None:
    """RFC 6806 section 11: only for clients that asked."""
    opened = log_on(kdc)
    assert not opened.part.flags & TicketFlag.ENC_PA_REP
    assert opened.part.encrypted_pa_data is None


# -- lifetimes, end to end -------------------------------------------------------------------


def test_life_is_clipped_to_the_configured_one(kdc: Kdc) -> None:
    """max_life and max_renewable_life."""
    kdc.configure(max_life_s=3600, max_renewable_life_s=7200)
    opened = log_on(kdc)
    assert opened.ticket.endtime == NOW + timedelta(hours=1)
    assert opened.ticket.renew_till == NOW + timedelta(hours=2)


def test_plain_request_gets_a_plain_ticket(kdc: Kdc) -> None:
    """No option, no flag, no renew-till."""
    opened = log_on(kdc, PkinitRequest(body=replace(BODY, kdc_options=0)))
    assert opened.ticket.flags == TicketFlag.INITIAL | TicketFlag.PRE_AUTHENT
    assert opened.ticket.renew_till is None


def test_allow_postdate_is_ignored(kdc: Kdc) -> None:
    """RFC 4120 3.1.3: a realm that issues no postdated tickets sets no MAY-POSTDATE."""
    options = BODY.kdc_options | KdcOption.ALLOW_POSTDATE
    opened = log_on(kdc, PkinitRequest(body=replace(BODY, kdc_options=options)))
    assert not opened.ticket.flags & TicketFlag.MAY_POSTDATE
