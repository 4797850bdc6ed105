"""`kdc cert`: certificates of the realm's own CA, and what a logon with one would come to."""

from pathlib import Path

import click

from kdc.cli import (
    cert_authorities,
    cert_fetched,
    cert_issue,
    cert_renew,
    cert_revoke,
    cert_trusted,
)
from kdc.cli.cert_files import read_certificate
from kdc.cli.cert_verdict import describe, judge_certificate, purpose_name
from kdc.cli.options import json_option, state_option
from kdc.cli.output import print_fields, print_json
from kdc.cli.state import open_realm
from kdc.server.certificates import load_cert_trust


@click.group("cert")
def command() -> None:
    """Certificates of the realm's own CA, and which other CAs are trusted."""


for _noun in (
    cert_issue,
    cert_renew,
    cert_revoke,
    cert_authorities,
    cert_trusted,
    cert_fetched,
):
    for _command in _noun.COMMANDS:
        command.add_command(_command)


@command.command("show")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Show a certificate and judge it.

    Says whether a logon with it would be accepted, and why. Further certificates in the file count
    as sent along by the client.

    JSON: subject, issuer, serial_number, not_before, not_after, key, sha256, sha1, purposes,
    upns, dns_names, principals, sid, kind (logon or kdc), accepted, account, code, reasons.
    """
    certificate, *others = read_certificate(file)
    realm = open_realm(ctx)
    trust = load_cert_trust(realm.folder, realm.config)
    sent = tuple(other.der for other in others)
    with realm.store() as store:
        verdict = judge_certificate(certificate, realm.config, store, trust, sent)
    shown = describe(certificate)
    purposes = shown["purposes"] if isinstance(shown["purposes"], list) else []
    if as_json:
        print_json(
            {
                **shown,
                "kind": verdict.kind,
                "accepted": verdict.accepted,
                "account": verdict.account,
                "code": verdict.code,
                "reasons": list(verdict.reasons),
            }
        )
        return
    rows = []
    shown["purposes"] = list(map(purpose_name, purposes))
    for name, value in shown.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
        if text:
            rows.append((name.replace("_", " "), text))
    print_fields(rows)
    click.echo()
    click.echo(verdict.headline)
    for reason in verdict.reasons:
        click.echo(f"  {reason}")
