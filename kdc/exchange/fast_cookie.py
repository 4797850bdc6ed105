"""PA-FX-COOKIE (RFC 6113 5.2), stateless: any KDC of the realm can check any other's.

No mechanism of ours keeps anything in a conversation, so a cookie says no more than when it was
made and for which client. A cookie is four octets of our own, then the DER of EncryptedData{
krbtgt's etype and kvno}; sealed are a digest of the client's name and a PA-ENC-TS-ENC.

It is sent inside the tunnel only. Outside, anybody could take it out of the messages, and it would
make every error to anybody a hundred octets longer.
"""

import hashlib
from datetime import datetime, timedelta
from hmac import compare_digest

from directory.model import Account
from kdc.crypto.etypes import CryptoError, KeyUsage
from kdc.errors import KdcError
from kdc.exchange.krbtgt_seal import seal, unseal
from kdc.exchange.realm import Entropy
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import PaData, PaEncTsEnc, PrincipalName
from pki import asn1
from pki.errors import PkiError

HEADER = b"KT1\x00"
COOKIE_LIFE = timedelta(minutes=10)
"""MIT's: whoever types a password for longer starts anew."""
MAX_COOKIE_BYTES = 512  # ours have about 150
_DIGEST_BYTES = 32


def make_cookie(
    krbtgt: Account, cname: PrincipalName | None, now: datetime, entropy: Entropy
) -> PaData:
    """Make a cookie for this client's next message."""
    plain = _digest(cname) + asn1.encode(PaEncTsEnc(patimestamp=now))
    sealed = seal(krbtgt, KeyUsage.PA_FX_COOKIE, plain, entropy)
    return PaData(padata_type=PaType.FX_COOKIE, padata_value=HEADER + sealed)


def check_cookie(
    padata: tuple[PaData, ...],
    krbtgt: Account,
    cname: PrincipalName | None,
    now: datetime,
    skew: timedelta,
) -> None:
    """Check the cookie of a request, if it has one of ours; another KDC's is left alone.

    Windows and MIT ignore each other's as well: a client may have met another KDC before.
    Raises KdcError: KDC_ERR_PREAUTH_FAILED (garbled, or another client's),
    KDC_ERR_PREAUTH_EXPIRED (too old: the client starts anew).
    """
    for pa in padata:
        if pa.padata_type == PaType.FX_COOKIE and pa.padata_value.startswith(HEADER):
            _check(pa.padata_value, krbtgt, cname, now, skew)


def _garbled() -> KdcError:
    # Made where it is raised: in a variable it would hold the frame that holds it.
    return KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, "the FX-COOKIE is not one of ours")


def _check(
    value: bytes, krbtgt: Account, cname: PrincipalName | None, now: datetime, skew: timedelta
) -> None:
    if len(value) > MAX_COOKIE_BYTES:
        raise _garbled()
    try:
        plain = unseal(krbtgt, KeyUsage.PA_FX_COOKIE, value[len(HEADER) :])
        stamp = None if plain is None else asn1.decode(PaEncTsEnc, plain[_DIGEST_BYTES:])
    except (CryptoError, PkiError):
        raise _garbled() from None
    if plain is None or stamp is None:
        # krbtgt's keys were changed twice since: it is old, whatever time is in it.
        raise KdcError(
            ErrorCode.KDC_ERR_PREAUTH_EXPIRED, "the FX-COOKIE is sealed with an unknown key"
        )
    if not compare_digest(plain[:_DIGEST_BYTES], _digest(cname)):
        raise KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, "the FX-COOKIE is another client's")
    if not -skew <= now - stamp.patimestamp <= COOKIE_LIFE:
        raise KdcError(ErrorCode.KDC_ERR_PREAUTH_EXPIRED, "the FX-COOKIE has expired")


def _digest(cname: PrincipalName | None) -> bytes:
    parts = () if cname is None else cname.name_string
    name = PrincipalName(name_type=0, name_string=parts)
    return hashlib.sha256(asn1.encode(name)).digest()
