"""altSecurityIdentities: which of an account's explicit mappings point at a certificate?

Strong are those that point at one certificate or key: issuer with serial number, key identifier,
hash of the key, issuer with SID (MS-PKCA 3.1.5.2.1.5). `directory.alt_security` reads the values.
"""

from directory.alt_security import (
    MAX_VALUES,
    form_of,
    index_key,
    mapped_name,
    mapped_octets,
    split_value,
)
from directory.model import match_key
from kdc.trust.logon_names import LogonNames


def _matches(tag: str, text: str, names: LogonNames) -> bool:
    if not text:
        return False
    if tag == "I":
        return mapped_name(text) == names.issuer
    if tag == "S":
        return mapped_name(text) == names.subject
    if tag == "SR":
        octets = mapped_octets(text)
        return bool(octets) and int.from_bytes(octets, "little", signed=False) == (
            names.serial_number
        )
    if tag == "SKI":
        return mapped_octets(text) == names.key_identifier
    if tag in ("SHA1-PUKEY", "SHA256-PUKEY"):
        octets = mapped_octets(text)
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


def strong_keys(names: LogonNames) -> tuple[bytes, ...]:
    """Return the keys under which accounts with a strong mapping to a certificate are found."""
    digests = [bytes.fromhex(text) for text in sorted(names.hashes)]
    return (
        index_key(SKI=names.key_identifier),
        *(index_key(SHA1_PUKEY=octets) for octets in digests if len(octets) == 20),
        *(index_key(SHA256_PUKEY=octets) for octets in digests if len(octets) == 32),
        index_key(I=names.issuer, SR=names.serial_number),
        *(index_key(I=names.issuer, SID=match_key(sid)) for sid in names.sids),
    )


def weak_keys(names: LogonNames) -> tuple[bytes, ...]:
    """Return the keys under which accounts with a weak mapping to a certificate are found."""
    return (
        index_key(I=names.issuer, S=names.subject),
        index_key(S=names.subject),
        *(index_key(RFC822=match_key(mail)) for mail in names.emails),
    )
