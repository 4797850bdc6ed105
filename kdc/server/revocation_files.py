"""CRLs and OCSP responses from the files of the state folder, each file read once for each change.

A list of a hundred thousand entries takes a fifth of a second to read. What has not changed is
taken from memory; what has, and is large, can be read ahead in a thread (`unread_bytes`,
`read_ahead`), while requests are answered from what there was.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kdc.config import ConfigError
from kdc.state_folder import StateFolder
from pki.crl import MAX_CRL_BYTES, Crl
from pki.errors import PkiError
from pki.ocsp import MAX_OCSP_BYTES, OcspResponse
from pki.ocsp_bundle import MAX_BUNDLE_BYTES, OcspBundle
from pki.pem import from_pem

log = logging.getLogger(__name__)

MAX_FILES: Final = 1024  # in one folder
CRL_SUFFIXES: Final = (".crl", ".pem", ".der")
OCSP_SUFFIXES: Final = (".ocsp", ".der", ".resp")

Stamp = tuple[int, int, int]
"""Time (ns), size and inode of a file: a file that is replaced has another."""


def bad_file(path: Path, why: str) -> ConfigError:
    """Return the error of a file that certificate trust cannot do with."""
    return ConfigError(
        str(path), None, "certificate trust cannot be set up", why, "mend or remove the file"
    )


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files of a folder, by name; none when it is not there. Raises ConfigError."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.name.lower().endswith(suffixes) and e.is_file()]
    except FileNotFoundError:
        return []
    if len(names) > MAX_FILES:
        raise bad_file(folder, f"it holds more than {MAX_FILES} files")
    return [folder / name for name in sorted(names)]


def stamp_of(path: Path) -> Stamp | None:
    """Return what changes when a file does; None: it is not there."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


class RevocationFiles:
    """What the files of one state folder hold. Owner: whoever loads certificate trust from them."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._crls: dict[Path, tuple[Stamp, Crl | None]] = {}
        self._responses: dict[Path, tuple[Stamp, OcspResponse | None]] = {}
        self._bundle: tuple[Stamp | None, OcspBundle] = (None, OcspBundle())

    def crls(self) -> list[Crl]:
        """Return the lists that can be read; the log has the others. Raises ConfigError."""
        paths = self._crl_paths()
        self._crls = {path: self._crls[path] for path in paths if path in self._crls}
        found = (self.crl_at(path) for path in paths)
        return [crl for crl in found if crl is not None]

    def responses(self) -> list[OcspResponse]:
        """Return the responses that can be read; the log has the others. Raises ConfigError."""
        paths = list_files(self._folder.ocsp, OCSP_SUFFIXES)
        self._responses = {path: self._responses[path] for path in paths if path in self._responses}
        found = (self._read_response(path) for path in paths)
        return [response for response in found if response is not None]

    def fetched(self) -> OcspBundle:
        """Return the responses that were fetched."""
        path = self._folder.fetched_responses
        stamp = stamp_of(path)
        if stamp != self._bundle[0]:
            self._bundle = stamp, read_bundle(path)
        return self._bundle[1]

    def unread_bytes(self) -> int:
        """Return how much there is to read in changed lists. Raises ConfigError."""
        total = 0
        for path in self._crl_paths():
            stamp, kept = stamp_of(path), self._crls.get(path)
            if stamp is not None and (kept is None or kept[0] != stamp):
                total += stamp[1]
        return total

    def read_ahead(self) -> None:
        """Read the changed lists, so that `crls` need not: also beside it, in a thread."""
        for path in self._crl_paths():
            self.crl_at(path)

    def _crl_paths(self) -> list[Path]:
        own = self._folder.crl
        return [*list_files(self._folder.crls, CRL_SUFFIXES), *([own] if own.is_file() else [])]

    def crl_at(self, path: Path) -> Crl | None:
        """Return the list of one file; None: it is not there, or the log has what is wrong."""
        stamp, kept = stamp_of(path), self._crls.get(path)
        if stamp is None:
            return None
        if kept is None or kept[0] != stamp:
            kept = self._crls[path] = stamp, _parse_crl(path, stamp[1])
        return kept[1]

    def _read_response(self, path: Path) -> OcspResponse | None:
        stamp, kept = stamp_of(path), self._responses.get(path)
        if stamp is None:
            return None
        if kept is None or kept[0] != stamp:
            kept = self._responses[path] = stamp, _parse_response(path, stamp[1])
        return kept[1]


def _parse_crl(path: Path, size: int) -> Crl | None:
    try:
        if size > MAX_CRL_BYTES:
            raise ValueError("it is too large")
        return Crl(from_pem(path.read_bytes()))
    except (OSError, ValueError, PkiError) as error:
        log.error("%s is no CRL and is left out: %s", path.name, error)
        return None


def _parse_response(path: Path, size: int) -> OcspResponse | None:
    try:
        if size > MAX_OCSP_BYTES:
            raise ValueError("it is too large")
        return OcspResponse(path.read_bytes())
    except (OSError, ValueError, PkiError) as error:
        log.error("%s is no OCSP response and is left out: %s", path.name, error)
        return None


def read_bundle(path: Path) -> OcspBundle:
    """Read the file of fetched responses; empty when it is not there or is none."""
    try:
        with path.open("rb") as file:
            # Not mapped: whoever cut the file short would end the process that looks into it.
            return OcspBundle(file.read(MAX_BUNDLE_BYTES + 1))
    except FileNotFoundError:
        return OcspBundle()
    except (OSError, PkiError) as error:
        log.error("%s holds no OCSP responses and is left out: %s", path.name, error)
        return OcspBundle()


def revocation_paths(folder: StateFolder) -> Iterator[Path]:
    """List every file that `RevocationFiles` reads but the fetched responses."""
    yield from list_files(folder.crls, CRL_SUFFIXES)
    yield from list_files(folder.ocsp, OCSP_SUFFIXES)
    yield folder.crl
