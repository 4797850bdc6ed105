"""RFC 4556's types against a second declaration of them, in pyasn1, straight from the document."""

from typing import Any

import pytest
from pyasn1.codec.der.decoder import decode as judge_decode  # type: ignore[import-untyped]  # no types
from pyasn1.codec.der.encoder import encode as judge_encode  # type: ignore[import-untyped]  # no types
from pyasn1.type import (  # type: ignore[import-untyped]  # it ships no types
    constraint,
    namedtype,
    tag,
    univ,
    useful,
)

from kdc.wire.rfc4556 import (
    AlgorithmIdentifier,
    AuthPack,
    DhRepInfo,
    DomainParameters,
    ExternalPrincipalIdentifier,
    KdcDhKeyInfo,
    KdfAlgorithmId,
    PaChecksum2,
    PaPkAsReq,
    PkAuthenticator,
    SubjectPublicKeyInfo,
    ValidationParms,
    decode_pa_pk_as_rep,
    encode_pa_pk_as_rep,
)
from pki import asn1, der
from pki.errors import DerFault, PkiError
from tests.kdc.builders import NOW

Judge = Any


def tagged(number: int, spec: Judge, *, implicit: bool = False) -> Judge:
    """Put [number] on a pyasn1 type."""
    made = tag.Tag(tag.tagClassContext, tag.tagFormatSimple, number)
    return spec.subtype(implicitTag=made) if implicit else spec.subtype(explicitTag=made)


def required(name: str, spec: Judge) -> Judge:
    return namedtype.NamedType(name, spec)


def optional(name: str, spec: Judge) -> Judge:
    return namedtype.OptionalNamedType(name, spec)


def sequence(*fields: Judge) -> type:
    """Declare a SEQUENCE."""
    return type("Declared", (univ.Sequence,), {"componentType": namedtype.NamedTypes(*fields)})


def sequence_of(item: Judge) -> Judge:
    return univ.SequenceOf(componentType=item)


OCTETS = univ.OctetString()
NONCE = univ.Integer().subtype(subtypeSpec=constraint.ValueRangeConstraint(0, 2**32 - 1))
Algorithm = sequence(
    required("algorithm", univ.ObjectIdentifier()), optional("parameters", univ.Any())
)
Spki = sequence(required("algorithm", Algorithm()), required("subjectPublicKey", univ.BitString()))
ExternalId = sequence(
    optional("subjectName", tagged(0, OCTETS, implicit=True)),
    optional("issuerAndSerialNumber", tagged(1, OCTETS, implicit=True)),
    optional("subjectKeyIdentifier", tagged(2, OCTETS, implicit=True)),
)
JudgePaPkAsReq = sequence(
    required("signedAuthPack", tagged(0, OCTETS, implicit=True)),
    optional("trustedCertifiers", tagged(1, sequence_of(ExternalId()))),
    optional("kdcPkId", tagged(2, OCTETS, implicit=True)),
)
Checksum2 = sequence(
    required("checksum", tagged(0, OCTETS)),
    required("algorithmIdentifier", tagged(1, Algorithm())),
)
Authenticator = sequence(
    required("cusec", tagged(0, univ.Integer())),
    required("ctime", tagged(1, useful.GeneralizedTime())),
    required("nonce", tagged(2, NONCE)),
    optional("paChecksum", tagged(3, OCTETS)),
    optional("freshnessToken", tagged(4, OCTETS)),
    optional("paChecksum2", tagged(5, Checksum2())),
)
KdfId = sequence(required("kdf-id", tagged(0, univ.ObjectIdentifier())))
JudgeAuthPack = sequence(
    required("pkAuthenticator", tagged(0, Authenticator())),
    optional("clientPublicValue", tagged(1, Spki())),
    optional("supportedCMSTypes", tagged(2, sequence_of(Algorithm()))),
    optional("clientDHNonce", tagged(3, OCTETS)),
    optional("supportedKDFs", tagged(4, sequence_of(KdfId()))),
)
JudgeDhRepInfo = sequence(
    required("dhSignedData", tagged(0, OCTETS, implicit=True)),
    optional("serverDHNonce", tagged(1, OCTETS)),
    optional("kdf", tagged(2, KdfId())),
)
JudgeKdcDhKeyInfo = sequence(
    required("subjectPublicKey", tagged(0, univ.BitString())),
    required("nonce", tagged(1, NONCE)),
    optional("dhKeyExpiration", tagged(2, useful.GeneralizedTime())),
)
Validation = sequence(required("seed", univ.BitString()), required("pgenCounter", univ.Integer()))
JudgeDomain = sequence(
    required("p", univ.Integer()),
    required("g", univ.Integer()),
    required("q", univ.Integer()),
    optional("j", univ.Integer()),
    optional("validationParms", Validation()),
)

ALGORITHM = AlgorithmIdentifier(algorithm="1.2.3.4", parameters=b"\x05\x00")
SPKI = SubjectPublicKeyInfo(algorithm=ALGORITHM, subject_public_key=b"\x02\x01\x05")
AUTHENTICATOR = PkAuthenticator(
    cusec=7,
    ctime=NOW,
    nonce=2**32 - 1,
    pa_checksum=bytes(20),
    freshness_token=b"token",
    pa_checksum2=PaChecksum2(checksum=bytes(32), algorithm_identifier=ALGORITHM),
)
KDF = KdfAlgorithmId(kdf_id="1.3.6.1.5.2.3.6.2")
DOMAIN = DomainParameters(
    p=23, g=2, q=11, j=2, validation_parms=ValidationParms(seed=b"s", pgen_counter=1)
)

TYPES: dict[str, tuple[object, Judge]] = {
    "PA-PK-AS-REQ": (
        PaPkAsReq(
            signed_auth_pack=b"signed",
            trusted_certifiers=(
                ExternalPrincipalIdentifier(subject_name=b"a"),
                ExternalPrincipalIdentifier(
                    issuer_and_serial_number=b"b", subject_key_identifier=b"c"
                ),
            ),
            kdc_pk_id=b"id",
        ),
        JudgePaPkAsReq,
    ),
    "PA-PK-AS-REQ, least": (PaPkAsReq(signed_auth_pack=b""), JudgePaPkAsReq),
    "AuthPack": (
        AuthPack(
            pk_authenticator=AUTHENTICATOR,
            client_public_value=SPKI,
            supported_cms_types=(ALGORITHM, AlgorithmIdentifier(algorithm="2.5.4.3")),
            client_dh_nonce=bytes(32),
            supported_kdfs=(KDF,),
        ),
        JudgeAuthPack,
    ),
    "AuthPack, least": (
        AuthPack(pk_authenticator=PkAuthenticator(cusec=0, ctime=NOW, nonce=0)),
        JudgeAuthPack,
    ),
    "DHRepInfo": (
        DhRepInfo(dh_signed_data=b"signed", server_dh_nonce=bytes(32), kdf=KDF),
        JudgeDhRepInfo,
    ),
    "KDCDHKeyInfo": (
        KdcDhKeyInfo(subject_public_key=b"\x04xy", nonce=5, dh_key_expiration=NOW),
        JudgeKdcDhKeyInfo,
    ),
    "DomainParameters": (DOMAIN, JudgeDomain),
}


@pytest.mark.parametrize("name", TYPES)
def test_judge_reads_and_writes_the_same_octets(name: str) -> None:
    """RFC 4556 appendix A: EXPLICIT tags, but where it says IMPLICIT."""
    value, spec = TYPES[name]
    ours = asn1.encode(value)
    read, rest = judge_decode(ours, asn1Spec=spec())
    assert (judge_encode(read), rest) == (ours, b"")
    assert asn1.decode(type(value), ours) == value


def test_reply_is_a_choice_of_dh_info() -> None:
    """RFC 4556 3.2.3: PA-PK-AS-REP is dhInfo [0], EXPLICIT around DHRepInfo."""
    info = DhRepInfo(dh_signed_data=b"signed")
    encoded = encode_pa_pk_as_rep(info)
    assert encoded == der.explicit(0, asn1.encode(info))
    assert decode_pa_pk_as_rep(encoded) == info


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", DerFault.TRUNCATED),
        (b"\xa0\x00", DerFault.MISSING_FIELD),
        (b"\x81\x01x", DerFault.BAD_TAG),
        (b"\xa0\x02\x05\x00", DerFault.BAD_TAG),
        (encode_pa_pk_as_rep(DhRepInfo(dh_signed_data=b"x")) + b"\x00", DerFault.TRAILING_DATA),
    ],
    ids=["nothing", "empty", "encKeyPack", "no SEQUENCE", "trailing"],
)
def test_other_replies_are_refused(data: bytes, fault: DerFault) -> None:
    """The client's reader takes dhInfo only."""
    with pytest.raises(PkiError) as caught:
        decode_pa_pk_as_rep(data)
    assert caught.value.fault is fault
