"""`tenant sync`: bring the tenant and its directory in step."""

import contextlib
import json
import signal
import threading
import uuid
from collections.abc import Iterator
from types import FrameType

import click

from directory.backend import DirectoryError, DirectoryFault
from directory.sealing import SecretFileError
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option
from kdc.cli.output import one_line, print_json, progress, show_error
from kdc.cli.state import now
from kdc.config import ConfigError
from tenant.audit import Audit
from tenant.cli.options import state_option, tenant_folder
from tenant.config import TenantConfig
from tenant.state.database import Database
from tenant.state_folder import TenantFolder
from tenant.sync.database import TenantDatabase
from tenant.sync.lock import SyncRunsError, only_one
from tenant.sync.place import open_port
from tenant.sync.plan import Grade, Problem
from tenant.sync.port import Scope
from tenant.sync.report import Act, SyncReport
from tenant.sync.run import ManyGoneError, OtherDirectoryError, sync_once

_REMEDIES = {
    DirectoryFault.DENIED: (ExitCode.DENIED, "check sync_bind_dn and its password in tenant.toml"),
    DirectoryFault.INVALID: (ExitCode.FAILED, "kdc directory check says what the directory lacks"),
    DirectoryFault.UNAVAILABLE: (
        ExitCode.UNREACHABLE,
        "check that the directory runs; the next run goes on where this one stopped",
    ),
    DirectoryFault.CORRUPT: (ExitCode.FAILED, "mend or restore the directory first"),
}


@click.command("sync")
@click.option("--once", is_flag=True, help="One run.")
@click.option(
    "--interval",
    type=click.IntRange(1, 86400),
    metavar="S",
    help="A run every S seconds, until it is stopped.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--allow-disabling",
    is_flag=True,
    help="With --once: disable all that are gone, also beyond sync_disable_limit.",
)
@json_option
@state_option
@click.pass_context
def command(
    ctx: click.Context,
    once: bool,
    interval: int | None,
    dry_run: bool,
    allow_disabling: bool,
    as_json: bool,
) -> None:
    """Bring the tenant and its directory in step, as Entra Connect does.

    Up: the directory's users, and of computers that ask for it the certificate of their hybrid
    join. Down: registered keys into msDS-KeyCredentialLink, devices as device objects. What others
    wrote into the directory is left alone.

    Exit codes: 0 also when keys of protected accounts stay unsynced (they are listed); 5 when the
    directory refuses another write, or does not show so many users or devices that it is more
    likely wrong than right to disable them; 6 when it cannot be reached. Then, and in the last case
    of 5, the tenant is as it was.

    JSON: directory, where, dry_run, keys (how many are in the directory now), done (a list of act,
    name, detail), problems (a list of what, name, why, grade). With --interval one line a run.
    """
    if once + (interval is not None) + (dry_run and not once and interval is None) != 1:
        raise click.UsageError("give one of --once, --interval S and --dry-run")
    if dry_run and interval is not None:
        raise click.UsageError("--dry-run is one run")
    if allow_disabling and not once:
        raise click.UsageError("--allow-disabling goes with --once")
    folder = tenant_folder(ctx)
    config = folder.load_config()
    if interval is not None:
        _every(folder, config, interval, as_json=as_json)
        return
    any_number = dry_run or allow_disabling
    limit = 100 if any_number else config.sync_disable_limit
    report = _run(folder, config, limit, dry_run=dry_run)
    if as_json:
        print_json(_json(report))
    else:
        show_report(report)
    ctx.exit(_code(report))


def _every(folder: TenantFolder, config: TenantConfig, interval: int, *, as_json: bool) -> None:
    """Run until SIGTERM or SIGINT; a run that is under way is finished.

    For people, later runs are told when something was done or other things stay unsynced.
    """
    stop = threading.Event()

    def end(signum: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    told: set[Problem] | None = None  # the first run is told, whatever it did
    while not stop.is_set():
        try:
            report = _run(folder, config, config.sync_disable_limit, dry_run=False)
        except CliError as error:
            show_error(error)
        else:
            if as_json:
                click.echo(json.dumps(_json(report), ensure_ascii=False))
            elif report.done or set(report.problems) != told:
                show_report(report)
            told = set(report.problems)
        stop.wait(interval)


def _run(
    folder: TenantFolder, config: TenantConfig, disable_limit: int, *, dry_run: bool
) -> SyncReport:
    """Do one run. Raises CliError, ConfigError."""
    moment = now()
    scope = _scope(folder, config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_errors())
        if not dry_run:
            stack.enter_context(only_one(folder.sync_lock))
        database = stack.enter_context(contextlib.closing(Database.open(folder.database)))
        port = stack.enter_context(open_port(folder, config, moment))
        done = stack.enter_context(progress("writing", None))
        report = sync_once(
            port,
            TenantDatabase(database, moment, uuid.uuid4),
            scope=scope,
            now=moment,
            device_writeback=config.sync_device_writeback,
            disable_limit=disable_limit,
            dry_run=dry_run,
            progress=done,
        )
    if not dry_run and (report.done or report.problems):
        _record(folder, report)
    return report


def _scope(folder: TenantFolder, config: TenantConfig) -> Scope:
    try:
        return Scope.of(config.sync_users, config.sync_users_base)
    except ValueError as error:
        raise ConfigError(
            str(folder.tenant_toml),
            None,
            "sync_users_base cannot be used",
            str(error),
            'write it as "OU=People,DC=lab,DC=test"',
        ) from None


def _record(folder: TenantFolder, report: SyncReport) -> None:
    """Write an audit record of what was done, and one for each thing that was not."""
    audit = Audit(folder.audit_log)
    try:
        event = {"event": "sync", "directory": report.directory}
        counts = {act.value.replace(" ", "_"): report.count(act) or None for act in Act}
        audit.record(now(), {**event, **counts})
        for problem in report.problems:
            reason = f"{problem.what} {problem.name}: {problem.why}"
            audit.record(now(), {**event, "unsynced": problem.grade.value, "reason": reason})
    finally:
        audit.close()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    what = "the tenant and its directory are not in step"
    try:
        yield
    except SyncRunsError as error:
        raise CliError(
            what, str(error), "wait for it to end, then run this again", ExitCode.EXISTS
        ) from None
    except OtherDirectoryError as error:
        raise CliError(
            what,
            str(error),
            "set kdc_state to the realm it was synced with, or make a new tenant",
            ExitCode.DENIED,
        ) from None
    except ManyGoneError as error:
        raise CliError(
            what,
            str(error),
            "check what the sync's account may read, and sync_users; --dry-run lists them; "
            "if they are to go: tenant sync --once --allow-disabling",
            ExitCode.DENIED,
        ) from None
    except SecretFileError:
        raise  # says everything itself
    except DirectoryError as error:
        if error.kind not in _REMEDIES:
            raise
        code, remedy = _REMEDIES[error.kind]
        raise CliError(what, error.detail or error.kind.value, remedy, code) from error


# -- showing ---------------------------------------------------------------------------------


def _code(report: SyncReport) -> int:
    if report.has(Grade.REFUSED):
        return ExitCode.DENIED
    return ExitCode.FAILED if report.has(Grade.FAILED) else ExitCode.OK


def _json(report: SyncReport) -> dict[str, object]:
    return {
        "directory": report.directory,
        "where": report.where,
        "dry_run": report.dry_run,
        "keys": report.keys,
        "done": [
            {"act": done.act.value, "name": done.name, "detail": done.detail}
            for done in report.done
        ],
        "problems": [
            {
                "what": problem.what,
                "name": problem.name,
                "why": problem.why,
                "grade": problem.grade.value,
            }
            for problem in report.problems
        ],
    }


def show_report(report: SyncReport) -> None:
    """Print a run for people: what was done, and what was not and why."""
    would = "would be: " if report.dry_run else ""
    for done in report.done:
        detail = f" ({done.detail})" if done.detail else ""
        click.echo(one_line(f"{would}{done.act}: {done.name}{detail}"))
    for problem in report.problems:
        name = f" {problem.name}" if problem.name else ""
        text = f"unsynced ({problem.grade}): {problem.what}{name}: {problem.why}"
        click.echo(one_line(text), err=True)
    counted = "no key" if not report.keys else f"{report.keys} key{'s' * (report.keys > 1)}"
    state = "not changed" if report.dry_run else "in step"
    click.echo(f"{state}: the tenant and {report.where}; {counted} in the directory")
