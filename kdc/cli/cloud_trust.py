"""`kdc cloud-trust`: read-only DCs that stand for the cloud, their keys, and tickets under them.

The objects are those that Entra's tool makes (MS-ADTS 6.1.1.3.2): a computer without a machine,
AzureADKerberos, with the flag of read-only DCs and two lists; and its krbtgt account, whose number
is the upper half of the kvno of every ticket under its keys.
"""

import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

import click

from directory.model import MAX_SECONDARY_NUMBER, Account, AccountKind, Group, ReadOnlyDc, Sid
from directory.store import Store
from directory.store_names import check_name
from directory.store_read_only_dc import dn_of_group
from kdc.cli import cloud_directory
from kdc.cli.accounts import enctypes, random_keys
from kdc.cli.cloud_objects import (
    COMPUTER,
    KEPT_GENERATIONS,
    CloudObjects,
    add_cloud_objects,
    default_deny,
    names_of,
    problems_of,
)
from kdc.cli.cloud_redeem import redeem
from kdc.cli.directory_access import Caller, caller_options
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.group import find_group
from kdc.cli.options import (
    Moment,
    json_option,
    not_found,
    read_input_file,
    state_option,
    usage_if_invalid,
)
from kdc.cli.output import iso, print_fields, print_json
from kdc.cli.state import RealmState, check_writable, now, open_realm, write_private
from kdc.cli.tickets import keep_ccache
from kdc.client.partial_tgt import DEFAULT_LIFE, MintedTgt, mint_partial_tgt
from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.exchange.passwords import next_kvno
from kdc.formats.cloud_key import (
    MAX_FILE_BYTES,
    CloudKey,
    CloudKeyError,
    decode_cloud_key,
    encode_cloud_key,
)

_ETYPE = EncType(18)
_VERSION = 0xFFFF  # a directory may show the number in the upper half
MAX_USER_CHARS = 256

_number_option = click.option(
    "--number",
    type=click.IntRange(1, MAX_SECONDARY_NUMBER),
    metavar="N",
    help="Which one, by the number of its krbtgt; needed when there are several.",
)


@click.group("cloud-trust")
def command() -> None:
    """Trust in tickets that the cloud, or a read-only DC, issues for users of this domain."""


def _find(store: Store, number: int | None) -> ReadOnlyDc:
    """Find the one that is meant. Raises CliError, click.UsageError."""
    numbers = store.read_only_dc_numbers()
    if number is None and len(numbers) > 1:
        listed = ", ".join(map(str, numbers))
        raise click.UsageError(f"there are several: choose one with --number ({listed})")
    chosen = number if number is not None else next(iter(numbers), None)
    found = None if chosen is None else store.read_only_dc(chosen)
    if found is None:
        what = f"no cloud trust has number {number}" if number else "there is no cloud trust"
        raise not_found(what, "kdc cloud-trust show" if numbers else "kdc cloud-trust create")
    return found


@command.command("create")
@click.option(
    "--number",
    type=click.IntRange(1, MAX_SECONDARY_NUMBER),
    metavar="N",
    help="Number of its krbtgt; else a random one that is free.",
)
@click.option("--computer", default=COMPUTER, show_default=True, help="Name of the computer.")
@click.option(
    "--allow", multiple=True, metavar="GROUP", help="Who gets tickets; else Domain Users."
)
@click.option(
    "--deny",
    multiple=True,
    metavar="GROUP",
    help="Who never gets any; else the privileged groups. This list goes before the other.",
)
@caller_options
@state_option
@click.pass_context
def create(
    ctx: click.Context,
    number: int | None,
    computer: str,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    caller: Caller,
) -> None:
    """Make the computer object, its krbtgt account with a key, and the links between them.

    In an LDAP realm they are written to the directory, as whoever the options say.
    """
    realm = open_realm(ctx)
    name = computer.removesuffix("$")
    with usage_if_invalid():
        check_name(f"{name}$", AccountKind.COMPUTER)
    in_directory = _in_directory(realm, caller)
    with realm.store(write=not in_directory) as store:
        denied = [find_group(store, group) for group in deny] if deny else default_deny(store)
        allowed = [find_group(store, group) for group in allow or ("Domain Users",)]
        if in_directory:
            wanted = cloud_directory.Wanted(
                number=number, computer=name, allow=tuple(allowed), deny=tuple(denied)
            )
            chosen = cloud_directory.create(realm, caller, wanted)
        else:
            chosen = _create_in_store(realm, store, number, name, allowed, denied)
    click.echo(f"made {name}$ and its krbtgt, number {chosen}")
    click.echo(f"  allowed: {', '.join(group.name for group in allowed)}")
    click.echo(f"  denied:  {', '.join(group.name for group in denied) or 'nobody'}")
    click.echo(f"  the cloud needs the key: kdc cloud-trust export-key --number {chosen} -o F")


def _in_directory(realm: RealmState, caller: Caller) -> bool:
    """Tell whether the objects are written to a directory."""
    if realm.config.directory_url:
        return True
    if caller.given:
        raise click.UsageError("this realm lives in its own store: no directory to log on to")
    return False


def _create_in_store(
    realm: RealmState,
    store: Store,
    number: int | None,
    computer: str,
    allowed: list[Group],
    denied: list[Group],
) -> int:
    taken = store.read_only_dc_numbers()
    if number in taken:
        raise CliError(
            f"number {number} is taken",
            "two krbtgt accounts of one number would both be refused",
            "choose another number, or kdc cloud-trust show",
            ExitCode.EXISTS,
        )
    chosen = number or _free_number(taken)
    add_cloud_objects(
        store,
        CloudObjects(
            number=chosen,
            computer=computer,
            allow=tuple(dn_of_group(group, store.realm) for group in allowed),
            deny=tuple(dn_of_group(group, store.realm) for group in denied),
            keys=random_keys(realm.config),
            created_at=now(),
        ),
    )
    return chosen


def _free_number(taken: tuple[int, ...]) -> int:
    while True:
        number = 1 + secrets.randbelow(MAX_SECONDARY_NUMBER)
        if number not in taken:
            return number


@command.command("show")
@_number_option
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, number: int | None, as_json: bool) -> None:
    """Show what there is, and what is wrong with it.

    JSON: a list of number, krbtgt, kvno (of the newest key), kvnos (all that open tickets),
    enctypes, password_set_at, computer (null: none links to it), partial_secrets, allow and deny
    (names), problems.
    """
    with open_realm(ctx).store() as store:
        numbers = store.read_only_dc_numbers() if number is None else (number,)
        shown = [_shown(store, _find(store, one)) for one in numbers]
    if as_json:
        print_json(shown)
        return
    if not shown:
        click.echo("there is no cloud trust; kdc cloud-trust create makes one")
    for at, one in enumerate(shown):
        if at:
            click.echo()
        print_fields([(name, _text(value)) for name, value in one.items()])


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _shown(store: Store, dc: ReadOnlyDc) -> dict[str, object]:
    krbtgt, computer = dc.krbtgt, dc.computer
    newest = krbtgt.newest_keys()
    return {
        "number": dc.number,
        "krbtgt": krbtgt.sam_account_name,
        "kvno": newest[0].kvno & _VERSION if newest else None,
        "kvnos": list(dict.fromkeys(key.kvno & _VERSION for key in krbtgt.living_keys())),
        "enctypes": enctypes(newest),
        "password_set_at": iso(krbtgt.password_set_at),
        "computer": None if computer is None else computer.sam_account_name,
        "partial_secrets": computer is not None and computer.partial_secrets,
        "allow": [] if computer is None else names_of(store, computer.reveal_on_demand),
        "deny": [] if computer is None else names_of(store, computer.never_reveal),
        "problems": problems_of(dc),
    }


@command.command("rotate")
@_number_option
@caller_options
@state_option
@click.pass_context
def rotate(ctx: click.Context, number: int | None, caller: Caller) -> None:
    """Give the krbtgt of a cloud trust new random keys.

    Tickets under the last ones stay good until the next rotation, so that the cloud has time to
    take the new key. After a theft of the key rotate twice.
    """
    realm = open_realm(ctx)
    in_directory = _in_directory(realm, caller)
    with realm.store(write=not in_directory) as store:
        dc = _find(store, number)
        if in_directory:
            cloud_directory.rotate(realm, caller, dc)
            click.echo(f"{dc.krbtgt.sam_account_name} has a new key")
        else:
            _rotate_in_store(realm, store, dc.krbtgt)
    click.echo(f"  the cloud needs it: kdc cloud-trust export-key --number {dc.number} -o F")


def _rotate_in_store(realm: RealmState, store: Store, krbtgt: Account) -> None:
    kvno = next_kvno(krbtgt)
    ended = sorted({key.kvno for key in krbtgt.keys} - {key.kvno for key in krbtgt.newest_keys()})
    store.set_keys(
        krbtgt.account_id,
        random_keys(realm.config, kvno),
        keep_generations=KEPT_GENERATIONS,
        now=now(),
    )
    click.echo(f"{krbtgt.sam_account_name} has new keys, kvno {kvno}")
    if ended:
        click.echo(f"  tickets under kvno {ended[-1]} and older are void now", err=True)


@command.command("export-key")
@_number_option
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="File to write (mode 0600).",
)
@state_option
@click.pass_context
def export_key(ctx: click.Context, number: int | None, out: Path) -> None:
    """Write the newest key to a file, for the cloud or for `kdc cloud-trust mint`.

    JSON: format, realm, domain, netbios, domain_sid, number, kvno, etype, key (hexadecimal).
    Whoever has it can be any user that the lists allow.
    """
    with open_realm(ctx).store() as store:
        dc = _find(store, number)
        domain = store.domain()
        keys = [key for key in dc.krbtgt.newest_keys() if key.etype == _ETYPE]
        if not keys:
            raise not_found(
                f"{dc.krbtgt.sam_account_name} has no key that the cloud could use",
                "its keys are not known here, or not of aes256-cts-hmac-sha1-96: kdc cloud-trust "
                "show",
            )
        key = CloudKey(
            realm=store.realm,
            domain=domain.dns_name,
            netbios=domain.netbios,
            domain_sid=domain.sid,
            number=dc.number,
            kvno=keys[0].kvno & _VERSION,
            key=ProtocolKey(_ETYPE, keys[0].key),
        )
    write_private(out, encode_cloud_key(key), replace=False)
    click.echo(f"wrote the key of number {key.number}, kvno {key.kvno}, to {out}")
    click.echo("  with it anybody makes tickets for all users that the lists allow: keep it safe")


@command.command("delete")
@_number_option
@caller_options
@state_option
@click.pass_context
def delete(ctx: click.Context, number: int | None, caller: Caller) -> None:
    """Delete the computer object and its krbtgt account: every ticket under its keys is void."""
    realm = open_realm(ctx)
    in_directory = _in_directory(realm, caller)
    with realm.store(write=not in_directory) as store:
        dc = _find(store, number)
        both = [dc.krbtgt] if dc.computer is None else [dc.computer, dc.krbtgt]
        if in_directory:
            cloud_directory.delete(realm, caller, dc)
        else:
            store.delete_accounts([one.account_id for one in both], read_only_dc=True)
    click.echo(f"deleted {' and '.join(one.sam_account_name for one in both)}")


# -- tickets ---------------------------------------------------------------------------------


@command.command("mint")
@click.argument("user")
@click.option(
    "--key-file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="From kdc cloud-trust export-key; nothing else is read.",
)
@click.option("--sid", required=True, metavar="S", help="The user's SID, or only its RID.")
@click.option(
    "--ccache",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Write a credential cache with the ticket (mode 0600).",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Write what the cloud sends: tgt_ad with message buffer and client key (mode 0600).",
)
@click.option("--end", type=Moment(), help="When the ticket ends; else in 10 hours.")
@click.option(
    "--kvno-low",
    type=click.IntRange(0, 0xFFFF),
    metavar="N",
    help="Lower half of the ticket's kvno; else the key's version.",
)
@click.option(
    "--no-rodc-identifier", is_flag=True, help="Leave the number out of the PAC's signatures."
)
@json_option
def mint(
    user: str,
    key_file: Path,
    sid: str,
    ccache: Path | None,
    out: Path | None,
    end: datetime | str | None,
    kvno_low: int | None,
    no_rodc_identifier: bool,
    as_json: bool,
) -> None:
    """Make a partial TGT for USER as the cloud does, for labs and tests.

    The key file is all it takes: no state folder, no KDC. Clients that are given the cache get full
    tickets with it. JSON: user, realm, sid, number, kvno, endtime, ccache, out.
    """
    if ccache is None and out is None:
        raise click.UsageError("say where the ticket goes: --ccache F, --out F or both")
    for path in (ccache, out):
        if path is not None:
            check_writable(path)
    key = _read_key(key_file)
    moment = now()
    life = end - moment if isinstance(end, datetime) else DEFAULT_LIFE
    if not timedelta() < life <= timedelta(days=3650):
        raise click.UsageError("--end is a time in the next ten years")
    if not 0 < len(user) <= MAX_USER_CHARS or not user.isprintable():
        raise click.UsageError("USER is a sAMAccountName, without a realm")
    try:
        minted = mint_partial_tgt(
            key,
            user,
            _sid(sid, key),
            now=moment,
            entropy=os.urandom,
            life=life,
            low_kvno=kvno_low,
            identifier=not no_rodc_identifier,
        )
    except ValueError:
        raise click.UsageError(f"--sid {sid!r} is no SID of {key.domain_sid}") from None
    if ccache is not None:
        keep_ccache(ccache, minted.ccache())
    if out is not None:
        write_private(out, minted.token_member())
    _show_minted(minted, key, ccache, out, as_json)


def _read_key(path: Path) -> CloudKey:
    try:
        return decode_cloud_key(read_input_file(path, MAX_FILE_BYTES))
    except CloudKeyError as error:
        raise CliError(
            f"{path} is no key of a cloud trust",
            str(error),
            "give the file that kdc cloud-trust export-key wrote",
        ) from None


def _sid(text: str, key: CloudKey) -> Sid:
    """Read a SID, or a RID of the key's domain. Raises ValueError."""
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return key.domain_sid.with_rid(int(text))
    return Sid.parse(text)


def _show_minted(
    minted: MintedTgt, key: CloudKey, ccache: Path | None, out: Path | None, as_json: bool
) -> None:
    shown: dict[str, object] = {
        "user": minted.user,
        "realm": minted.realm,
        "sid": str(minted.sid),
        "number": key.number,
        "kvno": minted.kvno,
        "endtime": iso(minted.credential.endtime),
        "ccache": None if ccache is None else str(ccache),
        "out": None if out is None else str(out),
    }
    if as_json:
        print_json(shown)
    else:
        print_fields([(name, _text(value)) for name, value in shown.items()])


command.add_command(redeem)
