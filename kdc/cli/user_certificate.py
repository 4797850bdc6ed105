"""`kdc user certificate`: userCertificate of an account in the realm's own store."""

from hashlib import sha256
from pathlib import Path

import click

from directory.backend import DirectoryError, DirectoryFault
from kdc.cli.cert_files import read_certificate
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, not_found, state_option
from kdc.cli.output import iso, print_json, print_table
from kdc.cli.state import find_account, open_realm
from pki import x500
from pki.certificate import Certificate
from pki.errors import PkiError

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("certificate")
@click.argument("name")
@click.option("--add", type=_FILE, metavar="F", help="Add the first certificate in this file.")
@click.option("--remove", type=_FILE, metavar="F", help="Remove the certificates in this file.")
@json_option
@state_option
@click.pass_context
def command(
    ctx: click.Context, name: str, add: Path | None, remove: Path | None, as_json: bool
) -> None:
    """Show, add or remove certificates in userCertificate.

    A computer that asks for its hybrid join puts a self-signed certificate there whose subject is
    CN=objectGUID (kdc user show says it); tenant sync takes it to the tenant. It logs nobody on.
    For realms with a store of their own: in an LDAP realm change the attribute in the directory.

    JSON: a list of subject, sha256, not_after.
    """
    realm = open_realm(ctx)
    with realm.store(write=add is not None or remove is not None) as store:
        account = find_account(store, name)
        found = account.sam_account_name
        if remove is not None:
            gone = [certificate.der for certificate in read_certificate(remove)]
            if not store.remove_user_certificates(account.account_id, gone):
                raise not_found(f"{found} has no such certificate", f"kdc user certificate {found}")
        if add is not None:
            try:
                store.add_user_certificate(account.account_id, read_certificate(add)[0].der)
            except DirectoryError as error:
                if error.kind is not DirectoryFault.EXISTS:
                    raise
                raise CliError(
                    f"{found} has this certificate already",
                    "a value is there once",
                    f"kdc user certificate {found}",
                    ExitCode.EXISTS,
                ) from None
        shown = [_shown(value) for value in store.user_certificates(account.account_id)]
    if as_json:
        print_json(shown)
        return
    print_table(
        ("SUBJECT", "ENDS", "SHA-256"),
        [(str(row["subject"]), str(row["not_after"]), str(row["sha256"])[:16]) for row in shown],
    )


def _shown(value: bytes) -> dict[str, object]:
    digest = sha256(value).hexdigest()
    try:
        certificate = Certificate(value)
        subject = x500.render_rfc4514(x500.decode_name(certificate.subject))
        ends = iso(certificate.validity()[1])
    except PkiError:
        subject, ends = "cannot be read", None
    return {"subject": subject, "sha256": digest, "not_after": ends}
