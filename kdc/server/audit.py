"""The audit log: one JSON line per request, with Windows' event ids and field names.

Rules.
1. One record is one `write` to a file opened with O_APPEND: the kernel then keeps the records of
   several workers apart, and nothing is lost in a buffer when a worker is killed.
2. Under the policy "refuse" a reply leaves only after its record is written; else the client gets
   KDC_ERR_SVC_UNAVAILABLE (29). Under "count" the reply leaves, the loss is counted and alarmed.
3. Strings of the client's are shown escaped and cut: whoever reads the log in a terminal, by grep
   or after JSON decoding never meets a control character, a forged line or a bidi override.

A batch per loop tick would save one system call of some 3 us in a request of 200 us and more, and
under "refuse" it would delay every reply to the end of the batch. So there is none.
"""

import errno
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final, Literal

import msgspec

from kdc.explain.text import escaped_character
from kdc.outcome import Outcome, Peer
from kdc.server.alarm import Alarm

log = logging.getLogger(__name__)

AuditFailurePolicy = Literal["refuse", "count"]

MAX_TEXT_CHARS: Final = 256
"""Longer than any name a directory holds; a line stays readable whatever a client sends."""
MAX_FACTS: Final = 32
MAX_ITEMS: Final = 16
"""Bounds of a record: facts come from our own code, lists in them partly from the client."""

EVENT_PASSWORD_CHANGE: Final = 4723
EVENT_PASSWORD_RESET: Final = 4724
EVENT_TGT: Final = 4768
EVENT_SERVICE_TICKET: Final = 4769
EVENT_PREAUTH_REFUSED: Final = 4771

# What the client offered to prove itself was refused: 16, 23 and 24 are those of Windows' own 4771;
# the others are its counterparts for PKINIT (RFC 4556 3.1.3), time and freshness (RFC 8070).
_PREAUTH_REFUSALS: Final = frozenset(
    {16, 23, 24, 31, 34, 37, 41, 50, *range(62, 67), *range(70, 82), 90, 91}
)

# Windows shows this encryption type when no ticket was issued.
_NO_ENCRYPTION_TYPE: Final = "0xffffffff"

_FIELD_OF_FACT: Final[dict[str, str]] = {
    "client": "TargetUserName",
    "realm": "TargetDomainName",
    "sid": "TargetSid",
    "service": "ServiceName",
    "kdc_options": "TicketOptions",
    "etype": "TicketEncryptionType",
    "preauth": "PreAuthType",
    "certificate_issuer": "CertIssuerName",
    "certificate_serial": "CertSerialNumber",
    "certificate_thumbprint": "CertThumbprint",
}
"""Facts with a field of Windows' own; every other fact keeps its name."""

_SECOND: Final = timedelta(seconds=1)
_NO_TIME: Final = timedelta(0)

_HEX_FACTS: Final = frozenset({"etype", "kdc_options"})

_encoder = msgspec.json.Encoder()


class TimeText:
    """Writes times as records have them; the text of a second is made once."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = datetime.min.replace(tzinfo=UTC)
        self._text = ""

    def of(self, now: datetime) -> str:
        """Return a time with its milliseconds: 2026-11-22T05:08:30.123Z. now: aware, UTC."""
        if not _NO_TIME <= now - self._second < _SECOND:
            self._second = now.replace(microsecond=0)
            self._text = self._second.isoformat().removesuffix("+00:00") + "."
        milliseconds = str(1000 + now.microsecond // 1000)[1:]
        return f"{self._text}{milliseconds}Z"


class AuditLog:
    """The audit file of one worker process."""

    def __init__(self, path: Path, *, on_failure: AuditFailurePolicy = "refuse") -> None:
        """Open the file for appending, making it (0600) when it is missing. Raises OSError."""
        self._path = path
        self._on_failure = on_failure
        self._fd = _open(path)
        self._torn = False
        self._times = TimeText()
        self._alarm = Alarm(log, "audit record lost: %s; %d lost in all")
        self.failures = 0

    def write(self, outcome: Outcome, peer: Peer, now: datetime, elapsed_s: float) -> bool:
        """Write the record of one request; return whether its reply may leave.

        now: when the request was read. elapsed_s: how long it took.
        """
        line = encode_record(outcome, peer, self._times.of(now), elapsed_s)
        try:
            if self._torn:
                # The last record was cut off in the middle by a full disk; end its line.
                line = b"\n" + line
            written = os.write(self._fd, line)
            self._torn = written != len(line)
            if self._torn:
                raise OSError(errno.ENOSPC, "short write")
        except OSError as error:
            self.failures += 1
            self._alarm.raise_(errno.errorcode.get(error.errno or 0, "?"), self.failures)
            return self._on_failure == "count"
        return True

    def reopen(self) -> None:
        """Open the file anew by its name, after it was rotated.

        A failure keeps the old file and is logged.
        """
        try:
            fd = _open(self._path)
        except OSError as error:
            log.error("cannot reopen the audit file, going on with the old one: %s", error.strerror)
            return
        os.close(self._fd)
        self._fd = fd
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _open(path: Path) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077 and status.st_uid == os.geteuid():
        os.fchmod(fd, 0o600)
    return fd


def encode_record(outcome: Outcome, peer: Peer, time: str, elapsed_s: float) -> bytes:
    """Return the line of one request, newline included.

    time: as TimeText writes it. elapsed_s: how long it took; a record has milliseconds.
    """
    record: dict[str, object] = {
        "time": time,
        "EventID": event_id(outcome),
        "exchange": outcome.exchange,
        "Status": hex(outcome.code) if outcome.code else "0x0",
        "IpAddress": peer.address,
        "IpPort": peer.port,
        "transport": peer.transport,
        "TargetUserName": "",
        "TargetDomainName": "",
        "ServiceName": "",
        "TicketEncryptionType": _NO_ENCRYPTION_TYPE,
        "PreAuthType": "",
        "trust": "",
        "key_id": "",
        "why": outcome.why,
        "ref": outcome.reference,
        # To the microsecond, for less than round() takes.
        "ms": int(elapsed_s * 1e6 + 0.5) / 1000,
    }
    facts = outcome.facts
    if len(facts) > MAX_FACTS:
        facts = {name: facts[name] for name in list(facts)[:MAX_FACTS]}
    for name, fact in facts.items():
        field = _FIELD_OF_FACT.get(name, name)
        if name not in _FIELD_OF_FACT and field in record and field not in {"trust", "key_id"}:
            # A fact may not shadow what was seen at the socket.
            field = f"fact_{name}"
        record[field] = _shown(name, fact)
    if len(outcome.facts) > MAX_FACTS:
        record["facts_left_out"] = len(outcome.facts) - MAX_FACTS
    return _encoder.encode(record) + b"\n"


def event_id(outcome: Outcome) -> int:
    """Return Windows' event id for what happened: 4768, 4769, 4771, 4723 or 4724."""
    if outcome.exchange == "kpasswd":
        reset = outcome.facts.get("reset", False)
        return EVENT_PASSWORD_RESET if reset else EVENT_PASSWORD_CHANGE
    if outcome.exchange == "TGS":
        return EVENT_SERVICE_TICKET
    if outcome.code in _PREAUTH_REFUSALS:
        return EVENT_PREAUTH_REFUSED
    return EVENT_TGT


def _shown(name: str, value: object) -> object:
    """Return a fact in a form that is safe to write."""
    if type(value) is str:  # most are; an enumeration that is a str goes on
        return escape(value)
    if type(value) is not int and isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        if name in _HEX_FACTS:
            return hex(value & 0xFFFFFFFF)
        # Windows writes the type of pre-authentication as text.
        return str(value) if name == "preauth" else value
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, bytes):
        return value[: MAX_TEXT_CHARS // 2].hex()
    if isinstance(value, list | tuple):
        return [_shown(name, item) for item in value[:MAX_ITEMS]]
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    # An object of unknown kind may hold a secret: its type is all that is written.
    return f"<{type(value).__name__}>"


def escape(text: str) -> str:
    r"""Return text that is inert in a terminal, in at most 256 characters.

    What Unicode calls not printable (controls, newlines, bidi overrides, lone surrogates from bytes
    that were no UTF-8) becomes \xNN, \uNNNN or \UNNNNNNNN, and a backslash \\, so that the
    original can be told from its escape. What is cut off is marked by an ellipsis.
    """
    if len(text) <= MAX_TEXT_CHARS and "\\" not in text and text.isprintable():
        return text
    shown: list[str] = []
    length = 0
    for character in text:
        piece = escaped_character(character)
        if length + len(piece) > MAX_TEXT_CHARS - 1:
            shown.append("…")
            break
        shown.append(piece)
        length += len(piece)
    return "".join(shown)
