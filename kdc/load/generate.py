"""Requests made before the load begins, by several processes, and replies verified after it.

Rules
  1. Nothing is signed, encrypted or encoded while the load runs: the generator's work would be
     measured with the server's.
  2. Every request is distinct, and timed for the moment at which it will be sent: proofs are good
     for a clock skew only.
  3. A process keeps the exchange of each sampled request, and judges its reply as a client does:
     KDC's signature and certificate chain, key agreement, reply key, names, nonce and times.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from mmap import ACCESS_READ, mmap
from multiprocessing.connection import Connection
from typing import IO, Protocol

from kdc.client.as_exchange import AsExchange, AsOptions, AsResult, client_name
from kdc.client.errors import ClientError
from kdc.client.mechanism import Mechanism
from kdc.client.password import PasswordMechanism
from kdc.client.pkinit import PkinitMechanism, PkinitOptions
from kdc.client.tgs_exchange import TgsExchange, TgsOptions, service_name
from kdc.client.transport import KdcAddress, exchange
from kdc.crypto.key_agreement import Group, KeyPair, generate
from kdc.formats.ccache import Credential
from kdc.load.people import People, Person, load_signer
from kdc.load.plan import PlanError, Work, WorkKind
from pki.cms_sign import CmsSigner
from pki.errors import PkiError

KEY_PAIRS = 16
"""Key-agreement keys of the clients; each is used by many, since only the KDC is measured."""
MAX_SIGNERS = 4096  # keys in memory, for each process
MAX_TGTS = 256  # for each process
REPORT_EVERY = 50

Progress = Callable[[int], None]


class GenerateError(Exception):
    """Requests could not be made; the text says for whom and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The realm and KDC of the load, as clients know them."""

    realm: str
    domain: str
    """DNS name that the KDC's certificate must have."""
    anchors: tuple[bytes, ...]
    """DER of the CAs that the KDC's certificate may chain to."""
    address: KdcAddress
    service: str = ""
    """SPN that service tickets are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to make: request n is of kind works[kinds[n]], sent offsets[n] seconds after start."""

    works: tuple[Work, ...]
    kinds: Sequence[int]
    offsets: Sequence[float]
    start: datetime
    """When the load is expected to begin."""
    sampled: frozenset[int]
    """Requests whose replies are verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What verification of a sampled reply found."""

    number: int
    good: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Made:
    """So many more requests are made."""

    number: int


@dataclass(frozen=True, slots=True)
class _Share:
    """All requests of a process are made and written; these are their lengths."""

    lengths: list[int]


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why a process could not make its requests."""

    why: str


_Report = _Made | _Share | _Failed | Verdict


class _Exchange(Protocol):
    def start(self, now: datetime) -> bytes: ...

    def receive(self, message: bytes, now: datetime) -> object: ...


class _KnownSaltMechanism(PasswordMechanism):
    """A password whose salt is the usual one, so that no hints are asked for first."""

    asks_first = False


@dataclass(slots=True)
class _Maker:
    """Makes requests, in one process."""

    target: Target
    people: People
    now: datetime
    signers: dict[str, CmsSigner] = field(default_factory=dict)
    passwords: dict[str, _KnownSaltMechanism] = field(default_factory=dict)
    tgts: list[Credential] = field(default_factory=list)
    _next_pairs: dict[str, "cycle[KeyPair]"] = field(default_factory=dict)

    def exchange(self, work: Work, turn: int) -> _Exchange:
        """Make the exchange of a request. turn: which request of the load it is."""
        if work.kind == "tgs":
            options = TgsOptions(server=service_name(self.target.service), realm=self.target.realm)
            return TgsExchange(options, self.tgts[turn % len(self.tgts)], os.urandom)
        people = self.people.of(work.kind)
        return self.logon(people[turn % len(people)], work)

    def logon(self, person: Person, work: Work) -> AsExchange:
        """Make the exchange of a logon."""
        options = AsOptions(client=client_name(person.name), realm=self.target.realm)
        return AsExchange(options, self._mechanism(person, work), os.urandom)

    def _mechanism(self, person: Person, work: Work) -> Mechanism:
        if work.kind == "password":
            found = self.passwords.get(person.name)
            if found is None:
                found = self.passwords[person.name] = _KnownSaltMechanism(person.password)
            return found
        options = PkinitOptions(
            anchors=self.target.anchors,
            domain=self.target.domain,
            group=work.group,
            dh_nonce=work.dh_nonce,
            freshness=False,
            # Heimdal 7.8 reads on where the member ends that it knows, takes paChecksum2 for what
            # should follow and clientPublicValue for absent, and answers with RSA encryption.
            checksum2=False,
        )
        return PkinitMechanism(self._signer(person), options, self._pair)

    def _signer(self, person: Person) -> CmsSigner:
        signer = self.signers.get(person.name)
        if signer is None:
            if len(self.signers) >= MAX_SIGNERS:
                self.signers.clear()
            signer = self.signers[person.name] = load_signer(person, self.now)
        return signer

    def _pair(self, group: Group) -> KeyPair:
        pairs = self._next_pairs.get(group.name)
        if pairs is None:
            made = [generate(group) for _ in range(KEY_PAIRS)]
            pairs = self._next_pairs[group.name] = cycle(made)
        return next(pairs)

    def get_tgts(self, number: int) -> None:
        """Log on for real, so many times: what a service ticket is asked for with."""
        for person, kind in self._logons()[:number]:
            group = "" if kind == "password" else "p256"
            logon = self.logon(person, Work(name=kind, kind=kind, group=group))
            now = datetime.now(UTC)
            try:
                answer: bytes | AsResult = logon.start(now)
                while isinstance(answer, bytes):
                    reply, _ = exchange(self.target.address, answer)
                    answer = logon.receive(reply, datetime.now(UTC))
            except ClientError as error:
                raise GenerateError(f"{person.name} got no TGT: {error}") from None
            self.tgts.append(answer.credential)

    def _logons(self) -> list[tuple[Person, WorkKind]]:
        return [
            *((person, "keytrust") for person in self.people.keytrust),
            *((person, "cert") for person in self.people.cert),
            *((person, "password") for person in self.people.password),
        ]


def _work(
    place: int,
    of: int,
    order: Order,
    target: Target,
    people: People,
    blob: IO[bytes],
    pipe: Connection,
    parent: int,
) -> None:
    """Run one builder process: make every request n with n % of == place, then judge replies.

    It ends when its parent is gone. The pipe's end of file is not enough to know that: processes
    that were forked later hold its other end open.
    """
    try:
        maker = _Maker(target=target, people=people, now=datetime.now(UTC))
        if any(work.kind == "tgs" for work in order.works):
            maker.get_tgts(max(1, min(MAX_TGTS, len(people.of("tgs")))))
        kept: dict[int, _Exchange] = {}
        lengths: list[int] = []
        for done, number in enumerate(range(place, len(order.kinds), of), 1):
            if os.getppid() != parent:
                return
            moment = order.start + timedelta(seconds=order.offsets[number])
            one = maker.exchange(order.works[order.kinds[number]], number)
            message = one.start(moment)
            blob.write(message)
            lengths.append(len(message))
            if number in order.sampled:
                kept[number] = one
            if done % REPORT_EVERY == 0:
                pipe.send(_Made(REPORT_EVERY))
        blob.flush()
        pipe.send(_Share(lengths))
        while not pipe.poll(0.5):
            if os.getppid() != parent:
                return
        for number, reply in pipe.recv():
            try:
                kept[number].receive(reply, datetime.now(UTC))
                pipe.send(Verdict(number=number, good=True))
            except ClientError as error:
                pipe.send(Verdict(number=number, good=False, why=str(error)))
    except (GenerateError, PlanError, PkiError, OSError, ClientError) as error:
        pipe.send(_Failed(str(error)))
    except (EOFError, KeyboardInterrupt):
        pass


class Generator:
    """The builder processes of a load. `close` ends them."""

    def __init__(self, order: Order, target: Target, people: People, processes: int) -> None:
        """Start making the requests; `messages` waits for them."""
        self._order = order
        self._count = len(order.kinds)
        # A fork: the makers share what was read. The command line has one thread.
        context = multiprocessing.get_context("fork")
        self._blobs: list[IO[bytes]] = []
        self._pipes: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        for place in range(processes):
            blob = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as its messages
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work,
                args=(place, processes, order, target, people, blob, theirs, os.getpid()),
                daemon=True,
            )
            process.start()
            theirs.close()
            self._blobs.append(blob)
            self._pipes.append(ours)
            self._processes.append(process)

    def messages(self, progress: Progress) -> list[memoryview]:
        """Wait until all requests are made and return them. Raises GenerateError."""
        shares: list[list[memoryview]] = []
        made = 0
        for pipe, blob in zip(self._pipes, self._blobs, strict=True):
            while True:
                report = self._receive(pipe)
                if isinstance(report, _Failed):
                    raise GenerateError(report.why)
                if isinstance(report, _Share):
                    shares.append(_slices(blob, report.lengths))
                    break
                if isinstance(report, _Made):
                    made += report.number
                    progress(made)
        out: list[memoryview] = []
        for number in range(self._count):
            out.append(shares[number % len(shares)][number // len(shares)])
        return out

    def verify(self, replies: Sequence[tuple[int, bytes]]) -> list[Verdict]:
        """Judge the replies of sampled requests. To be called once, after `messages`."""
        number = len(self._pipes)
        shares: list[list[tuple[int, bytes]]] = [[] for _ in range(number)]
        for one in replies:
            shares[one[0] % number].append(one)
        out: list[Verdict] = []
        for pipe, share in zip(self._pipes, shares, strict=True):
            pipe.send(share)
            for _ in share:
                found = self._receive(pipe)
                if not isinstance(found, Verdict):
                    raise GenerateError("a process of the generator ended early")
                out.append(found)
        return sorted(out, key=lambda verdict: verdict.number)

    def _receive(self, pipe: Connection) -> _Report:
        try:
            found: _Report = pipe.recv()
        except (EOFError, OSError):
            raise GenerateError("a process of the generator ended early") from None
        return found

    def close(self) -> None:
        """End the processes at once: what they still do is of use to nobody."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        # Not before: whoever was about to report would find nobody there.
        for pipe in self._pipes:
            pipe.close()


def _slices(blob: IO[bytes], lengths: Sequence[int]) -> list[memoryview]:
    view = memoryview(mmap(blob.fileno(), 0, access=ACCESS_READ))
    out, at = [], 0
    for length in lengths:
        out.append(view[at : at + length])
        at += length
    return out
