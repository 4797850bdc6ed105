"""RFC 4533: what a change stream says, message by message."""

import pytest

from directory.ldap import ber
from directory.ldap.ber import BerError
from directory.ldap.messages import SYNC_INFO, SYNC_STATE, Entry, Intermediate, Result
from directory.ldap.syncrepl import (
    MAX_COOKIE_BYTES,
    SyncStateKind,
    SyncStream,
    cookie_from_csns,
    request_control,
)
from tests.directory.ldap.builders import guid


def state(kind: int, number: int, cookie: bytes | None = None) -> dict[str, bytes]:
    """Make the Sync State Control of an entry."""
    value = ber.tlv(
        ber.SEQUENCE,
        ber.integer(kind, ber.ENUMERATED),
        ber.octets(guid(number).bytes),
        b"" if cookie is None else ber.octets(cookie),
    )
    return {SYNC_STATE: value}


def entry(kind: int, number: int, cookie: bytes | None = None) -> Entry:
    return Entry(dn=f"cn={number}", attributes={}, controls=state(kind, number, cookie))


def phase(tag: int, *, cookie: bytes | None = None, done: bool | None = None) -> Intermediate:
    """Make refreshDelete (A1) or refreshPresent (A2)."""
    parts = b"" if cookie is None else ber.octets(cookie)
    parts += b"" if done is None else ber.boolean(done)
    return Intermediate(SYNC_INFO, ber.tlv(tag, parts))


def ids(numbers: tuple[int, ...], *, deletes: bool) -> Intermediate:
    """Make a syncIdSet."""
    listed = ber.tlv(ber.SET, *(ber.octets(guid(number).bytes) for number in numbers))
    flag = ber.boolean(True) if deletes else b""
    return Intermediate(SYNC_INFO, ber.tlv(0xA3, flag, listed))


def test_refresh_that_knows_what_was_deleted() -> None:
    """RFC 4533 3.3.2: entries, then refreshDelete, then the persist stage."""
    stream = SyncStream(b"old")
    assert stream.take(entry(SyncStateKind.ADD, 1)).entry is not None
    assert stream.take(ids((2, 3), deletes=True)).deleted == (guid(2), guid(3))
    step = stream.take(phase(0xA1, cookie=b"new"))
    assert (step.refreshed, step.only) == (True, None)
    assert (stream.cookie, stream.is_live) == (b"new", True)


def test_present_phase_names_all_that_is_left() -> None:
    """RFC 4533 3.3.1: what is neither named nor sent is gone."""
    stream = SyncStream(None)
    stream.take(ids((1, 2), deletes=False))
    stream.take(entry(SyncStateKind.PRESENT, 3))
    stream.take(entry(SyncStateKind.ADD, 4))
    assert not stream.take(phase(0xA2, done=False)).refreshed
    step = stream.take(phase(0xA1))
    assert step.refreshed
    assert step.only == frozenset(guid(number) for number in (1, 2, 3, 4))


def test_changes_of_the_persist_stage() -> None:
    """RFC 4533 3.4.2: an entry as it is, or only that it is gone, each with a cookie."""
    stream = SyncStream(None)
    stream.take(phase(0xA2))
    assert stream.take(entry(SyncStateKind.MODIFY, 1, b"c1")).entry is not None
    assert stream.take(entry(SyncStateKind.DELETE, 1, b"c2")).deleted == (guid(1),)
    assert stream.cookie == b"c2"
    stream.take(Intermediate(SYNC_INFO, ber.octets(b"c3", 0x80)))
    assert stream.cookie == b"c3"


def test_second_end_of_a_refresh_deletes_nothing() -> None:
    """The present set belongs to the refresh alone."""
    stream = SyncStream(None)
    stream.take(ids((1,), deletes=False))
    assert stream.take(phase(0xA2)).only is not None
    step = stream.take(phase(0xA2))
    assert (step.refreshed, step.only) == (False, None)


@pytest.mark.parametrize(
    "answer",
    [
        Entry(dn="cn=x", attributes={}),
        Entry(dn="cn=x", attributes={}, controls={SYNC_STATE: b"\x30\x00"}),
        Entry(dn="cn=x", attributes={}, controls={SYNC_STATE: b"junk"}),
        Intermediate(SYNC_INFO, b""),
        Intermediate(SYNC_INFO, ber.octets(b"x" * (MAX_COOKIE_BYTES + 1), 0x80)),
        Intermediate(SYNC_INFO, ber.tlv(0xA3, ber.tlv(ber.SET, ber.octets(b"short")))),
    ],
)
def test_message_that_is_malformed_ends_the_stream(answer: Entry | Intermediate) -> None:
    """A stream that cannot be understood is not followed."""
    with pytest.raises(BerError):
        SyncStream(None).take(answer)


def test_other_messages_say_nothing() -> None:
    """Unknown intermediate responses are passed over (RFC 4511 4.13)."""
    stream = SyncStream(b"c")
    stream.take(Intermediate("1.2.3", b"x"))
    stream.take(Result(code=0, diagnostic=""))
    assert stream.cookie == b"c"


def test_request_asks_to_persist() -> None:
    """RFC 4533 2.2: mode 3, and the cookie where there is one; measured against OpenLDAP 2.5."""
    assert request_control(None).value == bytes.fromhex("30030a0103")
    assert request_control(b"c").value == bytes.fromhex("30060a0103040163")


def test_cookie_of_a_moment() -> None:
    """OpenLDAP's own form, from contextCSN: one for each server of a pair."""
    assert cookie_from_csns((b"2#1", b"1#0")) == b"rid=000,csn=1#0;2#1"
    assert cookie_from_csns(()) is None
