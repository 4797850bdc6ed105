"""The tenant that a command works on, and its users and devices as people name them."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import click

from kdc.cli.errors import CliError, ExitCode
from tenant.cli.options import tenant_folder
from tenant.config import TenantConfig
from tenant.state import users
from tenant.state.database import Database
from tenant.state.users import User
from tenant.state_folder import TenantFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTenant:
    """A tenant's folder, settings and database, for the length of a command."""

    folder: TenantFolder
    config: TenantConfig
    database: Database

    def upn(self, name: str) -> str:
        """Complete a user's name: `pat` is pat@<domain>."""
        return name if "@" in name else f"{name}@{self.config.domain}"

    def find_user(self, connection: sqlite3.Connection, name: str) -> User:
        """Find a user as people name it: by UPN, by the part before "@", by object id.

        Raises CliError.
        """
        found = users.by_upn(connection, self.upn(name))
        if found is None:
            found = _by_id(connection, name)
        if found is None:
            raise not_found(f"no user named {name}", "tenant user list shows all")
        return found


def _by_id(connection: sqlite3.Connection, text: str) -> User | None:
    try:
        return users.by_id(connection, UUID(text))
    except ValueError:
        return None


@contextmanager
def open_tenant(ctx: click.Context) -> Iterator[OpenTenant]:
    """Open the tenant in the folder. Raises ConfigError, DirectoryError."""
    folder = tenant_folder(ctx)
    config = folder.load_config()
    database = Database.open(folder.database)
    try:
        yield OpenTenant(folder=folder, config=config, database=database)
    finally:
        database.close()


def not_found(what: str, remedy: str) -> CliError:
    """Make the error for something that is not there."""
    return CliError(what, "there is no such thing in this tenant", remedy, ExitCode.NOT_FOUND)
