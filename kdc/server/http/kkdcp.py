"""Kerberos over HTTPS (MS-KKDCP): POST /KdcProxy.

Rules.
1. What is wrong with the HTTP request has its own status; what is wrong with the Kerberos message
   inside is a KRB-ERROR in a 200, as over TCP. The specification names no statuses; these are
   HTTP's own, and 503 for another realm is what the open implementation (kdcproxy) answers.
2. Only requests to a KDC are passed on: AS-REQ, TGS-REQ, and where passwords can be changed the
   frames of kpasswd. Nothing else of this server, and nothing of any other, can be reached so.
3. The client is the peer of the connection. Only when that is one of `kkdcp.trusted_proxies` is
   X-Forwarded-For read, from its right end to the first address that is no trusted proxy.
4. DEVIATION: MS-KKDCP 3.2.5.1 wants a message without target-domain refused: we serve one realm, so
   we take it, as kdcproxy does.
"""

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from kdc.config import KdcConfig
from kdc.outcome import Peer, Service
from kdc.server.framing import LENGTH_OCTETS, frame
from kdc.server.http.listener import SERVER_NAME, text_response
from kdc.server.http.relay_client import NoAnswerError, RelayClient
from kdc.server.sockets import REQUEST_TAGS, peer_address
from kdc.server.sources import SourceCounts
from kdc.wire.ms_kkdcp import KdcProxyMessage
from kdc.wire.rfc3244 import CHANGE_PASSWORD, SET_PASSWORD
from pki import asn1
from pki.errors import PkiError

PATH: Final = "/kdcproxy"
"""In lower case: Windows' server does not tell cases apart."""

CONTENT_TYPE: Final = "application/kerberos"

MAX_BODY_BYTES: Final = 64 * 1024
"""The largest request known, PKINIT with a long chain or a TGT with a large PAC, stays under it."""

MAX_FORWARDED: Final = 16
"""Addresses in X-Forwarded-For; a longer chain of proxies is none."""

_KPASSWD_HEAD: Final = struct.Struct(">HH")


@dataclass(slots=True)
class RefusedError(Exception):
    """The HTTP answer to a request that is not passed on: a status and one fixed phrase."""

    status: int
    why: str
    headers: tuple[tuple[str, str], ...] = ()


def open_message(body: bytes, realm: str, *, kpasswd: bool) -> tuple[bytes, Service]:
    """Return the Kerberos message in a KDC-PROXY-MESSAGE, without its length, and whom it is for.

    kpasswd: whether passwords can be changed here.

    Raises RefusedError: 400 for what is malformed or no request to a KDC, 503 for another realm.
    Source: MS-KKDCP 2.2.2, 3.2.5.1.
    """
    try:
        message = asn1.decode(KdcProxyMessage, body)
    except PkiError:
        raise RefusedError(400, "the body is no KDC-PROXY-MESSAGE in DER") from None
    framed = message.kerb_message
    if int.from_bytes(framed[:LENGTH_OCTETS], "big") != len(framed) - LENGTH_OCTETS:
        raise RefusedError(400, "kerb-message has a wrong length in front")
    request = framed[LENGTH_OCTETS:]
    service: Service = "kpasswd" if kpasswd and is_kpasswd_frame(request) else "kdc"
    if service == "kdc" and request[:1] not in REQUEST_TAGS:
        raise RefusedError(400, "kerb-message is no request to a KDC")
    domain = message.target_domain
    if domain is not None and domain.upper() != realm:
        raise RefusedError(503, "this is not a KDC of the target domain")
    return request, service


def is_kpasswd_frame(message: bytes) -> bool:
    """Tell whether a message is a kpasswd request: its own length and a version in front."""
    if len(message) < _KPASSWD_HEAD.size:
        return False
    length, version = _KPASSWD_HEAD.unpack_from(message)
    return length == len(message) and version in (CHANGE_PASSWORD, SET_PASSWORD)


def client_address(peer: str, forwarded: list[str], is_proxy: Callable[[str], bool]) -> str:
    """Return the client's address in text form.

    peer: of the connection. forwarded: the values of X-Forwarded-For, in their order.
    Raises RefusedError (400) when a trusted proxy sends what is no list of addresses.
    """
    if not forwarded or not is_proxy(peer):
        return peer
    chain = ",".join(forwarded).split(",")
    if len(chain) > MAX_FORWARDED:
        raise RefusedError(400, "X-Forwarded-For is too long")
    address = peer
    for text in reversed(chain):
        try:
            found = ipaddress.ip_address(text.strip())
        except ValueError:
            raise RefusedError(400, "X-Forwarded-For is no list of addresses") from None
        if isinstance(found, ipaddress.IPv6Address):
            found = found.ipv4_mapped or ipaddress.IPv6Address(int(found))  # without a zone
        address = str(found)
        if not is_proxy(address):
            break
    return address


class KkdcpService:
    """Answers what comes to the listeners of KKDCP."""

    def __init__(
        self,
        relay: RelayClient,
        sources: SourceCounts,
        config: KdcConfig,
        *,
        is_proxy: Callable[[str], bool],
    ) -> None:
        self._relay = relay
        self._sources = sources
        self._realm = config.realm
        self._kpasswd = bool(config.kpasswd_addresses())
        self._is_proxy = is_proxy

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request with the KDC's reply, or with the status of what is wrong."""
        try:
            reply = await self._proxied(request)
        except RefusedError as refused:
            response = text_response(refused.status, refused.why, dict(refused.headers))
            if not request.can_read_body or request.content.is_eof():
                return response
            # Its body is not read: what follows on this connection could be taken for a request.
            response.force_close()
            return response
        body = asn1.encode(KdcProxyMessage(kerb_message=frame(reply)))
        return web.Response(
            body=body,
            content_type=CONTENT_TYPE,
            headers={"Server": SERVER_NAME, "Cache-Control": "no-store"},
        )

    async def _proxied(self, request: web.BaseRequest) -> bytes:
        check_head(request)
        peer, port = _peer(request)
        forwarded = request.headers.getall("X-Forwarded-For", [])
        address = client_address(peer, forwarded, self._is_proxy)
        by_proxy = self._is_proxy(peer)
        if by_proxy and not self._sources.take(address):
            raise RefusedError(429, "too many requests of this client", (("Retry-After", "1"),))
        try:
            body = await _body(request)
            message, service = open_message(body, self._realm, kpasswd=self._kpasswd)
            # Behind a proxy the client's port is not known.
            client = Peer(
                address=address,
                port=0 if by_proxy else port,
                transport="kkdcp",
                service=service,
            )
            reply = await self._relay.ask(message, client)
        except NoAnswerError:
            raise RefusedError(503, "no worker answers", (("Retry-After", "1"),)) from None
        finally:
            if by_proxy:
                self._sources.give_back(address)
        if not reply:
            raise RefusedError(400, "the KDC does not answer this message")
        return reply


def check_head(request: web.BaseRequest) -> None:
    """Check everything in front of the body. Raises RefusedError."""
    if request.raw_path.lower() != PATH:
        raise RefusedError(404, "nothing is here; Kerberos is at /KdcProxy")
    if request.method != "POST":
        raise RefusedError(405, "Kerberos messages are posted", (("Allow", "POST"),))
    # A body without its length in front gives proxies and servers something to disagree about.
    if "Transfer-Encoding" in request.headers or request.content_length is None:
        raise RefusedError(411, "a Content-Length is required")
    if request.content_length > MAX_BODY_BYTES:
        raise RefusedError(413, f"the body is larger than {MAX_BODY_BYTES} octets")
    if request.content_type.lower() != CONTENT_TYPE or "Content-Encoding" in request.headers:
        raise RefusedError(415, f"the body must be {CONTENT_TYPE}, not encoded")


def _peer(request: web.BaseRequest) -> tuple[str, int]:
    transport = request.transport
    sockaddr = transport.get_extra_info("peername") if transport is not None else None
    if not sockaddr:
        raise RefusedError(400, "the client is gone")
    return peer_address(sockaddr), int(sockaddr[1])


async def _body(request: web.BaseRequest) -> bytes:
    """Read the body, which `check_head` has bounded; the connection's deadline bounds the time."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, f"the body is larger than {MAX_BODY_BYTES} octets")
    return bytes(body)
