"""PKINIT freshness tokens (RFC 8070), stateless: any KDC of the realm can check any other's.

A token is two zero octets and the DER of EncryptedData{krbtgt's etype and kvno} of a
PA-ENC-TS-ENC, sealed with key usage 60. That is the form Samba and Windows use, so tests written
for them apply. pausec is left out, so that every token has the same length.
"""

from datetime import datetime, timedelta

from directory.model import Account
from kdc.crypto.etypes import CryptoError, KeyUsage
from kdc.errors import KdcError
from kdc.exchange.krbtgt_seal import seal, unseal
from kdc.exchange.realm import Entropy
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import PaEncTsEnc
from pki import asn1
from pki.errors import PkiError

HEADER = b"\x00\x00"
MAX_TOKEN_BYTES = 512  # ours have about 110

_GARBLED = "the freshness token is not one of ours"


def make_freshness_token(krbtgt: Account, now: datetime, entropy: Entropy) -> bytes:
    """Make a token that says when it was made."""
    plain = asn1.encode(PaEncTsEnc(patimestamp=now))
    return HEADER + seal(krbtgt, KeyUsage.AS_FRESHNESS, plain, entropy)


def _garbled() -> KdcError:
    return KdcError(ErrorCode.KRB_AP_ERR_MODIFIED, _GARBLED)


def verify_freshness_token(
    token: bytes, krbtgt: Account, now: datetime, skew: timedelta
) -> datetime:
    """Return when a token was made, if one of our keys made it and it is recent.

    Raises KdcError: KRB_AP_ERR_MODIFIED (garbled), KDC_ERR_PREAUTH_FAILED (a key we do not have),
    KDC_ERR_PREAUTH_EXPIRED (outside the clock skew).
    """
    if len(token) > MAX_TOKEN_BYTES or token[:2] != HEADER:
        raise _garbled()
    try:
        plain = unseal(krbtgt, KeyUsage.AS_FRESHNESS, token[2:])
        stamp = None if plain is None else asn1.decode(PaEncTsEnc, plain)
    except (CryptoError, PkiError):
        raise _garbled() from None
    if stamp is None:
        raise KdcError(
            ErrorCode.KDC_ERR_PREAUTH_FAILED, "the freshness token is sealed with an unknown key"
        )
    if abs(now - stamp.patimestamp) > skew:
        raise KdcError(ErrorCode.KDC_ERR_PREAUTH_EXPIRED, "the freshness token has expired")
    return stamp.patimestamp
