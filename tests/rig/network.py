"""Hosts in network namespaces, joined by a router whose links can be cut and healed.

Each host has an address in 198.18.0.0/15 (RFC 2544: for tests, in nobody's use). A link that is cut
loses packets without a word, as a broken cable does. Needs root (CAP_NET_ADMIN) and iproute2.
"""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from tests.rig import peers

_COMMAND_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A namespace with one address; what runs behind `prefix` runs there."""

    namespace: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to write before a command."""
        return ("ip", "netns", "exec", self.namespace)


@dataclass(slots=True, kw_only=True)
class Network:
    """The hosts, and who cannot reach whom."""

    router: str
    outside: str
    """Our own address there: what the tests serve on it, the hosts reach."""
    hosts: tuple[Host, ...]
    _cut: set[tuple[str, str]] = field(default_factory=set)

    def cut(self, one: Host, other: Host) -> None:
        """Lose every packet between two hosts, both ways."""
        for a, b in ((one, other), (other, one)):
            if (a.address, b.address) not in self._cut:
                self._rule("add", a, b)
                self._cut.add((a.address, b.address))

    def heal(self, one: Host, other: Host) -> None:
        """Let packets pass again."""
        for a, b in ((one, other), (other, one)):
            if (a.address, b.address) in self._cut:
                self._rule("del", a, b)
                self._cut.discard((a.address, b.address))

    def _rule(self, verb: str, a: Host, b: Host) -> None:
        addresses = ("from", a.address, "to", b.address)
        _ip("-n", self.router, "rule", verb, *addresses, "blackhole", "priority", "100")


def _ip(*arguments: str) -> None:
    done = _run("ip", *arguments)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    path = peers.system_program(command[0], "iproute2").path
    return subprocess.run(
        [path, *command[1:]],
        env=peers.clean_environment({}),
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )


def need_namespaces() -> None:
    """Leave out the running test where namespaces cannot be made; in CI root must be able to."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    name = f"kt{secrets.token_hex(3)}-try"
    made = _run("ip", "netns", "add", name)
    try:
        pair = ("link", "add", "a0", "type", "veth", "peer", "name", "b0")
        done = made if made.returncode else _run("ip", "-n", name, *pair)
    finally:
        _run("ip", "netns", "del", name)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        peers.missing("permission for network namespaces", f"give CAP_NET_ADMIN ({told})")


@contextlib.contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """Make hosts that reach each other, and that the tests themselves reach."""
    need_namespaces()
    tag = f"kt{secrets.token_hex(3)}"
    # A block of its own: tests may run beside each other.
    block = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
    router, outside = f"{tag}-r", f"{tag}o"
    made = [router]
    try:
        _ip("netns", "add", router)
        _ip("link", "add", outside, "type", "veth", "peer", "name", "out", "netns", router)
        _ip("addr", "add", f"{block}.1/30", "dev", outside)
        _ip("link", "set", outside, "up")
        _ip("-n", router, "addr", "add", f"{block}.2/30", "dev", "out")
        _ip("-n", router, "link", "set", "out", "up")
        done = _run(
            *("ip", "netns", "exec", router, "sh", "-c"), "echo 1 >/proc/sys/net/ipv4/ip_forward"
        )
        assert done.returncode == 0, done.stderr
        hosts = []
        for number, name in enumerate(names, start=1):
            space, gate = f"{tag}-{name}", f"{block}.{4 * number + 1}"
            made.append(space)
            _ip("netns", "add", space)
            pair = ("type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", router, "link", "add", f"to{number}", *pair)
            _ip("-n", router, "addr", "add", f"{gate}/30", "dev", f"to{number}")
            _ip("-n", router, "link", "set", f"to{number}", "up")
            host = Host(namespace=space, address=f"{block}.{4 * number + 2}")
            _ip("-n", space, "addr", "add", f"{host.address}/30", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
            _ip("-n", space, "route", "add", "default", "via", gate)
            hosts.append(host)
        _ip("route", "add", f"{block}.0/24", "via", f"{block}.2")
        yield Network(router=router, outside=f"{block}.1", hosts=tuple(hosts))
    finally:
        # Both ends of every link go with a namespace, and our route with our end; ours first, so
        # that it is gone when this returns.
        _run("ip", "link", "del", outside)
        for name in reversed(made):
            _run("ip", "netns", "del", name)
