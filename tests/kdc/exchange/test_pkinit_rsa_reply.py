"""The RSA form of the PKINIT reply (RFC 4556 3.2.3.2), opened by another ASN.1 library."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pyasn1.codec.der import decoder  # type: ignore[import-untyped]  # has no types
from pyasn1.type import univ  # type: ignore[import-untyped]  # has no types
from pyasn1_modules import rfc5652  # type: ignore[import-untyped]  # has no types

from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, verify_checksum
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import AsRep
from kdc.wire.rfc4556 import ID_PKINIT_RKEY_DATA, AuthPack, ReplyKeyPack
from pki import asn1, ca, oids
from pki.ca import IssuedCertificate, KeyType
from pki.certificate import Certificate
from pki.cms_envelope import choose_cipher, envelop
from pki.x500 import simple_name
from tests.kdc.builders import Kdc, PkinitRequest, refused, running_kdc
from tests.pki import issued

NOT_SUPPORTED = ErrorCode.KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED


@pytest.fixture
def kdc(template: Path, tmp_path: Path) -> Iterator[Kdc]:
    """A KDC that gives RSA-encrypted replies."""
    with running_kdc(template, tmp_path, legacy_rsa_reply=True) as running:
        yield running


def drop(auth_pack: AuthPack) -> AuthPack:
    """Send no clientPublicValue."""
    return replace(auth_pack, client_public_value=None)


def request(**given: object) -> PkinitRequest:
    return PkinitRequest(change_auth_pack=drop, **given)  # type: ignore[arg-type]  # as they are


def opened(content_info: bytes, key: rsa.RSAPrivateKey, bits: int = 256) -> bytes:
    """Decrypt an EnvelopedData; its content type is signedData."""
    info, rest = decoder.decode(content_info, asn1Spec=rfc5652.ContentInfo())
    assert not rest
    assert str(info["contentType"]) == oids.ID_ENVELOPED_DATA
    enveloped, _ = decoder.decode(bytes(info["content"]), asn1Spec=rfc5652.EnvelopedData())
    assert int(enveloped["version"]) == 0
    (recipient,) = enveloped["recipientInfos"]
    transport = recipient["ktri"]
    assert int(transport["version"]) == 0
    body = enveloped["encryptedContentInfo"]
    assert str(body["contentType"]) == oids.ID_SIGNED_DATA
    iv, _ = decoder.decode(
        bytes(body["contentEncryptionAlgorithm"]["parameters"]), asn1Spec=univ.OctetString()
    )
    content_key = key.decrypt(bytes(transport["encryptedKey"]), padding.PKCS1v15())
    assert len(content_key) * 8 == bits
    decryptor = Cipher(algorithms.AES(content_key), modes.CBC(bytes(iv))).decryptor()
    plain = decryptor.update(bytes(body["encryptedContent"])) + decryptor.finalize()
    return plain[: -plain[-1]]


def test_reply_key_is_in_signed_and_enveloped_data(kdc: Kdc) -> None:
    """EnvelopedData, SignedData without ContentInfo, ReplyKeyPack, asChecksum over the AS-REQ."""
    built = request().build()
    outcome = kdc.ask(built.message)
    assert outcome.facts["kex"] == "rsa"
    assert outcome.reply is not None
    reply = asn1.decode(AsRep, outcome.reply)
    (pa,) = (p for p in reply.padata or () if p.padata_type == PaType.PK_AS_REP)
    assert pa.padata_value[0] == 0x81
    key = issued.hello("alice").private_key
    assert isinstance(key, rsa.RSAPrivateKey)
    head = 4 if pa.padata_value[1] == 0x82 else 3
    signed, rest = decoder.decode(
        opened(pa.padata_value[head:], key), asn1Spec=rfc5652.SignedData()
    )
    assert not rest
    assert str(signed["encapContentInfo"]["eContentType"]) == ID_PKINIT_RKEY_DATA
    pack = asn1.decode(ReplyKeyPack, bytes(signed["encapContentInfo"]["eContent"]))
    etype = EncType(pack.reply_key.keytype)
    reply_key = ProtocolKey(etype, pack.reply_key.keyvalue)
    usage = KeyUsage.TGS_REQ_AUTHENTICATOR_CHECKSUM
    verify_checksum(reply_key, usage, built.message, pack.as_checksum.checksum)
    assert reply.enc_part.etype == etype


def test_certificate_for_signatures_alone_gets_none(kdc: Kdc) -> None:
    """RFC 5280 4.2.1.3: keyUsage without keyEncipherment."""
    made = issued.hello("alice")
    usage = ca.self_signed_hello_certificate(
        made.private_key, simple_name((oids.ID_AT_COMMON_NAME, "alice")), issued.NOW, key_usage=True
    )
    # keyUsage 03 02 05 A0 (digitalSignature, keyEncipherment) becomes 03 02 07 80; who signed the
    # certificate does not matter to key trust.
    assert usage.count(bytes.fromhex("030205a0")) == 1
    usage = usage.replace(bytes.fromhex("030205a0"), bytes.fromhex("03020780"))
    signer = IssuedCertificate(certificate_der=usage, private_key=made.private_key)
    assert refused(kdc.ask(request(signer=signer).build().message)) == (
        ErrorCode.KDC_ERR_INCONSISTENT_KEY_PURPOSE,
        "keyUsage without keyEncipherment allows no RSA-encrypted reply",
    )
    broken = IssuedCertificate(
        certificate_der=usage.replace(bytes.fromhex("03020780"), bytes.fromhex("03020980")),
        private_key=made.private_key,
    )
    assert refused(kdc.ask(request(signer=broken).build().message))[0] == (
        ErrorCode.KDC_ERR_INCONSISTENT_KEY_PURPOSE
    )


def test_ec_key_gets_none(kdc: Kdc) -> None:
    """There is nothing to encrypt with."""
    signer = issued.hello("alice", KeyType.EC_P256)
    assert refused(kdc.ask(request(signer=signer).build().message)) == (
        NOT_SUPPORTED,
        "an RSA-encrypted reply needs an RSA key, and the client's is none",
    )


def test_client_of_3des_alone_gets_none(kdc: Kdc) -> None:
    """No DES here; supportedCMSTypes says what the client reads."""
    asked = request(cms_types=(oids.DES_EDE3_CBC,)).build().message
    assert refused(kdc.ask(asked)) == (
        NOT_SUPPORTED,
        "the client reads no AES in an RSA-encrypted reply",
    )


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), oids.AES256_CBC),
        ((oids.SHA256_WITH_RSA,), oids.AES256_CBC),
        ((oids.DES_EDE3_CBC, oids.AES128_CBC), oids.AES128_CBC),
        ((oids.AES128_CBC, oids.AES192_CBC), oids.AES192_CBC),
        ((oids.RC2_CBC,), None),
    ],
)
def test_cipher_is_the_best_that_the_client_lists(
    offered: tuple[str, ...], chosen: str | None
) -> None:
    """RFC 4556 3.1.4: supportedCMSTypes; without it AES-256."""
    assert choose_cipher(offered) == chosen


def test_every_length_is_padded() -> None:
    """RFC 5652 6.3: also a whole number of blocks."""
    made = issued.leaf()
    assert isinstance(made.private_key, rsa.RSAPrivateKey)
    for length in (0, 1, 15, 16, 17, 32):
        data = envelop(
            oids.ID_SIGNED_DATA,
            bytes(length),
            Certificate(made.certificate_der),
            oids.AES128_CBC,
            lambda count: bytes(range(count)),
        )
        assert opened(data, made.private_key, 128) == bytes(length)


def test_ec_recipient_is_a_bug_of_the_caller() -> None:
    """check_rsa_recipient comes first."""
    with pytest.raises(ValueError, match="RSA"):
        envelop(
            oids.ID_SIGNED_DATA,
            b"",
            Certificate(issued.hello("carol", KeyType.EC_P256).certificate_der),
            oids.AES256_CBC,
            bytes,
        )
