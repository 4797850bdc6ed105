"""altSecurityIdentities: an account's explicit mappings to certificates (MS-PKCA 3.1.5.2.1.5).

A value is `X509:` and tags, each followed by its text, in any order, and all must match.
Strong are those that point at one certificate or key: issuer with serial number, key identifier,
hash of the key, issuer with SID. Distinguished names keep the order of the certificate (the root
first); a serial number is its bytes in reverse; the rest is plain hexadecimal.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from directory.model import match_key
from kdc.trust.logon_names import LogonNames
from pki.errors import PkiError
from pki.x500 import CanonicalName, canonical, parse_alt_security_identity

MAX_VALUES = 512  # of one account; a person has a handful of cards
MAX_VALUE_CHARS = 8192

_PREFIX = "X509:"
_TAG = re.compile(r"<(I|S|SR|SKI|SHA1-PUKEY|SHA256-PUKEY|SID|RFC822)>", re.IGNORECASE)
_TAGS = 8  # one more than these must be one of them again
_STRONG = (
    frozenset(("I", "SR")),
    frozenset(("SKI",)),
    frozenset(("SHA1-PUKEY",)),
    frozenset(("SHA256-PUKEY",)),
    frozenset(("I", "SID")),
)
_WEAK = (frozenset(("I", "S")), frozenset(("S",)), frozenset(("RFC822",)))


def split_value(value: str) -> dict[str, str]:
    """Split a value into tag -> text; {} for one that is not of this form or has a tag twice."""
    if len(value) > MAX_VALUE_CHARS or value[: len(_PREFIX)].upper() != _PREFIX:
        return {}
    parts = _TAG.split(value[len(_PREFIX) :], maxsplit=_TAGS + 1)
    if parts[0].strip() or len(parts) < 3:
        return {}
    tags = [tag.upper() for tag in parts[1::2]]
    if len(set(tags)) != len(tags):
        return {}
    return dict(zip(tags, (text.strip() for text in parts[2::2]), strict=True))


def form_of(tags: Iterable[str]) -> tuple[str, bool]:
    """Return the form's name (`X509:<I><SR>`) and whether it is strong; "" for no known form."""
    found = frozenset(tags)
    for strong, forms in ((True, _STRONG), (False, _WEAK)):
        for form in forms:
            if form <= found:
                order = ("I", "S", "SR", "SKI", "SHA1-PUKEY", "SHA256-PUKEY", "SID", "RFC822")
                return _PREFIX + "".join(f"<{tag}>" for tag in order if tag in found), strong
    return "", False


@lru_cache(maxsize=1024)
def _name(text: str) -> CanonicalName | None:
    try:
        return canonical(parse_alt_security_identity(text)) or None
    except PkiError:
        return None


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _matches(tag: str, text: str, names: LogonNames) -> bool:
    if not text:
        return False
    if tag == "I":
        return _name(text) == names.issuer
    if tag == "S":
        return _name(text) == names.subject
    if tag == "SR":
        octets = _octets(text)
        return bool(octets) and int.from_bytes(octets, "little", signed=False) == (
            names.serial_number
        )
    if tag == "SKI":
        return _octets(text) == names.key_identifier
    if tag in ("SHA1-PUKEY", "SHA256-PUKEY"):
        octets = _octets(text)
        length = 20 if tag == "SHA1-PUKEY" else 32
        return len(octets) == length and octets.hex() in names.hashes
    if tag == "SID":
        return names.sids == (text,)
    return match_key(text) in map(match_key, names.emails)


def match_alt_security_identities(values: tuple[str, ...], names: LogonNames) -> tuple[str, str]:
    """Return the (strong, weak) forms by which an account's values match; "" where none does."""
    strong = weak = ""
    for value in values[:MAX_VALUES]:
        tags = split_value(value)
        form, is_strong = form_of(tags)
        if not form or not all(_matches(tag, text, names) for tag, text in tags.items()):
            continue
        if is_strong:
            return form, weak
        weak = weak or form
    return strong, weak
