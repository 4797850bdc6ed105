"""RFC 4556 (PKINIT) with RFC 5349 (ECDH), RFC 8636 (KDF agility) and MS-PKCA (paChecksum2).

`implicit` and `explicit` follow the module's "EXPLICIT TAGS" header: only what RFC 4556 marks
IMPLICIT is so.
"""

from datetime import datetime

from kdc.wire.constants import TypedData
from kdc.wire.rfc4120 import TYPED_DATA, Checksum, EncryptionKey, PrincipalName, TypedDataElement
from pki import asn1, der
from pki.cms_syntax import AlgorithmIdentifier as AlgorithmIdentifier
from pki.errors import DerFault

ID_PKINIT_AUTH_DATA = "1.3.6.1.5.2.3.1"
ID_PKINIT_DH_KEY_DATA = "1.3.6.1.5.2.3.2"
ID_PKINIT_RKEY_DATA = "1.3.6.1.5.2.3.3"

DH_PUBLIC_NUMBER = "1.2.840.10046.2.1"
"""dhpublicnumber (RFC 3279 2.3.3): parameters are DomainParameters."""
EC_PUBLIC_KEY = "1.2.840.10045.2.1"
"""id-ecPublicKey (RFC 5349): parameters are a namedCurve."""

MAX_CERTIFIERS = 64
MAX_ALGORITHMS = 32


@asn1.sequence
class SubjectPublicKeyInfo:
    """SubjectPublicKeyInfo ::= SEQUENCE { algorithm AlgorithmIdentifier, BIT STRING }."""

    algorithm: AlgorithmIdentifier = asn1.plain(asn1.nested(AlgorithmIdentifier))
    subject_public_key: bytes = asn1.plain(asn1.BIT_STRING)


@asn1.sequence(extensible=True)
class ExternalPrincipalIdentifier:
    """ExternalPrincipalIdentifier ::= SEQUENCE {

    subjectName [0] IMPLICIT OCTET STRING OPTIONAL,
    issuerAndSerialNumber [1] IMPLICIT OCTET STRING OPTIONAL,
    subjectKeyIdentifier [2] IMPLICIT OCTET STRING OPTIONAL, ... }
    """

    subject_name: bytes | None = asn1.implicit(0, asn1.OCTET_STRING, default=None)
    issuer_and_serial_number: bytes | None = asn1.implicit(1, asn1.OCTET_STRING, default=None)
    subject_key_identifier: bytes | None = asn1.implicit(2, asn1.OCTET_STRING, default=None)


@asn1.sequence(extensible=True)
class PaPkAsReq:
    """PA-PK-AS-REQ ::= SEQUENCE {

    signedAuthPack [0] IMPLICIT OCTET STRING,
    trustedCertifiers [1] SEQUENCE OF ExternalPrincipalIdentifier OPTIONAL,
    kdcPkId [2] IMPLICIT OCTET STRING OPTIONAL, ... }
    """

    signed_auth_pack: bytes = asn1.implicit(0, asn1.OCTET_STRING)
    trusted_certifiers: tuple[ExternalPrincipalIdentifier, ...] | None = asn1.explicit(
        1, asn1.sequence_of(asn1.nested(ExternalPrincipalIdentifier), MAX_CERTIFIERS), default=None
    )
    kdc_pk_id: bytes | None = asn1.implicit(2, asn1.OCTET_STRING, default=None)


@asn1.sequence(extensible=True)
class PaChecksum2:
    """PAChecksum2 ::= SEQUENCE { checksum [0] OCTET STRING, algorithmIdentifier [1] } (MS-PKCA)."""

    checksum: bytes = asn1.explicit(0, asn1.OCTET_STRING)
    algorithm_identifier: AlgorithmIdentifier = asn1.explicit(1, asn1.nested(AlgorithmIdentifier))


@asn1.sequence(extensible=True)
class PkAuthenticator:
    """PKAuthenticator ::= SEQUENCE {

    cusec [0] INTEGER (0..999999), ctime [1] KerberosTime, nonce [2] INTEGER (0..4294967295),
    paChecksum [3] OCTET STRING OPTIONAL, ...,
    freshnessToken [4] OCTET STRING OPTIONAL (RFC 8070), paChecksum2 [5] OPTIONAL (MS-PKCA) }
    """

    cusec: int = asn1.explicit(0, asn1.MICROSECONDS)
    ctime: datetime = asn1.explicit(1, asn1.GENERALIZED_TIME)
    nonce: int = asn1.explicit(2, asn1.NONCE)
    pa_checksum: bytes | None = asn1.explicit(3, asn1.OCTET_STRING, default=None)
    freshness_token: bytes | None = asn1.explicit(4, asn1.OCTET_STRING, default=None)
    pa_checksum2: PaChecksum2 | None = asn1.explicit(5, asn1.nested(PaChecksum2), default=None)


@asn1.sequence(extensible=True)
class KdfAlgorithmId:
    """KDFAlgorithmId ::= SEQUENCE { kdf-id [0] OBJECT IDENTIFIER, ... } (RFC 8636)."""

    kdf_id: str = asn1.explicit(0, asn1.OID)


@asn1.sequence(extensible=True)
class AuthPack:
    """AuthPack ::= SEQUENCE {

    pkAuthenticator [0] PKAuthenticator, clientPublicValue [1] SubjectPublicKeyInfo OPTIONAL,
    supportedCMSTypes [2] SEQUENCE OF AlgorithmIdentifier OPTIONAL,
    clientDHNonce [3] OCTET STRING OPTIONAL, ...,
    supportedKDFs [4] SEQUENCE OF KDFAlgorithmId OPTIONAL (RFC 8636), ... }
    """

    pk_authenticator: PkAuthenticator = asn1.explicit(0, asn1.nested(PkAuthenticator))
    client_public_value: SubjectPublicKeyInfo | None = asn1.explicit(
        1, asn1.nested(SubjectPublicKeyInfo), default=None
    )
    supported_cms_types: tuple[AlgorithmIdentifier, ...] | None = asn1.explicit(
        2, asn1.sequence_of(asn1.nested(AlgorithmIdentifier), MAX_ALGORITHMS), default=None
    )
    client_dh_nonce: bytes | None = asn1.explicit(3, asn1.OCTET_STRING, default=None)
    supported_kdfs: tuple[KdfAlgorithmId, ...] | None = asn1.explicit(
        4, asn1.sequence_of(asn1.nested(KdfAlgorithmId), MAX_ALGORITHMS), default=None
    )


@asn1.sequence(extensible=True)
class ValidationParms:
    """ValidationParms ::= SEQUENCE { seed BIT STRING, pgenCounter INTEGER } (RFC 3279 2.3.3)."""

    seed: bytes = asn1.plain(asn1.BIT_STRING)
    pgen_counter: int = asn1.plain(asn1.INTEGER)


@asn1.sequence
class DomainParameters:
    """DomainParameters ::= SEQUENCE {

    p INTEGER, g INTEGER, q INTEGER, j INTEGER OPTIONAL, validationParms OPTIONAL } (RFC 3279)

    q is required there; tools leave it out or send 0, so it is optional here.
    """

    p: int = asn1.plain(asn1.INTEGER)
    g: int = asn1.plain(asn1.INTEGER)
    q: int | None = asn1.plain(asn1.INTEGER, default=None)
    j: int | None = asn1.plain(asn1.INTEGER, default=None)
    validation_parms: ValidationParms | None = asn1.plain(
        asn1.nested(ValidationParms), default=None
    )


@asn1.sequence(extensible=True)
class DhRepInfo:
    """DHRepInfo ::= SEQUENCE {

    dhSignedData [0] IMPLICIT OCTET STRING, serverDHNonce [1] OCTET STRING OPTIONAL, ...,
    kdf [2] KDFAlgorithmId OPTIONAL (RFC 8636), ... }
    """

    dh_signed_data: bytes = asn1.implicit(0, asn1.OCTET_STRING)
    server_dh_nonce: bytes | None = asn1.explicit(1, asn1.OCTET_STRING, default=None)
    kdf: KdfAlgorithmId | None = asn1.explicit(2, asn1.nested(KdfAlgorithmId), default=None)


@asn1.sequence(extensible=True)
class KdcDhKeyInfo:
    """KDCDHKeyInfo ::= SEQUENCE {

    subjectPublicKey [0] BIT STRING, nonce [1] INTEGER (0..4294967295),
    dhKeyExpiration [2] KerberosTime OPTIONAL, ... }
    """

    subject_public_key: bytes = asn1.explicit(0, asn1.BIT_STRING)
    nonce: int = asn1.explicit(1, asn1.NONCE)
    dh_key_expiration: datetime | None = asn1.explicit(2, asn1.GENERALIZED_TIME, default=None)


@asn1.sequence(extensible=True)
class ReplyKeyPack:
    """ReplyKeyPack ::= SEQUENCE { replyKey [0] EncryptionKey, asChecksum [1] Checksum, ... }."""

    reply_key: EncryptionKey = asn1.explicit(0, asn1.nested(EncryptionKey))
    as_checksum: Checksum = asn1.explicit(1, asn1.nested(Checksum))


@asn1.sequence
class Krb5PrincipalName:
    """KRB5PrincipalName ::= SEQUENCE { realm [0] Realm, principalName [1] PrincipalName }."""

    realm: str = asn1.explicit(0, asn1.GENERAL_STRING)
    principal_name: PrincipalName = asn1.explicit(1, asn1.nested(PrincipalName))


@asn1.sequence(extensible=True)
class PkinitSuppPubInfo:
    """PkinitSuppPubInfo ::= SEQUENCE {

    enctype [0] Int32, as-REQ [1] OCTET STRING, pk-as-rep [2] OCTET STRING, ... } (RFC 8636)
    """

    enctype: int = asn1.explicit(0, asn1.INT32)
    as_req: bytes = asn1.explicit(1, asn1.OCTET_STRING)
    pk_as_rep: bytes = asn1.explicit(2, asn1.OCTET_STRING)


@asn1.sequence
class OtherInfo:
    """OtherInfo ::= SEQUENCE {

    algorithmID AlgorithmIdentifier, partyUInfo [0] OCTET STRING, partyVInfo [1] OCTET STRING,
    suppPubInfo [2] OCTET STRING OPTIONAL, suppPrivInfo [3] OCTET STRING OPTIONAL } (RFC 8636)
    """

    algorithm_id: AlgorithmIdentifier = asn1.plain(asn1.nested(AlgorithmIdentifier))
    party_u_info: bytes = asn1.explicit(0, asn1.OCTET_STRING)
    party_v_info: bytes = asn1.explicit(1, asn1.OCTET_STRING)
    supp_pub_info: bytes | None = asn1.explicit(2, asn1.OCTET_STRING, default=None)
    supp_priv_info: bytes | None = asn1.explicit(3, asn1.OCTET_STRING, default=None)


TD_DH_PARAMETERS = asn1.sequence_of(asn1.nested(AlgorithmIdentifier), MAX_ALGORITHMS)
"""TD-DH-PARAMETERS ::= SEQUENCE OF AlgorithmIdentifier, most preferred first."""
TD_CMS_DIGEST_ALGORITHMS = TD_DH_PARAMETERS
"""TD-CMS-DIGEST-ALGORITHMS-DATA ::= SEQUENCE OF AlgorithmIdentifier (RFC 8636 section 4)."""

TD_EXTERNAL_IDENTIFIERS = asn1.sequence_of(asn1.nested(ExternalPrincipalIdentifier), MAX_CERTIFIERS)
"""TD-TRUSTED-CERTIFIERS, TD-INVALID-CERTIFICATES ::= SEQUENCE OF ExternalPrincipalIdentifier."""


@asn1.sequence(extensible=True)
class TdCertDigestAlgorithms:
    """TD-CERT-DIGEST-ALGORITHMS-DATA ::= SEQUENCE {

    allowedAlgorithms [0] SEQUENCE OF AlgorithmIdentifier,
    rejectedAlgorithm [1] AlgorithmIdentifier OPTIONAL, ... } (RFC 8636 section 5)
    """

    allowed_algorithms: tuple[AlgorithmIdentifier, ...] = asn1.explicit(
        0, asn1.sequence_of(asn1.nested(AlgorithmIdentifier), MAX_ALGORITHMS)
    )
    rejected_algorithm: AlgorithmIdentifier | None = asn1.explicit(
        1, asn1.nested(AlgorithmIdentifier), default=None
    )


def typed_data(data_type: TypedData, value: bytes) -> bytes:
    """Encode a TYPED-DATA of one element: the e-data of PKINIT errors (RFC 4556 3.2.2)."""
    element = TypedDataElement(data_type=data_type, data_value=value)
    return asn1.encode_as(TYPED_DATA, (element,))


_DH_INFO = 0xA0


def encode_pa_pk_as_rep(dh_info: DhRepInfo) -> bytes:
    """Encode PA-PK-AS-REP ::= CHOICE { dhInfo [0] DHRepInfo, encKeyPack [1] IMPLICIT ... }."""
    return der.tlv(_DH_INFO, asn1.encode(dh_info))


_ENC_KEY_PACK = 0x81


def encode_enc_key_pack(content_info: bytes) -> bytes:
    """Encode PA-PK-AS-REP with encKeyPack [1] IMPLICIT OCTET STRING: an EnvelopedData."""
    return der.tlv(_ENC_KEY_PACK, content_info)


def decode_pa_pk_as_rep(data: bytes) -> DhRepInfo:
    """Decode a PA-PK-AS-REP that must hold dhInfo. Raises PkiError."""
    start, end = der.open_tlv(data, _DH_INFO)
    if start == end:
        der.fail(DerFault.MISSING_FIELD, "PaPkAsRep.dhInfo")
    return asn1.decode(DhRepInfo, data[start:end])
