"""Every case of `rows.toml` over UDP and TCP: code and reason, and its control beside it."""

import os
import socket

import pytest

import tests.negative.cases  # noqa: F401  registers the cases
from tests.negative.conftest import Targets
from tests.negative.engine import CASES, exchange, run
from tests.negative.rows import all_cases
from tests.negative.wire.kerberos import user
from tests.negative.wire.logon import Plain
from tests.negative.wire.transport import Transport, frame, read_framed
from tests.negative.world import World
from tests.rig import peers

pytestmark = pytest.mark.e2e

ROWS = all_cases()

# A dropped message is waited for in vain; a reply on the loopback takes a millisecond.
_DROP_S = 0.4
_REPLY_S = 5.0

PINNED = [
    pytest.param(
        case_id,
        transport,
        id=f"{case_id}-{transport}",
        marks=(
            [pytest.mark.xfail(strict=True, reason=ROWS[case_id].reason)]
            if ROWS[case_id].status == "fault"
            else []
        ),
    )
    for case_id, case in CASES.items()
    if case_id in ROWS
    for transport in case.transports
]


@pytest.mark.parametrize(("case_id", "transport"), PINNED)
def test_row(targets: Targets, case_id: str, transport: Transport) -> None:
    """A KDC answers this input with the pinned code, for the pinned reason, and nobody gets more.

    Replies are opened with the client's own key; a ticket for another identity, or one that its
    client cannot open, fails whatever was expected.
    """
    case = CASES[case_id]
    expected = ROWS[case_id].expected[transport]
    targets.need_control(case.control, case.realm, transport)
    target = targets.get(case.realm)
    made = exchange(case.build(target.world))
    if made.source_port and os.geteuid() != 0:
        peers.missing(f"permission for port {made.source_port}", "run as root")
    wait_s = _DROP_S if expected.kind == "nothing" else _REPLY_S
    got = run(target.world, made, transport, timeout_s=wait_s)
    records = target.audit.of(transport, got.port)
    why = str(records[-1]["why"]) if records else ""
    code = got.error.code if got.error else 0
    assert (got.kind, code, why) == (expected.kind, expected.code, expected.why)
    if made.check is not None:
        made.check(target.world, got)
    for record in records:
        for value in record.values():
            assert not isinstance(value, str) or value.isprintable(), "not escaped in the audit log"
    if got.error is not None and got.error.reference:
        assert records[-1]["ref"] == got.error.reference
        assert got.error.e_text.count(" ") == 2, "e-text says more than code name and reference"
    if got.error is not None:
        assert got.error.cname is None or got.error.code == 6


def _messages(world: World) -> dict[str, Plain]:
    return {
        "plain": world.plain("pat"),
        "password": world.password(),
        "pkinit": world.pkinit(),
    }


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("kind", ["plain", "password", "pkinit"])
def test_message_cut_at_every_octet(targets: Targets, kind: str, transport: Transport) -> None:
    """Row E03: a message cut at any octet is refused as truncated; the empty one is dropped."""
    targets.need_control("password", "main", transport)
    targets.need_control("pkinit", "main", transport)
    target = targets.get("main")
    whole = _messages(target.world)[kind].message()
    port, codes = _send_all(target.world, [whole[:end] for end in range(1, len(whole))], transport)
    assert set(codes) == {60}
    # The port may have had another owner before.
    records = target.audit.of(transport, port)[-len(codes) :]
    reasons = {str(record["why"]) for record in records}
    assert reasons == {"the message is not valid DER: truncated"}


def _send_all(world: World, messages: list[bytes], transport: Transport) -> tuple[int, list[int]]:
    """Send messages from one socket, one after the other; return its port and their codes."""
    from tests.negative.wire.kerberos import KrbError, read_reply

    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    codes = []
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(_REPLY_S)
        sock.connect(world.address)
        for message in messages:
            sock.sendall(message if transport == "udp" else frame(message))
            reply = read_reply(sock.recv(65536) if transport == "udp" else read_framed(sock))
            assert isinstance(reply, KrbError), "a ticket for a piece of a message"
            codes.append(reply.code)
        return int(sock.getsockname()[1]), codes


HIDDEN_STATES = ("disabled", "locked", "expired", "card", "alice", "must_change", "hours")


@pytest.mark.parametrize("state", HIDDEN_STATES)
@pytest.mark.parametrize("proof", ["none", "password", "key"])
def test_hidden_names_are_answered_alike(targets: Targets, state: str, proof: str) -> None:
    """Row A08: with hide_unknown a stranger cannot tell this account from one that is not there."""
    world = targets.world("hidden")

    def ask(name: str) -> tuple[int, int, dict[int, int]]:
        logon: Plain
        if proof == "none":
            logon = world.plain("pat")
        elif proof == "password":
            logon = world.password(wrong=True)
        else:
            logon = world.pkinit("pat", by=world.stranger("rsa"))
        logon.body.cname = user(name)
        got = run(world, exchange(logon), "udp")
        assert got.error is not None
        hints = got.error.method_data() if got.error.e_data else {}
        return got.error.code, len(got.error.e_text), {k: len(v) for k, v in hints.items()}

    name = world.person(state).name
    # The salt in the hints is as long as the name.
    assert ask(name) == ask("q" * len(name))
