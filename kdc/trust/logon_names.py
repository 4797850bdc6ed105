"""What a logon certificate says about its holder, read once and kept with its chain."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from pki import names, oids
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.x500 import CanonicalName, canonical_name, decode_name


@dataclass(frozen=True, slots=True, kw_only=True)
class LogonNames:
    """The names, identifiers and hashes by which a certificate can be mapped to an account."""

    upns: tuple[str, ...]
    dns: tuple[str, ...]
    emails: tuple[str, ...]
    """rfc822Names; without a subjectAltName the emailAddress attributes of the subject: name
    constraints judge them in that case only (RFC 5280 4.2.1.10)."""
    pkinit: tuple[names.PkinitName, ...]
    sids: tuple[str, ...]
    """The different SIDs in the SID extension and in SID URIs."""
    sid_malformed: bool
    issuer: CanonicalName
    subject: CanonicalName
    serial_number: int
    key_identifier: bytes
    """The subjectKeyIdentifier; without one, method 1 of RFC 5280 4.2.1.2."""
    hashes: frozenset[str]
    """SHA-1 and SHA-256, in hexadecimal, of the key's bits, of the SPKI and of the certificate."""
    not_before: datetime


def read_logon_names(certificate: Certificate) -> LogonNames:
    """Read what a certificate says about its holder. Raises PkiError for malformed names.

    A malformed SID is no error here: it must refuse the logon with its own code.
    """
    value = certificate.extension(oids.ID_CE_SUBJECT_ALT_NAME)
    alternative = names.SubjectAltNames()
    if value is not None:
        alternative = names.decode_subject_alt_name(value)
    sids: list[str] = []
    malformed = False
    try:
        extension = certificate.extension(oids.ID_MS_SID_EXTENSION)
        if extension is not None:
            sids.append(names.decode_sid_extension(extension))
        for uri in alternative.uris:
            sid = names.decode_sid_uri(uri)
            if sid is not None:
                sids.append(sid)
    except PkiError:
        malformed = True
    subject = decode_name(certificate.subject)
    mails = [
        a.value
        for rdn in subject
        for a in rdn
        if a.oid == oids.ID_EMAIL_ADDRESS and isinstance(a.value, str)
    ]
    bits = certificate.subject_public_key()
    digests = {
        digest.hexdigest()
        for octets in (bits, certificate.subject_public_key_info, certificate.der)
        for digest in (
            hashlib.sha1(octets, usedforsecurity=False),
            hashlib.sha256(octets),
        )
    }
    key_identifier = certificate.subject_key_identifier()
    if key_identifier is None:
        key_identifier = hashlib.sha1(bits, usedforsecurity=False).digest()
    return LogonNames(
        upns=alternative.upns,
        dns=alternative.dns,
        emails=tuple(mails) if value is None else alternative.emails,
        pkinit=alternative.pkinit,
        sids=tuple(dict.fromkeys(sids)),
        sid_malformed=malformed,
        issuer=canonical_name(certificate.issuer),
        subject=canonical_name(certificate.subject),
        serial_number=certificate.serial_number,
        key_identifier=key_identifier,
        hashes=frozenset(digests),
        not_before=certificate.validity()[0],
    )
