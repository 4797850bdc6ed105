"""A request handler that does what the message says, for tests of the server around it."""

import os
import time
from datetime import datetime
from pathlib import Path

from kdc.config import ConfigError
from kdc.exchange.stages import Stages
from kdc.outcome import Outcome, Peer
from kdc.server.companion import CompanionContext, Order


class ScriptedHandler:
    """Answers `echo:` plus the message; some messages ask for something else."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self.setting = ""
        self.closed = False
        self.reload()

    def handle(self, message: bytes, peer: Peer, now: datetime) -> Outcome:
        """Do what the message says."""
        command, _, argument = message.partition(b" ")
        if command == b"drop":
            return outcome(None, why="dropped")
        if command == b"raise":
            raise ValueError(f"the message is {message!r}")
        reply = b"echo:" + message
        if command == b"pid":
            reply = str(os.getpid()).encode()
        elif command == b"setting":
            reply = self.setting.encode()
        elif command == b"peer":
            reply = f"{peer.address} {peer.transport}".encode()
        elif command == b"port":
            reply = f"{peer.service} {peer.local}".encode()
        elif command == b"kpasswd-error":
            # Looks like a KRB-ERROR in kpasswd's frame.
            reply = bytes((0, 200, 0, 1, 0, 0)).ljust(200, b"~")
        elif command == b"fds":
            # Only asks; the connection is what uses descriptors up.
            reply = str(len(os.listdir("/proc/self/fd"))).encode()
        elif command == b"big":
            reply = bytes(int(argument))
        elif command == b"error":
            # Looks like a KRB-ERROR of that size.
            reply = b"\x7e".ljust(int(argument.split()[0]), b"\0")
        elif command == b"sleep":
            time.sleep(float(argument))
        return outcome(reply)

    def time_stages(self, stages: Stages) -> None:
        """Name no stages."""

    def reload(self) -> None:
        """Read the file `setting`; "bad" is refused."""
        path = self._state_dir / "setting"
        setting = path.read_text() if path.exists() else ""
        if setting == "bad":
            raise ConfigError(
                path=str(path), line=1, what="bad setting", why="it is bad", remedy="mend it"
            )
        self.setting = setting

    def close(self) -> None:
        """Note the call."""
        self.closed = True


def outcome(reply: bytes | None, *, why: str = "") -> Outcome:
    """Return a successful AS outcome with this reply."""
    return Outcome(reply=reply, exchange="AS", code=0, why=why, reference="")


def build_scripted(state_dir: Path) -> ScriptedHandler:
    """Build the handler; fail or die when the state folder asks for it."""
    if (state_dir / "die").exists():
        os._exit(3)
    return ScriptedHandler(state_dir)


def run_scripted_companion(context: CompanionContext) -> None:
    """Write the orders to the file `orders`; fail, crash or wait when the folder asks for it."""
    folder = context.state_dir
    if (folder / "companion-fails").exists():
        raise ConfigError(
            path="kdc.toml", line=3, what="bad companion", why="it is bad", remedy="mend it"
        )
    if (folder / "companion-crashes").exists():
        raise ValueError("a bug")
    (folder / "companion-pid").write_text(str(os.getpid()))
    context.control.ready()
    while True:
        order = context.control.next_order(None)
        if order is None:
            continue
        with (folder / "orders").open("a") as orders:
            orders.write(f"{order.name}\n")
        if order is Order.DRAIN:
            if not (folder / "companion-stays").exists():
                return
            time.sleep(60)
        context.control.reloaded(not (folder / "companion-refuses").exists())
