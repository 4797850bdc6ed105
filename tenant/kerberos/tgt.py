"""`tgt_ad`, `tgt_cloud` and `kerberos_top_level_names`: members of a PRT's answer.

Each TGT is a *text* that holds JSON. One that cannot be issued is there all the same, with the
reason in `error`, keyType 0 and the other numbers 0: clients parse it before they look at `error`.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Final

from directory.model import Sid
from kdc.client.partial_tgt import mint_partial_tgt
from kdc.formats.cloud_key import CloudKey
from tenant.state.users import User

Seal = Callable[[bytes], str]
"""Seals a client key under the PRT's session key."""

TOP_LEVEL_NAMES: Final = ".windows.net,.windows.net:1433,.azure.net,.azure.net:1433"
"""Of services whose tickets the cloud's own realm would issue."""

NO_TRUST: Final = "No Kerberos trust is configured for the tenant."
NOT_SYNCED: Final = "The user has no on-premises security identifier and account name."
OTHER_DOMAIN: Final = "The user's on-premises security identifier is of another domain."
NO_CLOUD_REALM: Final = "This tenant has no Kerberos realm of its own."
_MAX_ACCOUNT_NAME: Final = 256


def tgt_members(
    key: CloudKey | None,
    user: User,
    seal: Seal,
    *,
    now: datetime,
    entropy: Callable[[int], bytes],
) -> dict[str, str]:
    """Return the members that a client gets who asks for TGTs.

    key: of the realm's cloud trust. seal: wraps the AS-REP's reply key for the device.
    """
    return {
        "tgt_ad": _tgt_ad(key, user, seal, now, entropy),
        "tgt_cloud": no_tgt(NO_CLOUD_REALM),
        "kerberos_top_level_names": TOP_LEVEL_NAMES,
    }


def _tgt_ad(
    key: CloudKey | None,
    user: User,
    seal: Seal,
    now: datetime,
    entropy: Callable[[int], bytes],
) -> str:
    if key is None:
        return no_tgt(NO_TRUST)
    name = user.onprem_sam or ""
    if user.onprem_sid is None or not 0 < len(name) <= _MAX_ACCOUNT_NAME:
        return no_tgt(NOT_SYNCED)
    try:
        minted = mint_partial_tgt(key, name, Sid.parse(user.onprem_sid), now=now, entropy=entropy)
    except ValueError:
        return no_tgt(OTHER_DOMAIN)
    return minted.token_member(seal(minted.client_key.value)).decode().rstrip()


def no_tgt(error: str) -> str:
    """Return the text of a TGT that was not issued."""
    return json.dumps(
        {
            "clientKey": None,
            "keyType": 0,
            "error": error,
            "messageBuffer": None,
            "realm": None,
            "sn": None,
            "cn": None,
            "sessionKeyType": 0,
            "accountType": 0,
        }
    )
