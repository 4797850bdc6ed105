"""One question by HTTP against a real server on loopback: bounded, guarded, conditional."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from kdc.server.revocation.http_client import HttpClient, may_connect
from kdc.server.revocation.process import AT_ONCE
from kdc.server.revocation.question import Answer, FetchError, Question
from tests.rig.pki_server import PkiServer, pki_server

T = TypeVar("T")


@pytest.fixture
def pki() -> Iterator[PkiServer]:
    with pki_server().running() as server:
        server.content["/ca.crl"] = b"a list"
        yield server


def run(work: Callable[[HttpClient], Awaitable[T]], *networks: str) -> T:
    async def main() -> T:
        client = HttpClient(networks)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(main())


def question(url: str, **given: object) -> Question:
    values: dict[str, object] = {"is_free": True, "max_bytes": 1000, "within_s": 5.0}
    return Question(url=url, **{**values, **given})  # type: ignore[arg-type]  # its own fields


def ask(url: str, *networks: str, **given: object) -> Answer:
    return run(lambda client: client.ask(question(url, **given)), *networks)


def why(url: str, *networks: str, **given: object) -> str:
    with pytest.raises(FetchError) as caught:
        ask(url, *networks, **given)
    return str(caught.value)


def test_what_is_unchanged_is_not_sent_again(pki: PkiServer) -> None:
    """RFC 9110 13.1.2: If-None-Match, 304."""
    first = ask(pki.url("/ca.crl"))
    assert first.body == b"a list"
    second = ask(pki.url("/ca.crl"), etag=first.etag)
    assert (second.body, second.etag) == (None, first.etag)
    pki.content["/ca.crl"] = b"another"
    assert ask(pki.url("/ca.crl"), etag=first.etag).body == b"another"
    assert [status for _, _, status in pki.asked] == [200, 304, 200]


def test_a_304_that_nobody_asked_for_is_no_answer(pki: PkiServer) -> None:
    """It would make an empty list current."""
    pki.statuses["/ca.crl"] = 304
    assert why(pki.url("/ca.crl")) == "HTTP status 304"


@pytest.mark.parametrize(("path", "said"), [("/gone", 404), ("/broken", 500)])
def test_other_statuses_are_no_answer(pki: PkiServer, path: str, said: int) -> None:
    """Whatever comes with them."""
    pki.statuses["/broken"] = 500
    assert why(pki.url(path)) == f"HTTP status {said}"


def test_an_answer_is_bounded_in_octets(pki: PkiServer) -> None:
    """By its length as told, and where none is told, by what comes."""
    pki.content["/large"] = bytes(1001)
    assert why(pki.url("/large")) == "the answer is too large"
    pki.endless.add("/endless")
    assert why(pki.url("/endless")) == "the answer is too large"
    assert ask(pki.url("/large"), max_bytes=1001).body == bytes(1001)


def test_an_answer_is_bounded_in_time(pki: PkiServer) -> None:
    """A server that sends an octet now and then is not waited for."""
    pki.slow.add("/ca.crl")
    assert why(pki.url("/ca.crl"), within_s=0.5) == "no answer in time"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert why(url, within_s=0.3) == "no answer in time"


def test_servers_that_do_not_answer_hold_up_no_other(pki: PkiServer) -> None:
    """As many as are asked at a time: the time of a question does not pass waiting for theirs."""

    async def among(client: HttpClient) -> Answer:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
            silence = [
                asyncio.create_task(client.ask(question(url)))
                for _ in range(sum(AT_ONCE.values()) - 1)
            ]
            await asyncio.sleep(0)
            try:
                return await client.ask(question(pki.url("/ca.crl"), within_s=2.0))
            finally:
                for task in silence:
                    task.cancel()
                await asyncio.gather(*silence, return_exceptions=True)

    assert run(among).body == b"a list"


def test_a_compressed_answer_is_not_opened(pki: PkiServer) -> None:
    """A kilobyte could become a gigabyte."""
    pki.headers["Content-Encoding"] = "gzip"
    assert why(pki.url("/ca.crl")) == "the answer is compressed"


def test_few_redirects_are_followed_to_plain_http_only(pki: PkiServer) -> None:
    """RFC 9110 15.4; a loop ends."""
    pki.redirects.update({"/a": "/b", "/b": pki.url("/c"), "/c": "/ca.crl"})
    assert ask(pki.url("/a"), "127.0.0.0/8").body == b"a list"
    pki.redirects["/loop"] = "/loop"
    assert why(pki.url("/loop"), "127.0.0.0/8") == "too many redirects"
    assert pki.count("/loop") == 4
    for target in ("https://127.0.0.1/", "file:///etc/passwd", "ldap://127.0.0.1/", "http://a b/"):
        pki.redirects["/out"] = target
        said = why(pki.url("/out"), "127.0.0.0/8")
        assert said == "a redirect to what is no address of plain HTTP", target


NOT_ALLOWED = "the name leads to no address that may be asked; see fetch_networks"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "0.0.0.0", "[::1]"])  # noqa: S104
def test_addresses_of_certificates_do_not_lead_to_this_machine(pki: PkiServer, host: str) -> None:
    """As a number, as a name, in every spelling that resolvers take."""
    assert why(f"http://{host}:{pki.port}/ca.crl", is_free=False) == NOT_ALLOWED
    assert pki.asked == []


@pytest.mark.parametrize("host", ["127.1", "2130706433", "127.0.0.1."])
def test_addresses_written_oddly_are_not_asked(pki: PkiServer, host: str) -> None:
    """Who refuses them does not matter."""
    why(f"http://{host}:{pki.port}/ca.crl", is_free=False)
    assert pki.asked == []


def test_a_redirect_is_guarded_also_from_an_address_that_is_free(pki: PkiServer) -> None:
    """Where a server sends us is not what the administrator wrote."""
    pki.redirects["/out"] = pki.url("/ca.crl")
    assert why(pki.url("/out")) == NOT_ALLOWED
    assert pki.count("/ca.crl") == 0


def test_a_lab_allows_its_own_networks(pki: PkiServer) -> None:
    """`fetch_networks`; one network does not allow another."""
    assert ask(pki.url("/ca.crl"), "127.0.0.0/8", is_free=False).body == b"a list"
    assert ask(f"http://localhost:{pki.port}/ca.crl", "127.0.0.0/8", is_free=False).body
    assert why(pki.url("/ca.crl"), "10.0.0.0/8", is_free=False) == NOT_ALLOWED


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.1", True),
        ("10.1.2.3", True),
        ("2001:db8::1", True),
        ("fd00::1", True),
        ("127.0.0.1", False),
        ("127.255.255.254", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a01:203", True),
        ("169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("255.255.255.255", False),
        ("0.0.0.0", False),  # noqa: S104  # an address to judge
        ("0.1.2.3", False),
        ("::", False),
    ],
)
def test_where_addresses_of_certificates_may_lead(address: str, allowed: bool) -> None:
    """Private networks yes, for there are the CAs of enterprises; this machine and its link no."""
    assert may_connect(address, ()) is allowed


def test_no_connection_and_no_http_are_told_apart() -> None:
    """For the log."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert why(f"http://127.0.0.1:{port}/") == "no connection"
    assert why("http://no-such-host.invalid/") == NOT_ALLOWED
