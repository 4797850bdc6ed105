"""The ASN.1 of CMS SignedData (RFC 5652) and of the algorithms PKINIT names in it."""

from pki import asn1

MAX_CERTIFICATES = 64  # kept unread; how many a chain may use is its work budget
MAX_ATTRIBUTES = 16  # a PKINIT client sends two; Windows and Samba's tests up to five
MAX_SIGNERS_COUNTED = 16


@asn1.sequence
class AlgorithmIdentifier:
    """AlgorithmIdentifier ::= SEQUENCE { algorithm OID, parameters ANY OPTIONAL }"""

    algorithm: str = asn1.plain(asn1.OID)
    parameters: bytes | None = asn1.plain(asn1.ANY, default=None)


@asn1.sequence
class ContentInfo:
    """ContentInfo ::= SEQUENCE { contentType OID, content [0] EXPLICIT ANY }"""

    content_type: str = asn1.plain(asn1.OID)
    content: bytes = asn1.explicit(0, asn1.ANY)


@asn1.sequence
class EncapsulatedContentInfo:
    """EncapsulatedContentInfo ::= SEQUENCE { eContentType, eContent [0] OCTET STRING OPTIONAL }"""

    e_content_type: str = asn1.plain(asn1.OID)
    e_content: bytes | None = asn1.explicit(0, asn1.OCTET_STRING, default=None)


@asn1.sequence
class SignedDataSyntax:
    """SignedData ::= SEQUENCE {

    version CMSVersion, digestAlgorithms SET OF AlgorithmIdentifier,
    encapContentInfo EncapsulatedContentInfo, certificates [0] IMPLICIT SET OF OPTIONAL,
    crls [1] IMPLICIT SET OF OPTIONAL, signerInfos SET OF SignerInfo }
    """

    version: int = asn1.plain(asn1.INT32)
    digest_algorithms: tuple[bytes, ...] = asn1.plain(asn1.set_of(asn1.ANY, MAX_SIGNERS_COUNTED))
    encap_content_info: EncapsulatedContentInfo = asn1.plain(asn1.nested(EncapsulatedContentInfo))
    certificates: tuple[bytes, ...] | None = asn1.implicit(
        0, asn1.set_of(asn1.ANY, MAX_CERTIFICATES), default=None
    )
    crls: tuple[bytes, ...] | None = asn1.implicit(
        1, asn1.set_of(asn1.ANY, MAX_CERTIFICATES), default=None
    )
    signer_infos: tuple[bytes, ...] = asn1.plain(asn1.set_of(asn1.ANY, MAX_SIGNERS_COUNTED))


@asn1.sequence
class IssuerAndSerialNumber:
    """IssuerAndSerialNumber ::= SEQUENCE { issuer Name, serialNumber INTEGER }"""

    issuer: bytes = asn1.plain(asn1.ANY)
    serial_number: int = asn1.plain(asn1.INTEGER)


@asn1.sequence
class SignerInfoSyntax:
    """SignerInfo ::= SEQUENCE {

    version CMSVersion, sid SignerIdentifier, digestAlgorithm AlgorithmIdentifier,
    signedAttrs [0] IMPLICIT SET OF Attribute OPTIONAL, signatureAlgorithm AlgorithmIdentifier,
    signature OCTET STRING, unsignedAttrs [1] IMPLICIT SET OF Attribute OPTIONAL }
    """

    version: int = asn1.plain(asn1.INT32)
    sid: bytes = asn1.plain(asn1.ANY)
    digest_algorithm: AlgorithmIdentifier = asn1.plain(asn1.nested(AlgorithmIdentifier))
    signed_attrs: tuple[bytes, ...] | None = asn1.implicit(
        0, asn1.set_of(asn1.ANY, MAX_ATTRIBUTES), default=None
    )
    signature_algorithm: AlgorithmIdentifier = asn1.plain(asn1.nested(AlgorithmIdentifier))
    signature: bytes = asn1.plain(asn1.OCTET_STRING)
    unsigned_attrs: tuple[bytes, ...] | None = asn1.implicit(
        1, asn1.set_of(asn1.ANY, MAX_ATTRIBUTES), default=None
    )


@asn1.sequence
class Attribute:
    """Attribute ::= SEQUENCE { attrType OBJECT IDENTIFIER, attrValues SET OF ANY }"""

    attr_type: str = asn1.plain(asn1.OID)
    attr_values: tuple[bytes, ...] = asn1.plain(asn1.set_of(asn1.ANY, MAX_ATTRIBUTES))


@asn1.sequence
class RsassaPssParams:
    """RSASSA-PSS-params ::= SEQUENCE {

    hashAlgorithm [0] HashAlgorithm DEFAULT sha1, maskGenAlgorithm [1] DEFAULT mgf1SHA1,
    saltLength [2] INTEGER DEFAULT 20, trailerField [3] INTEGER DEFAULT 1 }  (RFC 8017 A.2.3)
    """

    hash_algorithm: AlgorithmIdentifier | None = asn1.explicit(
        0, asn1.nested(AlgorithmIdentifier), default=None
    )
    mask_gen_algorithm: AlgorithmIdentifier | None = asn1.explicit(
        1, asn1.nested(AlgorithmIdentifier), default=None
    )
    salt_length: int = asn1.explicit(2, asn1.UINT32, default=20)
    trailer_field: int = asn1.explicit(3, asn1.UINT32, default=1)
