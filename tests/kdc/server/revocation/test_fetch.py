"""What a fetched list may take the place of: nobody who answers for a server takes a list away."""

import asyncio
from pathlib import Path

import pytest
from cryptography import x509

from kdc.server.revocation.fetch import Authorities, Fetched, Fetching, crl_file
from kdc.server.revocation.judge import UnwantedError
from kdc.server.revocation.question import Answer, Question
from kdc.server.revocation.status import Source
from kdc.state_folder import StateFolder
from pki.certificate import Certificate
from tests.pki import chains, lists
from tests.pki.chains import NOW, Plan
from tests.pki.lists import HOUR, ROOT

MADE = chains.make(Plan(3, ()))
HELD = Authorities(held=(Certificate(MADE.sent[0]), Certificate(MADE.root)))
URL = "http://crl.test/ca.crl"
PART = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
LESS = "the CRL tells less than the one at hand, which is current"


class Server:
    """Answers every question with the same octets."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def ask(self, _question: Question) -> Answer:
        """Answer."""
        return Answer(body=self._body)

    async def close(self) -> None:
        """There is nothing to close."""


def fetch(folder: StateFolder, body: bytes) -> Fetched:
    """Fetch the list of one address, where this is found."""
    source = Source(key="0" * 24, kind="crl", urls=(URL,), origin="kdc.toml")
    return asyncio.run(Fetching(folder, {}).fetch(source, HELD, Server(body), (), NOW))


def there(folder: StateFolder) -> bytes:
    """Read the file of that list."""
    return crl_file(folder, "0" * 24).read_bytes()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (lists.crl(MADE, number=9, base=5), LESS),
        (lists.crl(MADE, number=9, scope=PART), LESS),
        (lists.crl(MADE, number=4, authority="CA 1"), LESS),
        (
            lists.crl(MADE, ROOT, number=9),
            "the CRL is another CA's than the one at hand, which is current",
        ),
    ],
    ids=["a delta list", "a part", "an older one of another series", "another CA's"],
)
def test_a_current_list_is_not_taken_away(tmp_path: Path, data: bytes, why: str) -> None:
    """Each is signed and public: in the place of the whole list it would hide who was revoked."""
    folder, whole = StateFolder(tmp_path), lists.crl(MADE, number=5)
    assert fetch(folder, whole).result == "new"
    with pytest.raises(UnwantedError) as caught:
        fetch(folder, data)
    assert (str(caught.value), there(folder)) == (why, whole)


@pytest.mark.parametrize(
    "before",
    [
        lists.crl(MADE, number=5),
        lists.crl(MADE, number=6, base=5),
        lists.crl(MADE, number=5, scope=PART),
    ],
    ids=["a whole one", "a delta list", "a part"],
)
def test_a_whole_and_newer_list_is_taken(tmp_path: Path, before: bytes) -> None:
    """It tells all that the other told, whatever that was."""
    folder, whole = StateFolder(tmp_path), lists.crl(MADE, number=7)
    fetch(folder, before)
    assert fetch(folder, whole).result == "new"
    assert there(folder) == whole


def test_a_list_that_has_ended_makes_room_for_any(tmp_path: Path) -> None:
    """And so does one of a CA that is not held any more."""
    folder, part = StateFolder(tmp_path), lists.crl(MADE, number=6, scope=PART)
    for gone in (lists.crl(MADE, next_update=NOW - HOUR), lists.crl(MADE, signer="stranger")):
        folder.crls.mkdir(parents=True, exist_ok=True)
        crl_file(folder, "0" * 24).write_bytes(gone)
        assert fetch(folder, part).result == "new"
