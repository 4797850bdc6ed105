"""The realm and KDC that a command of a client speaks to: the state folder's, or as options say."""

from dataclasses import dataclass
from pathlib import Path

import click

from kdc.cli.client_files import reachable
from kdc.cli.options import kdc_place
from kdc.cli.state import load_realm_config
from kdc.state_folder import StateFolder
from pki import ca


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTarget:
    """A realm, where its KDC is, and how that one's certificate is known."""

    realm: str
    domain: str
    """The DNS name in the KDC's certificate."""
    address: tuple[str, int]
    anchors: tuple[bytes, ...]
    """DER of the CAs that the KDC's certificate may chain to."""


def client_target(
    folder: StateFolder,
    address: str | None,
    realm: str | None,
    anchor: Path | None,
    domain: str | None = None,
) -> ClientTarget:
    """Combine --kdc, --realm, --anchor and --domain with what the state folder says.

    Raises click.UsageError, ConfigError, OSError, PkiError.
    """
    config = load_realm_config(folder).config if realm is None else None
    if config is None and address is None:
        raise click.UsageError("--realm needs --kdc")
    name = config.realm if config is not None else str(realm).upper()
    if domain is None:
        domain = config.domain if config is not None else name.lower()
    where = kdc_place(address) if address else reachable(config.listen[0] if config else "")
    file = anchor or (folder.ca_certificate if config is not None else None)
    anchors = () if file is None else ca.certificates_from_pem(file.read_bytes())
    return ClientTarget(realm=name, domain=domain, address=where, anchors=anchors)
