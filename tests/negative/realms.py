"""Realms of ours to attack: made by the `kdc` command, with the odd accounts that rows need.

What no command makes on purpose (values that must not count, a flag for roasting) is written to
the account store directly. The client knows nothing of this module.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from directory.changes import AccountChanges, NewAccount
from directory.model import AccountKind, LockoutPolicy
from directory.sealing import MasterKey
from directory.store import Store
from tests.negative.cases.key_trust import DEVICES, GROUPS, HOLDERS, PRIVILEGED
from tests.negative.cloud import add_read_only_dcs
from tests.negative.pki import ALT_ROLES, LogonPki, alt_security, install, make_pki
from tests.negative.wire import keycredential
from tests.negative.wire.certificate import Certificate
from tests.negative.wire.keys import RsaKey, SigningKey, new_ec, rsa_of, rsa_roca
from tests.negative.wire.logon import Identity
from tests.negative.wire.transport import send
from tests.negative.world import Person, World
from tests.rig.realm import LiveRealm, make_realm

SWITCHES = {
    "main": "",
    "fresh": "pkinit_require_freshness = true\n",
    "hidden": "hide_unknown = true\nlockout_threshold = 0\n",
    "switches": (
        "legacy_sha1_cms = true\nlegacy_dh_group2 = true\ncms_require_content_type = false\n"
        'keycredential_check_keyid = false\nroca_policy = "audit"\n'
    ),
    "certificates": "",
    "compatible": (
        'strong_mapping = "compatibility"\npkinit_eku_checking = "none"\nlegacy_sha1_cert = true\n'
    ),
    "purposes": 'pkinit_eku_checking = "kpClientAuth"\n',
    "cloud": 'cloud_trust.key_list = "on"\n',
    "cloud_off": "",
    "devices": "require_device_object = true\n",
    "tier0": 'privileged_keys = "device"\n',
    "small": "kdc_max_dgram_reply_size = 1465\n",
}
"""The realms that cases name, and what their kdc.toml says beyond `kdc init`."""

WITH_CERTIFICATES = ("certificates", "compatible", "purposes")
"""The realms that have logon CAs of the tests' own, and people with certificates."""

WITH_READ_ONLY_DCS = ("cloud", "cloud_off")
"""The realms that have read-only DCs, one of them the cloud's."""

SERVICE = ("host", "web.lab.test")
_WORKERS_S = 20.0
_PASSWORD = "Correct-Horse-"  # noqa: S105  # the test users' own


# -- keys, made once for all realms ----------------------------------------------------------


@cache
def _primes() -> list[int]:
    """Make twenty primes of 1024 bits; any two are a key, so that sixty keys cost ten."""
    made = [rsa.generate_private_key(65537, 2048).private_numbers() for _ in range(8)]
    return [prime for numbers in made for prime in (numbers.p, numbers.q)]


@cache
def _pairs() -> Iterator[tuple[int, int]]:
    primes = _primes()
    return ((p, q) for i, p in enumerate(primes) for q in primes[:i])


@cache
def key_of(name: str) -> SigningKey:
    """Return the key of a name, the same whenever it is asked for."""
    if name in ("eve", "stranger ec"):
        return new_ec()
    if name == "roca":
        return rsa_roca()
    if name == "small":
        return rsa_of(1024, 65537)
    p, q = next(_pairs())
    return RsaKey(n=p * q, e=65537, d=pow(65537, -1, (p - 1) * (q - 1)), primes=(p, q))


def rsa_key_of(name: str) -> RsaKey:
    """Return the RSA key of a name."""
    key = key_of(name)
    if not isinstance(key, RsaKey):
        raise TypeError(f"{name} has no RSA key")
    return key


@cache
def identity_of(name: str) -> Identity:
    """Return a key with a self-signed certificate as Windows Hello makes it."""
    key = key_of(name)
    return Identity(key=key, certificate=Certificate(key=key, subject=name).encode())


# -- the audit log ---------------------------------------------------------------------------


@dataclass(kw_only=True)
class AuditReader:
    """Reads what was added to a realm's audit log since the last look."""

    path: Path
    _at: int = 0
    _by_port: dict[tuple[str, int], list[dict[str, object]]] = field(default_factory=dict)

    def of(self, transport: str, port: int) -> list[dict[str, object]]:
        """Return the records of one peer port, oldest first."""
        with self.path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data.rpartition(b"\n")[0]
        self._at += len(whole) + bool(whole)
        for line in whole.splitlines():
            record = json.loads(line)
            key = (str(record["transport"]), int(record["IpPort"]))
            self._by_port.setdefault(key, []).append(record)
        return self._by_port.get((transport, port), [])


# -- making a realm --------------------------------------------------------------------------


@dataclass(kw_only=True)
class Target:
    """A served realm of ours: what a test needs besides the world of the client."""

    live: LiveRealm
    world: World
    audit: AuditReader

    def workers(self) -> set[int]:
        """Return the process ids of the workers that live now."""
        if self.live.process is None:
            return set()
        pid = self.live.process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _write_certificate(folder: Path, name: str) -> Path:
    path = folder / f"{name}.pem"
    made = x509.load_der_x509_certificate(identity_of(name).certificate.der)
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


_WITH_PASSWORD = {
    # name: columns of the CSV beyond name and password
    "pat": "",
    "card": "smartcard_required",
    "disabled": "disabled",
    "must_change": "must_change_password",
    "roasted": "",
    "locked": "",
    "expired": "expires_at",
    "hours": "",
    "password_expired": "",
    "zo\xeb-irina-fin": "",
}
_WITHOUT_PASSWORD = ("alice", "bob", "eve", "administrator", "removed", "roca", "small")
_WITH_KEY = ("card", "disabled", "must_change", "locked", "expired", "hours", "password_expired")


def _account_name(role: str) -> str:
    return role.replace("_", "-")


def _accounts_csv() -> str:
    lines = ["name,upn,password,disabled,smartcard_required,must_change_password,expires_at"]
    for role, what in _WITH_PASSWORD.items():
        flags = [
            "yes" if what == column else ""
            for column in ("disabled", "smartcard_required", "must_change_password")
        ]
        expires = "2020-01-01" if what == "expires_at" else ""
        lines.append(",".join((_account_name(role), "", _PASSWORD + role[:3], *flags, expires)))
    lines += [f"{name},,,,,," for name in (*_WITHOUT_PASSWORD, "twin1", "twin2", "twin3")]
    lines.append("suffixed,somebody@elsewhere.example," + _PASSWORD + "suf,,,,")
    lines += [f"{role.replace('_', '-')},,,,yes,yes," for role in ("must_change_card",)]
    lines += [f"{role.replace('_', '-')},,,,yes,," for role in ("password_expired_card",)]
    lines += [f"{holder.name},,,,,," for holder in HOLDERS.values()]
    return "\n".join(lines) + "\n"


def _delegation(live: LiveRealm) -> None:
    """Add a service that may act for users at SERVICE, but not by protocol transition."""
    live.kdc("user", "add", "svc$", "--password-stdin", stdin=_PASSWORD + "svc\n")
    live.kdc("service", "add", "host/svc.lab.test", "--account", "svc$")
    live.kdc("delegation", "add-service", "svc$", "/".join(SERVICE))


def _devices(live: LiveRealm) -> None:
    """Add device objects, and privileged accounts by their groups."""
    for name, device_id in DEVICES.items():
        live.kdc("device", "add", name, "--id", str(UUID(bytes_le=device_id)))
    live.kdc("device", "disable", "disabled")
    for name, parent in GROUPS.items():
        live.kdc("group", "add", name)
        live.kdc("group", "member-add", parent, name)


def _odd_accounts(live: LiveRealm) -> dict[tuple[int, int], bytes]:
    """Give accounts what no command gives them; return the krbtgt keys."""
    state = live.state
    now = datetime.now(UTC)
    store = Store.open(state / "store.sqlite", MasterKey.load(state / "master.key"))

    def number(name: str) -> int:
        account = store.account_by_name(name)
        if account is None:
            raise LookupError(name)
        return account.account_id

    def give(name: str, key: RsaKey) -> None:
        owner = number(name)
        made = keycredential.of(key)
        store.replace_key_credentials(owner, [made.text(store.owner_dn(owner))])

    try:
        for role, holder in HOLDERS.items():
            owner = number(holder.name)
            values = holder.values(rsa_key_of(role), store.owner_dn(owner))
            store.replace_key_credentials(owner, values)
        for role, how in PRIVILEGED.items():
            group = store.group_by_name(how)
            if group is not None:
                store.add_member(group.group_id, account_id=number(HOLDERS[role].name))
            else:
                marked = AccountChanges(admin_count=True)
                store.update_account(number(HOLDERS[role].name), marked)
        for role in (*_WITH_KEY, "must_change_card", "password_expired_card"):
            give(_account_name(role), rsa_key_of(role))
        for name in ("roca", "small"):
            give(name, rsa_key_of(name))
        computers = {"pc$": "computer", "twin4$": "twin3"}
        for name, key in computers.items():
            store.add_account(NewAccount(kind=AccountKind.COMPUTER, name=name, created_at=now))
            give(name, rsa_key_of(key))
        for name, key in {"twin1": "twin1", "twin2": "twin1", "twin3": "twin3"}.items():
            give(name, rsa_key_of(key))
        store.update_account(number("roasted"), AccountChanges(preauth_not_required=True))
        store.update_account(number("hours"), AccountChanges(logon_hours=bytes(21)))
        past = AccountChanges(password_expires_at=now - timedelta(days=1))
        for name in ("password-expired", "password-expired-card"):
            store.update_account(number(name), past)
        lock = LockoutPolicy(threshold=1, duration=timedelta(days=1), window=timedelta(days=1))
        store.record_password_failure(number("locked"), now, lock)
        return {(key.etype, key.kvno): key.key for key in store.krbtgt().keys}
    finally:
        store.close()


def _people() -> dict[str, Person]:
    people = {
        role: Person(name=_account_name(role), password=_PASSWORD + role[:3])
        for role in _WITH_PASSWORD
    }
    people["accented"] = people.pop("zo\xeb-irina-fin")
    people["suffixed"] = Person(name="suffixed", password=_PASSWORD + "suf")
    for name in _WITHOUT_PASSWORD:
        people[name] = Person(name=name)
    for role in (*_WITH_KEY, "must_change_card", "password_expired_card"):
        person = people.get(role) or Person(name=_account_name(role))
        people[role] = replace(person, identity=identity_of(role))
    people["svc"] = Person(name="svc$", password=_PASSWORD + "svc")
    for name in ("alice", "bob", "eve", "removed", "roca", "small"):
        people[name].identity = identity_of(name)
    people["computer"] = Person(name="pc$", identity=identity_of("computer"))
    for role, name, key in (
        ("twin1", "twin1", "twin1"),
        ("twin2", "twin2", "twin1"),
        ("twin3", "twin3", "twin3"),
        ("twin4", "twin4$", "twin3"),
    ):
        people[role] = Person(name=name, identity=identity_of(key))
    for role, holder in HOLDERS.items():
        people[role] = Person(name=holder.name, identity=identity_of(role))
    return people


def _logon_pki(live: LiveRealm) -> LogonPki:
    """Make the CAs of a realm and the accounts that have certificates."""
    pki = make_pki()
    install(pki, live.state)
    now = datetime.now(UTC)
    store = Store.open(live.state / "store.sqlite", MasterKey.load(live.state / "master.key"))
    try:
        new = [NewAccount(kind=AccountKind.COMPUTER, name="kiosk$", created_at=now)]
        new += [
            NewAccount(kind=AccountKind.USER, name=name, created_at=now)
            for name in ("carol", "mallory")
        ]
        for role in ALT_ROLES:
            values = alt_security(pki, role)
            new.append(
                NewAccount(
                    kind=AccountKind.USER,
                    name=f"alt-{role}",
                    created_at=now,
                    alt_security_identities=values,
                )
            )
        for account in new:
            store.add_account(account)
            found = store.account_by_name(account.name)
            if found is None or found.sid is None:
                raise LookupError(account.name)
            pki.sids[account.name] = str(found.sid)
    finally:
        store.close()
    return pki


@contextlib.contextmanager
def served(folder: Path, realm: str = "main", *, switches: str | None = None) -> Iterator[Target]:
    """Make one of the realms in a folder and serve it by two workers.

    switches: lines for its kdc.toml instead of those of SWITCHES.
    """
    live = make_realm(folder / "state")
    with (live.state / "kdc.toml").open("a") as file:
        file.write(SWITCHES[realm] if switches is None else switches)
    accounts = folder / "accounts.csv"
    accounts.write_text(_accounts_csv())
    live.kdc("user", "import", str(accounts))
    live.kdc("service", "add", "/".join(SERVICE))
    _delegation(live)
    _devices(live)
    for name in ("alice", "bob", "eve", "removed"):
        live.kdc("key", "add", name, str(_write_certificate(folder, name)))
    live.kdc("key", "remove", "removed", "--all")
    krbtgt = _odd_accounts(live)
    anchor = x509.load_pem_x509_certificate(live.ca.read_bytes())
    pki = _logon_pki(live) if realm in WITH_CERTIFICATES else None
    cloud = add_read_only_dcs(live) if realm in WITH_READ_ONLY_DCS else None
    people = _people()
    if pki is not None:
        people |= {name.rstrip("$"): Person(name=name) for name in pki.sids}
        for name, identity in pki.identities.items():
            people[name].identity = identity
    world = World(
        realm=live.realm,
        netbios=live.realm.partition(".")[0],
        address=(live.address, live.port),
        people=people,
        pki=pki,
        cloud=cloud,
        service=SERVICE,
        anchor=anchor.public_bytes(serialization.Encoding.DER),
        krbtgt=krbtgt,
        spare=lambda name: identity_of(f"stranger {name}"),
    )
    with live.served(workers=2):
        target = Target(live=live, world=world, audit=AuditReader(path=live.state / "audit.jsonl"))
        _wait_for_workers(target)
        yield target


def _wait_for_workers(target: Target) -> None:
    # The port is bound before the workers are there; on a busy machine that shows.
    end = time.monotonic() + _WORKERS_S
    while len(target.workers()) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    message = target.world.plain("pat").message()
    answer = send(target.world.address, message, "tcp", timeout_s=_WORKERS_S)
    assert answer.reply is not None, "no worker answers"
