"""`tenant serve` as a process: its start, its end, and where it listens."""

import concurrent.futures
import http.client
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import peers
from tests.rig.realm import free_port, make_realm
from tests.rig.tenant import LOGIN, LiveTenant, make_tenant

PASSWORD = "Immer-wieder-neu-7"  # noqa: S105  of a tenant that lives as long as the test
TOKEN = "/common/oauth2/token"  # noqa: S105  a path


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> LiveTenant:
    """A tenant with a user; each test serves it."""
    folder = tmp_path_factory.mktemp("serve")
    made = make_tenant(folder / "tenant", make_realm(folder / "kdc").state)
    made.tenant("user", "add", "kim", "--password-stdin", stdin=PASSWORD)
    return made


@pytest.fixture
def served(tenant: LiveTenant) -> Iterator[LiveTenant]:
    """Serve it while the test runs."""
    with tenant.served():
        yield tenant


def _connection(tenant: LiveTenant) -> http.client.HTTPConnection:
    context = ssl.create_default_context(cafile=tenant.ca)
    raw = socket.create_connection(("127.0.0.1", tenant.https_port), 20)
    connection = http.client.HTTPConnection(LOGIN)
    connection.sock = context.wrap_socket(raw, server_hostname=LOGIN)
    return connection


def _sign_in(connection: http.client.HTTPConnection) -> int:
    form = {
        "grant_type": "password",
        "client_id": "29d9ed98-a469-4536-ade2-f981bc1d605e",
        "resource": "urn:ms-drs:enterpriseregistration.windows.net",
        "username": "kim@lab.test",
        "password": PASSWORD,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", TOKEN, urllib.parse.urlencode(form), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_it_says_one_line_when_it_is_ready(served: LiveTenant) -> None:
    """Who starts it waits for that line."""
    (line,) = served.log.read_text().splitlines()[-1:]
    assert line.endswith(
        f"of lab.test: https 127.0.0.1:{served.https_port}, proxy 127.0.0.1:{served.proxy_port}"
    )


def test_sigterm_answers_what_is_begun_and_ends(tenant: LiveTenant) -> None:
    """A sign-in hashes for a tenth of a second: it is answered, an idle connection is closed."""
    tenant.start()
    process = tenant.process
    assert process is not None
    idle = _connection(tenant)
    assert _sign_in(idle) == 200
    connections = [_connection(tenant) for _ in range(3)]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(_sign_in, connection) for connection in connections]
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert [answer.result() for answer in answers] == [200] * 3
    began = time.monotonic()
    assert process.wait(20) == 0
    assert time.monotonic() - began < 10
    assert idle.sock is not None
    assert idle.sock.recv(1) == b""
    tenant.process = None
    assert "Traceback" not in tenant.log.read_text()


def test_a_port_that_is_taken_is_6(tenant: LiveTenant) -> None:
    """Three lines, and nothing is left listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _serve(tenant, "--proxy", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 6
    assert done.stderr.startswith("error: cannot listen on 127.0.0.1:")


def test_a_key_that_others_can_read_is_refused(tenant: LiveTenant) -> None:
    """The rules of secret files hold for HTTPS as for the master key."""
    for name in ("master.key", "pki/tls.key", "pki/signing.key", "pki/device-ca.key"):
        path: Path = tenant.state / name
        path.chmod(0o640)
        try:
            done = _serve(tenant)
        finally:
            path.chmod(0o600)
        assert done.returncode == 5, name
        assert "chmod 600" in done.stderr, name


def test_exposed_it_says_what_that_means(tenant: LiveTenant) -> None:
    """One warning for each address; without the flag it does not start (exit 5)."""
    place = f"0.0.0.0:{free_port()}"
    assert _serve(tenant, "--listen", place).returncode == 5
    process = subprocess.Popen(
        [sys.executable, "-m", "tenant", "serve", "--listen", place, "--i-expose-this"],
        cwd=peers.ROOT,
        env=tenant.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("tenant ")
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert said.count("exposed: whoever reaches") == 1
    assert process.returncode == 0


def _serve(tenant: LiveTenant, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tenant", "serve", *options],
        cwd=peers.ROOT,
        env=tenant.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
