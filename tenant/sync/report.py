"""What a sync run did, as values with stable names."""

from dataclasses import dataclass
from enum import StrEnum

from tenant.sync.plan import Grade, Problem


class Act(StrEnum):
    """What was done to one thing."""

    USER_ADDED = "user added"
    USER_CHANGED = "user changed"
    USER_DISABLED = "user disabled"
    DEVICE_ADDED = "device added"
    DEVICE_CHANGED = "device changed"
    DEVICE_DROPPED = "device dropped"
    KEY_WRITTEN = "key written"
    KEY_REMOVED = "key removed"
    OBJECT_WRITTEN = "device object written"
    OBJECT_REMOVED = "device object removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One thing that was done, or would be."""

    act: Act
    name: str
    """Of whom or what: sAMAccountName, UPN or DeviceId."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """A whole run."""

    directory: str
    where: str
    dry_run: bool
    keys: int
    """How many keys of the tenant are in the directory now, written by us."""
    done: tuple[Done, ...]
    problems: tuple[Problem, ...]

    def has(self, grade: Grade) -> bool:
        """Tell whether there is a problem of this grade."""
        return any(problem.grade is grade for problem in self.problems)

    def count(self, act: Act) -> int:
        """Count what was done of one kind."""
        return sum(done.act is act for done in self.done)
