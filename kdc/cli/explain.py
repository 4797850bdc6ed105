"""`kdc explain`: why a request was refused."""

import re
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from directory.backend import DirectoryError
from kdc.cli.accounts import owner_names
from kdc.cli.checks.provoked import is_of_doctor
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.explain_judge import UncountedStore, judge, open_uncounted
from kdc.cli.options import Moment, json_option, not_found, read_input_file, state_option
from kdc.cli.output import print_json, print_table, read_time
from kdc.cli.state import RealmState, now, open_realm, state_folder
from kdc.config import ConfigError
from kdc.explain import explanation as explanations
from kdc.explain.capture import (
    MAX_FILE_BYTES,
    Capture,
    Captured,
    CaptureError,
    looks_like_capture,
    read_capture,
)
from kdc.explain.explanation import Explanation, Subject, Verdict, explain
from kdc.explain.findings import Known, read_request
from kdc.explain.names import error_text
from kdc.explain.recorder import Refusal, find_refusal, last_refusal
from kdc.explain.tree import message_name
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from pki.errors import PkiError

_REFERENCE_IN_TEXT = re.compile(r"\[ref ([0-9A-Z]{4,8})\]")
_ROUTINE = (ErrorCode.KDC_ERR_PREAUTH_REQUIRED, ErrorCode.KRB_ERR_RESPONSE_TOO_BIG)
_REQUESTS = ("AS-REQ", "TGS-REQ")
MAX_HEX_CHARS = 4 * 1024 * 1024  # a message of 256 KiB, however it is spaced


@click.command("explain")
@click.argument("reference", required=False)
@click.option("--last", is_flag=True, help="The newest refusal, but for those of kdc doctor.")
@click.option("--hex", "hex_text", metavar="H", help="A message in hexadecimal; - reads stdin.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="A file with one message, or a capture (pcap, pcapng).",
)
@click.option(
    "--message", "number", type=click.IntRange(min=1), metavar="N", help="The Nth of a capture."
)
@click.option(
    "--at", type=Moment(), metavar="TIME", help="Judge a message of --hex or --file for this time."
)
@click.option("--no-tree", is_flag=True, help="Leave the message itself out.")
@json_option
@state_option
@click.pass_context
def command(
    ctx: click.Context,
    reference: str | None,
    last: bool,
    hex_text: str | None,
    path: Path | None,
    number: int | None,
    at: datetime | str | None,
    no_tree: bool,
    as_json: bool,
) -> None:
    """Say why a request was refused: by its REFERENCE ([ref 7K3M]), or from the message itself.

    Shows the steps up to the one that failed, the rule and its source, what was compared, likely
    causes, what mends it, and the message field by field. A message that was not recorded is judged
    anew, by the accounts of today; nothing is counted or remembered for it.
    """
    given = [bool(reference), last, hex_text is not None, path is not None]
    if sum(given) != 1:
        raise click.UsageError("give one of REFERENCE, --last, --hex and --file")
    with _Context(ctx) as context:
        if hex_text is not None:
            made = context.of_message(_from_hex(hex_text), "--hex", at)
        elif path is not None:
            data = read_input_file(path, MAX_FILE_BYTES)
            if looks_like_capture(data):
                chosen = context.of_capture(data, path, number, at, as_json)
                if chosen is None:
                    return
                made = chosen
            else:
                made = context.of_message(data, path.name, at)
        else:
            made = context.of_refusal(context.recorded(reference))
        if as_json:
            print_json(explanations.as_json(made))
            return
        for line in explanations.as_text(made, tree=not no_tree):
            click.echo(line)


def _from_hex(text: str) -> bytes:
    if text == "-":
        text = sys.stdin.read(MAX_HEX_CHARS)
    # As Wireshark, xxd -p or a C programmer would write it.
    digits = re.sub(r"0x|[\s:,]", "", text)
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        data = b""
    if not data:
        raise CliError(
            "--hex cannot be read",
            "it is not an even number of hexadecimal digits",
            "give the octets of one message, without a length before it",
            ExitCode.USAGE,
        )
    return data


class _Context:
    """The realm, as far as it can be opened: an explanation also serves where there is none."""

    def __init__(self, ctx: click.Context) -> None:
        self._ring = state_folder(ctx).refusals
        self._store: UncountedStore | None = None
        self._why_not = ""
        self._realm: RealmState | None = None
        try:
            self._realm = open_realm(ctx)
            self._store = open_uncounted(self._realm)
        except ConfigError as error:
            self._why_not = f"no realm was looked at ({error.what})"
        except (DirectoryError, OSError):
            self._why_not = "the accounts of the realm could not be read"

    def __enter__(self) -> "_Context":
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()

    # -- what was recorded -------------------------------------------------------------------

    def recorded(self, reference: str | None) -> Refusal:
        """Find a refusal by its reference, or the newest. Raises CliError(NOT_FOUND)."""
        if reference is None:
            found = last_refusal(self._ring, is_test=is_of_doctor)
        else:
            found = self._find(reference)
        if found is None:
            what = "no refusal is recorded" if reference is None else f"no refusal {reference}"
            if self._realm is not None and not self._realm.config.record_refusals:
                raise CliError(
                    what,
                    "refusals are not recorded (record_refusals)",
                    "see the audit log for the reason, or turn it on in kdc.toml",
                    ExitCode.NOT_FOUND,
                )
            raise CliError(
                what,
                "it was not recorded, or so many came after it that it is gone",
                "see the audit log for the reason, or let the client try again",
                ExitCode.NOT_FOUND,
            )
        return found

    def _find(self, reference: str) -> Refusal | None:
        return find_refusal(self._ring, reference)

    def of_refusal(self, refusal: Refusal) -> Explanation:
        """Explain what was recorded."""
        notes = []
        if refusal.missed:
            notes.append(f"{refusal.missed} refusals before this one came too fast to be recorded")
        subject = Subject(
            message=refusal.message,
            time=refusal.time,
            origin=f"{refusal.address} port {refusal.port}, {refusal.transport}",
            reference=refusal.reference,
            length=refusal.length,
            redacted=refusal.redacted,
            notes=tuple(notes),
        )
        facts: dict[str, object] = dict(refusal.facts)
        return self._explain(subject, Verdict(code=refusal.code, why=refusal.why, facts=facts))

    # -- what was not ------------------------------------------------------------------------

    def of_message(self, message: bytes, origin: str, at: datetime | str | None) -> Explanation:
        """Explain one message of unknown origin: judged for its own time, or for --at."""
        if len(message) > 4 and int.from_bytes(message[:4], "big") == len(message) - 4:
            message = message[4:]  # as it stood in a TCP stream
        request = read_request(message)
        time, note = now(), "judged for this moment: it says no time of its own"
        if isinstance(at, datetime):
            time, note = at, ""
        elif request.auth_pack is not None:
            time, note = request.auth_pack.pk_authenticator.ctime, "the time is the message's own"
        subject = Subject(message=message, time=time, origin=origin)
        return self._judged(subject, note)

    def _judged(self, subject: Subject, note: str = "") -> Explanation:
        verdict, problem = None, self._why_not
        if message_name(subject.message) == "KRB-ERROR":
            return self._of_error(subject)
        if self._realm is not None and self._store is not None:
            try:
                verdict = judge(self._realm, self._store, subject.message, subject.time)
            except (DirectoryError, PkiError, OSError):
                problem = "it could not be judged: the KDC's certificate or key cannot be read"
        notes = tuple(n for n in (problem, note if verdict is not None else "") if n)
        return self._explain(replace(subject, notes=subject.notes + notes), verdict)

    def _of_error(self, subject: Subject) -> Explanation:
        """Explain a KRB-ERROR: by its reference, when we recorded the request it answers."""
        error = _decoded_error(subject.message)
        if error is None:
            return self._explain(subject, None)
        recorded = self._referred(error)
        if recorded is not None:
            return self.of_refusal(recorded)
        why = "a KRB-ERROR: the request that it answers was not recorded here"
        return self._explain(subject, Verdict(code=error.error_code, why=why))

    def _referred(self, error: KrbError) -> Refusal | None:
        named = _REFERENCE_IN_TEXT.search(error.e_text or "")
        return None if named is None else self._find(named[1])

    # -- captures ----------------------------------------------------------------------------

    def of_capture(
        self,
        data: bytes,
        path: Path,
        number: int | None,
        at: datetime | str | None,
        as_json: bool,
    ) -> Explanation | None:
        """List a capture's messages and explain one: --message N, else the last refused."""
        try:
            capture = read_capture(data)
        except CaptureError as problem:
            raise CliError(
                f"{path} cannot be read", str(problem), "save it as pcap or pcapng"
            ) from None
        messages = capture.messages
        if not messages:
            raise not_found(
                f"no Kerberos message in {path}", "capture the KDC's port, whole packets"
            )
        if number is not None and number > len(messages):
            raise not_found(f"no message {number} in {path}", f"there are {len(messages)}")
        index = _last_refused(messages) if number is None else number - 1
        if not as_json:
            _list_capture(capture, index)
        if index is None:
            if as_json:
                print_json({"messages": [_captured_json(m) for m in messages]})
            return None
        found = messages[index]
        reply = _reply_to(messages, index)
        error = _decoded_error(reply.message) if reply is not None else None
        recorded = self._referred(error) if error is not None else None
        if recorded is not None:
            return self.of_refusal(recorded)
        time = at if isinstance(at, datetime) else found.time
        notes = () if error is None else (f"it was answered {error_text(error.error_code)}",)
        subject = Subject(
            message=found.message,
            time=time,
            origin=f"{found.source}, {found.transport}, message {index + 1} of {path.name}",
            notes=notes,
        )
        return self._judged(subject)

    # -- the realm today ---------------------------------------------------------------------

    def _explain(self, subject: Subject, verdict: Verdict | None) -> Explanation:
        config = None if self._realm is None else self._realm.config
        if verdict is not None:
            verdict = replace(verdict, facts=self._named(verdict.facts))
        return explain(subject, verdict, config, self._known(subject.message, verdict))

    def _named(self, facts: dict[str, object]) -> dict[str, object]:
        """Put the names of today's accounts where a record has their numbers."""
        numbers = facts.get("account_ids")
        if self._store is None or not isinstance(numbers, list | tuple):
            return facts
        try:
            names = owner_names(self._store, [n for n in numbers if isinstance(n, int)])
        except DirectoryError:
            return facts
        kept = {name: value for name, value in facts.items() if name != "account_ids"}
        return {**kept, "accounts": list(names)}

    def _known(self, message: bytes, verdict: Verdict | None) -> Known:
        store = self._store
        if store is None:
            return Known()
        request = read_request(message)
        try:
            name = str(verdict.facts.get("account", "")) if verdict is not None else ""
            account = store.account_by_name(name) if name else None
            owners: tuple[str, ...] = ()
            if request.signer_key is not None:
                found = map(store.account_by_id, store.accounts_by_key(request.signer_key.digest))
                owners = tuple(owner.sam_account_name for owner in found if owner is not None)
            return Known(account=account, owners=owners)
        except DirectoryError:
            return Known()


def _decoded_error(message: bytes) -> KrbError | None:
    if message_name(message) != "KRB-ERROR":
        return None
    try:
        return asn1.decode(KrbError, message)
    except PkiError:
        return None


def _reply_to(messages: list[Captured], index: int) -> Captured | None:
    """Find the next message that goes the other way."""
    sent = messages[index]
    for other in messages[index + 1 :]:
        if (other.source, other.target) == (sent.target, sent.source):
            return other
    return None


def _last_refused(messages: list[Captured]) -> int | None:
    """Find the last request that got a KRB-ERROR other than the routine ones, or a sole request."""
    requests = [i for i, m in enumerate(messages) if message_name(m.message) in _REQUESTS]
    for index in reversed(requests):
        reply = _reply_to(messages, index)
        error = _decoded_error(reply.message) if reply is not None else None
        if error is not None and error.error_code not in _ROUTINE:
            return index
    return requests[0] if len(requests) == 1 else None


def _what(captured: Captured) -> str:
    error = _decoded_error(captured.message)
    name = message_name(captured.message)
    return name if error is None else f"{name} {error_text(error.error_code)}"


def _list_capture(capture: Capture, chosen: int | None) -> None:
    rows = [
        (
            f"{'>' if index == chosen else ' '}{index + 1}",
            read_time(m.time)[11:19],
            m.source,
            m.transport,
            _what(m),
        )
        for index, m in enumerate(capture.messages)
    ]
    print_table(("  #", "time", "from", "by", "message"), rows)
    if capture.skipped:
        click.echo(f"left out: {capture.skipped} packets or messages", err=True)
    if chosen is None:
        click.echo("no request was refused; --message N explains one")
    else:
        click.echo()


def _captured_json(captured: Captured) -> dict[str, object]:
    return {
        "time": captured.time.isoformat(),
        "from": captured.source,
        "to": captured.target,
        "transport": captured.transport,
        "message": _what(captured),
    }
