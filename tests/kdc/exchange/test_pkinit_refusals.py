"""PKINIT requests with one thing wrong: rows P, D and E06 of the negative rows, in their order.

The control of all of them is `test_pkinit_logon`: the same request without the defect.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from directory.changes import AccountChanges
from kdc.crypto.key_agreement import EC_GROUPS, GROUPS, MODP_GROUPS
from kdc.wire.constants import ErrorCode, KdcOption, NameType, PaType, TypedData
from kdc.wire.rfc4120 import HostAddress, KdcReqBody
from kdc.wire.rfc4556 import (
    DH_PUBLIC_NUMBER,
    EC_PUBLIC_KEY,
    TD_CMS_DIGEST_ALGORITHMS,
    TD_DH_PARAMETERS,
    AuthPack,
    DomainParameters,
    PaChecksum2,
    PkAuthenticator,
    SubjectPublicKeyInfo,
)
from pki import asn1, der, oids
from pki.ca import IssuedCertificate, KeyType
from pki.certificate import CertificateSyntax
from pki.keys import public_key_from_cryptography, rsa_key
from tests.kdc.builders import (
    BODY,
    KRBTGT,
    NOW,
    Kdc,
    PkinitRequest,
    add_hello_key,
    algorithm,
    as_req,
    body_digest,
    body_for,
    enc_timestamp,
    issued_ticket,
    key_of,
    name,
    open_reply,
    padata,
    refused,
    typed_data,
)
from tests.pki import issued, messages

FAILED = ErrorCode.KDC_ERR_PREAUTH_FAILED
INVALID_SIG = ErrorCode.KDC_ERR_INVALID_SIG
MODIFIED = ErrorCode.KRB_AP_ERR_MODIFIED
NOT_TRUSTED = ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED
BAD_GROUP = ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED

ATTRIBUTES = "SignedData: signedAttrs missing, repeated or out of order"
P14 = MODP_GROUPS[1]

Sign = Callable[[bytes, IssuedCertificate], bytes]


def ask(kdc: Kdc, request: PkinitRequest) -> tuple[int, str]:
    return refused(kdc.ask(request.build().message))


def signed_with(
    *,
    attributes: Callable[[bytes], tuple[bytes, ...]] | None = None,
    change_signature: Callable[[bytes], bytes] = lambda s: s,
    digest_algorithm: bytes | None = None,
    signature_algorithm: bytes | None = None,
    e_content_type: str = oids.ID_PKINIT_AUTH_DATA,
    certificates: tuple[bytes, ...] | None = None,
    digest: str = "sha256",
) -> Sign:
    """Return a way to sign that differs from `sign_auth_pack` where told."""

    def sign(content: bytes, signer: IssuedCertificate) -> bytes:
        usual = (messages.content_type(e_content_type), messages.message_digest(content, digest))
        info = messages.signer_info(
            signer,
            attributes=attributes(content) if attributes else usual,
            name=digest,
            change_signature=change_signature,
            digest_algorithm=digest_algorithm,
            signature_algorithm=signature_algorithm,
        )
        return messages.signed_data(
            signer=signer,
            infos=(info,),
            certificates=certificates,
            e_content_type=e_content_type,
            e_content=der.explicit(0, der.encode_octet_string(content)),
        )

    return sign


def flip_last_bit(octets: bytes) -> bytes:
    return octets[:-1] + bytes((octets[-1] ^ 1,))


# -- P: CMS and AuthPack ---------------------------------------------------------------------


def test_flipped_bit_in_the_signature_is_an_invalid_signature(kdc: Kdc) -> None:
    """Row P01; RFC 4556 3.2.2."""
    request = PkinitRequest(sign=signed_with(change_signature=flip_last_bit))
    assert ask(kdc, request) == (INVALID_SIG, "SignedData: signature does not verify")


def test_message_digest_of_other_content_is_an_invalid_signature(kdc: Kdc) -> None:
    """Row P02; RFC 5652 5.4."""
    sign = signed_with(
        attributes=lambda _: (messages.content_type(), messages.message_digest(b"another"))
    )
    assert ask(kdc, PkinitRequest(sign=sign)) == (
        INVALID_SIG,
        "SignedData: messageDigest is not the digest of the content",
    )


def _no_content_type(content: bytes) -> tuple[bytes, ...]:
    return (messages.message_digest(content),)


def test_missing_content_type_attribute_is_an_invalid_signature(kdc: Kdc) -> None:
    """Row P03; RFC 5652 11.1: the attribute is a MUST when there are signed attributes."""
    request = PkinitRequest(sign=signed_with(attributes=_no_content_type))
    assert ask(kdc, request) == (INVALID_SIG, ATTRIBUTES)


def test_missing_content_type_attribute_passes_under_its_switch(kdc: Kdc) -> None:
    """Row P03: Samba's own client omits it; cms_require_content_type = false lets it in."""
    kdc.configure(cms_require_content_type=False)
    request = PkinitRequest(sign=signed_with(attributes=_no_content_type))
    issued_ticket(kdc.ask(request.build().message))


def test_content_type_attribute_of_another_type_is_an_invalid_signature(kdc: Kdc) -> None:
    """Row P03; RFC 5652 11.1: it must be the eContentType."""
    sign = signed_with(
        attributes=lambda c: (messages.content_type(oids.ID_DATA), messages.message_digest(c))
    )
    assert ask(kdc, PkinitRequest(sign=sign)) == (INVALID_SIG, ATTRIBUTES)


@pytest.mark.parametrize("content_type", [oids.ID_DATA, oids.ID_PKINIT_RKEY_DATA])
def test_other_e_content_type_fails(kdc: Kdc, content_type: str) -> None:
    """Row P04: id-data belongs to PA 15, id-pkinit-rkeyData to replies."""
    request = PkinitRequest(sign=signed_with(e_content_type=content_type))
    assert ask(kdc, request) == (FAILED, "SignedData: wrong eContentType")


def test_no_signer_fails(kdc: Kdc) -> None:
    """Row P05: without a SignerInfo nobody has signed; only anonymous PKINIT may do that."""

    def sign(content: bytes, signer: IssuedCertificate) -> bytes:
        e_content = der.explicit(0, der.encode_octet_string(content))
        return messages.signed_data(signer=signer, infos=(), e_content=e_content)

    assert ask(kdc, PkinitRequest(sign=sign)) == (FAILED, "SignedData: no SignerInfo")


def test_bare_content_info_fails(kdc: Kdc) -> None:
    """Row P06: the unsigned ContentInfo of MIT clients before 1.10."""

    def sign(content: bytes, _signer: IssuedCertificate) -> bytes:
        return messages.content_info(der.encode_octet_string(content), oids.ID_PKINIT_AUTH_DATA)

    assert ask(kdc, PkinitRequest(sign=sign)) == (FAILED, "SignedData: not a SignedData")


def test_two_valid_signers_fail(kdc: Kdc) -> None:
    """Row P07; RFC 4556 3.2.1: exactly one signerInfo, else who is it?"""

    def sign(content: bytes, _signer: IssuedCertificate) -> bytes:
        both = issued.hello("alice"), issued.hello("bob")
        attributes = (messages.content_type(), messages.message_digest(content))
        return messages.signed_data(
            infos=tuple(messages.signer_info(s, attributes=attributes) for s in both),
            certificates=tuple(s.certificate_der for s in both),
            e_content=der.explicit(0, der.encode_octet_string(content)),
        )

    assert ask(kdc, PkinitRequest(sign=sign)) == (FAILED, "SignedData: more than one SignerInfo")


def test_certificate_beside_the_signers_gives_no_identity(kdc: Kdc) -> None:
    """Row P08: bob signs, alice's certificate is in the bag, cname is alice: a name mismatch."""
    bag = (issued.hello("alice").certificate_der, issued.hello("bob").certificate_der)
    request = PkinitRequest(signer=issued.hello("bob"), sign=signed_with(certificates=bag))
    assert ask(kdc, request) == (
        ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
        "the signer's key is registered on another account than the one named",
    )


def test_signer_identifier_of_another_certificate_is_an_invalid_signature(kdc: Kdc) -> None:
    """Row P08: bob signs and says alice's certificate is his."""
    forged = IssuedCertificate(
        certificate_der=issued.hello("alice").certificate_der,
        private_key=issued.hello("bob").private_key,
    )
    request = PkinitRequest(signer=forged)
    assert ask(kdc, request) == (INVALID_SIG, "SignedData: signature does not verify")


@pytest.mark.parametrize("bag", [(), ("bob",)], ids=["empty", "another's"])
def test_absent_signer_certificate_cannot_be_verified(kdc: Kdc, bag: tuple[str, ...]) -> None:
    """Row P09: we know no certificates by heart."""
    certificates = tuple(issued.hello(n).certificate_der for n in bag)
    assert ask(kdc, PkinitRequest(sign=signed_with(certificates=certificates))) == (
        ErrorCode.KDC_ERR_CANT_VERIFY_CERTIFICATE,
        "SignedData: signer's certificate not in the message",
    )


@pytest.mark.parametrize(
    ("digest", "why"),
    [
        ("md5", "SignedData: digest algorithm not accepted"),
        ("sha1", "SignedData: SHA-1 is off (legacy_sha1_cms)"),
    ],
)
def test_weak_digest_is_refused_with_the_list_of_ours(kdc: Kdc, digest: str, why: str) -> None:
    """Row P10: 80 with TD-CMS-DIGEST-ALGORITHMS-DATA (RFC 4556 3.2.2, RFC 8636 4)."""
    outcome = kdc.ask(PkinitRequest(sign=signed_with(digest=digest)).build().message)
    assert refused(outcome) == (ErrorCode.KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED, why)
    (element,) = typed_data(outcome)
    assert element.data_type == TypedData.CMS_DIGEST_ALGORITHMS
    assert element.data_value is not None
    listed = asn1.decode_as(TD_CMS_DIGEST_ALGORITHMS, element.data_value)
    assert listed == tuple(algorithm(oid) for oid in (oids.SHA256, oids.SHA384, oids.SHA512))


def test_sha1_passes_under_its_switch(kdc: Kdc) -> None:
    """Row P10, control: Windows before 11 24H2 signs with SHA-1 (legacy_sha1_cms)."""
    kdc.configure(legacy_sha1_cms=True)
    issued_ticket(kdc.ask(PkinitRequest(sign=signed_with(digest="sha1")).build().message))


def test_list_of_digests_has_sha1_under_its_switch(kdc: Kdc) -> None:
    """Row P10: what we list is what we take, the preferred first."""
    kdc.configure(legacy_sha1_cms=True)
    outcome = kdc.ask(PkinitRequest(sign=signed_with(digest="md5")).build().message)
    (element,) = typed_data(outcome)
    assert element.data_value is not None
    listed = asn1.decode_as(TD_CMS_DIGEST_ALGORITHMS, element.data_value)
    assert listed[-1] == algorithm(oids.SHA1)
    assert len(listed) == 4


@pytest.mark.parametrize("named", [oids.SHA512_WITH_RSA, oids.SHA1_WITH_RSA, oids.MD5_WITH_RSA])
def test_two_names_for_the_hash_are_an_invalid_signature(kdc: Kdc, named: str) -> None:
    """Row P11: digestAlgorithm SHA-256, signatureAlgorithm with another hash."""
    algorithm_der = messages.algorithm(named, messages.NULL)
    request = PkinitRequest(sign=signed_with(signature_algorithm=algorithm_der))
    assert ask(kdc, request) == (
        INVALID_SIG,
        "SignedData: signatureAlgorithm and digestAlgorithm disagree",
    )


def test_unknown_signature_algorithm_is_an_invalid_signature(kdc: Kdc) -> None:
    """Row P11's neighbour: an algorithm that we cannot verify proves nothing."""
    request = PkinitRequest(sign=signed_with(signature_algorithm=messages.algorithm("1.2.3.4")))
    assert ask(kdc, request) == (INVALID_SIG, "SignedData: signature algorithm not accepted")


def with_key(n: int, e: int) -> IssuedCertificate:
    """Return alice's certificate with another key in it; nobody has the private half."""
    alice = issued.hello("alice")
    syntax = asn1.decode(CertificateSyntax, alice.certificate_der)
    tbs = replace(syntax.tbs_certificate, subject_public_key_info=rsa_key(n, e).spki_der())
    changed = asn1.encode(replace(syntax, tbs_certificate=tbs))
    return IssuedCertificate(certificate_der=changed, private_key=alice.private_key)


@cache
def alice_n() -> int:
    return public_key_from_cryptography(issued.hello("alice").private_key.public_key()).n


@pytest.mark.parametrize(
    ("n", "e", "why"),
    [
        (lambda: (1 << 1023) | 1, 65537, "SignedData: too small"),
        (lambda: (1 << 16383) | 1, 65537, "SignedData: too large"),
        (alice_n, 3, "SignedData: public exponent not accepted"),
        (alice_n, 1, "SignedData: public exponent not accepted"),
        (alice_n, 65536, "SignedData: public exponent not accepted"),
        (alice_n, 1 << 32 | 1, "SignedData: public exponent not accepted"),
        (lambda: 3 * (1 << 2047 | 1), 65537, "SignedData: malformed"),
    ],
    ids=["1024 bits", "16384 bits", "e=3", "e=1", "e even", "e large", "small factor"],
)
def test_key_outside_the_policy_is_not_trusted(
    kdc: Kdc, n: Callable[[], int], e: int, why: str
) -> None:
    """Row P13: refused by its numbers, before the library sees it."""
    assert ask(kdc, PkinitRequest(signer=with_key(n(), e))) == (NOT_TRUSTED, why)


def test_key_of_an_unknown_curve_is_not_trusted(kdc: Kdc) -> None:
    """Row P13's neighbour: P-256 renamed to secp256k1 in the certificate."""
    made = issued.hello("carol", KeyType.EC_P256)
    p256, k256 = der.encode_oid("1.2.840.10045.3.1.7"), der.encode_oid("1.3.132.0.10")
    syntax = asn1.decode(CertificateSyntax, made.certificate_der)
    spki = syntax.tbs_certificate.subject_public_key_info
    start, end = der.open_tlv(spki, der.SEQUENCE)
    parts = [spki[at:stop] for _, at, _, stop in der.children(spki, start, end)]
    named = der.sequence(der.encode_oid(EC_PUBLIC_KEY), k256)
    assert p256 in parts[0]
    tbs = replace(syntax.tbs_certificate, subject_public_key_info=der.sequence(named, parts[1]))
    signer = replace(made, certificate_der=asn1.encode(replace(syntax, tbs_certificate=tbs)))
    sign = signed_with(signature_algorithm=messages.algorithm(oids.ECDSA_WITH_SHA256))
    assert ask(kdc, PkinitRequest(signer=signer, sign=sign)) == (
        NOT_TRUSTED,
        "SignedData: unsupported algorithm or curve",
    )


def test_padding_garbage_is_an_invalid_signature(kdc: Kdc) -> None:
    """Row P14: an RSA value that opens to no PKCS #1 v1.5 padding."""
    sign = signed_with(change_signature=lambda s: b"\x00" * (len(s) - 1) + b"\x02")
    assert ask(kdc, PkinitRequest(sign=sign)) == (
        INVALID_SIG,
        "SignedData: signature does not verify",
    )


@pytest.mark.parametrize("zero", ["r", "s", "both"])
def test_ecdsa_with_a_zero_is_an_invalid_signature(kdc: Kdc, zero: str) -> None:
    """Row P14: r or s of zero verifies under careless arithmetic (CVE-2022-21449)."""
    kdc.add_user("carol")
    carol = issued.hello("carol", KeyType.EC_P256)
    add_hello_key(kdc.store, "carol", public_key_from_cryptography(carol.private_key.public_key()))

    def zeroed(signature: bytes) -> bytes:
        r, s = decode_dss_signature(signature)
        return encode_dss_signature(0 if zero != "s" else r, 0 if zero != "r" else s)

    request = partial(PkinitRequest, body=body_for("carol"), signer=carol)
    good = request(sign=signed_with(signature_algorithm=None)).build()
    open_reply(kdc.ask(good.message), good, kdc)
    assert ask(kdc, request(sign=signed_with(change_signature=zeroed))) == (
        INVALID_SIG,
        "SignedData: signature does not verify",
    )


def test_absent_pa_checksum_must_be_included(kdc: Kdc) -> None:
    """Row P15; RFC 4556 3.2.3."""

    def drop(auth: PkAuthenticator) -> PkAuthenticator:
        return replace(auth, pa_checksum=None)

    assert ask(kdc, PkinitRequest(change_authenticator=drop)) == (
        ErrorCode.KDC_ERR_PA_CHECKSUM_MUST_BE_INCLUDED,
        "the AuthPack has no paChecksum",
    )


@pytest.mark.parametrize(
    "changed",
    [
        replace(BODY, till=BODY.till + timedelta(seconds=1)),
        replace(BODY, etype=(17,)),
        replace(BODY, sname=name("host", "web.lab.test", name_type=NameType.SRV_HST)),
        replace(BODY, cname=name("bob")),
        replace(BODY, cname=name("Alice")),
        replace(BODY, realm="lab.test"),
        replace(BODY, nonce=BODY.nonce + 1),
        replace(BODY, kdc_options=BODY.kdc_options | KdcOption.PROXIABLE),
        replace(BODY, rtime=None),
        replace(BODY, addresses=(HostAddress(addr_type=2, address=bytes(4)),)),
    ],
    ids=["till", "etype", "sname", "cname", "case", "realm", "nonce", "options", "rtime", "caddr"],
)
def test_body_changed_after_signing_is_modified(kdc: Kdc, changed: KdcReqBody) -> None:
    """Row P16: paChecksum covers the received body; Windows and MIT answer 41."""
    assert ask(kdc, PkinitRequest(sent_body=changed)) == (
        MODIFIED,
        "paChecksum is not the checksum of the request's body",
    )


def checksum2(oid: str, value: bytes) -> Callable[[PkAuthenticator], PkAuthenticator]:
    second = PaChecksum2(checksum=value, algorithm_identifier=algorithm(oid))
    return lambda auth: replace(auth, pa_checksum2=second)


@pytest.mark.parametrize(
    ("oid", "digest"),
    [
        (oids.SHA1, "sha1"),
        (oids.SHA256, "sha256"),
        (oids.SHA384, "sha384"),
        (oids.SHA512, "sha512"),
    ],
)
def test_right_pa_checksum2_passes(kdc: Kdc, oid: str, digest: str) -> None:
    """Row P17, control: MS-PKCA 2.2.3 with each hash."""
    change = checksum2(oid, body_digest(BODY, digest))
    issued_ticket(kdc.ask(PkinitRequest(change_authenticator=change).build().message))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            checksum2(oids.SHA256, bytes(32)),
            "paChecksum2 is not the checksum of the request's body",
        ),
        (
            checksum2(oids.SHA512, body_digest(BODY, "sha256")),
            "paChecksum2 is not the checksum of the request's body",
        ),
        (
            checksum2(oids.MD5, body_digest(BODY, "md5")),
            "paChecksum2 has an unknown algorithm",
        ),
    ],
    ids=["wrong", "of another hash", "MD5"],
)
def test_wrong_pa_checksum2_is_modified(
    kdc: Kdc, change: Callable[[PkAuthenticator], PkAuthenticator], why: str
) -> None:
    """Row P17: when present it is always validated, though paChecksum is right."""
    assert ask(kdc, PkinitRequest(change_authenticator=change)) == (MODIFIED, why)


def test_rsa_reply_mode_is_not_supported(kdc: Kdc) -> None:
    """Row P18: without clientPublicValue the client wants an RSA-encrypted reply."""

    def drop(auth_pack: AuthPack) -> AuthPack:
        return replace(auth_pack, client_public_value=None)

    assert ask(kdc, PkinitRequest(change_auth_pack=drop)) == (
        ErrorCode.KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED,
        "the client asks for an RSA-encrypted reply, which is off",
    )


@pytest.mark.parametrize("pa_type", [PaType.PK_AS_REQ_OLD, PaType.PK_AS_REP_OLD])
def test_old_pkinit_alone_is_not_supported(kdc: Kdc, pa_type: PaType) -> None:
    """Row P21: the drafts' types 14 and 15."""
    assert refused(kdc.ask(as_req(BODY, padata(pa_type, b"\x30\x00")))) == (
        ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP,
        "PA-PK-AS-REQ-OLD (a draft) is not supported",
    )


def test_two_pk_as_req_fail(kdc: Kdc) -> None:
    """Row P22: which of the two would the reply belong to?"""
    first = PkinitRequest().build()
    second = PkinitRequest(after=(padata(PaType.PK_AS_REQ, first.signed),)).build()
    assert refused(kdc.ask(second.message)) == (FAILED, "the same pre-authentication data twice")


def _smart_card_pat(kdc: Kdc) -> None:
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(smartcard_required=True))


@pytest.mark.parametrize("first", [True, False], ids=["timestamp first", "timestamp last"])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"change_value": lambda v: v + b"\x00"}, FAILED),
        ({"change_signed": flip_last_bit}, INVALID_SIG),
        ({}, NOT_TRUSTED),
    ],
    ids=["malformed", "bad signature", "unregistered key"],
)
def test_good_password_beside_failed_pkinit_gets_no_ticket(
    kdc: Kdc, change: dict[str, Callable[[bytes], bytes]], code: ErrorCode, first: bool
) -> None:
    """Row P23, CVE-2015-2694: PKINIT data are judged alone, the valid timestamp is not looked at.

    24 or 12 in the row; a cause that PKINIT has a code of its own for keeps it.
    """
    _smart_card_pat(kdc)
    timestamp = (enc_timestamp(key_of(18)),)
    request = PkinitRequest(
        body=body_for("pat"),
        signer=issued.hello("stranger"),
        before=timestamp if first else (),
        after=() if first else timestamp,
    )
    for field_name, breaker in change.items():
        setattr(request, field_name, breaker)
    assert ask(kdc, request)[0] == code


def test_timestamp_of_smart_card_only_account_is_refused_by_policy(kdc: Kdc) -> None:
    """Rows P23 and A05, control: the password alone gets 12."""
    _smart_card_pat(kdc)
    assert refused(kdc.ask(as_req(body_for("pat"), enc_timestamp(key_of(18)))))[0] == (
        ErrorCode.KDC_ERR_POLICY
    )


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (
            PkinitRequest(change_signed=lambda v: v + b"\x00"),
            "SignedData: trailing data",
        ),
        (
            PkinitRequest(change_content=lambda v: v + b"\x05\x00"),
            "AuthPack: trailing data",
        ),
        (
            PkinitRequest(change_value=lambda v: v + b"\x00"),
            "PA-PK-AS-REQ: trailing data",
        ),
    ],
    ids=["signedAuthPack", "AuthPack", "PA-PK-AS-REQ"],
)
def test_trailing_bytes_fail(kdc: Kdc, request_: PkinitRequest, why: str) -> None:
    """Row P24: also where the signature would cover them."""
    assert ask(kdc, request_) == (FAILED, why)


@pytest.mark.parametrize("pa_type", [PaType.PK_AS_REQ_OLD, PaType.PK_AS_REP_OLD])
def test_old_and_new_pkinit_together_are_a_generic_error(kdc: Kdc, pa_type: PaType) -> None:
    """Row P25; MS-PKCA 3.1.5.2."""
    request = PkinitRequest(after=(padata(pa_type, b"\x30\x00"),))
    assert ask(kdc, request) == (
        ErrorCode.KRB_ERR_GENERIC,
        "PA-PK-AS-REQ together with PA-PK-AS-REQ-OLD",
    )


def test_unsorted_signed_attributes_are_an_invalid_signature(kdc: Kdc) -> None:
    """Row E06; RFC 5652 5.4: signed attributes are in DER order, whatever was signed."""
    sign = signed_with(attributes=lambda c: (messages.message_digest(c), messages.content_type()))
    assert ask(kdc, PkinitRequest(sign=sign)) == (INVALID_SIG, ATTRIBUTES)


# -- D: Diffie-Hellman -----------------------------------------------------------------------


def spki(oid: str, parameters: bytes | None, public: bytes) -> Callable[[AuthPack], AuthPack]:
    """Return a change that puts this clientPublicValue into an AuthPack."""
    value = SubjectPublicKeyInfo(algorithm=algorithm(oid, parameters), subject_public_key=public)
    return lambda auth_pack: replace(auth_pack, client_public_value=value)


def modp(p: int, g: int, q: int | None, y: int) -> Callable[[AuthPack], AuthPack]:
    """Return a change to a finite-field value with these numbers."""
    parameters = asn1.encode(DomainParameters(p=p, g=g, q=q))
    return spki(DH_PUBLIC_NUMBER, parameters, der.encode_integer(y))


def check_group_refused(
    kdc: Kdc, change: Callable[[AuthPack], AuthPack], why: str, group: str = "p256"
) -> None:
    """Check for 65 with our list of groups."""
    outcome = kdc.ask(PkinitRequest(change_auth_pack=change, group=group).build().message)
    assert refused(outcome) == (BAD_GROUP, why)
    (element,) = typed_data(outcome)
    assert element.data_type == TypedData.DH_PARAMETERS
    assert element.data_value is not None
    ours = ("modp14", "modp16", "p256", "p384", "p521")
    listed = asn1.decode_as(TD_DH_PARAMETERS, element.data_value)
    assert [asn1.encode(a) for a in listed] == [GROUPS[n].algorithm_identifier for n in ours]


UNKNOWN = "the Diffie-Hellman group is not a known one"


@pytest.mark.parametrize("bits", [2048, 3072, 16384])
def test_unknown_prime_is_refused_with_the_list_of_ours(kdc: Kdc, bits: int) -> None:
    """Rows D01 and D06: only exact matches; a huge p costs a comparison."""
    check_group_refused(kdc, modp((1 << bits) - 1, 2, None, 5), UNKNOWN)


def test_prime_beyond_the_limit_of_integers_is_refused(kdc: Kdc) -> None:
    """Row D06: an INTEGER that our DER does not read is a group we do not have."""
    check_group_refused(
        kdc, modp((1 << 16600) - 1, 2, None, 5), "clientPublicValue has malformed parameters"
    )


def test_group_2_is_refused_and_names_its_switch(kdc: Kdc) -> None:
    """Row D02: 1024 bits are off by default."""
    check_group_refused(
        kdc, lambda a: a, "Diffie-Hellman group 2 is off (legacy_dh_group2)", "modp2"
    )


NOT_IN_GROUP = "the client's public value is not in the group"


@pytest.mark.parametrize(
    "y",
    [0, 1, P14.p - 1, P14.p, P14.p + 2, -1],
    ids=["0", "1", "p-1", "p", "p+2", "negative"],
)
def test_public_value_outside_the_group_is_refused(kdc: Kdc, y: int) -> None:
    """Row D03; SP 800-56A: 1 < y < p-1."""
    check_group_refused(kdc, modp(P14.p, 2, P14.q, y), NOT_IN_GROUP)


def test_public_value_that_is_no_integer_is_refused(kdc: Kdc) -> None:
    """Row D03: the BIT STRING must hold the DER of one INTEGER."""
    parameters = asn1.encode(DomainParameters(p=P14.p, g=2, q=P14.q))
    check_group_refused(kdc, spki(DH_PUBLIC_NUMBER, parameters, b"\x04\x01\x05"), NOT_IN_GROUP)


@pytest.mark.parametrize(
    ("g", "q"),
    [(1, None), (P14.p - 1, None), (3, None), (2, P14.q - 1), (2, 2)],
    ids=["g=1", "g=p-1", "g=3", "q off by one", "q=2"],
)
def test_other_generator_or_order_is_refused(kdc: Kdc, g: int, q: int | None) -> None:
    """Row D04: p alone does not make it our group."""
    check_group_refused(kdc, modp(P14.p, g, q, 5), UNKNOWN)


@pytest.mark.parametrize("q", [None, 0, P14.q], ids=["absent", "0", "(p-1)/2"])
def test_order_that_tools_send_passes(kdc: Kdc, q: int | None) -> None:
    """Row D04, control: minikerberos sends q = 0, Rubeus none."""

    def change(auth_pack: AuthPack) -> AuthPack:
        value = auth_pack.client_public_value
        assert value is not None
        parameters = asn1.encode(DomainParameters(p=P14.p, g=2, q=q))
        changed = replace(value, algorithm=algorithm(DH_PUBLIC_NUMBER, parameters))
        return replace(auth_pack, client_public_value=changed)

    sent = PkinitRequest(group="modp14", change_auth_pack=change).build()
    open_reply(kdc.ask(sent.message), sent, kdc)


def _point(change: Callable[[bytes], bytes]) -> Callable[[AuthPack], AuthPack]:
    def change_value(auth_pack: AuthPack) -> AuthPack:
        value = auth_pack.client_public_value
        assert value is not None
        changed = replace(value, subject_public_key=change(value.subject_public_key))
        return replace(auth_pack, client_public_value=changed)

    return change_value


@pytest.mark.parametrize(
    "change",
    [
        flip_last_bit,
        lambda _: b"\x00",
        lambda _: b"",
        lambda point: bytes((2 + (point[-1] & 1),)) + point[1:33],
        lambda point: b"\x04" + bytes(64),
        lambda point: point + b"\x00",
    ],
    ids=["off curve", "infinity", "empty", "compressed", "origin", "too long"],
)
def test_bad_point_is_refused(kdc: Kdc, change: Callable[[bytes], bytes]) -> None:
    """Row D05; RFC 5349: only uncompressed points on the curve."""
    check_group_refused(kdc, _point(change), NOT_IN_GROUP)


def test_point_of_another_curve_is_refused(kdc: Kdc) -> None:
    """Row D05: a P-384 point under the name of P-256."""
    p256 = der.encode_oid(EC_GROUPS[0].curve_oid)
    point = GROUPS["p384"].key_pair(7).public
    check_group_refused(kdc, spki(EC_PUBLIC_KEY, p256, point), NOT_IN_GROUP)


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        (der.encode_oid("1.2.840.10045.3.1.1"), "the curve is not a known one"),
        (der.encode_oid("1.3.132.0.10"), "the curve is not a known one"),
        (
            der.sequence(der.encode_integer(1)),
            "clientPublicValue has malformed parameters",
        ),
        (der.tlv(der.NULL, b""), "clientPublicValue has malformed parameters"),
    ],
    ids=["P-192", "secp256k1", "explicit", "implicitCurve"],
)
def test_other_curve_is_refused(kdc: Kdc, parameters: bytes, why: str) -> None:
    """Row D05: named curves only, and only the three (CVE-2020-0601)."""
    check_group_refused(kdc, spki(EC_PUBLIC_KEY, parameters, bytes(65)), why)


@pytest.mark.parametrize("oid", [DH_PUBLIC_NUMBER, EC_PUBLIC_KEY])
def test_absent_parameters_are_refused(kdc: Kdc, oid: str) -> None:
    """Row D07: no group is named."""
    check_group_refused(
        kdc, spki(oid, None, b"\x02\x01\x05"), "clientPublicValue has no parameters"
    )


def test_unknown_key_algorithm_is_refused(kdc: Kdc) -> None:
    """Row D07's neighbour: an RSA key where a Diffie-Hellman value belongs."""
    check_group_refused(
        kdc,
        spki(oids.RSA_ENCRYPTION, messages.NULL, b"\x30\x00"),
        "clientPublicValue is of an unknown algorithm",
    )


def _with_unused_bits(content: bytes) -> bytes:
    """Set the unused-bits octet of the AuthPack's only BIT STRING to 1."""
    auth_pack = asn1.decode(AuthPack, content)
    assert auth_pack.client_public_value is not None
    whole = der.encode_bit_string(auth_pack.client_public_value.subject_public_key)
    assert content.count(whole) == 1
    at = content.index(whole) + whole.index(b"\x00", 2 if whole[1] < 0x80 else 3)
    return content[:at] + b"\x01" + content[at + 1 :]


@pytest.mark.parametrize("group", ["p256", "modp14"])
def test_unused_bits_in_the_public_value_are_refused(kdc: Kdc, group: str) -> None:
    """Row D07: a public value is made of whole octets."""
    outcome = kdc.ask(PkinitRequest(change_content=_with_unused_bits, group=group).build().message)
    assert refused(outcome) == (BAD_GROUP, "clientPublicValue is malformed")
    assert typed_data(outcome)[0].data_type == TypedData.DH_PARAMETERS


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "AuthPack: truncated"),
        (b"\x31\x00", "AuthPack: unexpected tag"),
        (b"\x30\x00", "AuthPack: required field missing"),
        (der.sequence(*[der.explicit(2, b"\x05\x00")] * 17), "AuthPack: over a limit"),
    ],
    ids=["empty", "a SET", "no fields", "seventeen fields"],
)
def test_malformed_auth_pack_fails(kdc: Kdc, content: bytes, why: str) -> None:
    """Row P24's neighbour: what is no AuthPack at all is 24, not the group's fault."""
    assert ask(kdc, PkinitRequest(change_content=lambda _: content)) == (FAILED, why)


def test_malformed_authenticator_beside_a_good_public_value_fails(kdc: Kdc) -> None:
    """Row F01: a ctime with second 60 is malformed, 24, whatever else the AuthPack holds."""

    def second_60(content: bytes) -> bytes:
        good = der.encode_generalized_time(NOW)
        return content.replace(good, good[:-3] + b"60Z")

    assert ask(kdc, PkinitRequest(change_content=second_60)) == (
        FAILED,
        "AuthPack: value not in its canonical form or out of range",
    )


@pytest.mark.parametrize("size", [0, 15, 513, 60_000])
def test_client_dh_nonce_of_a_senseless_size_fails(kdc: Kdc, size: int) -> None:
    """Row D08: too short to make the reply key fresh, or a burden."""
    assert ask(kdc, PkinitRequest(dh_nonce=bytes(size))) == (FAILED, "AuthPack: over a limit")


def test_group_smaller_than_the_minimum_is_refused(kdc: Kdc) -> None:
    """pkinit_dh_min_bits counts bits of p; curves are not concerned."""
    kdc.configure(pkinit_dh_min_bits=4096)
    assert ask(kdc, PkinitRequest(group="modp14")) == (
        BAD_GROUP,
        "the Diffie-Hellman group is smaller than pkinit_dh_min_bits",
    )
    sent = PkinitRequest(group="p256").build()
    open_reply(kdc.ask(sent.message), sent, kdc)


def test_group_larger_than_the_maximum_is_refused(kdc: Kdc) -> None:
    """Where group 16 is too dear; the others are as they were."""
    kdc.configure(pkinit_dh_max_bits=2048)
    assert ask(kdc, PkinitRequest(group="modp16")) == (
        BAD_GROUP,
        "the Diffie-Hellman group is larger than pkinit_dh_max_bits",
    )
    for group in ("modp14", "p256"):
        sent = PkinitRequest(group=group).build()
        open_reply(kdc.ask(sent.message), sent, kdc)


def test_key_of_the_service_name_is_the_krbtgts(kdc: Kdc) -> None:
    """Control of this file: the default request gets a TGT for krbtgt/LAB.TEST."""
    sent = PkinitRequest().build()
    assert open_reply(kdc.ask(sent.message), sent, kdc).as_rep.ticket.sname == KRBTGT
