"""`kdc load`: the load tester. It makes requests beforehand, sends them at their times, counts."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import click

from kdc.cli.errors import CliError, ExitCode, cannot_write
from kdc.cli.options import (
    json_option,
    read_password,
    state_option,
)
from kdc.cli.output import one_line, print_fields, print_json, print_table, progress
from kdc.cli.state import check_writable, state_folder
from kdc.cli.target import client_target
from kdc.client.transport import KdcAddress
from kdc.config_values import format_address, parse_duration
from kdc.load import plan
from kdc.load.drive import DriveError, DriveOptions
from kdc.load.generate import GenerateError, Target
from kdc.load.measure import NO_ANSWER, Record
from kdc.load.people import find_people, names_of_pattern
from kdc.load.plan import PlanError, Transport
from kdc.load.report import describe_load, render
from kdc.load.result import (
    Json,
    ResultError,
    Setting,
    all_latencies,
    compare,
    differences,
    read_result,
)
from kdc.load.run import Listeners, Live, run_load

_Command = TypeVar("_Command", bound=Callable[..., None])

_OPTIONS = (
    click.option(
        "--kdc", "kdc_address", metavar="ADDR:PORT", help="Else where this realm listens."
    ),
    click.option("--realm", help="Else the realm of the state folder."),
    click.option("--domain", help="DNS name in the KDC's certificate; else the realm's."),
    click.option(
        "--anchor",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="F",
        help="CA of the KDC's certificate (PEM); else pki/ca.pem.",
    ),
    click.option(
        "--keys",
        type=click.Path(file_okay=False, exists=True, path_type=Path),
        metavar="DIR",
        help="Users: NAME.key (a Hello key) and NAME.pem (certificate and key).",
    ),
    click.option(
        "--users",
        default="",
        metavar="NAMES",
        help="Users with a password: pat,bob, or user%04d with --user-count.",
    ),
    click.option("--user-count", default=1, show_default=True, help="How many user%04d means."),
    click.option("--password-stdin", is_flag=True, help="Their password, from stdin."),
    click.option(
        "--password-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="F",
        help="Their password, from a file.",
    ),
    click.option("--rate", type=float, metavar="N", help="Requests per second (open load)."),
    click.option("--duration", default="10s", show_default=True, help="How long."),
    click.option("--ramp", metavar="A..B", help="Climb from one rate to another, in steps."),
    click.option("--step", default="2s", show_default=True, help="How long a step of a ramp is."),
    click.option("--steps", type=click.IntRange(2, 1000), default=12, show_default=True),
    click.option("--until", default="", metavar="COND", help="End a ramp: p99>50ms,errors>0.1%."),
    click.option(
        "--closed",
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="Instead: N outstanding, as fast as they are answered.",
    ),
    click.option("--count", type=click.IntRange(1), default=1000, show_default=True),
    click.option(
        "--transport",
        type=click.Choice(["udp", "tcp", "tcp-kept"]),
        default="udp",
        show_default=True,
        help="tcp: a connection for each request.",
    ),
    click.option("--connections", type=click.IntRange(1, 10_000), default=16, show_default=True),
    click.option("--timeout", type=click.FloatRange(0.05, 60), default=2.0, show_default=True),
    click.option(
        "--sample", type=click.IntRange(0), default=50, show_default=True, help="Replies to verify."
    ),
    click.option("--builders", type=click.IntRange(1, 64), help="Processes that make requests."),
    click.option("--threshold", default="", metavar="COND", help="p99<50ms: else exit code 1."),
    click.option("--kdc-pid", type=click.IntRange(1), help="Take this process's CPU time as well."),
    click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="F"),
    click.option("--hdr", type=click.Path(dir_okay=False, path_type=Path), metavar="F"),
    click.option(
        "--i-own-this-target", is_flag=True, help="Allow a target that is not this machine."
    ),
    json_option,
    state_option,
)


def _load_options(function: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group("load")
def command() -> None:
    """Put a load on a KDC, and compare what was measured."""


@command.command("as")
@click.option(
    "--mix",
    default="keytrust-p256",
    show_default=True,
    help="Kinds of work with weights: keytrust-p256:40,keytrust-modp14:20,password:40; "
    "+nonce lets the KDC reuse its key.",
)
@_load_options
@click.pass_context
def load_as(ctx: click.Context, /, mix: str, **options: Any) -> None:
    """Log on, many times.

    An open load (--rate, --ramp) sends at its times whatever the replies do; latency counts from
    the time a request was due. JSON: docs/load.md.
    """
    with _plan_errors():
        parts = plan.parse_mix(mix)
    works = tuple(work for work, _ in parts)
    _run(ctx, "as", works, tuple(weight for _, weight in parts), "", options)


@command.command("tgs")
@click.option("--service", required=True, metavar="SPN", help="What tickets are asked for.")
@_load_options
@click.pass_context
def load_tgs(ctx: click.Context, /, service: str, **options: Any) -> None:
    """Ask for service tickets, many times, with TGTs that are got beforehand."""
    _run(ctx, "tgs", (plan.TGS,), (1,), service, options)


@command.command("compare")
@click.argument("first", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.argument("second", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="F")
@json_option
def load_compare(first: Path, second: Path, html: Path | None, as_json: bool) -> None:
    """Put two results (--json) side by side: the ratio is second to first."""
    try:
        found = [read_result(path) for path in (first, second)]
    except ResultError as error:
        remedy = "name two files that --json wrote"
        raise CliError(str(error), "its format is another one", remedy) from None
    rows = compare(*found)
    other = differences(*found)
    if html is not None:
        names = [path.stem for path in (first, second)]
        _write(html, render(list(zip(names, found, strict=True))))
    if as_json:
        print_json({"rows": rows, "differences": other})
        return
    for line in other:
        click.echo(f"warning: not the same work: {one_line(line)}", err=True)
    print_table(
        ("", first.stem, second.stem, "ratio"),
        [(r["name"], _shown(r["a"]), _shown(r["b"]), _shown(r["ratio"])) for r in rows],
    )


def _run(
    ctx: click.Context,
    exchange: str,
    works: tuple[plan.Work, ...],
    weights: tuple[int, ...],
    service: str,
    options: dict[str, Any],
) -> None:
    found = client_target(
        state_folder(ctx),
        options["kdc_address"],
        options["realm"],
        options["anchor"],
        options["domain"],
    )
    address = found.address
    if not ip_address(address[0]).is_loopback and not options["i_own_this_target"]:
        raise CliError(
            f"{format_address(*address)} is not this machine",
            "a load on somebody else's KDC is an attack",
            "say --i-own-this-target if it is yours",
            ExitCode.DENIED,
        )
    for path in (options["html"], options["hdr"]):
        if path is not None:
            check_writable(path)
    target = Target(
        realm=found.realm,
        domain=found.domain,
        anchors=found.anchors,
        address=KdcAddress(host=address[0], port=address[1], timeout_s=options["timeout"]),
        service=service,
    )
    with _plan_errors():
        schedule = _schedule(options)
        password = read_password(options["password_file"], options["password_stdin"], False) or ""
        names = tuple(
            name
            for pattern in options["users"].split(",")
            if pattern
            for name in names_of_pattern(pattern.strip(), options["user_count"])
        )
        people = find_people(options["keys"], names, password)
        setting = Setting(
            exchange=exchange,
            target=format_address(*address),
            realm=target.realm,
            transport=options["transport"],
            works=works,
            weights=weights,
            schedule=schedule,
            timeout_s=options["timeout"],
            until=plan.parse_conditions(options["until"]) if options["until"] else (),
            thresholds=plan.parse_conditions(options["threshold"]) if options["threshold"] else (),
        )
    transport: Transport = options["transport"]
    drive = DriveOptions(
        address=address,
        transport=transport,
        timeout_s=options["timeout"],
        connections=options["connections"],
        kdc_pid=options["kdc_pid"],
    )
    processes = options["builders"] or os.cpu_count() or 1
    try:
        with progress("requests", schedule.requests) as made, _plan_errors():
            result, record = run_load(
                setting,
                target,
                people,
                drive,
                processes=processes,
                sample=options["sample"],
                listeners=Listeners(made=made, live=_live),
            )
    except GenerateError as error:
        raise CliError(
            "the requests cannot be made", str(error), "check the users, their keys and the KDC"
        ) from None
    except DriveError as error:
        raise CliError(*error.args) from None
    _clear_live()
    _deliver(result, record, options)


def _deliver(result: Json, record: Record, options: dict[str, Any]) -> None:
    if options["hdr"] is not None:
        all_latencies(record).write_hdr(options["hdr"])
    if options["html"] is not None:
        _write(options["html"], render([(f"KDC at {result['target']}", result)]))
    if options["as_json"]:
        print_json(result)
    else:
        _print(result)
    if result["generator"]["busy"]:
        share = 100 * result["generator"]["cpu_share"]
        click.echo(
            f"warning: the load generator used {share:.0f} % of its core: "
            "what was measured may be the generator",
            err=True,
        )
    ends = result["total"]["ends"]
    if ends and set(ends) <= NO_ANSWER:
        raise CliError(
            f"no KDC answers on {result['target']}",
            ", ".join(f"{end}: {count}" for end, count in ends.items()),
            "check the address, and that kdc serve runs there",
            ExitCode.UNREACHABLE,
        )
    missed = [one["condition"] for one in result.get("thresholds", ()) if not one["held"]]
    verified = result["verified"]
    if verified["good"] < verified["sampled"]:
        first = verified["bad"][0]
        raise CliError(
            f"{verified['sampled'] - verified['good']} of {verified['sampled']} replies are wrong",
            f"request {first['request']}: {first['why']}",
            "kdc logon shows one logon in detail",
        )
    if missed:
        raise CliError(
            "not " + ", not ".join(missed),
            "the load was too much for this limit",
            "offer less (--rate), or look for the knee with --ramp and --until",
        )


def _schedule(options: dict[str, Any]) -> plan.Schedule:
    chosen = [name for name in ("rate", "ramp", "closed") if options[name] is not None]
    if len(chosen) != 1:
        raise click.UsageError("give one of --rate, --ramp and --closed")
    if options["until"] and chosen != ["ramp"]:
        raise click.UsageError("--until ends a --ramp")
    if options["closed"] is not None:
        return plan.closed(options["closed"], options["count"])
    if options["ramp"] is not None:
        first, last = plan.parse_ramp(options["ramp"])
        return plan.ramp(first, last, options["steps"], _seconds("--step", options["step"]))
    return plan.steady(options["rate"], _seconds("--duration", options["duration"]))


def _seconds(option: str, text: str) -> float:
    try:
        return float(parse_duration(text))
    except ValueError:
        raise click.UsageError(f"{option} {text!r} is no duration, such as 30s or 5m") from None


@contextmanager
def _plan_errors() -> Iterator[None]:
    """Turn what is wrong with a plan into wrong usage."""
    try:
        yield
    except PlanError as error:
        raise CliError("the load cannot be", error.why, error.remedy, ExitCode.USAGE) from None


def _live(now: Live) -> None:
    if not sys.stderr.isatty():
        return
    click.echo(
        f"\r\x1b[K{now.seconds:6.1f} s  {now.sent} of {now.of}  {now.tickets_per_s:.0f} tickets/s  "
        f"p50 {now.p50_ms:.1f} ms  p99 {now.p99_ms:.1f} ms  errors {now.errors}",
        err=True,
        nl=False,
    )


def _clear_live() -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)


def _print(result: Json) -> None:
    total, verified = result["total"], result["verified"]
    fields = [
        ("load", describe_load(result)),
        ("mix", ", ".join(f"{one['work']}:{one['weight']}" for one in result["mix"])),
        ("target", f"{result['target']} by {result['transport']}, realm {result['realm']}"),
        ("requests", f"{total['requests']} in {result['seconds']} s"),
        ("tickets", f"{total['tickets']}, {_shown(total['tickets_per_s'])}/s"),
        ("latency", ", ".join(f"{k} {_shown(v)}" for k, v in total["latency_ms"].items()) + " ms"),
    ]
    fields += [("ended", f"{end}: {count}") for end, count in total["ends"].items()]
    if result["kdc"]:
        per = _shown(result["kdc"]["tickets_per_cpu_s"])
        fields.append(("KDC's CPU", f"{result['kdc']['cpu_s']} s, {per} tickets per CPU second"))
    fields.append(("verified", f"{verified['good']} of {verified['sampled']} sampled replies"))
    fields.append(("generator", f"{100 * result['generator']['cpu_share']:.0f} % of a core"))
    if result["stopped"]:
        fields.append(("stopped", result["stopped"]))
    print_fields(fields)
    if len(result["by_work"]) > 1:
        click.echo()
        _print_parts("work", [(part["work"], part) for part in result["by_work"]])
    if result.get("ramp"):
        click.echo()
        _print_parts("rate", [(f"{step['rate']:g}", step) for step in result["ramp"]["steps"]])
        knee = result["ramp"]["knee"]
        click.echo(f"knee: {'below the first step' if knee is None else f'{knee:g}/s'}")


def _print_parts(head: str, parts: list[tuple[str, Json]]) -> None:
    print_table(
        (head, "requests", "tickets/s", "errors %", "p50 ms", "p99 ms", "max ms"),
        [
            (
                name,
                str(part["requests"]),
                _shown(part["tickets_per_s"]),
                _shown(part["errors_percent"]),
                *(_shown(part["latency_ms"][key]) for key in ("p50", "p99", "max")),
            )
            for name, part in parts
        ],
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
