"""`tenant scp`: the object by which a domain's computers find their tenant."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

import click

from directory.ldap.write import WritingConnection
from kdc.cli.directory_access import Caller, caller_options, directory_errors, open_directory
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, not_found
from kdc.cli.output import print_fields, print_json
from kdc.cli.state import RealmState, load_realm_config
from tenant.cli.options import state_option, tenant_folder
from tenant.sync.ldap_port import device_container as container_dn
from tenant.sync.place import open_connection, realm_folder
from tenant.sync.scp import (
    Scp,
    configuration_of,
    keywords_of,
    make_device_container,
    read_scp,
    scp_dn,
    write_scp,
)

_WHAT = "the service connection point cannot be used"


@click.group("scp")
def command() -> None:
    """The object by which a domain's computers find their tenant.

    It lies in the configuration partition of Active Directory or Samba. A realm with a store of its
    own, and one in OpenLDAP, have none: there a client is told its tenant otherwise.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An open directory, and whose object is looked for."""

    connection: WritingConnection
    base: str
    configuration: str
    domain: str
    tenant_id: UUID

    def read(self) -> Scp:
        """Read the object. Raises CliError when it is not there."""
        found = read_scp(self.connection, self.configuration)
        if found is None:
            raise not_found(f"there is no {scp_dn(self.configuration)}", "tenant scp create")
        return found


@contextmanager
def _open(ctx: click.Context, caller: Caller) -> Iterator[_Place]:
    """Open the directory: as the options say, else as the sync job. Raises CliError."""
    folder = tenant_folder(ctx)
    config = folder.load_config()
    place = realm_folder(folder, config)
    realm = RealmState(folder=place, loaded=load_realm_config(place))
    kdc = realm.config
    if not kdc.directory_url:
        _refuse(
            f"{kdc.realm} lives in a store of its own, which no computer reads by LDAP",
            ",".join(f"DC={label.lower()}" for label in kdc.realm.split(".")),
            config.domain,
            config.tenant_id,
        )
    if caller.given:
        with open_directory(realm, caller) as access, directory_errors(_WHAT):
            yield _place(access.connection, access.base, config.domain, config.tenant_id)
        return
    with directory_errors(_WHAT):
        connection = open_connection(folder, config, place.root, kdc)
        try:
            yield _place(connection, kdc.directory_base or "", config.domain, config.tenant_id)
        finally:
            connection.close()


def _place(connection: WritingConnection, base: str, domain: str, tenant_id: UUID) -> _Place:
    configuration = configuration_of(connection)
    if not configuration:
        _refuse(
            "this directory has no configuration partition, as Active Directory has",
            base or "the domain's base",
            domain,
            tenant_id,
        )
    return _Place(
        connection=connection,
        base=base or configuration.partition(",")[2],
        configuration=configuration,
        domain=domain,
        tenant_id=tenant_id,
    )


def _refuse(why: str, base: str, domain: str, tenant_id: UUID) -> NoReturn:
    """Say where it would be, and what it would say. Raises CliError."""
    words = ", ".join(keywords_of(domain, tenant_id))
    raise CliError(
        "there is no place for a service connection point",
        why,
        f"tell the client: {words}; in Active Directory it would be "
        f"{scp_dn(f'CN=Configuration,{base}')}",
    )


@command.command("create")
@click.option("--device-container", is_flag=True, help="Make CN=RegisteredDevices as well.")
@caller_options
@state_option
@click.pass_context
def create(ctx: click.Context, device_container: bool, caller: Caller) -> None:
    """Make the object, or let it name this tenant; safe to run twice.

    As an administrator of the domain: --bind-dn, --ldapi or --ccache say who. With
    --device-container also the place where tenant sync writes device objects.
    """
    with _open(ctx, caller) as place:
        changed = write_scp(place.connection, place.configuration, place.domain, place.tenant_id)
        made = device_container and _make_devices(place)
    click.echo(f"{'wrote' if changed else 'unchanged:'} {scp_dn(place.configuration)}")
    if device_container:
        click.echo(f"{'made' if made else 'unchanged:'} {_devices(place)}")


def _devices(place: _Place) -> str:
    return container_dn(place.base, "ad")


def _make_devices(place: _Place) -> bool:
    return make_device_container(place.connection, _devices(place))


@command.command("show")
@json_option
@caller_options
@state_option
@click.pass_context
def show(ctx: click.Context, as_json: bool, caller: Caller) -> None:
    """Show the object. JSON: dn, keywords, problems (why computers would not find this tenant)."""
    with _open(ctx, caller) as place:
        found = place.read()
    problems = found.problems(place.domain, place.tenant_id)
    if as_json:
        words = sorted(found.keywords)
        print_json({"dn": found.dn, "keywords": words, "problems": list(problems)})
        return
    print_fields(
        [
            ("DN", found.dn),
            *(("keyword", word) for word in sorted(found.keywords)),
            *(("problem", problem) for problem in problems),
        ]
    )


@command.command("check")
@caller_options
@state_option
@click.pass_context
def check(ctx: click.Context, caller: Caller) -> None:
    """Check that computers find this tenant by the object.

    Exit code 0 when they do, else 1, or 3 without an object. With --bind-dn of a computer or
    ordinary user it is read as those read it.
    """
    with _open(ctx, caller) as place:
        found = place.read()
    problems = found.problems(place.domain, place.tenant_id)
    if problems:
        raise CliError(
            "computers would not find this tenant",
            "; ".join(problems),
            "tenant scp create lets the object name this tenant",
            ExitCode.FAILED,
        )
    click.echo(f"computers find the tenant {place.tenant_id} of {place.domain}")
