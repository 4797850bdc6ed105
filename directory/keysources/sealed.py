"""Keys in the directory itself, each account's sealed with the realm's master key (OpenLDAP).

keytrustSealedKeys (conf/ldap/keytrust-schema.ldif) has one value: nonce, ciphertext and tag of
AES-256-GCM, bound to the account's objectSid, so that a value copied onto another entry does not
open. Inside, big-endian: octet 1 (version), uint8 count, then for each key int32 etype, uint32
kvno, uint16 length and salt (UTF-8), uint16 length and key. Whoever has the master key reads them;
the directory, its backups and its administrators do not.
"""

import logging
import struct
from collections.abc import Callable, Sequence
from typing import NoReturn

from directory.backend import DirectoryError, DirectoryFault
from directory.keysources import AES_ETYPES, NT_HASH_ETYPE, Keys, in_order
from directory.ldap.connection import LdapConnection
from directory.ldap.filters import all_of, equal, present
from directory.ldap.messages import Entry, Scope
from directory.model import PrincipalKey, match_key
from directory.sealing import MasterKey

ATTRIBUTE = "keytrustSealedKeys"
OBJECT_CLASS = "keytrustPrincipal"
MAX_KEYS = 64  # eight generations of every etype and the NT hash

_log = logging.getLogger(__name__)

_VERSION = 1
_KEY_HEAD = struct.Struct(">iIH")
_LENGTH = struct.Struct(">H")
_MAX_KEY_BYTES = 64
_ATTRIBUTES = ("sAMAccountName", "objectSid", ATTRIBUTE)
_FETCH_S = 2.0


def _aad(sid: bytes) -> bytes:
    return b"keytrust directory keys\0" + sid


def seal_keys(master_key: MasterKey, sid: bytes, keys: Sequence[PrincipalKey]) -> bytes:
    """Seal an account's keys; sid: its objectSid. Raises DirectoryError(INVALID)."""
    if len(keys) > MAX_KEYS:
        raise DirectoryError(DirectoryFault.INVALID, f"more than {MAX_KEYS} keys")
    out = bytearray((_VERSION, len(keys)))
    for key in keys:
        salt = key.salt.encode()
        out += _KEY_HEAD.pack(key.etype, key.kvno, len(salt)) + salt
        out += _LENGTH.pack(len(key.key)) + key.key
    return master_key.seal(_aad(sid), bytes(out))


def open_keys(master_key: MasterKey, sid: bytes, sealed: bytes) -> tuple[PrincipalKey, ...]:
    """Open what `seal_keys` made for the same account. Raises DirectoryError(CORRUPT)."""
    data = master_key.open(_aad(sid), sealed)
    if len(data) < 2 or data[0] != _VERSION or data[1] > MAX_KEYS:
        _corrupt()
    pos = 2
    keys: list[PrincipalKey] = []
    for _ in range(data[1]):
        if pos + _KEY_HEAD.size > len(data):
            _corrupt()
        etype, kvno, size = _KEY_HEAD.unpack_from(data, pos)
        pos += _KEY_HEAD.size
        salt, pos = data[pos : pos + size], pos + size
        if pos + _LENGTH.size > len(data):
            _corrupt()
        (size,) = _LENGTH.unpack_from(data, pos)
        pos += _LENGTH.size
        key, pos = data[pos : pos + size], pos + size
        if pos > len(data) or size > _MAX_KEY_BYTES:
            _corrupt()
        keys.append(_key(etype, kvno, key, salt))
    if pos != len(data):
        _corrupt()
    return in_order(keys)


def _key(etype: int, kvno: int, key: bytes, salt: bytes) -> PrincipalKey:
    try:
        return PrincipalKey(etype=etype, kvno=kvno, key=key, salt=salt.decode())
    except UnicodeDecodeError:
        _corrupt()


def _corrupt() -> NoReturn:
    # It opened, so it is ours: of a newer version, most likely.
    raise DirectoryError(DirectoryFault.CORRUPT, "sealed keys are not of a form known here")


class SealedSource:
    """The sealed keys of a directory's accounts, read as the follower."""

    live = True

    def __init__(
        self,
        connect: Callable[[], tuple[LdapConnection, str]],
        master_key: MasterKey,
        *,
        nt_hashes: bool = False,
    ) -> None:
        """Take what opens a connection and says where accounts are. nt_hashes: for legacy_ntlm."""
        self._connect = connect
        self._master_key = master_key
        self._etypes = AES_ETYPES | {NT_HASH_ETYPE} if nt_hashes else AES_ETYPES
        self._connection: LdapConnection | None = None
        self._base = ""

    def __repr__(self) -> str:
        return f"SealedSource({self._base!r})"

    def load(self) -> Keys:
        """Read all accounts, page by page. Raises DirectoryError(UNAVAILABLE, DENIED)."""
        found: dict[str, tuple[PrincipalKey, ...]] = {}
        try:
            connection = self._open()
            for page in connection.pages(self._base, present(ATTRIBUTE), _ATTRIBUTES):
                for entry in page:
                    name, keys = self._read(entry)
                    if keys:
                        found[match_key(name)] = keys
        except BaseException:
            self.close()
            raise
        return found

    def keys_of(self, name: str) -> tuple[PrincipalKey, ...]:
        """Read one account now. Raises DirectoryError(UNAVAILABLE, DENIED)."""
        try:
            entries = self._search(name)
        except DirectoryError:
            # The server may have been started anew since the last question: one new connection.
            entries = self._search(name)
        return self._read(entries[0])[1] if len(entries) == 1 else ()

    def _search(self, name: str) -> list[Entry]:
        wanted = all_of(equal("sAMAccountName", name), present(ATTRIBUTE))
        try:
            connection = self._open()
            return connection.entries(
                self._base, Scope.SUBTREE, wanted, _ATTRIBUTES, timeout_s=_FETCH_S, size_limit=2
            )
        except BaseException:
            self.close()
            raise

    def poll(self) -> bool:
        """Say no: an account whose keys have changed has a changed entry, and is asked for."""
        return False

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> LdapConnection:
        if self._connection is None or not self._connection.is_open:
            self._connection, self._base = self._connect()
        return self._connection

    def _read(self, entry: Entry) -> tuple[str, tuple[PrincipalKey, ...]]:
        """Return an account's name and keys; one whose value does not open has none."""
        names, sids = entry.values("samaccountname"), entry.values("objectsid")
        sealed = entry.values(ATTRIBUTE.lower())
        if not (len(names) == len(sids) == len(sealed) == 1):
            return "", ()
        name = names[0].decode("utf-8", "replace")
        try:
            keys = open_keys(self._master_key, sids[0], sealed[0])
        except DirectoryError as error:
            _log.warning("keys of %r cannot be used: %s", name[:64], error.detail)
            return name, ()
        return name, tuple(key for key in keys if key.etype in self._etypes)
