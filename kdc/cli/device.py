"""`kdc device`: device objects, which registered keys name by their DeviceId."""

import uuid
from collections.abc import Mapping
from uuid import UUID

import click

from directory.model import Device, Sid
from directory.store import Store
from kdc.cli.errors import CliError
from kdc.cli.options import json_option, not_found, state_option
from kdc.cli.output import iso, print_fields, print_json, print_table, read_time
from kdc.cli.state import find_account, now, open_realm

PAGE = 500


@click.group("device")
def command() -> None:
    """Devices that registered keys are on.

    A key whose DeviceId names a disabled device logs nobody on. DEVICE is the DeviceId or the
    name. In an LDAP realm devices are entries of class msDS-Device and are changed there.
    """


def _find_device(store: Store, text: str) -> Device:
    """Find a device by its DeviceId, else by its name. Raises CliError."""
    try:
        device = store.device(UUID(text))
    except ValueError:
        named = store.devices_named(text)
        if len({device.device_id for device in named}) > 1:
            raise CliError(
                f"several devices are named {text}",
                "a name need not be one device's alone",
                f"give the DeviceId: kdc device list shows it, {named[0].device_id} for one",
            ) from None
        device = store.device(named[0].device_id) if named else None
    if device is None:
        raise not_found(f"no device {text}", "kdc device list")
    return device


def _owner_name(device: Device, owners: Mapping[Sid, str]) -> str | None:
    """Name the registered owner: an account's name, else the SID; None: there is none."""
    return None if device.owner is None else owners.get(device.owner, str(device.owner))


def _json(device: Device, owners: Mapping[Sid, str]) -> dict[str, object]:
    return {
        "device_id": str(device.device_id),
        "name": device.name,
        "enabled": device.enabled,
        "owner": _owner_name(device, owners),
        "owner_sid": None if device.owner is None else str(device.owner),
        "dn": device.dn,
        "created": iso(device.created_at),
    }


@command.command("add")
@click.argument("name")
@click.option("--id", "device_id", type=click.UUID, help="Its DeviceId; else a new one.")
@click.option("--owner", metavar="USER", help="Who registered it.")
@state_option
@click.pass_context
def add(ctx: click.Context, name: str, device_id: UUID | None, owner: str | None) -> None:
    """Add a device, enabled. kdc key enroll --device makes a key on it."""
    with open_realm(ctx).store(write=True) as store:
        device = Device(
            device_id=device_id or uuid.uuid4(),
            name=name,
            enabled=True,
            owner=find_account(store, owner).sid if owner else None,
            guid=uuid.uuid4(),
            created_at=now(),
        )
        store.add_device(device)
    click.echo(f"added {name} ({device.device_id})")


@command.command("list")
@json_option
@state_option
@click.pass_context
def list_devices(ctx: click.Context, as_json: bool) -> None:
    """List the devices.

    JSON: a list of device_id, name, enabled, owner (an account's name, or a SID), owner_sid, dn,
    created.
    """
    with open_realm(ctx).store() as store:
        found: list[Device] = []
        while page := store.list_devices(after=found[-1].guid if found else None, limit=PAGE):
            found += page
        owners = store.device_owners() if found else {}
    found.sort(key=lambda device: (device.name.lower(), device.device_id))
    if as_json:
        print_json([_json(device, owners) for device in found])
        return
    rows = [
        (
            device.name,
            "enabled" if device.enabled else "disabled",
            str(device.device_id),
            _owner_name(device, owners) or "",
        )
        for device in found
    ]
    print_table(("NAME", "STATE", "DEVICE ID", "OWNER"), rows)


@command.command("show")
@click.argument("device")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, device: str, as_json: bool) -> None:
    """Show a device. JSON: as in the list."""
    with open_realm(ctx).store() as store:
        found = _find_device(store, device)
        owners = store.device_owners()
    if as_json:
        print_json(_json(found, owners))
        return
    print_fields(
        [
            ("name", found.name),
            ("device ID", str(found.device_id)),
            ("state", "enabled" if found.enabled else "disabled: its keys log nobody on"),
            ("owner", _owner_name(found, owners) or "none"),
            *([("DN", found.dn)] if found.dn else []),
            ("created", read_time(found.created_at)),
        ]
    )


def _set_enabled(ctx: click.Context, text: str, *, enabled: bool) -> None:
    with open_realm(ctx).store(write=True) as store:
        found = _find_device(store, text)
        store.set_device_enabled(found.device_id, enabled=enabled)
    click.echo(f"{found.name} is {'enabled' if enabled else 'disabled'}")


@command.command("enable")
@click.argument("device")
@state_option
@click.pass_context
def enable(ctx: click.Context, device: str) -> None:
    """Let the keys on a device log on again."""
    _set_enabled(ctx, device, enabled=True)


@command.command("disable")
@click.argument("device")
@state_option
@click.pass_context
def disable(ctx: click.Context, device: str) -> None:
    """Let no key on a device log on any more."""
    _set_enabled(ctx, device, enabled=False)


@command.command("remove")
@click.argument("device")
@state_option
@click.pass_context
def remove(ctx: click.Context, device: str) -> None:
    """Remove a device. Its keys stay, and log on unless kdc.toml demands a device."""
    with open_realm(ctx).store(write=True) as store:
        found = _find_device(store, device)
        store.delete_device(found.device_id)
    click.echo(f"removed {found.name}")
    click.echo("  its keys are registered still: kdc key remove takes them away", err=True)
