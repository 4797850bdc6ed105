"""Make docs/refusals.md: the real command, on ten refusals that were recorded from real clients.

    python -m tests.kdc.explain.refusals_page

writes the page; `test_refusals_page` fails when it is not what this makes.
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import TypedDict, cast

from directory.changes import NewAccount
from directory.model import AccountKind
from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli.main import run
from kdc.explain.recorder import FILE_NAME
from tests.kdc.builders import NOW, random_keys

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests/vectors/refusals.json"
PAGE = ROOT / "docs/refusals.md"
WITH_TREE = "The key was never registered"

_HEAD = """\
# Ten refusals, explained

A refused client shows a code and a reference, such as `KDC_ERR_CLIENT_NOT_TRUSTED [ref 7K3M]`.
`kdc explain 7K3M` on the KDC says why: the steps up to the one that failed, the rule and its
source, what was compared, likely causes and what mends it. Ten cases follow, recorded from real
clients (MIT's and Heimdal's `kinit`, and a tool of the impacket family). The first of PKINIT has
the whole message below it, the others were asked for with `--no-tree`.

| what happened | code |
|---|---|
"""

_FOOT = """\
## Where this comes from

The server keeps the last refused requests in `refusals.jsonl` and `refusals.1.jsonl` of the state
folder: at most 8 MiB, mode 0600, at most 50 a second and worker. What could be attacked offline
is blanked before it is written: the ciphers of encrypted timestamps, and in TGS requests those of
tickets and authenticators. Their lengths and encryption types stay.

`kdc explain` takes other things than a reference: `--last`; `--hex H` or `--file F` with one
message; `--file` with a capture (pcap, pcapng), in which it finds Kerberos over UDP and TCP on
any port. A message that was not recorded is judged anew by the accounts of today, for the time it
came; nothing is counted or remembered for it. `--json` has everything with stable keys,
`--no-tree` leaves the message out.

This page is made by the command itself; a test keeps the two in step.
"""


class _Account(TypedDict):
    name: str
    disabled: bool
    key_credentials: list[str]


class _Case(TypedDict):
    title: str
    command: str
    record: dict[str, object]


class _Vectors(TypedDict):
    accounts: list[_Account]
    cases: list[_Case]


def read_vectors() -> _Vectors:
    """Read what was recorded."""
    return cast(_Vectors, json.loads(VECTORS.read_text()))


def make_state(folder: Path, vectors: _Vectors) -> None:
    """Make a state folder with the accounts of the recording and its refusals."""
    (folder / "kdc.toml").write_text('realm = "LAB.TEST"\nnetbios = "LAB"\n')
    master_key = MasterKey.create(folder / "master.key")
    store = Store.create(
        folder / "store.sqlite",
        master_key,
        realm="LAB.TEST",
        netbios="LAB",
        krbtgt_keys=random_keys("krbtgt"),
        now=NOW,
    )
    for account in vectors["accounts"]:
        store.add_account(
            NewAccount(
                kind=AccountKind.USER,
                name=account["name"],
                created_at=NOW,
                disabled=account["disabled"],
                keys=random_keys(account["name"]),
                key_credentials=tuple(account["key_credentials"]),
            )
        )
    store.close()
    lines = (json.dumps(case["record"]) for case in vectors["cases"])
    (folder / FILE_NAME).write_text("".join(f"{line}\n" for line in lines))


def _explained(folder: Path, *arguments: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run(["--state", str(folder), "explain", *arguments])
    assert code == 0, arguments
    return out.getvalue()


def make_page() -> str:
    """Return the text of the page."""
    vectors = read_vectors()
    rows, sections = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_state(folder, vectors)
        for case in vectors["cases"]:
            reference = str(case["record"]["reference"])
            options = [] if case["title"] == WITH_TREE else ["--no-tree"]
            text = _explained(folder, reference, *options)
            anchor = "".join(c for c in case["title"].lower() if c.isalnum() or c in " -")
            code = text.partition(":")[0]
            rows.append(f"| [{case['title']}](#{anchor.replace(' ', '-')}) | {code} |\n")
            asked = " ".join(["kdc explain", reference, *options])
            typed = f"```\n$ {case['command']}\n```\n\n```\n$ {asked}\n{text}```\n"
            sections.append(f"## {case['title']}\n\n{typed}")
    return "\n".join([_HEAD + "".join(rows), *sections, _FOOT])


def main() -> None:
    """Write the page."""
    PAGE.write_text(make_page())


if __name__ == "__main__":
    main()
