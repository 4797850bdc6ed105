"""Damage valid AS-REQs and send them to a running server: `python -m tests.fuzz.wire_mutator`.

The oracle. M is a message sent, made from valid requests S1..Sn (one, and others to splice from);
no Si is sent before its mutants. Of every M all of this must be true:

1. M gets exactly one answer when its first octet is that of an AS-REQ or a TGS-REQ, none otherwise
   (by TCP the connection is closed), and 61 for a TCP length over the limit. A TCP connection may
   be closed instead for overload, as often as the server's counter of that says and no oftener.
2. The answer is a KRB-ERROR with a code of the registry, or an AS-REP.
3. An AS-REP needs an Si whose proof is in M unaltered:
     PKINIT    the KDC-REQ-BODY and the AuthPack (eContent) of Si, octet for octet: so the damage
               lies outside of both, where the signature does not reach;
     password  the ciphertext of Si's timestamp (RFC 4120 protects no more of a request).
   And it is for Si's signer: the ticket, opened with the service's key, and the part for the
   client, opened with Si's key-agreement key or password over M as sent, both name that account.
4. When its mutants are done, Si itself gets its AS-REP (opened as in 3), or KRB_AP_ERR_REPEAT if
   one of its mutants has used it up. So no mutant spoils the state for an honest request.

Of the server: the workers are the same processes at the end, the log knows of no death and no bug,
its counter of internal errors is 0, and so is the number of such audit records.
"""

import argparse
import random
import re
import selectors
import signal
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from directory.model import PrincipalKey
from directory.sealing import MasterKey
from directory.store import Store
from kdc.crypto.pkinit_kdf import ID_PKINIT_KDF_AH_SHA256, ID_PKINIT_KDF_AH_SHA512
from kdc.outcome import Outcome
from kdc.server.framing import frame
from kdc.wire.constants import ErrorCode, KdcOption, NameType, PaType
from kdc.wire.rfc4120 import METHOD_DATA, AsRep, AsReq, KdcReqBody, KrbError
from pki import asn1, ca
from pki.ca import KeyType
from pki.errors import PkiError
from tests.fuzz.mutators import mutate, seeded
from tests.kdc import builders
from tests.kdc.builders import PASSWORD, PkinitRequest
from tests.pki import issued
from tests.rig.realm import LiveRealm, make_realm

Transport = Literal["udp", "tcp"]

SIGNERS = {
    "alice": KeyType.RSA_2048,
    "bob": KeyType.RSA_2048,
    "carol": KeyType.EC_P256,
}
MUTANTS_OF_ONE = 60
"""After so many a valid request is retired; the AuthPack of one that got a ticket is used up."""
POOL = 24
MAX_UDP_BYTES = 60_000
ANSWER_S = 10.0
"""An answer that takes longer never comes."""
TOKEN_LIFE_S = 120
_AS_REP, _KRB_ERROR = 0x6B, 0x7E


class BrokenOracleError(AssertionError):
    """The oracle is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Valid:
    """A valid request, what proves its signer in it, and how its reply is opened."""

    kind: str
    owner: str
    message: bytes
    proof: tuple[bytes, ...]
    open_reply: Callable[[bytes, bytes], str] = field(repr=False)
    """(message as sent, AS-REP) -> whom it names; raises when it does not open."""

    def is_in(self, message: bytes) -> bool:
        """Tell whether the whole proof is in a message, unaltered."""
        return all(part in message for part in self.proof)


# -- valid requests --------------------------------------------------------------------------


class _Opener(builders.Kdc):
    """What opening a ticket needs of a KDC: its store."""

    def __init__(self, store: Store) -> None:
        self.store = store


def _issued(reply: bytes) -> Outcome:
    return Outcome(reply=reply, exchange="AS", code=0, why="", reference="")


class Requests:
    """Makes valid requests of every kind for a prepared realm."""

    KINDS = (
        "modp14",
        "modp14-nonce",
        "modp14-freshness",
        "p256",
        "p256-kdf",
        "p256-all",
        "password",
    )

    def __init__(self, live: LiveRealm, rng: random.Random) -> None:
        master_key = MasterKey.load(live.state / "master.key")
        self._opener = _Opener(Store.open(live.state / "store.sqlite", master_key, read_only=True))
        self._live = live
        self._rng = rng
        self._count = 0
        self._token = b""
        self._token_until = 0.0

    def close(self) -> None:
        """Close the store."""
        self._opener.store.close()

    def make(self) -> Valid:
        """Make the next request: the kinds take turns."""
        kind = self.KINDS[self._count % len(self.KINDS)]
        self._count += 1
        return self._password() if kind == "password" else self._pkinit(kind)

    def _body(self, owner: str) -> KdcReqBody:
        now, rng = datetime.now(UTC).replace(microsecond=0), self._rng
        cname = builders.name(owner)
        if rng.random() < 0.2:
            cname = builders.name(f"{owner}@LAB.TEST", name_type=NameType.ENTERPRISE)
        options = rng.choice(
            (0, KdcOption.FORWARDABLE, KdcOption.RENEWABLE, KdcOption.CANONICALIZE)
        )
        service = builders.name("host", "web.lab.test") if rng.random() < 0.2 else builders.KRBTGT
        return replace(
            builders.BODY,
            kdc_options=options,
            cname=cname,
            sname=service,
            till=now + timedelta(hours=8),
            rtime=now + timedelta(days=2) if options == KdcOption.RENEWABLE else None,
            nonce=rng.randrange(2**31),
            etype=tuple(rng.sample(builders.ENCTYPES, k=rng.randrange(1, 5))),
        )

    def _pkinit(self, kind: str) -> Valid:
        rng = self._rng
        owner = rng.choice(tuple(SIGNERS))
        body = self._body(owner)
        everything = kind in ("p256-all", "modp14-freshness")
        extra = (builders.padata(PaType.REQ_ENC_PA_REP),) if rng.random() < 0.5 else ()
        sent = PkinitRequest(
            body=body,
            signer=issued.hello(owner, SIGNERS[owner]),
            group=kind.partition("-")[0],
            dh_nonce=rng.randbytes(32) if everything or kind == "modp14-nonce" else None,
            kdfs=(ID_PKINIT_KDF_AH_SHA256, ID_PKINIT_KDF_AH_SHA512)
            if kind in ("p256-kdf", "p256-all")
            else None,
            freshness_token=self._freshness_token() if everything else None,
            ctime=datetime.now(UTC).replace(microsecond=0),
            after=extra,
        ).build()
        content = asn1.encode(sent.auth_pack)

        def open_reply(message: bytes, reply: bytes) -> str:
            as_sent = replace(sent, message=message)
            opened = builders.open_reply(_issued(reply), as_sent, self._opener)
            return opened.ticket.cname.name_string[0]

        return Valid(
            kind=kind,
            owner=owner,
            message=sent.message,
            proof=(asn1.encode(body), content),
            open_reply=open_reply,
        )

    def _password(self) -> Valid:
        body = self._body("pat")
        key = builders.key_of(body.etype[0])
        stamp = builders.enc_timestamp(key, at=datetime.now(UTC).replace(microsecond=0))
        message = builders.as_req(body, stamp)

        def open_reply(sent: bytes, reply: bytes) -> str:
            # The body may be another: the one that was answered counts.
            answered = asn1.decode(AsReq, sent).req_body
            return self._open_password(reply, key, answered)

        return Valid(
            kind="password",
            owner="pat",
            message=message,
            proof=(stamp.padata_value[-40:],),
            open_reply=open_reply,
        )

    def _open_password(self, reply: bytes, key: PrincipalKey, body: KdcReqBody) -> str:
        opened = builders.open_password_reply(_issued(reply), key, self._opener, body)
        return opened.ticket.cname.name_string[0]

    def _freshness_token(self) -> bytes:
        """Ask the server for a token, as a client does, and use it for a while."""
        if time.monotonic() >= self._token_until:
            question = builders.as_req(self._body("alice"), builders.padata(PaType.AS_FRESHNESS))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(ANSWER_S)
                sock.connect((self._live.address, self._live.port))
                sock.send(question)
                error = asn1.decode(KrbError, sock.recv(65535))
            hints = asn1.decode_as(METHOD_DATA, error.e_data or b"")
            (self._token,) = (
                pa.padata_value for pa in hints if pa.padata_type == PaType.AS_FRESHNESS
            )
            self._token_until = time.monotonic() + TOKEN_LIFE_S
        return self._token


# -- mutants ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One message to send, and the valid requests in it."""

    message: bytes
    sources: tuple[Valid, ...]
    honest: bool = False
    """The valid request itself, after its mutants."""
    overlong: bool = False
    """TCP only: announced with a length over the limit."""

    @property
    def wants_answer(self) -> bool:
        """Tell whether the server must answer."""
        return self.overlong or self.message[:1] in (b"\x6a", b"\x6c")


def shots(requests: Requests, rng: random.Random) -> Iterator[Shot]:
    """Give mutants of a slowly changing pool of valid requests, without end."""
    pool = [requests.make() for _ in range(POOL)]
    left = [rng.randrange(1, MUTANTS_OF_ONE) for _ in pool]
    while True:
        at = rng.randrange(len(pool))
        valid = pool[at]
        others = rng.sample(pool, k=2)
        message = mutate(rng, valid.message, [o.message for o in others], max_bytes=MAX_UDP_BYTES)
        yield Shot(
            message=message,
            sources=(valid, *others),
            honest=message == valid.message,
            overlong=rng.random() < 0.01,
        )
        left[at] -= 1
        if left[at] <= 0:
            yield Shot(message=valid.message, sources=(valid,), honest=True)
            pool[at], left[at] = requests.make(), MUTANTS_OF_ONE


class Judge:
    """The oracle's rules 2 to 4, and the count of what was seen."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.honest: Counter[str] = Counter()
        self.mutant_tickets: Counter[str] = Counter()

    def judge(self, shot: Shot, reply: bytes) -> None:
        """Judge one answer. Raises BrokenOracleError."""
        if reply[:1] == bytes((_KRB_ERROR,)):
            self._error(shot, reply)
        elif reply[:1] == bytes((_AS_REP,)):
            self._ticket(shot, reply)
        else:
            raise BrokenOracleError(
                f"an answer that is neither AS-REP nor KRB-ERROR: {reply[:16].hex()}"
            )

    def _error(self, shot: Shot, reply: bytes) -> None:
        try:
            error = asn1.decode(KrbError, reply)
            code = ErrorCode(error.error_code)
        except (PkiError, ValueError):
            raise BrokenOracleError(f"a KRB-ERROR that does not read: {reply.hex()}") from None
        name = "overlong" if shot.overlong else "error"
        if shot.overlong and code != ErrorCode.KRB_ERR_FIELD_TOOLONG:
            raise BrokenOracleError(f"{code.name} for a length over the limit")
        self.codes[f"{int(code)} {code.name}" if name == "error" else "61 for a length"] += 1
        if shot.honest and not shot.overlong:
            self.honest[code.name] += 1
            if code != ErrorCode.KRB_AP_ERR_REPEAT:
                valid = shot.sources[0]
                raise BrokenOracleError(
                    f"{code.name} for a valid request ({valid.kind}, {valid.owner})"
                )

    def _ticket(self, shot: Shot, reply: bytes) -> None:
        if shot.overlong:
            raise BrokenOracleError("a ticket for a length over the limit")
        proven = [valid for valid in shot.sources if valid.is_in(shot.message)]
        if not proven:
            named = asn1.decode(AsRep, reply).cname.name_string
            raise BrokenOracleError(
                f"a ticket for {named}, whose proof is not in {shot.message.hex()}"
            )
        why = ""
        for valid in proven:
            try:
                named_account = valid.open_reply(shot.message, reply).lower()
            except Exception as error:  # noqa: BLE001 - it may be another's, see below
                why = f"{type(error).__name__}: {error}"
                continue
            if named_account != valid.owner:
                raise BrokenOracleError(f"a ticket for {named_account} on {valid.owner}'s proof")
            self.codes["0 AS-REP"] += 1
            (self.honest if shot.honest else self.mutant_tickets)[f"ticket {valid.kind}"] += 1
            return
        raise BrokenOracleError(
            f"a ticket that its signer cannot open ({why}): {shot.message.hex()}"
        )


# -- the wire --------------------------------------------------------------------------------


class Lane:
    """A socket with at most one message under way."""

    def __init__(self, transport: Transport, address: tuple[str, int]) -> None:
        self.transport = transport
        self._address = address
        self._sock: socket.socket | None = None
        self._buffer = b""
        self.shot: Shot | None = None
        self.since = 0.0

    def open(self) -> socket.socket:
        """Return the socket, connected anew if the server has closed it."""
        if self._sock is None:
            kind = socket.SOCK_DGRAM if self.transport == "udp" else socket.SOCK_STREAM
            self._sock = socket.socket(socket.AF_INET, kind)
            self._sock.settimeout(ANSWER_S)
            self._sock.connect(self._address)
            self._buffer = b""
        return self._sock

    def close(self) -> None:
        """Close the socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def send(self, shot: Shot) -> None:
        """Send a message; a TCP message goes out in two pieces."""
        self.shot, self.since = shot, time.monotonic()
        sock = self.open()
        if self.transport == "udp":
            sock.send(shot.message)
            return
        data = frame(shot.message)
        if shot.overlong:
            data = struct.pack(">I", 0x8000_0000 | len(shot.message)) + shot.message[:100]
        half = len(data) // 2
        # A close by the server is judged when its end of file is read.
        with suppress(ConnectionError):
            sock.sendall(data[:half])
            sock.sendall(data[half:])

    def receive(self) -> bytes | None:
        """Read what has arrived: a whole answer, b"" for a connection closed, None for neither."""
        sock = self.open()
        try:
            data = sock.recv(65536)
        except ConnectionError:
            data = b""
        if self.transport == "udp":
            return data
        if not data:
            return b""
        self._buffer += data
        size = int.from_bytes(self._buffer[:4], "big")
        if len(self._buffer) < 4 + size:
            return None
        answer, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
        if self._buffer:
            raise BrokenOracleError("more than one answer to one message")
        return answer


@dataclass(slots=True, kw_only=True)
class Figures:
    """What a run did."""

    messages: int = 0
    by_transport: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    silent: int = 0
    shed: int = 0
    """Closed without an answer that was due: by the server's own count for overload."""
    seconds: float = 0.0


class Driver:
    """Keeps every lane busy, and sends what must not be answered by sockets of its own."""

    def __init__(
        self, address: tuple[str, int], judge: Judge, *, udp_lanes: int = 24, tcp_lanes: int = 10
    ) -> None:
        self.figures = Figures()
        self._judge = judge
        self._selector = selectors.DefaultSelector()
        self._lanes = [Lane("udp", address) for _ in range(udp_lanes)]
        self._lanes += [Lane("tcp", address) for _ in range(tcp_lanes)]
        self._quiet = Lane("udp", address)

    def run(self, source: Iterator[Shot], *, messages: int, seconds: float, rate: float) -> None:
        """Send messages until there are enough or the time is over. Raises BrokenOracleError."""
        began = time.monotonic()
        free = list(self._lanes)
        busy: dict[int, Lane] = {}
        self._selector.register(self._quiet.open(), selectors.EVENT_READ, self._quiet)
        figures = self.figures
        while figures.messages < messages and time.monotonic() - began < seconds:
            due = messages if not rate else int((time.monotonic() - began) * rate) + 1
            while free and figures.messages < min(due, messages):
                self._dispatch(next(source), free, busy)
            self._collect(free, busy, 0.05 if busy else 0.001)
        end = time.monotonic() + ANSWER_S
        while busy and time.monotonic() < end:
            self._collect(free, busy, 0.2)
        self._collect(free, busy, 0.5)
        figures.seconds = time.monotonic() - began
        for lane in (*self._lanes, self._quiet):
            lane.close()
        if busy:
            raise BrokenOracleError(f"{len(busy)} messages without an answer")

    def _dispatch(self, shot: Shot, free: list[Lane], busy: dict[int, Lane]) -> None:
        figures = self.figures
        figures.messages += 1
        lane = free.pop()
        if shot.overlong and lane.transport == "udp":
            shot = replace(shot, overlong=False)
        figures.by_transport[lane.transport] += 1
        if not shot.wants_answer and lane.transport == "udp":
            figures.silent += 1
            self._quiet.send(shot)
            free.insert(0, lane)
            return
        lane.send(shot)
        sock = lane.open()
        self._selector.register(sock, selectors.EVENT_READ, lane)
        busy[sock.fileno()] = lane

    def _collect(self, free: list[Lane], busy: dict[int, Lane], wait_s: float) -> None:
        events = self._selector.select(wait_s)
        for key, _ in events:
            lane: Lane = key.data
            shot = lane.shot
            if lane is self._quiet or shot is None:
                raise BrokenOracleError(
                    f"an answer where silence was due: {lane.open().recv(100).hex()}"
                )
            answer = lane.receive()
            if answer is None:
                continue
            self._selector.unregister(key.fileobj)
            del busy[key.fd]
            self._settle(lane, shot, answer)
            lane.shot = None
            free.insert(0, lane)
        if not events and busy:
            now = time.monotonic()
            late = [lane for lane in busy.values() if now - lane.since > ANSWER_S]
            if late and late[0].shot is not None:
                raise BrokenOracleError(
                    f"no answer by {late[0].transport}: {late[0].shot.message.hex()}"
                )

    def _settle(self, lane: Lane, shot: Shot, answer: bytes) -> None:
        if not answer and not shot.wants_answer:
            self.figures.silent += 1
            lane.close()
            return
        if not answer and lane.transport == "tcp":
            self.figures.shed += 1
            lane.close()
            return
        if not answer or not shot.wants_answer:
            kind = "a length over the limit, then " if shot.overlong else ""
            raise BrokenOracleError(
                f"{lane.transport}: {answer[:40].hex()} after {kind}{shot.message.hex()}"
            )
        self.figures.answers += 1
        self._judge.judge(shot, answer)
        if shot.overlong:
            lane.close()


# -- the server ------------------------------------------------------------------------------


def prepare(live: LiveRealm, folder: Path) -> None:
    """Make the accounts. Nobody is locked out, or pat's mutants would end pat's logons."""
    for name, key_type in SIGNERS.items():
        file = folder / f"{name}.pem"
        file.write_bytes(ca.certificate_to_pem(issued.hello(name, key_type).certificate_der))
        live.kdc("user", "add", name)
        live.kdc("key", "add", name, str(file))
    live.kdc("user", "add", "pat", "--password-stdin", stdin=f"{PASSWORD}\n")
    live.kdc("service", "add", "host/web.lab.test")


def make_prepared_realm(folder: Path) -> LiveRealm:
    """Make a realm that is ready to be served."""
    live = make_realm(folder / "state")
    toml = live.state / "kdc.toml"
    toml.write_text("lockout_threshold = 0\n" + toml.read_text())
    prepare(live, folder)
    return live


def workers_of(supervisor: int) -> dict[int, tuple[int, int]]:
    """List a supervisor's workers: pid -> (private KiB, open descriptors)."""
    found = {}
    for pid in map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()):
        status = Path(f"/proc/{pid}/status").read_text()
        private = int(status.partition("RssAnon:")[2].split()[0])
        found[pid] = (private, len(list(Path(f"/proc/{pid}/fd").iterdir())))
    return found


def audit_counts(file: Path) -> tuple[int, int]:
    """Count the audit records, and those of internal errors."""
    records = bugs = 0
    with file.open("rb") as lines:
        for line in lines:
            records += 1
            bugs += b"internal error" in line or b"internal_error" in line
    return records, bugs


def complaints(log: Path) -> list[str]:
    """List the lines of a server's log that tell of a death, a bug or an alarm of its own."""
    bad = ("ended with", "bug:", "Traceback", "is started again", "audit record lost")
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if any(word in line for word in bad)]


def counters_of(live: LiveRealm) -> dict[str, int]:
    """Ask a server for its counters: SIGUSR1 makes it write them to its log."""
    process = live.process
    if process is None:
        return {}
    earlier = live.log.stat().st_size
    process.send_signal(signal.SIGUSR1)
    end = time.monotonic() + ANSWER_S
    while time.monotonic() < end:
        said = live.log.read_bytes()[earlier:].decode(errors="replace")
        if "counters: " in said and said.endswith("\n"):
            return {name: int(count) for name, count in re.findall(r"(kdc_\w+)=(\d+)", said)}
        time.sleep(0.05)
    return {}


@dataclass(slots=True, kw_only=True)
class Report:
    """The result of a run; `findings` is empty when the oracle held."""

    figures: Figures
    judge: Judge
    audit_records: int
    counters: dict[str, int]
    workers_before: dict[int, tuple[int, int]]
    workers_after: dict[int, tuple[int, int]]
    findings: list[str]

    def lines(self) -> Iterator[str]:
        """Give the report as text."""
        figures = self.figures
        speed = figures.messages / max(figures.seconds, 0.001)
        sent = ", ".join(f"{n} {name}" for name, n in sorted(figures.by_transport.items()))
        yield f"{figures.messages} messages ({sent}) in {figures.seconds:.0f} s, {speed:.0f}/s"
        yield (
            f"{figures.answers} answers, {figures.silent} rightly without one, "
            f"{figures.shed} connections shed"
        )
        yield "server's counters: " + ", ".join(f"{k} {v}" for k, v in self.counters.items() if v)
        yield f"{self.audit_records} audit records"
        yield "tickets for mutants: " + _listed(self.judge.mutant_tickets)
        yield "valid requests at the end of their turn: " + _listed(self.judge.honest)
        yield "codes: " + _listed(self.judge.codes)
        for pid, (private, descriptors) in self.workers_after.items():
            before = self.workers_before.get(pid, (0, 0))
            yield (
                f"worker {pid}: {before[0]} -> {private} KiB private, "
                f"{before[1]} -> {descriptors} descriptors"
            )
        yield from (f"FINDING: {finding}" for finding in self.findings)
        if not self.findings:
            yield "no finding"


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in counter.most_common()) or "none"


WARM_UP = 2000


def attack(
    live: LiveRealm, *, messages: int, seconds: float, rate: float = 0.0, seed: int = 1
) -> Report:
    """Run the mutator against a served realm and judge the server afterwards."""
    process = live.process
    judge = Judge()
    driver = Driver((live.address, live.port), judge)
    rng = seeded("wire", seed)
    requests = Requests(live, rng)
    findings: list[str] = []
    earlier = audit_counts(live.state / "audit.jsonl")[0]
    began = time.monotonic()
    before: dict[int, tuple[int, int]] = {}
    try:
        source = shots(requests, rng)
        driver.run(source, messages=min(WARM_UP, messages), seconds=seconds, rate=rate)
        before = workers_of(process.pid) if process else {}
        if messages > WARM_UP:
            # One run, in two parts: memory is compared with what it was after warming up.
            rest = Driver((live.address, live.port), judge)
            rest.figures = driver.figures
            left = seconds - (time.monotonic() - began)
            rest.run(source, messages=messages, seconds=left, rate=rate)
    except BrokenOracleError as finding:
        findings.append(str(finding))
    finally:
        requests.close()
    driver.figures.seconds = time.monotonic() - began
    after = workers_of(process.pid) if process else {}
    records, bugs = audit_counts(live.state / "audit.jsonl")
    counters = counters_of(live)
    if process and counters.get("kdc_internal_errors_total") != 0:
        findings.append("the server counts internal errors, or does not say its counters")
    if process and driver.figures.shed > counters.get("kdc_connections_shed_total", 0):
        findings.append(f"{driver.figures.shed} connections closed without an answer")
    if set(before) != set(after):
        findings.append(f"workers changed: {sorted(before)} before, {sorted(after)} after")
    if bugs:
        findings.append(f"{bugs} audit records of internal errors")
    findings += complaints(live.log) if process else []
    return Report(
        figures=driver.figures,
        judge=judge,
        audit_records=records - earlier,
        counters=counters,
        workers_before=before,
        workers_after=after,
        findings=findings,
    )


@contextmanager
def served_realm(state: Path | None, address: str) -> Iterator[LiveRealm]:
    """Serve a realm of our own by two workers, or take the running one that is pointed at."""
    with tempfile.TemporaryDirectory(prefix="keytrust-wire-") as folder:
        if state is None:
            with make_prepared_realm(Path(folder)).served(workers=2) as live:
                yield live
            return
        host, _, port = address.rpartition(":")
        live = LiveRealm(state=state, address=host, port=int(port))
        prepare(live, Path(folder))
        yield live


def main() -> int:
    """Attack, and print the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=720.0)
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second; 0: no limit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--state", type=Path, help="state folder of a running realm without these accounts"
    )
    parser.add_argument("--address", default="127.0.0.1:88", help="of the running realm")
    options = parser.parse_args()
    with served_realm(options.state, options.address) as live:
        report = attack(
            live,
            messages=options.messages,
            seconds=options.seconds,
            rate=options.rate,
            seed=options.seed,
        )
        print("\n".join(report.lines()))
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
