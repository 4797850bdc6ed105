"""Find the real clients and judges that `scripts/test` sets up; without one skip, in CI fail."""

import os
import shutil
import socket
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".peers"
_SYSTEM_PATHS = ("/usr/sbin", "/sbin")
_KEPT = ("PATH", "HOME", "TMPDIR", "PYTHONSAFEPATH", "PYTHONPATH")
"""The last two keep the source away from the servers of the compiled form's tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of a peer and what its environment needs to run it."""

    path: str
    environment: Mapping[str, str]


def missing(what: str, remedy: str) -> NoReturn:
    """Leave out the running test because a peer is not there; with CI=true fail it instead."""
    reason = f"{what} is missing: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def system_program(name: str, package: str) -> Program:
    """Find a program of an installed Debian package."""
    search = os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_PATHS))
    path = shutil.which(name, path=search)
    if path is None:
        missing(name, f"apt-get install --no-install-recommends {package}")
    return Program(path=path, environment={})


def mit_program(name: str) -> Program:
    """Find one of MIT's client programs; its PKINIT plug-in comes in a package of its own."""
    plugins = list(Path("/usr/lib").glob("*/krb5/plugins/preauth/pkinit.so"))
    if not plugins:
        missing("MIT's PKINIT plug-in", "apt-get install --no-install-recommends krb5-pkinit")
    return system_program(name, "krb5-user")


def heimdal_program(name: str) -> Program:
    """Find one of Heimdal's client programs, unpacked beside MIT's, which it conflicts with."""
    top = PEERS / "heimdal"
    path = top / "usr/bin" / name
    if not path.exists():
        missing(name, "./scripts/test unpacks Debian's heimdal-clients into .peers/heimdal")
    libraries = top / "usr/lib" / str(sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu")
    return Program(
        path=str(path),
        environment={"LD_LIBRARY_PATH": f"{libraries}:{libraries / 'heimdal'}"},
    )


def tools_program(name: str) -> Program:
    """Find a program of the impacket family in its virtual environment."""
    path = PEERS / "tools-venv/bin" / name
    if not path.exists():
        missing(name, "./scripts/test makes .peers/tools-venv from requirements-tools.lock")
    return Program(path=str(path), environment={})


def ldap_tools_program(name: str) -> Program:
    """Find a program of bloodyAD's virtual environment."""
    path = PEERS / "ldaptools-venv/bin" / name
    if not path.exists():
        missing(name, "./scripts/test makes .peers/ldaptools-venv from requirements-ldaptools.lock")
    return Program(path=str(path), environment={})


def roadtx_program(name: str = "roadtx") -> Program:
    """Find a program of roadtx' virtual environment."""
    path = PEERS / "roadtx-venv/bin" / name
    if not path.exists():
        missing(name, "./scripts/test makes .peers/roadtx-venv from requirements-roadtx.lock")
    return Program(path=str(path), environment={})


def need_port(address: str, port: int) -> None:
    """Leave out the running test when this user may not bind address:port, or it is taken."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                missing(f"permission for {address}:{port}", f"{error.strerror}; run as root")


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """An environment in which nothing of the user's own Kerberos settings counts."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1"} | dict(extra)
