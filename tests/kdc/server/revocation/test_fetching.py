"""One source fetched and put in place: alternatives, what is held, and room."""

import asyncio
import hashlib
from datetime import datetime
from pathlib import Path

import pytest

from kdc.server.revocation import fetch
from kdc.server.revocation.addresses import issuer_id
from kdc.server.revocation.fetch import Authorities, Fetched, Fetching, crl_file
from kdc.server.revocation.judge import UnwantedError
from kdc.server.revocation.question import Answer, FetchError, Question
from kdc.server.revocation.status import Source
from kdc.state_folder import StateFolder
from pki.certificate import Certificate
from tests.pki import chains, lists
from tests.pki.chains import NOW, Plan

MADE = chains.make(Plan(3, ()))
ISSUER = Certificate(MADE.sent[0])
LEAF = hashlib.sha256(MADE.leaf)
AUTHORITIES = Authorities(held=(ISSUER, Certificate(MADE.root)))


class Scripted:
    """Answers as it was told, by address; remembers what it was asked."""

    def __init__(self, **answers: Answer | str) -> None:
        self.answers = {f"http://{host}/": answer for host, answer in answers.items()}
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Answer:
        """Give the answer of an address; a text is a failure."""
        self.asked.append(question)
        answer = self.answers[question.url]
        if isinstance(answer, str):
            raise FetchError(answer)
        return answer

    async def close(self) -> None:
        """Nothing is open."""


def source(kind: str = "crl", *hosts: str) -> Source:
    return Source(
        key="k",
        kind=kind,  # type: ignore[arg-type]  # one of the two
        urls=tuple(f"http://{host}/" for host in hosts or ("a",)),
        origin="CA certificate",
        issuer=issuer_id(ISSUER),
        serial_number=f"{Certificate(MADE.leaf).serial_number:x}",
        certificate=LEAF.hexdigest(),
    )


def _put_off(one: Source) -> None:
    one.next_at = NOW + lists.HOUR


def run(fetching: Fetching, one: Source, asker: Scripted, now: datetime = NOW) -> Fetched:
    return asyncio.run(fetching.fetch(one, AUTHORITIES, asker, (), now))


def test_the_next_alternative_is_asked_and_the_one_that_worked_is_first_later(
    tmp_path: Path,
) -> None:
    """RFC 5280 4.2.1.13: the names of one point are the same list at several places."""
    folder = StateFolder(tmp_path)
    fetching, one = Fetching(folder, {}), source("crl", "a", "b")
    asker = Scripted(a="no connection", b=Answer(body=lists.crl(MADE, number=5), etag='"5"'))
    assert run(fetching, one, asker).result == "new"
    assert (one.url, one.number, one.issuer_name) == ("http://b/", "5", "CN=CA 1,O=Example")
    asker.asked.clear()
    asker.answers["http://b/"] = Answer(body=None, etag='"5"')
    assert run(fetching, one, asker).result == "unchanged"
    assert [(q.url, q.etag) for q in asker.asked] == [("http://b/", '"5"')]


def test_the_problem_told_is_that_of_the_last_address(tmp_path: Path) -> None:
    """All were in vain."""
    asker = Scripted(a="no connection", b="HTTP status 500")
    with pytest.raises(FetchError, match="HTTP status 500"):
        run(Fetching(StateFolder(tmp_path), {}), source("crl", "a", "b"), asker)


def test_a_list_that_somebody_removed_is_asked_for_whole(tmp_path: Path) -> None:
    """Else the server would say "not modified" for ever."""
    folder = StateFolder(tmp_path)
    fetching, one = Fetching(folder, {}), source()
    asker = Scripted(a=Answer(body=lists.crl(MADE), etag='"1"'))
    run(fetching, one, asker)
    crl_file(folder, "k").unlink()
    _put_off(one)
    fetching.note_held(one)
    assert (one.next_update, one.next_at, one.etag) == (None, None, "")
    assert run(fetching, one, asker).result == "new"
    assert [question.etag for question in asker.asked] == ["", ""]
    assert crl_file(folder, "k").stat().st_mode & 0o777 == 0o644


def test_what_ended_is_a_failure_also_when_it_has_not_changed(tmp_path: Path) -> None:
    """The server is there, but nobody makes lists any more."""
    fetching, one = Fetching(StateFolder(tmp_path), {}), source()
    asker = Scripted(a=Answer(body=lists.crl(MADE), etag='"1"'))
    run(fetching, one, asker)
    asker.answers["http://a/"] = Answer(body=None, etag='"1"')
    with pytest.raises(UnwantedError, match="has ended, and the server has no other"):
        run(fetching, one, asker, NOW + 48 * lists.HOUR)


def test_responses_have_a_bound_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer one in the place of an older needs no more room."""
    responses: dict[bytes, bytes] = {}
    fetching, one = Fetching(StateFolder(tmp_path), responses), source("ocsp")
    asker = Scripted(a=Answer(body=lists.response(MADE)))
    assert run(fetching, one, asker).result == "new"
    assert list(responses) == [LEAF.digest()]
    assert run(fetching, one, asker).result == "unchanged"
    monkeypatch.setattr(fetch, "MAX_RESPONSES_BYTES", len(responses[LEAF.digest()]) + 10)
    run(fetching, one, asker)
    responses[bytes(32)] = bytes(11)
    with pytest.raises(UnwantedError, match="there is no room for more OCSP responses"):
        run(fetching, one, asker)
