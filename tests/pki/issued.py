"""Keys and certificates that many tests share, made once a run."""

from datetime import UTC, datetime
from functools import cache

from pki import ca, oids
from pki.ca import IssuedCertificate, KeyType, PrivateKey
from pki.x500 import simple_name

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
REALM = "LAB.TEST"
HOST = "dc1.lab.test"


@cache
def key(name: str, key_type: KeyType = KeyType.RSA_2048) -> PrivateKey:
    """Return the key of this name, always the same within a run."""
    return ca.generate_key(key_type)


@cache
def root() -> IssuedCertificate:
    """The realm's CA."""
    return ca.create_root(REALM, NOW, key("root"))


@cache
def kdc(key_type: KeyType = KeyType.RSA_2048) -> IssuedCertificate:
    """A KDC certificate under `root`."""
    return ca.issue_kdc_certificate(
        root(), REALM, (HOST,), "LAB", key_type, NOW, key=key("kdc", key_type)
    )


@cache
def hello(name: str = "alice", key_type: KeyType = KeyType.RSA_2048) -> IssuedCertificate:
    """A self-signed Hello certificate."""
    certificate = ca.self_signed_hello_certificate(
        key(name, key_type), simple_name((oids.ID_AT_COMMON_NAME, name)), NOW
    )
    return IssuedCertificate(certificate_der=certificate, private_key=key(name, key_type))


@cache
def leaf(name: str = "alice") -> IssuedCertificate:
    """A leaf of a throwaway issuer, as MIT's kinit needs it; it has a SKI extension."""
    issuer = ca.create_root(REALM, NOW, key("throwaway"), common_name="throwaway")
    certificate = ca.issue_client_leaf(
        issuer, key(name).public_key(), simple_name((oids.ID_AT_COMMON_NAME, name)), NOW
    )
    return IssuedCertificate(certificate_der=certificate, private_key=key(name))
