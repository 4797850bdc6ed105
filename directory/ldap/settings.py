"""Where a realm's directory is and how it is reached: values, judged before anything is opened."""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

Flavour = Literal["samba", "ad", "openldap"]
Sasl = Literal["none", "external", "gssapi"]

DEFAULT_PORTS = {"ldap": 389, "ldaps": 636}
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")


class LdapUrlError(ValueError):
    """A text that is no LDAP URL of the forms that are used here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapUrl:
    """One server: `ldaps://host[:port]`, `ldap://host[:port]` or `ldapi://%2Frun%2Fslapd%2Fldapi`."""

    scheme: Literal["ldap", "ldaps", "ldapi"]
    host: str = ""
    port: int = 0
    path: str = ""
    """Of the socket, for ldapi."""

    @classmethod
    def parse(cls, text: str) -> "LdapUrl":
        """Read a URL; nothing may follow host and port. Raises LdapUrlError."""
        try:
            parts = urlsplit(text)
            port = parts.port if parts.scheme != "ldapi" else None
        except ValueError:
            raise LdapUrlError("it is no URL") from None
        if parts.query or parts.fragment or parts.path not in ("", "/"):
            raise LdapUrlError("nothing may follow the host and the port")
        if parts.scheme == "ldapi":
            path = unquote(parts.netloc)
            if not path.startswith("/") or "\0" in path:
                raise LdapUrlError("ldapi:// is followed by an absolute path with %2F for each /")
            return cls(scheme="ldapi", path=path)
        if parts.scheme not in ("ldap", "ldaps"):
            raise LdapUrlError("it starts with ldaps://, ldap:// or ldapi://")
        host = parts.hostname or ""
        if "@" in parts.netloc or not _HOST.fullmatch(host):
            raise LdapUrlError("it names no host")
        scheme: Literal["ldap", "ldaps"] = "ldaps" if parts.scheme == "ldaps" else "ldap"
        return cls(scheme=scheme, host=host, port=port or DEFAULT_PORTS[scheme])

    def __str__(self) -> str:
        if self.scheme == "ldapi":
            return f"ldapi://{self.path.replace('/', '%2F')}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapSettings:
    """Everything that a connection to the directory needs."""

    urls: tuple[LdapUrl, ...]
    """In order of preference; each is tried before any is waited for."""
    flavour: Flavour
    base: str = ""
    """Where the domain's entries are; "": what the server calls its default."""
    bind_dn: str = ""
    """"": no simple bind."""
    bind_password: bytes = field(default=b"", repr=False)
    sasl: Sasl = "none"
    starttls: bool = False
    """For ldap:// URLs."""
    ca_file: str = ""
    """PEM with the issuers of the servers' certificates; "": those of the system."""
    page_size: int = 1000
    connect_timeout_s: float = 3.0
    """To reach a server, TLS and bind included."""
    operation_timeout_s: float = 30.0
    """For a page of a load; what a request waits for has a shorter one."""

    def __repr__(self) -> str:
        return f"LdapSettings({', '.join(map(str, self.urls))}, {self.flavour})"
