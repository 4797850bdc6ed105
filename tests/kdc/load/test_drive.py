"""Sending a load: every request once, its reply told apart, its end named; open and closed."""

from datetime import UTC, datetime

import pytest

from kdc.load.drive import DriveOptions, drive
from kdc.load.measure import (
    CLOSED_CONNECTION,
    NO_REPLY,
    NOT_SENT,
    REFUSED_CONNECTION,
    TICKET,
    UNREADABLE,
    Record,
)
from kdc.load.plan import Transport, closed, steady
from kdc.wire.constants import PVNO, ErrorCode, MessageType, NameType
from kdc.wire.rfc4120 import KrbError, PrincipalName
from pki import asn1
from tests.kdc.load.fake_kdc import fake_kdc

pytestmark = pytest.mark.slow

AS_REP = b"\x6b\x00"
TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tcp-kept")


def messages(number: int) -> list[memoryview]:
    return [memoryview(b"request %06d" % n) for n in range(number)]


def never(_record: Record, _sent: int, _seconds: float) -> bool:
    return False


def krb_error(code: ErrorCode) -> bytes:
    return asn1.encode(
        KrbError(
            pvno=PVNO,
            msg_type=MessageType.KRB_ERROR,
            stime=datetime.now(UTC).replace(microsecond=0),
            susec=0,
            error_code=code,
            realm="LAB.TEST",
            sname=PrincipalName(name_type=NameType.SRV_INST, name_string=("krbtgt", "LAB.TEST")),
        )
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_open_load_sends_each_request_once(transport: Transport) -> None:
    """All are answered, and the replies of sampled ones are kept."""
    with fake_kdc(lambda _: AS_REP) as kdc:
        options = DriveOptions(address=kdc.address, transport=transport, connections=4)
        sampled = frozenset((0, 99))
        record, replies = drive(messages(100), steady(1000, 0.1), options, sampled, never)
    assert sorted(kdc.received) == [bytes(m) for m in messages(100)]
    assert set(record.ends) == {TICKET}
    assert sorted(replies) == [(0, AS_REP), (99, AS_REP)]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_closed_load_sends_each_request_once(transport: Transport) -> None:
    """The next request goes when a reply has come."""
    with fake_kdc(lambda _: AS_REP) as kdc:
        options = DriveOptions(address=kdc.address, transport=transport, connections=4)
        record, _ = drive(messages(100), closed(4, 100), options, frozenset(), never)
    assert len(kdc.received) == 100
    assert set(record.ends) == {TICKET}


def test_kept_connections_are_used_again() -> None:
    """Hundred requests over four connections."""
    with fake_kdc(lambda _: AS_REP) as kdc:
        options = DriveOptions(address=kdc.address, transport="tcp-kept", connections=4)
        drive(messages(100), closed(4, 100), options, frozenset(), never)
    assert kdc.connections == 4


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_code_of_a_refusal_is_noted(transport: Transport) -> None:
    """A KRB-ERROR is no ticket; its code is what the end says."""
    refusal = krb_error(ErrorCode.KDC_ERR_CLIENT_REVOKED)
    with fake_kdc(lambda _: refusal) as kdc:
        options = DriveOptions(address=kdc.address, transport=transport)
        record, _ = drive(messages(3), closed(1, 3), options, frozenset((0,)), never)
    assert list(record.ends) == [ErrorCode.KDC_ERR_CLIENT_REVOKED] * 3


def test_a_reply_that_is_no_kerberos_message_is_unreadable() -> None:
    """Neither a ticket nor an error."""
    with fake_kdc(lambda _: b"hello") as kdc:
        options = DriveOptions(address=kdc.address)
        record, _ = drive(messages(1), closed(1, 1), options, frozenset(), never)
    assert list(record.ends) == [UNREADABLE]


def test_a_request_without_a_reply_ends_with_its_time() -> None:
    """The others are not held up by it."""
    lost = b"request 000001"
    with fake_kdc(lambda m: None if m == lost else AS_REP) as kdc:
        options = DriveOptions(address=kdc.address, timeout_s=0.2)
        record, _ = drive(messages(4), steady(100, 0.04), options, frozenset(), never)
    assert list(record.ends) == [TICKET, NO_REPLY, TICKET, TICKET]
    assert record.answered[1] == 0


@pytest.mark.parametrize("transport", ["tcp", "tcp-kept"])
def test_a_closed_connection_is_told_apart(transport: Transport) -> None:
    """The fake server hangs up instead of answering; kept connections are opened anew."""
    lost = b"request 000001"
    with fake_kdc(lambda m: None if m == lost else AS_REP) as kdc:
        options = DriveOptions(address=kdc.address, transport=transport, connections=1)
        record, _ = drive(messages(4), closed(1, 4), options, frozenset(), never)
    assert list(record.ends) == [TICKET, CLOSED_CONNECTION, TICKET, TICKET]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_port_without_a_server_refuses_each_request(transport: Transport) -> None:
    """The load ends by itself; nothing waits for a server that is not there."""
    with fake_kdc(lambda _: AS_REP) as kdc:
        address = kdc.address
    options = DriveOptions(address=address, transport=transport, timeout_s=0.3, connections=2)
    record, _ = drive(messages(5), closed(1, 5), options, frozenset(), never)
    assert set(record.ends) <= {REFUSED_CONNECTION, NO_REPLY}


def test_a_load_that_is_stopped_leaves_the_rest_unsent() -> None:
    """A ramp ends when it was too much."""
    with fake_kdc(lambda _: AS_REP) as kdc:
        options = DriveOptions(address=kdc.address)
        record, _ = drive(messages(2000), steady(1000, 2), options, frozenset(), lambda *_: True)
    assert record.ends[0] == TICKET
    assert record.ends[1999] == NOT_SENT
    assert len(record.sent_numbers()) < 1000
