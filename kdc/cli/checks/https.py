"""What is served over HTTP: the certificate of KKDCP, and what the server says of itself."""

import http.client
import json
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from directory.sealing import read_secret_file
from kdc.cli.checks.certificates import RENEW_KDC
from kdc.cli.checks.finding import Finding, Patient, fail, ok, warn
from kdc.cli.client_files import reachable
from kdc.cli.state import MAX_PEM_BYTES
from kdc.config_values import format_address
from pki import ca

TIMEOUT_S = 4.0  # the server gives its own checks three
MAX_ANSWER_BYTES = 64 * 1024

_ISSUE = "kdc cert issue-http, then SIGHUP to the server"


def check_http(patient: Patient) -> Iterator[Finding]:
    """Look at what `http.listen` and `kkdcp.listen` need; nothing when neither is set."""
    if patient.config.kkdcp_listen:
        yield from _check_certificate(patient)
    for address in patient.config.http_listen:
        yield from _check_ready(address)


def _check_certificate(patient: Patient) -> Iterator[Finding]:
    path, key_path = patient.folder.http_tls(patient.config)
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        yield fail("server.https", f"{path} cannot be read: the server does not start", _ISSUE)
        return
    key = ca.private_key_from_pem(
        read_secret_file(key_path, MAX_PEM_BYTES, patient.trusted_paths)
    ).public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_bytes(*form) != certificate.public_key().public_bytes(*form):
        yield fail("server.https", f"{key_path} is the key of another certificate", _ISSUE)
        return
    end = certificate.not_valid_after_utc
    if not certificate.not_valid_before_utc <= patient.now <= end:
        yield fail("server.https", f"{path.name} is not valid now: clients refuse HTTPS", _ISSUE)
    elif end - patient.now < RENEW_KDC:
        yield warn("server.https", f"{path.name} ends on {end:%Y-%m-%d}", _ISSUE)
    else:
        yield ok("server.https", f"{path.name} is valid until {end:%Y-%m-%d}")


def _check_ready(address: str) -> Iterator[Finding]:
    host, port = reachable(address)
    place = format_address(host, port)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = json.loads(connection.getresponse().read(MAX_ANSWER_BYTES))
        failed = [check["detail"] for check in answer["checks"].values() if not check["ok"]]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        yield fail("server.http", f"no probe is answered on {place}", "start it: kdc serve")
        return
    finally:
        connection.close()
    if failed:
        yield fail("server.http", f"the server on {place} is not ready: {failed[0]}", "see its log")
    else:
        yield ok("server.http", f"the server on {place} says that it is ready")
