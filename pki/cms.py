"""CMS SignedData as PKINIT uses it: reading one strictly and verifying its only signature.

Rules
  1. Strict DER in a ContentInfo. BER, a bare SignedData and MIT's form before 1.10 are refused.
  2. One SignerInfo (RFC 4556 3.2.1). Its certificate is found by the signer identifier among the
     certificates of the message, and that one object is all the identity there is.
  3. signedAttrs are demanded: RFC 5652 5.3 asks for them whenever the content is not id-data, and
     without them the signature of a SET of attributes could be replayed as one over content.
  4. What is hashed and verified are received bytes.
  5. Cheap before dear: structure, digest policy, certificate, key policy, digest, signature. No
     library sees a key before `check_key` has agreed to it.

What the signature does not cover, and nobody may rely on: the versions, digestAlgorithms, CRLs,
unsignedAttrs, the other certificates, and of the signer's certificate all but what the signer
identifier names (issuer and serial number, or key identifier) and the key.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from pki import asn1, der, oids
from pki.certificate import Certificate
from pki.cms_syntax import (
    AlgorithmIdentifier,
    Attribute,
    ContentInfo,
    IssuerAndSerialNumber,
    SignedDataSyntax,
    SignerInfoSyntax,
)
from pki.errors import CmsFault, Fault, PkiError
from pki.keys import KeyKind, PublicKey
from pki.signatures import (
    DIGEST_BY_OID,
    DIGEST_BYTES,
    DIGEST_OIDS,
    NULL_PARAMETERS,
    RSA_WITH_OIDS,
    Digest,
    digest_of,
    read_scheme,
    verify_octets,
)

CACHED_CERTIFICATES = 512  # at most 8 MB a worker, 1 MB with certificates of the usual size


@dataclass(frozen=True, slots=True, kw_only=True)
class CmsPolicy:
    """What of CMS is accepted from clients."""

    accept_sha1: bool = False
    """Windows before 11 24H2 signs its AuthPack with SHA-1."""
    require_content_type_attribute: bool = True
    """Samba's own client leaves the contentType attribute out (against RFC 5652 11.1)."""

    @property
    def accepted_digests(self) -> tuple[Digest, ...]:
        """The digests accepted, the preferred first: what TD-CMS-DIGEST-ALGORITHMS lists."""
        usual = (Digest.SHA256, Digest.SHA384, Digest.SHA512)
        return (*usual, Digest.SHA1) if self.accept_sha1 else usual


# -- reading ---------------------------------------------------------------------------------


class SignerIdentifierForm(StrEnum):
    """The two choices of SignerIdentifier."""

    ISSUER_AND_SERIAL = "issuerAndSerialNumber"
    SUBJECT_KEY_IDENTIFIER = "subjectKeyIdentifier"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerIdentifier:
    """Which certificate the signer says is theirs."""

    form: SignerIdentifierForm
    issuer: bytes = b""
    """DER of the Name, as received."""
    serial_number: int = 0
    key_identifier: bytes = b""


@dataclass(slots=True, kw_only=True)
class SignerInfo:
    """The SignerInfo of a message. Nothing in it is verified yet."""

    identifier: SignerIdentifier
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: tuple[bytes, ...]
    """DER of each Attribute, as received and in its order."""
    signature_algorithm: AlgorithmIdentifier
    signature: bytes


@dataclass(slots=True, kw_only=True)
class SignedData:
    """A parsed SignedData. Nothing in it is verified yet."""

    content_type: str
    """eContentType, dotted."""
    content: bytes
    """eContent, as received."""
    certificates: tuple[bytes, ...]
    """DER of each certificate of the message, unread."""
    signer: SignerInfo | None
    """None for a message without signers, as anonymous PKINIT sends."""


def _signer_identifier(sid: bytes) -> SignerIdentifier:
    tag, start, end = der.read_tlv(sid)
    if tag == der.SEQUENCE:
        named = asn1.decode(IssuerAndSerialNumber, sid)
        return SignerIdentifier(
            form=SignerIdentifierForm.ISSUER_AND_SERIAL,
            issuer=named.issuer,
            serial_number=named.serial_number,
        )
    if tag == 0xA0:
        # DEVIATION: RFC 5652 5.3 tags subjectKeyIdentifier [0] IMPLICIT. Heimdal (and Samba with
        # it) puts the tag EXPLICITly around the OCTET STRING, and sends that to us.
        start, end = der.open_tlv(sid, der.OCTET_STRING, start, end)
    elif tag != 0x80:
        raise PkiError(CmsFault.MALFORMED, "SignerIdentifier")
    if start == end:
        raise PkiError(CmsFault.MALFORMED, "empty subjectKeyIdentifier")
    return SignerIdentifier(
        form=SignerIdentifierForm.SUBJECT_KEY_IDENTIFIER, key_identifier=sid[start:end]
    )


def _signer_info(data: bytes) -> SignerInfo:
    info = asn1.decode(SignerInfoSyntax, data)
    if info.version not in (1, 3):
        raise PkiError(CmsFault.MALFORMED, "SignerInfo.version")
    if info.signed_attrs is None:
        raise PkiError(CmsFault.BAD_SIGNED_ATTRIBUTES, "no signedAttrs")
    return SignerInfo(
        identifier=_signer_identifier(info.sid),
        digest_algorithm=info.digest_algorithm,
        signed_attributes=info.signed_attrs,
        signature_algorithm=info.signature_algorithm,
        signature=info.signature,
    )


def parse_signed_data(data: bytes) -> SignedData:
    """Parse a ContentInfo that holds a SignedData with its content and at most one SignerInfo.

    Raises PkiError: a DerFault; CmsFault.NOT_SIGNED_DATA, MALFORMED, SEVERAL_SIGNERS,
    BAD_SIGNED_ATTRIBUTES. CRLs and unsignedAttrs are dropped unread.
    Source: RFC 5652 3, 5.1.
    """
    outer = asn1.decode(ContentInfo, data)
    if outer.content_type != oids.ID_SIGNED_DATA:
        raise PkiError(CmsFault.NOT_SIGNED_DATA, "ContentInfo.contentType")
    signed = asn1.decode(SignedDataSyntax, outer.content)
    if signed.version not in (1, 3):
        raise PkiError(CmsFault.MALFORMED, "SignedData.version")
    content = signed.encap_content_info.e_content
    if content is None:
        raise PkiError(CmsFault.MALFORMED, "no eContent")
    certificates = signed.certificates or ()
    if any(certificate[0] != der.SEQUENCE for certificate in certificates):
        raise PkiError(CmsFault.MALFORMED, "CertificateChoices other than certificate")
    if len(signed.signer_infos) > 1:
        raise PkiError(CmsFault.SEVERAL_SIGNERS, "signerInfos")
    return SignedData(
        content_type=signed.encap_content_info.e_content_type,
        content=content,
        certificates=certificates,
        signer=_signer_info(signed.signer_infos[0]) if signed.signer_infos else None,
    )


# -- verifying -------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class VerifiedSigner:
    """Proof that the key of `certificate` signed `content`. Only `verify_signature` makes one."""

    certificate: Certificate
    public_key: PublicKey
    content_type: str
    content: bytes
    digest: Digest
    content_digest: bytes
    """Of `content`, by `digest`."""
    identifier: SignerIdentifier
    other_certificates: tuple[bytes, ...]
    """The rest of the message's certificates, unread and unproven: material for a chain."""
    key_warnings: tuple[str, ...]
    """What `check_key` returned."""


def _check_attributes(
    signer: SignerInfo, content_type: str, digest: Digest, policy: CmsPolicy
) -> bytes:
    """Check signedAttrs (RFC 5652 5.3, 11.1, 11.2); return the messageDigest."""
    found: dict[str, bytes] = {}
    previous = b""
    for raw in signer.signed_attributes:
        # 5.4: the signature is over the DER, in which a SET OF is sorted (X.690 11.6). No
        # element of DER is a prefix of another, so plain comparison is that order.
        if raw <= previous:
            raise PkiError(CmsFault.BAD_SIGNED_ATTRIBUTES, "not in DER order")
        previous = raw
        attribute = asn1.decode(Attribute, raw)
        if attribute.attr_type in (oids.ID_CONTENT_TYPE, oids.ID_MESSAGE_DIGEST):
            if attribute.attr_type in found:
                raise PkiError(CmsFault.BAD_SIGNED_ATTRIBUTES, "repeated")
            if len(attribute.attr_values) != 1:
                raise PkiError(CmsFault.BAD_SIGNED_ATTRIBUTES, "not exactly one value")
            found[attribute.attr_type] = attribute.attr_values[0]
    named = found.get(oids.ID_CONTENT_TYPE)
    if named is None:
        if policy.require_content_type_attribute:
            raise PkiError(CmsFault.BAD_SIGNED_ATTRIBUTES, "no contentType")
    elif named != der.encode_oid(content_type):
        raise PkiError(CmsFault.BAD_SIGNED_ATTRIBUTES, "contentType is not eContentType")
    message_digest = found.get(oids.ID_MESSAGE_DIGEST)
    if message_digest is None:
        raise PkiError(CmsFault.BAD_SIGNED_ATTRIBUTES, "no messageDigest")
    value = asn1.decode_as(asn1.OCTET_STRING, message_digest)
    if len(value) != DIGEST_BYTES[digest]:
        raise PkiError(CmsFault.DIGEST_MISMATCH, "length of messageDigest")
    return value


@lru_cache(maxsize=CACHED_CERTIFICATES)
def _read_certificate(data: bytes) -> Certificate:
    """Read a certificate, or return the one read before from the same bytes, with its key.

    Nothing is trusted for being here. What it saves: reading certificate and key, and OpenSSL's
    preparations for a modulus it has not seen, together a third of a verification.
    """
    return Certificate(data)


def _is_named_by(certificate: Certificate, identifier: SignerIdentifier) -> bool:
    if identifier.form is SignerIdentifierForm.ISSUER_AND_SERIAL:
        return (
            certificate.serial_number == identifier.serial_number
            and certificate.issuer == identifier.issuer
        )
    own = certificate.subject_key_identifier()
    if own is None:
        # The certificates of Windows Hello have no SKI extension; a signer that names one
        # anyway can only mean method 1 of RFC 5280 4.2.1.2.
        own = hashlib.sha1(certificate.subject_public_key(), usedforsecurity=False).digest()
    return own == identifier.key_identifier


def _find_signer_certificate(
    certificates: tuple[bytes, ...], identifier: SignerIdentifier
) -> tuple[Certificate, tuple[bytes, ...]]:
    """Find the certificate that the signer identifier names; return it and the others.

    An unreadable certificate does not hide a readable one behind it; its fault is reported
    when none is found.
    """
    unreadable: tuple[Fault, str] | None = None
    for index, data in enumerate(certificates):
        try:
            certificate = _read_certificate(data)
            if _is_named_by(certificate, identifier):
                return certificate, certificates[:index] + certificates[index + 1 :]
        except PkiError as error:
            unreadable = unreadable or (error.fault, error.detail)
    if unreadable is not None:
        raise PkiError(*unreadable)
    detail = "none sent" if not certificates else "none is the signer's"
    raise PkiError(CmsFault.NO_SIGNER_CERTIFICATE, detail)


def verify_signature(
    signed: SignedData,
    *,
    expected_content_type: str,
    policy: CmsPolicy,
    check_key: Callable[[PublicKey], tuple[str, ...]],
) -> VerifiedSigner:
    """Verify the signature of a SignedData and return whose key made it.

    check_key: the key policy; raises PkiError(KeyFault), returns warnings. It runs before any
    cryptography with the key. Whether the key or certificate is trusted is not judged here.
    Raises PkiError: CmsFault.WRONG_CONTENT_TYPE, NO_SIGNER, DIGEST_NOT_ACCEPTED,
    SIGNATURE_ALGORITHM_NOT_ACCEPTED, ALGORITHM_MISMATCH, BAD_SIGNED_ATTRIBUTES,
    NO_SIGNER_CERTIFICATE, DIGEST_MISMATCH, BAD_SIGNATURE, MALFORMED; a DerFault; a KeyFault.
    Source: RFC 5652 5.4, 5.6; RFC 4556 3.2.2.
    """
    if signed.content_type != expected_content_type:
        raise PkiError(CmsFault.WRONG_CONTENT_TYPE, "eContentType")
    signer = signed.signer
    if signer is None:
        raise PkiError(CmsFault.NO_SIGNER, "signerInfos")
    digest = DIGEST_BY_OID.get(signer.digest_algorithm.algorithm)
    if digest is None or digest not in policy.accepted_digests:
        raise PkiError(CmsFault.DIGEST_NOT_ACCEPTED, "digestAlgorithm")
    if signer.digest_algorithm.parameters not in (None, NULL_PARAMETERS):
        raise PkiError(CmsFault.MALFORMED, "digestAlgorithm parameters")
    scheme = read_scheme(signer.signature_algorithm, DIGEST_OIDS[digest])
    message_digest = _check_attributes(signer, signed.content_type, digest, policy)
    certificate, others = _find_signer_certificate(signed.certificates, signer.identifier)
    key = certificate.public_key()
    # DEVIATION: RFC 5754 3.2: MIT's client (1.20) names shaNNNWithRSAEncryption whatever its key.
    # The key's kind decides how a signature is verified, so with an EC key that is ECDSA.
    named_rsa = signer.signature_algorithm.algorithm in RSA_WITH_OIDS
    if key.kind is not scheme.kind and not (named_rsa and key.kind is KeyKind.EC):
        raise PkiError(CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED, "not for this kind of key")
    warnings = check_key(key)
    computed = digest_of(digest, signed.content)
    if not hmac.compare_digest(computed, message_digest):
        raise PkiError(CmsFault.DIGEST_MISMATCH, "messageDigest")
    # RFC 5652 5.4: the attributes are signed with the tag of a SET OF instead of [0].
    attributes = der.tlv(der.SET, b"".join(signer.signed_attributes))
    verify_octets(key, signer.signature, attributes, digest, scheme.pss_salt)
    return VerifiedSigner(
        certificate=certificate,
        public_key=key,
        content_type=signed.content_type,
        content=signed.content,
        digest=digest,
        content_digest=computed,
        identifier=signer.identifier,
        other_certificates=others,
        key_warnings=warnings,
    )
