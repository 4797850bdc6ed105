"""`kdc key`: the keys registered on accounts."""

import base64
import uuid
from datetime import datetime
from pathlib import Path

import click

from directory.keycredential import (
    NewKeyCredential,
    decode_key_credential,
    encode_key_credential,
    parse_dn_binary,
)
from directory.keymaterial import MaterialForm, decode_key_material
from directory.model import Account, AccountKind, KeyCredential
from directory.store import Store
from kdc.cli import key_check
from kdc.cli.accounts import credential_json, credential_state
from kdc.cli.directory_access import Caller, caller_options
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.key_places import KeyPlace, Owner, open_place
from kdc.cli.options import json_option, not_found, read_input_file, state_option
from kdc.cli.output import print_fields, print_json, print_table, read_time
from kdc.cli.state import (
    RealmState,
    check_not_there,
    check_writable,
    find_account,
    now,
    open_realm,
    write_private,
)
from kdc.config import KdcConfig
from pki import ca, oids
from pki.errors import KeyFault, PkiError
from pki.keys import (
    KeyKind,
    PublicKey,
    public_key_from_certificate,
    public_key_from_cryptography,
    public_key_from_spki,
)
from pki.x500 import simple_name

MAX_KEY_FILE_BYTES = 256 * 1024
PAGE = 500
MIN_KEY_ID_BYTES = 2  # the start of a KeyID that is taken for one


@click.group("key")
def command() -> None:
    """Keys registered on accounts: what key trust trusts."""


command.add_command(key_check.command)


# -- enroll ----------------------------------------------------------------------------------

device_option = click.option(
    "--device",
    type=click.UUID,
    metavar="ID",
    help="DeviceId of the device that the key is on (kdc device).",
)


@command.command("enroll")
@click.argument("user")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the certificate and the private key (PEM, mode 0600).",
)
@click.option("--days", type=click.IntRange(1, 36500), default=ca.HELLO_DAYS, show_default=True)
@click.option(
    "--throwaway-issuer",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="G",
    help="Issue the certificate by a CA made on the spot, written to G: MIT's kinit needs that.",
)
@click.option(
    "--no-key-usage",
    is_flag=True,
    help="Leave keyUsage out, exactly as Windows does; Heimdal's kinit then signs nothing.",
)
@device_option
@caller_options
@state_option
@click.pass_context
def enroll(
    ctx: click.Context,
    user: str,
    out: Path,
    days: int,
    throwaway_issuer: Path | None,
    no_key_usage: bool,
    device: uuid.UUID | None,
    caller: Caller,
) -> None:
    """Make and register a key as Windows Hello does.

    An RSA-2048 key and a self-signed certificate; both go to one file. In an LDAP realm the key is
    written to the directory, as whoever the options say.
    """
    realm = open_realm(ctx)
    moment = now()
    for path in (out, throwaway_issuer):
        if path is not None:
            check_not_there(path)
            check_writable(path)
    _check_device(realm, device)
    with open_place(realm, caller, write=True) as place:
        owner = place.find(user)
        _check_owner(owner)
        private_key = ca.generate_key(ca.KeyType.RSA_2048)
        subject = simple_name((oids.ID_AT_COMMON_NAME, _subject(owner, realm.config)))
        if throwaway_issuer is None:
            # Windows leaves keyUsage out; Heimdal's kinit signs with no certificate that lacks it.
            certificate = ca.self_signed_hello_certificate(
                private_key, subject, moment, days, key_usage=not no_key_usage
            )
        else:
            name = f"throwaway issuer {uuid.uuid4().hex[:8]}"
            issuer = ca.create_root(realm.config.realm, moment, days=days, common_name=name)
            certificate = ca.issue_client_leaf(
                issuer, private_key.public_key(), subject, moment, days
            )
            write_private(
                throwaway_issuer, ca.certificate_to_pem(issuer.certificate_der), replace=False
            )
            throwaway_issuer.chmod(0o644)
        pem = ca.certificate_to_pem(certificate) + ca.private_key_to_pem(private_key)
        # The file first: a key that is registered but lost would be worse than a useless file.
        write_private(out, pem, replace=False)
        try:
            public_key = public_key_from_cryptography(private_key.public_key())
            credential = _register(place, owner, public_key, moment, device)
        except BaseException:
            out.unlink()
            raise
        click.echo(f"registered key {credential.key_id.hex()[:16]} on {owner.name}")
        click.echo(f"  certificate and private key: {out}")
        if throwaway_issuer is not None:
            click.echo(f"  issuer, for the client's own anchors: {throwaway_issuer}")
        place.settle(owner)


def _subject(owner: Owner, config: KdcConfig) -> str:
    """Make the common name that Windows gives a Hello certificate."""
    if owner.kind is AccountKind.COMPUTER:
        return str(owner.sid)
    upn = owner.upn or f"{owner.name}@{config.domain}"
    return f"{owner.sid}/{uuid.uuid4()}/login.windows.net/{uuid.uuid4()}/{upn}"


def _check_owner(owner: Owner) -> None:
    if owner.kind not in (AccountKind.USER, AccountKind.COMPUTER):
        raise CliError(
            f"{owner.name} can have no registered key",
            f"it is a {owner.kind} account; users and computers log on with keys",
            "kdc keytab export gives a service its keys; kdc user list shows who can have one",
            ExitCode.DENIED,
        )


def _check_device(realm: RealmState, device: uuid.UUID | None) -> None:
    """Check that the device of a new key is there, as far as this node knows. Raises CliError."""
    if device is not None:
        with realm.store() as store:
            if store.device(device) is None:
                raise not_found(f"no device {device}", "kdc device list")


def _register(
    place: KeyPlace,
    owner: Owner,
    public_key: PublicKey,
    moment: datetime,
    device: uuid.UUID | None,
) -> KeyCredential:
    """Register a public key on an account, in the form that Windows writes for its kind."""
    form = MaterialForm.BCRYPT
    if public_key.kind is not KeyKind.RSA:
        form = MaterialForm.SPKI
    elif owner.kind is AccountKind.COMPUTER:
        form = MaterialForm.RSA_PUBLIC_KEY
    new = NewKeyCredential(public_key=public_key, material=form, created=moment, device_id=device)
    return place.add(owner, encode_key_credential(new, owner.dn))


# -- add -------------------------------------------------------------------------------------


@command.command("add")
@click.argument("user")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@device_option
@caller_options
@state_option
@click.pass_context
def add(
    ctx: click.Context, user: str, file: Path, device: uuid.UUID | None, caller: Caller
) -> None:
    """Register the public key in FILE on a user.

    FILE holds a certificate or public key (PEM or DER), a BCRYPT or TPM key blob, or the text of
    an msDS-KeyCredentialLink value. In an LDAP realm the key is written to the directory, as
    whoever the options say.
    """
    data = read_input_file(file, MAX_KEY_FILE_BYTES)
    text = _dn_binary(data)
    if text is not None and device is not None:
        raise click.UsageError("the value in FILE names its device itself: leave --device out")
    realm = open_realm(ctx)
    _check_device(realm, device)
    with open_place(realm, caller, write=True) as place:
        owner = place.find(user)
        _check_owner(owner)
        if text is not None:
            place.check_free(owner, decode_key_credential(text, owner_dn=owner.dn).public_key)
            credential = place.add(owner, text)
        else:
            public_key = read_public_key(data, file)
            place.check_free(owner, public_key)
            credential = _register(place, owner, public_key, now(), device)
        click.echo(f"registered key {credential.key_id.hex()[:16]} on {owner.name}")
        for warning in credential.warnings:
            click.echo(f"  note: {warning}", err=True)
        place.settle(owner)


def _dn_binary(data: bytes) -> str | None:
    if data[:2] not in (b"B:", b"b:"):
        return None
    try:
        text = data.decode().strip()
        parse_dn_binary(text)
    except ValueError as error:
        raise CliError(
            "the file does not hold an msDS-KeyCredentialLink value",
            str(error),
            "give the whole value, B:<digits>:<hex>:<DN>",
        ) from None
    return text


def read_public_key(data: bytes, file: Path) -> PublicKey:
    """Read the public key of a file, whatever form it is in."""
    if b"-----BEGIN CERTIFICATE-----" in data:
        return public_key_from_certificate(ca.certificates_from_pem(data)[0])
    if b"-----BEGIN PUBLIC KEY-----" in data:
        body = data.partition(b"-----BEGIN PUBLIC KEY-----")[2].partition(b"-----END")[0]
        try:
            return public_key_from_spki(base64.b64decode(body))
        except ValueError:
            raise PkiError(KeyFault.MALFORMED, "public key PEM") from None
    for read in (
        public_key_from_certificate,
        public_key_from_spki,
        lambda raw: decode_key_material(raw)[1],
    ):
        try:
            return read(data)
        except PkiError:
            continue
    raise CliError(
        f"{file} holds no public key that we know",
        "it is neither a certificate, a public key, a key blob nor a DN-Binary value",
        "give the certificate rather than the private key",
    )


# -- list, show, remove ----------------------------------------------------------------------


@command.command("list")
@click.argument("user", required=False)
@json_option
@state_option
@click.pass_context
def list_keys(ctx: click.Context, user: str | None, as_json: bool) -> None:
    """List the keys of a user, or of everybody.

    JSON: a list of account, key_id, usable, accounts (names of all that have the key: a logon
    needs exactly one), reason, warnings, key, material, created, last_logon, source, device_id.
    """
    with open_realm(ctx).store() as store:
        accounts = [find_account(store, user)] if user else _accounts_with_keys(store)
        found = [(a.sam_account_name, c) for a in accounts for c in a.key_credentials]
        if as_json:
            print_json([credential_json(store, name, credential) for name, credential in found])
            return
        rows = [
            (
                name,
                c.key_id.hex()[:16],
                "" if c.public_key is None else f"{c.public_key.kind} {c.public_key.bits}",
                "" if c.created is None else f"{c.created:%Y-%m-%d}",
                credential_state(store, c),
            )
            for name, c in found
        ]
    print_table(("ACCOUNT", "KEYID", "KEY", "CREATED", "STATE"), rows)


def _accounts_with_keys(store: Store) -> list[Account]:
    found, after = [], ""
    while page := store.list_accounts(after=after, limit=PAGE):
        after = page[-1].sam_account_name
        for summary in page:
            if summary.key_credentials:
                account = store.account_by_id(summary.account_id)
                if account is not None:
                    found.append(account)
    return found


def key_id_of(text: str) -> bytes:
    """Read a KeyID, or the start of one: hexadecimal, or Base64 as Windows' tools show it.

    A start has four digits or more: an empty one would mean every key. Raises click.UsageError.
    """
    try:
        found = bytes.fromhex(text)
        if len(found) >= MIN_KEY_ID_BYTES:
            return found
    except ValueError:
        pass
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise click.UsageError(
            f"{text!r} is no KeyID: give four or more hexadecimal digits, an even number"
        )
    return found


@command.command("show")
@click.argument("keyid")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, keyid: str, as_json: bool) -> None:
    """Show a key by its KeyID.

    The start of one will do, four digits or more. Every account that has it is shown.

    JSON: a list as in `kdc key list`.
    """
    wanted = key_id_of(keyid)
    with open_realm(ctx).store() as store:
        accounts = [store.account_by_id(i) for i in store.accounts_by_key_id(wanted)]
        found = [
            (account.sam_account_name, c, credential_state(store, c))
            for account in accounts
            if account is not None
            for c in account.key_credentials
            if c.key_id.startswith(wanted)
        ]
        if not found:
            raise not_found(f"no key {keyid}", "kdc key list")
        if as_json:
            print_json([credential_json(store, name, credential) for name, credential, _ in found])
            return
    for index, (name, c, state) in enumerate(found):
        if index:
            click.echo()
        key = c.public_key
        print_fields(
            [
                ("account", name),
                ("KeyID", c.key_id.hex()),
                ("Base64", base64.b64encode(c.key_id).decode()),
                ("state", state),
                ("key", "" if key is None else f"{key.kind} {key.bits} as {c.material}"),
                ("created", "" if c.created is None else read_time(c.created)),
                ("device", str(c.device_id or "")),
                *(("note", warning) for warning in c.warnings),
            ]
        )


@command.command("remove")
@click.argument("user")
@click.argument("keyid", required=False)
@click.option("--all", "every", is_flag=True, help="Remove all keys of the user.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@caller_options
@state_option
@click.pass_context
def remove(
    ctx: click.Context, user: str, keyid: str | None, every: bool, dry_run: bool, caller: Caller
) -> None:
    """Remove a key, or all keys, of a user. The next logon with it is refused.

    In an LDAP realm exactly these values are deleted from the directory, as whoever the options
    say.
    """
    if every == (keyid is not None):
        raise click.UsageError("give a KEYID or --all")
    with open_place(open_realm(ctx), caller, write=not dry_run) as place:
        owner = place.find(user)
        chosen = owner.credentials if every else _chosen(owner, keyid or "")
        verb = "would remove" if dry_run else "removed"
        if not dry_run:
            place.remove(owner, chosen, every=every)
        for credential in chosen:
            what = credential.key_id.hex()[:16] or "an unreadable value"
            click.echo(f"{verb} {what} of {owner.name}")
        if not chosen:
            click.echo(f"{owner.name} has no keys")
        if not dry_run:
            place.settle(owner)


def _chosen(owner: Owner, keyid: str) -> tuple[KeyCredential, ...]:
    wanted = key_id_of(keyid)
    found = tuple(c for c in owner.credentials if c.key_id.startswith(wanted))
    if not found:
        raise not_found(f"{owner.name} has no key {keyid}", f"kdc key list {owner.name}")
    if len({c.key_id for c in found}) > 1:
        raise CliError(
            f"{keyid} is not one key",
            f"{len(found)} keys of {owner.name} start so",
            "give more digits of the KeyID",
            ExitCode.USAGE,
        )
    return found
