"""The certificate of the realm's own HTTPS: which names are in it."""

import ipaddress

from cryptography import x509

from kdc.config import KdcConfig
from kdc.config_values import parse_address

LOCAL_NAMES = ("localhost",)
LOCAL_ADDRESSES = ("127.0.0.1", "::1")


def default_names(
    config: KdcConfig, hosts: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names and addresses by which clients may write the URL of this KDC."""
    listening = (parse_address(text)[0] for text in (*config.listen, *config.kkdcp_listen))
    concrete = tuple(
        host for host in listening if host != "*" and not ipaddress.ip_address(host).is_unspecified
    )
    return (*hosts, *LOCAL_NAMES), (*LOCAL_ADDRESSES, *concrete)


def names_of(certificate: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the DNS names and the addresses that a certificate (PEM) is for. Raises ValueError."""
    try:
        extensions = x509.load_pem_x509_certificate(certificate).extensions
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    return (
        tuple(found.get_values_for_type(x509.DNSName)),
        tuple(map(str, found.get_values_for_type(x509.IPAddress))),
    )
