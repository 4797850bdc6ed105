"""Keys and certificates as real clients hold them, made with none of our own code."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.rig.secret_files import write_secret

_SMART_CARD_LOGON = ObjectIdentifier("1.3.6.1.4.1.311.20.2.2")
_PKINIT_CLIENT = ObjectIdentifier("1.3.6.1.5.2.3.4")


def new_key() -> rsa.RSAPrivateKey:
    """Make an RSA-2048 key, the kind that Windows Hello makes."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: str, issuer: str, key: rsa.RSAPrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=abs(days) + 1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its private key in two PEM files, and both in one."""

    certificate: Path
    key: Path
    both: Path
    private_key: rsa.RSAPrivateKey = field(repr=False)
    source: str = ""
    """Another form for MIT, `PKCS12:...`; "": the two PEM files."""

    @property
    def mit(self) -> str:
        """The identity as MIT's X509_user_identity wants it."""
        return self.source or f"FILE:{self.certificate},{self.key}"


def _write(
    folder: Path, stem: str, certificate: x509.Certificate, key: rsa.RSAPrivateKey
) -> Identity:
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    identity = Identity(
        certificate=folder / f"{stem}.pem",
        key=folder / f"{stem}.key",
        both=folder / f"{stem}-both.pem",
        private_key=key,
    )
    for path, content in (
        (identity.certificate, pem),
        (identity.key, secret),
        (identity.both, pem + secret),
    ):
        write_secret(path, content)
    return identity


def self_signed(folder: Path, stem: str, key: rsa.RSAPrivateKey, *, days: int = 30) -> Identity:
    """Write a self-signed certificate as Windows makes for a Hello key; negative days: expired.

    Heimdal's client passes over a certificate without keyUsage digitalSignature: it then sends a
    SignedData that nobody has signed.
    """
    builder = (
        _builder(stem, stem, key, days)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_SMART_CARD_LOGON]), critical=False)
    )
    return _write(folder, stem, builder.sign(key, hashes.SHA256()), key)


def throwaway_issuer(folder: Path, stem: str = "throwaway") -> Identity:
    """Write an issuer that no KDC knows.

    MIT's client sends a certificate only when it chains to an anchor of its own.
    """
    key = new_key()
    builder = (
        _builder("throwaway issuer", "throwaway issuer", key, 30)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return _write(folder, stem, builder.sign(key, hashes.SHA256()), key)


def leaf(folder: Path, stem: str, key: rsa.RSAPrivateKey, issuer: Identity) -> Identity:
    """Write a leaf over an existing key, signed by the throwaway issuer."""
    builder = (
        _builder(stem, "throwaway issuer", key, 20)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private_key.public_key()),
            critical=False,
        )
        .add_extension(x509.ExtendedKeyUsage([_PKINIT_CLIENT, _SMART_CARD_LOGON]), critical=False)
    )
    return _write(folder, stem, builder.sign(issuer.private_key, hashes.SHA256()), key)


def write_pkcs12(identity: Identity, password: str) -> Path:
    """Write an identity as the PKCS #12 file that the impacket family wants."""
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    path = identity.certificate.with_suffix(".pfx")
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"identity",
            identity.private_key,
            certificate,
            None,
            serialization.BestAvailableEncryption(password.encode()),
        )
    )
    return path


def tls_server(folder: Path, stem: str, names: Sequence[str], issuer: Identity) -> Identity:
    """Write a TLS server's certificate for host names and addresses, signed by an issuer."""
    key = new_key()
    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    builder = (
        _builder(names[0], "throwaway issuer", key, 20)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return _write(folder, stem, builder.sign(issuer.private_key, hashes.SHA256()), key)
