"""Drive MIT's and Heimdal's kpasswd, on a krb5.conf of their own."""

import contextlib
import os
import pty
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from tests.rig import peers
from tests.rig.clients import ClientRealm, Transport
from tests.rig.realm import LiveRealm

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What kpasswd did."""

    status: int
    output: str
    """Prompts included, passwords not: they are not echoed."""


class Kpasswd(Protocol):
    """One client's kpasswd."""

    def __call__(self, realm: ClientRealm, principal: str, *typed: str) -> Told:
        """Change a password; typed: the old one, the new one, the new one again."""
        ...


def realm_for(live: LiveRealm, folder: Path, transport: Transport) -> ClientRealm:
    """Describe a realm by the krb5.conf that `kdc init` wrote, with Heimdal's transport in it.

    MIT's kpasswd asks by TCP always, and by UDP when nothing answers there.
    """
    text = (live.state / "krb5.conf").read_text()
    if transport == "tcp":
        text = text.replace("kpasswd_server = ", "kpasswd_server = tcp/")
    config = folder / f"krb5-{transport}.conf"
    config.write_text(text)
    return replace(live.client(folder, transport=transport), config=config)


def mit_kpasswd(realm: ClientRealm, principal: str, *typed: str) -> Told:
    """Change a password with MIT's kpasswd."""
    return _typed(peers.mit_program("kpasswd"), [principal], realm, typed)


def heimdal_kpasswd(realm: ClientRealm, principal: str, *typed: str) -> Told:
    """Change a password with Heimdal's kpasswd: set-password first, then the older protocol."""
    return _typed(peers.heimdal_program("kpasswd.heimdal"), [principal], realm, typed)


def mit_kinit_typed(realm: ClientRealm, principal: str, *typed: str) -> Told:
    """Log on with MIT's kinit, which asks for a new password when the old one has expired."""
    cache = realm.folder / "cc-typed"
    return _typed(peers.mit_program("kinit"), ["-c", f"FILE:{cache}", principal], realm, typed)


def heimdal_kinit_typed(realm: ClientRealm, principal: str, *typed: str) -> Told:
    """Log on with Heimdal's kinit at a terminal."""
    cache = realm.folder / "cc-typed-heimdal"
    program = peers.heimdal_program("kinit.heimdal")
    return _typed(program, ["-c", f"FILE:{cache}", principal], realm, typed)


def _typed(
    program: peers.Program, arguments: Sequence[str], realm: ClientRealm, typed: Sequence[str]
) -> Told:
    """Run a program at a terminal and answer each of its prompts."""
    environment = peers.clean_environment(
        {**program.environment, "KRB5_CONFIG": str(realm.config), "LC_ALL": "C.UTF-8"}
    )
    return _at_a_terminal([program.path, *arguments], environment, typed)


def _at_a_terminal(
    command: Sequence[str], environment: Mapping[str, str], typed: Sequence[str]
) -> Told:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], list(command), dict(environment))  # noqa: S606  # a peer
    rest = list(typed)
    output = b""
    asked = 0
    end = time.monotonic() + _TIMEOUT_S
    status: int | Literal["running"] = "running"
    try:
        while time.monotonic() < end:
            readable, _, _ = select.select([terminal], [], [], 0.1)
            if readable:
                # Linux answers EIO when the other side is closed.
                data = b""
                with contextlib.suppress(OSError):
                    data = os.read(terminal, 4096)
                if not data:
                    break
                output += data
            if rest and output[asked:].rstrip().endswith(b":"):
                asked = len(output)
                os.write(terminal, rest.pop(0).encode() + b"\n")
    finally:
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Told(status=status, output=output.decode(errors="replace"))
