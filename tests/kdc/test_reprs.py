"""Nothing secret has a printable repr (style.md, design requirement 17)."""

import gc
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest

from kdc.client.as_exchange import AsExchange, AsOptions, AsResult, client_name
from kdc.client.errors import ClientError
from kdc.client.password import PasswordMechanism
from kdc.wire.rfc3244 import SET_PASSWORD
from tests.kdc.builders import (
    PASSWORD,
    REALM,
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    enc_timestamp,
    key_of,
    open_password_reply,
    open_reply,
)
from tests.kdc.kpasswd_builders import (
    Change,
    add_password_service,
    ask_change,
    password_ticket,
)
from tests.rig.leaks import Secrets

OURS = ("kdc", "directory", "pki")
MAX_OF_A_TYPE = 200


def is_ours(value: object) -> bool:
    """Tell whether an object is of a type of the three packages; other types may say anything."""
    module: object = type(value).__module__
    return isinstance(module, str) and module.partition(".")[0] in OURS


@contextmanager
def watched() -> Iterator[list[object]]:
    """Keep every object of our own types that is a local variable when a function of ours ends."""
    kept: dict[int, object] = {}

    def look(frame: types.FrameType, event: str, _argument: object) -> None:
        if event != "return" or frame.f_globals.get("__name__", "").partition(".")[0] not in OURS:
            return
        for value in frame.f_locals.values():
            if is_ours(value):
                kept[id(value)] = value

    found: list[object] = []
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(None)
        found.extend(kept.values())


def test_no_object_shows_a_secret(kdc: Kdc) -> None:
    """Rule of style.md: nothing secret has a printable repr; every object alive during logons."""
    secrets = Secrets()
    secrets.add_text("password", PASSWORD)
    with watched() as seen:
        for group, nonce in (("p256", bytes(32)), ("modp14", None)):
            sent = PkinitRequest(group=group, dh_nonce=nonce).build()
            opened = open_reply(kdc.ask(sent.message), sent, kdc)
            secrets.add(f"reply key {group}", opened.reply_key.value)
            secrets.add(f"session key {group}", opened.part.key.keyvalue)
            assert opened.key_info is not None
            agreed = sent.pair.agree(opened.key_info.subject_public_key)
            secrets.add(f"DH secret {group}", agreed)
        body = body_for("pat")
        for etype in (17, 18, 19, 20):
            outcome = kdc.ask(as_req(body, enc_timestamp(key_of(etype))))
            by_password = open_password_reply(outcome, key_of(etype), kdc, body)
            secrets.add(f"session key {etype}", by_password.part.key.keyvalue)
        PasswordMechanism(PASSWORD).facts()
    for name in ("pat", "pc1$"):
        account = kdc.store.account_by_name(name)
        assert account is not None
        for key in account.keys:
            secrets.add(f"{name} {key.etype}", key.key)
    for key in kdc.store.krbtgt().keys:
        secrets.add(f"krbtgt {key.etype}", key.key)
    assert len(seen) > 100
    of_type: dict[type, list[object]] = {}
    for value in gc.get_objects():
        if is_ours(value):
            of_type.setdefault(type(value), []).append(value)
    # The newest of each type: other tests of this run left many more.
    alive = [value for values in of_type.values() for value in values[-MAX_OF_A_TYPE:]]
    told = {}
    for value in (*seen, *alive):
        shown = ""
        # One that another test made, and whose constructor refused, shows nothing at all.
        with suppress(AttributeError):
            shown = f"{value!r}\n{value!s}"
        if names := secrets.found_in(shown.encode("utf-8", "surrogatepass")):
            told[type(value).__qualname__] = names
    assert told == {}


def test_no_refusal_shows_a_secret(kdc: Kdc) -> None:
    """The exceptions of the client, which `kdc logon` shows, hold no key either."""
    password = "never-the-right-one-8"  # noqa: S105  # a test's
    secrets = Secrets()
    secrets.add_text("password", password)
    mechanism = PasswordMechanism(password)
    options = AsOptions(client=client_name("pat"), realm=REALM)
    exchange = AsExchange(options, mechanism, os.urandom)
    now = datetime.now(UTC)
    request: bytes | AsResult = exchange.start(now)
    with pytest.raises(ClientError) as refused:
        for _ in range(4):
            assert isinstance(request, bytes)
            reply = kdc.ask(request, at=now).reply
            assert reply is not None
            request = exchange.receive(reply, now)
    for value in (refused.value, refused.value.args, mechanism, exchange, vars(exchange)):
        assert secrets.found_in(repr(value).encode()) == set()


@pytest.mark.parametrize("password", ["Battery-Staple-8", "battery staple only"])
def test_no_object_of_a_password_change_shows_a_secret(kdc: Kdc, password: str) -> None:
    """A change that is made, and one that is refused: neither password nor a key of it."""
    add_password_service(kdc)
    ticket = password_ticket(kdc)
    secrets = Secrets()
    secrets.add_text("new password", password)
    secrets.add("session key", ticket.session.value)
    sent = Change(ticket=ticket, password=password.encode(), version=SET_PASSWORD).build()
    secrets.add("subkey", sent.subkey.value)
    with watched() as seen:
        outcome = ask_change(kdc, sent)
    pat = kdc.store.account_by_name("pat")
    assert pat is not None
    for key in pat.keys:
        secrets.add(f"pat {key.etype}", key.key)
    assert len(seen) > 10
    shown = "\n".join(f"{value!r}\n{value!s}" for value in (*seen, outcome.facts, outcome.why))
    assert secrets.found_in(shown.encode("utf-8", "surrogatepass")) == set()
    assert outcome.reply is not None
    assert secrets.found_in(outcome.reply) == set()
