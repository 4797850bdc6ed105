"""What a check of `kdc doctor` finds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import click

from kdc.cli.errors import explain
from kdc.cli.state import RealmState
from kdc.config import KdcConfig
from kdc.config_read import LoadedConfig
from kdc.state_folder import StateFolder

SHOWN_NAMES = 5


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    """Logons work, but something is weak, or will stop working."""
    FAIL = "fail"
    """Some or all logons are refused, or a secret is open to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    check: str
    """Stable name, `subject.what`; scripts rely on it."""
    level: Level
    message: str
    fix: str = ""
    """What to do; "" when all is well."""

    @property
    def subject(self) -> str:
        """The part of the realm that was looked at."""
        return self.check.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The realm that is looked at."""

    realm: RealmState
    now: datetime

    @property
    def folder(self) -> StateFolder:
        """Its state folder."""
        return self.realm.folder

    @property
    def loaded(self) -> LoadedConfig:
        """Its configuration, and where each value comes from."""
        return self.realm.loaded

    @property
    def config(self) -> KdcConfig:
        """Its configuration."""
        return self.realm.config

    @property
    def trusted_paths(self) -> tuple[Path, ...]:
        """Where secrets may have any mode and owner."""
        return tuple(Path(path) for path in self.config.trusted_secret_paths)


def ok(check: str, message: str) -> Finding:
    """Report that something is as it should be."""
    return Finding(check=check, level=Level.OK, message=message)


def warn(check: str, message: str, fix: str) -> Finding:
    """Report something weak or about to break."""
    return Finding(check=check, level=Level.WARN, message=message, fix=fix)


def fail(check: str, message: str, fix: str) -> Finding:
    """Report something that stops logons or opens secrets."""
    return Finding(check=check, level=Level.FAIL, message=message, fix=fix)


def failed_by(check: str, error: Exception) -> Finding:
    """Turn an error that a command would have ended with into a finding; raises a bug again."""
    told = explain(error)
    if told is None:
        raise error
    what = told.what if told.why in told.what else f"{told.what}: {told.why}"
    return fail(check, what, told.remedy)


def guarded(check: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Pass findings on; an error that ends the check becomes its last one."""
    try:
        yield from findings
    except Exception as error:  # noqa: BLE001  # `failed_by` raises what is a bug
        yield failed_by(check, error)


def listed(names: list[str]) -> str:
    """Name the first few of many."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def command_or(command: tuple[str, ...], otherwise: str) -> str:
    """Name a command as the fix, or say something else in a version that does not have it."""
    from kdc.cli.main import root  # it lists us, too

    group: click.Command | None = root
    for name in command:
        if not isinstance(group, click.Group):
            return otherwise
        group = group.get_command(click.Context(group), name)
    return otherwise if group is None else " ".join(("kdc", *command))
