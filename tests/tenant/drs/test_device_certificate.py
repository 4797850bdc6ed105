"""The device certificate: its names, extensions and issuer, as clients and Windows read them."""

from functools import cache
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.ca import IssuedCertificate, create_root
from tenant.drs.device_certificate import issue_device_certificate
from tests.kdc.builders import NOW

DEVICE = UUID("9d53c6fa-b38e-4509-8fb1-51dedb421aac")
USER = UUID("0ce67455-8ea1-4523-be5f-bfd09190fad6")
TENANT = UUID("6287f28f-4f7f-4322-9651-a8697d8fe1bc")


@cache
def ca() -> IssuedCertificate:
    return create_root("lab.test", NOW, common_name="MS-Organization-Access")


def issued(*, joined: bool = True) -> x509.Certificate:
    key = rsa.generate_private_key(65537, 2048).public_key()
    return x509.load_der_x509_certificate(
        issue_device_certificate(
            ca(),
            key,
            device_id=DEVICE,
            object_guid=USER,
            tenant_id=TENANT,
            joined=joined,
            now=NOW,
        )
    )


def extension(certificate: x509.Certificate, arc: int) -> bytes:
    oid = x509.ObjectIdentifier(f"1.2.840.113556.1.5.284.{arc}")
    value = certificate.extensions.get_extension_for_oid(oid).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


@pytest.mark.parametrize(
    ("arc", "guid"), [(1, TENANT), (2, DEVICE), (3, USER), (4, TENANT), (5, TENANT)]
)
def test_each_guid_is_where_clients_read_it(arc: int, guid: UUID) -> None:
    """MS-DVRJ 3.1.5.1.1.3, in the encoding of its example (4.1): 04 81 10, then the GUID."""
    assert extension(issued(), arc) == b"\x04\x81\x10" + guid.bytes_le


@pytest.mark.parametrize(("joined", "digit"), [(True, b"1"), (False, b"0")])
def test_the_join_type_is_a_digit(joined: bool, digit: bytes) -> None:
    """The example in MS-DVRJ 4.1 has 04 81 01 31 for a joined device."""
    assert extension(issued(joined=joined), 7) == b"\x04\x81\x01" + digit


def test_the_certificate_is_for_tls_clients_alone() -> None:
    """It names the device, is no CA's, and is issued by the tenant's CA of devices."""
    certificate = issued()
    names = [(a.oid, a.value) for a in certificate.subject]
    assert names == [(NameOID.COMMON_NAME, str(DEVICE))]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(ca().certificate_der))


def test_the_certificate_does_not_outlive_its_issuer() -> None:
    """RFC 5280 6.1: after the CA's end it would be of no use."""
    end = x509.load_der_x509_certificate(ca().certificate_der).not_valid_after_utc
    assert issued().not_valid_after_utc <= end
