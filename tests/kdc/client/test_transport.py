"""The client's sockets against small servers in threads."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kdc.client.errors import ClientError, ClientFault
from kdc.client.transport import KdcAddress, exchange
from kdc.wire.constants import ErrorCode
from tests.kdc.client.fake_kdc import error

Answer = Callable[[bytes], bytes | None]


@contextmanager
def servers(udp: Answer, tcp: Answer) -> Iterator[int]:
    """Serve both protocols on one loopback port; None: no answer (UDP), close (TCP)."""
    stream = socket.create_server(("127.0.0.1", 0))
    port = int(stream.getsockname()[1])
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind(("127.0.0.1", port))
    stop = threading.Event()
    for sock in (stream, datagram):
        sock.settimeout(0.05)

    def serve_udp() -> None:
        while not stop.is_set():
            try:
                data, peer = datagram.recvfrom(65535)
            except TimeoutError:
                continue
            answer = udp(data)
            if answer is not None:
                datagram.sendto(answer, peer)

    def serve_tcp() -> None:
        while not stop.is_set():
            try:
                connection, _ = stream.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(2)
                size = int.from_bytes(connection.recv(4), "big")
                data = b""
                while len(data) < size:
                    data += connection.recv(size - len(data))
                answer = tcp(data)
                if answer is not None:
                    # In two parts: a reader must not take the first for all.
                    connection.sendall(answer[:5])
                    connection.sendall(answer[5:])

    threads = [threading.Thread(target=serve_udp), threading.Thread(target=serve_tcp)]
    for thread in threads:
        thread.start()
    try:
        yield port
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        stream.close()
        datagram.close()


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def at(port: int, protocol: str = "udp", **changes: object) -> KdcAddress:
    return KdcAddress(
        host="127.0.0.1",
        port=port,
        protocol="tcp" if protocol == "tcp" else "udp",
        timeout_s=0.2,
        **changes,  # type: ignore[arg-type]  # by field name
    )


def fault(address: KdcAddress, request: bytes = b"request") -> tuple[ClientFault, str]:
    with pytest.raises(ClientError) as caught:
        exchange(address, request)
    return caught.value.fault, caught.value.detail


def test_answer_by_udp_and_by_tcp() -> None:
    """RFC 4120 7.2.1 and 7.2.2."""
    with servers(lambda d: b"udp " + d, lambda d: framed(b"tcp " + d)) as port:
        assert exchange(at(port), b"request") == (b"udp request", "udp")
        assert exchange(at(port, "tcp"), b"request") == (b"tcp request", "tcp")


def test_too_big_for_udp_is_repeated_by_tcp() -> None:
    """KRB_ERR_RESPONSE_TOO_BIG (RFC 4120 7.2.1), and a request too long for a datagram."""
    too_big = error(ErrorCode.KRB_ERR_RESPONSE_TOO_BIG)
    with servers(lambda _: too_big, lambda d: framed(b"tcp")) as port:
        assert exchange(at(port), b"request") == (b"tcp", "tcp")
    with servers(lambda _: b"udp", lambda d: framed(b"tcp")) as port:
        assert exchange(at(port), bytes(2000)) == (b"tcp", "tcp")
        assert exchange(at(port, max_udp_request_bytes=4096), bytes(2000)) == (b"udp", "udp")


def test_lost_datagram_is_sent_again() -> None:
    """The same packet: the KDC's retransmit memory answers it."""
    seen: list[bytes] = []

    def second_time(data: bytes) -> bytes | None:
        seen.append(data)
        return b"answer" if len(seen) == 2 else None

    with servers(second_time, lambda _: None) as port:
        assert exchange(at(port), b"request") == (b"answer", "udp")
    assert seen == [b"request", b"request"]


def test_no_answer_in_time() -> None:
    """A bounded number of tries."""
    with servers(lambda _: None, lambda _: None) as port:
        assert fault(at(port, tries=1)) == (ClientFault.UNREACHABLE, "no answer in time")


def test_closed_port_is_heard_of_at_once() -> None:
    """ICMP port unreachable, connection refused."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    assert fault(at(port))[0] is ClientFault.UNREACHABLE
    assert fault(at(port, "tcp"))[0] is ClientFault.UNREACHABLE


def test_connection_that_ends_early() -> None:
    """Half an answer is none."""
    with servers(lambda _: None, lambda d: framed(bytes(10))[:-1]) as port:
        assert fault(at(port, "tcp")) == (ClientFault.UNREACHABLE, "the connection was closed")


def test_length_that_no_answer_has() -> None:
    """Nothing is allocated for a claim of 4 GiB."""
    with servers(lambda _: None, lambda d: b"\xff\xff\xff\xff") as port:
        assert fault(at(port, "tcp")) == (ClientFault.MALFORMED, "length of the answer")
