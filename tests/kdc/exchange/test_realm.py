"""What a worker keeps between requests: its key-agreement keys, ready keys and certificates."""

from datetime import timedelta

import pytest

from directory.model import PrincipalKey
from kdc.crypto.key_agreement import GROUPS
from kdc.errors import KdcError
from kdc.exchange import realm
from kdc.exchange.pkinit_reply import choose_signer
from kdc.exchange.realm import FRESH_KEY_EXPIRATION, DhKeys, KdcSigners, LongTermKeys
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4556 import AuthPack, PkAuthenticator
from tests.kdc.builders import NOW, kdc_signers, random_keys

MINUTE = timedelta(minutes=1)


def test_reusable_key_serves_its_group_for_its_life() -> None:
    """RFC 4556 3.2.3.1: one key a group, given up at its dhKeyExpiration."""
    keys = DhKeys(MINUTE)
    first = keys.reusable(GROUPS["p256"], NOW)
    assert first.expires == NOW + MINUTE
    assert keys.reusable(GROUPS["p256"], NOW + MINUTE - timedelta(microseconds=1)) is first
    assert keys.reusable(GROUPS["p384"], NOW) is not first
    assert keys.reusable(GROUPS["p256"], NOW + MINUTE) is not first


def test_reusable_key_of_a_clock_ahead_is_given_up() -> None:
    """A clock set back must not keep a key alive beyond its life."""
    keys = DhKeys(MINUTE)
    ahead = keys.reusable(GROUPS["p256"], NOW + MINUTE)
    assert keys.reusable(GROUPS["p256"], NOW) is not ahead


def test_fresh_key_is_never_kept() -> None:
    """Wire facts 2.4: Windows says two hours, though the key serves one reply."""
    keys = DhKeys(MINUTE)
    one, other = (keys.fresh(GROUPS["p256"], NOW) for _ in range(2))
    assert one.pair.public != other.pair.public
    assert one.expires == NOW + FRESH_KEY_EXPIRATION


def test_ready_key_is_made_once() -> None:
    """What is derived from a long-term key serves every request."""
    keys = LongTermKeys()
    krbtgt = random_keys("krbtgt")[0]
    ready = keys.ready(krbtgt)
    assert (ready.enctype, ready.value) == (krbtgt.etype, krbtgt.key)
    assert keys.ready(krbtgt) is ready


def test_ready_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Design requirement 10: a full memory starts anew."""
    monkeypatch.setattr(realm, "MAX_KEPT_KEYS", 2)
    keys = LongTermKeys()
    one, two, three = (
        PrincipalKey(etype=18, kvno=kvno, key=bytes((kvno,)) * 32) for kvno in (1, 2, 3)
    )
    first = keys.ready(one)
    keys.ready(two)
    assert keys.ready(one) is first
    keys.ready(three)
    assert keys.ready(one) is not first


def test_kdc_without_certificates_has_no_signer() -> None:
    """Wire facts 2.4: 16, should the table ever let such a request through."""
    assert not KdcSigners()
    assert kdc_signers()
    auth_pack = AuthPack(pk_authenticator=PkAuthenticator(cusec=0, ctime=NOW, nonce=0))
    with pytest.raises(KdcError) as caught:
        choose_signer(auth_pack, KdcSigners())
    assert (caught.value.code, caught.value.why) == (
        ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP,
        "this KDC has no certificate",
    )
