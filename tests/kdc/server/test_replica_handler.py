"""Requests of an LDAP realm: what the store does not have is asked for before it is refused."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from directory.ldap.questions import STATUS_NAME, Question, Told
from directory.ldap.status import FollowerState, FollowerStatus, StatusFile
from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli.main import run
from kdc.outcome import Outcome, Peer
from kdc.server.build import build_handler
from kdc.server.misses import MissClient, Waiting
from kdc.server.replica_handler import ReplicaHandler
from kdc.state_folder import StateFolder
from kdc.wire.constants import ErrorCode, NameType
from kdc.wire.rfc4120 import AsReq, KdcReqBody, KrbError, PrincipalName
from pki import asn1
from tests.directory.ldap.builders import new_writer, record, user
from tests.kdc.builders import PkinitRequest, body_for
from tests.pki import issued

PEER = Peer(address="192.0.2.7", port=50123, transport="udp")
UNKNOWN = int(ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN)
PREAUTH_REQUIRED = int(ErrorCode.KDC_ERR_PREAUTH_REQUIRED)
UNAVAILABLE = int(ErrorCode.KDC_ERR_SVC_UNAVAILABLE)


def now() -> datetime:
    return datetime.now(UTC)


def as_req(name: str) -> bytes:
    """Ask for a TGT without pre-authentication."""
    body = KdcReqBody(
        kdc_options=0,
        cname=PrincipalName(name_type=NameType.PRINCIPAL, name_string=(name,)),
        realm="LAB.TEST",
        sname=PrincipalName(name_type=NameType.SRV_INST, name_string=("krbtgt", "LAB.TEST")),
        till=datetime(2037, 9, 13, tzinfo=UTC),
        nonce=1,
        etype=(18,),
    )
    return asn1.encode(AsReq(pvno=5, msg_type=10, req_body=body))


def confirm(folder: StateFolder, at: datetime, state: FollowerState) -> None:
    """Write what a follower would."""
    file = StatusFile(folder.root / STATUS_NAME, write=True)
    file.write(
        FollowerStatus(
            state=state,
            pid=1,
            confirmed_at=at,
            entries=1,
            changes=0,
            fetches=0,
            problems=0,
            failures=0,
            server="",
        )
    )
    file.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A realm as `kdc init` makes it, to copy."""
    root = tmp_path_factory.mktemp("template") / "realm"
    assert run(["--state", str(root), "init", "--realm", "LAB.TEST"]) == 0
    return root


@pytest.fixture
def folder(tmp_path: Path, template: Path) -> StateFolder:
    """A realm with a directory that nobody asks here."""
    root = tmp_path / "realm"
    shutil.copytree(template, root)
    found = StateFolder(root)
    text = found.kdc_toml.read_text()
    found.kdc_toml.write_text(text + 'directory.url = ["ldapi://%2Fnowhere"]\n')
    confirm(found, now(), FollowerState.FOLLOWING)
    return found


def set_key(folder: StateFolder, line: str) -> None:
    folder.kdc_toml.write_text(folder.kdc_toml.read_text() + line + "\n")


def open_handler(folder: StateFolder) -> ReplicaHandler:
    made = build_handler(folder.root)
    assert isinstance(made, ReplicaHandler)
    return made


@pytest.fixture
def handler(folder: StateFolder) -> Iterator[ReplicaHandler]:
    """A worker's handler for it."""
    made = open_handler(folder)
    yield made
    made.close()


def add(folder: StateFolder, name: str) -> None:
    """Write an account as the follower does."""
    store = Store.open(folder.store, MasterKey.load(folder.master_key))
    entry = user(1, name)
    sid = store.domain_sid.with_rid(1105).to_bytes()
    entry.attributes = {**entry.attributes, "objectsid": (sid,)}
    from directory.ldap.records import DomainFacts
    from directory.ldap.schema import read_entry

    made = read_entry(entry, DomainFacts(flavour="openldap", sid=store.domain_sid))
    assert made is not None
    assert not new_writer(store).apply([made]).problems
    store.close()


def waiting(found: Outcome | Waiting) -> Waiting:
    assert isinstance(found, Waiting), found
    return found


def code(found: Outcome | Waiting) -> int:
    assert isinstance(found, Outcome), found
    return found.code


def test_unknown_name_waits_for_the_follower(handler: ReplicaHandler) -> None:
    """Every name it could have is asked about, in one question."""
    found = waiting(handler.begin(as_req("alice"), PEER, now()))
    assert found.questions == (
        ("name", "alice"),
        ("name", "alice$"),
        ("upn", "alice@lab.test"),
    )


def test_name_that_the_directory_does_not_have_is_unknown(handler: ReplicaHandler) -> None:
    """6 when the directory says so, and only then."""
    found = waiting(handler.begin(as_req("alice"), PEER, now()))
    assert code(handler.resume(found, Told.SAME, now())) == UNKNOWN


def test_account_that_was_fetched_is_answered(folder: StateFolder, handler: ReplicaHandler) -> None:
    """The same request again, against what the store has now."""
    found = waiting(handler.begin(as_req("alice"), PEER, now()))
    add(folder, "alice")
    assert code(handler.resume(found, Told.CHANGED, now())) == PREAUTH_REQUIRED


def test_account_that_came_by_itself_meanwhile_is_answered(
    folder: StateFolder, handler: ReplicaHandler
) -> None:
    """What the follower finds the same may have been pushed a moment before it looked."""
    found = waiting(handler.begin(as_req("alice"), PEER, now()))
    add(folder, "alice")
    assert code(handler.resume(found, Told.SAME, now())) == PREAUTH_REQUIRED


def test_directory_that_is_away_is_29(handler: ReplicaHandler) -> None:
    """Row L01: never 6; one record, kept for `kdc explain` under its own reason."""
    found = waiting(handler.begin(as_req("alice"), PEER, now()))
    outcome = handler.resume(found, Told.AWAY, now())
    assert isinstance(outcome, Outcome) and outcome.reply is not None
    assert asn1.decode(KrbError, outcome.reply).error_code == UNAVAILABLE
    assert outcome.why == "the directory cannot be asked about what the store does not have"


@pytest.mark.parametrize(
    ("state", "age", "expected"),
    [
        (FollowerState.FOLLOWING, timedelta(0), UNKNOWN),
        (FollowerState.FOLLOWING, timedelta(minutes=1), UNAVAILABLE),
        (FollowerState.AWAY, timedelta(0), UNAVAILABLE),
    ],
)
def test_question_past_the_rate_is_answered_from_a_current_store_only(
    folder: StateFolder,
    handler: ReplicaHandler,
    state: FollowerState,
    age: timedelta,
    expected: int,
) -> None:
    """directory.miss_rate: a store that follows knows what there is; an old one does not."""
    confirm(folder, now() - age, state)
    found = waiting(handler.begin(as_req("alice"), PEER, now()))
    assert code(handler.resume(found, Told.BUSY, now())) == expected


def test_caller_who_cannot_wait_is_told_29(handler: ReplicaHandler) -> None:
    """`handle` asks nobody, so an unknown name stays open."""
    assert handler.handle(as_req("alice"), PEER, now()).code == UNAVAILABLE


def test_known_account_asks_nobody(folder: StateFolder, handler: ReplicaHandler) -> None:
    """A logon never waits for LDAP (architecture, section 4)."""
    add(folder, "alice")
    assert code(handler.begin(as_req("alice"), PEER, now())) == PREAUTH_REQUIRED


def test_stale_store_answers_nobody(folder: StateFolder) -> None:
    """max_staleness: 29 for known accounts as well."""
    set_key(folder, 'max_staleness = "1h"')
    add(folder, "alice")
    confirm(folder, now() - timedelta(hours=2), FollowerState.AWAY)
    handler = open_handler(folder)
    assert code(handler.begin(as_req("alice"), PEER, now())) == UNAVAILABLE
    confirm(folder, now() - timedelta(minutes=59), FollowerState.AWAY)
    assert code(handler.begin(as_req("alice"), PEER, now())) == PREAUTH_REQUIRED
    handler.close()


def test_store_that_was_never_confirmed_answers_nobody(folder: StateFolder) -> None:
    """No status of a follower is no proof of anything."""
    add(folder, "alice")
    (folder.root / STATUS_NAME).unlink()
    handler = open_handler(folder)
    assert code(handler.begin(as_req("alice"), PEER, now())) == UNAVAILABLE
    handler.close()


def test_any_age_is_accepted_without_max_staleness(folder: StateFolder) -> None:
    """0 turns the limit off."""
    set_key(folder, "max_staleness = 0")
    add(folder, "alice")
    (folder.root / STATUS_NAME).unlink()
    handler = open_handler(folder)
    assert code(handler.begin(as_req("alice"), PEER, now())) == PREAUTH_REQUIRED
    handler.close()


def test_name_of_two_entries_is_29(folder: StateFolder, handler: ReplicaHandler) -> None:
    """Row L04: the directory is at fault, and says nothing about who was meant."""
    store = Store.open(folder.store, MasterKey.load(folder.master_key))
    broken = user(9, "twice", objectSid=b"bad")
    new_writer(store).apply([record(broken)])
    store.close()
    outcome = handler.begin(as_req("twice"), PEER, now())
    assert code(outcome) == UNAVAILABLE


class Asked(MissClient):
    """Notes what is asked for nobody."""

    def __init__(self) -> None:
        self.seen: list[tuple[Question, ...]] = []

    def ask_soon(self, questions: tuple[Question, ...]) -> None:
        """See MissClient."""
        self.seen.append(questions)


@pytest.fixture
def hiding(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplicaHandler]:
    """A handler with hide_unknown, and an `Asked` for its asker."""
    set_key(folder, "hide_unknown = true")
    made = open_handler(folder)
    monkeypatch.setattr(made, "_client", Asked())
    yield made
    made.close()


def asked_for_nobody(handler: ReplicaHandler) -> list[tuple[Question, ...]]:
    assert isinstance(handler._client, Asked)
    return handler._client.seen


def test_hidden_unknown_client_is_answered_first(hiding: ReplicaHandler) -> None:
    """Row A08: the time of a question would tell the name apart; it is asked about afterwards."""
    assert code(hiding.begin(as_req("alice"), PEER, now())) == PREAUTH_REQUIRED
    names = (("name", "alice"), ("name", "alice$"), ("upn", "alice@lab.test"))
    assert asked_for_nobody(hiding) == [names]


def test_hidden_known_client_asks_nobody(folder: StateFolder, hiding: ReplicaHandler) -> None:
    """Its other names are looked up as well, and are no reason to ask."""
    add(folder, "alice")
    assert code(hiding.begin(as_req("alice"), PEER, now())) == PREAUTH_REQUIRED
    assert asked_for_nobody(hiding) == []


@pytest.mark.parametrize("known", [True, False])
def test_hidden_name_with_a_strange_key_is_answered_first(
    folder: StateFolder, hiding: ReplicaHandler, known: bool
) -> None:
    """Row A08: 62 at once, whoever is named; the key may be the account's in a moment."""
    if known:
        add(folder, "alice")
    at = now()
    request = PkinitRequest(
        body=replace(body_for("alice"), till=at + timedelta(hours=1)),
        signer=issued.hello("stranger"),
        ctime=at,
    )
    found = hiding.begin(request.build().message, PEER, at)
    assert code(found) == ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED, found
    (questions,) = asked_for_nobody(hiding)
    assert (questions[-1][0] == "key") == known


def test_read_through_asks_about_every_name_first(folder: StateFolder) -> None:
    """Consistency = read_through: even a known account is validated, then the request goes on."""
    set_key(folder, 'consistency = "read_through"')
    add(folder, "alice")
    handler = open_handler(folder)
    found = waiting(handler.begin(as_req("alice"), PEER, now()))
    assert found.questions == (("name", "alice"),)
    assert code(handler.resume(found, Told.SAME, now())) == PREAUTH_REQUIRED
    found = waiting(handler.begin(as_req("alice"), PEER, now()))
    assert code(handler.resume(found, Told.AWAY, now())) == UNAVAILABLE
    handler.close()


def test_read_through_ends_for_an_unknown_name(folder: StateFolder) -> None:
    """One question for each name it could have; then it is unknown."""
    set_key(folder, 'consistency = "read_through"')
    handler = open_handler(folder)
    found = handler.begin(as_req("alice"), PEER, now())
    rounds = 0
    while isinstance(found, Waiting):
        found = handler.resume(found, Told.SAME, now())
        rounds += 1
    assert (code(found), rounds) == (UNKNOWN, 3)
    handler.close()


def test_changed_revocation_list_counts_without_a_reload(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a realm of its own store: what was revoked is refused within a second or so."""
    monkeypatch.setattr("kdc.server.certificate_watch.WATCH_S", 0.0)
    handler = open_handler(folder)
    before = handler.realm.certificates
    handler.begin(as_req("alice"), PEER, now())
    assert handler.realm.certificates is before is not None
    os.utime(folder.crl, (1, 1))
    handler.begin(as_req("alice"), PEER, now())
    assert handler.realm.certificates is not before
    handler.close()
