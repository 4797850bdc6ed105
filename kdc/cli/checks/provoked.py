"""Which refusals the checks of `kdc doctor` provoke."""

from kdc.cli.checks.kpasswd import PROBE
from kdc.cli.checks.logons import PREFIX
from kdc.cli.checks.machine import NOBODY
from kdc.explain.recorder import Refusal


def is_of_doctor(refusal: Refusal) -> bool:
    """Tell whether a refusal is of a test of `kdc doctor`: of its names, or its odd version."""
    account = str(refusal.facts.get("account") or "")
    nobody = not account and refusal.facts.get("client") == NOBODY
    return nobody or account.startswith(PREFIX) or refusal.message == PROBE
