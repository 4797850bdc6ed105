"""`kdc cert issue` and `kdc cert list`: certificates of the realm's CA for its accounts."""

from pathlib import Path

import click

from directory.model import Account, AccountKind
from kdc.cli.authority import Authority, open_authority, open_ledger, pointers_of
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, read_input_file, state_option
from kdc.cli.output import iso, print_json, print_table, read_time
from kdc.cli.state import (
    MAX_PEM_BYTES,
    RealmState,
    check_not_there,
    check_writable,
    find_account,
    now,
    open_realm,
    write_private,
)
from kdc.config import KdcConfig
from pki import ca, names, oids
from pki.keys import KeyPolicy, check_key, public_key_from_cryptography
from pki.templates import FOR_ACCOUNTS, TEMPLATES, Template
from pki.x500 import simple_name

KINDS = {"user": AccountKind.USER, "computer": AccountKind.COMPUTER}
MAX_DAYS = 3650


@click.command("issue")
@click.argument("user")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the certificate and the private key (PEM, mode 0600).",
)
@click.option("--upn", help="UPN in the certificate; else the account's, else NAME@domain.")
@click.option(
    "--no-sid",
    is_flag=True,
    help="Leave the account's SID out: the certificate then maps only weakly (KB5014754).",
)
@click.option(
    "--template",
    type=click.Choice(FOR_ACCOUNTS),
    default="logon",
    show_default=True,
    help="logon: of a user; device: of a computer; enrolment-agent: logs nobody on.",
)
@click.option(
    "--key-type",
    type=click.Choice([kind.value for kind in ca.KeyType]),
    help="Key to make; else rsa2048. Heimdal's client up to 7.8 signs with RSA keys alone.",
)
@click.option("--days", type=click.IntRange(1, MAX_DAYS), help="Else as the template has it: 365.")
@click.option(
    "--csr",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Take the key of a PKCS#10 request and make none; its names do not count.",
)
@state_option
@click.pass_context
def issue(
    ctx: click.Context,
    user: str,
    out: Path,
    upn: str | None,
    no_sid: bool,
    template: str,
    key_type: str | None,
    days: int | None,
    csr: Path | None,
) -> None:
    """Issue a certificate that logs an account on.

    That is certificate trust, beside the key trust of kdc key enroll.

    It carries the account's SID, which maps it strongly, and points to the revocation list and the
    OCSP responder when http.listen, http.url or cdp_url say where they are. It is in the ledger
    before it is written: kdc cert list, kdc cert revoke.
    """
    if csr is not None and key_type is not None:
        raise click.UsageError("give --csr or --key-type: a request brings its key")
    realm = open_realm(ctx)
    chosen = TEMPLATES[template]
    check_writable(out)
    check_not_there(out)
    with realm.store() as store:
        account = find_account(store, user)
    _check_account(account, chosen)
    if csr is None:
        private_key = ca.generate_key(ca.KeyType(key_type or ca.KeyType.RSA_2048))
        public_key, key_pem = private_key.public_key(), ca.private_key_to_pem(private_key)
    else:
        public_key, key_pem = ca.public_key_from_csr(read_input_file(csr, MAX_PEM_BYTES)), b""
        # A certificate for a key that no logon would accept helps nobody.
        policy = KeyPolicy(roca=realm.config.roca_policy)
        check_key(public_key_from_cryptography(public_key), policy)
    with open_authority(realm) as authority:
        certificate = ca.issue_client_leaf(
            authority.issuer,
            public_key,
            simple_name((oids.ID_AT_COMMON_NAME, account.sam_account_name.removesuffix("$"))),
            now(),
            days,
            template=chosen,
            alternative_names=_names(account, chosen, realm.config, upn),
            sid=None if no_sid or account.sid is None else str(account.sid),
            pointers=pointers_of(realm.config),
        )
        serial_number = _hand_over(authority, certificate, key_pem, out, account, chosen)
    click.echo(f"issued {serial_number:x} for {account.sam_account_name} ({template})")
    click.echo(f"  {'certificate' if csr else 'certificate and private key'}: {out}")
    if no_sid and chosen.subject == "user":
        _say_weak(realm)


def _hand_over(
    authority: Authority,
    certificate: bytes,
    key_pem: bytes,
    out: Path,
    account: Account,
    template: Template,
) -> int:
    """Record, then write: nobody holds a certificate that the ledger does not know."""
    serial_number = authority.record(certificate, template, account.sam_account_name)
    write_private(out, authority.pem(certificate) + key_pem, replace=False)
    return serial_number


def _say_weak(realm: RealmState) -> None:
    if realm.config.strong_mapping == "full":
        click.echo("  without the SID it maps weakly: strong_mapping = full refuses it (66)")


def _check_account(account: Account, template: Template) -> None:
    wanted = KINDS[template.subject]
    if account.kind is wanted:
        return
    right = [t for t in FOR_ACCOUNTS if KINDS[TEMPLATES[t].subject] is account.kind]
    raise CliError(
        f"{account.sam_account_name} gets no certificate of the template {template.name}",
        f"it is for a {template.subject}'s account",
        f"use --template {right[0]}" if right else "name a user or a computer",
        ExitCode.USAGE,
    )


def _names(
    account: Account, template: Template, config: KdcConfig, upn: str | None
) -> tuple[bytes, ...]:
    """Return the names in the SAN, encoded: a user's UPN, a computer's DNS name."""
    name = account.sam_account_name
    if template.subject == "user":
        return (names.upn_name(upn or account.upn or f"{name}@{config.domain}"),)
    # MS-PKCA 3.1.5.2.1.1: the name without "$" in the realm's domain.
    host = names.dns_name(f"{name.removesuffix('$')}.{config.domain}".lower())
    return (host,) if upn is None else (host, names.upn_name(upn))


@click.command("list")
@click.argument("user", required=False)
@click.option("--revoked", is_flag=True, help="Only what is revoked.")
@json_option
@state_option
@click.pass_context
def list_issued(ctx: click.Context, user: str | None, revoked: bool, as_json: bool) -> None:
    """List what the CA has issued, newest first.

    JSON: a list of serial_number, status (valid, expired or revoked), template, account, subject,
    not_before, not_after, issued_at, revoked_at, reason, issuer.
    """
    realm = open_realm(ctx)
    account = user
    if user is not None:
        with realm.store() as store:
            account = find_account(store, user).sam_account_name
    moment = now()
    with open_ledger(realm.folder, read_only=True) as ledger:
        found = [e for e in ledger.entries(account) if not revoked or e.revoked_at is not None]
    if as_json:
        print_json(
            [
                {
                    "serial_number": f"{entry.serial_number:x}",
                    "status": entry.status(moment),
                    "template": entry.template,
                    "account": entry.account or None,
                    "subject": entry.subject,
                    "not_before": iso(entry.not_before),
                    "not_after": iso(entry.not_after),
                    "issued_at": iso(entry.issued_at),
                    "revoked_at": iso(entry.revoked_at),
                    "reason": entry.reason_name,
                    "issuer": entry.issuer,
                }
                for entry in found
            ]
        )
        return
    print_table(
        ("serial number", "status", "template", "account", "until"),
        [
            (
                f"{entry.serial_number:x}",
                entry.status(moment),
                entry.template,
                entry.account or "-",
                read_time(entry.not_after),
            )
            for entry in found
        ],
    )


COMMANDS = (issue, list_issued)
