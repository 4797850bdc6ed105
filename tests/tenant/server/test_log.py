"""What the running server logs: what an operator must know, nothing of a client's making."""

import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from tests.rig.realm import make_realm
from tests.rig.tenant import LOGIN, make_tenant

pytestmark = [pytest.mark.e2e]


def test_a_client_that_does_not_wait_for_its_answers_leaves_no_line_each(tmp_path: Path) -> None:
    """The library warns of each one; a log of a client's making hides what matters."""
    realm = make_realm(tmp_path / "realm")
    tenant = make_tenant(tmp_path / "tenant", realm.state)
    context = ssl.create_default_context(cafile=tenant.ca)
    requests = f"GET / HTTP/1.1\r\nHost: {LOGIN}\r\n\r\n".encode() * 40
    with tenant.served():
        for _ in range(10):
            raw = socket.create_connection(("127.0.0.1", tenant.https_port), timeout=10)
            with contextlib.suppress(OSError), context.wrap_socket(raw, server_hostname=LOGIN) as s:
                s.sendall(requests)
    lines = tenant.log.read_text().splitlines()
    assert len(lines) == 1
    assert ": https " in lines[0]
