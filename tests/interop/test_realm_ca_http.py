"""CRL, CA certificate and OCSP over HTTP, judged by openssl and by our own revocation code."""

import base64
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from pki.certificate import Certificate
from pki.chain import Chain, ChainProfile
from pki.errors import ChainError, ChainFault
from pki.ocsp import OcspResponse
from pki.revocation import RevocationSource
from tests.rig.realm import LiveRealm, free_port, make_realm

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[LiveRealm]:
    """A realm that serves HTTP."""
    state = tmp_path_factory.mktemp("ocsp") / "state"
    live = make_realm(state, "--http", f"127.0.0.1:{port}")
    live.kdc("user", "add", "carol")
    with live.served(workers=1):
        yield live


def issue(realm: LiveRealm, folder: Path, *options: str) -> Path:
    out = folder / f"carol{len(list(folder.iterdir()))}.pem"
    realm.kdc("cert", "issue", "carol", "--out", str(out), *options)
    return out


def openssl(*arguments: str) -> str:
    done = subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


def ask(realm: LiveRealm, port: int, certificate: Path) -> str:
    return openssl(
        *("ocsp", "-issuer", str(realm.ca), "-cert", str(certificate), "-CAfile", str(realm.ca)),
        *("-url", f"http://127.0.0.1:{port}/ocsp"),
    )


def test_openssl_verifies_good_and_revoked(realm: LiveRealm, tmp_path: Path, port: int) -> None:
    """RFC 6960 2.2; openssl sends a nonce and wants it back."""
    out = issue(realm, tmp_path)
    said = ask(realm, port, out)
    assert "Response verify OK" in said
    assert f"{out}: good" in said
    assert "no nonce" not in said
    realm.kdc("cert", "revoke", str(out), "--reason", "superseded")
    said = ask(realm, port, out)
    assert "Response verify OK" in said
    assert f"{out}: revoked" in said
    assert "Reason: superseded" in said


def test_what_was_never_issued_is_unknown(realm: LiveRealm, port: int) -> None:
    """A forged certificate of the CA is not called good."""
    said = openssl(
        *("ocsp", "-issuer", str(realm.ca), "-serial", "0x1234", "-CAfile", str(realm.ca)),
        *("-url", f"http://127.0.0.1:{port}/ocsp"),
    )
    assert "0x1234: unknown" in said


def _request(realm: LiveRealm, certificate: Path) -> bytes:
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    issuer = x509.load_pem_x509_certificate(realm.ca.read_bytes())
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256())
    return builder.build().public_bytes(Encoding.DER)


def fetch(url: str, data: bytes | None = None, kind: str = "application/ocsp-request") -> bytes:
    headers = {} if data is None else {"Content-Type": kind}
    asked = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310  loopback
    with urllib.request.urlopen(asked, timeout=10) as found:  # noqa: S310  loopback
        body: bytes = found.read()
    return body


def test_our_own_revocation_code_believes_it(realm: LiveRealm, tmp_path: Path, port: int) -> None:
    """By GET, RFC 6960 A.1: no CRL at all, revocation required."""
    out = issue(realm, tmp_path)
    url = f"http://127.0.0.1:{port}/ocsp/{quote(base64.b64encode(_request(realm, out)), safe='')}"
    now = datetime.now(UTC)
    leaf = Certificate(_der(out))
    chain = Chain(
        certificates=(leaf, Certificate(_der(realm.ca))),
        not_before=leaf.validity()[0],
        not_after=leaf.validity()[1],
    )
    response = OcspResponse(fetch(url))
    source = RevocationSource("require", ChainProfile(), (), (response,))
    status = source.check_chain(chain, now)
    assert status.valid_until is not None
    realm.kdc("cert", "revoke", str(out))
    response = OcspResponse(fetch(url))
    source = RevocationSource("require", ChainProfile(), (), (response,))
    with pytest.raises(ChainError) as refused:
        source.check_chain(chain, now)
    assert refused.value.chain_fault is ChainFault.REVOKED


def _der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def test_requests_about_others_are_unauthorized(
    realm: LiveRealm, tmp_path: Path, port: int
) -> None:
    """Unsigned, as RFC 5019 2.2.3 has it; what is no request is malformed."""
    out = issue(realm, tmp_path)
    request = _request(realm, out)
    url = f"http://127.0.0.1:{port}/ocsp"
    wanted = ocsp.load_der_ocsp_request(request).issuer_key_hash
    stranger = request.replace(wanted, bytes(len(wanted)))
    answer = ocsp.load_der_ocsp_response(fetch(url, stranger))
    assert answer.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED
    answer = ocsp.load_der_ocsp_response(fetch(url, b"\x30\x00"))
    assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    for data, kind, status in (
        (request, "text/plain", 415),
        (bytes(5000), "application/ocsp-request", 413),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(url, data, kind)
        assert refused.value.code == status


def test_crl_and_ca_certificate_are_where_certificates_say(
    realm: LiveRealm, tmp_path: Path
) -> None:
    """RFC 5280 4.2.1.13, 4.2.2.1: DER over HTTP; openssl verifies the leaf with what it fetched."""
    out = issue(realm, tmp_path)
    leaf = x509.load_pem_x509_certificate(out.read_bytes())
    points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    full_name = next(iter(points)).full_name
    assert full_name is not None
    crl = x509.load_der_x509_crl(fetch(str(full_name[0].value)))
    access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    urls = {d.access_method._name: str(d.access_location.value) for d in access}
    issuer = x509.load_der_x509_certificate(fetch(urls["caIssuers"]))
    assert issuer.public_bytes(Encoding.DER) == _der(realm.ca)
    (tmp_path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    verify = ("verify", "-crl_check", "-CAfile", str(realm.ca), "-CRLfile")
    assert f"{out}: OK" in openssl(*verify, str(tmp_path / "crl.pem"), str(out))
    realm.kdc("cert", "revoke", str(out))
    crl = x509.load_der_x509_crl(fetch(str(full_name[0].value)))
    (tmp_path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    assert "certificate revoked" in openssl(*verify, str(tmp_path / "crl.pem"), str(out))


def test_responders_key_may_lie_in_a_trusted_folder(tmp_path: Path) -> None:
    """Row S06: a key that the group may read is refused, unless trusted_secret_paths has it."""
    port = free_port()
    live = make_realm(tmp_path / "state", "--http", f"127.0.0.1:{port}")
    live.kdc("user", "add", "carol")
    out = issue(live, tmp_path)
    (live.state / "pki/ocsp.key").chmod(0o640)
    with live.served(workers=1):
        assert "trylater" in ask(live, port, out)
    toml = live.state / "kdc.toml"
    toml.write_text(f'trusted_secret_paths = ["{live.state}/pki"]\n' + toml.read_text())
    with live.served(workers=1):
        assert f"{out}: good" in ask(live, port, out)
