"""`kdc directory check`: what the directory lacks, and how to mend it."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta

import click

from directory.backend import DirectoryError
from directory.keysources import KRBTGT
from directory.ldap.session import Session, open_session
from directory.ldap.settings import LdapSettings
from kdc.cli.checks.directory import check_site, root_of
from kdc.cli.checks.directory_links import check_links
from kdc.cli.checks.directory_site import Found, Site
from kdc.cli.checks.finding import Finding, Level, fail, failed_by, ok, warn
from kdc.cli.directory_access import Access, Caller, caller_options, open_directory
from kdc.cli.directory_ticket import sasl_of
from kdc.cli.doctor import print_findings, worst
from kdc.cli.errors import ExitCode
from kdc.cli.options import json_option, state_option
from kdc.cli.output import iso, print_json
from kdc.cli.state import RealmState, now, open_ldap_realm
from kdc.server.directory_link import ldap_settings
from kdc.server.key_source import open_key_source


@click.command("check")
@click.option("--fix", is_flag=True, help="Mend what can be mended over LDAP, as who I am.")
@caller_options
@json_option
@state_option
@click.pass_context
def command(ctx: click.Context, fix: bool, as_json: bool, caller: Caller) -> None:
    """Say what the directory lacks, and how to mend it. Exit code 1 when a line fails.

    First as the KDC's own follower; with --bind-dn, --ldapi or --ccache then as you, who may see
    more. --fix changes the directory with your rights and nothing else.

    JSON: realm, time, result (the worst level), and checks: a list of check, level (ok, warn,
    fail), message, fix.
    """
    realm = open_ldap_realm(ctx)
    moment = now()
    found = _examine(realm, caller, moment, fix=fix)
    findings = list(found) if as_json else print_findings(found)
    if as_json:
        print_json(
            {
                "realm": realm.config.realm,
                "time": iso(moment),
                "result": str(worst(findings)),
                "checks": [
                    {"check": f.check, "level": str(f.level), "message": f.message, "fix": f.fix}
                    for f in findings
                ],
            }
        )
    if worst(findings) is Level.FAIL:
        ctx.exit(ExitCode.FAILED)


def _examine(
    realm: RealmState, caller: Caller, moment: datetime, *, fix: bool
) -> Iterator[Finding]:
    """Look as the follower, then as the caller; mend what a finding brings a repair for."""
    with ExitStack() as stack:
        # Who asks for changes must be known, even when all is well.
        access: Access | None = None
        if fix or caller.given:
            access = stack.enter_context(open_directory(realm, caller))
        sessions: list[Session] = []
        yield from _check_servers(realm, sessions)
        for session in sessions:
            stack.callback(session.connection.close)
        if access is None and not sessions:
            return
        connection = access.connection if access is not None else sessions[0].connection
        base = access.base if access is not None else sessions[0].base
        site = Site(
            connection=connection,
            flavour=realm.config.directory_flavour,
            base=base,
            root=root_of(connection),
            skew=timedelta(seconds=realm.config.clockskew_s),
            as_follower=access is None,
        )
        for found in (*check_site(site, moment), *check_links(site)):
            yield _mended(found, access) if fix and access is not None else found.finding
        yield from _check_key_source(realm)


def _mended(found: Found, access: Access) -> Finding:
    """Run a finding's repair, if it has one."""
    finding = found.finding
    if found.repair is None:
        return finding
    try:
        done = found.repair(access.connection)
    except DirectoryError as error:
        return fail(finding.check, f"{finding.message}; not mended: {error.detail}", finding.fix)
    return ok(finding.check, f"mended: {done}")


def _check_servers(realm: RealmState, sessions: list[Session]) -> Iterator[Finding]:
    """Connect to each server as the follower does; keep the sessions."""
    try:
        with realm.store() as store:
            settings: LdapSettings = ldap_settings(realm.config, store, realm.folder.root)
    except DirectoryError as error:
        yield failed_by("directory.bind", error)
        return
    sasl = sasl_of(realm.config, realm.folder.root)
    for url in settings.urls:
        try:
            session = open_session(url, settings, sasl)
        except DirectoryError as error:
            yield fail(
                "directory.server",
                error.detail or error.kind.value,
                "check the server, directory.ca_file, and the bind in kdc.toml",
            )
            continue
        sessions.append(session)
        how = "by TLS, its name checked" if url.scheme != "ldapi" else "on its local socket"
        yield ok("directory.server", f"{url} answers the follower {how}")


def _check_key_source(realm: RealmState) -> Iterator[Finding]:
    """Read all keys once, as the follower does."""
    setting = realm.config.directory_key_source
    sasl = sasl_of(realm.config, realm.folder.root)
    source = open_key_source(realm.config, realm.folder, realm.master_key(), sasl)
    if source is None:
        yield ok("directory.key_source", "long-term keys live in the local store")
        return
    try:
        keys = source.load()
    except DirectoryError as error:
        yield fail(
            "directory.key_source",
            f"{setting} cannot be read: {error.detail}",
            "correct directory.key_source, or who may read it",
        )
        return
    finally:
        source.close()
    if KRBTGT not in keys:
        yield warn(
            "directory.key_source",
            f"{setting} has keys of {len(keys)} accounts and none of krbtgt: the local ones count",
            "other KDCs of the realm need them: kdc realm rotate-krbtgt (ldap-sealed), or add them",
        )
    else:
        yield ok("directory.key_source", f"{setting} has keys of {len(keys)} accounts")
