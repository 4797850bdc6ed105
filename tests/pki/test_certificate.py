"""The minimal certificate reader: what key trust must be able to read, and what it refuses."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pki import der, oids
from pki.certificate import MAX_CERTIFICATE_BYTES, Certificate, encode_time
from pki.errors import DerFault, PkiError
from tests.pki import issued


def _fault(data: bytes) -> DerFault:
    with pytest.raises(PkiError) as caught:
        Certificate(data)
    assert isinstance(caught.value.fault, DerFault)
    return caught.value.fault


def test_fields_are_those_the_library_reads() -> None:
    """Serial, names, key, validity and extensions, against cryptography."""
    data = issued.leaf().certificate_der
    ours, library = Certificate(data), x509.load_der_x509_certificate(data)
    assert ours.der == data
    assert ours.serial_number == library.serial_number
    assert ours.issuer == library.issuer.public_bytes()
    assert ours.subject == library.subject.public_bytes()
    assert ours.version == 3
    assert ours.validity() == (library.not_valid_before_utc, library.not_valid_after_utc)
    assert ours.subject_public_key_info == library.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    ski = library.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert ours.subject_key_identifier() == ski.digest
    assert ours.extension(oids.ID_CE_SUBJECT_ALT_NAME) is None


def test_hello_certificate_has_no_key_identifier() -> None:
    """The shape of Windows: no SKI; method 1 of RFC 5280 4.2.1.2 applies to the key bits."""
    hello = issued.hello()
    certificate = Certificate(hello.certificate_der)
    assert certificate.subject_key_identifier() is None
    digest = hashes.Hash(hashes.SHA1())  # noqa: S303  # RFC 5280's method 1
    digest.update(certificate.subject_public_key())
    expected = x509.SubjectKeyIdentifier.from_public_key(hello.private_key.public_key())
    assert digest.finalize() == expected.digest


_ALGORITHM = der.sequence(der.encode_oid(oids.SHA1_WITH_RSA), der.tlv(der.NULL, b""))


def _minimal(
    *, serial: int = 1, not_after: datetime = issued.NOW, extensions: tuple[bytes, ...] = ()
) -> bytes:
    """Assemble a certificate around alice's key: version 1 without extensions, else version 3."""
    hello = Certificate(issued.hello().certificate_der)
    tbs = der.sequence(
        der.explicit(0, der.encode_integer(2)) if extensions else b"",
        der.encode_integer(serial),
        _ALGORITHM,
        hello.issuer,
        der.sequence(encode_time(datetime(1950, 1, 1, tzinfo=UTC)), encode_time(not_after)),
        hello.subject,
        hello.subject_public_key_info,
        der.explicit(3, der.sequence(*extensions)) if extensions else b"",
    )
    return der.sequence(tbs, _ALGORITHM, der.encode_bit_string(b"not checked"))


def test_version_1_certificate_is_read() -> None:
    """Row K14: no version field, no extensions; a negative serial number, SHA-1."""
    old = Certificate(_minimal(serial=-5))
    assert old.version == 1
    assert old.serial_number == -5
    assert old.extension(oids.ID_CE_SUBJECT_ALT_NAME) is None


@pytest.mark.parametrize("year", [1950, 1999, 2000, 2049, 2050, 9999])
def test_times_turn_from_utctime_to_generalizedtime_in_2050(year: int) -> None:
    """RFC 5280 4.1.2.5."""
    moment = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert encode_time(moment)[0] == (0x17 if year < 2050 else 0x18)
    assert Certificate(_minimal(not_after=moment)).validity()[1] == moment


def test_malformed_time_is_refused_when_asked_for() -> None:
    """The frame is readable, so key trust goes on; whoever needs the dates gets the fault."""
    good = encode_time(issued.NOW)
    for bad in (good.replace(b"Z", b"0"), good.replace(b"2605", b"2613"), b"\x04" + good[1:]):
        certificate = Certificate(_minimal().replace(good, bad))
        with pytest.raises(PkiError) as caught:
            certificate.validity()
        assert isinstance(caught.value.fault, DerFault)


def test_certificate_cut_anywhere_is_refused() -> None:
    """Every truncation is a DER fault."""
    data = issued.hello().certificate_der
    for cut in range(len(data)):
        _fault(data[:cut])


def test_bytes_after_the_certificate_are_refused() -> None:
    """One element, whole buffer."""
    assert _fault(issued.hello().certificate_der + b"\0") is DerFault.TRAILING_DATA


def test_huge_certificate_is_over_the_limit() -> None:
    """Bounded before it is read."""
    assert _fault(b"\x30" + b"\0" * MAX_CERTIFICATE_BYTES) is DerFault.OVER_LIMIT


def test_extension_twice_is_refused_each_time() -> None:
    """RFC 5280 4.2; asking again gives the same answer."""
    value = der.encode_octet_string(der.encode_octet_string(b"id"))
    one = der.sequence(der.encode_oid(oids.ID_CE_SUBJECT_KEY_IDENTIFIER), value)
    certificate = Certificate(_minimal(extensions=(one, one)))
    for _ in range(2):
        with pytest.raises(PkiError) as caught:
            certificate.subject_key_identifier()
        assert (caught.value.fault, caught.value.detail) == (
            DerFault.BAD_VALUE,
            "extension twice",
        )


def test_repr_shows_no_content() -> None:
    """Logs get the serial number and a size."""
    text = repr(Certificate(issued.hello().certificate_der))
    assert text.startswith("Certificate(serial_number=0x")
    assert "alice" not in text
