"""Where the long-term keys of an LDAP realm come from: krbtgt's, services' and passwords'.

A directory gives its secrets to nobody over the network, so they come from beside it: a keytab
(any directory), Samba's private socket (root on the domain controller), or attributes sealed with
the realm's master key (OpenLDAP). Users with a registered key or a certificate need none.

Rules
  1. A key is never in a repr, a log or an error.
  2. A source that cannot be read raises DirectoryError(UNAVAILABLE or DENIED): the follower then
     keeps what it has. One account that cannot be read harms no other: it has no keys.
"""

from collections.abc import Mapping
from typing import Protocol

from directory.model import PrincipalKey, match_key

Keys = Mapping[str, tuple[PrincipalKey, ...]]
"""By `match_key` of the sAMAccountName; of a servicePrincipalName when there is a "/" in it."""

KRBTGT = "krbtgt"
PASSWORD_SERVICE = "kadmin/changepw"  # noqa: S105  another name of krbtgt in AD and Samba
AES_ETYPES = frozenset((17, 18, 19, 20))
"""RFC 3962 and RFC 8009: those this KDC has."""
NT_HASH_ETYPE = 23
"""The number of RC4-HMAC, whose key is the NT hash. Not a key of this KDC: a source gives it only
in a realm with legacy_ntlm, where PAC_CREDENTIAL_INFO needs it."""


class KeySource(Protocol):
    """Gives the long-term keys of accounts, newest kvno first."""

    live: bool
    """Whether `keys_of` asks the source anew. The follower then asks when an account's entry has
    changed; a source that is not live is polled and loaded again as a whole."""

    def load(self) -> Keys:
        """Read all keys. Raises DirectoryError: UNAVAILABLE, DENIED, INVALID."""

    def keys_of(self, name: str) -> tuple[PrincipalKey, ...]:
        """Return the keys of one account by sAMAccountName, () when it has none.

        A source that is not live answers from what it loaded last. Raises DirectoryError as load.
        """

    def poll(self) -> bool:
        """Tell whether the whole has to be loaded again. Raises nothing."""

    def close(self) -> None:
        """Give up what the source holds open."""


def keys_of_account(
    loaded: Keys, sam_account_name: str, spns: tuple[str, ...] = ()
) -> tuple[PrincipalKey, ...]:
    """Return an account's keys out of a load: by its own name, else by one of its SPNs'.

    Whoever may write SPNs chooses these names, so one that is no class/instance leads nowhere (it
    would be an account's own name), nor do those under which krbtgt's keys are exported.
    """
    found = loaded.get(match_key(sam_account_name))
    if found:
        return found
    for spn in spns:
        key = match_key(spn)
        if "/" not in key or key.partition("/")[0] == KRBTGT or key == PASSWORD_SERVICE:
            continue
        found = loaded.get(key)
        if found:
            return found
    return ()


def in_order(keys: list[PrincipalKey]) -> tuple[PrincipalKey, ...]:
    """Sort keys, newest kvno first and the strongest etype of each first; one for each pair."""
    once = {(key.kvno, key.etype): key for key in keys}
    return tuple(sorted(once.values(), key=_rank))


def _rank(key: PrincipalKey) -> tuple[int, bool, int]:
    return -key.kvno, key.etype == NT_HASH_ETYPE, -key.etype


def windows_salt(realm: str, sam_account_name: str) -> str:
    """Return the salt that Windows and Samba give an account's keys (MS-KILE 3.1.1.2).

    A user who was renamed keeps the salt of the old name until the next password; only the
    directory's own record of it (samba_ldapi) knows that one.
    """
    if sam_account_name.endswith("$"):
        host = sam_account_name[:-1].lower()
        return f"{realm.upper()}host{host}.{realm.lower()}"
    return f"{realm.upper()}{sam_account_name}"
