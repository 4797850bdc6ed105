"""The certificate of the realm's own HTTPS: which names are in it, and issuing it."""

import ipaddress
from pathlib import Path

from cryptography import x509

from kdc.cli.state import now, write_private, write_public
from kdc.config import KdcConfig
from kdc.config_values import parse_address
from kdc.state_folder import StateFolder
from pki import ca

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


def issue_http_certificate(
    folder: StateFolder,
    config: KdcConfig,
    issuer: ca.IssuedCertificate,
    dns_names: tuple[str, ...],
    addresses: tuple[str, ...],
) -> Path:
    """Issue the certificate of HTTPS with a new key; return its path."""
    issued = ca.issue_tls_certificate(issuer, config.realm, dns_names, addresses, now())
    certificate, key = folder.own_http_tls
    write_private(key, ca.private_key_to_pem(issued.private_key))
    write_public(certificate, ca.certificate_to_pem(issued.certificate_der))
    return certificate
