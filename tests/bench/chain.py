"""Logons with a chain of three certificates beside logons with registered keys, in turns.

    python -m tests.bench.chain --folder F [--rounds 11] [--number 400] [--entries 100000]

One worker on core 0, this client on another; UDP, 16 outstanding, P-256 or what --group says. The
same accounts log on by their Hello keys (`key`), by certificates of an issuing CA below a root with
empty revocation lists (`chain`), and with a list of --entries revoked certificates in the issuing
CA's place (`chain, long list`). Every request is distinct and made beforehand; chains are cached,
as they are for everybody who has logged on since a list was last replaced. Also printed: what the
first logon after that costs, when the chain is validated anew.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from kdc.client.mechanism import Hints
from kdc.client.pkinit import PkinitMechanism, PkinitOptions
from kdc.crypto.key_agreement import GROUPS, Group, KeyPair, generate
from pki import ca
from pki.cms_sign import CmsSigner
from tests.bench.load import offer
from tests.bench.realm import Server, cpu_s, make_realm, serving
from tests.bench.requests import PAIRS, KeyUsers, logon_request
from tests.rig import logon_ca
from tests.rig.logon_ca import LogonCa

USERS = 20
AS_REP_TAG = 0x6B
KDC_CORE, CLIENT_CORE = 0, 1
LOADED_S = 3.0
"""A changed list is noticed within a second, and a long one read in some more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """The CAs of the chains."""

    root: LogonCa
    issuing: LogonCa


class ChainUsers:
    """Users with certificates of the issuing CA, in turn."""

    def __init__(self, folder: Path, authorities: Authorities, sids: dict[str, str], group: str):
        pairs = cycle([generate(GROUPS[group]) for _ in range(PAIRS)])

        def next_pair(_: Group) -> KeyPair:
            return next(pairs)

        options = PkinitOptions(anchors=(), domain="", group=group, dh_nonce=False, freshness=False)
        chain = tuple(c.public_bytes(Encoding.DER) for c in authorities.issuing.chain)
        found = []
        for name, sid in sids.items():
            made = authorities.issuing.issue(folder, f"chain-{name}", sid=sid)
            leaf = made.leaf.public_bytes(Encoding.DER)
            signer = CmsSigner(made.private_key, leaf, chain)
            found.append((name, PkinitMechanism(signer, options, next_pair)))
        self._users = cycle(found)

    def requests(self, number: int) -> list[bytes]:
        """Make logons by PKINIT, each with leaf and issuing CA."""
        return [self._request() for _ in range(number)]

    def _request(self) -> bytes:
        name, mechanism = next(self._users)
        now = datetime.now(UTC)
        return logon_request(
            name, now, lambda body: mechanism.proof(body, Hints(), now, os.urandom)
        )


def _sids(folder: Path) -> dict[str, str]:
    found = {}
    for index in range(USERS):
        name = f"user{index:04}"
        command = [sys.executable, "-m", "kdc", "user", "show", name, "--json", "--state"]
        shown = subprocess.run([*command, str(folder)], capture_output=True, check=True)
        found[name] = str(json.loads(shown.stdout)["sid"])
    return found


def trust(folder: Path) -> Authorities:
    """Make the CAs and let the realm trust them."""
    root = logon_ca.new_root()
    made = Authorities(root=root, issuing=root.issuing_ca())
    for name, authority in (("trusted-roots", made.root), ("logon-cas", made.issuing)):
        (folder / "pki" / name).mkdir(exist_ok=True)
        (folder / "pki" / name / "bench.pem").write_bytes(authority.pem)
    (folder / "pki/crls").mkdir(exist_ok=True)
    (folder / "pki/crls/root.crl").write_bytes(root.crl())
    return made


class Lists:
    """The issuing CA's revocation lists, one of them in place."""

    def __init__(self, folder: Path, authorities: Authorities) -> None:
        certificate = authorities.issuing.certificate.public_bytes(Encoding.DER)
        key = authorities.issuing.private_key
        self._issuer = ca.IssuedCertificate(certificate_der=certificate, private_key=key)
        self._place = folder / "pki/crls/issuing.crl"
        self._made: dict[int, bytes] = {}

    def put(self, entries: int) -> None:
        """Put a list with so many entries into place; all have the same number."""
        if entries not in self._made:
            now = datetime.now(UTC)
            revoked = tuple(
                ca.RevokedCertificate(serial_number=(1 << 120) + 7919 * index, date=now)
                for index in range(entries)
            )
            self._made[entries] = ca.create_crl(self._issuer, 1, revoked, now)
        fresh = self._place.with_suffix(".new")
        fresh.write_bytes(self._made[entries])
        os.replace(fresh, self._place)


def measure(server: Server, messages: list[bytes]) -> float:
    """Return logons per second of the worker's processor time."""
    pids = server.workers()
    before = cpu_s(pids)
    done = offer(server.address, messages)
    spent = cpu_s(pids) - before
    tickets = sum(one.tag == AS_REP_TAG for one in done.requests)
    if tickets < len(messages) * 0.99:
        raise SystemExit(f"{tickets} tickets for {len(messages)} requests: {done.ends()}")
    return len(messages) / spent


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--number", type=int, default=400)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--group", default="p256")
    options = parser.parse_args()
    folder = options.folder
    make_realm(folder, key_users=USERS)
    authorities = trust(folder)
    lists = Lists(folder, authorities)
    lists.put(options.entries)
    lists.put(0)
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {CLIENT_CORE})
    keys = KeyUsers(folder, group=options.group)
    chains = ChainUsers(folder, authorities, _sids(folder), options.group)
    rates: dict[str, list[float]] = {"key": [], "chain": [], "chain, long list": []}
    first = []
    with serving(folder, workers=1, cores={KDC_CORE}) as server:
        measure(server, keys.requests(options.number // 4))  # accounts come into memory
        for _ in range(options.rounds):
            for name in rates:
                if name != "key":
                    lists.put(options.entries if name == "chain, long list" else 0)
                    time.sleep(LOADED_S)
                    first.append(1e6 / measure(server, chains.requests(USERS)))
                work = keys if name == "key" else chains
                rates[name].append(measure(server, work.requests(options.number)))
    for name, found in rates.items():
        print(f"{name:18}", ", ".join(f"{rate:.0f}" for rate in found), "logons per CPU second")
    for one, other in (
        ("chain", "key"),
        ("chain, long list", "key"),
        ("chain, long list", "chain"),
    ):
        ratios = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
        print(f"{one} / {other}: {statistics.median(ratios):.3f} (median of pairs)")
    print(f"first logon with a chain after a list changed: {statistics.median(first):.0f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
