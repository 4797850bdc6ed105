"""Keys from Samba's private socket, live: what only root on the domain controller may read.

`PRIVATE/ldap_priv/ldapi` is a folder that only root can enter; whoever speaks there is SYSTEM, and
unicodePwd and supplementalCredentials, which no network LDAP ever gives out, are readable.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.keysources import AES_ETYPES, NT_HASH_ETYPE, Keys, in_order
from directory.keysources.supplemental_credentials import (
    BadCredentialsError,
    StoredKey,
    newer_keys,
)
from directory.ldap.connection import LdapConnection
from directory.ldap.filters import Filter, all_of, any_of, equal, present
from directory.ldap.messages import Entry, Scope
from directory.ldap.settings import LdapSettings, LdapUrl
from directory.model import PrincipalKey, match_key

SOCKET = Path("ldap_priv/ldapi")
"""Where the socket is in Samba's private folder."""

_log = logging.getLogger(__name__)

_NAME = "samaccountname"
_SECRETS = "supplementalcredentials"
_NT_HASH = "unicodepwd"
_KVNO = "msds-keyversionnumber"
_NUMBER = "msds-secondarykrbtgtnumber"
_ATTRIBUTES = (
    "sAMAccountName",
    "supplementalCredentials",
    "unicodePwd",
    "msDS-KeyVersionNumber",
    "msDS-SecondaryKrbTgtNumber",
)
_NT_HASH_BYTES = 16
_KEY_BYTES = {17: 16, 18: 32, 19: 16, 20: 32}
_FETCH_S = 2.0


class SambaSource:
    """The keys of a Samba domain, read on the private socket of one of its controllers."""

    live = True

    def __init__(self, private: Path, *, nt_hashes: bool = False) -> None:
        """Take Samba's private folder, or the socket itself. nt_hashes: for legacy_ntlm."""
        path = private if private.name == SOCKET.name else private / SOCKET
        self.path = path
        self._etypes = AES_ETYPES
        self._nt_hashes = nt_hashes
        self._url = LdapUrl(scheme="ldapi", path=str(path))
        self._settings = LdapSettings(urls=(self._url,), flavour="samba")
        self._connection: LdapConnection | None = None
        self._base = ""

    def __repr__(self) -> str:
        return f"SambaSource({str(self.path)!r})"

    def load(self) -> Keys:
        """Read all accounts, page by page. Raises DirectoryError(UNAVAILABLE, DENIED)."""
        found: dict[str, tuple[PrincipalKey, ...]] = {}
        connection = self._open()
        with self._closing_on_error():
            for page in connection.pages(self._base, _with_keys(), _ATTRIBUTES):
                for entry in page:
                    name, keys = self._read(entry)
                    if keys:
                        found[match_key(name)] = keys
        return found

    def keys_of(self, name: str) -> tuple[PrincipalKey, ...]:
        """Read one account now. Raises DirectoryError(UNAVAILABLE, DENIED)."""
        wanted = all_of(equal("sAMAccountName", name), _with_keys())
        try:
            entries = self._search(wanted)
        except DirectoryError:
            # Samba may have been started anew since the last question: one new connection.
            self.close()
            entries = self._search(wanted)
        if len(entries) != 1:
            return ()
        return self._read(entries[0])[1]

    def poll(self) -> bool:
        """Say no: an account whose keys have changed has a changed entry, and is asked for."""
        return False

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _search(self, wanted: Filter) -> list[Entry]:
        connection = self._open()
        with self._closing_on_error():
            return connection.entries(
                self._base, Scope.SUBTREE, wanted, _ATTRIBUTES, timeout_s=_FETCH_S, size_limit=2
            )

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _open(self) -> LdapConnection:
        if self._connection is not None and self._connection.is_open:
            return self._connection
        connection = LdapConnection.open(self._url, self._settings)
        try:
            roots = connection.entries("", Scope.BASE, present("objectClass"), (_ROOT,))
            base = roots[0].values(_ROOT.lower())[0].decode() if roots else ""
        except (IndexError, ValueError):
            base = ""
        except BaseException:
            connection.close()
            raise
        if not base:
            connection.close()
            raise DirectoryError(
                DirectoryFault.UNAVAILABLE, f"{self.path} is no Samba domain controller's socket"
            )
        self._connection, self._base = connection, base
        return connection

    def _read(self, entry: Entry) -> tuple[str, tuple[PrincipalKey, ...]]:
        """Return an account's name and keys; one whose secrets do not read has none."""
        name = _text(entry, _NAME)
        try:
            kvno = int(_text(entry, _KVNO) or "0")
            # A read-only controller's krbtgt shows its number in the upper half (MS-KILE 3.1.5.8).
            kvno |= int(_text(entry, _NUMBER) or "0") << 16
            keys = self._kerberos_keys(entry, kvno)
        except (BadCredentialsError, ValueError) as error:
            why = str(error) if isinstance(error, BadCredentialsError) else "its kvno does not read"
            _log.warning("keys of %r cannot be read: %s", name[:64], why)
            return name, ()
        hashes = entry.values(_NT_HASH)
        if self._nt_hashes and len(hashes) == 1 and len(hashes[0]) == _NT_HASH_BYTES:
            keys.append(PrincipalKey(etype=NT_HASH_ETYPE, kvno=kvno, key=hashes[0]))
        return name, in_order(keys)

    def _kerberos_keys(self, entry: Entry, kvno: int) -> list[PrincipalKey]:
        blobs = entry.values(_SECRETS)
        stored = newer_keys(blobs[0]) if len(blobs) == 1 else None
        if stored is None:
            return []
        keys: list[PrincipalKey] = []
        # MS-SAMR 3.1.1.8.11.6: each new password moves the generations on by one.
        for age, generation in enumerate((stored.current, stored.old, stored.older)):
            if kvno - age < 0 or (age and kvno & 0xFFFF <= age):
                break
            keys += [
                PrincipalKey(etype=key.etype, kvno=kvno - age, key=key.key, salt=stored.salt)
                for key in generation
                if self._is_ours(key)
            ]
        return keys

    def _is_ours(self, key: StoredKey) -> bool:
        return key.etype in self._etypes and len(key.key) == _KEY_BYTES[key.etype]


_ROOT = "defaultNamingContext"


def _with_keys() -> Filter:
    return any_of(present("supplementalCredentials"), present("unicodePwd"))


def _text(entry: Entry, name: str) -> str:
    values = entry.values(name)
    return values[0].decode("utf-8", "replace") if len(values) == 1 else ""
