"""The companion that lets nothing of the realm's CA end unnoticed: `ca_renewal`.

It holds no key and reads none. Every ten minutes it runs `kdc cert renew --due`, a process of its
own that opens the CA's key only when something is due, and ends. What was renewed and is held in
memory elsewhere is swapped by a reload of all, during which no request is lost.

A failure is told once an hour, long before anything ends: the KDC's certificate has a third of its
life left then, the revocation list a half.
"""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from kdc.server.companion import CompanionContext, Order

log = logging.getLogger(__name__)

CHECK_S: Final = 600.0
"""A revocation that was recorded and not published (a killed command) waits no longer."""
COMMAND_S: Final = 60.0
COMPLAIN_S: Final = 3600.0
HELD_IN_MEMORY: Final = frozenset(("kdc", "http", "ocsp"))
MAX_OUTPUT: Final = 4096


def run(context: CompanionContext) -> None:
    """Renew what is due until told to drain: the entry of the companion `renewal`."""
    context.control.ready()
    complained: float | None = None
    while True:
        renewed, error = renew_due(context.state_dir)
        if renewed:
            log.info("renewed: %s", ", ".join(renewed))
        if HELD_IN_MEMORY & {*renewed}:
            context.control.ask_reload()
        if not error:
            complained = None
        elif complained is None or time.monotonic() - complained >= COMPLAIN_S:
            complained = time.monotonic()
            log.error("the realm's CA cannot renew what is due: %s", error)
        end = time.monotonic() + CHECK_S
        while (left := end - time.monotonic()) > 0:
            order = context.control.next_order(left)
            if order is Order.DRAIN:
                return
            if order is Order.RELOAD:
                context.control.reloaded(True)


def renew_due(state_dir: Path) -> tuple[tuple[str, ...], str]:
    """Run `kdc cert renew --due`; return what was renewed and, after a failure, its words."""
    command = [sys.executable, "-m", "kdc", "cert", "renew", "--due", "--json"]
    environment = {**os.environ, "KDC_STATE": str(state_dir.resolve()), "NO_COLOR": "1"}
    try:
        done = subprocess.run(  # noqa: S603  our own command, no shell
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"{type(error).__name__} of kdc cert renew --due"
    if done.returncode != 0:
        text = done.stderr[-MAX_OUTPUT:].decode(errors="replace")
        return (), "; ".join(line.strip() for line in text.splitlines() if line.strip())
    try:
        found = json.loads(done.stdout)["renewed"]
    except (ValueError, KeyError, TypeError):
        return (), "kdc cert renew --due gave no JSON"
    return tuple(map(str, found)), ""
