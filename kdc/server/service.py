"""What the server serves, and with which settings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from directory.backend import DirectoryError, DirectoryFault
from directory.sealing import SecretFileError
from kdc.config import ConfigError
from kdc.exchange.stages import Stages
from kdc.outcome import Outcome, Peer
from kdc.server.audit import AuditFailurePolicy
from pki.errors import PkiError

EXIT_FAILED: Final = 1
EXIT_DENIED: Final = 5
EXIT_UNREACHABLE: Final = 6
EXIT_BAD_CONFIGURATION: Final = 78


class RequestHandler(Protocol):
    """The core as the sockets see it."""

    def handle(self, message: bytes, peer: Peer, now: datetime) -> Outcome:
        """Answer one whole message. Never raises for what is in the message."""
        ...

    def time_stages(self, stages: Stages) -> None:
        """Name the stages of every request to who times them."""
        ...

    def reload(self) -> None:
        """Read configuration and keys anew; raise, and go on with the old ones, if they are bad."""
        ...

    def close(self) -> None:
        """Close files; the worker ends."""
        ...


@runtime_checkable
class CertificateHandler(Protocol):
    """A handler that judges certificates by files that change while it serves."""

    def tick(self, now: datetime) -> None:
        """Take files that have changed; about once a second. Never raises for what is in them."""
        ...

    def tell_leaves(self, seen: Callable[[bytes], None]) -> None:
        """Tell someone of each logon certificate (DER) whose path was found valid."""
        ...


HandlerFactory = Callable[[Path], RequestHandler]
"""Builds the handler of one worker from the state folder, in the worker's process. It may raise
StartError, ConfigError, DirectoryError, PkiError and OSError."""


class StartError(Exception):
    """The server cannot start: what happened, why, and what to do, one line each."""

    def __init__(self, what: str, *, why: str, remedy: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
        self.remedy = remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.what}\n{self.why}\n{self.remedy}"


def start_error(error: ConfigError | DirectoryError | PkiError | OSError) -> StartError:
    """Return an expected error of a handler factory in three lines."""
    if isinstance(error, ConfigError):
        return StartError(
            f"{error.place}: {error.what}",
            why=error.why,
            remedy=error.remedy,
            exit_code=EXIT_BAD_CONFIGURATION,
        )
    if isinstance(error, OSError):
        return StartError(
            f"cannot open {error.filename or 'a file of the state folder'}",
            why=(error.strerror or "the system refuses it").lower(),
            remedy="check the state folder, its owner, the modes of its files and the disk",
            exit_code=EXIT_DENIED if isinstance(error, PermissionError) else EXIT_FAILED,
        )
    if isinstance(error, SecretFileError):
        return StartError(
            error.detail,
            why=error.why,
            remedy=error.remedy,
            exit_code=EXIT_DENIED if error.kind is DirectoryFault.DENIED else EXIT_FAILED,
        )
    if isinstance(error, DirectoryError):
        denied = error.kind is DirectoryFault.DENIED
        return StartError(
            "cannot open the realm",
            why=str(error),
            remedy="check the state folder, its owner and the modes of its files",
            exit_code=EXIT_DENIED if denied else EXIT_FAILED,
        )
    return StartError(
        "cannot use a key or certificate of the realm",
        why=error.detail or error.fault.value,
        remedy="check the files in the folder pki of the state folder",
        exit_code=EXIT_BAD_CONFIGURATION,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpLimits:
    """Bounds on TCP connections."""

    max_connections: int = 4096
    """In total, over all workers; past it the connection idle for longest is closed."""
    max_connections_per_source: int = 64
    """Over all workers; a source is an IPv4 address or an IPv6 /64. Further ones are closed."""
    exempt_sources: tuple[str, ...] = ()
    """Networks or addresses without that limit: proxies, load tests."""
    idle_timeout_s: float = 9.5
    """From the last answer (or the start) to the next whole request, slow readers included. Half a
    second under the 10 s that are promised, for the timer and the network."""
    linger_s: float = 1.0
    """How long we go on reading after a refused length, so that the refusal is not lost in a
    reset."""
    backlog: int = 1024
    """Connections that may wait to be accepted, for each worker: room for a burst. In an overload
    it is narrowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Everything `serve` needs to know."""

    realm: str
    state_dir: Path
    factory: HandlerFactory | str
    """The handler factory, or its dotted name `package.module:function`."""
    listen: tuple[str, ...] = ("*:88",)
    """`host:port`, `[::1]:port`, `*:port` (both families) or `:port`."""
    kpasswd_listen: tuple[str, ...] = ()
    """Where passwords are changed, in the same forms; other ports than those of `listen`."""
    workers: int = 0
    """0: one for each processor this process may use."""
    audit_path: Path | None = None
    """Default: audit.jsonl in the state folder."""
    audit_failure: AuditFailurePolicy = "refuse"
    tcp: TcpLimits = field(default_factory=TcpLimits)
    udp_reply_budget: int = 131072
    """Octets a second that a /24 or /56 is sent by UDP at most; 0: no budget. It does not apply to
    loopback and tcp.exempt_sources."""
    drain_s: float = 5.0
    """After SIGTERM: how long a worker may finish what it has begun."""
    max_back_off_s: float = 10.0
    """The longest wait before a worker that keeps dying is started again."""
