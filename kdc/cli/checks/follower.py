"""Is the directory of an LDAP realm followed, and is the store what it says?"""

from collections.abc import Iterator
from datetime import timedelta

from directory.ldap.questions import STATUS_NAME
from directory.ldap.status import FollowerState, StatusFile
from kdc.cli.checks.finding import Finding, Patient, fail, ok, warn

LATE = timedelta(minutes=1)
"""A store that was not confirmed for longer is behind: the follower confirms every few seconds."""


def check_follower(patient: Patient, *, running: bool) -> Iterator[Finding]:
    """Look at what the follower says of itself; nothing for an embedded realm."""
    config = patient.config
    if not config.directory_url:
        return
    try:
        file = StatusFile(patient.folder.root / STATUS_NAME)
    except OSError:
        yield fail("directory.follower", "the directory was never followed", "kdc directory load")
        return
    try:
        status = file.read()
    finally:
        file.close()
    age = status.age(patient.now) if status is not None else None
    limit = timedelta(seconds=config.max_staleness_s)
    if status is None or age is None:
        yield fail("directory.follower", "the directory was never followed", "kdc directory load")
    elif limit and age > limit:
        yield fail(
            "directory.follower",
            f"the store was not confirmed for {_words(age)}, longer than max_staleness: everybody "
            "is refused (29)",
            "kdc directory check says whether the directory can be reached",
        )
    elif running and status.state is not FollowerState.FOLLOWING:
        yield warn(
            "directory.follower",
            f"the directory is not followed now ({status.state.name.lower()}); the store is"
            f" {_words(age)} old, and unknown accounts are refused (29)",
            "kdc directory check says whether the directory can be reached",
        )
    elif running and age > LATE:
        yield warn(
            "directory.follower",
            f"the store was not confirmed for {_words(age)}",
            "kdc directory status, and the server's log",
        )
    else:
        yield ok(
            "directory.follower",
            f"{status.entries} entries of {status.server or 'the directory'}, confirmed"
            f" {_words(age)} ago",
        )


def _words(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
