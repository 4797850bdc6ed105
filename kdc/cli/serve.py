"""`kdc serve`: run the KDC."""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import click

from kdc.cli.accounts import add_password_service, has_password_service
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import state_option
from kdc.cli.state import now, open_realm
from kdc.config import KdcConfig, kpasswd_beside
from kdc.server.companion import Companion
from kdc.server.listen import parse_listen
from kdc.server.service import ServeSettings, StartError, TcpLimits
from kdc.server.supervisor import Supervisor

HANDLER = "kdc.server.build:build_handler"
HTTP_PROCESS = "kdc.server.http.process:run"
FOLLOWER = "kdc.cli.directory_ticket:run"
RENEWAL = "kdc.server.renewal:run"
REVOCATION = "kdc.server.revocation.process:run"

log = logging.getLogger(__name__)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _set_up_logging(as_json: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonFormatter()
        if as_json
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s[%(process)d]: %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _check_listen(
    _ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse what is no address: wrong usage here, where kdc.toml would be bad configuration."""
    for text in value:
        try:
            parse_listen(text)
        except StartError as error:
            raise click.BadParameter(f"{text!r}: {error.remedy}") from None
    return value


@click.command("serve")
@click.option(
    "--listen",
    multiple=True,
    callback=_check_listen,
    metavar="ADDR:PORT",
    help="May be repeated.",
)
@click.option(
    "--kpasswd-listen",
    "kpasswd",
    multiple=True,
    callback=_check_listen,
    metavar="ADDR:PORT",
    help="For changes of passwords; may be repeated.",
)
@click.option("--workers", type=click.IntRange(0, 256), help="0: one for each core.")
@click.option("--log-json", is_flag=True, help="Log to stderr as JSON lines.")
@state_option
@click.pass_context
def command(
    ctx: click.Context,
    listen: tuple[str, ...],
    kpasswd: tuple[str, ...],
    workers: int | None,
    log_json: bool,
) -> None:
    """Run the KDC until it is told to stop; print one line when it is ready.

    SIGTERM finishes what is under way and ends, SIGHUP reads configuration and certificates again,
    SIGUSR1 writes the counters to the log.
    """
    realm = open_realm(ctx)
    config = realm.config
    _set_up_logging(log_json)
    # What cannot be opened is refused here, in three lines, before anything is bound or forked.
    with realm.store() as store:
        # In a realm in LDAP passwords are changed where they live.
        complete = bool(config.directory_url) or has_password_service(store)
    if not complete:
        # A realm from before there was kpasswd.
        with realm.store(write=True) as store:
            add_password_service(store, config, now())
    for name in config.weak_forms():
        key = name.partition(" ")[0]  # a setting that is no switch is named with its value
        log.warning("weak form accepted: %s (%s)", name, realm.loaded.origins[key])
    for name in config.without_effect():
        log.warning("no effect in this version: %s (%s)", name, realm.loaded.origins[name])
    settings = _settings(config, realm.folder.root, listen, kpasswd, workers)
    try:
        code = Supervisor(settings, companions(config)).run()
    except StartError as error:
        raise CliError(error.what, error.why, error.remedy, ExitCode(error.exit_code)) from error
    ctx.exit(code)


def _kpasswd_listen(config: KdcConfig, listen: tuple[str, ...]) -> tuple[str, ...]:
    """Return where passwords are changed: as configured, else beside what is listened on."""
    if listen and config.kpasswd_listen is None and not config.directory_url:
        return kpasswd_beside(listen)
    return config.kpasswd_addresses()


def companions(config: KdcConfig) -> list[Companion]:
    """Return the processes that run beside the workers, as the configuration asks for them."""
    found = []
    if config.http_listen or config.kkdcp_listen:
        found.append(
            Companion(
                name="http",
                factory=HTTP_PROCESS,
                listen={"http": config.http_listen, "kkdcp": config.kkdcp_listen},
                asks_workers=True,
            )
        )
    if config.directory_url:
        found.append(Companion(name="follower", factory=FOLLOWER))
    if config.ca_renewal:
        found.append(Companion(name="renewal", factory=RENEWAL, must_be_ready=False))
    if config.fetch_revocation:
        found.append(Companion(name="revocation", factory=REVOCATION, must_be_ready=False))
    return found


def _settings(
    config: KdcConfig,
    root: Path,
    listen: tuple[str, ...],
    kpasswd: tuple[str, ...],
    workers: int | None,
) -> ServeSettings:
    count = config.workers if workers is None else workers
    return ServeSettings(
        realm=config.realm,
        state_dir=root,
        factory=HANDLER,
        listen=listen or config.listen,
        kpasswd_listen=kpasswd or _kpasswd_listen(config, listen),
        workers=count or len(os.sched_getaffinity(0)),
        audit_failure=config.audit_failure,
        udp_reply_budget=config.udp_reply_budget,
        tcp=TcpLimits(
            max_connections=config.max_connections,
            max_connections_per_source=config.max_connections_per_source,
            exempt_sources=config.exempt_sources,
        ),
    )
