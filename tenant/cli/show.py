"""`tenant show`: what this tenant is."""

import sqlite3
from datetime import datetime
from pathlib import Path

import click
from cryptography import x509

from directory.sealing import MasterKey
from kdc.cli.options import json_option
from kdc.cli.output import iso, print_fields, print_json, read_time
from tenant.cli.options import state_option
from tenant.cli.tenant import open_tenant
from tenant.services import open_cloud_key
from tenant.state import devices, keys, users


def _ends(path: Path) -> datetime:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    return {
        "users": len(users.all_users(connection)),
        "devices": len(devices.all_devices(connection)),
        "keys": len(keys.all_keys(connection)),
    }


@click.command("show")
@json_option
@state_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the tenant: where it listens, what it knows, and how clients are pointed to it.

    JSON: tenant_id, domain, listen, proxy, kdc_state, ca_bundle, tls_expires, cloud_trust (realm,
    number and kvno of the key, or null), users, devices, keys (how many).
    """
    with open_tenant(ctx) as tenant:
        folder, config = tenant.folder, tenant.config
        with tenant.database.read() as connection:
            counts = _counts(connection)
    cloud = open_cloud_key(folder, MasterKey.load(folder.master_key))
    expires = _ends(folder.tls[0])
    bundle = folder.ca_bundle.resolve()
    if as_json:
        trust = None
        if cloud is not None:
            trust = {"realm": cloud.realm, "number": cloud.number, "kvno": cloud.kvno}
        print_json(
            {
                "tenant_id": str(config.tenant_id),
                "domain": config.domain,
                "listen": config.listen,
                "proxy": config.proxy,
                "kdc_state": config.kdc_state,
                "ca_bundle": str(bundle),
                "tls_expires": iso(expires),
                "cloud_trust": trust,
                **counts,
            }
        )
        return
    partial = "none: no partial TGTs (tenant init --cloud-key)"
    if cloud is not None:
        partial = f"{cloud.realm}, number {cloud.number}, kvno {cloud.kvno}"
    print_fields(
        [
            ("tenant", str(config.tenant_id)),
            ("domain", config.domain),
            ("HTTPS", f"{config.listen}, certificate until {read_time(expires)}"),
            ("clients", f"HTTPS_PROXY=http://{config.proxy} REQUESTS_CA_BUNDLE={bundle}"),
            ("realm", config.kdc_state or "none: no sync"),
            ("cloud trust", partial),
            *((name, str(count)) for name, count in counts.items()),
        ]
    )
