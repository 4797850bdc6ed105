"""Which names an account may have."""

import sqlite3
from typing import NoReturn

from directory.backend import DirectoryError, DirectoryFault
from directory.model import AccountKind, match_key

MAX_NAME = 256  # MS-SAMR 3.1.1.6; AD's own tools stop at 20 for users
MAX_LONG_NAME = 1024
# MS-SAMR 3.1.1.6 forbids these in sAMAccountName; "@" would make it look like a UPN.
_FORBIDDEN = frozenset('"/\\[]:;|=,+*?<>@')


def _invalid(detail: str) -> NoReturn:
    raise DirectoryError(DirectoryFault.INVALID, detail)


def _check_text(text: str, what: str, limit: int) -> None:
    if not text or len(text) > limit:
        _invalid(f"{what} is empty or longer than {limit} characters")
    if text != text.strip() or not text.isprintable():
        _invalid(f"{what} has control characters or spaces around it")


def check_name(name: str, kind: AccountKind) -> None:
    """Check a sAMAccountName; a service's may be its principal name (`host/web.lab.test`)."""
    _check_text(name, "name", MAX_NAME)
    forbidden = _FORBIDDEN - {"/"} if kind is AccountKind.SERVICE else _FORBIDDEN
    if not forbidden.isdisjoint(name):
        _invalid("name has a character that account names may not have")
    if kind is AccountKind.COMPUTER and (not name.endswith("$") or len(name) < 2):
        _invalid('a computer\'s name ends in "$"')


def check_group_name(name: str) -> None:
    """Check the name of a group; spaces are usual in them."""
    _check_text(name, "group name", MAX_NAME)
    if not _FORBIDDEN.isdisjoint(name):
        _invalid("group name has a character that names may not have")


def check_upn(upn: str) -> None:
    """Check a userPrincipalName: one "@" with something on both sides."""
    _check_text(upn, "userPrincipalName", MAX_LONG_NAME)
    local, at, suffix = upn.partition("@")
    if not at or not local or not suffix or "@" in suffix:
        _invalid("userPrincipalName is not name@suffix")


def check_spn(spn: str) -> None:
    """Check a servicePrincipalName: class/instance, or a single word; no realm."""
    _check_text(spn, "servicePrincipalName", MAX_LONG_NAME)
    if "@" in spn or "\\" in spn or not all(spn.split("/")):
        _invalid("servicePrincipalName is not class/instance")


def implicit_owner(connection: sqlite3.Connection, realm: str, name: str, upn: str | None) -> None:
    """Check that no account's explicit UPN is the implicit one (name@realm) of another.

    Raises DirectoryError(EXISTS).
    """
    suffix = "@" + match_key(realm)
    own = match_key(name)
    clash = None
    if upn is not None and match_key(upn).endswith(suffix):
        local = match_key(upn).removesuffix(suffix)
        if local != own:
            clash = connection.execute(
                "SELECT 1 FROM accounts WHERE name_key = ?", (local,)
            ).fetchone()
    if clash is None:
        clash = connection.execute(
            "SELECT 1 FROM accounts WHERE upn_key = ? AND name_key <> ?", (own + suffix, own)
        ).fetchone()
    if clash is not None:
        raise DirectoryError(
            DirectoryFault.EXISTS, "userPrincipalName is another account's name in this realm"
        )
