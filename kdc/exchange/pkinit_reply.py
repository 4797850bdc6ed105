"""PKINIT, second half: key agreement, reply key and PA-PK-AS-REP (RFC 4556 3.2.3, RFC 8636)."""

from datetime import datetime

from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.crypto.key_agreement import AgreementError
from kdc.crypto.pkinit_kdf import (
    ID_PKINIT_KDF_AH_SHA1,
    ID_PKINIT_KDF_AH_SHA256,
    ID_PKINIT_KDF_AH_SHA384,
    ID_PKINIT_KDF_AH_SHA512,
    octetstring2key,
    rfc8636_kdf,
)
from kdc.errors import KdcError
from kdc.exchange.pkinit import PkinitProof, refuse_group
from kdc.exchange.pkinit_rsa_reply import make_enc_key_pack
from kdc.exchange.realm import DhKey, KdcSigners, Realm
from kdc.exchange.reply_der import pkinit_other_info
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import AsReq, PaData, PrincipalName
from kdc.wire.rfc4556 import (
    ID_PKINIT_DH_KEY_DATA,
    AuthPack,
    DhRepInfo,
    KdcDhKeyInfo,
    KdfAlgorithmId,
    encode_pa_pk_as_rep,
)
from pki import asn1
from pki.cms_sign import CmsSigner
from pki.signatures import ECDSA_WITH

SERVER_DH_NONCE_BYTES = 32
MAX_SHORT_SECRETS = 4  # five in a row have a chance of one in 2**40

KDF_PREFERENCE = (
    ID_PKINIT_KDF_AH_SHA256,
    ID_PKINIT_KDF_AH_SHA512,
    ID_PKINIT_KDF_AH_SHA384,
    ID_PKINIT_KDF_AH_SHA1,
)

_ECDSA = frozenset(ECDSA_WITH.values())
_NO_CNAME = PrincipalName(name_type=0, name_string=())


def choose_kdf(auth_pack: AuthPack) -> str | None:
    """Choose the KDF: None for RFC 4556's own when the client lists none.

    Raises KdcError: KDC_ERR_NO_ACCEPTABLE_KDF (RFC 8636 section 4).
    """
    if auth_pack.supported_kdfs is None:
        return None
    offered = {kdf.kdf_id for kdf in auth_pack.supported_kdfs}
    for kdf_id in KDF_PREFERENCE:
        if kdf_id in offered:
            return kdf_id
    raise KdcError(
        ErrorCode.KDC_ERR_NO_ACCEPTABLE_KDF, "no key derivation function of supportedKDFs is known"
    )


def choose_signer(auth_pack: AuthPack, signers: KdcSigners) -> CmsSigner:
    """Choose the KDC's certificate: the EC one for clients that say they verify ECDSA.

    supportedCMSTypes is advice (RFC 4556 3.1.4); clients that list nothing get RSA, which all
    can verify.
    """
    types = auth_pack.supported_cms_types or ()
    if signers.ec is not None and (
        signers.rsa is None or any(t.algorithm in _ECDSA for t in types)
    ):
        return signers.ec
    if signers.rsa is None:
        raise KdcError(ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP, "this KDC has no certificate")
    return signers.rsa


def _sign_key_info(key: DhKey, nonce: int, expiration: datetime | None, signer: CmsSigner) -> bytes:
    info = KdcDhKeyInfo(
        subject_public_key=key.pair.public, nonce=nonce, dh_key_expiration=expiration
    )
    return signer.sign(ID_PKINIT_DH_KEY_DATA, asn1.encode(info))


def _agree(key: DhKey, proof: PkinitProof, realm: Realm) -> bytes:
    """Compute the shared secret, which also checks the client's public value."""
    try:
        return key.pair.agree(proof.client_public)
    except AgreementError:
        raise refuse_group("the client's public value is not in the group", realm) from None


def make_pk_as_rep(
    proof: PkinitProof, request: AsReq, etype: EncType, realm: Realm, now: datetime
) -> tuple[ProtocolKey, PaData]:
    """Agree on the reply key; return it with the PA-PK-AS-REP that lets the client compute it.

    serverDHNonce and dhKeyExpiration are sent exactly when the client sent clientDHNonce
    (wire facts: Windows 11 needs both, Samba's tests want neither otherwise).
    """
    auth_pack = proof.auth_pack
    signer = choose_signer(auth_pack, realm.signers)
    group = proof.group
    if group is None:
        certificate = proof.evidence.certificate
        return make_enc_key_pack(certificate, proof.rsa_cipher, signer, request, etype, realm)
    kdf_id = choose_kdf(auth_pack)
    client_nonce = auth_pack.client_dh_nonce
    server_nonce = None if client_nonce is None else realm.entropy(SERVER_DH_NONCE_BYTES)
    reuse = "off" if client_nonce is None else realm.config.dh_reuse
    key = (realm.dh_keys.fresh if reuse == "off" else realm.dh_keys.reusable)(group, now)
    secret = _agree(key, proof, realm)
    for _ in range(MAX_SHORT_SECRETS):
        if secret[0] != 0:
            break
        # Heimdal (7.8) pads a shared secret that has leading zeros and then cuts it to the unpadded
        # length: one logon in 256 would fail as "Password incorrect". Another key avoids that.
        reuse, key = "off", realm.dh_keys.fresh(group, now)
        secret = _agree(key, proof, realm)
    expiration = None if client_nonce is None else key.expires
    if reuse == "replies":
        signed = key.signed.get(signer) or _sign_key_info(key, 0, expiration, signer)
        key.signed[signer] = signed
    else:
        # DEVIATION: RFC 4556 3.2.3.1 wants nonce 0 with a reused key; we sign the request's own
        # nonce each time, because Heimdal's client accepts nothing else.
        nonce = auth_pack.pk_authenticator.nonce
        signed = _sign_key_info(key, nonce, expiration, signer)
    value = encode_pa_pk_as_rep(
        DhRepInfo(
            dh_signed_data=signed,
            server_dh_nonce=server_nonce,
            kdf=None if kdf_id is None else KdfAlgorithmId(kdf_id=kdf_id),
        )
    )
    if kdf_id is None:
        if client_nonce is not None and server_nonce is not None:
            secret += client_nonce + server_nonce
        reply_key = octetstring2key(etype, secret)
    else:
        body = request.req_body
        info = pkinit_other_info(
            kdf_id=kdf_id,
            realm=body.realm,
            cname=body.cname or _NO_CNAME,
            sname=body.sname or _NO_CNAME,
            enctype=etype,
            as_req=request.raw,
            pk_as_rep=value,
        )
        reply_key = rfc8636_kdf(kdf_id, secret, info, etype)
    return reply_key, PaData(padata_type=PaType.PK_AS_REP, padata_value=value)
