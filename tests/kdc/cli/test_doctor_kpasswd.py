"""`kdc doctor` asks where passwords are changed."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from kdc.cli.checks import kpasswd
from kdc.cli.checks.finding import Level
from kdc.wire.constants import PVNO, ErrorCode, MessageType, NameType
from kdc.wire.rfc3244 import encode_frame
from kdc.wire.rfc4120 import KrbError, PrincipalName
from pki import asn1
from tests.kdc.builders import NOW, Kdc


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """Answer one datagram on a free port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)

        def answer() -> None:
            _, peer = sock.recvfrom(4096)
            sock.sendto(reply, peer)

        thread = Thread(target=answer)
        thread.start()
        yield sock.getsockname()[1]
        thread.join()


def error(realm: str) -> bytes:
    """A KRB-ERROR in a frame."""
    sname = PrincipalName(name_type=NameType.SRV_INST, name_string=("kadmin", "changepw"))
    refusal = KrbError(
        pvno=PVNO,
        msg_type=MessageType.KRB_ERROR,
        stime=NOW,
        susec=0,
        error_code=ErrorCode.KDC_ERR_BAD_PVNO,
        realm=realm,
        sname=sname,
    )
    return encode_frame(1, b"", asn1.encode(refusal))


@pytest.mark.parametrize(
    ("reply", "level", "words"),
    [
        (error("LAB.TEST"), Level.OK, "passwords are changed on"),
        (error("OTHER.TEST"), Level.FAIL, "is not this realm's kpasswd"),
        (b"hello", Level.FAIL, "is not this realm's kpasswd"),
        (encode_frame(1, b"", b"\x30\x00"), Level.FAIL, "is not this realm's kpasswd"),
    ],
    ids=["ours", "another realm", "nonsense", "no error"],
)
def test_what_answers_is_judged(reply: bytes, level: Level, words: str) -> None:
    """RFC 3244 2: an error comes as a frame without AP-REP, and names its realm."""
    with answering(reply) as port:
        found = kpasswd._ask("127.0.0.1", port, "udp", "LAB.TEST")
    assert found.level is level
    assert words in found.message


def test_closed_port_is_named() -> None:
    """Nobody there: what to start, or to turn off."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    found = kpasswd._ask("127.0.0.1", port, "tcp", "LAB.TEST")
    assert (found.level, "no answer" in found.message) == (Level.FAIL, True)


def test_server_answers_the_probe(kdc: Kdc) -> None:
    """What doctor sends is refused before anything in it is read."""
    outcome = kdc.ask(kpasswd.PROBE, service="kpasswd")
    assert (outcome.code, outcome.exchange) == (ErrorCode.KDC_ERR_BAD_PVNO, "kpasswd")
    with answering(outcome.reply or b"") as port:
        found = kpasswd._ask("127.0.0.1", port, "udp", "LAB.TEST")
    assert found.level is Level.OK
