"""A server in a thread that answers datagrams and frames as a function says."""

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[bytes], bytes | None]


class FakeKdc:
    """One UDP and one TCP socket on the same loopback port."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.received: list[bytes] = []
        self.connections = 0
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.address = ("127.0.0.1", self._tcp.getsockname()[1])
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(self.address)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        buffers: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector:
            for own in (self._tcp, self._udp, self._stopped):
                selector.register(own, selectors.EVENT_READ, own)
            while True:
                for key, _ in selector.select():
                    sock: socket.socket = key.data
                    if sock is self._stopped:
                        for one in buffers:
                            one.close()
                        return
                    if sock is self._udp:
                        data, peer = sock.recvfrom(65536)
                        self.received.append(data)
                        answer = self._answer(data)
                        if answer is not None:
                            sock.sendto(answer, peer)
                    elif sock is self._tcp:
                        connection, _ = sock.accept()
                        self.connections += 1
                        buffers[connection] = b""
                        selector.register(connection, selectors.EVENT_READ, connection)
                    else:
                        self._frame(sock, buffers, selector)

    def _frame(
        self,
        sock: socket.socket,
        buffers: dict[socket.socket, bytes],
        selector: selectors.BaseSelector,
    ) -> None:
        data = sock.recv(65536)
        buffers[sock] += data
        whole = buffers[sock]
        if data and (len(whole) < 4 or len(whole) < 4 + int.from_bytes(whole[:4], "big")):
            return
        answer = None
        if data:
            self.received.append(whole[4:])
            answer = self._answer(whole[4:])
            buffers[sock] = b""
        if answer is None:
            selector.unregister(sock)
            del buffers[sock]
            sock.close()
        else:
            sock.sendall(len(answer).to_bytes(4, "big") + answer)

    def close(self) -> None:
        """End the thread."""
        self._stop.close()
        self._thread.join(5)
        for sock in (self._tcp, self._udp, self._stopped):
            sock.close()


@contextmanager
def fake_kdc(answer: Answer) -> Iterator[FakeKdc]:
    """Run a server for the time of a test."""
    kdc = FakeKdc(answer)
    try:
        yield kdc
    finally:
        kdc.close()
