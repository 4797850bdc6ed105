"""Row A04 on a live server of two workers: wrong passwords are counted once each, keys never."""

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from directory.model import PrincipalKey
from directory.sealing import MasterKey
from directory.store import Store
from kdc.crypto.etypes import EncType, string_to_key
from kdc.state_folder import StateFolder
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import AsRep, KdcReqBody, KrbError
from pki import asn1
from tests.e2e.server_process import ask_tcp, ask_udp, wait_until
from tests.kdc.builders import PkinitRequest, as_req, body_for, enc_timestamp
from tests.pki import issued
from tests.rig.realm import REALM, LiveRealm, make_realm

pytestmark = pytest.mark.e2e

PASSWORD = "Correct-Horse-7"  # noqa: S105  # the test users' own
TICKET = 0
FAILED = int(ErrorCode.KDC_ERR_PREAUTH_FAILED)
REVOKED = int(ErrorCode.KDC_ERR_CLIENT_REVOKED)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve a realm whose accounts are locked by the hundredth wrong password."""
    realm = make_realm(tmp_path_factory.mktemp("lockout") / "state")
    with (realm.state / "kdc.toml").open("a") as file:
        file.write('lockout_threshold = 100\nlockout_duration = "1h"\nlockout_window = "1h"\n')
        file.write("max_connections_per_source = 1000\n")
    for name in ("storm", "mixed", "killed", "again", "carol"):
        realm.kdc("user", "add", name, "--password-stdin", stdin=PASSWORD)
    key = realm.state.parent / "carol.pem"
    realm.kdc("key", "enroll", "carol", "--out", str(key))
    with realm.served(workers=2):
        yield realm


def body(name: str, now: datetime) -> KdcReqBody:
    """Ask for a ticket of today."""
    return replace(
        body_for(name),
        till=now + timedelta(hours=8),
        rtime=None,
        nonce=int.from_bytes(os.urandom(4)),
    )


def attempt(name: str, *, right: bool = False) -> bytes:
    """Make a request with a timestamp sealed by the password's key, or by another."""
    key = bytes(32)
    if right:
        key = string_to_key(EncType(18), PASSWORD, REALM + name).value
    now = datetime.now(UTC)
    sealed = PrincipalKey(etype=18, kvno=1, key=key)
    return as_req(body(name, now), enc_timestamp(sealed, at=now))


def code_of(reply: bytes) -> int:
    """Return the code of a KRB-ERROR, or 0 for a ticket."""
    if reply[:1] == b"\x6b":
        asn1.decode(AsRep, reply)
        return TICKET
    return asn1.decode(KrbError, reply).error_code


def at_once(live: LiveRealm, messages: list[bytes]) -> Counter[int]:
    """Send all messages at the same moment, one in ten by UDP; count the answers."""
    codes: Counter[int] = Counter()
    lock = threading.Lock()
    ready = threading.Barrier(len(messages))

    def send(index: int) -> None:
        ready.wait()
        if index % 10:
            code = ask(live, messages[index])
        else:
            # One answer, however late: a retransmission would be another attempt.
            code = code_of(ask_udp(live.port, messages[index], timeout_s=30.0))
        with lock:
            codes[code] += 1

    threads = [threading.Thread(target=send, args=(i,)) for i in range(len(messages))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return codes


def ask(live: LiveRealm, message: bytes) -> int:
    """Ask by TCP, again when the connection was shed: then nothing was looked at."""
    for _ in range(100):
        with contextlib.suppress(ConnectionResetError):
            if reply := ask_tcp(live.port, message):
                return code_of(reply)
        time.sleep(0.1)
    raise AssertionError("never answered")


def failures(live: LiveRealm, name: str) -> int:
    """Return the wrong passwords on record."""
    folder = StateFolder(live.state)
    store = Store.open(folder.store, MasterKey.load(folder.master_key), read_only=True)
    account = store.account_by_name(name)
    assert account is not None
    count = store.password_failures(account.account_id)
    store.close()
    return count


def test_hundred_wrong_passwords_at_once_are_counted_once_each(live: LiveRealm) -> None:
    """Row A04 (CVE-2021-20251): no two workers count one on top of the same number."""
    assert at_once(live, [attempt("storm") for _ in range(99)]) == {FAILED: 99}
    assert failures(live, "storm") == 99
    assert ask(live, attempt("storm")) == FAILED
    assert failures(live, "storm") == 100
    for right in (False, True):
        assert ask(live, attempt("storm", right=right)) == REVOKED
    assert failures(live, "storm") == 100


def test_more_at_once_than_the_threshold_stop_at_it(live: LiveRealm) -> None:
    """Row A04: the hundredth locks; what was under way beside it may still be told 24."""
    codes = at_once(live, [attempt("mixed") for _ in range(130)])
    assert set(codes) == {FAILED, REVOKED}
    # One of the other worker may have read the account just before the lock.
    assert 100 <= codes[FAILED] <= 101
    assert failures(live, "mixed") == 100
    assert ask(live, attempt("mixed", right=True)) == REVOKED
    live.kdc("user", "unlock", "mixed")
    assert ask(live, attempt("mixed", right=True)) == TICKET


def test_packet_sent_again_counts_once_over_workers_and_transports(live: LiveRealm) -> None:
    """RFC 4120 3.1.2: a client that hears nothing sends the same octets again."""
    message = attempt("again")
    codes = at_once(live, [message] * 40)
    codes.update(code_of(ask_udp(live.port, message)) for _ in range(20))
    assert codes == {FAILED: 60}
    assert failures(live, "again") == 1
    assert ask(live, attempt("again")) == FAILED
    assert failures(live, "again") == 2


def test_count_survives_killed_workers(live: LiveRealm) -> None:
    """Row A04: the count is on disk, not in a worker."""
    assert live.process is not None
    pid = live.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(3):
        at_once(live, [attempt("killed") for _ in range(10)])
        before = children.read_text().split()
        os.kill(int(before[0]), signal.SIGKILL)
        assert wait_until(
            lambda before=before: (
                before[0] not in children.read_text().split()  # type: ignore[misc]  # mypy infers no default
                and len(children.read_text().split()) == 2
            )
        )
    assert failures(live, "killed") == 30
    with sqlite3.connect(live.state / "store-lockout.sqlite") as book:
        assert book.execute("PRAGMA quick_check").fetchone() == ("ok",)
    book.close()
    assert ask(live, attempt("killed", right=True)) == TICKET
    assert failures(live, "killed") == 0


def pkinit(name: str, signer: str, **changes: object) -> bytes:
    """Make a PKINIT request of today."""
    now = datetime.now(UTC).replace(microsecond=0)
    request = PkinitRequest(body=body(name, now), signer=issued.hello(signer), ctime=now)
    for step, value in changes.items():
        setattr(request, step, value)
    return request.build().message


def test_failed_pkinit_is_never_counted(live: LiveRealm) -> None:
    """Row A04: who has no key of carol's cannot lock her out, however often they try."""
    messages = [pkinit("carol", "mallory") for _ in range(40)]
    messages += [
        pkinit("carol", "mallory", change_signed=lambda s: s[:-1] + bytes((s[-1] ^ 1,)))
        for _ in range(40)
    ]
    messages += [
        pkinit("carol", "mallory", change_value=lambda value: value[:-1]) for _ in range(40)
    ]
    codes = at_once(live, messages)
    assert TICKET not in codes
    assert sum(codes.values()) == 120
    assert codes[ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED] == 40
    assert codes[ErrorCode.KDC_ERR_INVALID_SIG] == 40
    assert failures(live, "carol") == 0
    live.kdc("logon", "carol", "--identity", str(live.state.parent / "carol.pem"))
    assert ask(live, attempt("carol", right=True)) == TICKET


def test_locked_account_is_locked_for_its_key(live: LiveRealm) -> None:
    """MS-KILE 3.3.5.7.1: the lock is the account's, not the password's."""
    at_once(live, [attempt("carol") for _ in range(101)])
    identity = str(live.state.parent / "carol.pem")
    live.kdc("logon", "carol", "--identity", identity, ok=(5,))
    live.kdc("user", "unlock", "carol")
    live.kdc("logon", "carol", "--identity", identity)
