"""Attestation data in a registration's body, and what the tenant's setting makes of it.

The setting `attestation` of tenant.toml:
  checked   (default) none may come; one that comes must verify, or the registration is refused;
  required  one must come and verify;
  noted     one that does not verify is noted with its reason, and the registration goes on.
"Attested" is recorded in each case only for what was verified.

The members' names are those of the device join (AttestationData, AikCertificate; aad-join-spec
2.1.1.1.1), in the key registration too: MS-KPP documents none there. What an empty string says is
what macOS clients mean with it: none.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pki.chain import TrustPool
from pki.keys import PublicKey
from tenant.config import AttestationSetting
from tenant.jose.strict_json import JsonObject, optional_text
from tenant.keys.attestation import AttestationError, judge_attestation
from tenant.keys.public_key import Base64Error, decode_base64
from tenant.keys.tpm import MAX_STATEMENT_OCTETS

MAX_CERTIFICATE_OCTETS: Final = 16384


class EvidenceError(Exception):
    """Attestation data stops a registration; `why` is one fixed phrase."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The attestation that a client sent, unread."""

    statement: bytes
    aik_certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is recorded of it."""

    attested: bool = False
    text: str = ""
    """Whose attestation was believed, or why one was not."""


def read_evidence(body: JsonObject) -> Evidence | None:
    """Take the attestation out of a body; None: there is none. Raises EvidenceError, JsonError."""
    statement = optional_text(body, "AttestationData") or ""
    certificate = optional_text(body, "AikCertificate") or ""
    if not statement and not certificate:
        return None
    try:
        return Evidence(
            statement=decode_base64(statement, MAX_STATEMENT_OCTETS),
            aik_certificate=decode_base64(certificate, MAX_CERTIFICATE_OCTETS),
        )
    except Base64Error:
        raise EvidenceError("the attestation is no Base64, or too long") from None


def judge_evidence(
    evidence: Evidence | None,
    *,
    key: PublicKey,
    nonce: str | None,
    roots: TrustPool,
    setting: AttestationSetting,
    now: datetime,
) -> Finding:
    """Judge what came by the setting. nonce: used up by this registration, None: it named none.

    Raises EvidenceError.
    """
    if evidence is None:
        if setting == "required":
            raise EvidenceError("no attestation came, and the tenant requires one")
        return Finding()
    try:
        if nonce is None:
            raise AttestationError("the attestation comes without a nonce")
        believed = judge_attestation(
            evidence.statement,
            evidence.aik_certificate,
            key=key,
            nonce=nonce,
            roots=roots,
            now=now,
        )
    except AttestationError as error:
        if setting == "noted":
            return Finding(text=error.why)
        raise EvidenceError(error.why) from None
    return Finding(attested=True, text=f"AIK {believed.aik_thumbprint}")
