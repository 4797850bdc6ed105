"""CONNECT: our names become our HTTPS, every other is refused, and nothing is dialled."""

import pytest

from tenant.server.connect import MAX_HEAD_BYTES, ConnectError, judge_connect, refusal

NAMES = frozenset({"login.microsoftonline.com"})


def _head(line: str, *headers: str) -> bytes:
    return "\r\n".join((line, *headers, "", "")).encode()


def test_one_of_our_names_is_taken_in_any_case() -> None:
    """RFC 9110 9.3.6: host and port are the whole target."""
    head = _head("CONNECT Login.MicrosoftOnline.com:443 HTTP/1.1", "Host: whatever")
    assert judge_connect(head, NAMES) == "login.microsoftonline.com"


@pytest.mark.parametrize(
    ("line", "status", "why"),
    [
        ("CONNECT graph.microsoft.com:443 HTTP/1.1", 403, "the lab tenant is no way to this host"),
        ("CONNECT login.microsoftonline.com:22 HTTP/1.1", 403, "the lab tenant is no way"),
        ("CONNECT 127.0.0.1:88 HTTP/1.1", 403, "the lab tenant is no way to this host"),
        ("CONNECT login.microsoftonline.com HTTP/1.1", 400, "the target is no host name"),
        ("CONNECT [::1]:443 HTTP/1.1", 400, "the target is no host name"),
        ("GET http://login.microsoftonline.com/ HTTP/1.1", 405, "only CONNECT is taken here"),
        ("\x16\x03\x01", 400, "this is no HTTP request"),
        ("CONNECT login.microsoftonline.com:443", 400, "this is no HTTP request"),
        ("", 400, "this is no HTTP request"),
    ],
)
def test_anything_else_is_refused_by_a_status(line: str, status: int, why: str) -> None:
    """A proxy to anywhere would be a way out of the lab."""
    with pytest.raises(ConnectError) as caught:
        judge_connect(_head(line), NAMES)
    assert caught.value.status == status
    assert caught.value.why.startswith(why)
    assert refusal(caught.value).startswith(f"HTTP/1.1 {status} ".encode())


def test_data_behind_the_request_is_refused() -> None:
    """Whoever does not wait for the answer does not know whom it speaks to."""
    head = _head("CONNECT login.microsoftonline.com:443 HTTP/1.1") + b"\x16\x03\x01"
    with pytest.raises(ConnectError) as caught:
        judge_connect(head, NAMES)
    assert (caught.value.status, caught.value.why) == (400, "there is data behind the request")


def test_the_bound_leaves_room_for_real_clients() -> None:
    """Requests sends some 100 octets."""
    assert MAX_HEAD_BYTES >= 4096
