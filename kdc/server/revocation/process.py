"""The companion `revocation`: fetches CRLs and OCSP responses of other CAs before they are needed.

Rules
  1. No logon ever waits for it. It writes files; the workers look at their times once a second.
  2. What it asks for comes from `crl_urls`, from the certificates of the CAs held and from logon
     certificates whose path to a logon CA a worker has found valid; never from a stranger.
  3. What it puts in place has been verified and is not older than what was there. What cannot be
     fetched leaves what there is, until it ends; `revocation` then says what happens.
  4. Its files are named `fetched-...`, or are the two of `StateFolder.fetched_*`: an
     administrator's are never touched.
"""

import asyncio
import logging
import os
import random
from collections import Counter, OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from kdc.config import ConfigError, KdcConfig
from kdc.server.certificates import CERTIFICATE_SUFFIXES, chain_profile, load_authorities
from kdc.server.companion import CompanionContext, Order
from kdc.server.leaves import next_leaf
from kdc.server.revocation import schedule
from kdc.server.revocation.addresses import (
    Kind,
    Wanted,
    issuer_id,
    of_authorities,
    of_certificate,
)
from kdc.server.revocation.fetch import PREFIX, Authorities, Fetched, Fetching, crl_file
from kdc.server.revocation.judge import UnwantedError
from kdc.server.revocation.question import Asker, FetchError
from kdc.server.revocation.sources import SourceTable
from kdc.server.revocation.status import FetchStatus, Source, encode_status, read_status
from kdc.server.revocation_files import Stamp, list_files, read_bundle, stamp_of
from kdc.server.whole_file import write_whole
from kdc.state_folder import StateFolder
from pki.ca import certificates_from_pem
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.ocsp_bundle import encode_bundle

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
AT_ONCE: Final[Mapping[Kind, int]] = {"crl": 2, "ocsp": 8}
"""Sources fetched at a time, each by one connection; a list may take 64 MiB of memory."""
AT_ONE_HOST: Final = 2
"""One that does not answer holds up nobody else's."""
LOOK_S: Final = 1.0
STATUS_S: Final = 0.5
STATUS_OF_MANY_S: Final = 10.0
"""How soon the status is written; of thousands of sources it is a megabyte."""
MANY: Final = 256
BUNDLE_S: Final = 1.0
BUNDLE_RENEWED_S: Final = 15.0
"""How soon OCSP responses are written. Those of thousands of certificates are megabytes, which each
worker reads, and one is renewed every second: what says the same as before waits for others."""
RETRY_S: Final = 10.0
"""After a disk that took nothing."""
NICENESS: Final = 5
"""Workers have the processor first."""
MAX_LEAVES_A_TICK: Final = 64
MAX_KNOWN: Final = 8192
"""Logon certificates that need not be looked at again for a while."""
LOOK_AGAIN: Final = timedelta(hours=6)


def run(context: CompanionContext) -> None:
    """Fetch until told to drain: the entry of the companion `revocation`."""
    os.nice(NICENESS)
    asyncio.run(_run(context))


async def _run(context: CompanionContext) -> None:
    fetcher = Fetcher(context)
    context.control.ready()
    try:
        await fetcher.run()
    finally:
        await fetcher.close()


class Fetcher:
    """What is fetched, what is under way, and what is written."""

    def __init__(self, context: CompanionContext) -> None:
        """Go on where the last run ended. Raises ConfigError."""
        self._control = context.control
        self._leaves = context.shared.leaves_read
        self._folder = StateFolder(context.state_dir)
        self._config = self._folder.load_config().config
        self._authorities = Authorities()
        self._own: frozenset[str] = frozenset()
        """`issuer_id` of the CAs whose revocation data is made here."""
        status = read_status(self._folder.fetched_status) or FetchStatus()
        self._results: Counter[str] = Counter(status.results)
        self._table = SourceTable(status.sources)
        self._fetching = Fetching(self._folder, _kept_responses(self._folder))
        self._known: OrderedDict[bytes, datetime] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        """How many of the tasks are of each kind and at each host."""
        self._asker: Asker | None = None
        self._files: tuple[tuple[str, Stamp | None], ...] | None = None
        self._complaints = schedule.Complaints()
        self._bundle_at: float | None = None
        self._status_at: float | None = None
        self._clean()

    def _clean(self) -> None:
        """Remove what a killed predecessor had begun to write."""
        for place in (self._folder.crls, self._folder.ocsp, self._folder.pki):
            for path in place.glob(".fetched*"):
                path.unlink(missing_ok=True)

    # -- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch what is due until told to drain."""
        loop = asyncio.get_running_loop()
        next_look = 0.0
        while True:
            order = self._control.next_order()
            if order is Order.DRAIN:
                return
            if order is Order.RELOAD:
                self._control.reloaded(await self._reload())
                next_look = 0.0
            if loop.time() >= next_look:
                next_look = loop.time() + LOOK_S
                self._look()
            self._listen()
            self._start_due()
            self._write(loop.time())
            await asyncio.sleep(TICK_S)

    async def close(self) -> None:
        """End what is under way, and keep what there is."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._write(None)
        if self._asker is not None:
            await self._asker.close()

    async def _reload(self) -> bool:
        try:
            config = self._folder.load_config().config
        except (ConfigError, OSError) as error:
            log.error("reload refused, the old configuration stays: %s", error)
            return False
        if config.fetch_networks != self._config.fetch_networks and self._asker is not None:
            asker, self._asker = self._asker, None
            await asker.close()
        self._config = config
        self._files = None
        return True

    # -- what is wanted ----------------------------------------------------------------------

    def _look(self) -> None:
        """Take changed CA files: what they name is wanted, what nobody names is not any more."""
        places = (self._folder.logon_cas, self._folder.trusted_roots)
        try:
            paths = [path for place in places for path in list_files(place, CERTIFICATE_SUFFIXES)]
            paths += [self._folder.root / name for name in self._config.logon_cas]
            paths.append(self._folder.issuer_certificate)
            files = tuple((str(path), stamp_of(path)) for path in paths)
            if files == self._files:
                return
            self._files = files
            self._authorities = _authorities(self._folder, self._config)
            self._own = _own_authorities(self._folder)
        except (ConfigError, OSError) as error:
            log.error("what is to be fetched stays as it was: %s", error)
            return
        now = datetime.now(UTC)
        self._table.want(self._fixed(), self._authorities.names(), now)
        for source in self._table:
            self._fetching.note_held(source)
        self._known.clear()
        self._forget_unwanted()
        self._note_status()

    def _fixed(self) -> list[Wanted]:
        """List what configuration and CA certificates name."""
        if not self._authorities.held or self._config.revocation == "off":
            return []
        return [
            *(Wanted(kind="crl", urls=(u,), origin="kdc.toml") for u in self._config.crl_urls),
            *filter(self._is_wanted, of_authorities(self._authorities.held, self._own)),
        ]

    def _is_wanted(self, one: Wanted) -> bool:
        """Tell whether something is not fetched already by an address of the configuration."""
        return one.kind == "ocsp" or not set(one.urls) & set(self._config.crl_urls)

    def _forget_unwanted(self) -> None:
        """Remove the files and responses of what is not wanted any more."""
        wanted = {crl_file(self._folder, source.key) for source in self._table}
        for path in list_files(self._folder.crls, (".crl",)):
            if path.name.startswith(PREFIX) and path not in wanted:
                path.unlink(missing_ok=True)
        certificates = {source.certificate for source in self._table}
        for digest in [d for d in self._fetching.responses if d.hex() not in certificates]:
            del self._fetching.responses[digest]
            self._note_bundle(BUNDLE_S)

    def _listen(self) -> None:
        """Take what workers tell of logon certificates."""
        now = datetime.now(UTC)
        for _ in range(MAX_LEAVES_A_TICK):
            leaf = next_leaf(self._leaves)
            if leaf is None:
                return
            digest = sha256(leaf).digest()
            known = self._known.get(digest)
            if self._config.revocation == "off" or (known and now - known < LOOK_AGAIN):
                continue
            self._known[digest] = now
            self._known.move_to_end(digest)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
            self._learn(leaf, now)

    def _learn(self, leaf: bytes, now: datetime) -> None:
        """Want what a logon certificate names. A worker has judged it; its signature is again."""
        try:
            certificate = Certificate(leaf)
            issuer = self._authorities.issuer_of_logon(certificate)
            if issuer is None or issuer_id(issuer) in self._own:
                return
            wanted = tuple(of_certificate(certificate, issuer, "logon certificate"))
        except PkiError:
            return
        for one in wanted:
            self._see(one, now)

    def _see(self, wanted: Wanted, now: datetime) -> None:
        if not self._is_wanted(wanted):
            return
        source = self._table.see(wanted, self._authorities.names(), now)
        if source is not None:
            source.next_at = None
            log.info("to be fetched from now on: %s", _told(source))
        self._note_status()

    # -- fetching ----------------------------------------------------------------------------

    def _start_due(self) -> None:
        if self._config.revocation == "off":
            return
        now = datetime.now(UTC)
        # Later than that only a clock that was set back, or a longer interval, can have said.
        latest = now + timedelta(seconds=self._config.fetch_interval_s)
        for source in self._table:
            if source.key in self._tasks or now < (source.next_at or now) <= latest:
                continue
            host = urlsplit(source.urls[0]).netloc
            if self._busy[source.kind] < AT_ONCE[source.kind] and self._busy[host] < AT_ONE_HOST:
                self._busy.update((source.kind, host))
                self._tasks[source.key] = asyncio.create_task(self._fetch(source, host))

    async def _fetch(self, source: Source, host: str) -> None:
        try:
            await self._attempt(source)
        except Exception:
            log.exception("bug: a fetch ended")
            self._failed(source, "a bug, see the log")
        finally:
            del self._tasks[source.key]
            self._busy.subtract((source.kind, host))
            self._busy = +self._busy  # without those that are 0
            if self._table.get(source.key) is not source:
                self._forget_unwanted()
            self._note_status()

    async def _attempt(self, source: Source) -> None:
        now = datetime.now(UTC)
        source.tried_at = now
        was_revoked, until = source.revoked, source.next_update or now
        try:
            found = await self._fetching.fetch(
                source, self._authorities, self._client(), self._config.crl_urls, now
            )
        except (FetchError, UnwantedError) as error:
            self._failed(source, str(error), refused=isinstance(error, UnwantedError))
            return
        except OSError as error:
            self._failed(source, f"cannot be written: {error.strerror}")
            return
        self._results[f"{source.kind} {found.result}"] += 1
        if self._complaints.settle(_complaint(source)):
            log.info("fetched again: %s", _told(source))
        source.failures, source.problem, source.fetched_at = 0, "", now
        interval = self._config.fetch_interval_s
        # Spread, not secret.
        chance = random.random()  # noqa: S311
        source.next_at = schedule.after_success(now, source.next_update, interval, chance)
        if source.kind == "ocsp" and found.result == "new":
            says_the_same = source.revoked == was_revoked
            held = until - now > 2 * timedelta(seconds=BUNDLE_RENEWED_S)
            self._note_bundle(BUNDLE_RENEWED_S if held and says_the_same else BUNDLE_S)
        self._follow(source, found, now)

    def _follow(self, source: Source, found: Fetched, now: datetime) -> None:
        """Want the delta CRLs of a list; and a newer list for a delta CRL that needs one."""
        for one in found.pointers:
            self._see(one, now)
        if found.base_number is None or found.result != "new":
            return
        for other in self._table:
            known = other.kind == "crl" and other.number and not other.delta
            same = other.issuer_name == source.issuer_name
            if known and same and int(other.number) < found.base_number:
                other.next_at = None

    def _failed(self, source: Source, problem: str, *, refused: bool = False) -> None:
        now = datetime.now(UTC)
        self._results[f"{source.kind} {'refused' if refused else 'failed'}"] += 1
        source.failures += 1
        source.problem = problem
        chance = random.random()  # noqa: S311
        interval = self._config.fetch_interval_s
        source.next_at = schedule.after_failure(now, source.failures, interval, chance)
        if not self._complaints.due(_complaint(source), asyncio.get_running_loop().time()):
            return
        condition = source.condition(now)
        what = {
            "stale": "alarm: what there was has ended",
            "missing": "there is none",
        }.get(condition, "the last one is used until it ends")
        log.log(
            logging.WARNING if condition == "failing" else logging.ERROR,
            "cannot be fetched: %s: %s; %s",
            _told(source),
            problem,
            what,
        )

    def _client(self) -> Asker:
        if self._asker is None:
            # Here: while there is nothing to fetch, this process is as small as a fork can be.
            from kdc.server.revocation.http_client import HttpClient

            self._asker = HttpClient(self._config.fetch_networks)
        return self._asker

    # -- writing -----------------------------------------------------------------------------

    def _note_bundle(self, within_s: float) -> None:
        at = asyncio.get_running_loop().time() + within_s
        self._bundle_at = at if self._bundle_at is None else min(at, self._bundle_at)

    def _note_status(self) -> None:
        if self._status_at is None:
            pause = STATUS_S if len(self._table) < MANY else STATUS_OF_MANY_S
            self._status_at = asyncio.get_running_loop().time() + pause

    def _write(self, moment: float | None) -> None:
        """Write what is due; moment None: all that has changed."""
        try:
            if self._bundle_at is not None and (moment is None or moment >= self._bundle_at):
                self._folder.ocsp.mkdir(parents=True, exist_ok=True)
                data = encode_bundle(self._fetching.responses)
                write_whole(self._folder.fetched_responses, data, mode=0o644)
                self._bundle_at = None
            if self._status_at is not None and (moment is None or moment >= self._status_at):
                data = encode_status(self._table, dict(self._results), datetime.now(UTC))
                write_whole(self._folder.fetched_status, data, mode=0o644)
                self._status_at = None
        except OSError as error:
            log.error("cannot write what was fetched: %s", error.strerror)
            retry = asyncio.get_running_loop().time() + RETRY_S
            self._bundle_at = None if self._bundle_at is None else retry
            self._status_at = None if self._status_at is None else retry


def _kept_responses(folder: StateFolder) -> dict[bytes, bytes]:
    """Read the OCSP responses of the last run; none when they cannot be read."""
    try:
        return read_bundle(folder.fetched_responses).items()
    except PkiError:
        return {}


def _authorities(folder: StateFolder, config: KdcConfig) -> Authorities:
    """Load the CAs held. Raises ConfigError."""
    pool, logon = load_authorities(folder, config)
    return Authorities(
        held=(*pool.anchors, *pool.intermediates),
        logon_cas=logon,
        profile=chain_profile(config),
    )


def _own_authorities(folder: StateFolder) -> frozenset[str]:
    """Return `issuer_id` of the realm's own CA: its list is in the state folder already."""
    try:
        pem = folder.issuer_certificate.read_bytes()
        return frozenset((issuer_id(Certificate(certificates_from_pem(pem)[0])),))
    except (OSError, PkiError, IndexError):
        return frozenset()


def _complaint(source: Source) -> str:
    """Return what is complained of once an hour: a list, or all that a responder is asked."""
    return source.key if source.kind == "crl" else urlsplit(source.urls[0]).netloc


def _told(source: Source) -> str:
    """Name a source for the log. Addresses are printable ASCII without blanks."""
    what = f"OCSP of {source.serial_number}" if source.kind == "ocsp" else "CRL"
    return f"{what}, {source.urls[0]}"
