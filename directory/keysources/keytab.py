"""Keys from a keytab: any directory, Active Directory too. Read again when the file changes.

`samba-tool domain exportkeytab`, `ktpass` and `kadmin ktadd` write such files. A keytab knows no
salts: those of Windows are assumed (`windows_salt`), which is right unless a user was renamed
since his last password.
"""

from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.keysources import (
    AES_ETYPES,
    KRBTGT,
    NT_HASH_ETYPE,
    Keys,
    in_order,
    keys_of_account,
    windows_salt,
)
from directory.keytab import MAX_FILE_BYTES, KeytabEntry, decode_keytab
from directory.model import PrincipalKey, match_key
from directory.sealing import SecretFileError, read_secret_file

_Stamp = tuple[int, int, int, int]


class KeytabSource:
    """The keys in one keytab that are of this realm."""

    live = False

    def __init__(
        self,
        path: Path,
        realm: str,
        *,
        nt_hashes: bool = False,
        trusted_paths: tuple[Path, ...] = (),
    ) -> None:
        """Take a file of mode 0600. nt_hashes: give RC4 keys too, for legacy_ntlm."""
        self.path = path
        self._realm = realm
        self._etypes = AES_ETYPES | {NT_HASH_ETYPE} if nt_hashes else AES_ETYPES
        self._trusted = trusted_paths
        self._stamp: _Stamp | None = None
        self._loaded: Keys = {}

    def __repr__(self) -> str:
        return f"KeytabSource({str(self.path)!r})"

    def load(self) -> Keys:
        """Read the file. Raises SecretFileError, DirectoryError(INVALID)."""
        stamp = self._look()
        try:
            data = read_secret_file(self.path, MAX_FILE_BYTES, self._trusted)
        except SecretFileError as error:
            if error.kind is DirectoryFault.NOT_FOUND:
                raise SecretFileError(
                    DirectoryFault.UNAVAILABLE,
                    error.detail,
                    error.why,
                    "put the keytab there, or correct directory.key_source",
                ) from None
            raise
        try:
            entries = decode_keytab(data)
        except DirectoryError as error:
            raise DirectoryError(error.kind, f"{self.path}: {error.detail}") from None
        self._loaded = self._by_account(entries)
        # What was seen before the reading: a file that changed meanwhile is read once more.
        self._stamp = stamp
        return self._loaded

    def keys_of(self, name: str) -> tuple[PrincipalKey, ...]:
        """Return what the last load found of an account; an SPN will do."""
        return keys_of_account(self._loaded, name)

    def poll(self) -> bool:
        """Tell whether the file is another one than that which was loaded."""
        return self._look() != self._stamp

    def close(self) -> None:
        """Forget the keys."""
        self._loaded = {}
        self._stamp = None

    def _look(self) -> _Stamp | None:
        try:
            info = self.path.stat()
        except OSError:
            return None
        return info.st_dev, info.st_ino, info.st_mtime_ns, info.st_size

    def _by_account(self, entries: tuple[KeytabEntry, ...]) -> Keys:
        found: dict[str, list[PrincipalKey]] = {}
        for entry in entries:
            if entry.realm != self._realm or entry.etype not in self._etypes:
                continue
            name = "/".join(entry.components)
            salt = windows_salt(self._realm, name) if len(entry.components) == 1 else ""
            if len(entry.components) == 2 and entry.components[0] == KRBTGT:
                if entry.components[1] != self._realm:
                    continue  # a key shared with another realm is none of this one's
                name, salt = KRBTGT, ""
            if not name:
                continue
            found.setdefault(match_key(name), []).append(
                PrincipalKey(etype=entry.etype, kvno=entry.kvno, key=entry.key, salt=salt)
            )
        return {name: in_order(keys) for name, keys in found.items()}
