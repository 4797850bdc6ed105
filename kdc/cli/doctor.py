"""`kdc doctor`: is everything there that a logon needs?"""

import os
import sys
from collections import Counter
from collections.abc import Iterator

import click

from kdc.cli.checks import accounts, certificates, files, follower, https, kpasswd, logons, machine
from kdc.cli.checks.configuration import check_configuration
from kdc.cli.checks.finding import Finding, Level, Patient, fail, failed_by, guarded
from kdc.cli.errors import ExitCode
from kdc.cli.options import json_option, kdc_place, state_option
from kdc.cli.output import iso, one_line, print_json
from kdc.cli.state import RealmState, now, state_folder
from kdc.config import ConfigError
from kdc.config_read import LoadedConfig
from kdc.state_folder import StateFolder

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command("doctor")
@click.option("--no-logons", is_flag=True, help="Leave the real logons out; change nothing.")
@click.option(
    "--kdc", "kdc_address", metavar="ADDR:PORT", help="Where the server is; else as in kdc.toml."
)
@click.option(
    "--all-accounts",
    is_flag=True,
    help=f"Look at every account, not only at the first {accounts.MAX_ACCOUNTS:,}.",
)
@json_option
@state_option
@click.pass_context
def command(
    ctx: click.Context,
    no_logons: bool,
    kdc_address: str | None,
    all_accounts: bool,
    as_json: bool,
) -> None:
    """Check everything that a logon needs, then log on for real. Exit code 1 when a line fails.

    The logons are those of an account kdc-doctor-XXXXXXXX that is made for them and deleted at
    the end; --no-logons goes without.

    JSON: realm, state, time, result (the worst level), logons (whether they were tried), and
    checks: a list of check, level (ok, warn, fail), message, fix.
    """
    given = None if kdc_address is None else kdc_place(kdc_address)
    folder = state_folder(ctx)
    moment = now()
    loaded: LoadedConfig | None = None
    try:
        loaded = folder.load_config()
        found = _examine(
            Patient(realm=RealmState(folder=folder, loaded=loaded), now=moment),
            given,
            every=all_accounts,
            with_logons=not no_logons,
        )
    except ConfigError as error:
        found = _without_configuration(folder, error)
    if as_json:
        kept = list(found)
        print_json(
            {
                "realm": None if loaded is None else loaded.config.realm,
                "state": str(folder.root),
                "time": iso(moment),
                "result": str(worst(kept)),
                "logons": not no_logons,
                "checks": [
                    {"check": f.check, "level": str(f.level), "message": f.message, "fix": f.fix}
                    for f in kept
                ],
            }
        )
    else:
        kept = print_findings(found)
    if worst(kept) is Level.FAIL:
        ctx.exit(ExitCode.FAILED)


def worst(found: list[Finding]) -> Level:
    """Return the worst level of a report."""
    return max((finding.level for finding in found), key=list(Level).index)


def _without_configuration(folder: StateFolder, error: ConfigError) -> Iterator[Finding]:
    yield from guarded("state.folder", files.check_folder(folder))
    if folder.root.is_dir():
        # Everything else depends on it.
        yield failed_by("configuration.file", error)


def _examine(
    patient: Patient, given: tuple[str, int] | None, *, every: bool, with_logons: bool
) -> Iterator[Finding]:
    folder = patient.folder
    yield from guarded("state.folder", files.check_folder(folder))
    yield from guarded("state.secrets", files.check_secrets(patient))
    yield from guarded("state.modes", files.check_private_files(folder))
    yield from guarded("state.disk", files.check_disk(patient))
    yield from guarded("state.krb5_conf", files.check_krb5_conf(folder))
    places = machine.places(patient.config, given)
    ports = {place: machine.check_port(patient.config, place) for place in places}
    answers = [place for place, (udp, tcp) in ports.items() if udp.level is tcp.level is Level.OK]
    memories = files.check_memories(folder, running=bool(answers))
    yield from guarded("state.memories", memories)
    yield from check_configuration(patient)
    yield from guarded("store.integrity", accounts.check_integrity(patient))
    yield from guarded("store.realm", _look_into_store(patient, every=every))
    yield from certificates.check_certificates(patient)
    yield from guarded("machine.clock", machine.check_clock(patient))
    yield from guarded("machine.limits", machine.check_limits(patient.config))
    yield from guarded("machine.form", machine.check_form())
    for pair in ports.values():
        yield from pair
    if given is None:  # another address is not where kdc.toml lets passwords be changed
        yield from guarded(kpasswd.CHECK, kpasswd.check_kpasswd(patient))
    yield from guarded("server.http", https.check_http(patient))
    following = follower.check_follower(patient, running=bool(answers))
    yield from guarded("directory.follower", following)
    if with_logons and answers:
        yield from guarded("logons.account", logons.check_logons(patient, answers[0]))
    elif with_logons:
        yield fail(
            "logons.server",
            f"no logon was tried: the server does not answer on {places[0]}",
            "kdc serve; if it listens elsewhere, kdc doctor --kdc ADDR:PORT",
        )


def _look_into_store(patient: Patient, *, every: bool) -> Iterator[Finding]:
    with patient.realm.store() as store:
        yield from accounts.check_realm(patient, store)
        yield from guarded("store.krbtgt", accounts.check_krbtgt(patient, store))
        yield from guarded("store.shared_keys", accounts.check_shared_keys(store))
        yield from guarded("store.keys", accounts.check_accounts(patient, store, every=every))


# -- showing ---------------------------------------------------------------------------------


def print_findings(found: Iterator[Finding]) -> list[Finding]:
    """Print each line as it is found, under the heads of their subjects."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    kept: list[Finding] = []
    for finding in found:
        if not kept or kept[-1].subject != finding.subject:
            click.echo(finding.subject)
        kept.append(finding)
        word = click.style(f"{finding.level:4}", fg=_COLOURS[finding.level], bold=True)
        click.echo(f"  {word}  {one_line(finding.message)}", color=colour)
        if finding.fix:
            click.echo(f"          do: {one_line(finding.fix)}")
    counts = Counter(finding.level for finding in kept)
    click.echo(", ".join(f"{counts[level]} {level}" for level in Level))
    return kept
