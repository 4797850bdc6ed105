"""Where revocation data is: what certificates and lists name, and what of it is ever asked for."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID

from kdc.server.revocation import schedule
from kdc.server.revocation.addresses import (
    Wanted,
    issuer_id,
    of_authorities,
    of_certificate,
    of_list,
    usable,
)
from kdc.server.revocation.sources import BOUNDS, KEEP_SEEN, SourceTable
from pki.certificate import Certificate
from pki.crl import Crl
from tests.rig import logon_ca

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "url",
    [
        "ldap:///CN=CA,CN=CDP?certificateRevocationList",
        "https://pki.example.com/ca.crl",
        "file:///etc/passwd",
        "HTTP://pki.example.com/ca.crl",
        "http://user:secret@pki.example.com/ca.crl",
        "http://pki.example.com/a b",
        "http://pki.example.com/a\r\nX: y",
        "http://pki.example.com/\u00e4.crl",
        "http:///ca.crl",
        "http://pki.example.com/" + "a" * 1024,
        "",
    ],
)
def test_what_is_no_plain_http_is_passed_over(url: str) -> None:
    """RFC 5280 4.2.1.13 allows any scheme; a line break would be another header."""
    assert usable((url,)) == ()


def test_alternatives_are_kept_in_order_each_once_and_bounded() -> None:
    """An Active Directory CA names LDAP first."""
    urls = [f"http://pki{n}.example.com/ca.crl" for n in (1, 1, 2, 3, 4, 5)]
    assert usable(["ldap:///x", *urls]) == tuple(urls[1:5])
    assert usable(["http://[2001:db8::1]:8080/ca.crl"]) == ("http://[2001:db8::1]:8080/ca.crl",)


def _point(*urls: str, issuer: str = "") -> x509.DistributionPoint:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer or "-")])
    return x509.DistributionPoint(
        [x509.UniformResourceIdentifier(url) for url in urls],
        None,
        None,
        [x509.DirectoryName(name)] if issuer else None,
    )


def _certificate(*extensions: x509.ExtensionType) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "leaf")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(77)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(key, hashes.SHA256())
    return Certificate(made.public_bytes(Encoding.DER))


def test_a_certificate_names_its_lists_its_delta_lists_and_its_responder() -> None:
    """RFC 5280 4.2.1.13, 4.2.1.15, 4.2.2.1: a point is a source, its addresses alternatives."""
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP,
        x509.UniformResourceIdentifier("http://ocsp.example.com"),
    )
    certificate = _certificate(
        x509.CRLDistributionPoints(
            [
                _point("ldap:///x", "http://a.example.com/1.crl", "http://b.example.com/1.crl"),
                _point("http://a.example.com/2.crl"),
                _point("http://a.example.com/indirect.crl", issuer="another"),
            ]
        ),
        x509.FreshestCRL([_point("http://a.example.com/delta.crl")]),
        x509.AuthorityInformationAccess([access]),
    )
    found = list(of_certificate(certificate, certificate, "logon certificate"))
    assert [(one.kind, one.urls) for one in found] == [
        ("crl", ("http://a.example.com/1.crl", "http://b.example.com/1.crl")),
        ("crl", ("http://a.example.com/2.crl",)),
        ("crl", ("http://a.example.com/delta.crl",)),
        ("ocsp", ("http://ocsp.example.com",)),
    ]
    assert found[3].serial_number == 77
    assert {one.issuer for one in found} == {issuer_id(certificate)}
    assert len({one.key for one in found}) == 4


def _read(ca: logon_ca.LogonCa) -> Certificate:
    return Certificate(ca.certificate.public_bytes(Encoding.DER))


def test_held_cas_name_what_is_said_of_themselves_but_the_realms_own_ca() -> None:
    """Our own CA's list is here already; asking for it would be asking ourselves."""
    root = logon_ca.new_root()
    root.crl_url, root.ocsp_url = "http://pki.example.com/root.crl", "http://pki.example.com/ocsp"
    issuing = root.issuing_ca()
    held = (_read(issuing), _read(root))
    found = list(of_authorities(held, frozenset()))
    assert [(one.kind, one.origin) for one in found] == [
        ("crl", "CA certificate"),
        ("ocsp", "CA certificate"),
    ]
    assert list(of_authorities(held, frozenset((issuer_id(held[1]),)))) == []
    assert list(of_authorities(held[:1], frozenset())) == []  # its issuer is not held


def test_a_list_names_its_delta_lists() -> None:
    """RFC 5280 5.2.6."""
    ca = logon_ca.new_root()
    ca.freshest_url = "http://pki.example.com/delta.crl"
    (found,) = of_list(Crl(ca.crl()), "x")
    assert (found.kind, found.urls, found.issuer) == ("crl", (ca.freshest_url,), "x")


# -- the table -------------------------------------------------------------------------------


def _wanted(number: int = 1, **given: object) -> Wanted:
    values = {"kind": "crl", "urls": (f"http://x/{number}",), "origin": "logon certificate"}
    return Wanted(**{**values, "issuer": "ca", **given})  # type: ignore[arg-type]  # its own fields


def test_what_stays_is_kept_as_long_as_it_is_named_and_what_was_seen_for_a_month() -> None:
    """A CA that is held no more takes all of its sources along."""
    table, issuers = SourceTable(), {"ca": "CN=CA"}
    table.want([_wanted(1, origin="CA certificate")], issuers, NOW)
    table.see(_wanted(2), issuers, NOW)
    assert len(table) == 2
    table.want([], issuers, NOW)
    assert [source.urls for source in table] == [("http://x/2",)]
    table.see(_wanted(2), issuers, NOW + KEEP_SEEN)
    table.want([], issuers, NOW + 2 * KEEP_SEEN)
    assert len(table) == 1
    table.want([], issuers, NOW + 2 * KEEP_SEEN + timedelta(seconds=1))
    assert len(table) == 0
    table.see(_wanted(2), issuers, NOW)
    table.want([], {}, NOW)
    assert len(table) == 0


def test_a_full_table_forgets_what_was_seen_longest_ago_and_nothing_that_stays() -> None:
    """Nobody can push out what the administrator has named."""
    table, issuers = SourceTable(), {"ca": "CN=CA"}
    table.want([_wanted(0, origin="kdc.toml")], issuers, NOW)
    for number in range(1, BOUNDS["crl"] + 2):
        table.see(_wanted(number), issuers, NOW + timedelta(seconds=number))
    assert len(table) == BOUNDS["crl"]
    urls = {source.urls[0] for source in table}
    assert "http://x/0" in urls
    assert urls.isdisjoint(("http://x/1", "http://x/2"))


def test_what_was_seen_and_is_named_stays_until_it_is_named_no_more() -> None:
    """An administrator who names what a certificate named has it kept."""
    table, issuers = SourceTable(), {"ca": "CN=CA"}
    table.see(_wanted(0), issuers, NOW)
    table.want([_wanted(0)], issuers, NOW)
    for number in range(1, BOUNDS["crl"] + 2):
        table.see(_wanted(number), issuers, NOW + timedelta(seconds=number))
    assert "http://x/0" in {source.urls[0] for source in table}
    table.want([], issuers, NOW)
    assert "http://x/0" not in {source.urls[0] for source in table}


def test_a_restart_goes_on_with_what_was_seen_and_drops_what_nobody_names() -> None:
    """What was learned from logons would else be learned by refusing them again."""
    table, issuers = SourceTable(), {"ca": "CN=CA"}
    table.want([_wanted(1, origin="CA certificate")], issuers, NOW)
    seen = table.see(_wanted(2), issuers, NOW)
    assert seen is not None
    for source in table:
        source.etag = "kept"
    again = SourceTable(tuple(table))
    assert [source.urls[0] for source in again] == ["http://x/2"]
    again.want([_wanted(1, origin="CA certificate"), _wanted(3)], issuers, NOW)
    assert {(source.urls[0], source.etag) for source in again} == {
        ("http://x/1", "kept"),
        ("http://x/2", "kept"),
        ("http://x/3", ""),
    }


# -- when ------------------------------------------------------------------------------------


def _wait(moment: datetime) -> float:
    return (moment - NOW).total_seconds()


@pytest.mark.parametrize(
    ("life_s", "interval_s", "wait_s"),
    [(7 * 86400, 3600, 3600), (3600, 3600, 1800), (90, 3600, 60), (-5, 3600, 60), (3600, 2, 2)],
)
def test_it_is_asked_twice_before_the_end_and_never_hastily(
    life_s: float, interval_s: float, wait_s: float
) -> None:
    """Half of what is left, at most the interval, at least a minute; a quarter less by chance."""
    end = NOW + timedelta(seconds=life_s)
    assert _wait(schedule.after_success(NOW, end, interval_s, 0.0)) == wait_s
    assert _wait(schedule.after_success(NOW, end, interval_s, 1.0)) == wait_s * 0.75
    assert _wait(schedule.after_success(NOW, None, interval_s, 0.0)) == interval_s


def test_after_failures_it_is_asked_less_and_less_often() -> None:
    """30 s, a minute, two ... up to the interval, half of it less by chance."""
    waits = [_wait(schedule.after_failure(NOW, n, 3600, 0.0)) for n in (1, 2, 3, 7, 8, 500)]
    assert waits == [30, 60, 120, 1920, 3600, 3600]
    assert _wait(schedule.after_failure(NOW, 1, 3600, 1.0)) == 15
    assert _wait(schedule.after_failure(NOW, 9, 10, 0.0)) == 10
