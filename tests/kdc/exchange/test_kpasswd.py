"""kpasswd: passwords that are changed, and the refusals that their users are told (RFC 3244)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountChanges, NewAccount
from directory.model import AccountKind, PrincipalKey
from kdc.crypto.md4 import nt_hash
from kdc.wire.constants import KdcOption, PaType, TicketFlag
from kdc.wire.rfc3244 import SET_PASSWORD, ResultCode
from tests.kdc.builders import BODY, NOW, Kdc, as_req, enc_timestamp, key_of, name, padata, refused
from tests.kdc.kpasswd_builders import (
    AT,
    CHANGEPW,
    NEW,
    Change,
    add_password_service,
    ask_change,
    logon_code,
    open_change_reply,
    password_ticket,
)
from tests.kdc.tgs_builders import golden

KEY_EXPIRED = 23


@pytest.fixture(autouse=True)
def changepw_keys(kdc: Kdc) -> tuple[PrincipalKey, ...]:
    return add_password_service(kdc)


def account_of(kdc: Kdc, who: str = "pat") -> tuple[int, bool]:
    account = kdc.store.account_by_name(who)
    assert account is not None
    return account.newest_keys()[0].kvno, account.must_change_password


def change(kdc: Kdc, password: str, who: str = "pat") -> tuple[int, str, str]:
    """Change a password; return result code, text and the reason of the audit record."""
    sent = Change(ticket=password_ticket(kdc, who), password=password.encode()).build()
    outcome = ask_change(kdc, sent)
    code, text = open_change_reply(outcome, sent)
    return code, text, outcome.why


# -- success ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, SET_PASSWORD])
@pytest.mark.parametrize("subkey", [17, 18, 19, 20])
def test_changed_password_logs_on_and_the_old_one_does_not(
    kdc: Kdc, version: int, subkey: int
) -> None:
    """RFC 3244 2, and the older protocol of the same frame."""
    sent = Change(ticket=password_ticket(kdc), version=version, subkey=subkey).build()
    outcome = ask_change(kdc, sent)
    assert (outcome.why, *open_change_reply(outcome, sent)) == ("", 0, "Password changed.")
    assert (outcome.exchange, outcome.code, outcome.why) == ("kpasswd", 0, "")
    assert logon_code(kdc, NEW) == 0
    at = AT + timedelta(seconds=2)
    old = as_req(replace(BODY, cname=name("pat")), enc_timestamp(key_of(18), at=at))
    assert refused(kdc.ask(old, at=at))[0] == 24


def test_changed_password_is_set_with_time_history_and_expiry(kdc: Kdc) -> None:
    """One transaction: keys, when they were set, when they expire, what was before them."""
    kdc.configure(password_max_age_s=86400)
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(must_change_password=True))
    assert change(kdc, NEW)[0] == 0
    pat = kdc.store.account_by_name("pat")
    assert pat is not None
    assert (pat.password_set_at, pat.password_expires_at) == (AT, AT + timedelta(days=1))
    assert not pat.must_change_password
    assert {key.kvno for key in pat.keys} == {2}
    assert [key.key for key in kdc.store.password_history(pat.account_id)] == [key_of(18).key]
    assert kdc.store.nt_hash(pat.account_id) is None


def test_nt_hash_is_kept_with_legacy_ntlm_only(kdc: Kdc) -> None:
    """MS-PKCA 3.1.5.2: that of the new password, or none."""
    kdc.configure(legacy_ntlm=True)
    assert change(kdc, NEW)[0] == 0
    assert kdc.store.nt_hash(kdc.account_id("pat")) == nt_hash(NEW)


def test_same_packet_gets_the_same_answer_and_changes_once(kdc: Kdc) -> None:
    """A client that lost the reply asks again: RFC 4120 3.1.2 for datagrams."""
    sent = Change(ticket=password_ticket(kdc)).build()
    first, second = ask_change(kdc, sent), ask_change(kdc, sent)
    assert first.reply == second.reply
    assert second.facts["retransmit"]
    assert account_of(kdc)[0] == 2


def test_audit_record_says_whose_password_and_no_secret(kdc: Kdc) -> None:
    """Event 4723; neither the password nor a key is among the facts."""
    sent = Change(ticket=password_ticket(kdc), version=SET_PASSWORD).build()
    facts = ask_change(kdc, sent).facts
    assert {k: facts[k] for k in ("client", "account", "target", "reset", "service")} == {
        "client": "pat",
        "account": "pat",
        "target": "pat",
        "reset": False,
        "service": "kadmin/changepw",
    }
    assert NEW not in repr(facts)


# -- the ticket ------------------------------------------------------------------------------


def test_ticket_for_the_password_service_is_short_and_for_nothing_else(kdc: Kdc) -> None:
    """INITIAL, five minutes, and neither forwardable, proxiable nor renewable."""
    part = password_ticket(kdc).part
    assert part.flags & TicketFlag.INITIAL
    assert not part.flags & (TicketFlag.FORWARDABLE | TicketFlag.PROXIABLE | TicketFlag.RENEWABLE)
    assert (part.endtime - part.authtime, part.renew_till) == (timedelta(minutes=5), None)
    assert BODY.kdc_options & KdcOption.FORWARDABLE


@pytest.mark.parametrize(
    "changes",
    [
        AccountChanges(must_change_password=True),
        AccountChanges(password_expires_at=NOW - timedelta(days=1)),
    ],
    ids=["must change", "expired"],
)
def test_expired_password_gets_that_ticket_and_no_other(kdc: Kdc, changes: AccountChanges) -> None:
    """KDC_ERR_KEY_EXPIRED tells a client to change it; then it logs on with the new one."""
    kdc.store.update_account(kdc.account_id("pat"), changes)
    body = replace(BODY, cname=name("pat"))
    assert refused(kdc.ask(as_req(body, enc_timestamp(key_of(18)))))[0] == KEY_EXPIRED
    assert change(kdc, NEW)[0] == 0
    assert logon_code(kdc, NEW) == 0


def test_wrong_password_gets_no_ticket_to_change_it(kdc: Kdc) -> None:
    """The old password is proven by the logon."""
    wrong = replace(key_of(18), key=bytes(32))
    body = replace(BODY, cname=name("pat"), sname=CHANGEPW)
    assert refused(kdc.ask(as_req(body, enc_timestamp(wrong))))[0] == 24


def test_disabled_account_gets_no_ticket_to_change_its_password(kdc: Kdc) -> None:
    """Only the password's own state is forgiven."""
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(disabled=True))
    body = replace(BODY, cname=name("pat"), sname=CHANGEPW)
    assert refused(kdc.ask(as_req(body, enc_timestamp(key_of(18)))))[0] == 18


# -- the policy ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "the new password is too short"),
        ("Sh0rt!!", "the new password is too short"),
        ("x" * 1025, "the new password is too long"),
        ("only lower case", "the new password has too few kinds of characters"),
        ("12345678 90", "the new password has too few kinds of characters"),
        ("Compat-1234", "the new password contains the account's name"),
    ],
)
def test_weak_password_is_a_soft_error_that_says_what_to_do(
    kdc: Kdc, password: str, why: str
) -> None:
    """RFC 3244 2: KRB5_KPASSWD_SOFTERROR; the text is shown to the user as it is."""
    code, text, reason = change(kdc, password)
    assert (code, reason) == (ResultCode.SOFTERROR, why)
    assert text.endswith("]")
    assert "[ref " in text
    assert account_of(kdc)[0] == 1


@pytest.mark.parametrize("password", ["Äpfel-1234", "1 Kiste äöü ß", "Ελληνικά 12"])
def test_letters_of_every_script_count(kdc: Kdc, password: str) -> None:
    """Windows' five kinds, over Unicode."""
    assert change(kdc, password)[0] == 0
    assert logon_code(kdc, password) == 0


def test_policy_that_is_off_takes_any_password(kdc: Kdc) -> None:
    """But for the empty one."""
    kdc.configure(password_min_length=0, password_min_classes=0, password_history=0)
    assert change(kdc, "")[2] == "the new password is too short"
    assert change(kdc, "pat")[0] == 0
    assert kdc.store.password_history(kdc.account_id("pat")) == ()


def test_password_of_the_history_is_refused(kdc: Kdc) -> None:
    """The one in force and those before it, `password_history` in all."""
    kdc.configure(password_history=3)
    passwords = [f"Passw0rd number {i}" for i in range(4)]
    for password in passwords:
        assert _again(kdc, password) == ""
    answers = [_again(kdc, password) for password in passwords[:0:-1]]
    assert answers == ["the new password was used before"] * 3
    assert _again(kdc, passwords[0]) == ""


def _again(kdc: Kdc, password: str) -> str:
    """Change pat's password, whatever it is now; return the reason of a refusal."""
    (key,) = (key for key in key_set(kdc) if key.etype == 18)
    sent = Change(ticket=password_ticket(kdc, key=key), password=password.encode()).build()
    return ask_change(kdc, sent).why


def test_password_is_not_changed_again_before_its_minimum_age(kdc: Kdc) -> None:
    """minPwdAge: but one that must be changed may be."""
    kdc.configure(password_min_age_s=86400)
    newer = [replace(key, kvno=2) for key in key_set(kdc)]
    kdc.store.set_keys(kdc.account_id("pat"), newer, now=NOW - timedelta(hours=1))
    code, text, why = change(kdc, NEW)
    assert (code, why) == (4, "the password was changed too recently")
    assert "after 2" in text
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(must_change_password=True))
    assert change(kdc, NEW)[0] == 0


# -- who may ---------------------------------------------------------------------------------


def test_somebody_elses_password_is_denied_whether_there_is_one_or_not(kdc: Kdc) -> None:
    """KRB5_KPASSWD_ACCESSDENIED; the answer does not tell which names exist."""
    said = set()
    for target in ("alice", "nobody", "krbtgt"):
        sent = Change(
            ticket=password_ticket(kdc), version=SET_PASSWORD, target=name(target)
        ).build()
        outcome = ask_change(kdc, sent)
        code, text = open_change_reply(outcome, sent)
        said.add((code, text.partition(" [ref")[0], outcome.why))
    assert said == {
        (
            5,
            "You may change your own password only.",
            "only an administrator sets another account's password",
        )
    }


def admin(kdc: Kdc, who: str = "pat") -> None:
    group = kdc.store.group_by_name("Domain Admins")
    assert group is not None
    kdc.store.add_member(group.group_id, account_id=kdc.account_id(who))


def reset(kdc: Kdc, target: str, target_realm: str | None = None) -> tuple[int, str, object]:
    sent = Change(
        ticket=password_ticket(kdc),
        version=SET_PASSWORD,
        target=name(target),
        target_realm=target_realm,
    ).build()
    outcome = ask_change(kdc, sent)
    return open_change_reply(outcome, sent)[0], outcome.why, outcome.facts.get("reset")


def test_administrator_sets_a_password_where_the_realm_says_so(kdc: Kdc) -> None:
    """Members of Domain Admins with kpasswd_admin_reset; event 4724."""
    kdc.add_user("dora", keys=tuple(replace(k, salt="x") for k in key_set(kdc)))
    denied = (5, "only an administrator sets another account's password", True)
    assert reset(kdc, "dora") == denied
    admin(kdc)
    assert reset(kdc, "dora") == denied
    kdc.configure(kpasswd_admin_reset=True, password_min_age_s=86400)
    assert reset(kdc, "dora", "lab.test") == (0, "", True)
    assert logon_code(kdc, NEW, "dora") == 0
    assert reset(kdc, "nobody")[:2] == (
        2,
        "the account whose password is to be set does not exist",
    )
    assert reset(kdc, "dora", "OTHER.TEST")[0] == 2
    for target in ("krbtgt", "pc1$", "web"):
        assert reset(kdc, target)[:2] == (5, "the account has no password to change")


def key_set(kdc: Kdc) -> tuple[PrincipalKey, ...]:
    pat = kdc.store.account_by_name("pat")
    assert pat is not None
    return pat.keys


def test_own_name_as_target_is_a_change_of_ones_own(kdc: Kdc) -> None:
    """RFC 3244 2: targname and targrealm may be there; in any case of the letters."""
    sent = Change(
        ticket=password_ticket(kdc),
        version=SET_PASSWORD,
        target=name("PAT"),
        target_realm="LAB",
    ).build()
    outcome = ask_change(kdc, sent)
    assert open_change_reply(outcome, sent)[0] == 0
    assert outcome.facts["reset"] is False


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            AccountChanges(smartcard_required=True),
            "the account must log on with a key, its password is not changed",
        ),
        (AccountChanges(disabled=True), "the account is disabled"),
        (AccountChanges(name="patricia"), "the account of a password change is not the one"),
    ],
    ids=["smart card", "disabled", "renamed"],
)
def test_account_is_judged_as_it_is_now(kdc: Kdc, changes: AccountChanges, why: str) -> None:
    """Not as it was at the logon, some minutes ago."""
    sent = Change(ticket=password_ticket(kdc)).build()
    kdc.store.update_account(kdc.account_id("pat"), changes)
    outcome = ask_change(kdc, sent)
    assert outcome.why.startswith(why)
    assert open_change_reply(outcome, sent)[0] in (3, 5)


def test_account_without_a_password_has_none_to_change(kdc: Kdc) -> None:
    """A user who logs on with a key gets a password from an administrator only."""
    sent = Change(ticket=password_ticket(kdc)).build()
    kdc.store.set_keys(kdc.account_id("pat"), ())
    outcome = ask_change(kdc, sent)
    assert (open_change_reply(outcome, sent)[0], outcome.why) == (
        5,
        "the account has no password to change",
    )


def test_other_account_under_the_name_changes_nothing(
    kdc: Kdc, changepw_keys: tuple[PrincipalKey, ...]
) -> None:
    """CVE-2021-42287: by the SID of the PAC, and without a PAC by the account's age."""
    ticket = password_ticket(kdc)
    bare = golden(kdc, ticket, lambda p: replace(p, authorization_data=None), key=changepw_keys[0])
    kdc.store.delete_account(kdc.account_id("pat"))
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.USER,
            name="pat",
            created_at=NOW + timedelta(seconds=30),
            keys=(key_of(18),),
        )
    )
    for shown, why in (
        (ticket, "the account of a password change is not the one that logged on"),
        (bare, "the account of a password change is younger than its ticket"),
    ):
        sent = Change(ticket=shown).build()
        outcome = ask_change(kdc, sent)
        assert (open_change_reply(outcome, sent)[0], outcome.why) == (3, why)


def test_swapped_name_changes_nothing_though_its_ticket_was_asked_for_without_a_pac(
    kdc: Kdc,
) -> None:
    """CVE-2021-42287: an older account that gets the ticket's name within its life is another."""
    ticket = password_ticket(
        kdc, "pat", padata(PaType.PAC_REQUEST, b"\x30\x05\xa0\x03\x01\x01\x00")
    )
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(name="pat2"))
    kdc.store.update_account(kdc.account_id("bob"), AccountChanges(name="pat"))
    sent = Change(ticket=ticket).build()
    outcome = ask_change(kdc, sent)
    assert (open_change_reply(outcome, sent)[0], outcome.why) == (
        3,
        "the account of a password change is not the one that logged on",
    )


# -- the store -------------------------------------------------------------------------------


class BrokenStore:
    """A store that cannot write."""

    def __init__(self, kind: DirectoryFault) -> None:
        self.kind = kind

    def password_history(self, account_id: int) -> tuple[PrincipalKey, ...]:
        """Remember nothing."""
        del account_id
        return ()

    def set_keys(self, *_: object, **__: object) -> None:
        """Fail."""
        raise DirectoryError(self.kind, "store: database is locked")


@pytest.mark.parametrize(
    ("kind", "result"),
    [(DirectoryFault.UNAVAILABLE, 4), (DirectoryFault.CORRUPT, 2), (DirectoryFault.INVALID, 2)],
)
def test_password_that_is_not_on_disk_is_no_success(
    kdc: Kdc, kind: DirectoryFault, result: int
) -> None:
    """Another process writes for long, or two changes at once: the old one stays in force."""
    ticket = password_ticket(kdc)
    kdc.realm.passwords = BrokenStore(kind)
    sent = Change(ticket=ticket).build()
    outcome = ask_change(kdc, sent)
    assert (outcome.code, outcome.why) == (29, "the new password could not be stored")
    code, text = open_change_reply(outcome, sent)
    assert (code, "stays in force" in text) == (result, True)


def test_realm_whose_passwords_are_elsewhere_says_so(kdc: Kdc) -> None:
    """KRB5_KPASSWD_HARDERROR."""
    ticket = password_ticket(kdc)
    kdc.realm.passwords = None
    sent = Change(ticket=ticket).build()
    outcome = ask_change(kdc, sent)
    assert open_change_reply(outcome, sent)[0] == 2
    assert outcome.why == "passwords are not changed by this KDC"
