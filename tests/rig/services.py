"""Drive what real clients do with a TGT: service tickets, renewal, user to user, GSSAPI."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.rig import peers
from tests.rig.clients import ClientRealm, Run, write_heimdal_config, write_mit_config

_TIMEOUT_S = 30
_MIT_ERROR_BASE = -1765328384  # ERROR_TABLE_BASE_krb5: MIT's trace prints base + protocol code


def _run(
    command: Sequence[str], environment: Mapping[str, str], cache: Path, trace: Path | None = None
) -> Run:
    done = subprocess.run(
        command,
        cwd=peers.ROOT,
        env=peers.clean_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=_TIMEOUT_S,
        check=False,
    )
    return Run(
        status=done.returncode,
        output=done.stdout,
        trace=trace.read_text(errors="backslashreplace") if trace and trace.exists() else "",
        cache=cache,
        command=tuple(command),
    )


def _mit(realm: ClientRealm, cache: Path, program: str, *arguments: str) -> Run:
    found = peers.mit_program(program)
    trace = realm.folder / f"{cache.name}-{program}.trace"
    trace.unlink(missing_ok=True)
    environment = {
        "KRB5_CONFIG": str(write_mit_config(realm)),
        "KRB5CCNAME": f"FILE:{cache}",
        "KRB5_TRACE": str(trace),
    }
    return _run([found.path, *arguments], environment, cache, trace)


def mit_kvno(realm: ClientRealm, cache: Path, *arguments: str) -> Run:
    """Get service tickets with MIT's kvno into the cache that has the TGT."""
    return _mit(realm, cache, "kvno", *arguments)


def mit_renew(realm: ClientRealm, cache: Path) -> Run:
    """Renew the TGT of a cache with MIT's kinit."""
    return _mit(realm, cache, "kinit", "-R")


def tgs_errors(run: Run) -> tuple[int, ...]:
    """Return the codes that the KDC answered TGS-REQs of MIT's client with, in order."""
    found = re.findall(r"TGS request result: (-\d+)/", run.trace)
    return tuple(int(code) - _MIT_ERROR_BASE for code in found)


def heimdal_kgetcred(realm: ClientRealm, cache: Path, *arguments: str) -> Run:
    """Get a service ticket with Heimdal's kgetcred into the cache that has the TGT."""
    program = peers.heimdal_program("kgetcred")
    environment = {**program.environment, "KRB5_CONFIG": str(write_heimdal_config(realm))}
    return _run([program.path, "-c", f"FILE:{cache}", *arguments], environment, cache)


def heimdal_renew(realm: ClientRealm, cache: Path) -> Run:
    """Renew the TGT of a cache with Heimdal's kinit."""
    program = peers.heimdal_program("kinit.heimdal")
    environment = {**program.environment, "KRB5_CONFIG": str(write_heimdal_config(realm))}
    return _run([program.path, "-c", f"FILE:{cache}", "-R"], environment, cache)


def gss_loop(realm: ClientRealm, cache: Path, keytab: Path, *services: str) -> Any:
    """Run both ends of a GSSAPI context of MIT's library; see `tests.rig.gss_loop`."""
    peers.mit_program("klist")
    environment = {
        "KRB5_CONFIG": str(write_mit_config(realm)),
        "KRB5CCNAME": f"FILE:{cache}",
        "KRB5_KTNAME": f"FILE:{keytab}",
        "KRB5RCACHENAME": f"file2:{realm.folder / 'rcache'}",
    }
    run = _run([sys.executable, "-m", "tests.rig.gss_loop", *services], environment, cache)
    assert run.status == 0, run.explain()
    return json.loads(run.output)
