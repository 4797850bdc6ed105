"""`kdc key check`: are the store's long-term keys those of the directory and the key source?"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import click

from directory.backend import DirectoryError
from directory.keysources import NT_HASH_ETYPE, Keys, keys_of_account
from directory.ldap.filters import present
from directory.ldap.session import Session
from directory.model import Account, PrincipalKey, match_key
from directory.store import Store
from kdc.cli.directory_ticket import sasl_of
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, state_option
from kdc.cli.output import print_json, print_table, progress
from kdc.cli.state import RealmState, find_account, open_realm
from kdc.server.directory_link import make_servers
from kdc.server.key_source import open_key_source

PAGE = 500
_LOW = 0xFFFF  # a read-only controller's krbtgt has its number above (MS-KILE 3.1.5.8)
_KVNO = "msDS-KeyVersionNumber"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The newest key version number of one account, wherever there is one."""

    account: str
    store: int | None
    directory: int | None
    """msDS-KeyVersionNumber; None: it shows none."""
    source: int | None
    """Of the key source; None: it has no keys of the account, or keys live in the store."""
    same_keys: bool = True
    """Whether store and source hold the same keys of that number."""

    @property
    def state(self) -> str:
        """Say in words how they compare; `ok` when all is well."""
        if self.source is not None and self.store is None:
            return "the store has no keys, the source has"
        if self.source is not None and self.store is not None and self.store < self.source:
            return "the store is behind the source"
        if self.source is not None and self.store is not None and self.store > self.source:
            return "the source is behind the store"
        if not self.same_keys:
            return "the keys differ, of one kvno"
        newest = self.source if self.source is not None else self.store
        if newest is not None and self.directory is not None:
            if newest & _LOW < self.directory & _LOW:
                return "keys are older than the directory's"
            if newest & _LOW > self.directory & _LOW:
                return "keys are newer than the directory's"
        return "ok"


@click.command("check")
@click.argument("account", required=False)
@click.option("--all", "every", is_flag=True, help="Show the accounts that are right, too.")
@json_option
@state_option
@click.pass_context
def command(ctx: click.Context, account: str | None, every: bool, as_json: bool) -> None:
    """Compare the kvno of store, directory and key source.

    Exit code 1 when any differ. What follows the source catches up by itself; what stays behind is
    a keytab that was not exported anew, or a source that cannot be read.

    JSON: a list of account, store, directory, source (kvno or null), state.
    """
    realm = open_realm(ctx)
    with realm.store() as store:
        accounts = [find_account(store, account)] if account else _with_keys(store)
        directory, source = _directory_kvnos(realm, store), _source_keys(realm)
        compared = [_compare(each, directory, source) for each in accounts]
    if account is None:
        compared += _only_in_source(compared, source, directory)
    wrong = [each for each in compared if each.state != "ok"]
    if as_json:
        print_json(
            [
                {
                    "account": each.account,
                    "store": each.store,
                    "directory": each.directory,
                    "source": each.source,
                    "state": each.state,
                }
                for each in compared
            ]
        )
    else:
        shown = compared if every or account else wrong
        if shown:
            print_table(
                ("ACCOUNT", "STORE", "DIRECTORY", "SOURCE", "STATE"),
                [
                    (
                        each.account,
                        _shown(each.store),
                        _shown(each.directory),
                        _shown(each.source),
                        each.state,
                    )
                    for each in shown
                ],
            )
        click.echo(f"{len(compared)} accounts with keys, {len(wrong)} that differ")
    if wrong:
        ctx.exit(ExitCode.FAILED)


def _shown(kvno: int | None) -> str:
    return "-" if kvno is None else str(kvno)


def _with_keys(store: Store) -> list[Account]:
    found: list[Account] = []
    after = ""
    total = store.count_accounts()
    seen = 0
    with progress("accounts", total) as done:
        while page := store.list_accounts(after=after, limit=PAGE):
            after = page[-1].sam_account_name
            for summary in page:
                account = store.account_by_id(summary.account_id)
                if account is not None and account.keys:
                    found.append(account)
            seen += len(page)
            done(seen)
    return found


def _compare(account: Account, directory: dict[str, int], source: Keys | None) -> Compared:
    name = account.sam_account_name
    ours = account.newest_keys()
    theirs = _of_source(source, account)
    newest = tuple(key for key in theirs if key.kvno == theirs[0].kvno) if theirs else ()
    same = True
    if ours and newest and ours[0].kvno == newest[0].kvno:
        mine = {key.etype: key.key for key in ours}
        same = all(mine.get(key.etype, key.key) == key.key for key in newest)
    return Compared(
        account=name,
        store=ours[0].kvno if ours else None,
        directory=directory.get(match_key(name)),
        source=newest[0].kvno if newest else None,
        same_keys=same,
    )


def _of_source(source: Keys | None, account: Account) -> tuple[PrincipalKey, ...]:
    if source is None:
        return ()
    found = keys_of_account(source, account.sam_account_name, account.spns)
    return tuple(key for key in found if key.etype != NT_HASH_ETYPE)


def _only_in_source(
    compared: list[Compared], source: Keys | None, directory: dict[str, int]
) -> Iterator[Compared]:
    """Name accounts of the directory that have keys in the source and none in the store."""
    known = {match_key(each.account) for each in compared}
    for name, keys in (source or {}).items():
        usable = [key for key in keys if key.etype != NT_HASH_ETYPE]
        if usable and name in directory and name not in known:
            yield Compared(
                account=name, store=None, directory=directory[name], source=usable[0].kvno
            )


def _source_keys(realm: RealmState) -> Keys | None:
    if not realm.config.directory_url:
        return None
    sasl = sasl_of(realm.config, realm.folder.root)
    source = open_key_source(realm.config, realm.folder, realm.master_key(), sasl)
    if source is None:
        return None
    with closing(source):
        try:
            return source.load()
        except DirectoryError as error:
            raise CliError(
                "the key source cannot be read",
                error.detail or error.kind.value,
                f"directory.key_source is {realm.config.directory_key_source}: check it and who "
                "may read it",
                ExitCode.UNREACHABLE,
            ) from error


def _directory_kvnos(realm: RealmState, store: Store) -> dict[str, int]:
    """Read msDS-KeyVersionNumber of every account, by its name's match_key."""
    config = realm.config
    if not config.directory_url:
        return {}
    session = _session(realm, store)
    found: dict[str, int] = {}
    wanted = ("sAMAccountName", _KVNO)
    try:
        with closing(session.connection):
            for page in session.connection.pages(session.base, present("sAMAccountName"), wanted):
                for entry in page:
                    values = entry.values(_KVNO.lower())
                    names = entry.values("samaccountname")
                    if len(values) == len(names) == 1 and values[0].isdigit():
                        name = match_key(names[0].decode("utf-8", "replace"))
                        found[name] = int(values[0])
    except DirectoryError as error:
        raise _unreachable(error) from error
    return found


def _session(realm: RealmState, store: Store) -> Session:
    try:
        root = realm.folder.root
        return make_servers(realm.config, store, root, sasl_of(realm.config, root)).open()
    except DirectoryError as error:
        raise _unreachable(error) from error


def _unreachable(error: DirectoryError) -> CliError:
    return CliError(
        "the directory cannot be read",
        error.detail or error.kind.value,
        "kdc directory check says what is missing",
        ExitCode.UNREACHABLE,
    )
