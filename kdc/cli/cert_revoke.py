"""`kdc cert revoke` and `kdc cert crl`: what the realm's CA takes back, and its list of it."""

import re
from pathlib import Path

import click

from kdc.ca_ledger import LedgerEntry
from kdc.cli.authority import Authority, open_authority
from kdc.cli.cert_files import read_certificate
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import not_found, state_option
from kdc.cli.output import read_time
from kdc.cli.state import now, open_realm
from pki import ca
from pki.certificate import Certificate
from pki.chain import ChainProfile, check_issued_by
from pki.crl import REASONS, REMOVE_FROM_CRL
from pki.errors import PkiError

_SERIAL = re.compile(r"(0x)?[0-9a-f]{1,40}")
_REASONS = {name: code for code, name in REASONS.items() if code != REMOVE_FROM_CRL}


@click.command("revoke")
@click.argument("which", metavar="SERIAL|FILE")
@click.option(
    "--reason",
    type=click.Choice(list(_REASONS)),
    default="unspecified",
    show_default=True,
    help="certificateHold may be followed by another reason later.",
)
@state_option
@click.pass_context
def revoke(ctx: click.Context, which: str, reason: str) -> None:
    """Revoke a certificate.

    By its serial number (hexadecimal) or by its file. A new CRL is published before this returns;
    the KDC refuses the certificate (72) within about a second, in every worker, and so does the
    OCSP responder.
    """
    realm = open_realm(ctx)
    serial_number, certificate = _read_which(which)
    with open_authority(realm) as authority:
        entry = _find(authority, serial_number, certificate)
        if entry is None:
            raise not_found(f"no certificate {serial_number:x} of this realm's CA", "kdc cert list")
        if entry.issuer != authority.issuer_id:
            raise CliError(
                f"certificate {serial_number:x} is of an earlier CA of this realm",
                "its revocation list can no longer be signed: that CA's key is not here",
                "take that CA off the logon CAs: kdc cert trust list, kdc cert trust remove",
            )
        done = authority.ledger.revoke(entry.issuer, serial_number, _REASONS[reason], now())
        if not done:
            raise CliError(
                f"certificate {serial_number:x} is revoked already",
                f"since {read_time(entry.revoked_at)} ({entry.reason_name})",
                "nothing is left to do; kdc cert crl publishes the list again",
                ExitCode.EXISTS,
            )
        number = authority.publish_crl()
    click.echo(f"revoked {serial_number:x} ({entry.template}{_of(entry)}, {reason})")
    click.echo(f"  CRL {number} is published: {realm.folder.crl}")


def _of(entry: LedgerEntry) -> str:
    return f" of {entry.account}" if entry.account else ""


def _read_which(which: str) -> tuple[int, Certificate | None]:
    """Read what is to be revoked: a file that is there, else a serial number."""
    path = Path(which)
    if path.is_file():
        certificate = read_certificate(path)[0]
        return certificate.serial_number, certificate
    text = which.replace(":", "").lower()
    if not _SERIAL.fullmatch(text):
        raise CliError(
            f"{which} is neither a file nor a serial number",
            "a serial number is hexadecimal, as kdc cert list shows it",
            "kdc cert list, or give the certificate's file",
            ExitCode.NOT_FOUND,
        )
    return int(text, 16), None


def _find(
    authority: Authority, serial_number: int, certificate: Certificate | None
) -> LedgerEntry | None:
    """Find a certificate in the ledger; one from before there was a ledger is entered now."""
    found = authority.ledger.find(serial_number, authority.issuer_id)
    found = found or authority.ledger.find(serial_number)
    if found is not None and (certificate is None or found.certificate == certificate.der):
        return found
    if certificate is None:
        return None
    try:
        check_issued_by(certificate, Certificate(authority.issuer.certificate_der), _ANY, 0)
    except PkiError:
        return None
    authority.record(certificate.der, "unknown")
    return authority.ledger.find(serial_number, authority.issuer_id)


_ANY = ChainProfile()


@click.command("crl")
@click.option("--days", type=click.IntRange(1, 365), default=ca.CRL_DAYS, show_default=True)
@state_option
@click.pass_context
def crl(ctx: click.Context, days: int) -> None:
    """Publish a new revocation list of the CA now.

    It is pki/ca.crl. A running server renews it at half of its life by itself (ca_renewal); this
    is for realms where it does not, from a timer.
    """
    realm = open_realm(ctx)
    with open_authority(realm) as authority:
        number = authority.publish_crl(days)
    click.echo(f"published CRL {number}: {realm.folder.crl}")
    click.echo(f"  good for {days} day{'' if days == 1 else 's'}")


COMMANDS = (revoke, crl)
