"""`tenant init`: make a tenant in its folder, with a certificate of the lab's CA."""

import json
import uuid
from pathlib import Path
from uuid import UUID

import click

from directory.sealing import MasterKey
from kdc.cli.authority import Authority, age_of, open_authority, write_pair
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import ListenAddress, read_input_file
from kdc.cli.state import (
    RealmState,
    load_realm_config,
    make_state_folders,
    now,
    write_private,
    write_public,
)
from kdc.formats.cloud_key import MAX_FILE_BYTES, CloudKeyError, decode_cloud_key
from kdc.state_folder import StateFolder
from pki import ca
from pki.templates import HTTP
from tenant.cli.options import state_option, tenant_folder
from tenant.config import DEFAULT_LISTEN, DEFAULT_PROXY, parse_config
from tenant.server.hosts import certificate_names
from tenant.services import CLOUD_KEY_AAD, DEVICE_CA_AAD, SIGNING_KEY_AAD
from tenant.state.database import Database
from tenant.state_folder import TenantFolder

RENEW_AFTER = 2 / 3
"""Of a certificate's life, as for the realm's own certificates."""

DEVICE_CA_NAME = "MS-Organization-Access"
"""What clients know the issuer of device certificates by."""


@click.command("init")
@click.option("--domain", required=True, help="DNS name of the domain, such as lab.test.")
@click.option(
    "--kdc-state",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="State folder of the lab's KDC: its CA certifies HTTPS, and tenant sync writes there.",
)
@click.option("--tenant-id", type=click.UUID, help="The tenant's GUID; else a new one.")
@click.option(
    "--listen", type=ListenAddress(), default=DEFAULT_LISTEN, show_default=True, help="HTTPS."
)
@click.option(
    "--proxy",
    type=ListenAddress(),
    default=DEFAULT_PROXY,
    show_default=True,
    help="CONNECT, for clients with HTTPS_PROXY.",
)
@click.option(
    "--cloud-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Key of the cloud trust, from kdc cloud-trust export-key: issue partial TGTs.",
)
@state_option
@click.pass_context
def command(
    ctx: click.Context,
    domain: str,
    kdc_state: Path,
    tenant_id: UUID | None,
    listen: str,
    proxy: str,
    cloud_key: Path | None,
) -> None:
    """Make a tenant: its keys, its database, tenant.toml, and a certificate for HTTPS.

    The certificate is of the lab's CA and holds Microsoft's names of these services, which this
    machine then answers to clients that are pointed here and trust the lab's CA; to nobody else.

    Safe to run twice: a tenant that is there stays as it is; only its certificate is made anew when
    it is missing or soon at its end, and --cloud-key replaces the key. The server reads both when
    it starts.
    """
    folder = tenant_folder(ctx)
    realm_folder = StateFolder(kdc_state)
    if folder.tenant_toml.exists():
        _renew(folder, domain.lower(), realm_folder, cloud_key)
        return
    if folder.master_key.exists() or folder.database.exists():
        raise CliError(
            f"{folder.root} holds part of a tenant",
            "there are keys but no tenant.toml",
            "put tenant.toml back, or remove the folder",
            ExitCode.EXISTS,
        )
    realm = RealmState(folder=realm_folder, loaded=load_realm_config(realm_folder))
    text = (
        f'tenant_id = "{tenant_id or uuid.uuid4()}"\n'
        f'domain = "{domain.lower()}"\n'
        # A JSON string is one of TOML's, as long as it is printable: anything else is refused.
        f"kdc_state = {json.dumps(str(kdc_state.resolve()), ensure_ascii=False)}\n"
        f'listen = "{listen}"\n'
        f'proxy = "{proxy}"\n'
    )
    config = parse_config(text.encode(), "the options of tenant init")
    exported = None if cloud_key is None else read_cloud_key(cloud_key)
    # The CA is opened before anything is made: what is left of a tenant would stop the next try.
    with open_authority(realm) as authority:
        make_state_folders(folder.root, folder.pki)
        master_key = MasterKey.create(folder.master_key)
        Database.create(folder.database).close()
        moment = now()
        device_ca = ca.create_root(config.domain, moment, common_name=DEVICE_CA_NAME)
        _write_sealed(folder.device_ca, device_ca, master_key, DEVICE_CA_AAD)
        signing = ca.create_root(config.domain, moment, common_name="token signing")
        _write_sealed(folder.signing_key, signing, master_key, SIGNING_KEY_AAD)
        write_tls_certificate(folder, authority, config.domain)
    write_public(folder.ca_bundle, realm_folder.ca_certificate.read_bytes())
    if exported is not None:
        keep_cloud_key(folder, exported, master_key)
    # Last, because it is what makes the folder a tenant.
    write_private(folder.tenant_toml, text.encode())
    click.echo(f"tenant {config.tenant_id} of {config.domain} is in {folder.root}")
    click.echo("  next: tenant sync --once (or tenant user add NAME), tenant serve")


def _renew(
    folder: TenantFolder, domain: str, realm_folder: StateFolder, cloud_key: Path | None
) -> None:
    """Bring what ends or is handed over up to date in a tenant that is there."""
    found = folder.load_config()
    if found.domain != domain:
        raise CliError(
            f"{folder.root} holds another tenant",
            f"it is {found.domain}'s",
            "choose another folder with --state",
            ExitCode.EXISTS,
        )
    done = []
    if _is_ending(folder.tls):
        realm = RealmState(folder=realm_folder, loaded=load_realm_config(realm_folder))
        with open_authority(realm) as authority:
            write_tls_certificate(folder, authority, domain)
        write_public(folder.ca_bundle, realm_folder.ca_certificate.read_bytes())
        done.append("it has a new certificate")
    if cloud_key is not None:
        keep_cloud_key(folder, read_cloud_key(cloud_key), MasterKey.load(folder.master_key))
        done.append("it has the key of the cloud trust")
    what = "; ".join(done) or "nothing was changed"
    click.echo(f"tenant {found.tenant_id} is in {folder.root} already; {what}")


def _is_ending(place: tuple[Path, Path]) -> bool:
    """Tell whether a certificate or its key is missing, or most of its life has passed."""
    if not all(path.exists() for path in place):
        return True
    (certificate, *_) = ca.certificates_from_pem(place[0].read_bytes())
    return age_of(certificate, now()) > RENEW_AFTER


def _write_sealed(
    place: tuple[Path, Path], pair: ca.IssuedCertificate, master_key: MasterKey, aad: bytes
) -> None:
    certificate, key = place
    write_private(key, master_key.seal(aad, ca.private_key_to_pem(pair.private_key)))
    write_public(certificate, ca.certificate_to_pem(pair.certificate_der))


def write_tls_certificate(folder: TenantFolder, authority: Authority, domain: str) -> None:
    """Issue the certificate of HTTPS and write it with its key."""
    issued = ca.issue_tls_certificate(
        authority.issuer, authority.config.realm, certificate_names(domain), ("127.0.0.1",), now()
    )
    authority.record(issued.certificate_der, HTTP)
    write_pair(
        folder.tls,
        authority.pem(issued.certificate_der),
        ca.private_key_to_pem(issued.private_key),
    )


def read_cloud_key(source: Path) -> bytes:
    """Read an exported key of the cloud trust. Raises CliError when it is none."""
    data = read_input_file(source, MAX_FILE_BYTES)
    try:
        decode_cloud_key(data)
    except CloudKeyError as error:
        raise CliError(
            f"{source} is no key of a cloud trust",
            str(error),
            "make one: kdc cloud-trust export-key -o F",
        ) from None
    return data


def keep_cloud_key(folder: TenantFolder, data: bytes, master_key: MasterKey) -> None:
    """Keep the exported key of the cloud trust, sealed. Raises CliError."""
    write_private(folder.cloud_key, master_key.seal(CLOUD_KEY_AAD, data))
