"""PA-ENCRYPTED-CHALLENGE: the password inside the FAST tunnel (RFC 6113 5.4.6).

Who listens cannot try passwords against it: the challenge's key is made of the password's and of
the armor key.
"""

from datetime import datetime

from directory.model import NOBODY, Account
from kdc.crypto.etypes import (
    CONFOUNDER_BYTES,
    KEY_BYTES,
    CryptoError,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
)
from kdc.crypto.rfc6113 import client_challenge_key, kdc_challenge_key
from kdc.errors import KdcError, refusal_from_pki
from kdc.exchange.enc_timestamp import check_account_and_password, use_up_stamp
from kdc.exchange.realm import Realm
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import EncryptedData, PaData, PaEncTsEnc
from kdc.wire.rfc6113 import EncryptedChallenge
from pki import asn1
from pki.errors import PkiError

_USAGE = KeyUsage.ENC_CHALLENGE_CLIENT

WRONG_PASSWORD = "the encrypted challenge does not open: wrong password"  # noqa: S105 - a reason


def verify_enc_challenge(
    value: bytes,
    account: Account,
    etypes: tuple[int, ...],
    armor_key: ProtocolKey,
    realm: Realm,
    now: datetime,
    packet: bytes,
) -> ProtocolKey:
    """Open a PA-ENCRYPTED-CHALLENGE and return the account's key: the reply key.

    value: DER of EncryptedChallenge. It does not say which key it is for, so each that the client
    could have used is tried. Everything else is as for `verify_enc_timestamp`.
    Raises KdcError: KDC_ERR_POLICY (must use a smart card), KDC_ERR_PREAUTH_FAILED,
    KRB_AP_ERR_SKEW, KRB_AP_ERR_REPEAT.
    """
    try:
        sealed = asn1.decode(EncryptedChallenge, value)
    except PkiError as error:
        raise refusal_from_pki(error, "PA-ENCRYPTED-CHALLENGE") from None
    usable = [e for e in dict.fromkeys(etypes) if e in realm.config.supported_enctypes]
    try:
        check_account_and_password(account, realm, now, armored=True)
        newest = {key.etype: key for key in account.newest_keys()}
        keys = [
            ProtocolKey(EncType(etype), newest[etype].key) for etype in usable if etype in newest
        ]
        if not keys:
            raise KdcError(
                ErrorCode.KDC_ERR_PREAUTH_FAILED, "the account has no password key of these types"
            )
    except KdcError as refusal:
        if realm.config.hide_unknown:
            # What an unknown name gets, at the cost of a wrong password for an account with a key
            # of every type.
            for etype in usable:
                _open(
                    sealed, armor_key, ProtocolKey(EncType(etype), bytes(KEY_BYTES[EncType(etype)]))
                )
            realm.directory.record_password_failure(NOBODY, now, realm.lockout, packet)
            raise KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, refusal.why) from None
        raise
    for key in keys:
        plain = _open(sealed, armor_key, key)
        if plain is not None:
            break
    else:
        locked = realm.directory.record_password_failure(
            account.account_id, now, realm.lockout, packet
        )
        raise KdcError(
            ErrorCode.KDC_ERR_PREAUTH_FAILED, WRONG_PASSWORD, locked_now=locked is not None
        )
    label = b"PA-ENCRYPTED-CHALLENGE%d:" % account.account_id
    if not use_up_stamp(plain, label + sealed.cipher, realm, now, packet):
        raise KdcError(ErrorCode.KRB_AP_ERR_REPEAT, "the encrypted challenge was used before")
    realm.directory.record_password_success(account.account_id, now)
    return key


def _open(sealed: EncryptedData, armor_key: ProtocolKey, long_term: ProtocolKey) -> bytes | None:
    try:
        return decrypt(client_challenge_key(armor_key, long_term), _USAGE, sealed.cipher)
    except CryptoError:
        return None


def make_kdc_challenge(
    armor_key: ProtocolKey, long_term: ProtocolKey, realm: Realm, now: datetime
) -> PaData:
    """Make the KDC's PA-ENCRYPTED-CHALLENGE: the proof that it knows the password as well."""
    key = kdc_challenge_key(armor_key, long_term)
    stamp = PaEncTsEnc(patimestamp=now.replace(microsecond=0), pausec=now.microsecond)
    confounder = realm.entropy(CONFOUNDER_BYTES)
    cipher = encrypt(key, KeyUsage.ENC_CHALLENGE_KDC, asn1.encode(stamp), confounder)
    value = asn1.encode(EncryptedChallenge(etype=key.enctype, cipher=cipher))
    return PaData(padata_type=PaType.ENCRYPTED_CHALLENGE, padata_value=value)
