"""The machine: its clock, its limits, and whether the server answers where it should."""

import ctypes
import errno
import os
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from kdc.cli.checks.finding import Finding, Patient, fail, ok, warn
from kdc.cli.client_files import reachable
from kdc.client.as_exchange import AsExchange, AsOptions, client_name
from kdc.client.errors import ClientError, ClientFault
from kdc.client.password import PasswordMechanism
from kdc.client.transport import KdcAddress, Protocol, exchange
from kdc.config import KdcConfig
from kdc.config_values import format_address, parse_address
from kdc.form import FORM
from kdc.server.listen import Address, bind
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from pki.errors import PkiError

NOBODY = "kdc-doctor"
"""Whom the check of the ports asks for."""
TIMEOUT_S = 1.0
SPARE_DESCRIPTORS = 64  # as the server reckons
_TIMEX_BYTES = 256  # struct timex has 208 on 64-bit Linux
_TIME_ERROR = 5  # adjtimex(2): the kernel's clock is not synchronised


# -- clock and limits ------------------------------------------------------------------------


def check_clock(patient: Patient) -> Iterator[Finding]:
    """Ask the kernel whether something keeps the clock right; a time that cannot be is a fault."""
    store = patient.folder.store
    if store.exists():
        written = datetime.fromtimestamp(store.stat().st_mtime, UTC)
        ahead = (written - patient.now).total_seconds()
        if ahead > patient.config.clockskew_s:
            yield fail(
                "machine.clock",
                f"the clock is {ahead:.0f} s behind the time at which the store was written",
                "set the clock",
            )
            return
    synchronised = _synchronised()
    if synchronised is None:
        yield ok("machine.clock", f"{patient.now:%Y-%m-%d %H:%M:%S} UTC; nobody says who sets it")
    elif synchronised:
        yield ok("machine.clock", "the kernel says that the clock is synchronised")
    else:
        yield warn(
            "machine.clock",
            "nothing keeps the clock right; a difference of "
            f"{patient.config.clockskew_s} s to a client stops its logons (37)",
            "timedatectl set-ntp true, or run chrony; in a container the host does it",
        )


def _synchronised() -> bool | None:
    """Tell what adjtimex(2) says; None where it says nothing."""
    if sys.platform != "linux":
        return None
    timex = (ctypes.c_ubyte * _TIMEX_BYTES)()  # modes = 0: only asks
    state: int = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    return None if state < 0 else state != _TIME_ERROR


def check_limits(config: KdcConfig) -> Iterator[Finding]:
    """Compare workers with cores, and connections with the limit of open files."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    workers = config.workers or cores
    shown = f"{workers} workers on {cores} cores"
    if workers > 2 * cores:
        yield warn(
            "machine.workers",
            f"{shown}: they take turns, and each costs memory",
            "workers = 0 in kdc.toml (one a core)",
        )
    elif workers < cores:
        yield ok("machine.workers", f"{shown}: the others stay free")
    else:
        yield ok("machine.workers", shown)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max(1, config.max_connections // workers) + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < needed:
        yield warn(
            "machine.open_files",
            f"a worker may open {hard} files here, max_connections asks for {needed}",
            f"LimitNOFILE={needed} in the unit, or ulimit -n {needed}",
        )
    else:
        yield ok("machine.open_files", f"a worker may open the {needed} files it may need")


def check_form() -> Iterator[Finding]:
    """Say whether the compiled wheel runs or the source."""
    slower = "" if FORM == "compiled" else ": each logon costs more (docs/performance.md)"
    yield ok("machine.form", f"this KDC runs {FORM}{slower}")


# -- ports -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address where the server should answer."""

    host: str
    """As a client of this machine reaches it."""
    port: int
    listen: str | None
    """The host to bind; None when it is another machine's affair."""

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def places(config: KdcConfig, given: tuple[str, int] | None) -> tuple[Place, ...]:
    """List where the server should answer: where kdc.toml says, or at the one place given."""
    if given is not None:
        return (Place(host=given[0], port=given[1], listen=None),)
    found = []
    for text in config.listen:
        host, port = reachable(text)
        found.append(Place(host=host, port=port, listen=parse_address(text)[0]))
    return tuple(found)


def check_port(config: KdcConfig, place: Place) -> tuple[Finding, Finding]:
    """Ask at a place by UDP and TCP; where nobody answers, say why."""
    return _check_port(config, place, "udp"), _check_port(config, place, "tcp")


def _check_port(config: KdcConfig, place: Place, protocol: Protocol) -> Finding:
    check, name = "server.ports", f"{place} ({protocol})"
    try:
        realm = ask_realm(config, place, protocol)
    except ClientError as error:
        if error.fault is not ClientFault.UNREACHABLE:
            return fail(check, f"what answers on {name} is no KDC", _whose(place))
        return _explain_silence(place, protocol)
    if realm != config.realm:
        return fail(check, f"the KDC of {realm} answers on {name}", _whose(place))
    return ok(check, f"the KDC of {realm} answers on {name}")


def _whose(place: Place) -> str:
    return f"see whose port it is (ss -lntup 'sport = :{place.port}'), or change listen"


def ask_realm(config: KdcConfig, place: Place, protocol: Protocol) -> str:
    """Send one AS-REQ that wants nothing; return the realm of the KRB-ERROR that comes back.

    Raises ClientError: UNREACHABLE, MALFORMED.
    """
    options = AsOptions(client=client_name(NOBODY), realm=config.realm)
    request = AsExchange(options, PasswordMechanism(""), os.urandom).start(datetime.now(UTC))
    address = KdcAddress(
        host=place.host, port=place.port, protocol=protocol, timeout_s=TIMEOUT_S, tries=2
    )
    answer, _ = exchange(address, request)
    try:
        return asn1.decode(KrbError, answer).realm
    except PkiError:
        raise ClientError(ClientFault.MALFORMED) from None


def _explain_silence(place: Place, protocol: Protocol) -> Finding:
    check, name = "server.ports", f"{place} ({protocol})"
    if place.listen is None:
        return fail(check, f"nobody answers on {name}", "start the server there: kdc serve")
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    try:
        bind(_address(place), kind, shared=False).close()
    except OSError as error:
        return _explain_bind(place, name, error)
    return fail(check, f"nothing listens on {name}; the port is free", "kdc serve")


def _address(place: Place) -> Address:
    # Loopback stands for every address: who has that one has them all.
    host = place.host if place.listen in (None, "*") else str(place.listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Address(family, (host, place.port))


def _explain_bind(place: Place, name: str, error: OSError) -> Finding:
    check = "server.ports"
    if error.errno == errno.EADDRINUSE:
        return fail(check, f"another program has {name} and does not answer", _whose(place))
    if error.errno in (errno.EACCES, errno.EPERM):
        return fail(
            check,
            f"nothing listens on {name}, and ports below 1024 need a privilege",
            "use conf/systemd/keytrust-kdc.service (CAP_NET_BIND_SERVICE), or another port",
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return fail(
            check,
            f"this machine does not have the address of {name}",
            "correct listen in kdc.toml",
        )
    return fail(check, f"{name}: {error.strerror}", "correct listen in kdc.toml")
