"""Logging on with a key and its certificate: PKINIT with Diffie-Hellman (RFC 4556, 8070, 8636).

The certificate may be self-signed, as Windows Hello's is: whether the key is registered on the
account is the KDC's question. Which KDC answers is ours, see `kdc_certificate`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from kdc.client.errors import ClientError, ClientFault
from kdc.client.kdc_certificate import verify_kdc_certificate
from kdc.client.mechanism import Entropy, Hints, SentRequest
from kdc.crypto.etypes import CryptoError, EncType, ProtocolKey
from kdc.crypto.key_agreement import (
    GROUPS,
    AgreementError,
    Group,
    KeyPair,
    generate,
    group_by_curve_oid,
    match_domain_parameters,
)
from kdc.crypto.pkinit_kdf import (
    ID_PKINIT_KDF_AH_SHA256,
    ID_PKINIT_KDF_AH_SHA384,
    ID_PKINIT_KDF_AH_SHA512,
    octetstring2key,
    rfc8636_kdf,
)
from kdc.wire.constants import ErrorCode, PaType, TypedData
from kdc.wire.rfc4120 import TYPED_DATA, AsRep, KdcReqBody, KrbError, PaData, PrincipalName
from kdc.wire.rfc4556 import (
    DH_PUBLIC_NUMBER,
    ID_PKINIT_AUTH_DATA,
    ID_PKINIT_DH_KEY_DATA,
    TD_CMS_DIGEST_ALGORITHMS,
    TD_DH_PARAMETERS,
    AlgorithmIdentifier,
    AuthPack,
    DhRepInfo,
    DomainParameters,
    KdcDhKeyInfo,
    KdfAlgorithmId,
    Krb5PrincipalName,
    OtherInfo,
    PaChecksum2,
    PaPkAsReq,
    PkAuthenticator,
    PkinitSuppPubInfo,
    SubjectPublicKeyInfo,
    decode_pa_pk_as_rep,
)
from pki import asn1, cms, der, oids
from pki.cms_sign import CmsSigner
from pki.errors import PkiError
from pki.keys import KeyPolicy, check_key
from pki.signatures import DIGEST_OIDS, Digest

DH_NONCE_BYTES = 32  # RFC 4556 3.1.2: at least as long as the longest key
DEFAULT_KDFS = (ID_PKINIT_KDF_AH_SHA256, ID_PKINIT_KDF_AH_SHA512, ID_PKINIT_KDF_AH_SHA384)
ACCEPTED_GROUPS = ("modp14", "modp16", "p256", "p384", "p521")
"""Groups that a KDC may move us to: none weaker than 2048 bits, or P-256."""

_CMS_TYPES = (
    oids.ECDSA_WITH_SHA256,
    oids.SHA256_WITH_RSA,
    oids.ECDSA_WITH_SHA384,
    oids.SHA384_WITH_RSA,
    oids.ECDSA_WITH_SHA512,
    oids.SHA512_WITH_RSA,
    # Heimdal's KDC chooses digest and signature apart: SHA-512 unless a digest is listed as well.
    oids.SHA256,
    oids.SHA384,
    oids.SHA512,
)
_NO_NAME = PrincipalName(name_type=0, name_string=())


@dataclass(frozen=True, slots=True, kw_only=True)
class PkinitOptions:
    """How to run PKINIT; the defaults are what a careful client of today does."""

    anchors: tuple[bytes, ...]
    """DER of the CA certificates that the KDC's certificate may chain to."""
    domain: str
    """The DNS name that the KDC's certificate must have."""
    group: str = "p256"
    """A name in kdc.crypto.key_agreement.GROUPS."""
    digest: Digest = Digest.SHA256
    kdfs: tuple[str, ...] = DEFAULT_KDFS
    """supportedKDFs, most preferred first; empty: the octet string KDF of RFC 4556."""
    dh_nonce: bool = True
    """Send clientDHNonce: the KDC may then reuse its key."""
    freshness: bool = True
    """Ask for a freshness token before signing (RFC 8070)."""
    checksum2: bool = True
    """Send paChecksum2, a SHA-256 of the request body (MS-PKCA 2.2.3)."""


@dataclass(slots=True, kw_only=True)
class _Sent:
    """What the reply is checked against."""

    pair: KeyPair
    nonce: int
    dh_nonce: bytes | None = field(repr=False)


class PkinitMechanism:
    """Prove possession of a private key, and check the KDC's proof in return."""

    name = "pkinit"
    pa_type = int(PaType.PK_AS_REQ)

    def __init__(
        self,
        signer: CmsSigner,
        options: PkinitOptions,
        new_key_pair: Callable[[Group], KeyPair] = generate,
    ) -> None:
        self._signer = signer
        self._options = options
        self._new_key_pair = new_key_pair
        self._group = GROUPS[options.group]
        self._digest = options.digest
        self._sent: _Sent | None = None
        self._facts: dict[str, object] = {}

    @property
    def asks_first(self) -> bool:
        """A freshness token comes with the KDC's hints."""
        return self._options.freshness

    def first_padata(self) -> tuple[PaData, ...]:
        """Ask for a freshness token (RFC 8070 2.1)."""
        return (PaData(padata_type=PaType.AS_FRESHNESS, padata_value=b""),)

    def proof(
        self, body: KdcReqBody, hints: Hints, now: datetime, entropy: Entropy
    ) -> tuple[PaData, ...]:
        """Sign an AuthPack for this body with a fresh key-agreement key."""
        options, raw = self._options, asn1.encode(body)
        pair = self._new_key_pair(self._group)
        dh_nonce = entropy(DH_NONCE_BYTES) if options.dh_nonce else None
        self._sent = _Sent(pair=pair, nonce=body.nonce, dh_nonce=dh_nonce)
        checksum2 = None
        if options.checksum2:
            checksum2 = PaChecksum2(
                checksum=hashlib.sha256(raw).digest(),
                algorithm_identifier=AlgorithmIdentifier(algorithm=oids.SHA256),
            )
        auth_pack = AuthPack(
            pk_authenticator=PkAuthenticator(
                cusec=now.microsecond,
                ctime=now.replace(microsecond=0),
                nonce=body.nonce,
                # RFC 4556 3.2.1 fixes SHA-1 here; the signature over it is what protects.
                pa_checksum=hashlib.sha1(raw, usedforsecurity=False).digest(),
                freshness_token=hints.freshness_token,
                pa_checksum2=checksum2,
            ),
            client_public_value=SubjectPublicKeyInfo(
                algorithm=asn1.decode(AlgorithmIdentifier, self._group.algorithm_identifier),
                subject_public_key=pair.public,
            ),
            supported_cms_types=tuple(AlgorithmIdentifier(algorithm=oid) for oid in _CMS_TYPES),
            client_dh_nonce=dh_nonce,
            supported_kdfs=tuple(KdfAlgorithmId(kdf_id=kdf) for kdf in options.kdfs) or None,
        )
        signed = self._signer.sign(ID_PKINIT_AUTH_DATA, asn1.encode(auth_pack), self._digest)
        value = asn1.encode(PaPkAsReq(signed_auth_pack=signed))
        return (PaData(padata_type=PaType.PK_AS_REQ, padata_value=value),)

    def retry(self, error: KrbError) -> bool:
        """Take another group or digest when the KDC lists what it accepts (RFC 4556 3.2.4)."""
        if error.error_code == ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED:
            for algorithm in _listed(error, TypedData.DH_PARAMETERS, TD_DH_PARAMETERS):
                group = _group_of(algorithm)
                if group is not None and group.name != self._group.name:
                    self._group = group
                    return True
        if error.error_code == ErrorCode.KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED:
            listed = _listed(error, TypedData.CMS_DIGEST_ALGORITHMS, TD_CMS_DIGEST_ALGORITHMS)
            for algorithm in listed:
                for digest in self._signer.digests:
                    if DIGEST_OIDS[digest] == algorithm.algorithm and digest != self._digest:
                        self._digest = digest
                        return True
        return False

    def reply_key(
        self, sent: SentRequest, reply: AsRep, hints: Hints, now: datetime
    ) -> ProtocolKey:
        """Verify the KDC's signature and certificate, and agree on the reply key."""
        value = next(
            (p.padata_value for p in reply.padata or () if p.padata_type == PaType.PK_AS_REP), None
        )
        if value is None or self._sent is None:
            raise ClientError(ClientFault.WRONG_ANSWER, "no PA-PK-AS-REP in the reply")
        try:
            info = decode_pa_pk_as_rep(value)
            key_info = self._verified_key_info(info, sent.body.realm, now)
        except PkiError as error:
            raise ClientError(ClientFault.KDC_NOT_TRUSTED, str(error)) from None
        self._check_key_info(info, key_info, now)
        try:
            secret = self._sent.pair.agree(key_info.subject_public_key)
            return self._derive(secret, info, value, sent, EncType(reply.enc_part.etype))
        except (AgreementError, CryptoError, ValueError):
            raise ClientError(ClientFault.BAD_PARAMETERS, "key agreement") from None

    def _verified_key_info(self, info: DhRepInfo, realm: str, now: datetime) -> KdcDhKeyInfo:
        signed = cms.parse_signed_data(info.dh_signed_data)
        signer = cms.verify_signature(
            signed,
            expected_content_type=ID_PKINIT_DH_KEY_DATA,
            policy=cms.CmsPolicy(),
            check_key=partial(check_key, policy=KeyPolicy()),
        )
        certificate = verify_kdc_certificate(
            signer.certificate.der,
            signer.other_certificates,
            anchors=self._options.anchors,
            realm=realm,
            domain=self._options.domain,
            now=now,
        )
        self._facts["kdc_certificate_sha256"] = hashlib.sha256(certificate).hexdigest()
        self._facts["kdc_key"] = f"{signer.public_key.kind} {signer.public_key.bits}"
        return asn1.decode(KdcDhKeyInfo, signer.content)

    def _check_key_info(self, info: DhRepInfo, key_info: KdcDhKeyInfo, now: datetime) -> None:
        """Check that the KDC signed for this request (RFC 4556 3.2.4)."""
        own = self._sent
        if own is None:
            raise ClientError(ClientFault.WRONG_ANSWER, "no request was sent")
        if own.dh_nonce is None and info.server_dh_nonce is not None:
            raise ClientError(ClientFault.WRONG_ANSWER, "serverDHNonce without clientDHNonce")
        reused = own.dh_nonce is not None and info.server_dh_nonce is not None
        # The nonce is 0 when the KDC reuses its key; then the key's end of life must be signed.
        if key_info.nonce != own.nonce and not (reused and key_info.nonce == 0):
            raise ClientError(ClientFault.WRONG_ANSWER, "nonce of KDCDHKeyInfo")
        if reused and key_info.nonce == 0:
            if key_info.dh_key_expiration is None:
                raise ClientError(ClientFault.WRONG_ANSWER, "reused key without dhKeyExpiration")
            if key_info.dh_key_expiration < now:
                raise ClientError(ClientFault.WRONG_ANSWER, "the KDC's key agreement key expired")
        if info.kdf is not None and info.kdf.kdf_id not in self._options.kdfs:
            raise ClientError(ClientFault.BAD_PARAMETERS, "KDF that was not offered")

    def _derive(
        self, secret: bytes, info: DhRepInfo, pk_as_rep: bytes, sent: SentRequest, etype: EncType
    ) -> ProtocolKey:
        own = self._sent
        self._facts.update(kex=self._group.name, digest=str(self._digest), key_etype=int(etype))
        if info.kdf is None:
            self._facts["kdf"] = "rfc4556"
            if own is not None and own.dh_nonce is not None and info.server_dh_nonce is not None:
                secret += own.dh_nonce + info.server_dh_nonce
            return octetstring2key(etype, secret)
        self._facts["kdf"] = info.kdf.kdf_id
        other = other_info(info.kdf.kdf_id, sent, etype, pk_as_rep)
        return rfc8636_kdf(info.kdf.kdf_id, secret, other, etype)

    def facts(self) -> Mapping[str, object]:
        """Name the group, the KDF, the digest and the KDC's certificate of the last reply."""
        return self._facts


def other_info(kdf_id: str, sent: SentRequest, etype: EncType, pk_as_rep: bytes) -> bytes:
    """Encode RFC 8636's OtherInfo over the names of the request and both messages."""
    body = sent.body
    client = Krb5PrincipalName(realm=body.realm, principal_name=body.cname or _NO_NAME)
    server = Krb5PrincipalName(realm=body.realm, principal_name=body.sname or _NO_NAME)
    public = PkinitSuppPubInfo(enctype=int(etype), as_req=sent.message, pk_as_rep=pk_as_rep)
    return asn1.encode(
        OtherInfo(
            algorithm_id=AlgorithmIdentifier(algorithm=kdf_id),
            party_u_info=asn1.encode(client),
            party_v_info=asn1.encode(server),
            supp_pub_info=asn1.encode(public),
        )
    )


def _listed(
    error: KrbError, data_type: int, spec: asn1.Spec[tuple[AlgorithmIdentifier, ...]]
) -> tuple[AlgorithmIdentifier, ...]:
    """Read a list of algorithms out of a PKINIT error's TYPED-DATA; empty when there is none."""
    try:
        for element in asn1.decode_as(TYPED_DATA, error.e_data or b""):
            if element.data_type == data_type and element.data_value is not None:
                return asn1.decode_as(spec, element.data_value)
    except PkiError:
        pass
    return ()


def _group_of(algorithm: AlgorithmIdentifier) -> Group | None:
    """Match one entry of TD-DH-PARAMETERS to a group that we accept."""
    group: Group | None = None
    try:
        if algorithm.parameters is None:
            return None
        if algorithm.algorithm == DH_PUBLIC_NUMBER:
            domain = asn1.decode(DomainParameters, algorithm.parameters)
            group = match_domain_parameters(domain.p, domain.g, domain.q)
        elif algorithm.algorithm == oids.EC_PUBLIC_KEY:
            start, end = der.open_tlv(algorithm.parameters, der.OID)
            group = group_by_curve_oid(der.decode_oid(algorithm.parameters, start, end))
    except PkiError:
        return None
    return group if group is not None and group.name in ACCEPTED_GROUPS else None
