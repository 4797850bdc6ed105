"""`kdc logon` and `kdc probe` against the core behind a socket."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kdc.cli.errors import ExitCode
from kdc.formats.ccache import decode_ccache
from kdc.outcome import Peer
from kdc.server.build import build_handler
from tests.kdc.cli.conftest import Shell, register_anyway


@contextmanager
def served(state: Path) -> Iterator[str]:
    """Answer over UDP and TCP on one loopback port, in a thread; yields the address."""
    stream = socket.create_server(("127.0.0.1", 0))
    port = int(stream.getsockname()[1])
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind(("127.0.0.1", port))
    stop = threading.Event()

    def serve() -> None:
        # The handler belongs to the thread that made it, as it does to a worker's process.
        handler = build_handler(state)
        stream.settimeout(0.01)
        datagram.settimeout(0.01)
        while not stop.is_set():
            try:
                data, peer = datagram.recvfrom(65535)
                who = Peer(address=peer[0], port=peer[1], transport="udp")
                outcome = handler.handle(data, who, datetime.now(UTC))
                datagram.sendto(outcome.reply or b"", peer)
            except TimeoutError:
                pass
            try:
                connection, peer = stream.accept()
            except TimeoutError:
                continue
            with connection:
                data = connection.recv(65535)
                size = int.from_bytes(data[:4], "big")
                while len(data) < size + 4:
                    data += connection.recv(65535)
                who = Peer(address=peer[0], port=peer[1], transport="tcp")
                reply = handler.handle(data[4:], who, datetime.now(UTC)).reply or b""
                connection.sendall(len(reply).to_bytes(4, "big") + reply)
        handler.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
        stream.close()
        datagram.close()


@pytest.fixture
def kdc(realm: Shell) -> Iterator[str]:
    """Serve the realm; gives its address."""
    with served(realm.state) as address:
        yield address


@pytest.mark.parametrize("kex", ["modp14", "p256", "p384"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_key_trust_logon(realm: Shell, kdc: str, alice_pem: Path, kex: str, transport: str) -> None:
    """The enrolled key gets a ticket over either transport."""
    shown = realm.ok(
        *("logon", "alice", "--identity", alice_pem, "--kdc", kdc),
        *("--kex", kex, f"--{transport}", "--json"),
    ).json
    assert shown["client"] == "alice@LAB.TEST"
    assert shown["service"] == "krbtgt/LAB.TEST@LAB.TEST"
    assert (shown["mechanism"], shown["transport"], shown["kex"]) == ("pkinit", transport, kex)
    assert {"initial", "pre-authent", "renewable", "forwardable"} <= set(shown["flags"])


@pytest.mark.parametrize("options", [("--kdf", "rfc4556"), ("--no-dh-nonce",), ("--no-freshness",)])
def test_key_trust_logon_in_older_ways(
    realm: Shell, kdc: str, alice_pem: Path, options: tuple[str, ...]
) -> None:
    """What older clients do still works."""
    realm.ok("logon", "alice", "--identity", alice_pem, "--kdc", kdc, *options)


@pytest.mark.parametrize("user", ["pat", "PAT", "pat@lab.test", "pat@corp.example"])
def test_password_logon_by_any_name(realm: Shell, kdc: str, user: str) -> None:
    """Account name in any case, with the realm, and the UPN with any suffix."""
    shown = realm.ok(
        *("logon", user, "--password-stdin", "--kdc", kdc, "--json"), stdin="correct horse\n"
    ).json
    assert (shown["client"], shown["mechanism"]) == ("pat@LAB.TEST", "password")


def test_ticket_is_kept_where_asked(
    realm: Shell, kdc: str, alice_pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--ccache, else KRB5CCNAME; a private file either way."""
    kept = tmp_path / "cc"
    logon = ("logon", "alice", "--identity", alice_pem, "--kdc", kdc)
    realm.ok(*logon, "--ccache", kept)
    cache = decode_ccache(kept.read_bytes())
    assert str(cache.default_principal) == "alice@LAB.TEST"
    assert [(s.name, s.value) for s in cache.settings] == [("pa_type", b"16")]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "not kept" in realm.ok(*logon).out


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("klist") is None, reason="krb5-user is not installed")
def test_mit_klist_reads_the_ticket(
    realm: Shell, kdc: str, alice_pem: Path, tmp_path: Path
) -> None:
    """`klist -ef`."""
    realm.ok(
        *("logon", "alice", "--identity", alice_pem, "--kdc", kdc, "--ccache", tmp_path / "cc")
    )
    listed = subprocess.run(
        ["klist", "-ef", "-c", tmp_path / "cc"], capture_output=True, text=True, check=True
    ).stdout
    assert "krbtgt/LAB.TEST@LAB.TEST" in listed
    assert "Flags: FRIA" in listed


def test_refused_logon_is_5_and_says_the_code_and_the_reference(
    realm: Shell, kdc: str, alice_pem: Path
) -> None:
    """62 after the key was removed; a server that runs sees it at once."""
    realm.ok("logon", "alice", "--identity", alice_pem, "--kdc", kdc)
    realm.ok("key", "remove", "alice", "--all")
    done = realm("logon", "alice", "--identity", alice_pem, "--kdc", kdc)
    assert done.code == ExitCode.DENIED
    what, why, remedy = done.error
    assert what == "the KDC refused alice"
    assert why.startswith("KDC_ERR_CLIENT_NOT_TRUSTED (62) [ref ")
    reference = why[why.index("[ref ") + 5 :].rstrip("]")
    assert remedy == f"kdc explain {reference} says why; kdc key list alice shows its keys"


def test_other_names_key_is_75(realm: Shell, kdc: str, alice_pem: Path) -> None:
    """The key is alice's, the name is pat's."""
    done = realm("logon", "pat", "--identity", alice_pem, "--kdc", kdc)
    assert (done.code, "(75)" in done.error[1]) == (ExitCode.DENIED, True)


def test_wrong_password_is_5(realm: Shell, kdc: str) -> None:
    """24, and the password is in none of the lines."""
    done = realm("logon", "pat", "--password-stdin", "--kdc", kdc, stdin="battery staple")
    assert (done.code, "(24)" in done.error[1]) == (ExitCode.DENIED, True)
    assert "battery" not in done.err + done.out


def test_account_without_a_password_is_not_offered_one(realm: Shell, kdc: str) -> None:
    """The client does not even send a proof."""
    done = realm("logon", "alice", "--password-stdin", "--kdc", kdc, stdin="x")
    assert (done.code, done.error[1]) == (
        ExitCode.DENIED,
        "the KDC does not offer it: password",
    )


def test_kdc_of_another_ca_is_not_trusted(
    realm: Shell, kdc: str, alice_pem: Path, tmp_path: Path
) -> None:
    """--anchor names another CA."""
    realm.ok("init", "--realm", "OTHER.TEST", "--state", tmp_path / "other")
    done = realm(
        *("logon", "alice", "--identity", alice_pem, "--kdc", kdc, "--realm", "LAB.TEST"),
        *("--anchor", tmp_path / "other/pki/ca.pem"),
    )
    assert done.code == ExitCode.FAILED
    assert done.error[1] == "its certificate does not chain to the anchor"


def test_logon_without_a_state_folder(
    realm: Shell, kdc: str, alice_pem: Path, tmp_path: Path
) -> None:
    """--realm, --kdc and --anchor are enough on a client."""
    realm.ok(
        *("--state", tmp_path / "none", "logon", "alice", "--identity", alice_pem),
        *("--kdc", kdc, "--realm", "lab.test", "--anchor", realm.state / "pki/ca.pem"),
    )
    done = realm("--state", tmp_path / "none", "logon", "alice", "--realm", "LAB.TEST")
    assert done.code == ExitCode.USAGE


def test_identity_must_hold_certificate_and_key(realm: Shell, kdc: str, tmp_path: Path) -> None:
    """And they must belong together."""
    done = realm("logon", "alice", "--identity", realm.state / "pki/ca.pem", "--kdc", kdc)
    assert done.code == ExitCode.FAILED
    mixed = (realm.state / "pki/ca.pem").read_bytes() + (realm.state / "pki/kdc.key").read_bytes()
    (tmp_path / "mixed.pem").write_bytes(mixed)
    done = realm("logon", "alice", "--identity", tmp_path / "mixed.pem", "--kdc", kdc)
    assert done.code == ExitCode.FAILED
    assert "belongs to no certificate" in done.error[0]


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


def test_unreachable_kdc_is_6(realm: Shell, alice_pem: Path) -> None:
    """For `logon` and `probe` alike."""
    address = closed_port()
    for arguments in (
        ("logon", "alice", "--identity", alice_pem, "--kdc", address),
        ("probe", "--kdc", address),
        ("probe", "--kdc", address, "--tcp"),
    ):
        done = realm(*arguments)
        assert done.code == ExitCode.UNREACHABLE
        assert done.error[0] == f"no KDC answers on {address}"


def test_probe_takes_any_answer_of_a_kdc_for_life(realm: Shell, kdc: str, tmp_path: Path) -> None:
    """A KRB-ERROR is an answer; no state folder is needed."""
    assert "is alive over udp" in realm.ok("probe", "--kdc", kdc).out
    assert "is alive over tcp" in realm.ok("probe", "--kdc", kdc, "--tcp").out
    told = realm.ok("--state", tmp_path / "none", "probe", "--kdc", kdc).out
    assert "KDC_ERR_WRONG_REALM" in told
    assert realm("probe", "--kdc", "localhost").code == ExitCode.USAGE


def test_probe_is_not_fooled_by_another_server(realm: Shell) -> None:
    """Something listens there, but it is no KDC."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{echo.getsockname()[1]}"

        def answer() -> None:
            data, peer = echo.recvfrom(65535)
            echo.sendto(data, peer)

        thread = threading.Thread(target=answer)
        thread.start()
        done = realm("probe", "--kdc", address)
        thread.join()
    assert (done.code, done.error[1]) == (ExitCode.UNREACHABLE, "what answers is no KDC")


def test_key_on_two_accounts_is_explained_with_their_names(
    realm: Shell, kdc: str, alice_pem: Path
) -> None:
    """62; the reference leads to both names."""
    register_anyway(realm, "pat", alice_pem)
    done = realm("logon", "alice", "--identity", alice_pem, "--kdc", kdc)
    assert done.code == ExitCode.DENIED
    reference = done.error[2].split()[2]
    told = realm.ok("explain", reference, "--no-tree").out
    assert "  accounts: pat, alice\n" in told
    facts = realm.ok("explain", reference, "--json").json["verdict"]["facts"]
    assert (facts["accounts"], "account_ids" in facts) == (["pat", "alice"], False)


def test_other_group_than_asked_for_is_told(realm: Shell, kdc: str, alice_pem: Path) -> None:
    """modp2 is refused by a strict realm, and the client goes on with what it was offered."""
    done = realm("logon", "alice", "--identity", alice_pem, "--kdc", kdc, "--kex", "modp2")
    assert done.code == 0
    assert done.err == "note: the KDC did not take modp2: modp14 was used\n"
