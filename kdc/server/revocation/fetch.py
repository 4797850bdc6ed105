"""One source, fetched, judged and put in place."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from kdc.server.revocation.addresses import Wanted, issuer_id, of_list
from kdc.server.revocation.judge import (
    UnwantedError,
    check_takes_place,
    judge_crl,
    judge_response,
    signer_of,
)
from kdc.server.revocation.question import Answer, Asker, FetchError, Question
from kdc.server.revocation.status import Result, Source
from kdc.server.revocation_files import RevocationFiles
from kdc.server.whole_file import write_whole
from kdc.state_folder import StateFolder
from kdc.trust.cert_trust import ca_identity
from pki.certificate import Certificate
from pki.chain import ChainProfile, check_issued_by, subject_text
from pki.crl import MAX_CRL_BYTES
from pki.errors import PkiError
from pki.ocsp import encode_ocsp_request
from pki.ocsp_bundle import MAX_BUNDLE_BYTES
from pki.pem import from_pem

CRL_WITHIN_S: Final = 120.0
"""For a whole list, redirects included: 64 MiB at 4.5 Mbit/s."""
OCSP_WITHIN_S: Final = 20.0
MAX_RESPONSE_BYTES: Final = 32 * 1024
"""Of an OCSP response with its responder's certificates: two to five KiB."""
MAX_RESPONSES_BYTES: Final = MAX_BUNDLE_BYTES // 2
"""Of all of them: workers read them whole."""
REQUEST_TYPE: Final = "application/ocsp-request"
PREFIX: Final = "fetched-"
"""Of the names of files that are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """The CAs held, as they are now."""

    held: tuple[Certificate, ...] = ()
    logon_cas: frozenset[tuple[object, bytes]] = frozenset()
    """`ca_identity` of those that may issue logon certificates."""
    profile: ChainProfile = field(default_factory=ChainProfile)

    def of(self, identifier: str) -> tuple[Certificate, ...]:
        """List the CAs that something may be of; identifier "": all."""
        if not identifier:
            return self.held
        return tuple(one for one in self.held if issuer_id(one) == identifier)

    def issuer_of_logon(self, certificate: Certificate) -> Certificate | None:
        """Return the logon CA that signed a certificate."""
        for one in self.held:
            if one.subject == certificate.issuer and ca_identity(one) in self.logon_cas:
                with suppress(PkiError):
                    check_issued_by(certificate, one, self.profile, 0)
                    return one
        return None

    def names(self) -> dict[str, str]:
        """Return `issuer_id` -> name of each CA."""
        return {issuer_id(one): subject_text(one) for one in self.held}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """How an attempt went well."""

    result: Result
    base_number: int | None = None
    """Of a delta CRL: the least number of the complete list that it changes."""
    issuer: str = ""
    """`issuer_id` of the CA that made a list."""
    pointers: tuple[Wanted, ...] = ()
    """Where a list says that its delta CRLs are."""


def crl_file(folder: StateFolder, key: str) -> Path:
    """Return where the list of a source is put."""
    return folder.crls / f"{PREFIX}{key}.crl"


class Fetching:
    """Fetches sources and puts in place what is good. Owner: the companion's loop."""

    def __init__(self, folder: StateFolder, responses: dict[bytes, bytes]) -> None:
        """responses: OCSP responses (DER) by the SHA-256 of their certificates; kept up here."""
        self.responses = responses
        self._folder = folder
        self._files = RevocationFiles(folder)
        # Judging reads and verifies lists, in a thread: one after the other.
        self._judging = asyncio.Lock()

    async def fetch(
        self,
        source: Source,
        authorities: Authorities,
        asker: Asker,
        free: Collection[str],
        now: datetime,
    ) -> Fetched:
        """Fetch one source from the first of its addresses that has it; note it in the source.

        free: addresses that may lead anywhere. Raises UnwantedError, FetchError, OSError.
        """
        one = self._crl if source.kind == "crl" else self._response
        problem: FetchError | UnwantedError = FetchError("no address")
        # First where it was found last: what is known of it makes the answer short.
        for url in sorted(source.urls, key=lambda url: url != source.url):
            try:
                return await one(source, url, url in free, authorities, asker, now)
            except (FetchError, UnwantedError) as error:
                problem = error
        raise problem

    async def _crl(
        self,
        source: Source,
        url: str,
        is_free: bool,
        authorities: Authorities,
        asker: Asker,
        now: datetime,
    ) -> Fetched:
        keeps = source.url == url and crl_file(self._folder, source.key).exists()
        answer = await asker.ask(
            Question(
                url=url,
                is_free=is_free,
                max_bytes=MAX_CRL_BYTES,
                within_s=CRL_WITHIN_S,
                etag=source.etag if keeps else "",
                last_modified=source.last_modified if keeps else "",
            )
        )
        async with self._judging:
            return await asyncio.to_thread(self._place, source, url, answer, authorities, now)

    def _place(
        self, source: Source, url: str, answer: Answer, authorities: Authorities, now: datetime
    ) -> Fetched:
        path, issuers = crl_file(self._folder, source.key), authorities.of(source.issuer)
        result: Result = "unchanged"
        data = answer.body
        if data is None:
            crl = self._files.crl_at(path)
            if crl is None:
                source.etag = source.last_modified = ""
                raise UnwantedError("the server has nothing newer than a list that is gone")
            issuer = signer_of(crl, issuers, authorities.profile)
            if now > crl.next_update:
                raise UnwantedError("the CRL has ended, and the server has no other")
        else:
            crl, issuer = judge_crl(data, issuers, self._files.crls(), authorities.profile, now)
            before = self._files.crl_at(path)
            if before is not None:
                check_takes_place(crl, issuer, before, issuers, authorities.profile, now)
            if _changed(path, data):
                self._folder.crls.mkdir(parents=True, exist_ok=True)
                write_whole(path, from_pem(data), mode=0o644)
                result = "new"
        source.url, source.etag, source.last_modified = url, answer.etag, answer.last_modified
        source.this_update, source.next_update = crl.this_update, crl.next_update
        source.number = "" if crl.number is None else str(crl.number)
        source.delta = crl.is_delta
        source.issuer_name = subject_text(issuer)
        of = issuer_id(issuer)
        return Fetched(
            result=result, base_number=crl.base_number, issuer=of, pointers=tuple(of_list(crl, of))
        )

    async def _response(
        self,
        source: Source,
        url: str,
        is_free: bool,
        authorities: Authorities,
        asker: Asker,
        now: datetime,
    ) -> Fetched:
        issuers = authorities.of(source.issuer)
        if not issuers:
            raise UnwantedError("the CA of the certificate is not held")
        number, digest = int(source.serial_number, 16), bytes.fromhex(source.certificate)
        answer = await asker.ask(
            Question(
                url=url,
                is_free=is_free,
                max_bytes=MAX_RESPONSE_BYTES,
                within_s=OCSP_WITHIN_S,
                post=(REQUEST_TYPE, encode_ocsp_request(number, issuers[0])),
            )
        )
        data, before = answer.body or b"", self.responses.get(digest)
        status = judge_response(data, number, issuers[0], before, authorities.profile, now)
        others = sum(map(len, self.responses.values())) - len(before or b"")
        if others + len(data) > MAX_RESPONSES_BYTES:
            raise UnwantedError("there is no room for more OCSP responses")
        self.responses[digest] = data
        source.url = url
        source.this_update, source.next_update = status.this_update, status.next_update
        source.revoked = status.reason is not None
        source.issuer_name = subject_text(issuers[0])
        return Fetched(result="unchanged" if data == before else "new", issuer=source.issuer)

    def note_held(self, source: Source) -> None:
        """Note in a source what there is of it: files may have changed while nobody looked."""
        if source.kind == "ocsp":
            there = bytes.fromhex(source.certificate) in self.responses
        else:
            there = self._files.crl_at(crl_file(self._folder, source.key)) is not None
        if not there:
            source.this_update = source.next_update = source.next_at = None
            source.etag = source.last_modified = ""


def _changed(path: Path, data: bytes) -> bool:
    with suppress(OSError, PkiError):
        return path.read_bytes() != from_pem(data)
    return True
