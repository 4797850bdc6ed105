"""The HTTP process: what it serves, where, and how it starts, reloads and ends.

It is a companion (`kdc.server.companion`) with one event loop. It holds the keys of HTTPS and of
the OCSP responder and no other secret: neither the realm's master key nor a KDC's key is ever read
here.
"""

import asyncio
import ipaddress
import json
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from directory.backend import DirectoryError
from kdc.config import ConfigError
from kdc.server.companion import CompanionContext, Order
from kdc.server.http.health import Health
from kdc.server.http.kkdcp import KkdcpService
from kdc.server.http.listener import (
    MAX_CONNECTIONS,
    SERVER_NAME,
    Answer,
    Connections,
    Listener,
    text_response,
)
from kdc.server.http.metrics import KdcCollector
from kdc.server.http.ocsp import PATH as OCSP_PATH
from kdc.server.http.ocsp import OcspService
from kdc.server.http.pki import pki_routes
from kdc.server.http.relay_client import RelayClient
from kdc.server.http.tls import tls_context
from kdc.server.worker import allowed_connections, audit_path
from kdc.state_folder import StateFolder
from pki.errors import PkiError

log = logging.getLogger(__name__)

CHECK_S: Final = 3.0
"""How long the checks behind a probe may take: a disk that does not answer is a failed check."""


def run(context: CompanionContext) -> None:
    """Serve HTTP until told to drain: the entry of the companion `http`."""
    uvloop.run(_serve(context))


async def _serve(context: CompanionContext) -> None:
    process = HttpProcess(context, asyncio.get_running_loop())
    context.control.ready()
    await process.drained.wait()
    await process.close()


class HttpProcess:
    """The listeners and what they answer."""

    def __init__(self, context: CompanionContext, loop: asyncio.AbstractEventLoop) -> None:
        """Start to serve. Raises ConfigError, DirectoryError, PkiError and OSError."""
        self._loop = loop
        self._control = context.control
        self._shared = context.shared
        self._folder = StateFolder(context.state_dir)
        self._config = self._folder.load_config().config
        self._counters = context.shared.counters.for_http()
        self._counters.begin()
        self.drained = asyncio.Event()
        """Set when the supervisor wants us to end."""
        self._relay = RelayClient(loop, context.shared.relay_http)
        self._health = Health(self._folder, audit_path(context.settings), context.shared)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(KdcCollector(self._folder, lambda: self._config, context.shared))
        limits = context.settings.tcp
        self._sources = context.shared.sources.for_worker(
            context.shared.workers,
            limit=limits.max_connections_per_source,
            exempt=limits.exempt_sources,
        )
        is_proxy = proxy_test(self._config.kkdcp_trusted_proxies)
        kkdcp = KkdcpService(self._relay, self._sources, self._config, is_proxy=is_proxy)
        ocsp = OcspService(self._folder, lambda: self._config)
        self._tables = {
            "http": self._connections("http", route(self.http_routes(), ocsp.answer), is_proxy),
            "kkdcp": self._connections("kkdcp", kkdcp.answer, is_proxy),
        }
        if context.sockets.get("kkdcp"):
            self._tables["kkdcp"].context = tls_context(self._folder, self._config)
        self._listeners = [
            Listener(sock, self._tables[use])
            for use, sockets in context.sockets.items()
            for sock in sockets
        ]
        loop.add_reader(context.control.fileno(), self._on_order)

    def http_routes(self) -> Mapping[str, Answer]:
        """Return path -> answer of the plain listeners. What is to be fetched by HTTP goes here."""
        return {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            **pki_routes(self._folder),
        }

    def _connections(
        self, listener: str, answer: Answer, is_proxy: Callable[[str], bool]
    ) -> Connections:
        return Connections(
            self._loop,
            listener,
            guarded(answer, self._counters_of_bugs),
            self._counters,
            self._sources,
            is_proxy=is_proxy,
            max_connections=allowed_connections(MAX_CONNECTIONS, tables=2),
        )

    def _counters_of_bugs(self) -> None:
        self._counters.internal_errors += 1

    async def _livez(self, request: web.BaseRequest) -> web.Response:
        """Say that this process runs; its supervisor does too, or it would end."""
        return text_response(200, "ok")

    async def _readyz(self, request: web.BaseRequest) -> web.Response:
        """Say whether logons can be served now, each check by name."""
        try:
            async with asyncio.timeout(CHECK_S):
                checks = await asyncio.to_thread(self._health.checks)
            found = {check.name: {"ok": check.ok, "detail": check.detail} for check in checks}
            ready = all(check.ok for check in checks)
        except TimeoutError:
            found = {"disk": {"ok": False, "detail": "the checks do not come to an end"}}
            ready = False
        return web.Response(
            status=200 if ready else 503,
            text=json.dumps({"ready": ready, "checks": found}) + "\n",
            content_type="application/json",
            headers={"Server": SERVER_NAME, "Cache-Control": "no-store"},
        )

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        """Give out everything that is counted, in Prometheus' text format."""
        text = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(
            body=text,
            headers={"Server": SERVER_NAME, "Content-Type": CONTENT_TYPE_PLAIN_0_0_4},
        )

    def _on_order(self) -> None:
        order = self._control.next_order()
        if order is Order.RELOAD:
            self._control.reloaded(self._reload())
        elif order is Order.DRAIN:
            self._loop.remove_reader(self._control.fileno())
            self.drained.set()

    def _reload(self) -> bool:
        """Read configuration and certificate again; keep the old ones when they are bad."""
        kkdcp = self._tables["kkdcp"]
        try:
            config = self._folder.load_config().config
            if kkdcp.context is not None:
                kkdcp.context = tls_context(self._folder, config)
        except (ConfigError, DirectoryError, PkiError, OSError) as error:
            log.error("reload refused, the old configuration stays: %s", error)
            return False
        old, self._config = self._config, config
        waiting = [name for name in BOUND_TO_START if getattr(config, name) != getattr(old, name)]
        if waiting:
            log.warning("changed, but waits for a restart: %s", ", ".join(waiting))
        return True

    async def close(self) -> None:
        """Finish what is begun and end."""
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(*(table.drain() for table in self._tables.values()))
        self._relay.close()


BOUND_TO_START: Final = ("http_listen", "kkdcp_listen", "kkdcp_trusted_proxies")
"""What a reload does not change here."""


def route(routes: Mapping[str, Answer], ocsp: Answer) -> Answer:
    """Return what answers GET and HEAD of these paths, and OCSP requests; nothing else."""

    async def answer(request: web.BaseRequest) -> web.Response:
        path = request.raw_path.partition("?")[0]
        if path == OCSP_PATH or path.startswith(f"{OCSP_PATH}/"):
            return await ocsp(request)
        found = routes.get(path)
        if found is None:
            return text_response(404, "nothing is here; try " + ", ".join(routes))
        if request.method not in ("GET", "HEAD"):
            return text_response(405, "this is only read", {"Allow": "GET, HEAD"})
        return await found(request)

    return answer


def guarded(answer: Answer, count_bug: Callable[[], None]) -> Answer:
    """Return the same answer, with 500 and a line in the log for a bug."""

    async def safe(request: web.BaseRequest) -> web.Response:
        try:
            return await answer(request)
        except ConnectionError:
            raise  # The client went away.
        except Exception as error:  # noqa: BLE001  the last line of defence of this process
            count_bug()
            # The place, not the text: the text of an exception may quote what a client sent.
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = "?" if where is None else f"{where.tb_frame.f_code.co_name}:{where.tb_lineno}"
            log.error("bug: %s escaped the answer over HTTP at %s", type(error).__name__, place)
            return text_response(500, "internal error")

    return safe


def proxy_test(networks: tuple[str, ...]) -> Callable[[str], bool]:
    """Return what tells whether an address is of one of these networks."""
    parsed = tuple(ipaddress.ip_network(text, strict=False) for text in networks)

    @lru_cache(maxsize=1024)
    def is_proxy(address: str) -> bool:
        found = ipaddress.ip_address(address)
        return any(found in network for network in parsed)

    return is_proxy
