"""The configuration's directory.key_source, read: a value, judged before anything is opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["local", "keytab", "samba", "ldap-sealed"]


class KeySourceError(ValueError):
    """A text that names no key source; the text of the error says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySourceSetting:
    """Which source, and where it is."""

    kind: Kind
    path: Path | None = None
    """Of the keytab, or Samba's private folder."""

    @classmethod
    def parse(cls, text: str) -> "KeySourceSetting":
        """Read `local`, `keytab:PATH`, `samba:PATH` or `ldap-sealed`. Raises KeySourceError."""
        if text in ("local", "ldap-sealed"):
            return cls(kind="local" if text == "local" else "ldap-sealed")
        kind, colon, path = text.partition(":")
        if not colon or kind not in ("keytab", "samba"):
            raise KeySourceError("it is local, keytab:PATH, samba:PATH or ldap-sealed")
        if not path.startswith("/") or "\0" in path:
            raise KeySourceError(f"{kind}: is followed by an absolute path")
        return cls(kind="keytab" if kind == "keytab" else "samba", path=Path(path))

    def __str__(self) -> str:
        return self.kind if self.path is None else f"{self.kind}:{self.path}"
