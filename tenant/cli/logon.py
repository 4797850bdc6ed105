"""`tenant logon`: be a Windows client of the tenant, from the join to the sign-in by Hello key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import rsa

from kdc.cli.errors import CliError, ExitCode, cannot_write
from kdc.cli.options import ListenAddress, json_option, password_options, read_password
from kdc.cli.output import print_json
from kdc.cli.state import make_private_folder, now, write_private, write_public
from kdc.config_values import parse_address
from pki import ca, oids
from pki.x500 import simple_name
from tenant.cli.options import state_option, tenant_folder
from tenant.client import windows
from tenant.client.https import LogonError, Place, RefusedError, UnreachableError
from tenant.client.windows import Device, Prt


@dataclass(frozen=True, slots=True)
class Files:
    """What a Windows machine would keep in its TPM and its registry."""

    folder: Path

    @property
    def device_certificate(self) -> Path:
        """PEM."""
        return self.folder / "device.pem"

    @property
    def device_key(self) -> Path:
        """PEM; also the transport key."""
        return self.folder / "device.key"

    @property
    def hello_key(self) -> Path:
        """PEM; there once the tenant has registered it."""
        return self.folder / "hello.key"

    @property
    def hello(self) -> Path:
        """The Hello key and a self-signed certificate over it (PEM): for `kdc logon --identity`."""
        return self.folder / "hello.pem"

    @property
    def prt(self) -> Path:
        """The PRT with its keys, as roadtx writes it: for `kdc cloud-trust redeem --prt`."""
        return self.folder / "user.prt"


_CODES = {UnreachableError: ExitCode.UNREACHABLE, RefusedError: ExitCode.DENIED}


@contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except LogonError as error:
        code = _CODES.get(type(error), ExitCode.FAILED)
        raise CliError(error.what, error.why, error.remedy, code) from error


@click.command("logon")
@click.argument("name")
@click.option(
    "--folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the machine's and the user's keys are kept (mode 0700).",
)
@click.option("--device", default="LAB-PC", show_default=True, help="Name of a device to join.")
@click.option(
    "--tenant", "at", type=ListenAddress(), metavar="ADDR:PORT", help="Else as in tenant.toml."
)
@password_options
@json_option
@state_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    folder: Path,
    device: str,
    at: str | None,
    password_file: Path | None,
    password_stdin: bool,
    password_prompt: bool,
    as_json: bool,
) -> None:
    """Sign a user in with a Hello key, as Windows does, at the tenant that is being served.

    The first time, with the password: join a device, get a primary refresh token, register a Hello
    key with it. Each time: get a primary refresh token with the Hello key, and the partial TGT with
    it when there is a cloud trust. The user must pass as one with a second factor: tenant user mfa
    NAME assumed.

    JSON: user, device_id, joined and registered (whether this run did it), kid (of a registration
    of this run, or null), prt (its file), partial_tgt, identity (for kdc logon --identity).
    """
    password = read_password(password_file, password_stdin, password_prompt, confirm=False)
    tenant = tenant_folder(ctx)
    config = tenant.load_config()
    address, port = parse_address(at or config.listen)
    place = Place(address=address, port=port, ca_bundle=tenant.ca_bundle)
    upn = name if "@" in name else f"{name}@{config.domain}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        make_private_folder(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    files = Files(folder)
    with _client_errors():
        joined = not files.device_certificate.exists()
        if joined:
            _join(place, files, upn, _needed(password), device, config.domain)
        machine = _machine(files)
        registered = not files.hello_key.exists()
        kid = _register(place, files, machine, upn, _needed(password)) if registered else None
        prt = windows.prt_by_hello_key(place, machine, upn, _rsa(files.hello_key), now())
    write_private(files.prt, prt.file())
    if as_json:
        print_json(
            {
                "user": upn,
                "device_id": machine.device_id,
                "joined": joined,
                "registered": registered,
                "kid": kid,
                "prt": str(files.prt),
                "partial_tgt": prt.has_partial_tgt,
                "identity": str(files.hello),
            }
        )
        return
    if joined:
        click.echo(f"joined {device}: device {machine.device_id}")
    if registered:
        click.echo(f"registered a Hello key of {upn}: {kid}")
    click.echo(f"signed {upn} in with the Hello key; the primary refresh token is in {files.prt}")
    _say_next(files, prt)


def _say_next(files: Files, prt: Prt) -> None:
    click.echo(f"  key trust, after tenant sync --once: kdc logon NAME --identity {files.hello}")
    if prt.has_partial_tgt:
        click.echo(f"  cloud trust, now: kdc cloud-trust redeem --prt {files.prt} --ccache F")


def _needed(password: str | None) -> str:
    if password is None:
        raise click.UsageError(
            "the first time needs the password: --password-file, --password-stdin or "
            "--password-prompt"
        )
    return password


def _join(place: Place, files: Files, upn: str, password: str, name: str, domain: str) -> None:
    token = windows.password_token(place, upn, password)
    device = windows.join(place, token, name, domain, windows.new_key())
    write_private(files.device_key, ca.private_key_to_pem(device.key))
    write_public(files.device_certificate, ca.certificate_to_pem(device.certificate))


def _machine(files: Files) -> Device:
    (certificate,) = ca.certificates_from_pem(files.device_certificate.read_bytes())
    return Device(certificate=certificate, key=_rsa(files.device_key))


def _rsa(path: Path) -> rsa.RSAPrivateKey:
    key = ca.private_key_from_pem(path.read_bytes())
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CliError(f"{path} cannot be used", "it is no RSA key", "choose another --folder")
    return key


def _register(place: Place, files: Files, machine: Device, upn: str, password: str) -> str:
    prt = windows.prt_by_password(place, machine, upn, password)
    token = windows.use_prt(place, prt, windows.DRS, now())
    key = windows.new_key()
    kid = windows.register_key(place, token, key)
    pem = ca.private_key_to_pem(key)
    certificate = ca.self_signed_hello_certificate(
        key, simple_name((oids.ID_AT_COMMON_NAME, upn)), now(), key_usage=True
    )
    write_private(files.hello, ca.certificate_to_pem(certificate) + pem)
    # Last: a run that was stopped before registers another key.
    write_private(files.hello_key, pem)
    return kid
