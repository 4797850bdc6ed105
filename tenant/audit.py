"""The audit log: one JSON line a request. Never a token, a password, a nonce or a body.

One record is one `write` to a file opened with O_APPEND, before the reply is sent: what was
acknowledged has its record. Strings of the client's are escaped and cut.
"""

import errno
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from kdc.explain.text import escape
from tenant.http.message import Note, Request

MAX_TEXT_CHARS: Final = 256


class Audit:
    """The open audit log."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it with mode 0600. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._torn = False

    def request(
        self,
        request: Request,
        status: int,
        note: Note,
        now: datetime,
        *,
        trace_id: UUID,
        error: str | None = None,
    ) -> None:
        """Record one request. error: the code that the client got. Raises OSError."""
        self.record(
            now,
            {
                "peer": request.peer,
                "host": request.host,
                "method": request.method,
                "path": request.path,
                "status": status,
                "error": error,
                "reason": note.reason or None,
                "user": note.user,
                "device": note.device,
                "key": note.key,
                "trace_id": str(trace_id),
            },
        )

    def record(self, now: datetime, facts: Mapping[str, object]) -> None:
        """Write one record; members without a value are left out. Raises OSError."""
        line: dict[str, object] = {
            "time": now.astimezone(UTC).isoformat(timespec="milliseconds"),
            **{
                name: escape(value, MAX_TEXT_CHARS) if isinstance(value, str) else value
                for name, value in facts.items()
                if value is not None
            },
        }
        data = (json.dumps(line) + "\n").encode()
        if self._torn:
            # The last record was cut off in the middle by a full disk; end its line.
            data = b"\n" + data
        self._torn = os.write(self._descriptor, data) != len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
