"""Each vulnerability of other KDCs that could be ours as well: its shape, and our answer.

The rows in brackets are those of the catalogue of bad inputs. What needs certificate trust,
kpasswd, S4U or the registration endpoints waits for them.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from hashlib import md5, sha1
from pathlib import Path

import pytest

from directory.changes import NewAccount
from directory.model import AccountKind
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, decrypt, encrypt
from kdc.outcome import Outcome
from kdc.pac import PacError, PacType, parse_pac, split_ticket, wrap_if_relevant
from kdc.server.sockets import REFUSED_SOURCE_PORTS
from kdc.wire.constants import ErrorCode, KdcOption, PaType
from kdc.wire.rfc4120 import (
    Checksum,
    EncryptedData,
    EncTicketPart,
    KdcReqBody,
    PaData,
    PrincipalName,
)
from pki import asn1, ca, der, names, oids
from pki.ca import IssuedCertificate
from pki.certificate import CertificateSyntax
from pki.keys import rsa_key
from pki.x500 import simple_name
from tests.fuzz.realm import Tgt, authenticator, new_tgt, tgs_body, tgs_req
from tests.kdc import builders
from tests.kdc.builders import (
    NOW,
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    enc_timestamp,
    key_of,
    make_template,
    open_password_reply,
    padata,
    pk_as_req,
    refused,
    running_kdc,
)
from tests.kdc.fast_builders import FastTgsRequest
from tests.kdc.tgs_builders import LATER, TGS_BODY, password_tgt
from tests.pki import issued
from tests.pki.test_keys import roca_like_modulus

RC4, RC4_MD4, RC4_EXPORT = 23, -128, 24


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the realm's store once."""
    folder = tmp_path_factory.mktemp("cve")
    make_template(folder)
    return folder


@pytest.fixture
def kdc(template: Path, tmp_path: Path) -> Iterator[Kdc]:
    """Run a KDC, and find no bug in it afterwards."""
    with running_kdc(template, tmp_path) as running:
        yield running
        assert running.core.internal_errors == 0


def code_of(outcome: Outcome) -> int:
    """Return the code of a refusal."""
    return refused(outcome)[0]


# -- weak cryptography -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "cve", ["CVE-2022-33647", "CVE-2022-33679", "CVE-2022-37966", "CVE-2025-3576", "CVE-2026-20833"]
)
@pytest.mark.parametrize("etypes", [(RC4,), (RC4_MD4,), (RC4_EXPORT,), (RC4_MD4, RC4, RC4_EXPORT)])
def test_rc4_alone_gets_no_ticket(kdc: Kdc, cve: str, etypes: tuple[int, ...]) -> None:
    """Neither session key nor ticket is ever of RC4 or its forty-bit and MD4 kin [A02]."""
    body = replace(body_for("pat"), etype=etypes)
    asked = kdc.ask(as_req(body, enc_timestamp(key_of(18))))
    assert code_of(asked) == ErrorCode.KDC_ERR_ETYPE_NOSUPP, cve


def test_cve_2022_37966_session_key_is_aes_though_rc4_is_asked_for_first(kdc: Kdc) -> None:
    """The client's order does not make a weak type acceptable [A03]."""
    body = replace(body_for("pat"), etype=(RC4_MD4, RC4, 18))
    opened = open_password_reply(
        kdc.ask(as_req(body, enc_timestamp(key_of(18)))), key_of(18), kdc, body
    )
    assert opened.ticket.key.keytype == opened.as_rep.ticket.enc_part.etype == 18


def test_cve_2017_15361_roca_key_is_not_trusted(kdc: Kdc) -> None:
    """ADV190026: a weak modulus is refused before its signature is even looked at [K10]."""
    weak = rsa_key(roca_like_modulus(), 65537).spki_der()
    hello = asn1.decode(CertificateSyntax, issued.hello("alice").certificate_der)
    tbs = replace(hello.tbs_certificate, subject_public_key_info=weak)
    signer = IssuedCertificate(
        certificate_der=asn1.encode(replace(hello, tbs_certificate=tbs)),
        private_key=issued.hello("alice").private_key,
    )
    code, why = refused(kdc.ask(PkinitRequest(signer=signer).build().message))
    assert code == ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED
    assert "ROCA" in why


# -- names and certificates ------------------------------------------------------------------


def _with_names(owner: str, *san: bytes) -> IssuedCertificate:
    """Make a certificate over somebody's key that says it is somebody else's."""
    issuer = ca.create_root("EVIL.TEST", NOW, issued.key("evil"))
    made = ca.issue_client_leaf(
        issuer,
        issued.hello(owner).private_key.public_key(),
        simple_name((oids.ID_AT_COMMON_NAME, "administrator")),
        NOW,
    )
    syntax = asn1.decode(CertificateSyntax, made)
    value = names.encode_subject_alt_name(*san)
    extension = der.sequence(
        der.encode_oid(oids.ID_CE_SUBJECT_ALT_NAME), der.encode_octet_string(value)
    )
    tbs = replace(syntax.tbs_certificate, extensions=der.sequence(extension))
    return IssuedCertificate(
        certificate_der=asn1.encode(replace(syntax, tbs_certificate=tbs)),
        private_key=issued.hello(owner).private_key,
    )


_SPOOFS = {
    "CVE-2022-26923": names.dns_name("dc1.lab.test"),
    "CVE-2022-26931": names.upn_name("alice"),
    "CVE-2022-34691": names.upn_name("alice@lab.test"),
}


@pytest.mark.parametrize("cve", _SPOOFS)
def test_names_in_a_certificate_of_an_unknown_key_prove_nobody(kdc: Kdc, cve: str) -> None:
    """Without a registered key there is no trust, whatever the SAN says [C15, C16]."""
    signer = _with_names("mallory", _SPOOFS[cve])
    outcome = kdc.ask(PkinitRequest(signer=signer).build().message)
    assert code_of(outcome) == ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED


@pytest.mark.parametrize("cve", _SPOOFS)
def test_names_in_a_certificate_of_bobs_key_do_not_make_him_alice(kdc: Kdc, cve: str) -> None:
    """The key decides, and it is on another account than the one named [K03, K13]."""
    signer = _with_names("bob", _SPOOFS[cve])
    outcome = kdc.ask(PkinitRequest(signer=signer).build().message)
    assert code_of(outcome) == ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH


# -- the AS exchange -------------------------------------------------------------------------


def test_cve_2015_2694_failed_pkinit_is_not_saved_by_a_good_timestamp(kdc: Kdc) -> None:
    """Pre-authentication counts when it has succeeded, and no other is looked at [P23]."""
    stamp = enc_timestamp(key_of(18))
    request = PkinitRequest(
        body=body_for("pat"), signer=issued.hello("alice"), before=(stamp,)
    ).build()
    assert code_of(kdc.ask(request.message)) == ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH


def test_cve_2021_20251_wrong_passwords_at_two_workers_all_count(
    template: Path, tmp_path: Path
) -> None:
    """No guess is lost between processes that read and write the counter [A04]."""
    wrong = replace(key_of(18), key=bytes(32))
    with running_kdc(template, tmp_path, lockout_threshold=4) as first:
        second = Kdc(tmp_path, builders.config(lockout_threshold=4))
        try:
            for worker in (first, second, first, second):
                outcome = worker.ask(as_req(body_for("pat"), enc_timestamp(wrong)))
                assert code_of(outcome) == ErrorCode.KDC_ERR_PREAUTH_FAILED
            for worker in (first, second):
                outcome = worker.ask(as_req(body_for("pat"), enc_timestamp(key_of(18))))
                assert code_of(outcome) == ErrorCode.KDC_ERR_CLIENT_REVOKED
        finally:
            second.close()


def test_cve_2021_36222_encrypted_challenge_without_armor_is_no_proof(kdc: Kdc) -> None:
    """MIT dereferenced the armor key that was not there."""
    challenge = PaData(
        padata_type=138, padata_value=asn1.encode(EncryptedData(etype=18, cipher=bytes(60)))
    )
    outcome = kdc.ask(as_req(body_for("pat"), challenge))
    assert code_of(outcome) == ErrorCode.KDC_ERR_PREAUTH_REQUIRED


def test_as_rep_roasting_gets_no_ticket_without_proof(kdc: Kdc) -> None:
    """Also not for an account that says it needs no pre-authentication [A01]."""
    kdc.add_user("roast", keys=builders.password_keys("roast"), preauth_not_required=True)
    outcome = kdc.ask(as_req(body_for("roast")))
    assert code_of(outcome) == ErrorCode.KDC_ERR_PREAUTH_REQUIRED


# -- encoding and transport ------------------------------------------------------------------


@pytest.mark.parametrize("level", [b"\x30\x80", b"\x24\x80", b"\xa0\x80", b"\x31\x80"])
def test_cve_2020_28196_nested_indefinite_lengths_do_not_recurse(kdc: Kdc, level: bytes) -> None:
    """MIT's decoder of indefinite lengths called itself once a level [E01, E04]."""
    outcome = kdc.ask(b"\x6a\x80" + level * 20_000)
    assert code_of(outcome) == ErrorCode.KRB_ERR_GENERIC


def test_cve_2020_28196_nested_definite_lengths_do_not_recurse(kdc: Kdc) -> None:
    """The same with lengths that DER allows."""
    deep = b""
    for _ in range(20_000):
        deep = der.tlv(der.SEQUENCE, deep)
    outcome = kdc.ask(der.tlv(0x6A, deep))
    assert code_of(outcome) == ErrorCode.KRB_ERR_GENERIC


def test_cve_2002_2443_replies_and_errors_are_not_answered(kdc: Kdc) -> None:
    """Two servers would answer each other without end [W06]."""
    reply = kdc.ask(pk_as_req()).reply
    error = kdc.ask(as_req()).reply
    assert reply is not None
    assert error is not None
    for message in (reply, error, b"\x6e\x00", b"\x6f\x00", b"\x61\x00", b"", b"\0\0\0\x04abcd"):
        assert kdc.ask(message, transport="udp").reply is None
    assert {7, 19, 88, 464} <= REFUSED_SOURCE_PORTS


# -- the TGS exchange ------------------------------------------------------------------------


def _ask(
    kdc: Kdc,
    tgt: Tgt,
    body: KdcReqBody | None = None,
    *,
    name: str = "pat",
    cksum: Checksum | None = None,
    extra: bytes = b"",
) -> Outcome:
    raw = asn1.encode(body or tgs_body())
    message = tgs_req(tgt, raw, authenticator(tgt, raw, name=name, cksum=cksum))
    return kdc.ask(message + extra)


def _krbtgt_key() -> ProtocolKey:
    (key,) = (k for k in builders.random_keys("krbtgt") if k.etype == 18)
    return ProtocolKey(EncType(key.etype), key.key)


def _forged(tgt: Tgt, change: Callable[[bytes], bytes]) -> Tgt:
    """Change the inside of a TGT, as only the holder of the krbtgt key can."""
    sealed = tgt.ticket.enc_part
    assert sealed.etype == 18
    plain = change(decrypt(_krbtgt_key(), KeyUsage.TICKET, sealed.cipher))
    cipher = encrypt(_krbtgt_key(), KeyUsage.TICKET, plain, bytes(16))
    return replace(tgt, ticket=replace(tgt.ticket, enc_part=replace(sealed, cipher=cipher)))


def _with_pac(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Change the PAC inside of a TGT."""

    def changed(plain: bytes) -> bytes:
        octets = split_ticket(plain).pac
        assert octets is not None
        part = asn1.decode(EncTicketPart, plain)
        element = wrap_if_relevant(change(octets))
        return asn1.encode(replace(part, authorization_data=(element,)))

    return changed


def _no_pac(plain: bytes) -> bytes:
    return asn1.encode(replace(asn1.decode(EncTicketPart, plain), authorization_data=None))


def test_the_control_gets_its_ticket(kdc: Kdc) -> None:
    """Else the refusals below would prove nothing."""
    tgt = new_tgt(kdc)
    assert _ask(kdc, tgt).code == 0
    assert _ask(kdc, _forged(tgt, _with_pac(lambda octets: octets))).code == 0


@pytest.mark.parametrize("cve", ["CVE-2021-3671", "CVE-2021-37750"])
def test_request_without_a_service_is_refused(kdc: Kdc, cve: str) -> None:
    """Heimdal and MIT dereferenced the missing sname, the latter inside FAST as well [T17]."""
    nameless = replace(tgs_body(), sname=None)
    empty = tgs_body(sname=PrincipalName(name_type=1, name_string=()))
    for body in (nameless, empty):
        outcome = _ask(kdc, new_tgt(kdc), body)
        assert code_of(outcome) == ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN, cve
    tgt = password_tgt(kdc)
    for sname in (None, PrincipalName(name_type=1, name_string=())):
        armored = FastTgsRequest(tgt=tgt, body=replace(TGS_BODY, sname=sname)).build()
        outcome = kdc.ask(armored.message, at=LATER)
        assert code_of(outcome) == ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN, cve
    nobodys = replace(body_for("pat"), sname=None)
    assert code_of(kdc.ask(as_req(nobodys))) == ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN
    garbled = as_req(nobodys, padata(PaType.FX_FAST, b"\xa0\x00"))
    assert code_of(kdc.ask(garbled)) == ErrorCode.KDC_ERR_PREAUTH_FAILED


def _unkeyed(cksumtype: int, data: bytes) -> Checksum:
    value = {
        1: zlib.crc32(data).to_bytes(4, "little"),
        7: md5(data, usedforsecurity=False).digest(),
        14: sha1(data, usedforsecurity=False).digest(),
        -131: bytes(16),
    }[cksumtype]
    return Checksum(cksumtype=cksumtype, checksum=value)


@pytest.mark.parametrize("cve", ["MS14-068", "CVE-2018-16860"])
@pytest.mark.parametrize("cksumtype", [1, 7, 14, -131])
def test_unkeyed_checksum_of_the_request_is_inappropriate(
    kdc: Kdc, cve: str, cksumtype: int
) -> None:
    """CRC-32, MD5 and SHA-1 are made by anybody [T13, T15]."""
    raw = asn1.encode(tgs_body())
    outcome = _ask(kdc, new_tgt(kdc), cksum=_unkeyed(cksumtype, raw))
    assert code_of(outcome) == ErrorCode.KRB_AP_ERR_INAPP_CKSUM, cve


@pytest.mark.parametrize("cksumtype", [1, 7, 14])
def test_ms14_068_unkeyed_pac_signature_is_refused(kdc: Kdc, cksumtype: int) -> None:
    """The PAC's own signatures are of the key's type or none at all [T06]."""

    def unkeyed(octets: bytes) -> bytes:
        at = parse_pac(octets).buffers[PacType.SERVER_CHECKSUM][0]
        return octets[:at] + cksumtype.to_bytes(4, "little") + octets[at + 4 :]

    outcome = _ask(kdc, _forged(new_tgt(kdc), _with_pac(unkeyed)))
    assert outcome.code in (
        ErrorCode.KDC_ERR_SUMTYPE_NOSUPP,
        ErrorCode.KRB_AP_ERR_MODIFIED,
        ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
    )


def _instead(new: bytes, _old: bytes) -> bytes:
    return new


def test_cve_2022_37967_changed_pac_is_refused(kdc: Kdc) -> None:
    """A bit of each buffer that has contents, the signatures left as they are [T05, T07]."""
    tgt = new_tgt(kdc)
    octets = split_ticket(decrypt(_krbtgt_key(), KeyUsage.TICKET, tgt.ticket.enc_part.cipher)).pac
    assert octets is not None
    for kind, (at, size) in parse_pac(octets).buffers.items():
        flipped = bytearray(octets)
        flipped[at + size - 1] ^= 1
        outcome = _ask(kdc, _forged(tgt, _with_pac(partial(_instead, bytes(flipped)))))
        assert outcome.code != 0, kind
        assert outcome.code in (ErrorCode.KRB_AP_ERR_MODIFIED, ErrorCode.KRB_AP_ERR_BAD_INTEGRITY)


_OVERFLOWS = {
    "more buffers than octets": struct.pack("<II", 0x10000001, 0) + bytes(64),
    "2^32 - 1 buffers": struct.pack("<II", 0xFFFFFFFF, 0) + bytes(64),
    "an offset that wraps": struct.pack("<IIIIQ", 1, 0, 1, 16, 2**64 - 8) + bytes(64),
    "a size that wraps": struct.pack("<IIIIQ", 1, 0, 1, 0xFFFFFFF8, 24) + bytes(64),
    "nothing": b"",
}


@pytest.mark.parametrize("case", _OVERFLOWS)
def test_cve_2022_42898_pac_counts_that_overflow_are_refused(kdc: Kdc, case: str) -> None:
    """MIT and Heimdal added and multiplied them in 32 bits [T18]."""
    with pytest.raises(PacError):
        parse_pac(_OVERFLOWS[case])
    outcome = _ask(kdc, _forged(new_tgt(kdc), _with_pac(partial(_instead, _OVERFLOWS[case]))))
    assert outcome.code in (ErrorCode.KRB_ERR_GENERIC, ErrorCode.KRB_AP_ERR_MODIFIED)


@pytest.mark.parametrize(
    "cve",
    ["CVE-2020-25717", "CVE-2020-25718", "CVE-2020-25719", "CVE-2020-25721", "CVE-2020-25722"],
)
def test_tgt_without_a_pac_is_revoked(kdc: Kdc, cve: str) -> None:
    """Names alone do not say which account a TGT was issued to [T01]."""
    outcome = _ask(kdc, _forged(new_tgt(kdc), _no_pac))
    assert code_of(outcome) == ErrorCode.KDC_ERR_TGT_REVOKED, cve


@pytest.mark.parametrize("cve", ["CVE-2021-42278", "CVE-2021-42287"])
def test_tgt_of_a_user_who_was_named_like_a_computer_never_becomes_the_computers(
    kdc: Kdc, cve: str
) -> None:
    """A user `dc1` gets a TGT and is gone; `dc1$` exists. No "$" is added [T04]."""
    user = kdc.add_user("dc1", keys=builders.password_keys("dc1"))
    tgt = new_tgt(kdc, "dc1")
    created = NOW.replace(year=2020)
    kdc.store.add_account(NewAccount(kind=AccountKind.COMPUTER, name="dc1$", created_at=created))
    assert _ask(kdc, tgt, name="dc1").code == 0
    kdc.store.delete_account(user)
    outcome = _ask(kdc, tgt, replace(tgs_body(), nonce=2), name="dc1")
    assert code_of(outcome) == ErrorCode.KDC_ERR_TGT_REVOKED, cve


def test_cve_2021_42287_new_account_of_the_old_name_is_another(kdc: Kdc) -> None:
    """The SID of the TGT's PAC is not that of today's account [T03]."""
    user = kdc.add_user("temp", keys=builders.password_keys("temp"))
    tgt = new_tgt(kdc, "temp")
    kdc.store.delete_account(user)
    kdc.add_user("temp", keys=builders.password_keys("temp"))
    outcome = _ask(kdc, tgt, name="temp")
    assert code_of(outcome) == ErrorCode.KDC_ERR_TGT_REVOKED


def test_golden_ticket_of_a_deleted_account_is_revoked(kdc: Kdc) -> None:
    """Whoever has the krbtgt key still gets nothing for nobody [T08]."""
    user = kdc.add_user("gone", keys=builders.password_keys("gone"))
    tgt = new_tgt(kdc, "gone")
    kdc.store.delete_account(user)
    outcome = _ask(kdc, tgt, name="gone")
    assert code_of(outcome) == ErrorCode.KDC_ERR_TGT_REVOKED


@pytest.mark.parametrize("cve", ["CVE-2022-2031", "CVE-2022-32744"])
def test_ticket_for_another_service_is_no_tgt(kdc: Kdc, cve: str) -> None:
    """Samba's kpasswd and krbtgt took each other's tickets [T10, T11]."""
    body = replace(body_for("pat"), sname=builders.name("host", "web.lab.test"))
    key = key_of(18)
    opened = open_password_reply(kdc.ask(as_req(body, enc_timestamp(key))), key, kdc, body)
    session = opened.part.key
    own = opened.as_rep.ticket
    named_tgt = replace(own, sname=builders.KRBTGT)
    for ticket, code in (
        (own, ErrorCode.KRB_AP_ERR_NOT_US),
        (named_tgt, ErrorCode.KRB_AP_ERR_BAD_INTEGRITY),
    ):
        tgt = Tgt(
            ticket=ticket, session_key=ProtocolKey(EncType(session.keytype), session.keyvalue)
        )
        assert code_of(_ask(kdc, tgt)) == code, cve


def test_cve_2020_17049_constrained_delegation_is_not_offered(kdc: Kdc) -> None:
    """The bit that Bronze bit sets is worth nothing where S4U2Proxy is refused [T12]."""
    tgt = new_tgt(kdc)
    body = tgs_body(
        kdc_options=KdcOption.CNAME_IN_ADDL_TKT | KdcOption.FORWARDABLE,
        additional_tickets=(tgt.ticket,),
    )
    assert code_of(_ask(kdc, tgt, body)) == ErrorCode.KDC_ERR_BADOPTION
