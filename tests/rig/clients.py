"""Drive MIT's and Heimdal's clients, each with a krb5.conf and a credential cache of its own."""

import datetime
import itertools
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from tests.rig import peers
from tests.rig.certificates import Identity

Transport = Literal["udp", "tcp"]

_TIMEOUT_S = 30
_MIT_ERROR_BASE = -1765328384  # ERROR_TABLE_BASE_krb5: MIT's trace prints base + protocol code
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRealm:
    """A realm as a client's krb5.conf knows it."""

    realm: str
    address: str
    """host:port of the KDC."""
    anchors: tuple[Path, ...]
    """Issuers that the client trusts for the KDC's certificate (PEM)."""
    folder: Path
    """Where this client's files go."""
    transport: Transport = "udp"
    own_anchors: tuple[Path, ...] = ()
    """Issuers of the client's own certificate; only MIT's client asks for them."""
    min_dh_bits: int = 1536
    """Heimdal 7 picks MODP group 14 for 1536; MIT rounds it up to 2048."""
    config: Path | None = None
    """Use this krb5.conf as it is instead of writing one; transport and anchors are then its."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One line of klist; times are aware and in UTC, whole seconds."""

    service: str
    starts: datetime.datetime
    expires: datetime.datetime
    renew_until: datetime.datetime | None
    flags: str
    """MIT's letters: F forwardable, P proxiable, R renewable, I initial, A preauthenticated ..."""
    session_etype: str
    ticket_etype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a client did: exit status, everything it printed, MIT's trace, the cache it wrote."""

    status: int
    output: str
    trace: str
    cache: Path
    command: tuple[str, ...] = field(repr=False)

    @property
    def kdc_errors(self) -> tuple[int, ...]:
        """Codes of the KRB-ERRORs that MIT's client received, in order."""
        found = re.findall(r"Received error from KDC: (-?\d+)/", self.trace)
        return tuple(int(code) - _MIT_ERROR_BASE for code in found)

    @property
    def answered_by(self) -> tuple[Transport, ...]:
        """The transport of each answer that MIT's client received, in order."""
        found = re.findall(r"Received answer \(\d+ bytes\) from (dgram|stream)", self.trace)
        return tuple("udp" if kind == "dgram" else "tcp" for kind in found)

    def explain(self) -> str:
        """Everything that helps to see why a logon failed."""
        return f"$ {' '.join(self.command)}\nexit {self.status}\n{self.output}\n{self.trace}"


class Kinit(Protocol):
    """One client's kinit; exactly one of identity and password is given."""

    def __call__(
        self,
        realm: ClientRealm,
        principal: str,
        *,
        identity: Identity | None = None,
        password: str | None = None,
        options: Sequence[str] = (),
    ) -> Run:
        """Ask for a TGT and return what happened; never raises for a refusal."""
        ...


def write_mit_config(realm: ClientRealm) -> Path:
    """Write krb5.conf for MIT's client; the transport is forced by its size limit for UDP."""
    if realm.config is not None:
        return realm.config
    limit = 1 if realm.transport == "tcp" else 32700
    anchors = "".join(
        f"    pkinit_anchors = FILE:{path}\n" for path in (*realm.anchors, *realm.own_anchors)
    )
    path = realm.folder / f"krb5-mit-{realm.transport}.conf"
    path.write_text(
        "[libdefaults]\n"
        f"  default_realm = {realm.realm}\n"
        "  dns_lookup_kdc = false\n"
        "  dns_lookup_realm = false\n"
        "  dns_canonicalize_hostname = false\n"
        "  rdns = false\n"
        f"  udp_preference_limit = {limit}\n"
        f"  pkinit_dh_min_bits = {max(realm.min_dh_bits, 2048)}\n"
        "[realms]\n"
        f"  {realm.realm} = {{\n"
        f"    kdc = {realm.address}\n"
        f"{anchors}"
        "  }\n"
    )
    return path


def write_heimdal_config(realm: ClientRealm) -> Path:
    """Write krb5.conf for Heimdal's client; the transport is a prefix of the KDC's address."""
    if realm.config is not None:
        return realm.config
    path = realm.folder / f"krb5-heimdal-{realm.transport}.conf"
    anchors = " ".join(f"FILE:{anchor}" for anchor in realm.anchors)
    path.write_text(
        "[libdefaults]\n"
        f"  default_realm = {realm.realm}\n"
        "  dns_lookup_kdc = false\n"
        "  dns_lookup_realm = false\n"
        "  kdc_timesync = 0\n"
        f"  pkinit_dh_min_bits = {realm.min_dh_bits}\n"
        "[realms]\n"
        f"  {realm.realm} = {{\n"
        f"    kdc = {realm.transport}/{realm.address}\n"
        "  }\n"
        "[appdefaults]\n"
        f"  pkinit_anchors = {anchors}\n"
    )
    return path


def _run(
    program: peers.Program,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: str = "",
    trace: Path | None = None,
    cache: Path,
) -> Run:
    done = subprocess.run(
        [program.path, *arguments],
        env=peers.clean_environment({**program.environment, **environment}),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=_TIMEOUT_S,
        check=False,
    )
    return Run(
        status=done.returncode,
        output=done.stdout,
        trace=trace.read_text(errors="backslashreplace") if trace and trace.exists() else "",
        cache=cache,
        command=(program.path, *arguments),
    )


def mit_kinit(
    realm: ClientRealm,
    principal: str,
    *,
    identity: Identity | None = None,
    password: str | None = None,
    options: Sequence[str] = (),
) -> Run:
    """Log on with MIT's kinit, by PKINIT with an identity or by password; see Kinit."""
    program = peers.mit_program("kinit")
    number = next(_numbers)
    cache, trace = realm.folder / f"cc-{number}", realm.folder / f"trace-{number}"
    arguments = ["-c", f"FILE:{cache}", *options]
    if identity is not None:
        arguments += ["-X", f"X509_user_identity={identity.mit}"]
    return _run(
        program,
        [*arguments, principal],
        {"KRB5_CONFIG": str(write_mit_config(realm)), "KRB5_TRACE": str(trace)},
        stdin="" if password is None else f"{password}\n",
        trace=trace,
        cache=cache,
    )


def heimdal_kinit(
    realm: ClientRealm,
    principal: str,
    *,
    identity: Identity | None = None,
    password: str | None = None,
    options: Sequence[str] = (),
) -> Run:
    """Log on with Heimdal's kinit, by PKINIT with an identity or by password; see Kinit."""
    program = peers.heimdal_program("kinit.heimdal")
    cache = realm.folder / f"cc-{next(_numbers)}"
    arguments = ["-c", f"FILE:{cache}", *options]
    if identity is not None:
        arguments += ["-C", f"FILE:{identity.certificate},{identity.key}"]
    if password is not None:
        arguments += ["--password-file=STDIN"]
    return _run(
        program,
        [*arguments, principal],
        {"KRB5_CONFIG": str(write_heimdal_config(realm))},
        stdin="" if password is None else f"{password}\n",
        cache=cache,
    )


def kerbad_kinit(realm: ClientRealm, user: str, pfx: Path, password: str) -> Run:
    """Log on by PKINIT with the client library of bloodyAD: SHA-1, MODP group 2, TCP."""
    cache = realm.folder / f"cc-{next(_numbers)}"
    url = f"kerberos+pfx://{realm.realm}\\{user}:{password}@{realm.address}/?certdata={pfx}"
    return _run(
        peers.tools_program("python"),
        ["-m", "kerbad.examples.getTGT", "--ccache", str(cache), url],
        {},
        cache=cache,
    )


_TIME = r"(\d\d/\d\d/\d\d \d\d:\d\d:\d\d)"
_LINE = re.compile(rf"^{_TIME}  {_TIME}  (\S+)$")


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, "%m/%d/%y %H:%M:%S").replace(tzinfo=datetime.UTC)


def klist(cache: Path) -> tuple[str, tuple[Ticket, ...]]:
    """Read a credential cache with MIT's klist: the default principal and its tickets."""
    program = peers.mit_program("klist")
    done = subprocess.run(
        [program.path, "-f", "-e", "-c", f"FILE:{cache}"],
        env=peers.clean_environment({"LC_ALL": "C"}),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    principal = re.search(r"^Default principal: (.*)$", done.stdout, re.MULTILINE)
    assert principal is not None, done.stdout
    tickets: list[Ticket] = []
    # A ticket is one line of times and its name, then lines that begin with a tab.
    for head, *rest in _blocks(done.stdout.splitlines()):
        match = _LINE.match(head)
        assert match is not None, head
        more = " ".join(rest)
        renew = re.search(rf"renew until {_TIME}", more)
        flags = re.search(r"Flags: (\w+)", more)
        etypes = re.search(r"Etype \(skey, tkt\): (\S+), (\S+)", more)
        assert etypes is not None, done.stdout
        tickets.append(
            Ticket(
                service=match[3],
                starts=_time(match[1]),
                expires=_time(match[2]),
                renew_until=_time(renew[1]) if renew else None,
                flags=flags[1] if flags else "",
                session_etype=etypes[1],
                ticket_etype=etypes[2],
            )
        )
    return principal[1], tuple(tickets)


def _blocks(lines: Sequence[str]) -> list[list[str]]:
    blocks: list[list[str]] = []
    for line in lines:
        if _LINE.match(line):
            blocks.append([line])
        elif line.startswith("\t") and blocks:
            blocks[-1].append(line.strip())
    return blocks


def heimdal_klist(cache: Path) -> str:
    """List a credential cache with Heimdal's own klist, in full."""
    run = _run(
        peers.heimdal_program("heimtools"),
        ["klist", "-v", "-c", f"FILE:{cache}"],
        {},
        cache=cache,
    )
    assert run.status == 0, run.explain()
    return run.output
