"""`kdc user`: accounts of users."""

from datetime import datetime
from pathlib import Path

import click

from directory.changes import UNCHANGED, AccountChanges, NewAccount
from directory.keysources import NT_HASH_ETYPE
from directory.model import Account, AccountKind, PrincipalKey
from directory.store import Store
from directory.store_names import check_name, check_upn
from kdc.cli import user_certificate
from kdc.cli.accounts import (
    account_json,
    credential_state,
    enctypes,
    refuse_krbtgt,
    state_of,
)
from kdc.cli.bulk import bulk_add, import_csv
from kdc.cli.delegation import delegation_json, delegation_of, delegation_rows
from kdc.cli.directory_access import Caller, caller_options
from kdc.cli.errors import CliError, ExitCode, unless_there
from kdc.cli.options import (
    Moment,
    check_new_name,
    json_option,
    password_options,
    read_password,
    state_option,
    usage_if_invalid,
)
from kdc.cli.output import iso, print_fields, print_json, print_table, read_time
from kdc.cli.sealed_keys import set_sealed_keys, where_keys_are_set
from kdc.cli.state import RealmState, find_account, now, open_realm
from kdc.exchange.passwords import (
    ChangeRefused,
    changes_with_a_password,
    check_new_password,
    next_kvno,
    password_expiry,
    password_keys,
    password_nt_hash,
    remembered_passwords,
)

PAGE = 500


@click.group("user")
def command() -> None:
    """Accounts of users."""


command.add_command(user_certificate.command)


@command.command("add")
@click.argument("name")
@click.option("--upn", help="userPrincipalName, such as alice@lab.test.")
@password_options
@click.option("--smartcard-required", is_flag=True, help="Refuse logons by password.")
@click.option("--must-change-password", is_flag=True, help="Refuse the password until changed.")
@state_option
@click.pass_context
def add(
    ctx: click.Context,
    name: str,
    upn: str | None,
    password_file: Path | None,
    password_stdin: bool,
    password_prompt: bool,
    smartcard_required: bool,
    must_change_password: bool,
) -> None:
    """Add a user. Without a password only a registered key can log on."""
    realm = open_realm(ctx)
    kind = AccountKind.COMPUTER if name.endswith("$") else AccountKind.USER
    with usage_if_invalid():
        check_name(check_new_name(name), kind)
        if upn is not None:
            check_upn(upn)
    password = read_password(password_file, password_stdin, password_prompt)
    keys = () if password is None else password_keys(realm.config, name, password)
    moment = now()
    with unless_there(name), realm.store(write=True) as store:
        store.add_account(
            NewAccount(
                kind=kind,
                name=name,
                upn=upn,
                created_at=moment,
                keys=keys,
                password_expires_at=password_expiry(realm.config, moment) if keys else None,
                nt_hash=password_nt_hash(realm.config, password),
                smartcard_required=smartcard_required,
                must_change_password=must_change_password,
            )
        )
    click.echo(f"added {name}" + ("" if keys else " (no password)"))


@command.command("list")
@click.option("--prefix", default="", help="Only names that start so.")
@json_option
@state_option
@click.pass_context
def list_users(ctx: click.Context, prefix: str, as_json: bool) -> None:
    """List users and computers.

    JSON: a list of name, kind, upn, disabled, locked_until, expires_at, smartcard_required,
    must_change_password, keys (how many are registered).
    """
    found, locks = [], {}
    moment = now()
    with open_realm(ctx).store() as store:
        after = ""
        while page := store.list_accounts(prefix=prefix, after=after, limit=PAGE):
            found += [a for a in page if a.kind in (AccountKind.USER, AccountKind.COMPUTER)]
            after = page[-1].sam_account_name
        for a in found:
            until = store.locked_until(a.account_id)
            if until is not None:
                locks[a.account_id] = until
    if as_json:
        print_json(
            [
                {
                    "name": a.sam_account_name,
                    "kind": str(a.kind),
                    "upn": a.upn,
                    "disabled": a.disabled,
                    "locked_until": iso(locks.get(a.account_id)),
                    "expires_at": iso(a.expires_at),
                    "smartcard_required": a.smartcard_required,
                    "must_change_password": a.must_change_password,
                    "keys": a.key_credentials,
                }
                for a in found
            ]
        )
        return
    print_table(
        ("NAME", "UPN", "KEYS", "STATE"),
        [
            (
                a.sam_account_name,
                a.upn or "",
                str(a.key_credentials),
                state_of(a, locks.get(a.account_id), moment),
            )
            for a in found
        ],
    )


@command.command("show")
@click.argument("name")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show an account.

    JSON: name, kind, upn, sid, object_guid, service_principal_names, disabled, locked_until,
    expires_at, password_expires_at, must_change_password, smartcard_required, created_at, kvno,
    enctypes, supported_enctypes (msDS-SupportedEncryptionTypes), keys (as in `kdc key list`), and
    as in `kdc delegation show`: trusted_for_delegation, trusted_to_authenticate_for_delegation,
    not_delegated, allowed_to_delegate_to, allowed_to_act.
    """
    with open_realm(ctx).store() as store:
        show_account(store, find_account(store, name), as_json)


def show_account(store: Store, account: Account, as_json: bool) -> None:
    """Print an account of any kind."""
    delegation = delegation_of(store, account)
    if as_json:
        print_json({**account_json(store, account), **delegation_json(delegation)})
        return
    keys = [f"{c.key_id.hex()} {credential_state(store, c)}" for c in account.key_credentials]
    mask = account.supported_enctypes
    secret = "password" if account.kind is AccountKind.USER else "keytab keys"
    print_fields(
        [
            ("name", account.sam_account_name),
            ("kind", str(account.kind)),
            ("UPN", account.upn or "none"),
            ("SID", str(account.sid or "")),
            ("objectGUID", str(store.object_guid(account.account_id))),
            ("services", " ".join(account.spns) or "none"),
            ("state", state_of(account, account.locked_until, now())),
            ("expires", read_time(account.expires_at)),
            ("created", read_time(account.created_at)),
            (secret, ", ".join(enctypes(account.newest_keys())) or "none"),
            *_password_times(account),
            *([] if mask is None else [("etype mask", f"{mask} (msDS-SupportedEncryptionTypes)")]),
            *delegation_rows(delegation),
            *(("key", key) for key in keys),
        ]
    )


def _password_times(account: Account) -> list[tuple[str, str]]:
    """Say when a user's password was set and when it expires, where that is known."""
    if account.kind is not AccountKind.USER or not account.keys:
        return []
    rows = []
    if account.password_set_at is not None:
        rows.append(("password set", read_time(account.password_set_at)))
    if account.password_expires_at is not None:
        rows.append(("password expires", read_time(account.password_expires_at)))
    return rows


def _change(ctx: click.Context, name: str, changes: AccountChanges, done: str) -> None:
    with open_realm(ctx).store(write=True) as store:
        account = find_account(store, name)
        refuse_krbtgt(account)
        store.update_account(account.account_id, changes)
    click.echo(f"{account.sam_account_name} {done}")


@command.command("disable")
@click.argument("name")
@state_option
@click.pass_context
def disable(ctx: click.Context, name: str) -> None:
    """Refuse every logon of an account from now on."""
    _change(ctx, name, AccountChanges(disabled=True), "is disabled")


@command.command("enable")
@click.argument("name")
@state_option
@click.pass_context
def enable(ctx: click.Context, name: str) -> None:
    """Let a disabled account log on again."""
    _change(ctx, name, AccountChanges(disabled=False), "is enabled")


@command.command("expire")
@click.argument("name")
@click.option("--at", required=True, type=Moment(), help="2027-01-31, 30d, or never.")
@state_option
@click.pass_context
def expire(ctx: click.Context, name: str, at: datetime | str) -> None:
    """Set when an account expires."""
    when = at if isinstance(at, datetime) else None
    done = f"expires {read_time(when)}"
    _change(ctx, name, AccountChanges(expires_at=when), done)


@command.command("set")
@click.argument("name")
@click.option("--upn", help='userPrincipalName; "" removes it.')
@click.option("--smartcard-required/--no-smartcard-required", default=None)
@click.option("--must-change-password/--no-must-change-password", default=None)
@click.option(
    "--not-delegated/--no-not-delegated",
    default=None,
    help="Let no service act for it (its tickets are not forwardable).",
)
@click.option(
    "--supported-enctypes",
    type=click.IntRange(0, 0xFFFFFFFF),
    metavar="MASK",
    help="msDS-SupportedEncryptionTypes: 24 is AES of both sizes; 0 takes it away.",
)
@state_option
@click.pass_context
def set_fields(
    ctx: click.Context,
    name: str,
    upn: str | None,
    smartcard_required: bool | None,
    must_change_password: bool | None,
    not_delegated: bool | None,
    supported_enctypes: int | None,
) -> None:
    """Change fields of an account; others stay as they are."""
    changes = AccountChanges(
        upn=UNCHANGED if upn is None else upn or None,
        smartcard_required=UNCHANGED if smartcard_required is None else smartcard_required,
        must_change_password=UNCHANGED if must_change_password is None else must_change_password,
        not_delegated=UNCHANGED if not_delegated is None else not_delegated,
        supported_enctypes=UNCHANGED if supported_enctypes is None else supported_enctypes or None,
    )
    if changes == AccountChanges():
        raise click.UsageError("nothing to change was named")
    words = []
    if upn:
        with usage_if_invalid():
            check_upn(upn)
    if upn is not None:
        words.append(f"UPN {upn}" if upn else "no UPN")
    for value, on, off in (
        (smartcard_required, "smart card required", "no smart card required"),
        (must_change_password, "password must be changed", "password need not be changed"),
        (not_delegated, "nobody may act for it", "services may act for it"),
    ):
        if value is not None:
            words.append(on if value else off)
    if supported_enctypes is not None:
        words.append(f"etype mask {supported_enctypes}" if supported_enctypes else "no etype mask")
    _change(ctx, name, changes, f"has now: {', '.join(words)}")


@command.command("password")
@click.argument("name")
@password_options
@click.option("--ignore-policy", is_flag=True, help="Take any password, whatever password_* say.")
@caller_options
@state_option
@click.pass_context
def password(
    ctx: click.Context,
    name: str,
    password_file: Path | None,
    password_stdin: bool,
    password_prompt: bool,
    ignore_policy: bool,
    caller: Caller,
) -> None:
    """Set a user's password.

    Asks for it unless a file or stdin is named. The realm's policy holds, but for the minimum age.
    In an LDAP realm with key_source "ldap-sealed" its keys are written to the directory, as whoever
    the options say.
    """
    realm = open_realm(ctx)
    in_store = where_keys_are_set(realm.config, caller) == "store"
    prompt = password_prompt or not (password_file or password_stdin)
    text = read_password(password_file, password_stdin, prompt)
    with realm.store(write=in_store, local=True) as store:
        account = find_account(store, name)
        refuse_krbtgt(account)
        if text is None or account.kind is not AccountKind.USER:
            raise CliError(
                f"{account.sam_account_name} has no password",
                f"it is a {account.kind} account",
                f"kdc keytab rotate {account.sam_account_name}",
                ExitCode.DENIED,
            )
        moment = now()
        if not ignore_policy:
            history = store.password_history(account.account_id)
            try:
                check_new_password(account, text, history, realm.config, moment, by_owner=False)
            except ChangeRefused as refusal:
                raise CliError(
                    f"the password of {account.sam_account_name} is not changed",
                    refusal.text,
                    "see password_* in kdc.toml, or use --ignore-policy",
                    ExitCode.DENIED,
                ) from None
        if in_store:
            store.set_keys(
                account.account_id,
                password_keys(realm.config, account.sam_account_name, text, next_kvno(account)),
                now=moment,
                nt_hash=password_nt_hash(realm.config, text),
                history=remembered_passwords(realm.config),
                changes=changes_with_a_password(realm.config, moment),
            )
    if not in_store:
        _seal_password(realm, caller, account.sam_account_name, text)
    click.echo(f"{account.sam_account_name} has a new password")


def _seal_password(realm: RealmState, caller: Caller, name: str, text: str) -> None:
    """Write the keys of a password to the directory."""

    def new_keys(account: str, kvno: int) -> tuple[PrincipalKey, ...]:
        keys = password_keys(realm.config, account, text, kvno)
        hashed = password_nt_hash(realm.config, text)
        if hashed is None:
            return keys
        return (*keys, PrincipalKey(etype=NT_HASH_ETYPE, kvno=kvno, key=hashed))

    set_sealed_keys(realm, caller, name, new_keys, keep=0, password=True)


@command.command("unlock")
@click.argument("name")
@state_option
@click.pass_context
def unlock(ctx: click.Context, name: str) -> None:
    """End the lock of an account that had too many wrong passwords."""
    with open_realm(ctx).store(write=True, local=True) as store:
        account = find_account(store, name)
        had = store.unlock(account.account_id)
    done = "is unlocked" if had else "was not locked"
    click.echo(f"{account.sam_account_name} {done}")


@command.command("delete")
@click.argument("name")
@state_option
@click.pass_context
def delete(ctx: click.Context, name: str) -> None:
    """Delete an account with its keys."""
    with open_realm(ctx).store(write=True) as store:
        account = _deletable(store, name)
        store.delete_account(account.account_id)
    click.echo(f"deleted {account.sam_account_name}")


def _deletable(store: Store, name: str) -> Account:
    # No implicit "$" and no UPN here: what is deleted was named exactly.
    account = store.account_by_name(name)
    if account is not None:
        refuse_krbtgt(account)
    if account is None or account.kind not in (AccountKind.USER, AccountKind.COMPUTER):
        raise CliError(
            f"no user named {name}",
            "there is no such account in this realm",
            "kdc user list",
            ExitCode.NOT_FOUND,
        )
    return account


@command.command("import")
@click.argument("csv_file", type=click.Path(dir_okay=False, path_type=Path))
@state_option
@click.pass_context
def import_users(ctx: click.Context, csv_file: Path) -> None:
    """Add the users of a CSV file, all of them or none.

    The first line names the columns: name, and any of upn, password, disabled,
    smartcard_required, must_change_password, expires_at.
    """
    count = import_csv(open_realm(ctx), csv_file)
    click.echo(f"added {count} users")


@command.command("bulk-add")
@click.option("--prefix", default="user", show_default=True)
@click.option("--count", type=click.IntRange(1, 1_000_000), required=True)
@click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each user's private key here, as user0000.key.",
)
@click.option(
    "--key-pool",
    type=click.IntRange(2, 100_000),
    metavar="M",
    help="Combine M primes instead of making new ones; M(M-1)/2 keys. For tests only.",
)
@state_option
@click.pass_context
def bulk(
    ctx: click.Context, prefix: str, count: int, keys: Path | None, key_pool: int | None
) -> None:
    """Add test users, each with a Hello key.

    They are named user0000, user0001 and so on; each has an RSA-2048 key of its own.
    """
    bulk_add(open_realm(ctx), prefix, count, keys, key_pool)
    click.echo(f"added {count} users")
