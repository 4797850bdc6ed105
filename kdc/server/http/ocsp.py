"""The OCSP responder of the realm's CA over HTTP (RFC 6960 appendix A): POST and GET of /ocsp.

What the CA has issued is asked of its ledger for each request, so that a revocation counts at once.
The responder has a key of its own, with a short-lived certificate; the CA's key stays closed.
"""

import asyncio
import base64
import binascii
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from aiohttp import web
from cryptography import x509

from directory.backend import DirectoryError
from directory.sealing import read_secret_file
from kdc.ca_ledger import Ledger, ledger_id
from kdc.config import KdcConfig
from kdc.server.alarm import Alarm
from kdc.server.http.listener import SERVER_NAME, text_response
from kdc.server.key_files import MAX_PEM_BYTES, key_file
from kdc.state_folder import StateFolder
from pki.ca import certificates_from_pem, private_key_from_pem
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.ocsp_responder import MAX_REQUEST_BYTES, Known, OcspSigner, answer_request, failure

log = logging.getLogger(__name__)

PATH: Final = "/ocsp"
REQUEST_TYPE: Final = "application/ocsp-request"
RESPONSE_TYPE: Final = "application/ocsp-response"
_INTERNAL_ERROR: Final = 2
_TRY_LATER: Final = 3

_Stamp = tuple[tuple[int, int], ...]


class OcspService:
    """Answers OCSP requests about what the realm's CA has issued."""

    def __init__(self, folder: StateFolder, config: Callable[[], KdcConfig]) -> None:
        """config: what is configured now; a reload may change it."""
        self._folder = folder
        self._config = config
        self._signer: tuple[_Stamp, OcspSigner] | None = None
        self._alarm = Alarm(log, "the OCSP responder cannot sign: %s")

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        path = request.raw_path.partition("?")[0]
        if request.method == "POST" and path == PATH:
            if request.content_type.lower() != REQUEST_TYPE:
                return text_response(415, f"the body must be {REQUEST_TYPE}")
            if request.content_length is None:
                return text_response(411, "a Content-Length is required")
            if request.content_length > MAX_REQUEST_BYTES:
                return text_response(413, f"the body is larger than {MAX_REQUEST_BYTES} octets")
            data = await request.content.read(MAX_REQUEST_BYTES)
            while len(data) < request.content_length and not request.content.at_eof():
                data += await request.content.read(MAX_REQUEST_BYTES - len(data))
        elif request.method in ("GET", "HEAD") and path.startswith(f"{PATH}/"):
            try:
                text = unquote(path.removeprefix(f"{PATH}/"))
                data = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                return text_response(400, "no OCSP request in base64")
        else:
            return text_response(405, "OCSP requests are posted to /ocsp", {"Allow": "POST, GET"})
        body = await asyncio.to_thread(self._respond, data, datetime.now(UTC))
        return web.Response(
            body=body,
            content_type=RESPONSE_TYPE,
            headers={"Server": SERVER_NAME, "Cache-Control": "no-store"},
        )

    def _respond(self, data: bytes, now: datetime) -> bytes:
        folder = self._folder
        try:
            signer = self._load_signer()
            issuer = Certificate(certificates_from_pem(folder.issuer_certificate.read_bytes())[0])
            if not now < signer.not_after:
                raise ValueError("the responder's certificate has expired")
        except (OSError, PkiError, DirectoryError, ValueError) as error:
            self._alarm.raise_(error)
            return failure(_TRY_LATER)
        try:
            ledger = Ledger(folder.ca_ledger, read_only=True)
        except sqlite3.Error:
            return failure(_INTERNAL_ERROR)
        try:
            own = ledger_id(issuer)

            def lookup(serial_number: int) -> Known | None:
                entry = ledger.find(serial_number, own)
                if entry is None:
                    return None
                return Known(revoked_at=entry.revoked_at, reason=entry.reason or 0)

            return answer_request(data, issuer, lookup, signer, now)
        except sqlite3.Error:
            return failure(_INTERNAL_ERROR)
        finally:
            ledger.close()

    def _load_signer(self) -> OcspSigner:
        """Return the responder's key, read anew when the files have changed."""
        certificate, key = self._folder.ocsp_responder
        trusted = tuple(Path(p) for p in self._config().trusted_secret_paths)
        key = key_file(certificate, key, trusted)
        states = [path.stat() for path in (certificate, key)]
        stamp = tuple((state.st_mtime_ns, state.st_ino) for state in states)
        if self._signer is None or self._signer[0] != stamp:
            leaf = certificates_from_pem(certificate.read_bytes())[0]
            private_key = private_key_from_pem(read_secret_file(key, MAX_PEM_BYTES, trusted))
            if x509.load_der_x509_certificate(leaf).public_key() != private_key.public_key():
                raise ValueError("the responder's key is not that of its certificate")
            self._signer = stamp, OcspSigner(leaf, private_key)
        return self._signer[1]
