"""The follower: the process that keeps the store of a realm in LDAP in step with its directory.

Three threads, each with a store and a connection of its own. One follows the changes. One answers
what requests ask. The main one serves the workers' socket and obeys the supervisor; it never waits
for the directory.
"""

import contextlib
import logging
import os
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from directory.ldap.board import StatusBoard
from directory.ldap.fetch import Fetcher
from directory.ldap.follow import Between, Follower
from directory.ldap.keys import KeyFeed
from directory.ldap.questions import (
    ASK_TIMEOUT_S,
    MAX_LINE_BYTES,
    MAX_QUESTIONS,
    SOCKET_NAME,
    STATUS_NAME,
    Question,
    Reply,
    Request,
    Told,
    socket_address,
)
from directory.ldap.session import SaslFactory
from directory.ldap.status import StatusFile
from directory.sealing import MasterKey
from directory.store import Store
from kdc.config import ConfigError, KdcConfig
from kdc.server.companion import CompanionContext, Order
from kdc.server.directory_link import make_servers, make_writer
from kdc.server.key_source import open_key_source
from kdc.state_folder import StateFolder

log = logging.getLogger(__name__)

MAX_QUEUED: Final = 4096
MAX_CLIENTS: Final = 1024
STOP_S: Final = 4.0
"""How long the threads may take to end; what they do is transactions, so nothing is lost."""

_REQUEST = msgspec.json.Decoder(Request)
_ENCODER = msgspec.json.Encoder()


SaslOf = Callable[[KdcConfig, Path], SaslFactory | None]
"""(configuration, state folder) -> what makes a SASL mechanism for a server."""


def run_follower(context: CompanionContext, sasl_of: SaslOf) -> None:
    """Run until told to drain; a reload begins anew with the configuration of that moment."""
    order = Order.RELOAD
    folder = StateFolder(context.state_dir)
    config = folder.load_config().config
    while order is not Order.DRAIN:
        node = _Node(folder, config, sasl_of(config, folder.root))
        node.start()
        try:
            if not context.control.is_ready:
                context.control.ready()
            else:
                context.control.reloaded(True)
            order, config = _serve_until_changed(context, node, folder, config)
        finally:
            node.stop()


def _serve_until_changed(
    context: CompanionContext, node: "_Node", folder: StateFolder, config: KdcConfig
) -> tuple[Order, KdcConfig]:
    while True:
        if node.serve(context) is Order.DRAIN:
            return Order.DRAIN, config
        try:
            new = folder.load_config().config
        except (ConfigError, OSError) as error:
            log.error("reload refused, the old configuration stays: %s", error)
            context.control.reloaded(False)
            continue
        return Order.RELOAD, new


@dataclass(slots=True)
class _Item:
    """A question on its way to the thread that asks."""

    client: "_Client"
    number: int
    questions: tuple[Question, ...]
    arrived_at: float


@dataclass(slots=True, eq=False)
class _Client:
    """A worker's connection."""

    sock: socket.socket
    buffer: bytes = b""
    open: bool = True


class _Node:
    """The threads, the socket and the status of one run."""

    def __init__(self, folder: StateFolder, config: KdcConfig, sasl: SaslFactory | None) -> None:
        """Open everything. Raises DirectoryError, OSError."""
        self._sasl = sasl
        self._folder = folder
        self._config = config
        self._trusted = tuple(Path(p) for p in config.trusted_secret_paths)
        self._stopping = threading.Event()
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[_Item, Told]] = queue.SimpleQueue()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._fetches = 0
        # Judged here, so that what is wrong with the configuration stops the start.
        with contextlib.closing(self._open_store()) as store:
            make_servers(config, store, folder.root)
        self._feed = KeyFeed(open_key_source(config, folder, self._master_key(), sasl))
        self._status = StatusFile(folder.root / STATUS_NAME, write=True)
        self._listener = _listen(folder.root)
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (("follow", self._follow), ("fetch", self._fetch))
        ]
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()

    def _master_key(self) -> MasterKey:
        return MasterKey.load(self._folder.master_key, trusted_paths=self._trusted)

    def _open_store(self) -> Store:
        return Store.open(
            self._folder.store,
            self._master_key(),
            check_keyid=self._config.keycredential_check_keyid,
        )

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads and close everything."""
        self._stopping.set()
        self._queue.put(None)
        end = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        for client in list(self._clients.values()):
            self._drop(client)
        self._listener.close()
        self._selector.close()
        self._wake_read.close()
        self._feed.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # Without a thread this process is half a follower: the supervisor starts it again.
            log.exception("bug: a thread of the follower ended")
            os._exit(1)

    # -- threads -----------------------------------------------------------------------------

    def _follow(self) -> None:
        with contextlib.closing(self._open_store()) as store:
            writer = make_writer(store, self._config, self._feed)
            board = StatusBoard(self._status, os.getpid())
            servers = make_servers(self._config, store, self._folder.root, self._sasl)

            def tick() -> None:
                board.fetched(self._fetches)
                if self._feed.changed() and self._feed.load():
                    log.info("directory: keys were read again, %d accounts", writer.set_keys())
                    self._feed.follow()

            if self._feed.load():
                writer.set_keys()
            # A resumed store is not loaded: changes begin at once and bring their own keys.
            self._feed.follow()
            between = Between(
                stop=self._stopping.is_set,
                tick=tick,
                poll_interval_s=float(self._config.directory_poll_interval_s),
                compare_interval_s=float(self._config.directory_compare_interval_s),
                loaded=self._feed.follow,
            )
            Follower(servers, writer, board, between).run()

    def _fetch(self) -> None:
        with contextlib.closing(self._open_store()) as store:
            fetcher = Fetcher(
                make_servers(self._config, store, self._folder.root, self._sasl),
                make_writer(store, self._config, self._feed),
                rate=self._config.directory_miss_rate,
                always=self._config.consistency == "read_through",
            )
            with contextlib.closing(fetcher):
                while (item := self._queue.get()) is not None:
                    if time.monotonic() - item.arrived_at > ASK_TIMEOUT_S:
                        continue  # whoever asked has gone
                    told = fetcher.cached(item.questions)
                    if told is None:
                        told = fetcher.answer(item.questions)
                        self._fetches = fetcher.fetches
                    self._done.put((item, told))
                    with contextlib.suppress(OSError):
                        self._wake_write.send(b"!")

    # -- the workers' socket -----------------------------------------------------------------

    def serve(self, context: CompanionContext) -> Order:
        """Serve the workers until the supervisor gives an order; return it."""
        if not self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
            self._selector.register(self._wake_read, selectors.EVENT_READ, self._answer)
            self._selector.register(context.control, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    order = context.control.next_order()
                    if order is not None:
                        return order
                elif isinstance(key.data, _Client):
                    self._read(key.data)
                else:
                    key.data()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._clients) >= MAX_CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        client = _Client(sock)
        self._clients[sock.fileno()] = client
        self._selector.register(sock, selectors.EVENT_READ, client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.sock.recv(MAX_LINE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        *lines, client.buffer = (client.buffer + data).split(b"\n")
        if not data or len(client.buffer) > MAX_LINE_BYTES:
            self._drop(client)
            return
        for line in lines:
            try:
                request = _REQUEST.decode(line)
            except msgspec.DecodeError:
                self._drop(client)
                return
            item = _Item(client, request.id, tuple(request.ask[:MAX_QUESTIONS]), time.monotonic())
            if self._queue.qsize() >= MAX_QUEUED:
                self._send(item, Told.AWAY)
            else:
                self._queue.put(item)

    def _answer(self) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self._wake_read.recv(4096)
        while True:
            try:
                item, told = self._done.get_nowait()
            except queue.Empty:
                return
            self._send(item, told)

    def _send(self, item: _Item, told: Told) -> None:
        client = item.client
        if not client.open:
            return
        line = _ENCODER.encode(Reply(id=item.number, told=told.value)) + b"\n"
        try:
            sent = client.sock.send(line)
        except OSError:
            sent = -1
        if sent != len(line):
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        if client.open:
            client.open = False
            self._clients.pop(client.sock.fileno(), None)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(client.sock)
            client.sock.close()


def _listen(folder: Path) -> socket.socket:
    """Make the workers' socket, mode 0600. Raises OSError."""
    (folder / SOCKET_NAME).unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(socket_address(descriptor))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
        os.close(descriptor)
    listener.setblocking(False)
    return listener
