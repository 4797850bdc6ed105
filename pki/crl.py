"""Certificate revocation lists (RFC 5280 section 5), read into an index that a logon can afford.

Rules
  1. Reading is strict and happens once, when a list is loaded. A logon searches a sorted block of
     octets: 17 steps for a hundred thousand entries.
  2. A list with a critical extension that is not known, in the list or in one entry, is not used
     (5.2, 5.3). Indirect lists, which speak of other issuers' certificates, are refused.
  3. `check_signature` must have passed for the issuer at hand before `reason_of` is believed.
"""

from datetime import datetime

from pki import asn1, der, oids
from pki.certificate import Certificate, decode_time
from pki.cms_syntax import AlgorithmIdentifier
from pki.errors import DerFault, PkiError, RevocationFault
from pki.extensions import (
    CrlScope,
    DistributionPoint,
    Extension,
    KeyUsageBit,
    decode_authority_key_identifier,
    decode_crl_distribution_points,
    decode_extensions,
    decode_issuing_distribution_point,
    decode_key_usage,
)
from pki.keys import KeyPolicy, check_key
from pki.signatures import DIGEST_BY_OID, Digest, read_scheme, verify_octets
from pki.x500 import canonical_name

MAX_CRL_BYTES = 64 << 20  # 1.5 million entries; a larger list belongs into partitions
MAX_SERIAL_OCTETS = 32  # RFC 5280 4.1.2.2 allows 20; some CAs count the sign octet
MAX_KEPT_ENTRY_EXTENSIONS = 4096  # different ones; a list has a handful (its reason codes)

ENUMERATED: asn1.Spec[int] = asn1.Spec("ENUMERATED", 0x0A, der.decode_integer, der.integer_content)

REASONS = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    8: "removeFromCRL",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}
CERTIFICATE_HOLD = 6
REMOVE_FROM_CRL = 8

_KNOWN = frozenset(
    (
        oids.ID_CE_AUTHORITY_KEY_IDENTIFIER,
        oids.ID_CE_ISSUER_ALT_NAME,
        oids.ID_CE_CRL_NUMBER,
        oids.ID_CE_DELTA_CRL_INDICATOR,
        oids.ID_CE_ISSUING_DISTRIBUTION_POINT,
        oids.ID_CE_FRESHEST_CRL,
        oids.ID_PE_AUTHORITY_INFO_ACCESS,
    )
)
_TIMES = (0x17, der.GENERALIZED_TIME)


def _fail(fault: RevocationFault, detail: str) -> PkiError:
    return PkiError(fault, detail)


def _entry_reason(raw: bytes) -> int:
    """Read crlEntryExtensions; return the reason code. Raises PkiError."""
    reason = 0
    for oid, extension in decode_extensions(raw).items():
        if oid == oids.ID_CE_CRL_REASON:
            reason = asn1.decode_as(ENUMERATED, extension.value)
        elif extension.critical:
            # certificateIssuer above all: the entry is then about another issuer's certificate.
            raise _fail(RevocationFault.UNSUPPORTED, "critical CRL entry extension")
    if reason not in REASONS:
        raise _fail(RevocationFault.MALFORMED, "CRLReason")
    return reason


class SerialIndex:
    """Serial numbers of a list with their reasons: one sorted block of octets of equal records."""

    __slots__ = ("_block", "_count", "_width")

    def __init__(self, found: list[bytes]) -> None:
        """found: records of length octet, INTEGER content, reason octet; emptied by this."""
        found.sort()
        self._width = max(map(len, found), default=2)
        self._count = len(found)
        self._block = b"".join(r[:-1].ljust(self._width - 1, b"\0") + r[-1:] for r in found)
        found.clear()

    def __len__(self) -> int:
        return self._count

    def steps(self) -> int:
        """Return how many comparisons a search takes at most."""
        return self._count.bit_length()

    def find(self, serial_number: int) -> int | None:
        """Return the reason code listed for a serial number, or None."""
        content = der.integer_content(serial_number)
        width = self._width
        if len(content) > width - 2:
            return None
        wanted = (bytes((len(content),)) + content).ljust(width - 1, b"\0")
        block, low, high = self._block, 0, self._count
        while low < high:
            middle = (low + high) // 2
            at = middle * width
            record = block[at : at + width - 1]
            if record == wanted:
                return block[at + width - 1]
            if record < wanted:
                low = middle + 1
            else:
                high = middle
        return None


def _read_entries(buf: bytes, start: int, end: int) -> SerialIndex:
    """Read revokedCertificates. The loop is written out: it runs for every entry of every list."""
    records: list[bytes] = []
    reasons: dict[bytes, int] = {}
    pos = start
    try:
        while pos < end:
            if buf[pos] != der.SEQUENCE:
                der.fail(DerFault.BAD_TAG, "revokedCertificates")
            at, stop = pos + 2, pos + 2 + buf[pos + 1]
            if buf[pos + 1] > 127:
                at, stop = der.long_length(buf, pos + 1)
            size = buf[at + 1]
            serial = buf[at + 2 : at + 2 + size]
            after = at + 2 + size
            if stop > end or buf[at] != der.INTEGER or not 0 < size <= MAX_SERIAL_OCTETS:
                der.fail(DerFault.BAD_VALUE, "userCertificate")
            if size > 1 and serial[0] in (0, 255) and (serial[0] ^ serial[1]) < 128:
                der.fail(DerFault.BAD_VALUE, "INTEGER not minimal")
            time_end = after + 2 + buf[after + 1]
            if buf[after] not in _TIMES or time_end > stop:
                der.fail(DerFault.BAD_TAG, "revocationDate")
            reason = 0
            if time_end != stop:
                raw = buf[time_end:stop]
                known = reasons.get(raw)
                if known is None:
                    known = _entry_reason(raw)
                    if len(reasons) < MAX_KEPT_ENTRY_EXTENSIONS:
                        reasons[raw] = known
                reason = known
            records.append(b"%c%b%c" % (size, serial, reason))
            pos = stop
    except IndexError:
        raise PkiError(DerFault.TRUNCATED, "revokedCertificates") from None
    return SerialIndex(records)


def check_signed_by(
    signer: Certificate,
    identifier: AlgorithmIdentifier,
    signature: bytes,
    signed: bytes,
    digests: frozenset[Digest],
    key_policy: KeyPolicy,
) -> Digest:
    """Check the signature of a CRL or an OCSP response with its signer's key; return its digest.

    Raises PkiError: RevocationFault.BAD_SIGNATURE, UNSUPPORTED; a CmsFault or DerFault of the
    identifier; a KeyFault.
    """
    scheme = read_scheme(identifier)
    digest = DIGEST_BY_OID.get(scheme.digest_oid or "")
    if digest is None or digest not in digests:
        raise _fail(RevocationFault.UNSUPPORTED, "digest of the signature")
    key = signer.public_key()
    check_key(key, key_policy)
    if key.kind is not scheme.kind:
        raise _fail(RevocationFault.BAD_SIGNATURE, "kind of key")
    try:
        verify_octets(key, signature, signed, digest, scheme.pss_salt)
    except PkiError:
        raise _fail(RevocationFault.BAD_SIGNATURE, "signature") from None
    return digest


class Crl:
    """A CRL, read and indexed. Its signature is checked by `check_signature`, once an issuer.

    Raises PkiError: a DerFault, RevocationFault.UNSUPPORTED, MALFORMED.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_CRL_BYTES:
            raise PkiError(DerFault.OVER_LIMIT, "CertificateList")
        start, end = der.open_tlv(data, der.SEQUENCE)
        outer = der.children(data, start, end, 3)
        if [part[0] for part in outer] != [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
            raise PkiError(DerFault.BAD_TAG, "CertificateList")
        (_, tbs_at, tbs_start, tbs_end), (_, alg_at, _, alg_end), (_, _, sig_start, sig_end) = outer
        self._tbs: bytes | None = data[tbs_at:tbs_end]
        self._algorithm = data[alg_at:alg_end]
        self._signature = der.decode_bit_string(data, sig_start, sig_end)
        self._verified: bytes = b""
        self._digest: Digest | None = None
        parts = der.children(data, tbs_start, tbs_end, 7)
        elements = [(tag, data[at:stop]) for tag, at, _, stop in parts[:5]]
        if elements and elements[0] == (der.INTEGER, b"\x02\x01\x01"):
            elements, parts = elements[1:], parts[1:]
        if len(parts) < 3 or parts[0][0] != der.SEQUENCE or parts[1][0] != der.SEQUENCE:
            raise PkiError(DerFault.BAD_TAG, "TBSCertList")
        if elements[0][1] != self._algorithm:
            raise _fail(RevocationFault.MALFORMED, "the signature algorithms differ")
        self.issuer = canonical_name(elements[1][1])
        self.this_update = decode_time(elements[2][1])
        rest = parts[3:]
        if not rest or rest[0][0] not in _TIMES:
            # 5.1.2.5 demands it; without it a list would be good for ever.
            raise _fail(RevocationFault.MALFORMED, "no nextUpdate")
        self.next_update: datetime = decode_time(data[rest[0][1] : rest[0][3]])
        rest = rest[1:]
        self.entries = SerialIndex([])
        if rest and rest[0][0] == der.SEQUENCE:
            self.entries = _read_entries(data, rest[0][2], rest[0][3])
            rest = rest[1:]
        extensions: dict[str, Extension] = {}
        if rest and rest[0][0] == 0xA0:
            extensions = decode_extensions(data[rest[0][2] : rest[0][3]])
            rest = rest[1:]
        if rest:
            raise PkiError(DerFault.BAD_TAG, "TBSCertList")
        self._read_extensions(extensions)

    def _read_extensions(self, extensions: dict[str, Extension]) -> None:
        if any(e.critical and oid not in _KNOWN for oid, e in extensions.items()):
            raise _fail(RevocationFault.UNSUPPORTED, "critical CRL extension")
        self.number: int | None = None
        self.base_number: int | None = None
        """BaseCRLNumber of a delta CRL; None: the list is complete."""
        self.scope: CrlScope | None = None
        self.scope_bytes = b""
        self.key_identifier: bytes | None = None
        self.freshest: tuple[DistributionPoint, ...] = ()
        """Where delta CRLs to this list are."""
        found = extensions.get(oids.ID_CE_CRL_NUMBER)
        if found is not None:
            self.number = asn1.decode_as(asn1.INTEGER, found.value)
        found = extensions.get(oids.ID_CE_DELTA_CRL_INDICATOR)
        if found is not None:
            self.base_number = asn1.decode_as(asn1.INTEGER, found.value)
        found = extensions.get(oids.ID_CE_ISSUING_DISTRIBUTION_POINT)
        if found is not None:
            self.scope_bytes = found.value
            self.scope = decode_issuing_distribution_point(found.value)
            if self.scope.point.indirect:
                raise _fail(RevocationFault.UNSUPPORTED, "indirect CRL")
        found = extensions.get(oids.ID_CE_AUTHORITY_KEY_IDENTIFIER)
        if found is not None:
            identifier = decode_authority_key_identifier(found.value)
            self.key_identifier = identifier.key_identifier
        found = extensions.get(oids.ID_CE_FRESHEST_CRL)
        if found is not None:
            self.freshest = decode_crl_distribution_points(found.value)

    @property
    def is_verified(self) -> bool:
        """Whether the signature was checked and is an issuer's."""
        return self._tbs is None

    @property
    def is_delta(self) -> bool:
        """Whether the list holds only what changed since another."""
        return self.base_number is not None

    def reason_of(self, serial_number: int) -> int | None:
        """Return the CRLReason of a certificate, or None when it is not listed."""
        return self.entries.find(serial_number)

    def check_signature(
        self, issuer: Certificate, digests: frozenset[Digest], key_policy: KeyPolicy
    ) -> None:
        """Check that the issuer made this list and may do so.

        Raises PkiError: RevocationFault.WRONG_ISSUER, NOT_ALLOWED, BAD_SIGNATURE, UNSUPPORTED; a
        KeyFault. Source: RFC 5280 6.3.3 (f), (g).
        """
        if canonical_name(issuer.subject) != self.issuer:
            raise _fail(RevocationFault.WRONG_ISSUER, "issuer")
        own = issuer.subject_key_identifier()
        if None not in (own, self.key_identifier) and own != self.key_identifier:
            raise _fail(RevocationFault.WRONG_ISSUER, "authorityKeyIdentifier")
        usage = issuer.extension(oids.ID_CE_KEY_USAGE)
        if usage is not None and not decode_key_usage(usage) & KeyUsageBit.CRL_SIGN:
            raise _fail(RevocationFault.NOT_ALLOWED, "keyUsage without cRLSign")
        if self._tbs is None:
            if issuer.subject_public_key_info != self._verified:
                raise _fail(RevocationFault.WRONG_ISSUER, "another key of the issuer")
            if self._digest not in digests:
                # The list is kept across reloads, which may take a digest away.
                raise _fail(RevocationFault.UNSUPPORTED, "digest of the signature")
            return
        identifier = asn1.decode(AlgorithmIdentifier, self._algorithm)
        self._digest = check_signed_by(
            issuer, identifier, self._signature, self._tbs, digests, key_policy
        )
        # Checked once: the octets, megabytes perhaps, are not needed again.
        self._verified, self._tbs = issuer.subject_public_key_info, None
