"""The realm's CA: what it issues, judged by cryptography, by openssl and by our own check."""

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from pki import ca, names, oids
from pki.ca import IssuedCertificate, KeyType, Pointers
from pki.certificate import Certificate
from pki.errors import ChainFault, KeyFault, PkiError
from pki.kdc_certificate import check_kdc_certificate
from pki.x500 import decode_name, render_rfc4514, simple_name
from tests.pki import issued
from tests.pki.issued import HOST, NOW, REALM

ALICE = simple_name((oids.ID_AT_COMMON_NAME, "alice"))


def _parsed(data: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(data)


def _oids(certificate: x509.Certificate) -> set[str]:
    return {e.oid.dotted_string for e in certificate.extensions}


def test_root_is_a_ca_that_signs_certificates_and_crls() -> None:
    """RFC 5280 4.2.1.3 and 4.2.1.9."""
    root = _parsed(issued.root().certificate_der)
    root.verify_directly_issued_by(root)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert constraints.value.ca
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert root.not_valid_before_utc < NOW < root.not_valid_after_utc


def test_root_without_a_key_makes_an_rsa_2048_one() -> None:
    """The default of `create_root`."""
    made = ca.create_root(REALM, NOW)
    assert isinstance(made.private_key, rsa.RSAPrivateKey)
    assert made.private_key.key_size == 2048


@pytest.mark.parametrize("key_type", list(KeyType))
def test_kdc_certificate_is_accepted_by_every_client(key_type: KeyType) -> None:
    """RFC 4556 3.2.4, [MS-PKCA] 3.1.5.1: KPKdc, krbtgt SAN, domain and host dNSName, usages."""
    made = issued.kdc(key_type)
    certificate = _parsed(made.certificate_der)
    certificate.verify_directly_issued_by(_parsed(issued.root().certificate_der))
    assert check_kdc_certificate(made.certificate_der, REALM, HOST, NOW) == ()
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment == (key_type is KeyType.RSA_2048)
    assert usage.key_agreement == (key_type is KeyType.EC_P256)
    alternative = Certificate(made.certificate_der).extension(oids.ID_CE_SUBJECT_ALT_NAME)
    assert alternative is not None
    assert names.decode_subject_alt_name(alternative) == names.SubjectAltNames(
        pkinit=(names.krbtgt_name(REALM),), dns=(HOST, "lab.test", "LAB")
    )


def test_serial_numbers_are_long_random_and_positive() -> None:
    """RFC 5280 4.1.2.2: at most 20 octets; CA practice: at least 64 random bits."""
    serials = {
        Certificate(
            ca.issue_client_leaf(issued.root(), issued.key("alice").public_key(), ALICE, NOW)
        ).serial_number
        for _ in range(20)
    }
    assert len(serials) == 20
    assert all(0 < serial < 2**159 for serial in serials)
    assert max(serials).bit_length() > 128


def test_crl_distribution_point_is_the_url_given() -> None:
    """RFC 5280 4.2.1.13: fullName with one URI, read by the library."""
    url = "http://dc1.lab.test/ca.crl"
    made = ca.issue_kdc_certificate(
        issued.root(), REALM, (HOST,), None, KeyType.EC_P256, NOW, pointers=Pointers(crl=url)
    )
    points = _parsed(made.certificate_der).extensions.get_extension_for_class(
        x509.CRLDistributionPoints
    )
    (point,) = points.value
    assert point.full_name is not None
    assert [name.value for name in point.full_name] == [url]


@pytest.mark.parametrize("key_type", list(KeyType))
def test_openssl_verifies_the_kdc_certificate_strictly(tmp_path: Path, key_type: KeyType) -> None:
    """`openssl verify -x509_strict`, an independent judge of form and chain."""
    (tmp_path / "ca.pem").write_bytes(ca.certificate_to_pem(issued.root().certificate_der))
    (tmp_path / "kdc.pem").write_bytes(ca.certificate_to_pem(issued.kdc(key_type).certificate_der))
    at = str(int(NOW.timestamp()))
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", at, "-CAfile", "ca.pem", "kdc.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "kdc.pem: OK\n", done.stderr


def test_hello_certificate_has_exactly_the_windows_shape() -> None:
    """No SKI, no KeyUsage, no SAN; a subject longer than X.520 allows; 30 years."""
    text = f"S-1-5-21-1-2-3-1104/{'0' * 36}/login.windows.net/{'1' * 36}/alice@lab.test"
    data = ca.self_signed_hello_certificate(
        issued.key("alice"), simple_name((oids.ID_AT_COMMON_NAME, text)), NOW
    )
    certificate = _parsed(data)
    assert _oids(certificate) == {oids.ID_CE_BASIC_CONSTRAINTS, oids.ID_CE_EXT_KEY_USAGE}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [p.dotted_string for p in purposes] == [oids.ID_MS_KP_SMARTCARD_LOGON]
    assert certificate.not_valid_after_utc.year == NOW.year + 30
    ours = Certificate(data)
    assert ours.subject == ours.issuer
    assert render_rfc4514(decode_name(ours.subject)) == "CN=" + text
    public_key = issued.key("alice").public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    public_key.verify(
        certificate.signature, certificate.tbs_certificate_bytes, PKCS1v15(), hashes.SHA256()
    )


def test_hello_certificate_for_heimdal_says_digital_signature() -> None:
    """Heimdal 7.8 signs with no certificate that lacks KeyUsage; nothing else is added."""
    subject = simple_name((oids.ID_AT_COMMON_NAME, "alice"))
    data = ca.self_signed_hello_certificate(issued.key("alice"), subject, NOW, key_usage=True)
    certificate = _parsed(data)
    assert _oids(certificate) == {
        oids.ID_CE_BASIC_CONSTRAINTS,
        oids.ID_CE_EXT_KEY_USAGE,
        oids.ID_CE_KEY_USAGE,
    }
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature


def test_client_leaf_carries_the_names_it_was_given() -> None:
    """Certificate trust: UPN, krb5 principal and SID extension; and a leaf's usages."""
    sid = "S-1-5-21-1-2-3-1104"
    data = ca.issue_client_leaf(
        issued.root(),
        issued.key("alice").public_key(),
        ALICE,
        NOW,
        alternative_names=(names.upn_name("alice@lab.test"),),
        sid=sid,
    )
    certificate = Certificate(data)
    _parsed(data).verify_directly_issued_by(_parsed(issued.root().certificate_der))
    value = certificate.extension(oids.ID_CE_SUBJECT_ALT_NAME)
    assert value is not None
    assert names.decode_subject_alt_name(value).upns == ("alice@lab.test",)
    raw_sid = certificate.extension(oids.ID_MS_SID_EXTENSION)
    assert raw_sid is not None
    assert names.decode_sid_extension(raw_sid) == sid


def test_throwaway_leaf_names_no_one() -> None:
    """directories-and-clients 3: the leaf MIT's kinit sends needs no name at all."""
    assert oids.ID_CE_SUBJECT_ALT_NAME not in _oids(_parsed(issued.leaf().certificate_der))


def test_crl_lists_what_was_revoked() -> None:
    """RFC 5280 5: number, dates, reason; signed by the CA."""
    entries = [
        ca.RevokedCertificate(serial_number=7, date=NOW),
        ca.RevokedCertificate(
            serial_number=2**150, date=NOW, reason=x509.ReasonFlags.key_compromise
        ),
    ]
    crl = x509.load_der_x509_crl(ca.create_crl(issued.root(), 42, entries, NOW, days=3))
    root_key = issued.root().private_key.public_key()
    assert crl.is_signature_valid(root_key)
    assert crl.issuer == _parsed(issued.root().certificate_der).subject
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 42
    assert crl.next_update_utc == NOW + timedelta(days=3)
    assert [line.serial_number for line in crl] == [7, 2**150]
    first, second = crl
    assert not len(first.extensions)
    reason = second.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is x509.ReasonFlags.key_compromise


# -- PEM -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", list(KeyType))
def test_private_key_survives_pem(key_type: KeyType) -> None:
    """PKCS#8, unencrypted; the key does not show in the repr of what holds it."""
    key = issued.key("kdc", key_type)
    pem = ca.private_key_to_pem(key)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    read = ca.private_key_from_pem(pem)
    assert ca.private_key_to_pem(read) == pem
    assert "private_key" not in repr(issued.kdc(key_type))


def test_certificates_of_a_pem_file_come_in_order() -> None:
    """A chain file: the leaf first."""
    chain = (issued.kdc().certificate_der, issued.root().certificate_der)
    assert ca.certificates_from_pem(b"".join(map(ca.certificate_to_pem, chain))) == chain


def _encrypted_pem() -> bytes:
    return issued.key("kdc").private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )


def _ed25519_pem() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: b"", KeyFault.MALFORMED),
        (lambda: b"-----BEGIN PRIVATE KEY-----\nAAAA\n", KeyFault.MALFORMED),
        (_encrypted_pem, KeyFault.MALFORMED),
        (_ed25519_pem, KeyFault.UNSUPPORTED),
    ],
)
def test_private_key_files_we_cannot_use(make: Callable[[], bytes], fault: KeyFault) -> None:
    """Empty, cut, encrypted, of another algorithm."""
    with pytest.raises(PkiError) as caught:
        ca.private_key_from_pem(make())
    assert (caught.value.fault, caught.value.detail) == (fault, "private key PEM")


def test_pem_without_a_certificate_is_malformed() -> None:
    """A key file given as a certificate file."""
    with pytest.raises(PkiError) as caught:
        ca.certificates_from_pem(ca.private_key_to_pem(issued.key("kdc")))
    assert (caught.value.fault, caught.value.detail) == (
        ChainFault.MALFORMED,
        "certificate PEM",
    )


# -- the check of a KDC certificate ----------------------------------------------------------

_GOOD_EKU = (oids.ID_PKINIT_KP_KDC, oids.ID_KP_SERVER_AUTH, oids.ID_KP_CLIENT_AUTH)


def _san(
    realm: str | None = REALM, dns: tuple[str, ...] = (HOST, "lab.test")
) -> x509.SubjectAlternativeName:
    forms: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
    if realm is not None:
        encoded = names.pkinit_name(names.krbtgt_name(realm))
        # The library wants the value alone: drop otherName's tag, the OID and [0].
        value = encoded[encoded.index(b"\x30") :]
        forms.append(x509.OtherName(x509.ObjectIdentifier(oids.ID_PKINIT_SAN), value))
    return x509.SubjectAlternativeName(forms)


def _usage(**changed: bool) -> x509.KeyUsage:
    bits = dict.fromkeys(
        (
            "content_commitment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    bits |= {"digital_signature": True, "key_encipherment": True}
    return x509.KeyUsage(**(bits | changed))


def _built(
    *,
    key: ca.PrivateKey | ed25519.Ed25519PrivateKey | None = None,
    eku: tuple[str, ...] = _GOOD_EKU,
    san: x509.SubjectAlternativeName | None = None,
    usage: x509.KeyUsage | None = None,
    is_ca: bool = False,
    extra: x509.ExtensionType | None = None,
) -> bytes:
    """Build a KDC certificate with the library, good but for what the caller changes."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(_parsed(issued.root().certificate_der).subject)
        .public_key((key or issued.key("kdc")).public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=100))
        .not_valid_after(NOW + timedelta(days=100))
        .add_extension(san or _san(), critical=False)
        .add_extension(usage or _usage(), critical=True)
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    if eku:
        purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(p) for p in eku])
        builder = builder.add_extension(purposes, critical=False)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    made = builder.sign(issued.root().private_key, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


def _small_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505  # what the check must find


def test_a_good_certificate_of_another_ca_has_no_problem() -> None:
    """The control of the tests below."""
    assert check_kdc_certificate(_built(), REALM, HOST, NOW) == ()


@pytest.mark.parametrize(
    ("make", "phrase"),
    [
        (lambda: _built(eku=_GOOD_EKU[1:]), "EKU lacks id-pkinit-KPKdc"),
        (lambda: _built(eku=_GOOD_EKU[:1] + _GOOD_EKU[2:]), "EKU lacks serverAuth"),
        (lambda: _built(eku=_GOOD_EKU[:2]), "EKU lacks clientAuth"),
        (lambda: _built(san=_san(realm=None)), "no id-pkinit-san krbtgt/LAB.TEST@LAB.TEST"),
        (lambda: _built(san=_san(realm="lab.test")), "no id-pkinit-san krbtgt/LAB.TEST@LAB.TEST"),
        (lambda: _built(san=_san(dns=(HOST,))), "no dNSName lab.test (the domain)"),
        (lambda: _built(san=_san(dns=("lab.test",))), "no dNSName dc1.lab.test (the host)"),
        (lambda: _built(usage=_usage(digital_signature=False)), "lacks digitalSignature"),
        (lambda: _built(usage=_usage(key_encipherment=False)), "lacks keyEncipherment"),
        (lambda: _built(is_ca=True), "it is a CA's certificate"),
        (lambda: _built(key=_small_key()), "RSA key has 1024 bits"),
        (
            lambda: _built(key=ec.generate_private_key(ec.SECP256K1())),
            "neither RSA nor on P-256",
        ),
        (lambda: _built(key=ed25519.Ed25519PrivateKey.generate()), "neither RSA nor on P-256"),
        (
            lambda: _built(
                extra=x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00")
            ),
            "critical extension that clients do not know (1.2.3)",
        ),
    ],
)
def test_each_demand_broken_is_named_and_nothing_else(
    make: Callable[[], bytes], phrase: str
) -> None:
    """One thing wrong, one phrase."""
    (problem,) = check_kdc_certificate(make(), REALM, HOST, NOW)
    assert phrase in problem


@pytest.mark.parametrize(
    ("days", "phrase"),
    [
        (-101, "not valid before 2026-01-24 12:00 UTC"),
        (87, "expires on 2026-08-12 12:00 UTC: renew it"),
        (101, "expired on 2026-08-12 12:00 UTC"),
    ],
)
def test_dates_are_judged_at_the_time_given(days: int, phrase: str) -> None:
    """Not yet valid, about to end, over; without a time the dates are not looked at."""
    data = _built()
    (problem,) = check_kdc_certificate(data, REALM, HOST, NOW + timedelta(days=days))
    assert phrase in problem
    assert check_kdc_certificate(data, REALM, HOST) == ()


def test_a_fresh_short_lived_certificate_is_not_about_to_expire() -> None:
    """A one-day certificate would otherwise warn all its life."""
    made = ca.issue_kdc_certificate(issued.root(), REALM, (HOST,), "LAB", KeyType.EC_P256, NOW, 1)
    assert check_kdc_certificate(made.certificate_der, REALM, HOST, NOW) == ()


def test_a_hello_certificate_is_no_kdc_certificate() -> None:
    """Several problems at once, most important first."""
    problems = check_kdc_certificate(issued.hello().certificate_der, REALM, HOST, NOW)
    assert [p.split(" ")[0:3] for p in problems[:1]] == [["its", "EKU", "lacks"]]
    assert len(problems) == 6


@pytest.mark.parametrize("data", [b"", b"\x30\x00", issued.kdc().certificate_der[:-1]])
def test_what_is_no_certificate_is_said_to_be_none(data: bytes) -> None:
    """Empty, an empty sequence, one byte short."""
    assert check_kdc_certificate(data, REALM, HOST) == (
        "it is not a well-formed X.509 certificate",
    )


def test_a_certificate_signed_with_sha1_is_a_problem(tmp_path: Path) -> None:
    """Made with openssl, since the library no longer signs so."""
    (tmp_path / "key.pem").write_bytes(ca.private_key_to_pem(issued.key("kdc")))
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-new", "-sha1", "-key", "key.pem"),
            *("-subj", "/CN=x", "-outform", "DER", "-out", "sha1.der"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    problems = check_kdc_certificate((tmp_path / "sha1.der").read_bytes(), REALM, HOST)
    assert "it is not signed with SHA-256, SHA-384 or SHA-512" in problems


def test_issued_pairs_hold_matching_keys() -> None:
    """The certificate's key is the private key's."""
    for made in (issued.root(), issued.kdc(), issued.kdc(KeyType.EC_P256), issued.hello()):
        assert isinstance(made, IssuedCertificate)
        assert _parsed(made.certificate_der).public_key() == made.private_key.public_key()


def test_tls_certificate_is_for_names_and_addresses_and_servers_alone() -> None:
    """RFC 5280 4.2.1.6, 4.2.1.12: serverAuth, dNSName, iPAddress; no purpose of a KDC."""
    issuer = ca.create_root("LAB.TEST", NOW)
    issued = ca.issue_tls_certificate(
        issuer, "LAB.TEST", ("kdc.lab.test", "localhost"), ("127.0.0.1", "::1"), NOW
    )
    found = x509.load_der_x509_certificate(issued.certificate_der)
    names_of = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names_of.get_values_for_type(x509.DNSName) == ["kdc.lab.test", "localhost"]
    assert list(map(str, names_of.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in usage] == ["1.3.6.1.5.5.7.3.1"]
    assert found.issuer == x509.load_der_x509_certificate(issuer.certificate_der).subject
