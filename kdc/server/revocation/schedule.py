"""When something is asked for again, and told again. Pure: time and chance come in.

Rules
  1. At least once in `fetch_interval`, and twice before what there is ends: a revocation is known
     within the interval, and one answer that is missing costs nothing.
  2. After a failure sooner, then less and less often, up to the interval.
  3. Never at the same moment as others: each wait is shortened by chance.
"""

from datetime import datetime, timedelta
from typing import Final

LEAST_PAUSE_S: Final = 60.0
"""Between two questions to one address, however short-lived its answers are."""
FIRST_RETRY_S: Final = 30.0
MAX_DOUBLINGS: Final = 10
COMPLAIN_S: Final = 3600.0
MAX_COMPLAINTS: Final = 1024
"""Remembered; when there are more, the oldest may be told again before its hour is over."""


def after_success(
    now: datetime, next_update: datetime | None, interval_s: float, chance: float
) -> datetime:
    """Return when to ask again. next_update: when what there is ends. chance: from 0 to 1."""
    wait = interval_s
    if next_update is not None:
        wait = min(wait, (next_update - now).total_seconds() / 2)
    wait = max(wait, min(LEAST_PAUSE_S, interval_s))
    return now + timedelta(seconds=wait * (1 - chance / 4))


def after_failure(now: datetime, failures: int, interval_s: float, chance: float) -> datetime:
    """Return when to ask again after so many failures in a row, from 1 on. chance: from 0 to 1."""
    wait = FIRST_RETRY_S * 2 ** min(failures - 1, MAX_DOUBLINGS)
    return now + timedelta(seconds=min(wait, interval_s) * (1 - chance / 2))


class Complaints:
    """What was told in the log lately: each thing once an hour. Owner: the companion's loop."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def due(self, what: str, moment: float) -> bool:
        """Tell whether something is to be told now, and remember that it was. moment: seconds."""
        last = self._told.get(what)
        if last is not None and moment - last < COMPLAIN_S:
            return False
        self._told.pop(what, None)
        if len(self._told) >= MAX_COMPLAINTS:
            del self._told[next(iter(self._told))]
        self._told[what] = moment
        return True

    def settle(self, what: str) -> bool:
        """Forget something that is well again; tell whether it had been told."""
        return self._told.pop(what, None) is not None
