"""From listen addresses to bound sockets."""

import errno
import os
import socket

import pytest

from kdc.server import listen
from kdc.server.service import StartError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8888", ("127.0.0.1", 8888)),
        ("[::1]:88", ("::1", 88)),
        ("kdc.lab.test:0", ("kdc.lab.test", 0)),
        ("*:88", ("*", 88)),
        (":88", ("*", 88)),
    ],
)
def test_listen_address_is_split(text: str, expected: tuple[str, int]) -> None:
    """Brackets around IPv6, `*` or nothing for all addresses."""
    assert listen.parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "88", "host", "::1:88", "host:", "host:99999", "host:+8"])
def test_bad_listen_address_is_a_configuration_error(text: str) -> None:
    """Said in three lines, exit code 78."""
    with pytest.raises(StartError) as caught:
        listen.parse_listen(text)
    assert caught.value.exit_code == 78
    assert len(str(caught.value).splitlines()) == 3


def test_wildcard_gives_both_families() -> None:
    """`*` is 0.0.0.0 and ::, each with a socket of its own."""
    families = {address.family for address in listen.resolve_listen(["*:8888"])}
    assert families == {socket.AF_INET, socket.AF_INET6}


def test_name_gives_all_its_addresses_once() -> None:
    """Naming an address twice binds it once."""
    addresses = listen.resolve_listen(["localhost:8888", "127.0.0.1:8888"])
    assert [str(address) for address in addresses].count("127.0.0.1:8888") == 1


def test_unknown_name_is_unreachable() -> None:
    """Exit code 6."""
    with pytest.raises(StartError) as caught:
        listen.resolve_listen(["no-such-host.invalid:88"])
    assert caught.value.exit_code == 6


def test_port_0_gives_one_port_for_everything() -> None:
    """UDP and TCP, IPv4 and IPv6 share the number that is announced."""
    addresses = listen.claim_addresses(["127.0.0.1:0", "[::1]:0"])
    assert len({address.port for address in addresses}) == 1
    assert addresses[0].port != 0


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_port_in_use_by_our_own_kind_is_noticed(kind: socket.SocketKind) -> None:
    """SO_REUSEPORT alone would let two servers share a port without a word."""
    address = listen.Address(socket.AF_INET, ("127.0.0.1", 0))
    with listen.bind(address, kind, backlog=1 if kind == socket.SOCK_STREAM else 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as caught:
            listen.claim_addresses([f"127.0.0.1:{port}"])
    assert caught.value.exit_code == 1
    assert "another program uses this port" in caught.value.why


def test_address_of_another_machine_is_unreachable() -> None:
    """Exit code 6, and not silently skipped."""
    with pytest.raises(StartError) as caught:
        listen.claim_addresses(["192.0.2.1:8888"])
    assert caught.value.exit_code == 6


def test_missing_privilege_is_denied() -> None:
    """Exit code 5, with the ways out."""
    address = listen.Address(socket.AF_INET, ("127.0.0.1", 88))
    error = listen.bind_error(address, PermissionError(errno.EACCES, "Permission denied"))
    assert error.exit_code == 5
    assert "CAP_NET_BIND_SERVICE" in error.remedy


def test_sockets_of_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN_PID names the process the sockets are meant for (sd_listen_fds)."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert listen.inherited_sockets() == []
    assert "LISTEN_FDS" not in os.environ


def test_sockets_are_described_by_address() -> None:
    """The ready line names each address once."""
    address = listen.Address(socket.AF_INET6, ("::1", 0, 0, 0))
    sockets = [listen.bind(address, socket.SOCK_DGRAM)]
    port = sockets[0].getsockname()[1]
    sockets.append(listen.bind(address.with_port(port), socket.SOCK_STREAM))
    assert listen.describe_sockets(sockets) == f"[::1]:{port} (udp, tcp)"
    for sock in sockets:
        sock.close()
