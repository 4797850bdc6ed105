"""`tenant device`: devices that were joined, registered, or synced from the realm."""

import sqlite3
from dataclasses import replace
from uuid import UUID

import click

from kdc.cli.errors import CliError
from kdc.cli.options import json_option
from kdc.cli.output import iso, print_fields, print_json, print_table, read_time
from tenant.cli.options import state_option
from tenant.cli.tenant import not_found, open_tenant
from tenant.state import devices, users
from tenant.state.devices import DeviceRecord


@click.group("device")
def command() -> None:
    """Devices of the tenant.

    DEVICE is the device id or the display name. Clients join devices; nobody adds one here.
    """


def _find(connection: sqlite3.Connection, text: str) -> DeviceRecord:
    try:
        found = devices.device_by_id(connection, UUID(text))
    except ValueError:
        named = devices.devices_named(connection, text)
        if len(named) > 1:
            raise CliError(
                f"several devices are named {text}",
                "a name need not be one device's alone",
                f"give the device id: tenant device list shows it, {named[0].device_id} for one",
            ) from None
        found = named[0] if named else None
    if found is None:
        raise not_found(f"no device {text}", "tenant device list shows all")
    return found


def _owners(connection: sqlite3.Connection) -> dict[UUID, str]:
    return {user.object_id: user.upn for user in users.all_users(connection)}


def _owner(device: DeviceRecord, owners: dict[UUID, str]) -> str | None:
    return None if device.owner is None else owners.get(device.owner, str(device.owner))


def _json(device: DeviceRecord, owners: dict[UUID, str]) -> dict[str, object]:
    return {
        "device_id": str(device.device_id),
        "object_id": str(device.object_id),
        "name": device.display_name,
        "join_type": device.join_type.name.lower(),
        "enabled": device.enabled,
        "joined": device.certificate is not None,
        "owner": _owner(device, owners),
        "os_type": device.os_type,
        "os_version": device.os_version,
        "certificate": device.thumbprint,
        "attested": device.attested,
        "attestation": device.attestation,
        "onprem_guid": None if device.onprem_guid is None else str(device.onprem_guid),
        "sid": device.sid,
        "created": iso(device.created),
    }


@command.command("list")
@json_option
@state_option
@click.pass_context
def list_devices(ctx: click.Context, as_json: bool) -> None:
    """List the devices.

    JSON: a list of device_id, object_id, name, join_type (joined, registered, hybrid), enabled,
    joined (whether it has a certificate), owner, os_type, os_version, certificate (its SHA-1),
    attested, attestation, onprem_guid and sid (of the computer in the realm), created.
    """
    with open_tenant(ctx) as tenant, tenant.database.read() as connection:
        found = devices.all_devices(connection)
        owners = _owners(connection)
    if as_json:
        print_json([_json(device, owners) for device in found])
        return
    rows = [
        (
            device.display_name,
            "enabled" if device.enabled else "disabled",
            device.join_type.name.lower() + ("" if device.certificate else " (waiting)"),
            str(device.device_id),
            _owner(device, owners) or "",
        )
        for device in found
    ]
    print_table(("NAME", "STATE", "JOIN", "DEVICE ID", "OWNER"), rows)


@command.command("show")
@click.argument("device")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, device: str, as_json: bool) -> None:
    """Show one device. JSON: as one element of `list`."""
    with open_tenant(ctx) as tenant, tenant.database.read() as connection:
        found = _find(connection, device)
        owners = _owners(connection)
    if as_json:
        print_json(_json(found, owners))
        return
    system = f"{found.os_type} {found.os_version}".strip()
    print_fields(
        [
            ("device", found.display_name),
            ("device id", str(found.device_id)),
            ("state", "enabled" if found.enabled else "disabled"),
            ("join", found.join_type.name.lower()),
            ("owner", _owner(found, owners) or ""),
            ("system", system),
            ("certificate", found.thumbprint or "none: the computer has not joined yet"),
            ("attested", ("yes: " if found.attested else "no ") + found.attestation),
            ("computer", found.sid or ""),
            ("created", read_time(found.created)),
        ]
    )


def _switch(ctx: click.Context, device: str, *, enabled: bool) -> str:
    with open_tenant(ctx) as tenant, tenant.database.write() as connection:
        found = replace(_find(connection, device), enabled=enabled)
        devices.update_device(connection, found)
    return found.display_name


@command.command("disable")
@click.argument("device")
@state_option
@click.pass_context
def disable(ctx: click.Context, device: str) -> None:
    """Refuse everything that a device signs.

    It gets no PRT, and no key is registered on it.
    """
    click.echo(f"disabled {_switch(ctx, device, enabled=False)}")


@command.command("enable")
@click.argument("device")
@state_option
@click.pass_context
def enable(ctx: click.Context, device: str) -> None:
    """Let a device sign again."""
    click.echo(f"enabled {_switch(ctx, device, enabled=True)}")


@command.command("delete")
@click.argument("device")
@state_option
@click.pass_context
def delete(ctx: click.Context, device: str) -> None:
    """Delete a device, and the keys that were registered on it."""
    with open_tenant(ctx) as tenant, tenant.database.write() as connection:
        found = _find(connection, device)
        devices.delete_device(connection, found.device_id)
    click.echo(f"deleted {found.display_name} ({found.device_id})")
