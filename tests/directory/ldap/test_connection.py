"""A connection to a server that is slow, drips, floods, lies or refers: bounded, and UNAVAILABLE
(rows L01-L03, L05).
"""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap import ber, connection, messages
from directory.ldap.connection import OPEN, LdapConnection
from directory.ldap.filters import present
from directory.ldap.messages import Entry, Scope
from directory.ldap.reach import LdapError, check_safe
from directory.ldap.session import Servers, open_session
from directory.ldap.settings import LdapSettings, LdapUrl, LdapUrlError
from tests.directory.ldap.stub import (
    BASE,
    Asked,
    Stub,
    entry,
    message,
    result,
    urls,
    well_behaved,
)

BOUND_S = 3.0


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """Run a server that behaves until a test says otherwise."""
    with Stub(tmp_path / "ldapi").running() as running:
        yield running


def search(stub: Stub) -> list[Entry]:
    settings = stub.settings()
    link = LdapConnection.open(stub.url, settings)
    try:
        return link.entries(BASE, Scope.BASE, OPEN, ("*",))
    finally:
        link.close()


def refusal(stub: Stub) -> LdapError:
    began = time.monotonic()
    with pytest.raises(LdapError) as caught:
        search(stub)
    assert time.monotonic() - began < BOUND_S
    assert caught.value.kind is DirectoryFault.UNAVAILABLE
    return caught.value


def test_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """Row L01."""
    url = LdapUrl(scheme="ldapi", path=str(tmp_path / "none"))
    with pytest.raises(LdapError, match="cannot be reached"):
        LdapConnection.open(url, LdapSettings(urls=(url,), flavour="openldap"))


def test_server_that_never_answers_is_given_up(stub: Stub) -> None:
    """Row L02: the deadline of the operation holds."""
    stub.answers = lambda asked, sock: b""
    assert "does not answer in time" in refusal(stub).detail


def test_server_that_drips_is_given_up(stub: Stub) -> None:
    """Row L02: an octet now and then does not extend the deadline."""

    def drip(asked: Asked, sock: socket.socket) -> bytes | None:
        for octet in entry(asked.number, BASE, {"cn": [b"x" * 200]}):
            sock.sendall(bytes((octet,)))
            time.sleep(0.05)
        return None

    stub.answers = drip
    assert "does not answer in time" in refusal(stub).detail


def test_server_that_hangs_up_is_unavailable(stub: Stub) -> None:
    """Row L01."""
    stub.answers = lambda asked, sock: None
    assert "closed the connection" in refusal(stub).detail


def test_message_larger_than_may_be_is_not_waited_for(stub: Stub) -> None:
    """A length is believed only up to MAX_MESSAGE_BYTES; nothing is allocated for it."""
    stub.answers = lambda asked, sock: b"\x30\x84\x7f\xff\xff\xff"
    assert "larger than may be" in refusal(stub).detail


def test_answer_without_end_is_cut_off(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of entries ends at the bound of the operation in octets."""
    monkeypatch.setattr(connection, "MAX_FETCH_BYTES", 200_000)

    def flood(asked: Asked, sock: socket.socket) -> bytes | None:
        one = entry(asked.number, BASE, {"cn": [b"x" * 10_000]})
        while True:
            sock.sendall(one)

    stub.answers = flood
    assert "more than may be" in refusal(stub).detail


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"\x30\x80\x02\x01\x01\x00\x00",  # indefinite length
        b"\x30\x05\x02\x01\x01\x64\x7f",  # an inner length that overruns
        b"\x30\x03\x02\x01\x01",  # no operation
        b"\x30\x06\x02\x01\x01\x42\x01\x00",  # a request, not an answer
    ],
)
def test_octets_that_are_no_answer_end_the_connection(stub: Stub, octets: bytes) -> None:
    """Lying servers: whatever they send is UNAVAILABLE, never an exception of another kind."""
    stub.answers = lambda asked, sock: octets
    refusal(stub)


def test_referral_is_not_followed(stub: Stub, tmp_path: Path) -> None:
    """Row L03: not even when the other server is there and waits."""
    with Stub(tmp_path / "other").running() as other:
        stub.answers = lambda asked, sock: result(asked.number, 10, referral=str(other.url))
        assert "which is not followed" in refusal(stub).detail
        assert other.connections == 0


def test_reference_among_the_entries_is_passed_over(stub: Stub) -> None:
    """Row L03: RFC 4511 4.5.3; what this server has itself still counts."""

    def with_reference(asked: Asked, sock: socket.socket) -> bytes | None:
        reference = message(asked.number, ber.tlv(0x73, ber.octets("ldap://elsewhere.test")))
        return reference + entry(asked.number, BASE, {"cn": [b"x"]}) + result(asked.number)

    stub.answers = with_reference
    assert [found.dn for found in search(stub)] == [BASE]


def test_answer_to_another_request_is_passed_over(stub: Stub) -> None:
    """What is left of an earlier operation is nobody's answer."""

    def crossed(asked: Asked, sock: socket.socket) -> bytes | None:
        return entry(asked.number + 7, "cn=forged", {}) + result(asked.number)

    stub.answers = crossed
    assert search(stub) == []


def test_notice_of_disconnection_is_unavailable(stub: Stub) -> None:
    """RFC 4511 4.4.1: message 0."""
    stub.answers = lambda asked, sock: result(0, 52, tag=0x78, text="shutting\ndown")
    assert "ends the session: result 52 unavailable shutting down" in refusal(stub).detail


def test_values_in_ranges_are_put_together(stub: Stub) -> None:
    """MS-ADTS 3.1.1.3.1.3.3: 1,500 values at a time, the last range ends in a star."""
    parts = iter(
        (
            {"member;range=0-1": [b"a", b"b"]},
            {"member;range=2-3": [b"c", b"d"]},
            {"member;range=4-*": [b"e"]},
        )
    )
    stub.answers = lambda asked, sock: (
        entry(asked.number, BASE, next(parts, {})) + result(asked.number)
    )
    assert search(stub)[0].values("member") == (b"a", b"b", b"c", b"d", b"e")


def test_rest_of_a_list_that_is_not_shown_is_no_end(stub: Stub) -> None:
    """MS-ADTS 3.1.1.3.1.3.3: half of msDS-NeverRevealGroup would let the other half in."""
    pages = iter([{"member;range=0-1": [b"a", b"b"]}])

    def answer(asked: Asked, _: socket.socket) -> bytes:
        values = next(pages, None)
        shown = entry(asked.number, BASE, values) if values is not None else b""
        return shown + result(asked.number)

    stub.answers = answer
    assert "gives only a part of member" in refusal(stub).detail


def test_ranges_that_do_not_end_are_given_up(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that always promises more is bounded by MAX_RANGES."""
    monkeypatch.setattr(connection, "MAX_RANGES", 5)
    stub.answers = lambda asked, sock: (
        entry(asked.number, BASE, {"member;range=0-1": [b"a"]}) + result(asked.number)
    )
    assert "ranges that do not end" in refusal(stub).detail


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("ldap://127.0.0.1", {}),
        ("ldap://127.0.0.1", {"bind_dn": "cn=kdc", "bind_password": b"x"}),
        ("ldaps://127.0.0.1", {"bind_dn": "cn=kdc"}),
        ("ldaps://127.0.0.1", {"sasl": "external"}),
    ],
)
def test_bind_that_gives_away_or_proves_nothing_is_refused(
    url: str, more: dict[str, object]
) -> None:
    """Row L05: no password without TLS, no null bind (RFC 4513 5.1.2), no cleartext at all."""
    parsed = LdapUrl.parse(url)
    settings = LdapSettings(urls=(parsed,), flavour="openldap", **more)  # type: ignore[arg-type]  # test data
    with pytest.raises(DirectoryError) as caught:
        check_safe(parsed, settings)
    assert caught.value.kind is DirectoryFault.INVALID


def test_starttls_that_is_refused_sends_no_bind() -> None:
    """Row L05: a stripped StartTLS ends it; the password stays here."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            seen.append(sock.recv(65536))
            sock.sendall(result(1, 2, tag=0x78, text="unsupported"))
            seen.append(sock.recv(65536))

    import threading

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = LdapUrl.parse(f"ldap://127.0.0.1:{port}")
    settings = LdapSettings(
        urls=(url,), flavour="openldap", starttls=True, bind_dn="cn=kdc", bind_password=b"hidden"
    )
    with pytest.raises(LdapError, match="refuses StartTLS"):
        LdapConnection.open(url, settings)
    thread.join(5)
    listener.close()
    assert not any(b"hidden" in data for data in seen)


def test_server_that_answers_before_tls_begins_is_not_believed() -> None:
    """Row L05: octets put in front of the handshake are no answers of the server."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = LdapUrl.parse(f"ldap://127.0.0.1:{listener.getsockname()[1]}")

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(result(1, tag=0x78) + result(2, tag=0x61))
            sock.recv(65536)

    import threading

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    settings = LdapSettings(urls=(url,), flavour="openldap", starttls=True)
    with pytest.raises(LdapError, match="before TLS began"):
        LdapConnection.open(url, settings)
    thread.join(5)
    listener.close()


def test_session_learns_base_and_domain(stub: Stub) -> None:
    """The root entry names the base, the domain object its SID."""
    session = open_session(stub.url, stub.settings())
    assert (session.base, str(session.facts.sid), session.netbios) == (
        BASE,
        "S-1-5-21-1-2-3",
        "LAB",
    )
    session.connection.close()


def test_domain_without_a_sid_is_refused(stub: Stub) -> None:
    """Nothing can be kept of accounts whose domain is not known."""

    def bare(asked: Asked, sock: socket.socket) -> bytes | None:
        if asked.tag == 0x63 and asked.base == BASE:
            return entry(asked.number, BASE, {}) + result(asked.number)
        return well_behaved(asked, sock)

    stub.answers = bare
    with pytest.raises(DirectoryError) as caught:
        open_session(stub.url, stub.settings())
    assert caught.value.kind is DirectoryFault.INVALID


def test_second_server_takes_over(tmp_path: Path) -> None:
    """Several servers: the first that answers, and the one that worked stays the first choice."""
    dead, alive = Stub(tmp_path / "dead"), Stub(tmp_path / "alive")
    with alive.running():
        servers = Servers(alive.settings(urls=urls((dead, alive))))
        for _ in range(2):
            session = servers.open()
            assert session.url == alive.url
            session.connection.close()


def test_waits_grow_and_stay_bounded(tmp_path: Path) -> None:
    """Back-off with jitter, never longer than a second."""
    servers = Servers(Stub(tmp_path / "dead").settings())
    waits = []
    for _ in range(12):
        with pytest.raises(DirectoryError):
            servers.open()
        waits.append(servers.wait_s())
    assert waits[0] <= 0.2
    assert 0.5 <= max(waits) <= 1.0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ldaps://dc1.lab.test", "ldaps://dc1.lab.test:636"),
        ("ldap://[::1]:3890/", "ldap://[::1]:3890"),
        ("ldapi://%2Frun%2Fslapd%2Fldapi", "ldapi://%2Frun%2Fslapd%2Fldapi"),
    ],
)
def test_url_is_read_and_written(text: str, shown: str) -> None:
    """RFC 4516, as much of it as is used."""
    assert str(LdapUrl.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "ldap.lab.test",
        "https://lab.test",
        "ldaps://",
        "ldaps://user@lab.test",
        "ldaps://lab.test/dc=lab?sub",
        "ldaps://lab.test:99999",
        "ldapi://relative",
        "ldaps://a b",
    ],
)
def test_text_that_is_no_url(text: str) -> None:
    """A URL that could be misread is refused."""
    with pytest.raises(LdapUrlError):
        LdapUrl.parse(text)


def test_settings_show_no_password() -> None:
    """Secrets have no printable form."""
    url = LdapUrl.parse("ldaps://lab.test")
    settings = LdapSettings(
        urls=(url,), flavour="ad", bind_dn="cn=kdc", bind_password=b"hidden-secret"
    )
    assert "hidden-secret" not in f"{settings!r} {settings}"


def test_request_is_what_an_independent_decoder_reads() -> None:
    """RFC 4511 4.5.1: ldap3 reads our search as what it is."""
    from ldap3.protocol.rfc4511 import LDAPMessage  # type: ignore[import-untyped]  # no types
    from pyasn1.codec.ber import decoder  # type: ignore[import-untyped]  # no types

    request = messages.search(
        7,
        BASE,
        Scope.SUBTREE,
        present("objectSid"),
        ("cn", "sn"),
        size_limit=5,
        controls=(messages.paged(10, b"cookie"),),
    )
    read, rest = decoder.decode(request, asn1Spec=LDAPMessage())
    assert not rest
    asked = read["protocolOp"]["searchRequest"]
    assert (int(read["messageID"]), str(asked["baseObject"])) == (7, BASE)
    assert (int(asked["scope"]), int(asked["sizeLimit"])) == (2, 5)
    assert str(asked["filter"]["present"]) == "objectSid"
    assert [str(name) for name in asked["attributes"]] == ["cn", "sn"]
    assert str(read["controls"][0]["controlType"]) == messages.PAGED_RESULTS
