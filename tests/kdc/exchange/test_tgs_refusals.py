"""The TGT, its PAC, its account and the authenticator: rows T01 to T20 and their neighbours."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import AccountChanges, NewAccount
from directory.model import AccountKind, Sid
from kdc.pac import PacFault, PacType, parse_pac
from kdc.pac.buffers import decode_logon_info
from kdc.wire.constants import (
    AdType,
    ErrorCode,
    KdcOption,
    NameType,
    TicketFlag,
)
from kdc.wire.rfc4120 import (
    AuthorizationDataElement,
    EncryptionKey,
    EncTicketPart,
    PrincipalName,
)
from tests.kdc.builders import (
    KRBTGT,
    NOW,
    REALM,
    Kdc,
    add_hello_key,
    hello_key,
    name,
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
    pac_of,
    password_tgt,
    ready,
    second_tickets,
    service_ticket,
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


@pytest.mark.parametrize("kvno", [None, 0, 2, 65535])
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


def with_password_service(kdc: Kdc) -> PrincipalName:
    """Add kadmin/changepw to the realm; return its name."""
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name="changepw",
            created_at=NOW,
            spns=("kadmin/changepw",),
            keys=random_keys("changepw"),
        )
    )
    return name("kadmin", "changepw", name_type=NameType.SRV_INST)


@pytest.mark.parametrize("parts", [("kadmin", "changepw"), ("KADMIN", "ChangePW"), ("changepw",)])
def test_tgt_gets_no_ticket_for_the_password_service(kdc: Kdc, parts: tuple[str, ...]) -> None:
    """RFC 3244 2: it has the flag INITIAL; by whatever name the account is found."""
    with_password_service(kdc)
    body = replace(TGS_BODY, sname=name(*parts))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == (
        12,
        "a ticket for the password service is had by a logon only",
    )


@pytest.mark.parametrize("body", [TGS_BODY, RENEW], ids=["service ticket", "renewal"])
def test_kpasswd_ticket_shown_as_a_tgt(kdc: Kdc, body: object) -> None:
    """Row T11, CVE-2022-2031: the service of changed passwords has a key of its own."""
    changepw = with_password_service(kdc)
    shown = password_tgt(kdc, sname=changepw)
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
