"""Many users at once: from a CSV file, or made up for tests with a Hello key each."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from itertools import islice
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import NewAccount
from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.model import AccountKind
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import Moment, read_input_file
from kdc.cli.output import progress
from kdc.cli.state import RealmState, now, write_private
from kdc.exchange.passwords import password_expiry, password_keys, password_nt_hash
from pki.ca import private_key_to_pem
from pki.keys import rsa_key

MAX_CSV_BYTES = 256 * 1024 * 1024  # a million users
RSA_BITS, EXPONENT = 2048, 65537

_COLUMNS = (
    "name",
    "upn",
    "password",
    "disabled",
    "smartcard_required",
    "must_change_password",
    "expires_at",
)
_BOOLEANS = {
    **dict.fromkeys(("", "0", "no", "false"), False),
    **dict.fromkeys(("1", "yes", "true"), True),
}


# -- CSV -------------------------------------------------------------------------------------


def import_csv(realm: RealmState, path: Path) -> int:
    """Add the users of a CSV file in one transaction; return how many."""
    try:
        text = read_input_file(path, MAX_CSV_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _bad_line(path, 1, "the file is not UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
    try:
        heads = reader.fieldnames or ()
        unknown = [head for head in heads if head not in _COLUMNS]
        if "name" not in heads or unknown:
            raise _bad_line(path, 1, f"the columns are {', '.join(_COLUMNS)}")
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise _bad_line(path, reader.line_num, str(error)) from None
    moment = now()
    with realm.store(write=True) as store, progress("users", len(rows)) as done:
        line = 1  # the one whose account is being inserted

        def accounts() -> Iterator[NewAccount]:
            nonlocal line
            for number, (line, row) in enumerate(rows, 1):  # read when it fails
                yield _account(realm, path, line, row, moment)
                done(number)

        try:
            return store.add_accounts(accounts())
        except DirectoryError as error:
            if error.kind not in (DirectoryFault.EXISTS, DirectoryFault.INVALID) or not rows:
                raise
            name = next((row["name"] for at, row in rows if at == line), "").strip()
            code = ExitCode.EXISTS if error.kind is DirectoryFault.EXISTS else ExitCode.FAILED
            raise _bad_line(path, line, f"{name}: {error.detail}", code) from None


def _account(
    realm: RealmState, path: Path, line: int, row: dict[str, str], moment: datetime
) -> NewAccount:
    if None in row:
        raise _bad_line(path, line, "there are more values than columns")
    flags = {}
    for column in ("disabled", "smartcard_required", "must_change_password"):
        value = _BOOLEANS.get(row.get(column, "").strip().lower())
        if value is None:
            raise _bad_line(path, line, f"{column} is yes or no")
        flags[column] = value
    name, password = row["name"].strip(), row.get("password", "")
    if not name:
        raise _bad_line(path, line, "there is no name")
    expires_at = None
    if text := row.get("expires_at", "").strip():
        try:
            found = Moment()(text)
        except Exception as error:
            raise _bad_line(path, line, "expires_at is not a time") from error
        expires_at = found if isinstance(found, datetime) else None
    return NewAccount(
        kind=AccountKind.USER,
        name=name,
        upn=row.get("upn", "").strip() or None,
        created_at=moment,
        keys=password_keys(realm.config, name, password) if password else (),
        nt_hash=password_nt_hash(realm.config, password or None),
        disabled=flags["disabled"],
        smartcard_required=flags["smartcard_required"],
        must_change_password=flags["must_change_password"],
        expires_at=expires_at,
        password_expires_at=password_expiry(realm.config, moment) if password else None,
    )


def _bad_line(path: Path, line: int, why: str, code: ExitCode = ExitCode.FAILED) -> CliError:
    return CliError(f"{path}:{line} cannot be imported", why, "correct it; no user was added", code)


# -- test users ------------------------------------------------------------------------------


def bulk_add(
    realm: RealmState, prefix: str, count: int, folder: Path | None, pool: int | None
) -> None:
    """Add test users with a Hello key each, in one transaction."""
    if pool is not None and pool * (pool - 1) // 2 < count:
        raise CliError(
            f"a pool of {pool} primes is too small",
            f"it gives {pool * (pool - 1) // 2} keys for {count} users",
            f"use --key-pool {_pool_for(count)} or more",
        )
    width = max(4, len(str(count - 1)))
    names = [f"{prefix}{number:0{width}d}" for number in range(count)]
    with realm.store() as store:
        for name in (names[0], names[-1]):
            if store.account_by_name(name) is not None:
                raise CliError(
                    f"{name} is already there",
                    "test users get new names",
                    "choose another --prefix",
                    ExitCode.EXISTS,
                )
    # Before the transaction: it takes long, and starts processes.
    primes = _primes(count, pool)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    moment = now()
    with realm.store(write=True) as store, progress("users", count) as done:

        def accounts() -> Iterator[NewAccount]:
            for number, (name, (p, q)) in enumerate(zip(names, primes, strict=True), 1):
                if folder is not None:
                    pem = private_key_to_pem(_private_key(p, q))
                    write_private(folder / f"{name}.key", pem)
                credential = NewKeyCredential(public_key=rsa_key(p * q, EXPONENT), created=moment)
                dn = store.new_dn(name, AccountKind.USER)
                yield NewAccount(
                    kind=AccountKind.USER,
                    name=name,
                    created_at=moment,
                    key_credentials=(encode_key_credential(credential, dn),),
                )
                done(number)

        store.add_accounts(accounts())


def _pool_for(count: int) -> int:
    size = 2
    while size * (size - 1) // 2 < count:
        size += 1
    return size


def _primes(count: int, pool: int | None) -> Iterable[tuple[int, int]]:
    """Give the two primes of each key: fresh ones, or the pairs of a pool."""
    if pool is None:
        return _fresh_primes(count)
    drawn = [prime for pair in _fresh_primes((pool + 1) // 2) for prime in pair][:pool]
    # Keys that share a prime are broken by anyone who sees both: good for load, nothing else.
    return islice(((p, q) for i, p in enumerate(drawn) for q in drawn[:i]), count)


def _fresh_primes(count: int) -> list[tuple[int, int]]:
    # A key takes 50 to 100 ms of one core; a process costs as much to start.
    if count < 4:
        return [_new_primes(number) for number in range(count)]
    made = []
    with (
        ProcessPoolExecutor(min(os.cpu_count() or 1, count)) as workers,
        progress("keys", count) as done,
    ):
        for pair in workers.map(_new_primes, range(count)):
            made.append(pair)
            done(len(made))
    return made


def _new_primes(_number: int) -> tuple[int, int]:
    numbers = rsa.generate_private_key(EXPONENT, RSA_BITS).private_numbers()
    return numbers.p, numbers.q


def _private_key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = rsa.rsa_recover_private_exponent(EXPONENT, p, q)
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(EXPONENT, p * q),
    ).private_key(unsafe_skip_rsa_key_validation=True)
