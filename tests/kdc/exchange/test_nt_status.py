"""The NTSTATUS of refusals (MS-KILE 2.2.1), in the clear and through the FAST tunnel."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kdc.wire.constants import ErrorCode
from kdc.wire.ms_kile import KERB_ERR_TYPE_EXTENDED, NtStatus
from tests.kdc.builders import (
    NOW,
    Kdc,
    as_req,
    body_for,
    enc_timestamp,
    error_of,
    key_of,
    name,
    password_keys,
)
from tests.kdc.fast_builders import (
    Armor,
    FastAsRequest,
    FastTgsRequest,
    enc_challenge,
    fast_refusal,
)
from tests.kdc.s4u_builders import SELF_BODY, ForUser, ask_for, change, status_of
from tests.kdc.tgs_builders import LATER, TgsRequest, ask_tgs, key_tgt, password_tgt

REVOKED, POLICY, EXPIRED = (
    ErrorCode.KDC_ERR_CLIENT_REVOKED,
    ErrorCode.KDC_ERR_POLICY,
    ErrorCode.KDC_ERR_KEY_EXPIRED,
)
STATES: tuple[tuple[dict[str, object], ErrorCode, int], ...] = (
    ({"disabled": True}, REVOKED, NtStatus.ACCOUNT_DISABLED),
    ({"expires_at": NOW - timedelta(days=1)}, REVOKED, NtStatus.ACCOUNT_EXPIRED),
    ({"logon_hours": bytes(21)}, POLICY, NtStatus.INVALID_LOGON_HOURS),
    ({"must_change_password": True}, EXPIRED, NtStatus.PASSWORD_MUST_CHANGE),
    ({"password_expires_at": NOW - timedelta(days=1)}, EXPIRED, NtStatus.PASSWORD_EXPIRED),
)
OF_ACCOUNTS = STATES[:3]
"""What refuses tickets of a TGT as well."""


def _inside(value: bytes) -> int:
    assert len(value) == 12
    return int.from_bytes(value[:4], "little")


@pytest.mark.parametrize(("changes", "code", "status"), STATES)
def test_logon_in_the_clear(
    kdc: Kdc, changes: dict[str, object], code: ErrorCode, status: int
) -> None:
    """KERB-ERROR-DATA with the reason, as Windows' clients show it."""
    change(kdc, "pat", **changes)
    outcome = kdc.ask(as_req(body_for("pat"), enc_timestamp(key_of(18))))
    assert (outcome.code, status_of(outcome)) == (code, status)


@pytest.mark.parametrize(("changes", "code", "status"), STATES)
def test_logon_inside_the_tunnel(
    kdc: Kdc, changes: dict[str, object], code: ErrorCode, status: int
) -> None:
    """RFC 6113 5.4.4: e-data become padata; the outer error has none of its own."""
    armor = Armor(tgt=key_tgt(kdc, "pc1"))
    change(kdc, "pat", **changes)
    sent = FastAsRequest(armor=armor, inside=(enc_challenge(armor.key),)).build()
    outcome = kdc.ask(sent.message, at=LATER)
    assert outcome.code == code
    assert _inside(fast_refusal(outcome, sent).value(KERB_ERR_TYPE_EXTENDED)) == status


@pytest.mark.parametrize(("changes", "code", "status"), OF_ACCOUNTS)
def test_service_ticket_in_the_clear_and_inside(
    kdc: Kdc, changes: dict[str, object], code: ErrorCode, status: int
) -> None:
    """Row T20: the account is judged for each ticket, and the client is told why."""
    tgt = password_tgt(kdc)
    change(kdc, "pat", **changes)
    outcome = ask_tgs(kdc, TgsRequest(tgt=tgt))
    assert (outcome.code, status_of(outcome)) == (code, status)
    sent = FastTgsRequest(tgt=tgt).build()
    outcome = kdc.ask(sent.message, at=LATER)
    assert outcome.code == code
    assert _inside(fast_refusal(outcome, sent).value(KERB_ERR_TYPE_EXTENDED)) == status


def test_user_of_s4u2self_in_the_clear_and_inside(kdc: Kdc) -> None:
    """MS-SFU 3.2.5.1.2: the user's own state reaches the service."""
    kdc.add_user("user2", keys=password_keys("user2"), disabled=True)
    tgt = key_tgt(kdc, "pc1")
    asked = ForUser(user=name("user2"))
    outcome = ask_for(kdc, tgt, asked)[0]
    assert (outcome.code, status_of(outcome)) == (REVOKED, NtStatus.ACCOUNT_DISABLED)
    inside = (asked.build(tgt.session),)
    sent = FastTgsRequest(tgt=tgt, body=replace(SELF_BODY), inside=inside).build()
    outcome = kdc.ask(sent.message, at=LATER)
    assert outcome.code == REVOKED
    status = fast_refusal(outcome, sent).value(KERB_ERR_TYPE_EXTENDED)
    assert _inside(status) == NtStatus.ACCOUNT_DISABLED


def test_locked_account(kdc: Kdc) -> None:
    """The state that changes by itself."""
    kdc.configure(lockout_threshold=1)
    for _ in range(2):
        outcome = kdc.ask(as_req(body_for("pat"), enc_timestamp(key_of(18, "wrong"))))
    assert (outcome.code, status_of(outcome)) == (REVOKED, NtStatus.ACCOUNT_LOCKED_OUT)


def test_hidden_names_have_no_status(kdc: Kdc) -> None:
    """Row A08: where names are hidden a wrong password is told nothing of the account."""
    kdc.configure(hide_unknown=True)
    change(kdc, "pat", disabled=True)
    outcome = kdc.ask(as_req(body_for("pat"), enc_timestamp(key_of(18))))
    other = kdc.ask(as_req(body_for("zed"), enc_timestamp(key_of(18))))
    assert outcome.code == other.code == ErrorCode.KDC_ERR_PREAUTH_FAILED
    assert len(error_of(outcome).e_data or b"") == len(error_of(other).e_data or b"")
