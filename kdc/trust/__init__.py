"""Do we trust this signer, and as which account? Evidence in, verdict out.

Rules
  1. Evidence says only "this key signed this request". It is made by `exchange.pkinit` after the
     CMS signature verified, and by nothing else.
  2. If the signer's key is registered on an account, key trust decides, and what is wrong with
     its certificate does not matter (MS-PKCA 3.1.5.2.1.4). If it is registered nowhere,
     certificate trust decides. A failed certificate path never falls through to key trust.
  3. Identity comes from the evidence alone. The verdict names the account; nobody looks it up
     again by a name taken from a certificate.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from directory.model import AccountKind
from pki.keys import PublicKey

KINDS = (AccountKind.USER, AccountKind.COMPUTER)
"""The accounts that log on with a key or a certificate."""


@dataclass(slots=True, kw_only=True)
class SignerEvidence:
    """A public key that provably signed the AuthPack of this very request. Treated as frozen."""

    public_key: PublicKey
    certificate: bytes
    """DER of the signer's certificate as received; its contents prove nothing for key trust."""
    intermediates: tuple[bytes, ...] = ()
    """DER of the message's other certificates, unread and unproven: material for a chain."""
    self_issued: bool = False
    """Whether the certificate names its subject as its issuer: no CA stands behind it."""


@dataclass(slots=True, kw_only=True)
class TrustVerdict:
    """The account that the evidence stands for. Treated as frozen."""

    model: Literal["key", "certificate"]
    account_id: int
    key_id: str
    """Hexadecimal KeyID of the key credential that decided; "" for certificate trust."""
    multifactor: bool = False
    """The key credential says that its key was made after a logon with several factors."""
    attested: bool = False
    """The key credential says that its key was attested."""
    strong: bool = True
    """Whether the mapping is a strong one (MS-PKCA 3.1.5.2.1.5: key trust always is)."""
    mapping: str = ""
    """What maps the certificate to the account, in fixed text; "" for key trust."""
    not_after: datetime | None = None
    """When the chain ends under certificate trust: no ticket lives longer."""
    facts: tuple[tuple[str, str], ...] = ()
    """What the audit record says of the certificate, under certificate trust."""
    warnings: tuple[str, ...] = ()
    """Fixed phrases for the audit record."""
