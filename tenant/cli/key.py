"""`tenant key`: Hello keys that users registered."""

from uuid import UUID

import click

from kdc.cli.options import json_option
from kdc.cli.output import iso, print_json, print_table
from tenant.cli.options import state_option
from tenant.cli.tenant import not_found, open_tenant
from tenant.state import devices, keys, users
from tenant.state.keys import RegisteredKey


@click.group("key")
def command() -> None:
    """Hello keys of the tenant's users.

    `tenant sync` carries them into the realm: before, nobody logs on there with one.
    """


def _json(key: RegisteredKey, upns: dict[UUID, str], names: dict[UUID, str]) -> dict[str, object]:
    return {
        "kid": str(key.kid),
        "user": upns.get(key.user, str(key.user)),
        "device_id": str(key.device_id),
        "device": names.get(key.device_id),
        "key_id": key.key_id.hex(),
        "bits": key.public_key().bits,
        "attested": key.attested,
        "attestation": key.attestation,
        "created": iso(key.created),
    }


@command.command("list")
@click.argument("user", required=False)
@json_option
@state_option
@click.pass_context
def list_keys(ctx: click.Context, user: str | None, as_json: bool) -> None:
    """List the keys of all users, or of one.

    JSON: a list of kid (the number of the registration), user, device_id, device, key_id (SHA-256
    of the key; KeyID in the directory), bits, attested, attestation, created.
    """
    with open_tenant(ctx) as tenant, tenant.database.read() as connection:
        if user is None:
            found = keys.all_keys(connection)
        else:
            found = keys.keys_of_user(connection, tenant.find_user(connection, user).object_id)
        upns = {known.object_id: known.upn for known in users.all_users(connection)}
        names = {known.device_id: known.display_name for known in devices.all_devices(connection)}
    shown = [_json(key, upns, names) for key in found]
    if as_json:
        print_json(shown)
        return
    rows = [
        tuple(str(row[name] or "") for name in ("user", "kid", "device", "created"))
        for row in shown
    ]
    print_table(("USER", "KID", "DEVICE", "CREATED"), rows)


@command.command("remove")
@click.argument("kid", type=click.UUID)
@state_option
@click.pass_context
def remove(ctx: click.Context, kid: UUID) -> None:
    """Remove a key; KID is what `tenant key list` shows. The next sync removes it in the realm."""
    with open_tenant(ctx) as tenant, tenant.database.write() as connection:
        if not keys.delete_key(connection, kid):
            raise not_found(f"no key {kid}", "tenant key list shows all")
    click.echo(f"removed {kid}")
