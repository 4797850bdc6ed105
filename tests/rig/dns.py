"""A name server that answers from a list of records, for one test: UDP, nothing but answers."""

import contextlib
import ipaddress
import shlex
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

TYPES = {"A": 1, "TXT": 16, "AAAA": 28, "SRV": 33, "URI": 256}
_PORT = 53

Records = Sequence[tuple[str, str, str]]
"""Name, type and data, as a zone file has them."""


def _name(text: str) -> bytes:
    labels = [label.encode() for label in text.rstrip(".").split(".")]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def _data(kind: str, text: str) -> bytes:
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(text).packed
    words = shlex.split(text)
    if kind == "TXT":
        return b"".join(bytes((len(word),)) + word.encode() for word in words)
    if kind == "URI":  # RFC 7553 4.5
        return struct.pack(">HH", int(words[0]), int(words[1])) + words[2].encode()
    return struct.pack(">HHH", *map(int, words[:3])) + _name(words[3])


def answer(query: bytes, records: Records) -> bytes:
    """Answer the one question of a query (RFC 1035 4.1)."""
    labels, pos = [], 12
    while query[pos]:
        labels.append(query[pos + 1 : pos + 1 + query[pos]].decode())
        pos += 1 + query[pos]
    question = query[12 : pos + 5]
    wanted = ".".join(labels).lower() + "."
    (number,) = struct.unpack_from(">H", query, pos + 1)
    found = [
        # The name is that of the question, at octet 12.
        struct.pack(">HHHIH", 0xC00C, number, 1, 60, len(data)) + data
        for name, kind, text in records
        if name.lower() == wanted and TYPES[kind] == number
        for data in (_data(kind, text),)
    ]
    known = any(name.lower() == wanted for name, _, _ in records)
    head = struct.pack(">HHHHH", 0x8580 if known else 0x8583, 1, len(found), 0, 0)
    return query[:2] + head + question + b"".join(found)


@contextlib.contextmanager
def serving(address: str, records: Records) -> Iterator[list[str]]:
    """Serve on port 53 of an address while the block runs; yields the names asked for so far."""
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, _PORT))
        sock.settimeout(0.2)
        end = threading.Event()

        def run() -> None:
            while not end.is_set():
                try:
                    query, peer = sock.recvfrom(4096)
                except TimeoutError:
                    continue
                asked.append(repr(query[12:]))
                sock.sendto(answer(query, records), peer)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield asked
        finally:
            end.set()
            thread.join()
