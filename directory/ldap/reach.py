"""Reaching a directory server: is it safe to, a socket to the first address that answers, TLS."""

import socket
import ssl
import time

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.settings import LdapSettings, LdapUrl


class LdapError(DirectoryError):
    """A server did not do what it was asked; `detail` names it and says why in one line."""

    def __init__(self, url: LdapUrl, detail: str, *, denied: bool = False, code: int = -1) -> None:
        kind = DirectoryFault.DENIED if denied else DirectoryFault.UNAVAILABLE
        super().__init__(kind, f"{url}: {detail}")
        self.code = code
        """The LDAP result code; -1: there was no result."""


def check_safe(url: LdapUrl, settings: LdapSettings) -> None:
    """Refuse a bind that would give a secret away or prove nothing.

    Raises DirectoryError(INVALID).
    """
    encrypted = url.scheme == "ldaps" or (url.scheme == "ldap" and settings.starttls)
    if settings.bind_dn and not settings.bind_password:
        raise DirectoryError(
            DirectoryFault.INVALID, "a bind DN without a password is no bind (RFC 4513 5.1.2)"
        )
    if settings.bind_dn and not encrypted and url.scheme != "ldapi":
        raise DirectoryError(
            DirectoryFault.INVALID, f"{url}: a password is sent under TLS only: ldaps, or starttls"
        )
    if settings.sasl == "external" and url.scheme != "ldapi":
        raise DirectoryError(DirectoryFault.INVALID, f"{url}: SASL EXTERNAL is for ldapi:// here")
    if not encrypted and url.scheme == "ldap":
        raise DirectoryError(
            DirectoryFault.INVALID,
            f"{url}: accounts read without TLS could be anybody's: ldaps, or starttls",
        )


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Make the TLS settings: 1.2 and up, certificate and host name checked.

    Raises OSError when the file of issuers cannot be used.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def reach(url: LdapUrl, deadline: float) -> socket.socket:
    """Connect to the first address of a server that answers. Raises LdapError."""
    if url.scheme == "ldapi":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(0.01, deadline - time.monotonic()))
            sock.connect(url.path)
        except OSError as error:
            sock.close()
            raise LdapError(url, f"cannot be reached: {reason_of(error)}") from None
        return sock
    why = "has no address"
    try:
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LdapError(url, f"cannot be found: {reason_of(error)}") from None
    for place, (family, kind, protocol, _, address) in enumerate(found):
        left = (deadline - time.monotonic()) / (len(found) - place)
        if left <= 0:
            why = "does not answer in time"
            break
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left)
            sock.connect(address)
        except OSError as error:
            sock.close()
            why = f"cannot be reached: {reason_of(error)}"
            continue
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A peer that is gone without a word is noticed within a minute, not after two hours.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
        return sock
    raise LdapError(url, why)


def reason_of(error: OSError) -> str:
    """Say in a few words what went wrong with a socket."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror or str(error) or "input/output error").lower()
