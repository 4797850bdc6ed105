"""The store: is it whole, do its secrets open, and who in it cannot log on?"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta

from directory.backend import DirectoryError, DirectoryFault
from directory.model import Account, AccountKind
from directory.store import Store
from directory.store_schema import connect, unavailable
from kdc.cli.authority import with_certificates
from kdc.cli.checks.finding import Finding, Patient, command_or, fail, listed, ok, warn
from kdc.cli.output import progress
from kdc.config import KdcConfig
from kdc.config_values import enctype_name

PAGE = 500
MAX_ACCOUNTS = 100_000
"""Looked at without --all-accounts: some 20 seconds."""
MAX_KEPT_NAMES = 1000
KRBTGT_AGE = timedelta(days=180)
"""Whoever once read the krbtgt keys can make tickets until they are changed; twice a year is the
usual advice."""

_LOGON_KINDS = (AccountKind.USER, AccountKind.COMPUTER)


def check_integrity(patient: Patient) -> Iterator[Finding]:
    """Let SQLite look for damaged pages and broken references, in the store and the counters."""
    store = patient.folder.store
    damaged = False
    for path in (store, store.with_name(f"{store.stem}-lockout{store.suffix}")):
        if path != store and not path.exists():
            continue
        try:
            with closing(connect(path, write=False)) as connection:
                found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
                orphans = connection.execute("PRAGMA foreign_key_check").fetchone()
        except sqlite3.OperationalError as error:
            raise unavailable(error) from error  # locked or not readable
        except sqlite3.DatabaseError as error:
            found, orphans = [str(error)], None
        if found != ["ok"] or orphans is not None:
            damaged = True
            yield fail(
                "store.integrity",
                f"{path} is damaged: {found[0] if found != ['ok'] else 'rows without an account'}",
                "stop the server and restore the state folder from a backup",
            )
    if not damaged:
        yield ok("store.integrity", f"{store} is whole")


def check_realm(patient: Patient, store: Store) -> Iterator[Finding]:
    """Compare the store's realm with the configuration's."""
    config = patient.config
    for name, stored, configured in (
        ("realm", store.realm, config.realm),
        ("netbios", store.netbios, config.netbios),
    ):
        if stored != configured:
            yield fail(
                "store.realm",
                f"the store was made for {name} {stored}, kdc.toml says {configured}",
                f'{name} = "{stored}" in kdc.toml, or kdc init in another folder',
            )
    if store.realm == config.realm:
        yield ok("store.realm", f"it is the store of {store.realm}, and the master key opens it")


def check_krbtgt(patient: Patient, store: Store) -> Iterator[Finding]:
    """Look at the keys that every ticket is sealed with."""
    krbtgt = store.krbtgt()
    newest = krbtgt.newest_keys()
    usable = [key.etype for key in newest if key.etype in patient.config.supported_enctypes]
    if not usable:
        yield fail(
            "store.krbtgt",
            "krbtgt has no key of a type in supported_enctypes: no ticket can be issued",
            "put the types back that were there: " + _names(key.etype for key in newest),
        )
        return
    kvno = newest[0].kvno
    shown = f"krbtgt has {len(usable)} keys, kvno {kvno}"
    age = patient.now - krbtgt.created_at
    if kvno == 1 and age > KRBTGT_AGE:
        # The store does not note when later generations were made.
        yield warn(
            "store.krbtgt",
            f"{shown}, unchanged for {age.days} days",
            command_or(
                ("realm", "rotate-krbtgt"),
                "this version cannot change them in place; guard the backups of the store",
            ),
        )
    else:
        yield ok("store.krbtgt", shown if kvno > 1 else f"{shown}, {age.days} days old")


def _names(etypes: Iterator[int]) -> str:
    return ", ".join(map(enctype_name, etypes)) or "none"


def check_shared_keys(store: Store) -> Iterator[Finding]:
    """Find keys that are registered on several accounts: nobody logs on with them (row K07)."""
    shared = store.shared_keys()
    for digest, owners in shared:
        names, key_id = [], ""
        for owner in owners:
            account = store.account_by_id(owner)
            if account is None:
                continue
            names.append(account.sam_account_name)
            for credential in account.key_credentials:
                if credential.public_key is not None and credential.public_key.digest == digest:
                    key_id = credential.key_id.hex()[:16]
        yield fail(
            "store.shared_keys",
            f"a key is registered on {listed(names)}: logons with it are refused",
            f"find out whose it is, then: kdc key remove NAME {key_id}",
        )
    if not shared:
        yield ok("store.shared_keys", "no key is registered on two accounts")


# -- every account ---------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What a walk over the accounts found."""

    looked_at: int = 0
    corrupt: list[str] = field(default_factory=list)
    by_kind: Counter[AccountKind] = field(default_factory=Counter)
    no_way: list[str] = field(default_factory=list)
    old_types: list[str] = field(default_factory=list)
    no_service_key: list[str] = field(default_factory=list)
    unusable: Counter[str] = field(default_factory=Counter)
    unusable_on: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Reason -> (an account, a KeyID)."""

    def add(self, account: Account, config: KdcConfig) -> None:
        """Look at one account."""
        self.looked_at += 1
        self.by_kind[account.kind] += 1
        for credential in account.key_credentials:
            if not credential.usable:
                self.unusable[credential.reason] += 1
                key_id = credential.key_id.hex()[:16]
                self.unusable_on.setdefault(credential.reason, (account.sam_account_name, key_id))
        if account.disabled:
            return
        has_type = any(key.etype in config.supported_enctypes for key in account.newest_keys())
        if account.kind in _LOGON_KINDS:
            by_password = has_type and not account.smartcard_required
            by_key = any(credential.usable for credential in account.key_credentials)
            if not by_password and not by_key:
                _keep(self.no_way, account)
        elif account.kind is AccountKind.SERVICE and not has_type:
            _keep(self.no_service_key, account)
        if account.keys and not has_type:
            _keep(self.old_types, account)


def _keep(names: list[str], account: Account) -> None:
    if len(names) < MAX_KEPT_NAMES:
        names.append(account.sam_account_name)


def check_accounts(patient: Patient, store: Store, *, every: bool) -> Iterator[Finding]:
    """Open every account's keys; find accounts and registered keys that cannot be used."""
    total = store.count_accounts()
    tally = _walk(patient, store, total if every else min(total, MAX_ACCOUNTS))
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.by_kind.items()))
    if tally.corrupt:
        yield fail(
            "store.keys",
            f"the sealed keys of {listed(tally.corrupt)} do not open: changed or copied there",
            "restore the store from a backup, or set the keys anew: kdc user password NAME",
        )
    seen = f"the keys of {tally.looked_at - len(tally.corrupt)} accounts open ({kinds})"
    if tally.looked_at < total:
        seen += f"; {total} are there: --all-accounts looks at every one"
    yield ok("store.keys", seen)
    yield from _tell(tally)


def _walk(patient: Patient, store: Store, limit: int) -> _Tally:
    tally, after = _Tally(), ""
    with progress("accounts", limit) as done:
        while tally.looked_at < limit:
            page = store.list_accounts(after=after, limit=min(PAGE, limit - tally.looked_at))
            if not page:
                break
            after = page[-1].sam_account_name
            for summary in page:
                try:
                    account = store.account_by_id(summary.account_id)
                except DirectoryError as error:
                    if error.kind is not DirectoryFault.CORRUPT:
                        raise
                    tally.looked_at += 1
                    tally.corrupt.append(summary.sam_account_name)
                    continue
                if account is not None:
                    tally.add(account, patient.config)
            done(tally.looked_at)
    if tally.no_way:
        certified = with_certificates(patient.folder, patient.now)
        tally.no_way = [name for name in tally.no_way if name not in certified]
    return tally


def _tell(tally: _Tally) -> Iterator[Finding]:
    for reason, count in tally.unusable.most_common():
        name, key_id = tally.unusable_on[reason]
        shown = f"{count} registered {'key is' if count == 1 else 'keys are'} not usable"
        fix = f"kdc key remove {name} {key_id}".rstrip() if key_id else f"kdc key list {name}"
        yield warn("store.unusable_keys", f"{shown}: {reason} (one is on {name})", fix)
    if not tally.unusable:
        yield ok("store.unusable_keys", "every registered key is usable")
    if tally.no_way:
        yield warn(
            "store.no_logon",
            f"enabled, but without any way to log on: {listed(tally.no_way)}",
            "kdc key enroll NAME, kdc user password NAME, or kdc user disable NAME",
        )
    if tally.old_types:
        yield warn(
            "store.key_types",
            f"no key of a type in supported_enctypes: {listed(tally.old_types)}",
            "set them anew: kdc user password NAME, kdc keytab rotate PRINCIPAL",
        )
    if tally.no_service_key:
        yield warn(
            "store.services",
            f"services that no ticket can be made for: {listed(tally.no_service_key)}",
            "kdc keytab rotate PRINCIPAL",
        )
