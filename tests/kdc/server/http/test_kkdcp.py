"""What a body and the headers of proxies may say, without a socket (MS-KKDCP 2.2.2)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kdc.outcome import Peer
from kdc.server.http.kkdcp import RefusedError, client_address, open_message
from kdc.server.relay import decode_request, encode_request
from kdc.wire.ms_kkdcp import KdcProxyMessage
from kdc.wire.rfc3244 import SET_PASSWORD
from pki import asn1
from tests.kdc.builders import as_req
from tests.rig.http import wrap

MESSAGE = as_req()
CHANGE = b"\x00\x0a\x00\x01\x00\x00abcd"
PROXIES = frozenset(("192.0.2.1", "192.0.2.2"))


def is_proxy(address: str) -> bool:
    return address in PROXIES


@given(st.binary(max_size=300))
@example(wrap(MESSAGE))
@example(wrap(CHANGE))
def test_any_body_is_opened_or_refused(body: bytes) -> None:
    """Never another exception, and never anything but a request to a KDC."""
    try:
        message, service = open_message(body, "LAB.TEST", kpasswd=True)
    except RefusedError as refused:
        assert refused.status in (400, 503)
    else:
        assert message[:1] in (b"\x6a", b"\x6c") or service == "kpasswd"


@given(st.binary(max_size=200), st.none() | st.text(max_size=20), st.none() | st.integers(0, 9))
def test_any_message_inside_is_opened_or_refused(
    inner: bytes, domain: str | None, hint: int | None
) -> None:
    """The envelope is right, what is in it is anything."""
    body = asn1.encode(
        KdcProxyMessage(kerb_message=inner, target_domain=domain, dclocator_hint=hint)
    )
    with pytest.raises(RefusedError):
        open_message(body, "LAB.TEST", kpasswd=True)


@pytest.mark.parametrize("version", [1, SET_PASSWORD])
def test_kpasswd_is_for_kpasswd(version: int) -> None:
    """RFC 3244 2: told by its own length and its version."""
    frame = b"\x00\x0a" + version.to_bytes(2, "big") + b"\x00\x00abcd"
    assert open_message(wrap(frame), "LAB.TEST", kpasswd=True) == (frame, "kpasswd")


def test_kpasswd_is_refused_where_passwords_are_not_changed() -> None:
    """kpasswd_listen = []: what is off by UDP and TCP is off here."""
    with pytest.raises(RefusedError) as caught:
        open_message(wrap(CHANGE), "LAB.TEST", kpasswd=False)
    assert (caught.value.status, caught.value.why) == (400, "kerb-message is no request to a KDC")


def test_as_req_is_for_the_kdc() -> None:
    """Its length is taken off."""
    assert open_message(wrap(MESSAGE), "LAB.TEST", kpasswd=True) == (MESSAGE, "kdc")


@given(st.lists(st.text(max_size=40), max_size=4))
@example(["::1%eth0"])
@example(["192.0.2.2, fe80::1%x, 203.0.113.1"])
def test_any_forwarded_header_gives_an_address_or_400(forwarded: list[str]) -> None:
    """What comes out is an address without a zone, as limits and audit records need it."""
    try:
        address = client_address("192.0.2.1", forwarded, is_proxy)
    except RefusedError as refused:
        assert refused.status == 400
    else:
        assert "%" not in address
        assert client_address(address, [], is_proxy) == address


def test_strangers_header_is_not_read() -> None:
    """However wrong it is."""
    assert client_address("203.0.113.1", ["nonsense"], is_proxy) == "203.0.113.1"


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("service", ["kdc", "kpasswd"])
def test_relayed_request_arrives_as_it_was_sent(address: str, service: str) -> None:
    """Name, client, deadline and message."""
    peer = Peer(
        address=address,
        port=50123,
        transport="kkdcp",
        service="kpasswd" if service == "kpasswd" else "kdc",
    )
    packet = encode_request(bytes(16), MESSAGE, peer=peer, deadline_ns=7)
    assert decode_request(packet) == (bytes(16), peer, 7, MESSAGE)
