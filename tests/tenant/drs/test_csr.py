"""Certificate requests of devices: read, verified, and refused with the reason (rows R10, K10)."""

import base64
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki import der
from pki.keys import public_key_from_cryptography, rsa_key
from tenant.drs.csr import CsrError, read_device_request
from tests.pki.test_keys import roca_like_modulus
from tests.tenant.device_requests import NONCE_EXTENSION, device_request, forged_request

# The example of a request by Windows, MS-DVRJ 4.1: its common name ends with a NUL.
WINDOWS_REQUEST = base64.b64decode(
    "MIICdTCCAV0CAQAwMDEuMCwGA1UEAxMlN0U5ODBBRDktQjg2RC00MzA2LTk0MjUtOUFDMDY2RkIwMTRBADCCASIw"
    "DQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAKS8jipCztLoXQEhlyWIQwlFUP74jkLvt4KSWYexYyW+Teays9Mo"
    "0oz94BYMMo7qzkN3dIex9XID5oSrlTbUJ5KrjNffc3f8p6XDIHFNuNzlI4aWgJ3qut3RiPZU1mTra/MKQXRr8XiJ"
    "FdYiSAmVXDnPUjs1pVlJiLOzIE0TdRv4C2K6af3KksG/TMWqdn/4M0SZjLsXx3pnmvkB23IGTkEL0LbQG/mN74sA"
    "yChwAW8QqpdkOLgYgltIJNk/AWz32kzUtiYz+/3jo8zxdAN45Mb+aQIChxiskv6EOCvHJ2e/3B4IlQEOJvbjOATz"
    "gaiwQkCZYHQ1zhE7mZWHfM5g3s0CAwEAAaAAMA0GCSqGSIb3DQEBCwUAA4IBAQBGgifpEjPkSfbtjNKL5XXgRPFf"
    "Q5RVMuwfhMqsmrZ7BIsx0KTwgY4F/62ChA9MyQWexOoSk/Ag/xcTKOBl23hgXD3e4A3tldsG9R+LdAQznvm9zQl4"
    "1mEgw8oqaPDuBiS8SJFaRQ0SHHJ/7XkxP+j/gKMSl2dKnLYqg2SXgpRjNh88dDnZ0BXvm2oIsG2BdiKfr3Ur8Emy"
    "69nLVkHaFoXwZOX3aEYq3lkzByIpuWyAPuKzdF7k0WLRT7LOEuddkbS8JcK0gi029JSDOwGcXMIQfA56+2URwRNn"
    "Wt5Us5odNzbhQFbNuw6D0llMuBU19AUuq1yddB87TN/2HJDLWH31"
)


@cache
def device_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def refused(data: bytes) -> str:
    with pytest.raises(CsrError) as caught:
        read_device_request(data)
    return caught.value.why


def test_a_request_of_roadtx_is_read() -> None:
    """The form of all open clients: one common name, no attributes."""
    found = read_device_request(device_request(device_key()))
    assert found.key == public_key_from_cryptography(device_key().public_key())
    assert found.nonce is None


def test_a_request_of_windows_is_read() -> None:
    """MS-DVRJ 4.1: the common name counts its terminating NUL."""
    assert read_device_request(WINDOWS_REQUEST).key.bits == 2048


@pytest.mark.parametrize(
    "encoded",
    [der.encode_octet_string(b"the nonce"), der.tlv(der.UTF8_STRING, b"the nonce")],
    ids=["OCTET STRING", "UTF8String"],
)
def test_the_nonce_of_a_request_is_found(encoded: bytes) -> None:
    """aad-join-spec 2.1.1.1.1: the nonce is an extension that the request asks for."""
    found = read_device_request(device_request(device_key(), nonce=encoded))
    assert found.nonce == "the nonce"


def test_a_nonce_that_is_no_string_is_refused() -> None:
    """No document says what it may be but text."""
    data = device_request(device_key(), nonce=der.encode_integer(5))
    assert refused(data) == "the nonce in the certificate request is no string"
    data = device_request(device_key(), nonce=der.encode_octet_string(b"\xff"))
    assert refused(data) == "the nonce in the certificate request is no text"


def with_attribute(*values: bytes, oid: str = NONCE_EXTENSION) -> bytes:
    """A request with one attribute, signed."""
    attribute = der.sequence(der.encode_oid(oid), der.tlv(der.SET, b"".join(values)))
    key = public_key_from_cryptography(device_key().public_key())
    return forged_request(key, device_key(), attributes=attribute)


def test_a_nonce_as_an_attribute_is_found() -> None:
    """The documents say "extension"; an attribute of that name is the other reading."""
    found = read_device_request(with_attribute(der.encode_octet_string(b"the nonce")))
    assert found.nonce == "the nonce"


def test_attributes_that_are_not_known_are_ignored() -> None:
    """Windows adds its own (OS version, the program that asked)."""
    data = with_attribute(der.encode_integer(1), oid="1.3.6.1.4.1.311.13.2.3")
    assert read_device_request(data).nonce is None


def test_attributes_that_cannot_be_read_are_refused() -> None:
    """One value each (RFC 2985 5.4.2), and DER."""
    text = der.encode_octet_string(b"x")
    why = "an attribute of the certificate request has not one value"
    assert refused(with_attribute()) == why
    assert refused(with_attribute(text, der.encode_octet_string(b"y"))) == why
    why = "the certificate request's attributes cannot be read"
    assert refused(with_attribute(b"\x05\x00", oid="1.2.840.113549.1.9.14")) == why
    why = "the nonce in the certificate request is too long"
    assert refused(with_attribute(der.encode_octet_string(bytes(5000)))) == why


def test_another_name_is_refused() -> None:
    """aad-join-spec 2.1.1.1.1: the CN MUST be the one that marks a device's request."""
    why = "the certificate request has another name than a device's"
    assert refused(device_request(device_key(), name="desktop-1")) == why


def test_a_second_name_is_refused() -> None:
    """One common name and nothing else: what else it says would be nobody's to judge."""
    oid = x509.oid.NameOID
    names = [
        x509.NameAttribute(oid.COMMON_NAME, "7E980AD9-B86D-4306-9425-9AC066FB014A"),
        x509.NameAttribute(oid.ORGANIZATION_NAME, "Lab"),
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    data = builder.sign(device_key(), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert refused(data) == "the certificate request has another name than a device's"


def test_somebody_elses_key_is_refused() -> None:
    """RFC 2986 3: the signature proves possession."""
    other = public_key_from_cryptography(rsa.generate_private_key(65537, 2048).public_key())
    why = "the certificate request is not signed with its own key"
    assert refused(forged_request(other, device_key())) == why


def test_a_changed_request_is_refused() -> None:
    """The signature is over the octets that arrived."""
    data = bytearray(device_request(device_key()))
    data[-1] ^= 1
    assert refused(bytes(data)) == "the certificate request is not signed with its own key"


def test_another_digest_is_refused() -> None:
    """MS-DVRJ 3.1.5.1.1.1: SHA256WithRSAEncryption."""
    data = device_request(device_key(), digest=hashes.SHA512())
    why = "the certificate request is not signed with SHA256WithRSAEncryption"
    assert refused(data) == why


def test_a_key_of_1024_bits_is_refused() -> None:
    """Row R10."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  to be refused
    assert refused(device_request(key)) == "the key is too small"


def test_an_exponent_of_one_is_refused() -> None:
    """Row R10: with e=1 every signature is its own padding."""
    key = rsa_key(device_key().public_key().public_numbers().n, 1)
    why = "the key's public exponent is not accepted"
    assert refused(forged_request(key, device_key())) == why


def test_a_roca_key_is_refused() -> None:
    """Rows R10 and K10 (CVE-2017-15361)."""
    key = rsa_key(roca_like_modulus(), 65537)
    assert refused(forged_request(key, device_key())) == "the key has the ROCA fingerprint"


def test_a_key_of_16384_bits_is_refused() -> None:
    """Row P13's rule for keys of clients: none that makes the server work for long."""
    key = rsa_key((1 << 16383) + 1, 65537)
    assert refused(forged_request(key, device_key())) == "the key is too large"


def test_an_elliptic_curve_key_is_refused() -> None:
    """MS-DVRJ 3.1.5.1.1.1: RSA. What newer macOS clients send is not served."""
    data = device_request(ec.generate_private_key(ec.SECP256R1()))
    assert refused(data) == "the key is of a kind that is not accepted"


def test_an_unknown_version_is_refused() -> None:
    """RFC 2986 4.1: v1(0) is the only one."""
    key = public_key_from_cryptography(device_key().public_key())
    why = "the certificate request is of an unknown version"
    assert refused(forged_request(key, device_key(), version=1)) == why


@pytest.mark.parametrize(
    "data", [b"", b"0", b"\x30\x80\x00\x00", bytes(100), b"-----BEGIN CERTIFICATE REQUEST-----"]
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    """DER alone, and the whole of it."""
    assert refused(data) == "the certificate request cannot be read"


def test_a_longer_request_is_refused_unread() -> None:
    """The bound is looked at first."""
    assert refused(b"\x30" * 20000) == "the certificate request is too long"


def test_the_nonce_extension_is_the_documented_one() -> None:
    """aad-join-spec 2.1.1.1.1."""
    assert NONCE_EXTENSION == "1.2.840.113556.1.5.284.2.1"
