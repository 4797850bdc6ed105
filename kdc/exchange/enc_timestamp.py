"""PA-ENC-TIMESTAMP: pre-authentication with a password (RFC 4120 5.2.7.2)."""

import contextlib
import hashlib
from datetime import datetime, timedelta

from directory.model import NOBODY, Account, AccountKind, PrincipalKey
from kdc.crypto.etypes import (
    ENC_TYPES,
    KEY_BYTES,
    CryptoError,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
)
from kdc.errors import KdcError, refusal_from_pki
from kdc.exchange.realm import Realm
from kdc.policy import check_account_state
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import EncryptedData, PaEncTsEnc
from pki import asn1
from pki.errors import PkiError

_USAGE = KeyUsage.PA_ENC_TIMESTAMP

WRONG_PASSWORD = "the encrypted timestamp does not open: wrong password"  # noqa: S105 - a reason


def check_account_and_password(
    account: Account, realm: Realm, now: datetime, *, armored: bool
) -> None:
    """Check that an account may log on with a password: inside the FAST tunnel, or outside.

    Assumes the account's state is checked, but for `hide_unknown`. A computer's password is drawn
    at random, and its TGT is the armor of others: `require_fast` is not for it.
    Raises KdcError: KDC_ERR_POLICY, KDC_ERR_CLIENT_REVOKED.
    """
    if realm.config.hide_unknown:
        check_account_state(account, now)
    if account.smartcard_required:
        raise KdcError(ErrorCode.KDC_ERR_POLICY, "the account must log on with a key, no password")
    if realm.config.require_fast and not armored and account.kind is AccountKind.USER:
        raise KdcError(
            ErrorCode.KDC_ERR_POLICY, "a user's password is taken inside FAST only (require_fast)"
        )


def _password_key(account: Account, etype: int) -> PrincipalKey:
    """Find the key that a timestamp of this type must be sealed with."""
    for candidate in account.newest_keys():
        if candidate.etype == etype:
            return candidate
    raise KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, "the account has no password key of this type")


def _spend_as_for_a_wrong_password(
    sealed: EncryptedData, realm: Realm, now: datetime, packet: bytes
) -> None:
    """Do the work that a wrong password costs, so that its time does not tell names apart."""
    etype = EncType(sealed.etype)
    with contextlib.suppress(CryptoError):
        decrypt(ProtocolKey(etype, bytes(KEY_BYTES[etype])), _USAGE, sealed.cipher)
    realm.directory.record_password_failure(NOBODY, now, realm.lockout, packet)


def verify_enc_timestamp(
    value: bytes,
    account: Account,
    etypes: tuple[int, ...],
    realm: Realm,
    now: datetime,
    packet: bytes,
) -> ProtocolKey:
    """Open a PA-ENC-TIMESTAMP with the account's key and return that key: the reply key.

    value: DER of EncryptedData. etypes: the request's own, the key's must be among them.
    packet: SHA-256 of the whole packet, so that its retransmission is no replay, and a wrong
    password in it counts once.
    Assumes the account's state is checked, but for `hide_unknown`.
    Raises KdcError: KDC_ERR_POLICY (must use a smart card), KDC_ERR_ETYPE_NOSUPP,
    KDC_ERR_PREAUTH_FAILED, KRB_AP_ERR_SKEW, KRB_AP_ERR_REPEAT.
    """
    try:
        sealed = asn1.decode(EncryptedData, value)
    except PkiError as error:
        raise refusal_from_pki(error, "PA-ENC-TIMESTAMP") from None
    if sealed.etype not in etypes or sealed.etype not in realm.config.supported_enctypes:
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP, "the timestamp's encryption type is not accepted"
        )
    try:
        check_account_and_password(account, realm, now, armored=False)
        candidate = _password_key(account, sealed.etype)
    except KdcError as refusal:
        if realm.config.hide_unknown:
            # What an unknown name gets, at the same cost. To tell the state only to who has the
            # password would let a locked account's password be guessed on.
            _spend_as_for_a_wrong_password(sealed, realm, now, packet)
            raise KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, refusal.why) from None
        raise
    key = ProtocolKey(ENC_TYPES[candidate.etype], candidate.key)
    try:
        plain = decrypt(key, _USAGE, sealed.cipher)
    except CryptoError:
        locked = realm.directory.record_password_failure(
            account.account_id, now, realm.lockout, packet
        )
        raise KdcError(
            ErrorCode.KDC_ERR_PREAUTH_FAILED, WRONG_PASSWORD, locked_now=locked is not None
        ) from None
    label = b"PA-ENC-TIMESTAMP%d:" % account.account_id
    if not use_up_stamp(plain, label + sealed.cipher, realm, now, packet):
        raise KdcError(ErrorCode.KRB_AP_ERR_REPEAT, "the encrypted timestamp was used before")
    realm.directory.record_password_success(account.account_id, now)
    return key


def use_up_stamp(plain: bytes, identity: bytes, realm: Realm, now: datetime, packet: bytes) -> bool:
    """Check the time in a PA-ENC-TS-ENC and remember it; return whether it was new.

    plain: its DER. identity: what must not come twice: kind, account and ciphertext.
    Raises KdcError: KRB_AP_ERR_SKEW, KDC_ERR_PREAUTH_FAILED (malformed).
    """
    try:
        stamp = asn1.decode(PaEncTsEnc, plain)
    except PkiError as error:
        raise refusal_from_pki(error, "PA-ENC-TS-ENC") from None
    skew = timedelta(seconds=realm.config.clockskew_s)
    if abs(now - stamp.patimestamp) > skew:
        raise KdcError(ErrorCode.KRB_AP_ERR_SKEW, "the timestamp is outside the clock skew")
    if stamp.patimestamp < realm.replay.oldest_acceptable(now):
        raise KdcError(ErrorCode.KRB_AP_ERR_SKEW, "the timestamp is older than the replay memory")
    digest = hashlib.sha256(identity).digest()
    return realm.replay.remember(digest, ctime=stamp.patimestamp, now=now, packet=packet)
