"""Alarms in the operational log that cannot flood it."""

import logging
import time
from typing import Final

ALARM_INTERVAL_S: Final = 5.0
"""At most one line per cause in this time, however often a client can provoke it."""


class Alarm:
    """One cause of alarm; it logs an error at most every five seconds."""

    __slots__ = ("_log", "_message", "_next", "suppressed")

    def __init__(self, log: logging.Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._next = 0.0
        self.suppressed = 0
        """How many times it was raised without a line since the last line."""

    def raise_(self, *details: object) -> None:
        """Log the message with these details, unless it was logged a moment ago."""
        # The monotonic clock: this is a timer, not a protocol time.
        now = time.monotonic()
        if now < self._next:
            self.suppressed += 1
            return
        self._next = now + ALARM_INTERVAL_S
        self._log.error(self._message, *details)
        self.suppressed = 0
