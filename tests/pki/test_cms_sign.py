"""CMS SignedData that we make: its exact shape, and openssl as the judge, both ways."""

import subprocess
from pathlib import Path

import pytest

from pki import asn1, ca, cms, cms_syntax, der, oids
from pki.ca import IssuedCertificate, KeyType
from pki.certificate import Certificate
from pki.cms import CmsPolicy
from pki.cms_sign import CmsSigner, sign_signed_data
from pki.errors import DerFault, KeyFault, PkiError
from pki.signatures import Digest
from tests.pki import issued

CONTENT = b"a KDCDHKeyInfo, as far as CMS knows"


def _signer(made: IssuedCertificate, *, allow_sha1: bool = False) -> CmsSigner:
    return CmsSigner(made.private_key, made.certificate_der, allow_sha1=allow_sha1)


def _verify(data: bytes, content_type: str, policy: CmsPolicy | None = None) -> cms.VerifiedSigner:
    return cms.verify_signature(
        cms.parse_signed_data(data),
        expected_content_type=content_type,
        policy=policy or CmsPolicy(),
        check_key=lambda _: (),
    )


@pytest.mark.parametrize("key_type", list(KeyType))
@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
def test_our_own_verifier_accepts_it(key_type: KeyType, digest: Digest) -> None:
    """RSA and P-256, each digest a client may list in supportedCMSTypes."""
    kdc = issued.kdc(key_type)
    data = sign_signed_data(oids.ID_PKINIT_DH_KEY_DATA, CONTENT, _signer(kdc), digest)
    verified = _verify(data, oids.ID_PKINIT_DH_KEY_DATA)
    assert verified.content == CONTENT
    assert verified.digest is digest
    assert verified.certificate.der == kdc.certificate_der


@pytest.mark.parametrize("key_type", list(KeyType))
@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
def test_openssl_verifies_it(tmp_path: Path, key_type: KeyType, digest: Digest) -> None:
    """`openssl cms -verify` with the realm's CA as anchor gives the content back."""
    signer = _signer(issued.kdc(key_type))
    (tmp_path / "m.der").write_bytes(signer.sign(oids.ID_PKINIT_DH_KEY_DATA, CONTENT, digest))
    (tmp_path / "ca.pem").write_bytes(ca.certificate_to_pem(issued.root().certificate_der))
    at = str(int(issued.NOW.timestamp()))
    done = subprocess.run(
        [
            *("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "m.der"),
            *("-CAfile", "ca.pem", "-purpose", "any", "-attime", at),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == CONTENT


def test_shape_is_the_one_clients_are_tested_with() -> None:
    """Wire facts 2.4: v3, one digestAlgorithm, one certificate, no CRL, one SignerInfo v1 by

    issuerAndSerialNumber, exactly contentType and messageDigest in this order.
    """
    kdc = issued.kdc()
    data = _signer(kdc).sign(oids.ID_PKINIT_DH_KEY_DATA, CONTENT)
    outer = asn1.decode(cms_syntax.ContentInfo, data)
    signed = asn1.decode(cms_syntax.SignedDataSyntax, outer.content)
    assert signed.version == 3
    assert len(signed.digest_algorithms) == 1
    assert signed.certificates == (kdc.certificate_der,)
    assert signed.crls is None
    (raw,) = signed.signer_infos
    info = asn1.decode(cms_syntax.SignerInfoSyntax, raw)
    assert info.version == 1
    assert info.unsigned_attrs is None
    named = asn1.decode(cms_syntax.IssuerAndSerialNumber, info.sid)
    certificate = Certificate(kdc.certificate_der)
    assert (named.issuer, named.serial_number) == (certificate.issuer, certificate.serial_number)
    assert info.signed_attrs is not None
    types = [asn1.decode(cms_syntax.Attribute, a).attr_type for a in info.signed_attrs]
    assert types == [oids.ID_CONTENT_TYPE, oids.ID_MESSAGE_DIGEST]


def test_spliced_bytes_are_what_the_declared_types_encode() -> None:
    """The declared types are the oracle of the hot path: decode and encode give the same bytes."""
    data = _signer(issued.kdc()).sign(oids.ID_PKINIT_DH_KEY_DATA, CONTENT)
    outer = asn1.decode(cms_syntax.ContentInfo, data)
    signed = asn1.decode(cms_syntax.SignedDataSyntax, outer.content)
    info = asn1.decode(cms_syntax.SignerInfoSyntax, signed.signer_infos[0])
    signed.signer_infos = (asn1.encode(info),)
    outer.content = asn1.encode(signed)
    assert asn1.encode(outer) == data


def test_chain_is_sent_sorted_and_the_signer_still_found() -> None:
    """Intermediates go along; a SET OF is sorted (X.690 11.6)."""
    middle = ca.create_root("LAB.TEST", issued.NOW, issued.key("middle"), common_name="middle")
    leaf = issued.kdc()
    signer = CmsSigner(leaf.private_key, leaf.certificate_der, (middle.certificate_der,))
    data = signer.sign(oids.ID_PKINIT_DH_KEY_DATA, CONTENT)
    parsed = cms.parse_signed_data(data)
    assert parsed.certificates == tuple(sorted((leaf.certificate_der, middle.certificate_der)))
    verified = _verify(data, oids.ID_PKINIT_DH_KEY_DATA)
    assert verified.certificate.der == leaf.certificate_der
    assert verified.other_certificates == (middle.certificate_der,)


def test_large_content_gets_long_lengths() -> None:
    """Every splice computes its own length octets."""
    content = b"x" * 70_000
    data = _signer(issued.kdc()).sign(oids.ID_PKINIT_RKEY_DATA, content)
    assert _verify(data, oids.ID_PKINIT_RKEY_DATA).content == content


def test_sha1_only_when_allowed() -> None:
    """Never without the switch."""
    strict = _signer(issued.kdc())
    assert Digest.SHA1 not in strict.digests
    with pytest.raises(ValueError, match="digest not allowed"):
        strict.sign(oids.ID_PKINIT_DH_KEY_DATA, CONTENT, Digest.SHA1)
    data = _signer(issued.kdc(), allow_sha1=True).sign(
        oids.ID_PKINIT_DH_KEY_DATA, CONTENT, Digest.SHA1
    )
    verified = _verify(data, oids.ID_PKINIT_DH_KEY_DATA, CmsPolicy(accept_sha1=True))
    assert verified.digest is Digest.SHA1


def test_key_of_another_certificate_is_refused_when_made() -> None:
    """A KDC must not start with a key that is not its certificate's."""
    with pytest.raises(PkiError) as caught:
        CmsSigner(issued.key("alice"), issued.kdc().certificate_der)
    assert (caught.value.fault, caught.value.detail) == (
        KeyFault.MALFORMED,
        "private key is not the certificate's",
    )


def test_broken_certificate_is_refused_when_made() -> None:
    """One byte short."""
    with pytest.raises(PkiError) as caught:
        CmsSigner(issued.key("kdc"), issued.kdc().certificate_der[:-1])
    assert caught.value.fault is DerFault.TRUNCATED


def test_repr_shows_no_key() -> None:
    """Only the certificate's serial number and size."""
    assert repr(_signer(issued.kdc())).startswith("CmsSigner(Certificate(serial_number=0x")


# -- messages that openssl makes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ((), Digest.SHA256),
        (("-md", "sha384"), Digest.SHA384),
        (("-md", "sha512"), Digest.SHA512),
        (("-keyid",), Digest.SHA256),
        (("-nosmimecap",), Digest.SHA256),
        (("-keyopt", "rsa_padding_mode:pss"), Digest.SHA256),
        (("-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:32"), Digest.SHA256),
    ],
)
def test_messages_of_openssl_verify(
    tmp_path: Path, options: tuple[str, ...], digest: Digest
) -> None:
    """An independent signer: both identifier forms, each digest, PSS, its usual attributes."""
    alice = issued.leaf()
    _check_openssl_message(tmp_path, alice, options, digest)


def test_messages_of_openssl_with_a_p256_key_verify(tmp_path: Path) -> None:
    """RFC 5349: an EC signer."""
    alice = issued.hello("alice", KeyType.EC_P256)
    _check_openssl_message(tmp_path, alice, ("-md", "sha256"), Digest.SHA256)


def _check_openssl_message(
    tmp_path: Path, alice: IssuedCertificate, options: tuple[str, ...], digest: Digest
) -> None:
    (tmp_path / "alice.pem").write_bytes(
        ca.certificate_to_pem(alice.certificate_der) + ca.private_key_to_pem(alice.private_key)
    )
    (tmp_path / "content").write_bytes(CONTENT)
    subprocess.run(
        [
            *("openssl", "cms", "-sign", "-binary", "-nodetach", "-in", "content"),
            *("-econtent_type", oids.ID_PKINIT_AUTH_DATA, "-signer", "alice.pem"),
            *("-outform", "DER", "-out", "m.der", *options),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    data = (tmp_path / "m.der").read_bytes()
    verified = _verify(data, oids.ID_PKINIT_AUTH_DATA)
    assert verified.content == CONTENT
    assert verified.digest is digest
    assert verified.certificate.der == alice.certificate_der
    der.walk(data)
