"""`kdc directory`: the LDAP directory that a realm's accounts live in."""

from datetime import datetime, timedelta
from pathlib import Path

import click

from directory.backend import DirectoryError
from directory.ldap.apply import ReplicaWriter
from directory.ldap.follow import load_once
from directory.ldap.keys import KeyFeed
from directory.ldap.load import Loaded
from directory.ldap.questions import STATUS_NAME
from directory.ldap.session import Servers
from directory.ldap.status import FollowerState, FollowerStatus, StatusFile
from directory.store import Store
from kdc.cli import directory_check
from kdc.cli.directory_ticket import sasl_of
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, state_option
from kdc.cli.output import iso, print_fields, print_json, progress
from kdc.cli.state import RealmState, now, open_ldap_realm
from kdc.server.directory_link import make_servers, make_writer
from kdc.server.key_source import open_key_source

SHOWN_PROBLEMS = 20


@click.group("directory")
def command() -> None:
    """The LDAP directory that the realm's accounts live in."""


command.add_command(directory_check.command)


def load_accounts(
    servers: Servers, writer: ReplicaWriter, feed: KeyFeed, *, believe: bool = False
) -> Loaded:
    """Load all accounts and groups, showing progress on the terminal. Raises CliError."""
    feed.load()
    began = now()
    try:
        with progress("accounts and groups", None) as done:
            loaded = load_once(
                servers, writer, progress=lambda count, _: done(count), believe=believe
            )
    except DirectoryError as error:
        raise unreachable(error) from error
    _confirm(writer.store.path.with_name(STATUS_NAME), began, loaded.entries)
    return loaded


def _confirm(path: Path, moment: datetime, entries: int) -> None:
    """Note when the store was last right, unless a follower is at work and knows better."""
    file = StatusFile(path, write=True)
    try:
        before = file.read()
        if before is None or before.state is FollowerState.STARTING:
            file.write(
                FollowerStatus(
                    state=FollowerState.STARTING,
                    pid=0,
                    confirmed_at=moment,
                    entries=entries,
                    changes=0,
                    fetches=0,
                    problems=0,
                    failures=0,
                    server="",
                )
            )
    finally:
        file.close()


def unreachable(error: DirectoryError) -> CliError:
    """Say that the directory cannot be used."""
    return CliError(
        "the directory cannot be read",
        error.detail or error.kind.value,
        "check that the directory runs, and directory.url and the bind in kdc.toml",
        ExitCode.UNREACHABLE if error.kind.name == "UNAVAILABLE" else ExitCode.DENIED,
    )


@command.command("load")
@click.option(
    "--believe-deletions",
    is_flag=True,
    help="Delete accounts that are gone, even more than half of all at once.",
)
@state_option
@click.pass_context
def load(ctx: click.Context, believe_deletions: bool) -> None:
    """Compare the whole store with the directory, now.

    The follower of a running KDC does so by itself when it has to.
    """
    realm = open_ldap_realm(ctx)
    with realm.store(write=True, local=True) as store:
        sasl = sasl_of(realm.config, realm.folder.root)
        source = open_key_source(realm.config, realm.folder, realm.master_key(), sasl)
        feed = KeyFeed(source)
        servers = make_servers(realm.config, store, realm.folder.root, sasl)
        writer = make_writer(store, realm.config, feed)
        loaded = load_accounts(servers, writer, feed, believe=believe_deletions)
        feed.close()
        _show_loaded(loaded, writer)


def _show_loaded(loaded: Loaded, writer: ReplicaWriter) -> None:
    done = loaded.applied
    click.echo(
        f"{loaded.entries} accounts and groups: {done.added} added, {done.changed} changed,"
        f" {done.removed} removed"
    )
    show_problems(writer)


def show_problems(writer: ReplicaWriter) -> None:
    """List the entries that cannot be used, or not wholly."""
    found = writer.problems(SHOWN_PROBLEMS)
    for dn, why in found:
        click.echo(f"  cannot be used: {dn}: {why}", err=True)


@command.command("status")
@json_option
@state_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show whether the directory is followed, and how old the store may be.

    JSON: state, server, confirmed_at, age_s, stale (nobody is served), entries, changes, fetches,
    failures, pid, problems (dn, why). Exit code 6 when the directory is not followed now.
    """
    realm = open_ldap_realm(ctx)
    found = _read_status(realm)
    moment = now()
    age = found.age(moment) if found is not None else None
    limit = realm.config.max_staleness_s
    stale = bool(limit) and (age is None or age > timedelta(seconds=limit))
    with realm.store() as store:
        problems = _problems(store)
    state = found.state.name.lower() if found is not None else "never started"
    if as_json:
        print_json(
            {
                "state": state,
                "server": found.server if found else None,
                "confirmed_at": iso(found.confirmed_at) if found else None,
                "age_s": int(age.total_seconds()) if age is not None else None,
                "stale": stale,
                "entries": found.entries if found else 0,
                "changes": found.changes if found else 0,
                "fetches": found.fetches if found else 0,
                "failures": found.failures if found else 0,
                "pid": found.pid if found else None,
                "problems": [{"dn": dn, "why": why} for dn, why in problems],
            }
        )
    else:
        print_fields(
            [
                ("state", state),
                ("server", found.server if found else "-"),
                ("confirmed", f"{iso(found.confirmed_at) or 'never'}" if found else "never"),
                ("age", "-" if age is None else f"{age.total_seconds():.0f} s"),
                ("stale", "yes: everybody is refused (29)" if stale else "no"),
                ("entries", str(found.entries if found else 0)),
                ("changes", str(found.changes if found else 0)),
                ("asked by requests", str(found.fetches if found else 0)),
                ("times lost", str(found.failures if found else 0)),
            ]
        )
        for dn, why in problems:
            click.echo(f"cannot be used: {dn}: {why}")
    if state != "following":
        ctx.exit(int(ExitCode.UNREACHABLE))


def _read_status(realm: RealmState) -> FollowerStatus | None:
    try:
        file = StatusFile(realm.folder.root / STATUS_NAME)
    except OSError:
        return None
    try:
        return file.read()
    finally:
        file.close()


def _problems(store: Store) -> list[tuple[str, str]]:
    there = store.rows("SELECT 1 FROM sqlite_master WHERE name = 'replica_entries'")
    if not there:
        return []
    rows = store.rows(
        "SELECT dn_key, problem FROM replica_entries WHERE problem IS NOT NULL"
        " ORDER BY dn_key LIMIT ?",
        SHOWN_PROBLEMS,
    )
    return [(str(dn), str(why)) for dn, why in rows]
