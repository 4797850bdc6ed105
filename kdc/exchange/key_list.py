"""KERB-KEY-LIST-REQ: the client's own long-term keys in a TGS-REP (MS-KILE 3.3.5.7.8).

A client that proved itself to the cloud gets what it needs for NTLM or for logons without network.
They are as good as its password, so they leave only when all of this is true: the realm has
`cloud_trust.key_list = "on"`, a partial TGT was shown, its client passed every check of
`partial_tgt`, and a TGT is asked for. Whatever is missing, the ticket is issued without them.
"""

from dataclasses import dataclass, field
from typing import Literal

from directory.backend import Directory
from directory.model import Account
from kdc.errors import KdcError
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.ms_kile import KERB_KEY_LIST_REP, KERB_KEY_LIST_REQ
from kdc.wire.rfc4120 import EncryptionKey, PaData
from pki import asn1
from pki.errors import PkiError

NT_HASH_ETYPE = 23
"""rc4-hmac, whose key is the NT hash (RFC 4757 2): all that Windows' clients ask for."""

Outcome = Literal["off", "not a partial TGT", "not for a TGT", "no such key", "issued"]


@dataclass(slots=True, kw_only=True)
class KeyList:
    """What becomes of a request for keys."""

    outcome: Outcome
    """For the audit record."""
    asked: tuple[int, ...]
    given: tuple[int, ...] = ()
    value: bytes | None = field(default=None, repr=False)
    """DER of KERB-KEY-LIST-REP; None: there is none in the reply."""


def wanted_keys(padata: tuple[PaData, ...]) -> tuple[int, ...] | None:
    """Return the encryption types that a client asks its keys of, each once; None: it does not.

    Raises KdcError(KRB_ERR_GENERIC) for a malformed request.
    """
    for pa in padata:
        if pa.padata_type == PaType.KERB_KEY_LIST_REQ:
            try:
                asked: tuple[int, ...] = asn1.decode_as(KERB_KEY_LIST_REQ, pa.padata_value)
            except PkiError:
                raise KdcError(
                    ErrorCode.KRB_ERR_GENERIC, "KERB-KEY-LIST-REQ is malformed"
                ) from None
            return tuple(dict.fromkeys(asked))
    return None


def decide_key_list(
    asked: tuple[int, ...],
    account: Account,
    directory: Directory,
    *,
    allowed: bool,
    partial: bool,
    is_tgt: bool,
) -> KeyList:
    """Decide on a request for keys. account: the client's, with every check passed.

    allowed: cloud_trust.key_list is on. partial: a partial TGT was shown. is_tgt: one is asked for.
    Raises DirectoryError.
    """
    if not allowed:
        return KeyList(outcome="off", asked=asked)
    if not partial:
        return KeyList(outcome="not a partial TGT", asked=asked)
    if not is_tgt:
        return KeyList(outcome="not for a TGT", asked=asked)
    own = {key.etype: key.key for key in account.newest_keys()}
    if NT_HASH_ETYPE in asked:
        nt_hash = directory.nt_hash(account.account_id)
        if nt_hash is not None:
            own[NT_HASH_ETYPE] = nt_hash
    given = tuple(etype for etype in asked if etype in own)
    if not given:
        return KeyList(outcome="no such key", asked=asked)
    keys = tuple(EncryptionKey(keytype=etype, keyvalue=own[etype]) for etype in given)
    value = asn1.encode_as(KERB_KEY_LIST_REP, keys)
    return KeyList(outcome="issued", asked=asked, given=given, value=value)
