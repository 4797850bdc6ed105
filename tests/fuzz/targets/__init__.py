"""Fuzz targets: each module states its invariant in its first line and keeps it in `one(data)`.

A broken invariant is an exception out of `one`. Nothing here needs atheris; `tests.fuzz.run` uses
it when it is there. Inputs to start from are in `tests/fuzz/corpus/<target>/`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

TARGETS = (
    "as_req",
    "as_req_signed",
    "tgs_req",
    "tgs_req_sealed",
    "fast",
    "pac",
    "cms_signed_data",
    "auth_pack",
    "key_credential",
    "distinguished_name",
    "certificate_names",
    "framing",
    "config",
    "kdc_reply",
    "key_files",
    "explanation",
    "frames",
    "security_descriptor",
    "crl",
    "ocsp_request",
    "ocsp_response",
    "attestation",
    "device_request",
)
CORPUS = Path(__file__).resolve().parents[1] / "corpus"


def load(target: str) -> Callable[[bytes], None]:
    """Import a target and return its function."""
    if target not in TARGETS:
        raise ValueError(f"no such target: {target}")
    one: Callable[[bytes], None] = import_module(f"tests.fuzz.targets.{target}").one
    return one


def corpus(target: str) -> tuple[bytes, ...]:
    """Return the recorded inputs of a target, in the order of their names."""
    return tuple(recorded(target).values())


def recorded(target: str) -> dict[str, bytes]:
    """Return the recorded inputs of a target by their names."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}
