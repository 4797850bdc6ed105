"""Row A08 on a live server: with `hide_unknown` no answer tells whether a name exists.

Every account here is in another state, every name has the same length. Each question is asked
about all of them and about names of nobody; the answers must be the same octets, but for the time,
the reference, the freshness token and the name itself.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from directory.changes import NewAccount
from directory.model import AccountKind, PrincipalKey
from directory.sealing import MasterKey
from directory.store import Store
from kdc.state_folder import StateFolder
from kdc.wire.constants import ErrorCode, KdcOption, NameType, PaType
from kdc.wire.rfc4120 import METHOD_DATA, EncryptedData, KdcReqBody, KrbError, PaData
from pki import asn1
from pki.errors import PkiError
from tests.e2e.server_process import ask_tcp
from tests.kdc.builders import PkinitRequest, as_req, body_for, enc_timestamp, name, padata
from tests.pki import issued
from tests.rig.realm import LiveRealm, make_realm

pytestmark = pytest.mark.e2e

PASSWORD = "Correct-Horse-7"  # noqa: S105  # the test users' own
STATES = {
    "passw": (),
    "smart": ("user", "set", "smart", "--smartcard-required"),
    "disab": ("user", "disable", "disab"),
    "expir": ("user", "expire", "expir", "--at", "2020-01-01"),
    "chang": ("user", "set", "chang", "--must-change-password"),
}
NOBODY = ("nobod", "zzzzz")
NAMES = (*STATES, "hello", "locke", "bare0", *NOBODY)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Question = Callable[[str], bytes]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve a realm that hides its names, with an account in every state."""
    realm = make_realm(tmp_path_factory.mktemp("enumeration") / "state")
    for user, command in STATES.items():
        realm.kdc("user", "add", user, "--password-stdin", stdin=PASSWORD)
        if command:
            realm.kdc(*command)
    realm.kdc("user", "add", "hello")
    realm.kdc("key", "enroll", "hello", "--out", str(realm.state.parent / "hello.pem"))
    realm.kdc("user", "add", "bare0")
    realm.kdc("user", "add", "locke", "--password-stdin", stdin=PASSWORD)
    with (realm.state / "kdc.toml").open("a") as file:
        file.write("hide_unknown = true\nlockout_threshold = 3\n")
    with realm.served(workers=1):
        for _ in range(3):
            ask_tcp(realm.port, wrong_password("locke"))
        yield realm


def body(user: str) -> KdcReqBody:
    """Ask for a ticket of today."""
    till = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=8)
    return replace(body_for(user), till=till, rtime=None, nonce=int.from_bytes(os.urandom(4)))


# -- questions -------------------------------------------------------------------------------


def nothing(user: str) -> bytes:
    """No pre-authentication."""
    return as_req(body(user))


def freshness(user: str) -> bytes:
    """Ask for a freshness token."""
    return as_req(body(user), padata(PaType.AS_FRESHNESS))


def one_etype(user: str) -> bytes:
    """Know one encryption type only."""
    return as_req(replace(body(user), etype=(20,)))


def enterprise(user: str) -> bytes:
    """Use an enterprise name."""
    cname = name(f"{user}@LAB.TEST", name_type=NameType.ENTERPRISE)
    return as_req(replace(body(user), cname=cname))


def other_case(user: str) -> bytes:
    """Shout the name."""
    return as_req(body(user.upper()))


def wrong_password(user: str) -> bytes:
    """Guess a password."""
    now = datetime.now(UTC)
    return as_req(body(user), enc_timestamp(PrincipalKey(etype=18, kvno=1, key=bytes(32)), at=now))


def wrong_password_of_another_type(user: str) -> bytes:
    """Guess with the type that is offered last."""
    now = datetime.now(UTC)
    return as_req(body(user), enc_timestamp(PrincipalKey(etype=19, kvno=1, key=bytes(16)), at=now))


def unsupported_type(user: str) -> bytes:
    """Send a timestamp under RC4."""
    value = asn1.encode(EncryptedData(etype=23, cipher=os.urandom(52)))
    return as_req(replace(body(user), etype=(23, 18)), padata(PaType.ENC_TIMESTAMP, value))


def malformed_timestamp(user: str) -> bytes:
    """Send no EncryptedData."""
    return as_req(body(user), padata(PaType.ENC_TIMESTAMP, b"\x30\x00"))


def strangers_key(user: str) -> bytes:
    """Sign with a key of nobody's."""
    now = datetime.now(UTC).replace(microsecond=0)
    signer = issued.hello("mallory")
    return PkinitRequest(body=body(user), signer=signer, ctime=now).build().message


def old_signature(user: str) -> bytes:
    """Sign for a time long past."""
    signer = issued.hello("mallory")
    return PkinitRequest(body=body(user), signer=signer, ctime=EPOCH).build().message


def both_mechanisms(user: str) -> bytes:
    """Send the same mechanism twice."""
    pa = padata(PaType.ENC_TIMESTAMP, b"")
    return as_req(body(user), pa, pa)


def unknown_service(user: str) -> bytes:
    """Ask for a service that does not exist."""
    return as_req(replace(body(user), sname=name("host", "nowhere.lab.test")))


def bad_option(user: str) -> bytes:
    """Set an option that an AS-REQ cannot have."""
    return as_req(replace(body(user), kdc_options=KdcOption.RENEW))


def past_end(user: str) -> bytes:
    """Guess a password for a ticket that has expired already."""
    request = replace(body(user), till=EPOCH + timedelta(days=1))
    now = datetime.now(UTC)
    return as_req(request, enc_timestamp(PrincipalKey(etype=18, kvno=1, key=bytes(32)), at=now))


QUESTIONS: tuple[Question, ...] = (
    *(nothing, freshness, one_etype, enterprise, other_case),
    *(wrong_password, wrong_password_of_another_type, unsupported_type, malformed_timestamp),
    *(strangers_key, old_signature, both_mechanisms, unknown_service, bad_option, past_end),
)


# -- answers ---------------------------------------------------------------------------------


def seen(reply: bytes, user: str) -> tuple[object, ...]:
    """Return what a client sees of a KRB-ERROR, without time, reference, token and name."""
    error = asn1.decode(KrbError, reply)
    text = error.e_text
    if text is not None and " [ref " in text:
        assert len(text.partition(" [ref ")[2]) == 5
        text = text.partition(" [ref ")[0]
    plain = replace(error, stime=EPOCH, susec=0, e_text=text, e_data=None)
    return (
        _nameless(asn1.encode(plain), user),
        _e_data(error.e_data, user),
        # A susec of fewer octets makes the whole shorter, for every name alike.
        len(reply) - len(asn1.encode_as(asn1.INTEGER, error.susec)),
    )


def _nameless(data: bytes, user: str) -> bytes:
    return data.replace(user.encode(), b"namex").replace(user.upper().encode(), b"NAMEX")


def _e_data(data: bytes | None, user: str) -> object:
    if data is None:
        return None
    try:
        listed: tuple[PaData, ...] = asn1.decode_as(METHOD_DATA, data)
    except PkiError:
        return _nameless(data, user)
    return [
        (
            pa.padata_type,
            len(pa.padata_value)
            if pa.padata_type == PaType.AS_FRESHNESS
            else _nameless(pa.padata_value, user),
        )
        for pa in listed
    ]


@pytest.mark.parametrize(
    "question",
    [pytest.param(question, id=question.__name__) for question in QUESTIONS],
)
def test_every_name_gets_the_same_answer(live: LiveRealm, question: Question) -> None:
    """Row A08: known, unknown, disabled, expired, locked, without a password, smart card only."""
    answers = {user: seen(ask_tcp(live.port, question(user)), user) for user in NAMES}
    different = {user: got for user, got in answers.items() if got != answers[NOBODY[0]]}
    assert different == {}, f"of nobody: {answers[NOBODY[0]]}"


def test_the_questions_have_the_answers_that_they_should(live: LiveRealm) -> None:
    """The answers are alike, and of the codes that the realm gives to a visitor."""
    codes = [
        asn1.decode(KrbError, ask_tcp(live.port, question("nobod"))).error_code
        for question in (nothing, wrong_password, strangers_key)
    ]
    assert codes == [
        ErrorCode.KDC_ERR_PREAUTH_REQUIRED,
        ErrorCode.KDC_ERR_PREAUTH_FAILED,
        ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
    ]


def test_account_with_older_key_types(live: LiveRealm) -> None:
    """A password set before supported_enctypes grew: hints must not list fewer types."""
    folder = StateFolder(live.state)
    store = Store.open(folder.store, MasterKey.load(folder.master_key))
    key = PrincipalKey(etype=18, kvno=1, key=os.urandom(32), salt="LAB.TESTolder")
    moment = datetime.now(UTC)
    store.add_account(
        NewAccount(kind=AccountKind.USER, name="older", created_at=moment, keys=(key,))
    )
    store.close()
    answers = [seen(ask_tcp(live.port, nothing(user)), user) for user in ("older", "nobod")]
    assert answers[0] == answers[1]


def test_owners_log_on_all_the_same(live: LiveRealm) -> None:
    """The control: hidden is not shut."""
    live.kdc("logon", "passw", "--password-stdin", stdin=PASSWORD)
    live.kdc("logon", "hello", "--identity", str(live.state.parent / "hello.pem"))
