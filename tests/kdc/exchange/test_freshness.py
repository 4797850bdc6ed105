"""PKINIT freshness tokens (RFC 8070): rows F03 to F07."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from directory.model import Account, AccountKind
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, encrypt
from kdc.exchange.freshness import make_freshness_token, verify_freshness_token
from kdc.outcome import Outcome
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import EncryptedData, PaEncTsEnc
from pki import asn1
from tests.kdc.builders import (
    NOW,
    Kdc,
    PkinitRequest,
    Seeded,
    as_req,
    issued_ticket,
    method_data,
    open_reply,
    padata,
    random_keys,
    refused,
)

MODIFIED = (ErrorCode.KRB_AP_ERR_MODIFIED, "the freshness token is not one of ours")
EXPIRED = (ErrorCode.KDC_ERR_PREAUTH_EXPIRED, "the freshness token has expired")
UNKNOWN_KEY = (
    ErrorCode.KDC_ERR_PREAUTH_FAILED,
    "the freshness token is sealed with an unknown key",
)


def token_of(kdc: Kdc) -> bytes:
    """Ask the KDC for a token."""
    outcome = kdc.ask(as_req(PkinitRequest().body, padata(PaType.AS_FRESHNESS)))
    (token,) = (
        p.padata_value for p in method_data(outcome) if p.padata_type == PaType.AS_FRESHNESS
    )
    return token


def return_token(kdc: Kdc, token: bytes | None, after_s: int = 0) -> Outcome:
    """Log on with a token in the AuthPack."""
    at = NOW + timedelta(seconds=after_s)
    return kdc.ask(PkinitRequest(freshness_token=token, ctime=at).build().message, at=at)


def sealed(
    *,
    etype: int = 18,
    kvno: int | None = 1,
    usage: int = KeyUsage.AS_FRESHNESS,
    plain: bytes | None = None,
    owner: str = "krbtgt",
) -> bytes:
    """Make a token by hand, with one thing different."""
    key = next(k for k in random_keys(owner) if k.etype == etype)
    protocol_key = ProtocolKey(EncType(etype), key.key)
    if plain is None:
        plain = asn1.encode(PaEncTsEnc(patimestamp=NOW, pausec=0))
    cipher = encrypt(protocol_key, usage, plain, bytes(16))
    return b"\x00\x00" + asn1.encode(EncryptedData(etype=etype, kvno=kvno, cipher=cipher))


def test_offered_token_is_accepted(kdc: Kdc) -> None:
    """RFC 8070 2.3; the audit record says that the logon was fresh."""
    request = PkinitRequest(freshness_token=token_of(kdc)).build()
    outcome = kdc.ask(request.message)
    open_reply(outcome, request, kdc)
    assert outcome.facts["fresh"] is True


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_token_under_any_key_of_the_krbtgt_is_accepted(kdc: Kdc, etype: int) -> None:
    """Wire facts 2.4: two zero octets, EncryptedData with etype and kvno, usage 60."""
    issued_ticket(return_token(kdc, sealed(etype=etype)))


def test_missing_token_is_accepted_by_default(kdc: Kdc) -> None:
    """RFC 8070 2.4: whether a token is needed is the KDC's policy."""
    outcome = return_token(kdc, None)
    issued_ticket(outcome)
    assert outcome.facts["fresh"] is False


def test_missing_token_fails_when_required(kdc: Kdc) -> None:
    """Row F03."""
    kdc.configure(pkinit_require_freshness=True)
    assert refused(return_token(kdc, None)) == (
        ErrorCode.KDC_ERR_PREAUTH_FAILED,
        "a freshness token is required (pkinit_require_freshness)",
    )
    issued_ticket(return_token(kdc, token_of(kdc)))


@pytest.mark.parametrize("seconds", [301, 3600])
def test_old_token_has_expired(kdc: Kdc, seconds: int) -> None:
    """Row F04; RFC 8070 2.3: KDC_ERR_PREAUTH_EXPIRED."""
    assert refused(return_token(kdc, token_of(kdc), after_s=seconds)) == EXPIRED


def test_token_from_the_future_has_expired(kdc: Kdc) -> None:
    """Row F04: no KDC of this realm with a right clock has made it."""
    plain = asn1.encode(PaEncTsEnc(patimestamp=NOW + timedelta(seconds=301), pausec=0))
    assert refused(return_token(kdc, sealed(plain=plain))) == EXPIRED


def test_token_at_the_clock_skew_is_accepted(kdc: Kdc) -> None:
    """Row F04, control: the window is the clock skew."""
    issued_ticket(return_token(kdc, token_of(kdc), after_s=300))


@pytest.mark.parametrize(
    "change",
    [
        lambda token: b"",
        lambda token: b"\x00",
        lambda token: b"\x00\x00",
        lambda token: b"\x00\x01" + token[2:],
        lambda token: token[2:],
        lambda token: token[:-1],
        lambda token: token + b"\x00",
        lambda token: token[:-1] + bytes((token[-1] ^ 1,)),
        lambda token: b"\x00\x00" + bytes(511),
        lambda token: token[:2] + bytes((token[2] ^ 1,)) + token[3:],
    ],
    ids=[
        "empty",
        "one octet",
        "header alone",
        "wrong header",
        "no header",
        "cut",
        "longer",
        "flipped bit",
        "over the limit",
        "not a SEQUENCE",
    ],
)
def test_garbled_token_is_modified(kdc: Kdc, change: Callable[[bytes], bytes]) -> None:
    """Row F05: KRB_AP_ERR_MODIFIED."""
    assert refused(return_token(kdc, change(token_of(kdc)))) == MODIFIED


@pytest.mark.parametrize("plain", [b"", b"\x30\x00"], ids=["empty", "no time"])
def test_token_with_something_else_inside_is_modified(kdc: Kdc, plain: bytes) -> None:
    """Row F05: sealed by our key, but no PA-ENC-TS-ENC."""
    assert refused(return_token(kdc, sealed(plain=plain))) == MODIFIED


def test_token_of_another_usage_is_modified(kdc: Kdc) -> None:
    """Row F05: key usage 60 keeps other encrypted timestamps from being tokens."""
    assert refused(return_token(kdc, sealed(usage=KeyUsage.PA_ENC_TIMESTAMP))) == MODIFIED


@pytest.mark.parametrize(
    "kvno", [None, 0, 2, 0x7FFF0001, -0x7FFF], ids=["none", "0", "2", "RODC", "negative"]
)
def test_token_under_a_key_we_do_not_have_fails(kdc: Kdc, kvno: int | None) -> None:
    """Row F06: another realm's or a read-only KDC's krbtgt is 24."""
    assert refused(return_token(kdc, sealed(kvno=kvno))) == UNKNOWN_KEY


def test_token_of_another_realms_krbtgt_is_modified(kdc: Kdc) -> None:
    """Row F06's neighbour: the same kvno, but another key, does not open."""
    assert refused(return_token(kdc, sealed(owner="krbtgt of OTHER.TEST"))) == MODIFIED


def test_token_of_the_last_krbtgt_generation_is_accepted(kdc: Kdc) -> None:
    """A rotation of the krbtgt between token and logon disturbs nobody."""
    token = token_of(kdc)
    krbtgt = kdc.store.krbtgt()
    kdc.store.set_keys(krbtgt.account_id, random_keys("krbtgt", kvno=2), keep_generations=1)
    issued_ticket(return_token(kdc, token))
    assert token_of(kdc) != token


def test_token_serves_two_auth_packs(kdc: Kdc) -> None:
    """Row F07, control: a token is no nonce; replays are the replay memory's matter."""
    token = token_of(kdc)
    for _ in range(2):
        issued_ticket(return_token(kdc, token))


def _krbtgt(kvno: int) -> Account:
    return Account(
        account_id=0,
        sam_account_name="krbtgt",
        kind=AccountKind.KRBTGT,
        created_at=NOW,
        keys=random_keys("krbtgt", kvno),
    )


def test_any_kdc_of_the_realm_can_check_a_token() -> None:
    """RFC 8070 2.2: stateless; only the krbtgt key is shared."""
    token = make_freshness_token(_krbtgt(3), NOW, Seeded("one KDC"))
    assert verify_freshness_token(token, _krbtgt(3), NOW, timedelta(0)) == NOW
