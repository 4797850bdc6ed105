"""KKDCP as a process sees it: each hostile or mistaken request has its exact status (MS-KKDCP)."""

import contextlib
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdc.wire.ms_kkdcp import KdcProxyMessage
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from tests.e2e.server_process import wait_until
from tests.kdc.builders import as_req
from tests.rig import http
from tests.rig.http import HttpRealm, Reply, make_http_realm, read_reply, request, wrap

PROXY = "127.7.0.1"
MESSAGE = as_req()
PREAUTH_REQUIRED = 25
SLOW_SOURCES = tuple(f"127.8.0.{number}" for number in range(1, 11))


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRealm]:
    """Serve a realm by two workers and the HTTP process."""
    made = make_http_realm(
        tmp_path_factory.mktemp("kkdcp") / "state",
        f'kkdcp.trusted_proxies = ["{PROXY}", "127.7.0.2"]',
        'exempt_sources = ["127.0.0.1"]',
        "max_connections_per_source = 60",
    )
    made.live.kdc("user", "add", "alice", "--password-stdin", stdin="Correct-Horse-7\n")
    with made.live.served(workers=2):
        yield made


def answered(reply: Reply) -> int:
    """Return the code of the KRB-ERROR in an answer."""
    assert reply.status == 200, reply
    assert reply.headers["content-type"] == "application/kerberos"
    message = asn1.decode(KdcProxyMessage, reply.body)
    assert message.target_domain is None
    assert message.dclocator_hint is None
    octets = message.kerb_message
    assert int.from_bytes(octets[:4], "big") == len(octets) - 4
    return asn1.decode(KrbError, octets[4:]).error_code


def test_request_is_answered_and_audited_with_the_clients_address(realm: HttpRealm) -> None:
    """MS-KKDCP 3.2.5.2: only kerb-message comes back; the record names transport and client."""
    assert answered(realm.post(MESSAGE, source="127.9.0.7")) == PREAUTH_REQUIRED
    record = realm.live.audit()[-1]
    assert (record["transport"], record["IpAddress"]) == ("kkdcp", "127.9.0.7")
    assert record["IpPort"] != 0


@pytest.mark.parametrize("domain", ["LAB.TEST", "lab.test", "Lab.Test", None])
def test_target_domain_is_ours_in_any_case_or_absent(realm: HttpRealm, domain: str | None) -> None:
    """MS-KKDCP 2.2.2: not case-sensitive; a KDC of one realm needs none."""
    assert answered(realm.send(request(wrap(MESSAGE, domain=domain)))) == PREAUTH_REQUIRED


def test_locator_hint_is_read_and_ignored(realm: HttpRealm) -> None:
    """MS-KKDCP 2.2.2: it says which domain controller to look for."""
    assert answered(realm.send(request(wrap(MESSAGE, hint=0x40000000)))) == PREAUTH_REQUIRED


@pytest.mark.parametrize("path", ["/KdcProxy", "/kdcproxy", "/KDCPROXY"])
def test_path_in_any_case(realm: HttpRealm, path: str) -> None:
    """Windows' HTTP server does not tell cases apart."""
    assert answered(realm.send(request(wrap(MESSAGE), path=path))) == PREAUTH_REQUIRED


def test_connection_is_kept_for_further_requests(realm: HttpRealm) -> None:
    """RFC 9112 9.3: a client may send its second request on the same connection."""
    with realm.connect() as sock:
        for _ in range(3):
            sock.sendall(request(wrap(MESSAGE)))
            assert answered(read_reply(sock)) == PREAUTH_REQUIRED


def _framed(octets: bytes, length: int | None = None) -> bytes:
    size = len(octets) if length is None else length
    return asn1.encode(KdcProxyMessage(kerb_message=size.to_bytes(4, "big") + octets))


_GOOD = wrap(MESSAGE)
_LONG = b"\x30\x84" + (len(_GOOD) - 4).to_bytes(4, "big") + _GOOD[4:]

ROWS = {
    "another realm": (request(wrap(MESSAGE, domain="OTHER.TEST")), 503),
    "wrong path": (request(_GOOD, path="/"), 404),
    "path below": (request(_GOOD, path="/KdcProxy/x"), 404),
    "path with a query": (request(_GOOD, path="/KdcProxy?x=1"), 404),
    "path with dots": (request(_GOOD, path="/x/../KdcProxy"), 404),
    "encoded path": (request(_GOOD, path="/%4bdcProxy"), 404),
    "whole URL of another host": (request(_GOOD, path="http://evil.test/KdcProxy"), 404),
    "probes are not here": (request(b"", path="/metrics", method="GET"), 404),
    "GET": (request(b"", method="GET"), 405),
    "PUT": (request(_GOOD, method="PUT"), 405),
    "CONNECT": (b"CONNECT localhost:88 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "no length": (request(b"", Content_Length=""), 411),
    "no length but a body": (request(_GOOD, Content_Length=""), 400),
    "chunked": (
        request(b"", Content_Length="", Transfer_Encoding="chunked") + b"0\r\n\r\n",
        411,
    ),
    "length and chunked": (
        request(_GOOD, Transfer_Encoding="chunked") + b"0\r\n\r\n",
        400,
    ),
    "two lengths": (
        request(_GOOD).replace(b"Content-Length", b"Content-Length: 5\r\nContent-Length"),
        400,
    ),
    "length with a plus": (request(_GOOD, Content_Length=f"+{len(_GOOD)}"), 400),
    "negative length": (request(_GOOD, Content_Length="-1"), 400),
    "length in hexadecimal": (request(_GOOD, Content_Length="0x10"), 400),
    "space before the colon": (request(_GOOD).replace(b"Host:", b"Host :"), 400),
    "folded header": (request(_GOOD).replace(b"Host: localhost", b"Host: a\r\n b"), 400),
    "NUL in a header": (request(_GOOD, X_A="a\0b"), 400),
    "length over 64 KiB": (request(b"", Content_Length="65537"), 413),
    "length over 16 EiB": (request(b"", Content_Length="99999999999999999999"), 400),
    "64 KiB of nothing": (request(bytes(65536)), 400),
    "wrong content type": (request(_GOOD, Content_Type="application/json"), 415),
    "no content type": (request(_GOOD, Content_Type=""), 415),
    "compressed": (request(_GOOD, Content_Encoding="gzip"), 415),
    "empty body": (request(b""), 400),
    "no DER": (request(b"GET / HTTP/1.1"), 400),
    "truncated DER": (request(_GOOD[:-1]), 400),
    "octets after the DER": (request(_GOOD + b"\0"), 400),
    "length in its long form": (request(_LONG), 400),
    "no length in front": (
        request(asn1.encode(KdcProxyMessage(kerb_message=MESSAGE))),
        400,
    ),
    "length in front too short": (request(_framed(MESSAGE, len(MESSAGE) - 1)), 400),
    "length in front too long": (request(_framed(MESSAGE, 1 << 31)), 400),
    "empty kerb-message": (request(asn1.encode(KdcProxyMessage(kerb_message=b""))), 400),
    "kerb-message of nothing": (request(_framed(b"")), 400),
    "an AS-REP": (request(_framed(b"\x6b\x03\x30\x01\x00")), 400),
    "a KRB-ERROR": (request(_framed(b"\x7e\x03\x30\x01\x00")), 400),
    "a KRB-PRIV": (request(_framed(b"\x75\x03\x30\x01\x00")), 400),
    "kpasswd of another version": (request(_framed(b"\x00\x0a\x00\x02\x00\x00abcd")), 400),
    "kpasswd of another length": (request(_framed(b"\x00\x0b\x00\x01\x00\x00abcd")), 400),
    "LDAP": (request(_framed(b"\x30\x0c\x02\x01\x01")), 400),
    "no HTTP": (b"\x6a\x82\x01\x00\r\n\r\n", 400),
    "header of 5 KiB": (request(_GOOD, X_A="a" * 5000), 400),
    "40 headers": (request(_GOOD, **{f"X-{n}": "a" for n in range(40)}), 400),
}


@pytest.mark.parametrize("name", ROWS)
def test_hostile_or_mistaken_request(realm: HttpRealm, name: str) -> None:
    """Refused with the status of its fault, in fixed words, and the next client is served."""
    octets, status = ROWS[name]
    reply = realm.send(octets)
    assert reply.status == status, (name, reply)
    assert reply.headers["server"] == "keytrust"
    assert "python" not in str(reply).lower()
    assert "aiohttp" not in str(reply).lower()
    assert answered(realm.post(MESSAGE)) == PREAUTH_REQUIRED


def test_405_says_what_is_allowed(realm: HttpRealm) -> None:
    """RFC 9110 15.5.6."""
    assert realm.send(request(b"", method="GET")).headers["allow"] == "POST"


def test_malformed_kerberos_message_is_a_krb_error_in_a_200(realm: HttpRealm) -> None:
    """What is wrong inside is Kerberos' business, as over TCP."""
    assert answered(realm.post(MESSAGE[:1] + b"\x03\x30\x01\x00")) == 60


def test_smuggled_second_request_is_not_answered(realm: HttpRealm) -> None:
    """RFC 9112 6.3: where length and encoding disagree the connection ends with the refusal."""
    inner = request(_GOOD)
    outer = request(b"0\r\n\r\n" + inner, Transfer_Encoding="chunked")
    with realm.connect() as sock:
        sock.sendall(outer)
        assert read_reply(sock).status == 400
        assert http.read_reply(sock).status == 0


def test_body_that_was_refused_unread_is_no_request(realm: HttpRealm) -> None:
    """A refused body must not be parsed as the next request of the connection."""
    inner = request(_GOOD)
    with realm.connect() as sock:
        sock.sendall(request(inner, path="/elsewhere"))
        assert read_reply(sock).status == 404
        assert read_reply(sock).status == 0


def test_plain_http_is_not_answered_on_the_port_of_tls(realm: HttpRealm) -> None:
    """KKDCP is TLS only: no pre-authentication travels in the clear by mistake."""
    with socket.create_connection(("127.0.0.1", realm.kkdcp_port), timeout=5.0) as sock:
        sock.sendall(request(_GOOD))
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in sock.recv(100)


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)
def test_tls_versions_that_are_spoken(realm: HttpRealm, version: ssl.TLSVersion) -> None:
    """TLS 1.2 for older clients, 1.3 for the others."""
    context = ssl.create_default_context(cafile=str(realm.live.ca))
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", realm.kkdcp_port), timeout=5.0) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(request(_GOOD))
        assert answered(read_reply(tls)) == PREAUTH_REQUIRED


def test_tls_1_1_is_refused(realm: HttpRealm) -> None:
    """RFC 8996: TLS 1.0 and 1.1 must not be negotiated."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", realm.kkdcp_port), timeout=5.0) as sock,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(sock)


# -- the client behind a proxy -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "forwarded", "address"),
    [
        ("127.9.0.1", "192.0.2.1", "127.9.0.1"),
        (PROXY, "192.0.2.1", "192.0.2.1"),
        (PROXY, "203.0.113.9, 192.0.2.1", "192.0.2.1"),
        (PROXY, "192.0.2.1, 127.7.0.2", "192.0.2.1"),
        (PROXY, "203.0.113.9, 192.0.2.1, 127.7.0.2", "192.0.2.1"),
        (PROXY, "127.7.0.2", "127.7.0.2"),
        (PROXY, "2001:db8::1", "2001:db8::1"),
        (PROXY, "::ffff:192.0.2.1", "192.0.2.1"),
        (PROXY, "", PROXY),
    ],
    ids=[
        "stranger",
        "proxy",
        "forged",
        "nested",
        "forged nested",
        "only proxies",
        "v6",
        "v4 in v6",
        "no header",
    ],
)
def test_forwarded_address_is_believed_from_trusted_proxies_alone(
    realm: HttpRealm, source: str, forwarded: str, address: str
) -> None:
    """From the right end to the first that is no trusted proxy: what lies left is hearsay."""
    assert answered(realm.post(MESSAGE, source=source, X_Forwarded_For=forwarded))
    assert realm.live.audit()[-1]["IpAddress"] == address


def test_forwarded_headers_are_one_list(realm: HttpRealm) -> None:
    """RFC 9110 5.2: several fields of a name count as one, in their order."""
    octets = request(_GOOD, X_Forwarded_For="203.0.113.9").replace(
        b"X-Forwarded-For", b"X-Forwarded-For: 192.0.2.77\r\nX-Forwarded-For"
    )
    assert answered(realm.send(octets, source=PROXY))
    assert realm.live.audit()[-1]["IpAddress"] == "203.0.113.9"


@pytest.mark.parametrize("forwarded", ["unknown", "192.0.2.1:99", "a" * 200, ",", "192.0.2.1,"])
def test_malformed_forwarded_address_of_a_proxy_is_400(realm: HttpRealm, forwarded: str) -> None:
    """A client whose address is not known could not be limited, so its request is refused."""
    reply = realm.post(MESSAGE, source=PROXY, X_Forwarded_For=forwarded)
    assert (reply.status, b"X-Forwarded-For" in reply.body) == (400, True)
    assert answered(realm.post(MESSAGE, source="127.9.0.1", X_Forwarded_For=forwarded))


def test_seventeen_forwarded_addresses_are_400(realm: HttpRealm) -> None:
    """No chain of proxies is that long; a header of thousands must cost nothing."""
    chain = ", ".join(["127.7.0.2"] * 17)
    assert realm.post(MESSAGE, source=PROXY, X_Forwarded_For=chain).status == 400


# -- too many and too slow ---------------------------------------------------------------------


def _slow(realm: HttpRealm, source: str, kind: int) -> socket.socket:
    """Open a connection that goes on badly: in its handshake, its head or its body."""
    sock = socket.create_connection(
        ("127.0.0.1", realm.kkdcp_port), timeout=20.0, source_address=(source, 0)
    )
    if kind == 0:
        return sock
    context = ssl.create_default_context(cafile=str(realm.live.ca))
    tls = context.wrap_socket(sock, server_hostname="localhost")
    tls.sendall(request(_GOOD)[: 30 if kind == 1 else -1])
    return tls


@pytest.mark.slow
@pytest.mark.alone
def test_500_slow_connections_beside_honest_ones(realm: HttpRealm) -> None:
    """Row W02 for HTTPS: honest 20 of 20, and the slow are gone within ten seconds."""
    began = time.monotonic()
    slow = [_slow(realm, source, number % 3) for source in SLOW_SOURCES for number in range(50)]
    try:
        last = time.monotonic()
        for _ in range(20):
            assert answered(realm.post(MESSAGE)) == PREAUTH_REQUIRED
        # A drip does not earn more time.
        for sock in slow[1::3]:
            with contextlib.suppress(OSError):
                sock.sendall(b"X")
        assert wait_until(lambda: _open_connections(realm) == 0, 15.0)
        assert time.monotonic() - last < 12.0
        assert time.monotonic() - began < 60.0
    finally:
        for sock in slow:
            sock.close()
    assert answered(realm.post(MESSAGE)) == PREAUTH_REQUIRED


def _open_connections(realm: HttpRealm) -> int:
    text = realm.get("/metrics").body.decode()
    found = [line for line in text.splitlines() if line.startswith("kdc_connections ")]
    # The connection that asks is one itself.
    return int(float(found[0].split()[1])) - 1


def test_source_has_so_many_connections(realm: HttpRealm) -> None:
    """max_connections_per_source: the 61st is closed, another source is served."""
    source = "127.8.1.1"
    held = [
        socket.create_connection(
            ("127.0.0.1", realm.kkdcp_port), timeout=5.0, source_address=(source, 0)
        )
        for _ in range(60)
    ]
    try:
        assert wait_until(lambda: _open_connections(realm) >= 60, 5.0)
        with pytest.raises((OSError, ssl.SSLError)):
            realm.post(MESSAGE, source=source)
        assert answered(realm.post(MESSAGE, source="127.8.1.2")) == PREAUTH_REQUIRED
        # A trusted proxy is no source: its clients are.
        assert answered(realm.post(MESSAGE, source=PROXY, X_Forwarded_For="192.0.2.50"))
        reply = realm.post(MESSAGE, source=PROXY, X_Forwarded_For=source)
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    finally:
        for sock in held:
            sock.close()
    assert wait_until(lambda: _open_connections(realm) < 10, 5.0)
    assert answered(realm.post(MESSAGE, source=source)) == PREAUTH_REQUIRED


def test_connections_that_end_in_their_handshake_leave_honest_ones_alone(realm: HttpRealm) -> None:
    """A closed socket's number goes to the next connection only when the loop has let go of it."""
    for round_ in range(20):
        silent = [_slow(realm, source, 0) for source in SLOW_SOURCES]
        assert answered(realm.post(MESSAGE, source=f"127.8.2.{round_ + 1}")) == PREAUTH_REQUIRED
        for sock in silent:
            sock.close()
    assert wait_until(lambda: _open_connections(realm) == 0, 15.0)
    assert "Traceback" not in realm.live.log.read_text()
    assert "bug:" not in realm.live.log.read_text()


# -- processes ---------------------------------------------------------------------------------


def _children(realm: HttpRealm) -> set[int]:
    process = realm.live.process
    assert process is not None
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return {int(pid) for pid in path.read_text().split()}


def _http_pid(realm: HttpRealm) -> int:
    """Return the child that has aiohttp's code in its memory: the HTTP process."""
    for pid in _children(realm):
        if "_http_parser" in Path(f"/proc/{pid}/maps").read_text():
            return pid
    raise AssertionError("no HTTP process")


def test_workers_do_not_carry_the_libraries_of_http(realm: HttpRealm) -> None:
    """Aiohttp's compiled parser is mapped in one process of three."""
    assert len(_children(realm)) == 3
    _http_pid(realm)
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in _children(realm)]
    assert sum("_http_parser" in text for text in maps) == 1


def test_killed_http_process_is_started_again(realm: HttpRealm) -> None:
    """Row S01: a client that connects meanwhile is served by the successor."""
    victim = _http_pid(realm)
    os.kill(victim, signal.SIGKILL)
    assert answered(realm.post(MESSAGE)) == PREAUTH_REQUIRED
    assert _http_pid(realm) != victim


@pytest.mark.alone
def test_stopped_workers_are_503_in_time_and_not_answered_later(realm: HttpRealm) -> None:
    """What no worker takes within four seconds is refused; a worker that comes later drops it."""
    workers = _children(realm) - {_http_pid(realm)}
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        before = len(realm.live.audit())
        reply = realm.post(MESSAGE)
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    assert answered(realm.post(MESSAGE)) == PREAUTH_REQUIRED
    assert len(realm.live.audit()) == before + 1
    text = realm.get("/metrics").body.decode()
    assert 'kdc_dropped_total{reason="relay"} 1.0' in text


def test_many_clients_at_once_are_all_answered(realm: HttpRealm) -> None:
    """Answers are given to whom they belong, whichever worker they come from."""
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(10):
            code = answered(realm.post(MESSAGE))
            if code != PREAUTH_REQUIRED:
                wrong.append(code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_new_certificate_is_taken_on_reload_and_a_bad_one_is_not(realm: HttpRealm) -> None:
    """Row S05: SIGHUP swaps it; a key of another certificate leaves the old one in use."""
    process = realm.live.process
    assert process is not None

    def serial() -> str:
        with realm.connect() as sock:
            assert isinstance(sock, ssl.SSLSocket)
            return str((sock.getpeercert() or {})["serialNumber"])

    first = serial()
    realm.live.kdc("cert", "issue-http")
    process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: serial() != first)
    second = serial()
    realm.live.kdc("cert", "issue-http")
    key = realm.live.state / "pki/http.key"
    key.write_bytes((realm.live.state / "pki/kdc.key").read_bytes())
    process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "HTTPS cannot use this certificate" in realm.live.log.read_text())
    assert serial() == second


def test_stop_answers_what_is_begun(tmp_path: Path) -> None:
    """SIGTERM: the request that waits for a worker is answered, then all processes end."""
    made = make_http_realm(tmp_path / "state")
    with made.live.served(workers=1):
        process = made.live.process
        assert process is not None
        with made.connect() as sock:
            sock.sendall(request(_GOOD))
            process.send_signal(signal.SIGTERM)
            assert answered(read_reply(sock)) == 6
        assert process.wait(15) == 0
        assert "Traceback" not in made.live.log.read_text()
        records = (made.live.state / "audit.jsonl").read_text().splitlines()
        assert json.loads(records[-1])["transport"] == "kkdcp"
