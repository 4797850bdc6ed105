"""What the realm's CA publishes by HTTP: its revocation list and its certificate.

Files are read when they are asked for: each was written whole, so a changed one counts at once.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

from kdc.server.http.listener import SERVER_NAME, Answer, text_response
from kdc.state_folder import StateFolder
from pki.crl import MAX_CRL_BYTES
from pki.errors import PkiError
from pki.pem import from_pem

CACHE_S: Final = 60
"""How long proxies and clients may keep a list: a revocation must not wait in a cache."""


def pki_routes(folder: StateFolder) -> Mapping[str, Answer]:
    """Return path -> answer. Everything published is signed, and nothing of it is secret."""
    crl, issuer = "application/pkix-crl", "application/pkix-cert"
    return {
        "/pki/ca.crl": _file(lambda: folder.crl, crl),
        "/pki/root.crl": _file(lambda: folder.root_crl, crl),
        "/pki/ca.crt": _file(lambda: folder.issuer_certificate, issuer),
        "/pki/root.crt": _file(lambda: folder.ca_certificate, issuer),
    }


def _file(place: Callable[[], Path], content_type: str) -> Answer:
    """Return the answer that is a file's content in DER, as RFC 5280 4.2.1.13 wants it."""

    async def answer(request: web.BaseRequest) -> web.Response:
        try:
            data = await asyncio.to_thread(_read, place())
        except (OSError, PkiError):
            return text_response(404, "there is no such file in this realm")
        return web.Response(
            body=data,
            content_type=content_type,
            headers={"Server": SERVER_NAME, "Cache-Control": f"max-age={CACHE_S}"},
        )

    return answer


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return from_pem(file.read(MAX_CRL_BYTES))
