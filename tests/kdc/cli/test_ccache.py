"""`kdc ccache show`, `kdc logon --service` and `kdc realm rotate-krbtgt`."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from directory.keytab import decode_keytab
from kdc.cli import logon, tickets
from kdc.cli.errors import ExitCode
from kdc.client.transport import KdcAddress, Protocol
from kdc.formats.ccache import Ccache, Principal, encode_ccache
from kdc.outcome import Peer
from kdc.server.build import build_handler
from kdc.state_folder import StateFolder
from kdc.wire.constants import ErrorCode
from tests.kdc.cli.conftest import Shell

HOST = "host/web.lab.test"
TICKET = {
    "service", "client", "session_enctype", "ticket_enctype", "kvno", "flags", "authtime",
    "starttime", "endtime", "renew_till",
}  # fmt: skip
OPENED = {
    "key", "client", "session_enctype", "flags", "authtime", "starttime", "endtime", "renew_till",
    "authorization_data", "pac",
}  # fmt: skip


def serve(shell: Shell) -> None:
    """Answer the client's messages in this process."""
    handler = build_handler(shell.state)

    def answer(_address: KdcAddress, request: bytes) -> tuple[bytes, Protocol]:
        peer = Peer(address="127.0.0.1", port=40_000, transport="tcp")
        reply = handler.handle(request, peer, datetime.now(UTC)).reply
        assert reply is not None
        return reply, "tcp"

    for module in (logon, tickets):
        shell.monkeypatch.setattr(module, "exchange", answer)


@pytest.fixture
def served(realm: Shell) -> Shell:
    """Serve a realm in which host/web.lab.test is a service."""
    realm.ok("service", "add", HOST)
    serve(realm)
    return realm


def log_on(served: Shell, cache: Path, *options: str) -> None:
    """Log pat on and keep the tickets."""
    stdin = "correct horse\n"
    served.ok("logon", "pat", "--password-stdin", "--ccache", cache, *options, stdin=stdin)


def test_service_tickets_are_kept_with_the_tgt(served: Shell, tmp_path: Path) -> None:
    """`kdc logon --service`, several times; the realm may be named."""
    stdin = "correct horse\n"
    options = ("--service", HOST, "--service", "cifs/web@lab.test", "--ccache", tmp_path / "cc")
    shown = served.ok("logon", "pat", "--password-stdin", *options, "--json", stdin=stdin).json
    names = [t["service"] for t in shown["service_tickets"]]
    assert names == [f"{HOST}@LAB.TEST", "cifs/web@LAB.TEST"]
    assert set(shown["service_tickets"][0]) == TICKET | {"milliseconds"}
    listed = served.ok("ccache", "show", tmp_path / "cc", "--json").json
    assert [t["service"] for t in listed["tickets"]] == ["krbtgt/LAB.TEST@LAB.TEST", *names]
    printed = served.ok("logon", "pat", "--password-stdin", "--service", HOST, stdin=stdin).out
    assert f"service:     {HOST}@LAB.TEST" in printed


def test_tgt_is_kept_when_a_service_is_unknown(served: Shell, tmp_path: Path) -> None:
    """The logon itself worked."""
    stdin = "correct horse\n"
    options = ("--service", "host/nowhere", "--ccache", tmp_path / "cc")
    done = served("logon", "pat", "--password-stdin", *options, stdin=stdin)
    assert done.code == ExitCode.DENIED
    what, why, _ = done.error
    assert what == "the KDC refused pat a ticket for host/nowhere"
    assert ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN.name in why
    listed = served.ok("ccache", "show", tmp_path / "cc", "--json").json
    assert [t["service"] for t in listed["tickets"]] == ["krbtgt/LAB.TEST@LAB.TEST"]


def test_keytab_opens_tickets(served: Shell, tmp_path: Path) -> None:
    """The service's ticket, with its PAC; the TGT only with krbtgt's keys, then also signatures."""
    cache, keytab = tmp_path / "cc", tmp_path / "kt"
    log_on(served, cache, "--service", HOST)
    served.ok("keytab", "export", HOST, "-o", keytab)
    tgt, web = served.ok("ccache", "show", cache, "--keytab", keytab, "--json").json["tickets"]
    assert set(web) == TICKET | {"opened"}
    assert tgt["opened"] is None
    opened = web["opened"]
    assert set(opened) == OPENED
    assert opened["client"] == "pat@LAB.TEST"
    pac = opened["pac"]
    assert pac["signatures"] == "not checked: the keytab has no key of krbtgt"
    assert pac["logon_info"]["name"] == "pat"
    assert pac["logon_info"]["extra_sids"] == ["S-1-18-1"]
    assert pac["upn_dns_info"]["upn"] == "pat@corp.example"
    assert (pac["requestor"], pac["attributes"]) == (None, None)
    served.ok("keytab", "export", "krbtgt/LAB.TEST", "-o", keytab, "--append")
    tgt, web = served.ok("ccache", "show", cache, "--keytab", keytab, "--json").json["tickets"]
    assert tgt["opened"]["pac"]["requestor"] == pac["logon_info"]["sid"]
    for ticket in (tgt, web):
        assert ticket["opened"]["pac"]["signatures"] == "all right"


def test_tickets_for_people(served: Shell, tmp_path: Path) -> None:
    """No key and no ticket is printed."""
    cache, keytab = tmp_path / "cc", tmp_path / "kt"
    log_on(served, cache, "--service", HOST)
    for principal in (HOST, "krbtgt/LAB.TEST"):
        served.ok("keytab", "export", principal, "-o", keytab, "--append")
    printed = served.ok("ccache", "show", cache, "--keytab", keytab).out
    for line in ("client: pat@LAB.TEST", "LAB\\pat", "513 (primary 513)", "all right"):
        assert line in printed
    for entry in decode_keytab(keytab.read_bytes()):
        assert entry.key.hex() not in printed


def test_realm_without_pac(served: Shell, tmp_path: Path) -> None:
    """What is not there is said to be not there."""
    config = StateFolder(served.state).kdc_toml
    config.write_text(config.read_text() + "pac = false\n")
    serve(served)
    cache, keytab = tmp_path / "cc", tmp_path / "kt"
    log_on(served, cache, "--service", HOST)
    served.ok("keytab", "export", HOST, "-o", keytab)
    _, web = served.ok("ccache", "show", cache, "--keytab", keytab, "--json").json["tickets"]
    assert web["opened"]["pac"] is None
    assert "PAC:         none" in served.ok("ccache", "show", cache, "--keytab", keytab).out


def test_empty_cache(shell: Shell, tmp_path: Path) -> None:
    """A cache with a client and nothing else."""
    cache = tmp_path / "cc"
    principal = Principal(realm="LAB.TEST", components=("pat",))
    cache.write_bytes(encode_ccache(Ccache(default_principal=principal)))
    shown = shell.ok("ccache", "show", cache, "--json").json
    assert shown == {"default_principal": "pat@LAB.TEST", "tickets": []}


def test_file_that_is_no_cache(shell: Shell, tmp_path: Path) -> None:
    """Three lines, not a traceback."""
    (tmp_path / "cc").write_bytes(b"\x05\x03 old")
    done = shell("ccache", "show", tmp_path / "cc")
    assert done.code == ExitCode.FAILED
    assert done.error[1] == "not version 4"
    assert shell("ccache", "show", tmp_path / "none").code == ExitCode.NOT_FOUND


def test_rotation_of_krbtgt(realm: Shell, tmp_path: Path) -> None:
    """Two generations are kept, and the third rotation says what it ends."""
    assert "kvno 2" in (first := realm.ok("realm", "rotate-krbtgt")).out
    assert first.err == ""
    second = realm.ok("realm", "rotate-krbtgt")
    assert "tickets under kvno 1 and older are void now" in second.err
    realm.ok("keytab", "export", "krbtgt/LAB.TEST", "-o", tmp_path / "kt")
    assert {e.kvno for e in decode_keytab((tmp_path / "kt").read_bytes())} == {2, 3}
