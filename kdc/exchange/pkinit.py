"""PKINIT, the KDC's side of a PA-PK-AS-REQ (RFC 4556 3.2.2 and 3.2.3), first half: who signed?

Order: cheap before dear. Structure, then what the (still unproven) AuthPack says of itself: clock,
checksum of the body, freshness, group. Then the key's policy, then the signature. Only after that
is anything trusted; only after trust is anything remembered.

"Is the signature right?" is answered here, "do we trust this key?" in `kdc.trust`.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from directory.model import Account
from kdc.crypto.key_agreement import (
    GROUPS,
    Group,
    group_by_curve_oid,
    match_domain_parameters,
)
from kdc.errors import KdcError, refusal_from_pki
from kdc.exchange.freshness import verify_freshness_token
from kdc.exchange.pkinit_rsa_reply import check_rsa_recipient
from kdc.exchange.realm import Realm
from kdc.trust import SignerEvidence
from kdc.wire.constants import ErrorCode, TypedData
from kdc.wire.rfc4120 import KdcReqBody
from kdc.wire.rfc4556 import (
    DH_PUBLIC_NUMBER,
    EC_PUBLIC_KEY,
    ID_PKINIT_AUTH_DATA,
    TD_CMS_DIGEST_ALGORITHMS,
    TD_DH_PARAMETERS,
    AlgorithmIdentifier,
    AuthPack,
    DomainParameters,
    PaPkAsReq,
    PkAuthenticator,
    SubjectPublicKeyInfo,
    typed_data,
)
from pki import asn1, cms, der, oids
from pki.errors import CmsFault, DerFault, PkiError
from pki.keys import check_key
from pki.signatures import DIGEST_OIDS, Digest

# RFC 4556 3.1.2 wants the nonce as long as the longest symmetric key; clients send 32 or 40.
MIN_CLIENT_DH_NONCE_BYTES = 16
MAX_CLIENT_DH_NONCE_BYTES = 512

CLIENT_PUBLIC_VALUE_TAG = 0xA1  # AuthPack.clientPublicValue [1]
MAX_AUTH_PACK_FIELDS = 16  # five are defined

BODY_DIGESTS = {
    oids.SHA1: "sha1",
    oids.SHA256: "sha256",
    oids.SHA384: "sha384",
    oids.SHA512: "sha512",
}


@dataclass(slots=True, kw_only=True)
class PkinitProof:
    """A PA-PK-AS-REQ whose signature verified, and what the reply needs of it."""

    evidence: SignerEvidence
    auth_pack: AuthPack
    group: Group | None
    """None: the reply key is encrypted to the client's RSA key (legacy_rsa_reply)."""
    client_public: bytes
    """Content of the BIT STRING in clientPublicValue; empty without a group."""
    rsa_cipher: str = ""
    """Content encryption of an RSA-encrypted reply."""
    digest: bytes
    """SHA-256 over the signed content and the signer's key: what replay memory remembers."""
    fresh: bool
    """Whether the client returned a valid freshness token."""
    warnings: tuple[str, ...]
    """Fixed phrases about the key, for the audit record."""


def refuse_group(why: str, realm: Realm) -> KdcError:
    """Make the refusal of a group or public value, with TD-DH-PARAMETERS listing our groups."""
    accepted = tuple(
        asn1.decode(AlgorithmIdentifier, group.algorithm_identifier) for group in realm.groups
    )
    listed = asn1.encode_as(TD_DH_PARAMETERS, accepted)
    return KdcError(
        ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED,
        why,
        e_data=typed_data(TypedData.DH_PARAMETERS, listed),
    )


def _refuse_digest(digest_oid: str, realm: Realm) -> KdcError:
    listed = asn1.encode_as(
        TD_CMS_DIGEST_ALGORITHMS,
        tuple(
            AlgorithmIdentifier(algorithm=DIGEST_OIDS[digest], parameters=None)
            for digest in realm.cms_policy.accepted_digests
        ),
    )
    if digest_oid == oids.SHA1:
        why = "SignedData: SHA-1 is off (legacy_sha1_cms)"
    else:
        why = "SignedData: digest algorithm not accepted"
    return KdcError(
        ErrorCode.KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED,
        why,
        e_data=typed_data(TypedData.CMS_DIGEST_ALGORITHMS, listed),
    )


def check_pk_authenticator(
    auth: PkAuthenticator, body: KdcReqBody, now: datetime, skew: timedelta
) -> None:
    """Check that a PKAuthenticator belongs to this request and is recent.

    The digests are taken over the received bytes of the KDC-REQ-BODY. Its nonce need not equal
    the body's (row P19).
    Raises KdcError: KRB_AP_ERR_SKEW, KDC_ERR_PA_CHECKSUM_MUST_BE_INCLUDED, KRB_AP_ERR_MODIFIED.
    Source: RFC 4556 3.2.2, 3.2.3; MS-PKCA 2.2.3 for paChecksum2.
    """
    if abs(now - auth.ctime) > skew:
        raise KdcError(ErrorCode.KRB_AP_ERR_SKEW, "the AuthPack's time is outside the clock skew")
    if auth.pa_checksum is None:
        raise KdcError(
            ErrorCode.KDC_ERR_PA_CHECKSUM_MUST_BE_INCLUDED, "the AuthPack has no paChecksum"
        )
    # SHA-1 is what RFC 4556 fixes for paChecksum; the signature covers it.
    expected = hashlib.sha1(body.raw, usedforsecurity=False).digest()
    if not hmac.compare_digest(expected, auth.pa_checksum):
        raise KdcError(
            ErrorCode.KRB_AP_ERR_MODIFIED, "paChecksum is not the checksum of the request's body"
        )
    second = auth.pa_checksum2
    if second is not None:
        name = BODY_DIGESTS.get(second.algorithm_identifier.algorithm)
        if name is None:
            raise KdcError(ErrorCode.KRB_AP_ERR_MODIFIED, "paChecksum2 has an unknown algorithm")
        expected = hashlib.new(name, body.raw, usedforsecurity=False).digest()
        if not hmac.compare_digest(expected, second.checksum):
            raise KdcError(
                ErrorCode.KRB_AP_ERR_MODIFIED,
                "paChecksum2 is not the checksum of the request's body",
            )


def _decode_auth_pack(content: bytes, realm: Realm) -> AuthPack:
    """Decode an AuthPack; a malformed clientPublicValue is the group's fault (row D07).

    Raises PkiError; KdcError: KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED with TD-DH-PARAMETERS.
    """
    try:
        return asn1.decode(AuthPack, content)
    except PkiError:
        start, end = der.open_tlv(content, der.SEQUENCE)
        for tag, _, value, stop in der.children(content, start, end, MAX_AUTH_PACK_FIELDS):
            if tag == CLIENT_PUBLIC_VALUE_TAG:
                try:
                    asn1.decode(SubjectPublicKeyInfo, content[value:stop])
                except PkiError:
                    raise refuse_group("clientPublicValue is malformed", realm) from None
        raise


_BY_IDENTIFIER: dict[tuple[str, bytes | None], Group] = {
    (own.algorithm, own.parameters): group
    for group in GROUPS.values()
    for own in (asn1.decode(AlgorithmIdentifier, group.algorithm_identifier),)
}
"""Groups by the DER that we write ourselves, as most clients do: what differs is read."""


def _match_group(spki: SubjectPublicKeyInfo) -> tuple[Group | None, str]:
    """Find the group that a clientPublicValue names; else None and why not."""
    algorithm = spki.algorithm
    known = _BY_IDENTIFIER.get((algorithm.algorithm, algorithm.parameters))
    if known is not None:
        return known, "the Diffie-Hellman group is not a known one"
    if algorithm.parameters is None:
        return None, "clientPublicValue has no parameters"
    if algorithm.algorithm == DH_PUBLIC_NUMBER:
        domain = asn1.decode(DomainParameters, algorithm.parameters)
        group = match_domain_parameters(domain.p, domain.g, domain.q)
        return group, "the Diffie-Hellman group is not a known one"
    if algorithm.algorithm == EC_PUBLIC_KEY:
        curve = asn1.decode_as(asn1.OID, algorithm.parameters)
        return group_by_curve_oid(curve), "the curve is not a known one"
    return None, "clientPublicValue is of an unknown algorithm"


def choose_group(spki: SubjectPublicKeyInfo, realm: Realm) -> Group:
    """Match clientPublicValue to a group of ours. Its public value is checked when it is used.

    Raises KdcError: KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED with TD-DH-PARAMETERS.
    """
    try:
        group, why = _match_group(spki)
    except PkiError:
        raise refuse_group("clientPublicValue has malformed parameters", realm) from None
    if group is None:
        raise refuse_group(why, realm)
    if group not in realm.groups:
        if group.name == "modp2":
            why = "Diffie-Hellman group 2 is off (legacy_dh_group2)"
        elif group.bits > realm.config.pkinit_dh_max_bits:
            why = "the Diffie-Hellman group is larger than pkinit_dh_max_bits"
        else:
            why = "the Diffie-Hellman group is smaller than pkinit_dh_min_bits"
        raise refuse_group(why, realm)
    return group


def verify_pk_as_req(
    value: bytes, body: KdcReqBody, krbtgt: Account, realm: Realm, now: datetime
) -> PkinitProof:
    """Verify a PA-PK-AS-REQ against the request it came in.

    value: DER of PA-PK-AS-REQ. kdcPkId, trustedCertifiers and unknown extensions are not looked
    at (RFC 4556 3.2.2: an unknown kdcPkId MUST be ignored).
    Raises KdcError with the code of the first check that fails.
    """
    where = "PA-PK-AS-REQ"
    digest_oid = ""
    try:
        pa_pk_as_req = asn1.decode(PaPkAsReq, value)
        where = "SignedData"
        signed = cms.parse_signed_data(pa_pk_as_req.signed_auth_pack)
        if signed.content_type != ID_PKINIT_AUTH_DATA:
            raise PkiError(CmsFault.WRONG_CONTENT_TYPE)
        if signed.signer is not None:
            digest_oid = signed.signer.digest_algorithm.algorithm
        where = "AuthPack"
        auth_pack = _decode_auth_pack(signed.content, realm)
        auth = auth_pack.pk_authenticator
        skew = timedelta(seconds=realm.config.clockskew_s)
        check_pk_authenticator(auth, body, now, skew)
        if auth.ctime < realm.replay.oldest_acceptable(now):
            raise KdcError(
                ErrorCode.KRB_AP_ERR_SKEW, "the AuthPack is older than the replay memory"
            )
        fresh = _check_freshness(auth, krbtgt, realm, now, skew)
        spki = auth_pack.client_public_value
        if spki is None and not realm.config.legacy_rsa_reply:
            raise KdcError(
                ErrorCode.KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED,
                "the client asks for an RSA-encrypted reply, which is off",
            )
        group = None if spki is None else choose_group(spki, realm)
        nonce = auth_pack.client_dh_nonce
        if nonce is not None and not (
            MIN_CLIENT_DH_NONCE_BYTES <= len(nonce) <= MAX_CLIENT_DH_NONCE_BYTES
        ):
            raise PkiError(DerFault.OVER_LIMIT, "clientDHNonce")
        where = "SignedData"
        signer = cms.verify_signature(
            signed,
            expected_content_type=ID_PKINIT_AUTH_DATA,
            policy=realm.cms_policy,
            check_key=lambda key: check_key(key, realm.key_policy),
        )
    except PkiError as error:
        if error.fault is CmsFault.DIGEST_NOT_ACCEPTED:
            raise _refuse_digest(digest_oid, realm) from None
        raise refusal_from_pki(error, where) from None
    certificate = signer.certificate
    rsa_cipher = check_rsa_recipient(certificate, auth_pack) if spki is None else ""
    evidence = SignerEvidence(
        public_key=signer.public_key,
        certificate=certificate.der,
        intermediates=signer.other_certificates,
        self_issued=certificate.subject == certificate.issuer,
    )
    if signer.digest is Digest.SHA256:
        content_digest = signer.content_digest
    else:
        content_digest = hashlib.sha256(signed.content).digest()
    return PkinitProof(
        evidence=evidence,
        auth_pack=auth_pack,
        group=group,
        client_public=b"" if spki is None else spki.subject_public_key,
        rsa_cipher=rsa_cipher,
        digest=hashlib.sha256(b"AuthPack" + content_digest + signer.public_key.digest).digest(),
        fresh=fresh,
        warnings=signer.key_warnings,
    )


def _check_freshness(
    auth: PkAuthenticator, krbtgt: Account, realm: Realm, now: datetime, skew: timedelta
) -> bool:
    if auth.freshness_token is not None:
        verify_freshness_token(auth.freshness_token, krbtgt, now, skew)
        return True
    if realm.config.pkinit_require_freshness:
        raise KdcError(
            ErrorCode.KDC_ERR_PREAUTH_FAILED,
            "a freshness token is required (pkinit_require_freshness)",
        )
    return False
