"""Certificates, X.500 names, subjectAltName and SID forms are read or refused with a PkiError.

An X.500 name survives both of its text forms; what `doctor` says of a certificate never raises.
"""

from collections.abc import Callable

from pki import names, oids, x500
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.kdc_certificate import check_kdc_certificate
from tests.kdc.builders import NOW, REALM


def _read_certificate(data: bytes) -> None:
    certificate = Certificate(data)
    alternative = certificate.extension(oids.ID_CE_SUBJECT_ALT_NAME)
    certificate.subject_key_identifier()
    certificate.validity()
    certificate.public_key()
    if alternative is not None:
        _read_alternative_name(alternative)
    _read_name(certificate.issuer)
    _read_name(certificate.subject)


def _read_alternative_name(data: bytes) -> None:
    found = names.decode_subject_alt_name(data)
    for uri in found.uris:
        sid = names.decode_sid_uri(uri)
        assert sid is None or names.encode_sid_uri(sid) == uri


def _read_sid(data: bytes) -> None:
    sid = names.decode_sid_extension(data)
    assert names.encode_sid_extension(sid) == data


def _read_name(data: bytes) -> None:
    name = x500.decode_name(data)
    for render, parse in (
        (x500.render_rfc4514, x500.parse_rfc4514),
        (x500.render_alt_security_identity, x500.parse_alt_security_identity),
    ):
        text = render(name)
        if len(text) <= names.MAX_RDNS * names.MAX_TEXT_BYTES:
            assert parse(text) == name, text
    try:
        written = x500.encode_name(name)
    except PkiError:
        return
    assert sorted(map(sorted, _texts(x500.decode_name(written)))) == sorted(
        map(sorted, _texts(name))
    )


def _texts(name: x500.Name) -> list[list[tuple[str, str]]]:
    return [[(attribute.oid, repr(attribute.value)) for attribute in rdn] for rdn in name]


_READERS: tuple[Callable[[bytes], None], ...] = (
    _read_certificate,
    _read_alternative_name,
    _read_sid,
    _read_name,
)


def one(data: bytes) -> None:
    """Read one element as each of them."""
    for read in _READERS:
        try:
            read(data)
        except PkiError as error:
            assert len(error.detail) < 80
    assert all(isinstance(p, str) for p in check_kdc_certificate(data, REALM, "lab.test", NOW))
