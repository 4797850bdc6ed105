"""One question by HTTP, bounded in everything: addresses, time, octets, redirects.

Rules
  1. An address of `kdc.toml` may lead anywhere. One from a certificate or a redirect may not lead
     to this machine itself or the link's own addresses (loopback, link-local, multicast,
     unspecified, reserved), unless `fetch_networks` has them: whoever gets an address into a
     certificate must not make us ask services that trust this machine. Private networks are not
     excluded, for there CAs of enterprises live.
  2. The address that was judged is the one that is connected to: names are resolved once.
  3. No proxy, no cookies, no credentials, no compression; the first answer that is too large or too
     slow is dropped at that octet.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from kdc.server.revocation.addresses import usable
from kdc.server.revocation.question import Answer, FetchError, Question

MAX_REDIRECTS: Final = 3
CONNECT_S: Final = 10.0
SILENCE_S: Final = 15.0
"""How long a server may send nothing."""
_CHUNK: Final = 64 * 1024
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_MAX_HEADER: Final = 256
"""Longer ETags and dates are not kept."""
_NO_ADDRESS: Final = "the name leads to no address that may be asked; see fetch_networks"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def may_connect(address: str, allowed: Iterable[Network]) -> bool:
    """Tell whether an address from a certificate may lead to this IP address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if any(ip in network for network in allowed):
        return True
    if isinstance(ip, ipaddress.IPv4Address) and (ip.is_reserved or ip in _THIS_NETWORK):
        return False
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


class _GuardedResolver(AbstractResolver):
    """Resolves a name to the addresses that a certificate may name."""

    def __init__(self, allowed: tuple[Network, ...]) -> None:
        self._resolver = ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        good = [one for one in found if may_connect(one["host"], self._allowed)]
        if not good:
            raise OSError("the address is not allowed")
        return good

    async def close(self) -> None:
        await self._resolver.close()


class HttpClient:
    """Asks questions. Owner: the companion's loop."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        """networks: where addresses from certificates may lead besides (`fetch_networks`)."""
        self._allowed = tuple(ipaddress.ip_network(text) for text in networks)
        self._free = _session(ThreadedResolver())
        self._guarded = _session(_GuardedResolver(self._allowed))

    async def ask(self, question: Question) -> Answer:
        """Ask one question. Raises FetchError."""
        try:
            async with asyncio.timeout(question.within_s):
                return await self._follow(question)
        except TimeoutError:
            raise FetchError("no answer in time") from None
        except aiohttp.ClientConnectorDNSError:
            raise FetchError(_NO_ADDRESS) from None
        except aiohttp.ClientConnectorError:
            raise FetchError("no connection") from None
        except (aiohttp.ClientError, ValueError, OSError):
            raise FetchError("no HTTP, or the connection broke") from None

    async def _follow(self, question: Question) -> Answer:
        url, is_free = question.url, question.is_free
        for _ in range(MAX_REDIRECTS + 1):
            if not is_free:
                self._check_literal(url)
            found = await self._one(question, url, self._free if is_free else self._guarded)
            if isinstance(found, Answer):
                return found
            # Where a server sends us is not what the administrator wrote.
            url, is_free = urljoin(url, found), False
            if not usable((url,)):
                raise FetchError("a redirect to what is no address of plain HTTP")
        raise FetchError("too many redirects")

    async def _one(
        self, question: Question, url: str, session: aiohttp.ClientSession
    ) -> Answer | str:
        """Ask one server; return its answer, or where it sends us."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "keytrust"}
        body = None
        if question.post is not None:
            headers["Content-Type"], body = question.post
        if question.etag:
            headers["If-None-Match"] = question.etag
        if question.last_modified:
            headers["If-Modified-Since"] = question.last_modified
        method = "GET" if body is None else "POST"
        async with session.request(
            method, url, data=body, headers=headers, allow_redirects=False
        ) as response:
            if response.status in _REDIRECTS:
                return response.headers.get("Location", "")
            if response.status == 304 and (question.etag or question.last_modified):
                return Answer(body=None, etag=question.etag, last_modified=question.last_modified)
            if response.status != 200:
                raise FetchError(f"HTTP status {response.status}")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise FetchError("the answer is compressed")
            return Answer(
                body=await _read(response, question.max_bytes),
                etag=_kept(response.headers.get("ETag", "")),
                last_modified=_kept(response.headers.get("Last-Modified", "")),
            )

    def _check_literal(self, url: str) -> None:
        """Judge an address that is written as a number; names are judged when resolved."""
        host = urlsplit(url).hostname or ""
        try:
            allowed = may_connect(host, self._allowed)
        except ValueError:
            return
        if not allowed:
            raise FetchError(_NO_ADDRESS)

    async def close(self) -> None:
        """Close all connections."""
        await self._free.close()
        await self._guarded.close()


def _session(resolver: AbstractResolver) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # Who asks bounds how many questions there are at a time. Bounded here as well, a question
        # would spend its time waiting for others that get no answer.
        connector=aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, limit=0
        ),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    if (response.content_length or 0) > limit:
        raise FetchError("the answer is too large")
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise FetchError("the answer is too large")
    return bytes(body)


def _kept(header: str) -> str:
    return (
        header if len(header) <= _MAX_HEADER and header.isascii() and header.isprintable() else ""
    )
