"""Cases and controls: registering them, sending them, and judging what comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.negative.wire import crypto, der, kerberos
from tests.negative.wire.kerberos import KrbError
from tests.negative.wire.logon import Plain, Ticket, WrongTicketError
from tests.negative.wire.transport import Answer, Transport, send
from tests.negative.world import World

BOTH: tuple[Transport, ...] = ("udp", "tcp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came back: exactly one of ticket, error and nothing."""

    ticket: Ticket | None = None
    error: KrbError | None = None
    port: int

    @property
    def kind(self) -> Literal["ticket", "error", "nothing"]:
        """Name what came back."""
        return "ticket" if self.ticket else "error" if self.error else "nothing"

    def __str__(self) -> str:
        if self.error:
            return f"{self.error.code} {self.error.e_text}"
        return self.kind


Check = Callable[[World, Result], None]


@dataclass(kw_only=True)
class Exchange:
    """One message of a case."""

    logon: Plain
    """Who would open an AS-REP."""
    message: Callable[[bytes], bytes] = bytes
    """Changes the finished message."""
    first: tuple["Exchange", ...] = ()
    """Sent before, in this order; each must get what its `gets` says."""
    gets: int = 0
    """Of a message sent before: the error code it must get; 0: a ticket."""
    other_transport: bool = False
    """Of a message sent before: by the transport that the case itself does not use."""
    raw: bool = False
    """The message has its TCP length already."""
    source_port: int = 0
    check: Check | None = None
    """Looks closer at a reply that is of the right kind."""


Build = Callable[[World], Plain | Exchange]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One variant of a row."""

    id: str
    build: Build
    control: str
    realm: str
    transports: tuple[Transport, ...]


CASES: dict[str, Case] = {}
CONTROLS: dict[str, Build] = {}


def add(
    case_id: str,
    build: Build,
    *,
    control: str = "pkinit",
    realm: str = "main",
    transports: tuple[Transport, ...] = BOTH,
) -> None:
    """Register a case; control: the name of its request without the defect."""
    if case_id in CASES:
        raise ValueError(f"{case_id} is there twice")
    CASES[case_id] = Case(
        id=case_id, build=build, control=control, realm=realm, transports=transports
    )


def case(
    case_id: str,
    *,
    control: str = "pkinit",
    realm: str = "main",
    transports: tuple[Transport, ...] = BOTH,
) -> Callable[[Build], Build]:
    """Register the decorated function as a case."""

    def register(build: Build) -> Build:
        add(case_id, build, control=control, realm=realm, transports=transports)
        return build

    return register


def control(name: str) -> Callable[[Build], Build]:
    """Register the decorated function as a control: a request that must get a ticket."""

    def register(build: Build) -> Build:
        CONTROLS[name] = build
        return build

    return register


def exchange(made: Plain | Exchange) -> Exchange:
    """Wrap a logon that is sent as it is."""
    return made if isinstance(made, Exchange) else Exchange(logon=made)


def run(world: World, made: Exchange, transport: Transport, *, timeout_s: float = 5.0) -> Result:
    """Send a case's messages and open what the last one gets.

    Raises WrongTicketError for a ticket that its client cannot open or that is for another
    identity, and AssertionError when a message sent before got no ticket.
    """
    for earlier in made.first:
        other: Transport = "tcp" if transport == "udp" else "udp"
        got = run(world, earlier, other if earlier.other_transport else transport)
        assert (got.error.code if got.error else 0) == earlier.gets, f"sent before: {got}"
        assert earlier.gets or got.ticket is not None, f"sent before: {got}"
    answer = send(
        world.address,
        made.message(made.logon.message()),
        transport,
        timeout_s=timeout_s,
        raw=made.raw,
        source=("127.0.0.1", made.source_port) if made.source_port else None,
    )
    return judge(world, made.logon, answer)


def judge(world: World, logon: Plain, answer: Answer) -> Result:
    """Read a reply; open and check a ticket as its client would, with the client's own key."""
    if answer.reply is None:
        return Result(port=answer.port)
    try:
        reply = kerberos.read_reply(answer.reply)
        if isinstance(reply, KrbError):
            return Result(error=reply, port=answer.port)
        ticket = logon.open(reply)
        _check_identity(world, logon.owner, ticket)
    except der.UnreadableError as error:
        raise WrongTicketError(f"a reply that no client can read: {error}") from error
    return Result(ticket=ticket, port=answer.port)


def open_ticket(world: World, ticket: Ticket) -> bytes | None:
    """Decrypt a TGT as its KDC would; None where the krbtgt's key is not known.

    Raises WrongTicketError.
    """
    reply = ticket.reply
    key = world.krbtgt.get((reply.ticket_etype, reply.ticket_kvno or 0))
    if key is None or ticket.sname != kerberos.krbtgt(world.realm):
        return None
    try:
        return crypto.decrypt(reply.ticket_etype, key, crypto.USAGE_TICKET, reply.ticket_cipher)
    except crypto.WrongKeyError as error:
        raise WrongTicketError(f"a ticket that its service cannot open: {error}") from error


def _check_identity(world: World, owner: str, ticket: Ticket) -> None:
    name = "/".join(str(part) for part in ticket.cname.parts)
    if not owner or name.lower() != owner.lower() or ticket.crealm != world.realm:
        raise WrongTicketError(
            f"a ticket for {name}@{ticket.crealm}, proven by {owner or 'nobody'}"
        )
    plain = open_ticket(world, ticket)
    if plain is None:
        return
    inside = kerberos.read_ticket_part(plain)
    if (
        (inside.cname, inside.crealm) != (ticket.cname, ticket.crealm)
        or (inside.key_type, inside.key) != (ticket.part.key_type, ticket.part.key)
        or (inside.flags, inside.endtime) != (ticket.part.flags, ticket.part.endtime)
    ):
        raise WrongTicketError("a ticket that says inside something else than outside")
