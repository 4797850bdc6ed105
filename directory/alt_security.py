"""altSecurityIdentities: an account's explicit mappings to certificates, read and indexed.

Rules
  1. A value is `X509:` and tags, each followed by its text, in any order; all of them must match
     (MS-PKCA 3.1.5.2.1.5). Distinguished names have the root first; a serial number is its bytes in
     reverse; the rest is plain hexadecimal.
  2. The index finds accounts by what a value points at, whatever its spelling: a key for the form
     that decides it, and one for the subject. It finds candidates: what else a value says is
     compared afterwards, with the certificate at hand.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from directory.model import match_key
from pki.errors import PkiError
from pki.x500 import CanonicalName, canonical, parse_alt_security_identity, parse_rfc4514

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
def mapped_name(text: str) -> CanonicalName | None:
    """Read a distinguished name of a value; None for one that is not readable, or empty."""
    try:
        return canonical(parse_alt_security_identity(text)) or None
    except PkiError:
        return None


def mapped_octets(text: str) -> bytes:
    """Read the hexadecimal text of a value; b"" for what is none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


# -- the index -------------------------------------------------------------------------------

_INDEXED = (
    ("SKI",),
    ("SHA1-PUKEY",),
    ("SHA256-PUKEY",),
    ("I", "SR"),
    ("I", "SID"),
    ("I", "S"),
    ("S",),
    ("RFC822",),
)
"""What a value is found by: the first of these whose tags it has."""

KEY_BYTES = 16


def index_key(**parts: object) -> bytes:
    """Return the key of one form: tag (with _ for -) -> what it points at, in canonical form."""
    text = "\0".join(f"{tag}={parts[tag]!r}" for tag in sorted(parts))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:KEY_BYTES]


def _pointed_at(tag: str, text: str) -> object:
    if tag in ("I", "S"):
        return mapped_name(text)
    if tag == "SR":
        octets = mapped_octets(text)
        return int.from_bytes(octets, "little") if octets else None
    if tag in ("SKI", "SHA1-PUKEY", "SHA256-PUKEY"):
        return mapped_octets(text) or None
    return match_key(text) or None


def index_keys(value: str) -> tuple[bytes, ...]:
    """Return the keys under which a value is found, its form's first; none for an unusable one."""
    tags = split_value(value)
    form = next((form for form in _INDEXED if set(form) <= set(tags)), None)
    if form is None:
        return ()
    found = []
    for tags_of_key in dict.fromkeys((form, ("S",)) if "S" in tags else (form,)):
        parts = {tag.replace("-", "_"): _pointed_at(tag, tags[tag]) for tag in tags_of_key}
        if None not in parts.values():
            found.append(index_key(**parts))
    return tuple(found)


def keys_of_name(text: str) -> tuple[bytes, ...]:
    """Return the keys of an NT-X500-PRINCIPAL name: a value, or a DN in either order."""
    if text[: len(_PREFIX)].upper() == _PREFIX:
        return index_keys(text)[:1]
    found = []
    for parse in (parse_rfc4514, parse_alt_security_identity):
        try:
            name = canonical(parse(text[:MAX_VALUE_CHARS]))
        except PkiError:
            continue
        if name:
            found.append(index_key(S=name))
    return tuple(dict.fromkeys(found))
