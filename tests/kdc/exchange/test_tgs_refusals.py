"""The TGT, its PAC, its account and the authenticator: rows T01 to T20 and their neighbours."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import AccountChanges, NewAccount
from directory.model import AccountKind, Sid
from kdc.crypto.etypes import CHECKSUM_TYPES, EncType, ProtocolKey
from kdc.pac import PacFault, PacType, parse_pac
from kdc.pac.buffers import decode_logon_info
from kdc.wire.constants import (
    AdType,
    ErrorCode,
    KdcOption,
    MessageType,
    NameType,
    PaType,
    TicketFlag,
)
from kdc.wire.rfc4120 import (
    ApReq,
    Authenticator,
    AuthorizationDataElement,
    Checksum,
    EncryptionKey,
    EncTicketPart,
    TgsReq,
)
from pki import asn1
from tests.kdc.builders import (
    KRBTGT,
    NOW,
    REALM,
    Kdc,
    add_hello_key,
    hello_key,
    name,
    padata,
    password_keys,
    random_keys,
    refused,
)
from tests.kdc.pac.builders import sign_again, with_buffer, without
from tests.kdc.tgs_builders import (
    LATER,
    RENEW,
    TGS_BODY,
    TgsRequest,
    Tgt,
    ask_tgs,
    golden,
    if_relevant,
    key_tgt,
    krbtgt_key,
    open_tgs_reply,
    pac_of,
    password_tgt,
    ready,
    second_tickets,
    service_ticket,
    tgs_req,
)

GONE = (ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT's account does not exist any more")
ANOTHER = (ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT was issued to another account of this name")
NO_PAC = (ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT has no PAC")
NO_REQUESTOR = (ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT's PAC has no requestor")
NOT_US = (ErrorCode.KRB_AP_ERR_NOT_US, "the ticket is not a TGT of this realm")
WILL_NOT_OPEN = (ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, "the TGT does not open with the krbtgt key")
BODIES = {
    "service ticket": TGS_BODY,
    "renewal": RENEW,
    "forwarded": replace(TGS_BODY, kdc_options=KdcOption.FORWARDED, sname=KRBTGT),
}
EVERY_BODY = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)


def without_data(part: EncTicketPart) -> EncTicketPart:
    """Take the PAC out of a ticket."""
    return replace(part, authorization_data=None)


# -- the PAC of the TGT ----------------------------------------------------------------------


@EVERY_BODY
def test_tgt_without_pac(kdc: Kdc, body: object) -> None:
    """Row T01, CVE-2020-25719: 20 for every use."""
    tgt = golden(kdc, password_tgt(kdc), without_data)
    request = TgsRequest(tgt=tgt)
    request.body = body  # type: ignore[assignment]  # of BODIES
    assert refused(ask_tgs(kdc, request)) == NO_PAC


def test_second_ticket_without_pac(kdc: Kdc) -> None:
    """Row T01 in user to user."""
    second = golden(kdc, key_tgt(kdc, "bob"), without_data)
    body = second_tickets(second, user="bob")
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == NO_PAC


def test_pac_outside_its_container_is_none(kdc: Kdc) -> None:
    """MS-PAC 2.11: a PAC lies in AD-IF-RELEVANT; elsewhere it is not read."""

    def bare(part: EncTicketPart) -> EncTicketPart:
        element = AuthorizationDataElement(ad_type=AdType.WIN2K_PAC, ad_data=pac_of(part))
        return replace(part, authorization_data=(element,))

    assert refused(ask_tgs(kdc, TgsRequest(tgt=golden(kdc, password_tgt(kdc), bare)))) == NO_PAC


@pytest.mark.parametrize("one_container", [True, False])
def test_two_pacs(kdc: Kdc, one_container: bool) -> None:
    """Which of them would count? Neither."""

    def twice(part: EncTicketPart) -> EncTicketPart:
        pac = (AdType.WIN2K_PAC, pac_of(part))
        both = (if_relevant(pac, pac),) if one_container else (if_relevant(pac), if_relevant(pac))
        return replace(part, authorization_data=both)

    assert refused(ask_tgs(kdc, TgsRequest(tgt=golden(kdc, password_tgt(kdc), twice)))) == (
        ErrorCode.KRB_ERR_GENERIC,
        "more than one PAC in the ticket",
    )


def _golden_pac(kdc: Kdc, tgt: Tgt, change: Callable[[bytes], bytes]) -> Tgt:
    """Change a TGT's PAC and sign it again: whoever has the key of krbtgt can."""
    key = ready(krbtgt_key(kdc, tgt.ticket))
    return golden(kdc, tgt, change_pac=lambda pac: sign_again(change(pac), key, key))


@EVERY_BODY
def test_pac_without_requestor(kdc: Kdc, body: object) -> None:
    """Row T02, CVE-2021-42287."""
    tgt = _golden_pac(kdc, password_tgt(kdc), lambda pac: without(pac, PacType.REQUESTOR))
    request = TgsRequest(tgt=tgt)
    request.body = body  # type: ignore[assignment]  # of BODIES
    assert refused(ask_tgs(kdc, request)) == NO_REQUESTOR


@pytest.mark.parametrize("whose", ["bob", "nobody"])
def test_requestor_is_another_account(kdc: Kdc, whose: str) -> None:
    """Row T03: the SID of another account, or of none."""
    tgt = password_tgt(kdc)
    other = kdc.store.account_by_name(whose)
    own = kdc.store.account_by_name("pat")
    assert own is not None
    assert own.sid is not None
    sid = own.sid.domain.with_rid(99_999) if other is None else other.sid
    assert sid is not None
    forged = _golden_pac(kdc, tgt, lambda pac: with_buffer(pac, PacType.REQUESTOR, sid.to_bytes()))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=forged))) == ANOTHER


SIGNATURES = (PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM)


@pytest.mark.parametrize("kind", SIGNATURES)
def test_pac_signature_is_wrong(kdc: Kdc, kind: PacType) -> None:
    """Row T05: zeroed."""
    tgt = golden(
        kdc,
        password_tgt(kdc),
        change_pac=lambda pac: with_buffer(pac, kind, pac_type(pac, kind) + bytes(12)),
    )
    code, why = refused(ask_tgs(kdc, TgsRequest(tgt=tgt)))
    assert code == ErrorCode.KRB_AP_ERR_MODIFIED
    assert why in (PacFault.BAD_SERVER_SIGNATURE, PacFault.BAD_KDC_SIGNATURE)


def pac_type(pac: bytes, kind: PacType) -> bytes:
    """Return the four octets of a signature's type."""
    buffer = parse_pac(pac).buffer(kind)
    assert buffer is not None
    return buffer[:4]


@pytest.mark.parametrize("kind", SIGNATURES)
def test_pac_signature_is_missing(kdc: Kdc, kind: PacType) -> None:
    """Row T05."""
    tgt = golden(kdc, password_tgt(kdc), change_pac=lambda pac: without(pac, kind))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        PacFault.MISSING_SIGNATURE.value,
    )


@pytest.mark.parametrize("kind", SIGNATURES)
@pytest.mark.parametrize(
    "cksumtype", [7, 1, 14, -138, 15], ids=["MD5", "CRC32", "SHA-1", "HMAC-MD5", "of another key"]
)
def test_pac_signed_with_another_checksum(kdc: Kdc, kind: PacType, cksumtype: int) -> None:
    """Row T06, MS14-068: the type is the key's, not the PAC's to choose."""
    number = cksumtype.to_bytes(4, "little", signed=True)

    def unkeyed(pac: bytes) -> bytes:
        return with_buffer(pac, kind, number + hashlib.md5(pac).digest()[:12])  # noqa: S324

    assert refused(
        ask_tgs(kdc, TgsRequest(tgt=golden(kdc, password_tgt(kdc), change_pac=unkeyed)))
    ) == (
        ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
        PacFault.CHECKSUM_TYPE.value,
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda pac: b"\xff\xff\xff\xff" + pac[4:], PacFault.MALFORMED),
        (lambda pac: pac[:12] + b"\xff\xff\xff\xff" + pac[16:], PacFault.MALFORMED),
        (lambda pac: pac[:16] + b"\xf8" + b"\xff" * 7 + pac[24:], PacFault.MALFORMED),
        (lambda pac: pac[:7], PacFault.MALFORMED),
        (lambda _pac: b"", PacFault.MALFORMED),
        (lambda pac: without(pac, PacType.LOGON_INFO), PacFault.BAD_SERVER_SIGNATURE),
    ],
)
def test_pac_whose_numbers_overflow(
    kdc: Kdc, change: Callable[[bytes], bytes], fault: PacFault
) -> None:
    """Row T18, CVE-2022-42898: counts and offsets past the end and past 32 bits."""
    tgt = golden(kdc, password_tgt(kdc), change_pac=change)
    code = (
        ErrorCode.KRB_ERR_GENERIC if fault is PacFault.MALFORMED else ErrorCode.KRB_AP_ERR_MODIFIED
    )
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (code, fault.value)


def test_a_ticket_kept_open_is_judged_again(kdc: Kdc) -> None:
    """What is remembered of a TGT is not the verdict: a bad PAC stays bad the second time."""
    tgt = golden(kdc, password_tgt(kdc), change_pac=lambda pac: without(pac, SIGNATURES[0]))
    for _ in range(2):
        assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
            ErrorCode.KRB_AP_ERR_MODIFIED,
            PacFault.MISSING_SIGNATURE.value,
        )


# -- the account -----------------------------------------------------------------------------


def test_account_deleted(kdc: Kdc) -> None:
    """Rows T08, T20: the key is right, the user is gone."""
    tgt = password_tgt(kdc)
    service_ticket(kdc, TgsRequest(tgt=tgt))
    kdc.store.delete_account(kdc.account_id("pat"))
    for body in BODIES.values():
        assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == GONE


def test_account_made_again(kdc: Kdc) -> None:
    """Row T03: another account of the same name has another SID."""
    tgt = password_tgt(kdc)
    kdc.store.delete_account(kdc.account_id("pat"))
    kdc.add_user("pat", keys=password_keys("pat"))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == ANOTHER


def test_account_made_again_in_a_realm_without_pac(kdc: Kdc) -> None:
    """Without SIDs its age tells."""
    kdc.configure(pac=False)
    tgt = password_tgt(kdc)
    kdc.store.delete_account(kdc.account_id("pat"))
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.USER,
            name="pat",
            created_at=NOW + timedelta(seconds=1),
            keys=password_keys("pat"),
        )
    )
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KDC_ERR_TGT_REVOKED,
        "the account is younger than the TGT",
    )


def test_no_dollar_is_added_to_the_name_in_a_tgt(kdc: Kdc) -> None:
    """Row T04, CVE-2021-42278: a user `dc1` has a TGT and goes; `dc1$` is somebody else."""
    kdc.add_user("dc1", keys=password_keys("dc1"))
    tgt = password_tgt(kdc, "dc1")
    kdc.store.delete_account(kdc.account_id("dc1"))
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.COMPUTER,
            name="dc1$",
            upn="dc1@LAB.TEST",
            created_at=NOW - timedelta(days=9),
            keys=random_keys("dc1"),
        )
    )
    assert kdc.realm.config.implicit_dollar
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == GONE


def test_account_disabled(kdc: Kdc) -> None:
    """Rows T08, T20: 18, with a TGT of before and with a golden one."""
    tgt = password_tgt(kdc)
    service_ticket(kdc, TgsRequest(tgt=tgt))
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(disabled=True))
    revoked = (ErrorCode.KDC_ERR_CLIENT_REVOKED, "the account is disabled")
    for body in BODIES.values():
        assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == revoked
    assert refused(ask_tgs(kdc, TgsRequest(tgt=golden(kdc, tgt)))) == revoked


def test_account_expired(kdc: Kdc) -> None:
    """Row T20."""
    tgt = password_tgt(kdc)
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(expires_at=LATER))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KDC_ERR_CLIENT_REVOKED,
        "the account has expired",
    )


def test_account_locked(kdc: Kdc) -> None:
    """Row T20: wrong passwords after the logon."""
    kdc.configure(lockout_threshold=1)
    tgt = password_tgt(kdc)
    kdc.store.record_password_failure(kdc.account_id("pat"), LATER, kdc.realm.lockout)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KDC_ERR_CLIENT_REVOKED,
        "the account is locked",
    )


def test_keys_removed_after_a_key_trust_logon(kdc: Kdc) -> None:
    """Row T20: the TGT ends with the last key of its account."""
    tgt = key_tgt(kdc)
    alice = kdc.account_id("alice")
    service_ticket(kdc, TgsRequest(tgt=tgt))
    kdc.store.remove_key_credential(alice)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KDC_ERR_TGT_REVOKED,
        "the keys of a key-trust logon were removed since",
    )
    add_hello_key(kdc.store, "alice", hello_key("bob"))
    service_ticket(kdc, TgsRequest(tgt=tgt))


def test_extra_sids_of_a_golden_ticket(kdc: Kdc) -> None:
    """Row T08: groups and SIDs are read from the directory; of the PAC's own only S-1-18-x stay."""
    tgt = key_tgt(kdc)

    def with_admins(pac: bytes) -> bytes:
        place, size = parse_pac(pac).buffers[PacType.LOGON_INFO]
        info = pac[place : place + size]
        known = Sid(18, (1,)).to_bytes()
        at = info.index(known)
        # S-1-18-1 becomes S-1-5-1, an identity of no S-1-18.
        forged = info[: at + 7] + b"\x05" + info[at + 8 :]
        return pac[:place] + forged + pac[place + size :]

    opened = service_ticket(kdc, TgsRequest(tgt=_golden_pac(kdc, tgt, with_admins)))
    data = parse_pac(pac_of(opened.ticket)).buffer(PacType.LOGON_INFO)
    assert data is not None
    info = decode_logon_info(data)
    assert info.extra_sids == (Sid(18, (4,)),)
    assert info.group_ids == (513,)


def test_life_of_a_golden_ticket_is_cut(kdc: Kdc) -> None:
    """Row T08: ten years in the ticket, max_life in what it gets and in how long it works."""

    def decade(part: EncTicketPart) -> EncTicketPart:
        end = NOW + timedelta(days=3650)
        return replace(part, endtime=end, renew_till=end)

    tgt = golden(kdc, password_tgt(kdc), decade)
    body = replace(TGS_BODY, till=NOW + timedelta(days=3650))
    opened = service_ticket(kdc, TgsRequest(tgt=tgt, body=body))
    assert opened.part.endtime == NOW + timedelta(hours=10)
    renewed = service_ticket(kdc, TgsRequest(tgt=tgt, body=RENEW))
    assert renewed.part.endtime == LATER + timedelta(hours=10)
    assert renewed.part.renew_till == NOW + timedelta(days=7)
    at = NOW + timedelta(hours=10)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body, ctime=at), at=at)) == (
        ErrorCode.KRB_AP_ERR_TKT_EXPIRED,
        "the TGT has expired",
    )


@pytest.mark.parametrize("cname", [(), ("",), ("krbtgt",), ("host", "pc1.lab.test/x"), ("", "x")])
def test_golden_ticket_for_no_account(kdc: Kdc, cname: tuple[str, ...]) -> None:
    """Row T08: names that lead nowhere, and krbtgt's own."""
    tgt = golden(kdc, password_tgt(kdc), lambda part: replace(part, cname=name(*cname)))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == GONE


def test_service_as_client(kdc: Kdc) -> None:
    """A client whose name has two parts is found by it, and its SID compared."""
    tgt = key_tgt(kdc, "pc1")
    renamed = golden(kdc, tgt, lambda part: replace(part, cname=name("host", "pc1.lab.test")))
    service_ticket(kdc, TgsRequest(tgt=renamed))
    other = golden(kdc, tgt, lambda part: replace(part, cname=name("host", "web.lab.test")))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=other))) == ANOTHER


# -- the ticket ------------------------------------------------------------------------------


def test_both_generations_of_krbtgt_are_alive(kdc: Kdc) -> None:
    """Row T09: after one rotation old TGTs work and new ones take the new key; after two, 44."""
    krbtgt = kdc.store.krbtgt().account_id
    old = password_tgt(kdc)
    kdc.store.set_keys(krbtgt, random_keys("krbtgt", 2), keep_generations=1)
    service_ticket(kdc, TgsRequest(tgt=old))
    renewed = service_ticket(kdc, TgsRequest(tgt=old, body=RENEW))
    assert renewed.tgs_rep.ticket.enc_part.kvno == 2
    kdc.store.set_keys(krbtgt, random_keys("krbtgt", 3), keep_generations=1)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=old))) == (
        ErrorCode.KRB_AP_ERR_BADKEYVER,
        "the TGT is sealed with a krbtgt key that is not kept",
    )
    service_ticket(kdc, TgsRequest(tgt=renewed.tgt))


@pytest.mark.parametrize("kvno", [None, 0, 2, -1, 65537])
def test_unknown_key_version(kdc: Kdc, kvno: int | None) -> None:
    """Row T09: a version that krbtgt has not, or none."""
    tgt = password_tgt(kdc)
    sealed = replace(tgt.ticket.enc_part, kvno=kvno)
    tgt = replace(tgt, ticket=replace(tgt.ticket, enc_part=sealed))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KRB_AP_ERR_BADKEYVER,
        "the TGT is sealed with a krbtgt key that is not kept",
    )


def test_ticket_of_an_encryption_type_that_krbtgt_has_not(kdc: Kdc) -> None:
    """A golden ticket sealed with RC4: there is no such key."""
    tgt = password_tgt(kdc)
    sealed = replace(tgt.ticket.enc_part, etype=23)
    tgt = replace(tgt, ticket=replace(tgt.ticket, enc_part=sealed))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "the TGT is sealed with a type that krbtgt has not",
    )


def test_ticket_sealed_with_another_realms_key(kdc: Kdc) -> None:
    """Row T09: the version is right, the key is not."""
    tgt = password_tgt(kdc)
    key = random_keys("another krbtgt")[0]
    forged = golden(kdc, tgt, key=key, name_key=krbtgt_key(kdc, tgt.ticket))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=forged))) == WILL_NOT_OPEN


@pytest.mark.parametrize("at", [0, 100, -1])
def test_every_octet_of_the_ticket_counts(kdc: Kdc, at: int) -> None:
    """RFC 3961: a flipped bit, and it does not open."""
    tgt = password_tgt(kdc)
    cipher = bytearray(tgt.ticket.enc_part.cipher)
    cipher[at] ^= 1
    sealed = replace(tgt.ticket.enc_part, cipher=bytes(cipher))
    broken = replace(tgt, ticket=replace(tgt.ticket, enc_part=sealed))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=broken))) == WILL_NOT_OPEN


def test_service_ticket_shown_as_a_tgt(kdc: Kdc) -> None:
    """Row T10: 35; with krbtgt's name written over it, it does not open."""
    shown = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc))).tgt
    assert refused(ask_tgs(kdc, TgsRequest(tgt=shown))) == NOT_US
    renamed = replace(shown, ticket=replace(shown.ticket, sname=KRBTGT))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=renamed))) == WILL_NOT_OPEN


@pytest.mark.parametrize("body", [TGS_BODY, RENEW], ids=["service ticket", "renewal"])
def test_kpasswd_ticket_shown_as_a_tgt(kdc: Kdc, body: object) -> None:
    """Row T11, CVE-2022-2031: the service of changed passwords has a key of its own."""
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name="changepw",
            created_at=NOW,
            spns=("kadmin/changepw",),
            keys=random_keys("changepw"),
        )
    )
    changepw = name("kadmin", "changepw", name_type=NameType.SRV_INST)
    tgt = password_tgt(kdc)
    shown = service_ticket(kdc, TgsRequest(tgt=tgt, body=replace(TGS_BODY, sname=changepw))).tgt
    for ticket, answer in (
        (shown.ticket, NOT_US),
        (replace(shown.ticket, sname=KRBTGT), WILL_NOT_OPEN),
    ):
        request = TgsRequest(tgt=replace(shown, ticket=ticket))
        request.body = body  # type: ignore[assignment]  # one of the two above
        assert refused(ask_tgs(kdc, request)) == answer


@pytest.mark.parametrize(
    "change",
    [
        lambda ticket: replace(ticket, realm="OTHER.TEST"),
        lambda ticket: replace(ticket, sname=name("krbtgt", "OTHER.TEST")),
        lambda ticket: replace(ticket, sname=name("krbtgt")),
        lambda ticket: replace(ticket, sname=name()),
        lambda ticket: replace(ticket, sname=name("krbtgt", REALM, "x")),
    ],
)
def test_ticket_of_another_realm(kdc: Kdc, change: Callable[[object], object]) -> None:
    """RFC 4120 3.3.2 (KRB_AP_ERR_NOT_US)."""
    tgt = password_tgt(kdc)
    tgt.ticket = change(tgt.ticket)  # type: ignore[assignment]  # a ticket stays one
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == NOT_US


def test_ticket_of_another_version(kdc: Kdc) -> None:
    """KRB_AP_ERR_BADVERSION."""
    tgt = password_tgt(kdc)
    tgt = replace(tgt, ticket=replace(tgt.ticket, tkt_vno=4))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KRB_AP_ERR_BADVERSION,
        "the ticket's version is not 5",
    )


def test_client_of_another_realm(kdc: Kdc) -> None:
    """There is no trust, so nobody of ours wrote that."""
    tgt = golden(kdc, password_tgt(kdc), lambda part: replace(part, crealm="OTHER.TEST"))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KDC_ERR_PATH_NOT_ACCEPTED,
        "the TGT's client is of another realm",
    )


@pytest.mark.parametrize("keytype", [23, -5, 0])
def test_session_key_of_a_type_we_do_not_use(kdc: Kdc, keytype: int) -> None:
    """A golden ticket with an RC4 session key."""
    key = EncryptionKey(keytype=keytype, keyvalue=bytes(16))
    tgt = golden(kdc, password_tgt(kdc), lambda part: replace(part, key=key))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "the TGT's session key is of a type we do not use",
    )


def test_expired_ticket(kdc: Kdc) -> None:
    """KRB_AP_ERR_TKT_EXPIRED, to the second; also when it is shown for renewal."""
    tgt = password_tgt(kdc)
    end = tgt.part.endtime
    body = replace(TGS_BODY, till=end + timedelta(hours=9))
    at = end - timedelta(seconds=1)
    service_ticket(kdc, TgsRequest(tgt=tgt, body=body, ctime=at), at=at)
    for asked in (body, RENEW):
        assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=asked, ctime=end), at=end)) == (
            ErrorCode.KRB_AP_ERR_TKT_EXPIRED,
            "the TGT has expired",
        )


def test_ticket_that_is_not_valid_yet(kdc: Kdc) -> None:
    """KRB_AP_ERR_TKT_NYV, past the clock skew: another KDC of the realm may be a little ahead."""
    tgt = password_tgt(kdc)
    early = NOW - timedelta(seconds=300)
    service_ticket(kdc, TgsRequest(tgt=tgt, ctime=early), at=early)
    earlier = early - timedelta(seconds=1)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, ctime=earlier), at=earlier)) == (
        ErrorCode.KRB_AP_ERR_TKT_NYV,
        "the TGT is not valid yet",
    )


def test_invalid_ticket(kdc: Kdc) -> None:
    """Row T16: 33; only validation takes it, and gives it back valid."""

    def postdated(part: EncTicketPart) -> EncTicketPart:
        return replace(part, flags=part.flags | TicketFlag.INVALID)

    tgt = golden(kdc, password_tgt(kdc), postdated)
    for body in BODIES.values():
        assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == (
            ErrorCode.KRB_AP_ERR_TKT_NYV,
            "the TGT is marked invalid",
        )
    body = replace(TGS_BODY, kdc_options=KdcOption.VALIDATE, sname=KRBTGT)
    opened = service_ticket(kdc, TgsRequest(tgt=tgt, body=body))
    assert not opened.part.flags & (TicketFlag.INVALID | TicketFlag.INITIAL)
    assert (opened.part.starttime, opened.part.endtime) == (tgt.part.starttime, tgt.part.endtime)
    service_ticket(kdc, TgsRequest(tgt=opened.tgt))


def test_ticket_without_a_start(kdc: Kdc) -> None:
    """RFC 4120 5.3: then authtime is its start."""
    tgt = golden(kdc, password_tgt(kdc), lambda part: replace(part, starttime=None))
    service_ticket(kdc, TgsRequest(tgt=tgt))


# -- renewal ---------------------------------------------------------------------------------


def test_renewal_of_a_ticket_that_is_not_renewable(kdc: Kdc) -> None:
    """Row T16: 13."""
    tgt = password_tgt(kdc, kdc_options=0)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=RENEW))) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "the TGT's flags do not allow what is asked for",
    )


def test_renewal_past_renew_till(kdc: Kdc) -> None:
    """Row T16: 32; also by today's max_renewable_life."""
    past = golden(kdc, password_tgt(kdc), lambda part: replace(part, renew_till=LATER))
    over = (ErrorCode.KRB_AP_ERR_TKT_EXPIRED, "the TGT's renewable life is over")
    assert refused(ask_tgs(kdc, TgsRequest(tgt=past, body=RENEW))) == over
    tgt = password_tgt(kdc, at=NOW + timedelta(seconds=1))
    kdc.configure(max_renewable_life_s=300)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=RENEW))) == over


# -- user to user ----------------------------------------------------------------------------


def test_second_ticket_of_another_user(kdc: Kdc) -> None:
    """Row T14: 36."""
    body = second_tickets(key_tgt(kdc, "bob"), user="alice")
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == (
        ErrorCode.KRB_AP_ERR_BADMATCH,
        "the second ticket is not of the service asked for",
    )


def test_second_ticket_is_no_tgt(kdc: Kdc) -> None:
    """Row T14: 35."""
    pat = password_tgt(kdc)
    shown = service_ticket(kdc, TgsRequest(tgt=key_tgt(kdc, "bob"))).tgt
    body = second_tickets(shown, user="bob")
    assert refused(ask_tgs(kdc, TgsRequest(tgt=pat, body=body))) == NOT_US


def test_no_second_ticket(kdc: Kdc) -> None:
    """Row T14: 13."""
    tgt = password_tgt(kdc)
    for tickets in (None, ()):
        body = replace(second_tickets(tgt, user="bob"), additional_tickets=tickets)
        assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == (
            ErrorCode.KDC_ERR_BADOPTION,
            "user to user without a second ticket",
        )


def test_owner_of_the_second_ticket_disabled(kdc: Kdc) -> None:
    """Both clients are judged today."""
    pat, bob = password_tgt(kdc), key_tgt(kdc, "bob")
    kdc.store.update_account(kdc.account_id("bob"), AccountChanges(disabled=True))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=pat, body=second_tickets(bob, user="bob")))) == (
        ErrorCode.KDC_ERR_SERVICE_REVOKED,
        "the service's account is disabled",
    )


def test_second_ticket_expired(kdc: Kdc) -> None:
    """It is opened like the first."""
    pat = password_tgt(kdc, till=NOW + timedelta(hours=10))
    bob = key_tgt(kdc, "bob")
    at = bob.part.endtime
    body = replace(second_tickets(bob, user="bob"), till=NOW + timedelta(hours=10))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=pat, body=body, ctime=at), at=at)) == (
        ErrorCode.KRB_AP_ERR_TKT_EXPIRED,
        "the TGT has expired",
    )


# -- delegation that is not offered ----------------------------------------------------------


def test_s4u2proxy(kdc: Kdc) -> None:
    """Row T12: not offered, 13."""
    tgt = password_tgt(kdc)
    body = replace(
        TGS_BODY, kdc_options=KdcOption.CNAME_IN_ADDL_TKT, additional_tickets=(tgt.ticket,)
    )
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "an option for tickets that are not issued is set",
    )


@pytest.mark.parametrize("pa_type", [PaType.FOR_USER, PaType.S4U_X509_USER])
def test_s4u2self(kdc: Kdc, pa_type: PaType) -> None:
    """Row T13: not offered, and not answered with a ticket of the service's own."""
    request = TgsRequest(tgt=key_tgt(kdc, "pc1"), after=(padata(pa_type, b"\x30\x00"),))
    assert refused(ask_tgs(kdc, request)) == (
        ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP,
        "S4U2Self is not offered",
    )


# -- the authenticator -----------------------------------------------------------------------


def _authenticator(
    change: Callable[[Authenticator], Authenticator],
) -> Callable[[Kdc], tuple[int, str]]:
    def ask(kdc: Kdc) -> tuple[int, str]:
        request = TgsRequest(tgt=password_tgt(kdc), change_authenticator=change)
        return refused(ask_tgs(kdc, request))

    return ask


MISMATCH = (ErrorCode.KRB_AP_ERR_BADMATCH, "authenticator and ticket name different clients")


@pytest.mark.parametrize(
    "change",
    [
        lambda a: replace(a, cname=name("bob")),
        lambda a: replace(a, cname=name("PAT")),
        lambda a: replace(a, cname=name("pat", "x")),
        lambda a: replace(a, crealm="OTHER.TEST"),
    ],
)
def test_authenticator_names_another_client(
    kdc: Kdc, change: Callable[[Authenticator], Authenticator]
) -> None:
    """Row T15: 36; the name in the ticket, to the letter."""
    assert _authenticator(change)(kdc) == MISMATCH


def test_name_type_is_no_part_of_a_name(kdc: Kdc) -> None:
    """RFC 4120 6.2."""
    request = TgsRequest(
        tgt=password_tgt(kdc),
        change_authenticator=lambda a: replace(a, cname=name("pat", name_type=NameType.UNKNOWN)),
    )
    service_ticket(kdc, request)


def test_authenticator_for_another_body(kdc: Kdc) -> None:
    """Row T15: what is asked for was changed on the way: 41."""
    tgt = password_tgt(kdc)
    other = replace(TGS_BODY, sname=name("host", "pc1.lab.test"))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, sent_body=other))) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "the authenticator was made for another request",
    )


def test_checksum_covers_the_body_as_it_arrived(kdc: Kdc) -> None:
    """Row T15: an unused bit of kdc-options is ignored, but it is signed."""
    tgt = password_tgt(kdc)
    body = replace(TGS_BODY, kdc_options=TGS_BODY.kdc_options | 1 << 9)
    service_ticket(kdc, TgsRequest(tgt=tgt, body=body))
    code, _ = refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body, sent_body=TGS_BODY)))
    assert code == ErrorCode.KRB_AP_ERR_MODIFIED


def accept_no_checksum(kdc: Kdc) -> None:
    """Turn the switch on."""
    config = replace(kdc.realm.config, legacy_tgs_checksum=True)
    kdc.core.realm = replace(kdc.realm, config=config)


def test_authenticator_without_checksum(kdc: Kdc) -> None:
    """Row T15: 50, naming the switch that lets the impacket family in."""
    request = TgsRequest(
        tgt=password_tgt(kdc), change_authenticator=lambda a: replace(a, cksum=None)
    )
    outcome = ask_tgs(kdc, request)
    assert refused(outcome) == (
        ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
        "the authenticator has no checksum of the request",
    )
    assert outcome.facts["switch"] == "legacy_tgs_checksum"
    accept_no_checksum(kdc)
    service_ticket(kdc, request)


@pytest.mark.parametrize("cksumtype", [7, 1, 14, 15, 19, 20, -138])
def test_checksum_of_another_type(kdc: Kdc, cksumtype: int) -> None:
    """Row T15: unkeyed, or of a key that the session key is not; the switch changes nothing."""
    accept_no_checksum(kdc)

    def unkeyed(authenticator: Authenticator) -> Authenticator:
        digest = hashlib.md5(asn1.encode(TGS_BODY)).digest()  # noqa: S324
        return replace(authenticator, cksum=Checksum(cksumtype=cksumtype, checksum=digest))

    assert CHECKSUM_TYPES[EncType(18)] != cksumtype
    assert _authenticator(unkeyed)(kdc) == (
        ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
        "the authenticator's checksum is not of the session key's type",
    )


@pytest.mark.parametrize("seconds", [301, -301])
def test_authenticator_outside_the_clock_skew(kdc: Kdc, seconds: int) -> None:
    """Row T15: 37."""
    tgt = password_tgt(kdc)
    inside = LATER + timedelta(seconds=seconds - seconds // 300)
    service_ticket(kdc, TgsRequest(tgt=tgt, ctime=inside))
    outside = LATER + timedelta(seconds=seconds)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, ctime=outside))) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the authenticator is outside the clock skew",
    )


def test_authenticator_used_again(kdc: Kdc) -> None:
    """Row T15: 34 in any other packet; the same packet gets the same reply for a minute."""
    sent = TgsRequest(tgt=password_tgt(kdc)).build()
    first = kdc.ask(sent.message, at=LATER)
    open_tgs_reply(first, sent, kdc)
    soon = LATER + timedelta(seconds=30)
    again = kdc.ask(sent.message, at=soon, transport="udp", port=40_001)
    assert again.reply == first.reply
    assert again.facts["retransmit"] is True
    request = asn1.decode(TgsReq, sent.message)
    replayed = tgs_req(request.req_body, *(request.padata or ()), padata(PaType.PAC_REQUEST))
    refusal = (ErrorCode.KRB_AP_ERR_REPEAT, "the authenticator was used before")
    assert refused(kdc.ask(replayed, at=soon)) == refusal
    assert refused(kdc.ask(sent.message, at=LATER + timedelta(seconds=62))) == refusal


def test_refused_request_does_not_use_up_its_authenticator(kdc: Kdc) -> None:
    """What policy refused may be sent again, and is then judged by today's policy."""
    new = name("host", "new.lab.test", name_type=NameType.SRV_INST)
    sent = TgsRequest(tgt=password_tgt(kdc), body=replace(TGS_BODY, sname=new)).build()
    assert refused(kdc.ask(sent.message, at=LATER))[0] == ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name="new",
            created_at=NOW,
            spns=("host/new.lab.test",),
            keys=random_keys("new"),
        )
    )
    open_tgs_reply(kdc.ask(sent.message, at=LATER), sent, kdc)


def test_authenticator_older_than_the_replay_memory(kdc: Kdc) -> None:
    """A lost memory refuses what it might have seen: 37."""
    tgt = password_tgt(kdc)

    class Lost:
        def __getattr__(self, name: str) -> object:
            return getattr(kdc.replay, name)

        def oldest_acceptable(self, _now: object) -> object:
            return LATER + timedelta(seconds=1)

    kdc.core.realm = replace(kdc.realm, replay=Lost())  # type: ignore[arg-type]  # a stand-in
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the authenticator is older than the replay memory",
    )


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (
            lambda a: replace(a, authenticator_vno=4),
            ErrorCode.KRB_AP_ERR_BADVERSION,
            "the authenticator's version is not 5",
        ),
        (
            lambda a: replace(a, subkey=EncryptionKey(keytype=23, keyvalue=bytes(16))),
            ErrorCode.KDC_ERR_ETYPE_NOSUPP,
            "the authenticator's subkey is of a type we do not use",
        ),
        (
            lambda a: replace(a, subkey=EncryptionKey(keytype=18, keyvalue=bytes(16))),
            ErrorCode.KDC_ERR_ETYPE_NOSUPP,
            "the authenticator's subkey is of a type we do not use",
        ),
        (
            lambda a: replace(
                a,
                authorization_data=(
                    AuthorizationDataElement(ad_type=AdType.FX_FAST_ARMOR, ad_data=b""),
                ),
            ),
            ErrorCode.KDC_ERR_POLICY,
            "a ticket or authenticator made for FAST armor only",
        ),
    ],
)
def test_odd_authenticator(
    kdc: Kdc, change: Callable[[Authenticator], Authenticator], code: int, why: str
) -> None:
    """Versions, subkeys, and RFC 6113 5.4.1.1: an armor authenticator asks for no ticket."""
    assert _authenticator(change)(kdc) == (code, why)


def test_armor_ticket(kdc: Kdc) -> None:
    """RFC 6113 5.4.1.1: nor does a ticket that was marked so."""

    def armor(part: EncTicketPart) -> EncTicketPart:
        element = AuthorizationDataElement(ad_type=AdType.FX_FAST_ARMOR, ad_data=b"")
        return replace(part, authorization_data=(*(part.authorization_data or ()), element))

    code, why = refused(ask_tgs(kdc, TgsRequest(tgt=golden(kdc, password_tgt(kdc), armor))))
    assert (code, why) == (
        ErrorCode.KDC_ERR_POLICY,
        "a ticket or authenticator made for FAST armor only",
    )


def test_authenticator_under_another_key(kdc: Kdc) -> None:
    """Whoever stole a ticket without its session key gets nothing."""
    tgt = password_tgt(kdc)
    thief = replace(tgt, session=ProtocolKey(EncType(18), bytes(32)))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=thief))) == (
        ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
        "the authenticator does not open with the session key",
    )


def test_brought_data_under_another_key(kdc: Kdc) -> None:
    """RFC 4120 5.4.1: sealed with the subkey when there is one."""
    tgt = password_tgt(kdc)
    sent = TgsRequest(tgt=tgt, brought=(), subkey=None).build()
    body = replace(TGS_BODY, enc_authorization_data=sent.body.enc_authorization_data)
    for subkey in (18, None):
        request = TgsRequest(tgt=tgt, body=body, subkey=subkey)
        outcome = ask_tgs(kdc, request)
        if subkey is None:
            assert outcome.code == 0
        else:
            assert refused(outcome) == (
                ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
                "the authorization data do not open",
            )


# -- the message -----------------------------------------------------------------------------

NEEDED = (
    ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP,
    "a TGS-REQ has one PA-TGS-REQ, with its ticket",
)


def test_request_without_a_ticket(kdc: Kdc) -> None:
    """16, as MIT answers."""
    assert refused(kdc.ask(tgs_req(TGS_BODY))) == NEEDED
    assert refused(kdc.ask(tgs_req(TGS_BODY, padata(PaType.PAC_REQUEST)))) == NEEDED


def test_request_with_two_tickets(kdc: Kdc) -> None:
    """Which of them speaks?"""
    tgt = password_tgt(kdc)
    sent = TgsRequest(tgt=tgt).build()
    request = asn1.decode(TgsReq, sent.message)
    (pa,) = request.padata or ()
    assert refused(kdc.ask(tgs_req(request.req_body, pa, pa), at=LATER)) == NEEDED


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (
            lambda ap: replace(ap, pvno=4),
            ErrorCode.KRB_AP_ERR_BADVERSION,
            "the AP-REQ's version is not 5",
        ),
        (
            lambda ap: replace(ap, msg_type=MessageType.AP_REP),
            ErrorCode.KRB_AP_ERR_MSG_TYPE,
            "msg-type does not match the message",
        ),
    ],
)
def test_header_of_the_ap_req(
    kdc: Kdc, change: Callable[[ApReq], ApReq], code: int, why: str
) -> None:
    """RFC 4120 3.2.3."""
    request = TgsRequest(tgt=password_tgt(kdc), change_ap_req=change)
    assert refused(ask_tgs(kdc, request)) == (code, why)


@pytest.mark.parametrize(
    ("pvno", "msg_type", "code", "why"),
    [
        (4, 12, ErrorCode.KDC_ERR_BAD_PVNO, "the protocol version is not 5"),
        (5, 10, ErrorCode.KRB_AP_ERR_MSG_TYPE, "msg-type does not match the message"),
    ],
)
def test_header_of_the_request(kdc: Kdc, pvno: int, msg_type: int, code: int, why: str) -> None:
    """Row A09 in a TGS-REQ."""
    message = asn1.encode(TgsReq(pvno=pvno, msg_type=msg_type, padata=None, req_body=TGS_BODY))
    assert refused(kdc.ask(message)) == (code, why)


@pytest.mark.parametrize(
    "broken",
    [
        {"change_value": lambda v: v[:-1]},
        {"change_value": lambda _v: b""},
        {"change_authenticator_der": lambda v: v[:-1]},
        {"change_authenticator_der": lambda _v: b"\x30\x00"},
    ],
)
def test_parts_that_are_not_der(kdc: Kdc, broken: dict[str, Callable[[bytes], bytes]]) -> None:
    """Row T17: refused, and no bug."""
    outcome = ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), **broken))  # type: ignore[arg-type]
    code, why = refused(outcome)
    assert code == ErrorCode.KRB_ERR_GENERIC
    assert why.startswith("the message is not valid DER: ")
    assert kdc.core.internal_errors == 0


def test_golden_ticket_that_is_not_der(kdc: Kdc) -> None:
    """What the key of krbtgt seals is read as carefully as everything else."""

    def cut(part: EncTicketPart) -> EncTicketPart:
        element = AuthorizationDataElement(ad_type=AdType.IF_RELEVANT, ad_data=b"\x30\x05")
        return replace(part, authorization_data=(element,))

    outcome = ask_tgs(kdc, TgsRequest(tgt=golden(kdc, password_tgt(kdc), cut)))
    assert refused(outcome) == (
        ErrorCode.KRB_ERR_GENERIC,
        "the message is not valid DER: truncated",
    )
    assert kdc.core.internal_errors == 0


def test_every_truncation_is_refused(kdc: Kdc) -> None:
    """Row E03 for a TGS-REQ, cut at every byte."""
    message = TgsRequest(tgt=password_tgt(kdc)).build().message
    for size in range(1, len(message)):
        assert kdc.ask(message[:size], at=LATER).code == ErrorCode.KRB_ERR_GENERIC
    assert kdc.core.internal_errors == 0


def test_no_flipped_bit_of_the_request_gets_another_ticket(kdc: Kdc) -> None:
    """Every octet of a TGS-REQ: whatever still gets a ticket gets the one that was asked for."""
    sent = TgsRequest(tgt=password_tgt(kdc)).build()
    for at in range(0, len(sent.message), 7):
        message = bytearray(sent.message)
        message[at] ^= 1 << at % 8
        outcome = kdc.ask(bytes(message), at=LATER)
        if outcome.code == 0 and outcome.reply is not None:
            open_tgs_reply(outcome, sent, kdc)
    assert kdc.core.internal_errors == 0


def test_memory_of_opened_tgts_is_bounded(kdc: Kdc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Architecture, section 4: a full memory starts anew, and nobody notices."""
    monkeypatch.setattr("kdc.exchange.open_tgt.MAX_OPEN_TGTS", 2)
    tgts = [password_tgt(kdc, at=NOW + timedelta(seconds=n)) for n in range(4)]
    for tgt in (*tgts, *tgts):
        service_ticket(kdc, TgsRequest(tgt=tgt))


def test_opened_tgt_is_forgotten_with_its_key(kdc: Kdc) -> None:
    """The same octets under another key of that version are another ticket."""
    tgt = password_tgt(kdc)
    service_ticket(kdc, TgsRequest(tgt=tgt))
    krbtgt = kdc.store.krbtgt().account_id
    kdc.store.set_keys(krbtgt, ())
    kdc.store.set_keys(krbtgt, random_keys("another krbtgt"))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == WILL_NOT_OPEN
