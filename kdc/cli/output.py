"""What commands print: tables and JSON on standard output, errors and progress on the other."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from kdc.cli.errors import CliError

_PROGRESS_AFTER_S = 1.0


def colour_wanted() -> bool:
    """Whether errors may be coloured: a terminal, and NO_COLOR not set (no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def show_error(error: CliError) -> None:
    """Print what, why and what to do, one line each."""
    label = click.style("error:", fg="red", bold=True) if colour_wanted() else "error:"
    for head, text in ((label, error.what), ("  why:", error.why), ("   do:", error.remedy)):
        click.echo(f"{head} {one_line(text)}", err=True, color=colour_wanted())


def one_line(text: str) -> str:
    """Escape what would break a line or speak to the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def print_json(value: object) -> None:
    """Print a value as JSON, keys in the order they were given."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads, in columns as wide as needed."""
    lines = [list(heads), *(list(map(one_line, row)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print name and value pairs, one a line."""
    width = max(len(name) for name, _ in fields) + 1
    for name, value in fields:
        click.echo(f"{(name + ':').ljust(width)} {one_line(value)}".rstrip())


def iso(value: datetime | None) -> str | None:
    """Render a time as ISO 8601 in UTC with whole seconds."""
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(value: datetime | None) -> str:
    """Render a time for people."""
    return "never" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal once the work has taken a second; yields set_done(n).

    total: None when nobody knows it.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    start = time.monotonic()
    stop: Callable[[], None] | None = None
    update: Callable[[int], None] | None = None

    def set_done(done: int) -> None:
        nonlocal stop, update
        if update is None:
            if time.monotonic() - start < _PROGRESS_AFTER_S:
                return
            stop, update = _start_bar(label, total)
        update(done)

    try:
        yield set_done
    finally:
        if stop is not None:
            stop()


def _start_bar(label: str, total: int | None) -> tuple[Callable[[], None], Callable[[int], None]]:
    # rich takes a tenth of a second to load: only for those who wait anyway.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, no_color=not colour_wanted()),
        transient=True,
    )
    bar.start()
    task = bar.add_task(label, total=total)
    return bar.stop, lambda done: bar.update(task, completed=done)
