"""`kdc cert trust`: which CAs may issue logon certificates, beside which roots.

The counterpart of Windows' NTAuth store and root store. The files are the truth; a running server
notices a change within a second.
"""

import re
from pathlib import Path

import click

from kdc.cli.cert_files import read_certificate, read_crl
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, not_found, state_option
from kdc.cli.output import iso, print_json, print_table, read_time
from kdc.cli.state import make_private_folder, open_realm, write_public
from kdc.server.certificates import (
    CERTIFICATE_SUFFIXES,
    read_ca_file,
)
from kdc.state_folder import StateFolder
from pki import ca, oids
from pki.certificate import Certificate
from pki.chain import is_self_issued, subject_text
from pki.extensions import KeyUsageBit, decode_basic_constraints, decode_key_usage

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@click.group("trust")
def trust() -> None:
    """Which CAs may issue logon certificates."""


@trust.command("add")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--name", help="Its name here; else that of the file.")
@click.option(
    "--root",
    is_flag=True,
    help="Trust it above logon CAs only: it may itself issue no logon certificate.",
)
@click.option(
    "--crl",
    "crls",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Its revocation list; without a current one revocation = require refuses all (73).",
)
@state_option
@click.pass_context
def add(
    ctx: click.Context, file: Path, name: str | None, root: bool, crls: tuple[Path, ...]
) -> None:
    """Trust a CA for logons.

    Only the first certificate of FILE is taken. One that is not self-signed needs its root as well:
    kdc cert trust add ROOT --root.
    """
    realm = open_realm(ctx)
    stem = name or file.stem
    if not _NAME.fullmatch(stem):
        raise click.UsageError(f"{stem!r} is no name for a file: give --name")
    certificate = read_certificate(file)[0]
    _check_ca(certificate, file)
    lists = [read_crl(path, certificate) for path in crls]
    folder = realm.folder.trusted_roots if root else realm.folder.logon_cas
    place = folder / f"{stem}.pem"
    if place.exists():
        raise CliError(
            f"{stem} is already there",
            f"{place} exists",
            "kdc cert trust list shows it; choose another --name",
            ExitCode.EXISTS,
        )
    make_private_folder(folder)
    for number, data in enumerate(lists):
        make_private_folder(realm.folder.crls)
        write_public(realm.folder.crls / f"{stem}{number or ''}.crl", data)
    write_public(place, ca.certificate_to_pem(certificate.der))
    click.echo(f"trusted {'as a root' if root else 'as a logon CA'}: {subject_text(certificate)}")
    if not root and not is_self_issued(certificate):
        click.echo("  it is not self-signed: its root must be trusted too (--root)")
    if not lists and realm.config.revocation == "require":
        click.echo(
            "  without its revocation list its certificates are refused (73): name where it is"
        )
        click.echo("  in crl_urls, or put it into pki/crls; kdc cert fetched shows what is there")


def _check_ca(certificate: Certificate, file: Path) -> None:
    """Refuse what no chain could go through, before it is trusted. Raises CliError."""
    constraints = certificate.extension(oids.ID_CE_BASIC_CONSTRAINTS)
    usage = certificate.extension(oids.ID_CE_KEY_USAGE)
    is_ca = constraints is not None and bool(decode_basic_constraints(constraints).ca)
    if is_ca and (usage is None or decode_key_usage(usage) & KeyUsageBit.KEY_CERT_SIGN):
        return
    raise CliError(
        f"{file} is no CA's certificate",
        "its basicConstraints or keyUsage do not let it issue certificates",
        "give the certificate of the CA, not one that it has issued",
    )


@trust.command("list")
@json_option
@state_option
@click.pass_context
def list_trusted(ctx: click.Context, as_json: bool) -> None:
    """List the CAs that are trusted.

    JSON: a list of name, use (logon or root), subject, serial_number, not_after, self_signed, file.
    """
    realm = open_realm(ctx)
    rows = []
    for use, path in _trusted(realm.folder, realm.config.logon_cas):
        for certificate in read_ca_file(path):
            rows.append((use, path, certificate))
    if as_json:
        print_json(
            [
                {
                    "name": path.stem,
                    "use": use,
                    "subject": subject_text(certificate),
                    "serial_number": f"{certificate.serial_number:x}",
                    "not_after": iso(certificate.validity()[1]),
                    "self_signed": is_self_issued(certificate),
                    "file": str(path),
                }
                for use, path, certificate in rows
            ]
        )
        return
    print_table(
        ("name", "use", "subject", "until"),
        [(p.stem, use, subject_text(c), read_time(c.validity()[1])) for use, p, c in rows],
    )


def _trusted(folder: StateFolder, named: tuple[str, ...]) -> list[tuple[str, Path]]:
    found = []
    for use, place in (("logon", folder.logon_cas), ("root", folder.trusted_roots)):
        if place.is_dir():
            paths = sorted(p for p in place.iterdir() if p.suffix.lower() in CERTIFICATE_SUFFIXES)
            found += [(use, path) for path in paths]
    return found + [("logon", folder.root / name) for name in named]


@trust.command("remove")
@click.argument("name")
@state_option
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Trust a CA no more; its certificates are refused within a second."""
    realm = open_realm(ctx)
    inside = (realm.folder.logon_cas, realm.folder.trusted_roots)
    found = [p for _, p in _trusted(realm.folder, ()) if name in (p.stem, p.name)]
    if not found:
        if any(name in (Path(n).stem, Path(n).name) for n in realm.config.logon_cas):
            raise CliError(
                f"{name} is named by logon_cas",
                "it is not in the state folder",
                "take it out of logon_cas in kdc.toml, then SIGHUP to the server",
            )
        raise not_found(f"no trusted CA named {name}", "kdc cert trust list")
    for path in found:
        path.unlink()
        where = "a logon CA" if path.parent == inside[0] else "a root"
        click.echo(f"no longer {where}: {name}")


COMMANDS = (trust,)
