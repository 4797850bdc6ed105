"""From what a core does to what a domain needs: the arithmetic of docs/operations.md, to be redone.

    python -m tests.bench.sizing [--users 1000000] [--set tickets=20 --set nodes_lost=2 ...]

Prints the table of the plan; --set replaces any figure of FIGURES or assumption of ASSUMED. Without
--users it is the plan's own table of 1, 10 and 100 million users.
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured, docs/performance.md: one core, RSA-2048 KDC key, audit and PAC on.

    The compiled form, under a Python that was built with profile-guided optimization. Rounded from
    two runs of tests.bench.goals (2026-11-22, 12:17 and 12:49) that differ by up to 6 %.
    """

    group14_us: float = 1100
    """Processor time of a logon by key with group 14."""
    p256_us: float = 640
    password_us: float = 150
    ticket_us: float = 157
    """A service ticket with its PAC."""
    question_us: float = 55
    """The request without proof that comes first (25)."""
    miss_us: float = 100
    """What a request costs more when its account is not in the worker's memory."""
    proofs_per_node: float = 1_200_000
    """What the replay memory holds: logons and tickets."""
    proof_step_s: float = 30
    """In which its floor rises."""
    account_bytes: float = 1000
    """In store.sqlite, with a key and groups."""
    load_s: float = 0.00024
    """For each account, when a new node reads the directory."""
    compare_s: float = 0.000023
    """For each account, after a restart."""
    logon_bytes: float = 6200
    """Question and logon with group 14, both directions, without headers."""
    password_bytes: float = 2100
    ticket_bytes: float = 2850
    audit_bytes: float = 480
    """A record."""
    worker_mib: float = 60
    node_mib: float = 320
    """Supervisor, companions, follower at work (150 MiB) and the shared memories (85 MiB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What a domain is taken to be; replace it by what you know of yours."""

    users: float
    zone: float
    """The share of the users that begin the day together (a time zone)."""
    active: float = 0.8
    """Come on a day."""
    peak_share: float = 0.3
    """Of those of a zone, log on in the busiest quarter of an hour."""
    peak_s: float = 900
    burst: float = 1.5
    """The busiest minute, against the mean of that quarter of an hour."""
    group14: float = 0.8
    """Of the logons by key; the others use P-256."""
    machines: float = 0.5
    """Machines turned on for each user who logs on then; they log on with a password."""
    tickets: float = 10
    """Service tickets that a user's logon brings with it."""
    machine_tickets: float = 4
    use: float = 0.5
    """How busy a core may be in the busiest minute."""
    cores: float = 4
    """Of a node; a worker each."""
    nodes_lost: float = 1
    """May be away at the same time."""
    clockskew_s: float = 300
    changes: float = 24
    """Of a user, his machine, keys and groups in the directory, a year."""
    change_bytes: float = 2000
    records: float = 42
    """Audit records for each active user, a day: six logons of two records each, and 30 tickets."""


FIGURES: Final = Figures()
ASSUMED: Final = (
    Assumed(users=1e6, zone=1.0),
    Assumed(users=1e7, zone=0.5, nodes_lost=2),
    Assumed(users=1e8, zone=0.25, nodes_lost=6),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a domain needs."""

    logons: float
    """User logons per second, in the busiest minute."""
    machine_logons: float
    tickets: float
    cpu: float
    """Cores that are wholly busy with it."""
    ticket_share: float
    """Of that, for service tickets."""
    cores: float
    """At the use that is allowed."""
    nodes: int
    """That must be there; those that may be away come on top."""
    late_s: float
    """How late a client's clock may be in the busiest quarter of an hour: as far back as the replay
    memory reaches, less a step of it. Its floor rises when it is full; no proof is good twice."""
    store_gb: float
    load_s: float
    compare_s: float
    ram_gb: float
    """Of a node, without what caches the store."""
    node_mbit_s: float
    changes_per_s: float
    """In the directory, at each node's: a fifth of the day's hours has all of them."""
    change_kb_per_s: float
    audit_gb_per_node: float
    """A day."""


def plan(a: Assumed, f: Figures = FIGURES) -> Plan:
    """Do the arithmetic."""
    logons = a.users * a.active * a.zone * a.peak_share / a.peak_s * a.burst
    machine_logons = logons * a.machines
    tickets = logons * a.tickets + machine_logons * a.machine_tickets
    key_us = a.group14 * f.group14_us + (1 - a.group14) * f.p256_us
    by_logons = logons * (key_us + f.question_us + f.miss_us)
    by_machines = machine_logons * (f.password_us + f.question_us + f.miss_us)
    by_tickets = tickets * f.ticket_us
    cpu = (by_logons + by_machines + by_tickets) / 1e6
    proofs = logons + machine_logons + tickets
    serving = math.ceil(cpu / a.use / a.cores)
    # The memory looks back for minutes: the mean of the quarter of an hour counts, not the burst.
    reach_s = f.proofs_per_node / (proofs / a.burst / serving)
    octets = logons * f.logon_bytes + machine_logons * f.password_bytes + tickets * f.ticket_bytes
    accounts = 2 * a.users
    changes = a.users * a.changes / (365 * 86400) * 5
    return Plan(
        logons=logons,
        machine_logons=machine_logons,
        tickets=tickets,
        cpu=cpu,
        ticket_share=by_tickets / 1e6 / cpu,
        cores=cpu / a.use,
        nodes=serving,
        late_s=min(a.clockskew_s, reach_s - f.proof_step_s),
        store_gb=accounts * f.account_bytes / 1e9,
        load_s=accounts * f.load_s,
        compare_s=accounts * f.compare_s,
        ram_gb=(a.cores * f.worker_mib + f.node_mib) * 2**20 / 1e9,
        node_mbit_s=octets * 8 / 1e6 / serving,
        changes_per_s=changes,
        change_kb_per_s=changes * a.change_bytes / 1e3,
        audit_gb_per_node=a.users * a.active * a.records * f.audit_bytes / 1e9 / serving,
    )


def _time(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


_ROWS: Final[tuple[tuple[str, Callable[[Assumed, Plan], str]], ...]] = (
    ("user logons a second, busiest minute", lambda a, p: f"{p.logons:,.0f}"),
    ("machine logons a second", lambda a, p: f"{p.machine_logons:,.0f}"),
    ("service tickets a second", lambda a, p: f"{p.tickets:,.0f}"),
    ("cores wholly busy with it", lambda a, p: f"{p.cpu:,.1f}"),
    ("of that for service tickets", lambda a, p: f"{p.ticket_share:.0%}"),
    ("cores, half busy", lambda a, p: f"{p.cores:,.0f}"),
    ("cores of a node", lambda a, p: f"{a.cores:g}"),
    ("nodes: needed + may be away", lambda a, p: f"{p.nodes} + {a.nodes_lost:g}"),
    ("a client's clock may be late by", lambda a, p: f"{p.late_s:.0f} s"),
    ("`store.sqlite` of each node", lambda a, p: f"{p.store_gb:,.0f} GB"),
    ("a new node reads the directory", lambda a, p: _time(p.load_s)),
    ("a restarted node compares with it", lambda a, p: _time(p.compare_s)),
    ("memory of a node, without the store's cache", lambda a, p: f"{p.ram_gb:.1f} GB"),
    ("network of a node, busiest minute", lambda a, p: f"{p.node_mbit_s:,.0f} Mbit/s"),
    ("changes of the directory a second, at each node", lambda a, p: f"{p.changes_per_s:,.1f}"),
    ("the same in octets a second", lambda a, p: f"{p.change_kb_per_s:,.0f} kB"),
    ("audit log of a node, a day", lambda a, p: f"{p.audit_gb_per_node:,.1f} GB"),
)


def table(domains: tuple[Assumed, ...], figures: Figures = FIGURES) -> str:
    """Write the plan as Markdown, a column for each domain."""
    plans = [(domain, plan(domain, figures)) for domain in domains]
    head = ["", *(f"{domain.users:,.0f} users" for domain in domains)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, show in _ROWS:
        lines.append("| " + " | ".join([name, *(show(*one) for one in plans)]) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER")
    options = parser.parse_args()
    figures = FIGURES
    domains: tuple[Assumed, ...] = ASSUMED
    if options.users is not None:
        nearest = min(ASSUMED, key=lambda one: abs(math.log(one.users / options.users)))
        domains = (dataclasses.replace(nearest, users=options.users),)
    for name, _, number in (one.partition("=") for one in options.set):
        if name in Figures.__dataclass_fields__:
            figures = dataclasses.replace(figures, **{name: float(number)})
        elif name in Assumed.__dataclass_fields__:
            domains = tuple(dataclasses.replace(one, **{name: float(number)}) for one in domains)
        else:
            raise SystemExit(f"{name} is neither a figure nor an assumption of the plan")
    print(table(domains, figures), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
