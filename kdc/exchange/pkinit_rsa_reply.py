"""The RSA form of the PKINIT reply (RFC 4556 3.2.3.2): a reply key encrypted to the client's key.

Off by default (`legacy_rsa_reply`): who gets the client's key later can read what was recorded
before. The KDC has no certificate of the client's but the one that signed the request, which is
therefore the recipient.
"""

from kdc.crypto.etypes import CHECKSUM_TYPES, KEY_BYTES, EncType, KeyUsage, ProtocolKey
from kdc.crypto.etypes import make_checksum as mac_of
from kdc.errors import KdcError
from kdc.exchange.realm import Realm
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import AsReq, Checksum, EncryptionKey, PaData
from kdc.wire.rfc4556 import (
    ID_PKINIT_RKEY_DATA,
    AuthPack,
    ReplyKeyPack,
    encode_enc_key_pack,
)
from pki import asn1, oids
from pki.certificate import Certificate
from pki.cms_envelope import choose_cipher, envelop
from pki.cms_sign import CmsSigner
from pki.cms_syntax import ContentInfo
from pki.errors import PkiError
from pki.extensions import KeyUsageBit, decode_key_usage
from pki.keys import KeyKind


def check_rsa_recipient(certificate: Certificate, auth_pack: AuthPack) -> str:
    """Check that a reply key may be encrypted to this certificate; return the content encryption.

    Raises KdcError: KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED, KDC_ERR_INCONSISTENT_KEY_PURPOSE.
    Source: RFC 4556 3.2.3.2; RFC 5280 4.2.1.3.
    """
    if certificate.public_key().kind is not KeyKind.RSA:
        raise KdcError(
            ErrorCode.KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED,
            "an RSA-encrypted reply needs an RSA key, and the client's is none",
        )
    try:
        value = certificate.extension(oids.ID_CE_KEY_USAGE)
        usage = KeyUsageBit.KEY_ENCIPHERMENT if value is None else decode_key_usage(value)
        allowed = bool(usage & KeyUsageBit.KEY_ENCIPHERMENT)
    except PkiError:
        allowed = False
    if not allowed:
        raise KdcError(
            ErrorCode.KDC_ERR_INCONSISTENT_KEY_PURPOSE,
            "keyUsage without keyEncipherment allows no RSA-encrypted reply",
        )
    offered = (algorithm.algorithm for algorithm in auth_pack.supported_cms_types or ())
    cipher = choose_cipher(offered)
    if cipher is None:
        raise KdcError(
            ErrorCode.KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED,
            "the client reads no AES in an RSA-encrypted reply",
        )
    return cipher


def make_enc_key_pack(
    certificate: bytes,
    cipher_oid: str,
    signer: CmsSigner,
    request: AsReq,
    etype: EncType,
    realm: Realm,
) -> tuple[ProtocolKey, PaData]:
    """Make a reply key; return it with the PA-PK-AS-REP that holds it, signed and encrypted.

    asChecksum is over the AS-REQ as it was received and binds the reply to it. The SignedData lies
    in the EnvelopedData without a ContentInfo around it, as the RFC has it.
    """
    key = ProtocolKey(etype, realm.entropy(KEY_BYTES[etype]))
    usage = KeyUsage.TGS_REQ_AUTHENTICATOR_CHECKSUM  # 6, as the RFC says
    pack = ReplyKeyPack(
        reply_key=EncryptionKey(keytype=etype, keyvalue=key.value),
        as_checksum=Checksum(
            cksumtype=CHECKSUM_TYPES[etype], checksum=mac_of(key, usage, request.raw)
        ),
    )
    signed = asn1.decode(ContentInfo, signer.sign(ID_PKINIT_RKEY_DATA, asn1.encode(pack)))
    data = envelop(
        oids.ID_SIGNED_DATA, signed.content, Certificate(certificate), cipher_oid, realm.entropy
    )
    value = encode_enc_key_pack(data)
    return key, PaData(padata_type=PaType.PK_AS_REP, padata_value=value)
