"""`kdc logon`: a real logon with our own client."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from kdc.cli.errors import CliError
from kdc.cli.logon_errors import explain_client_error
from kdc.cli.options import (
    json_option,
    password_options,
    read_password,
    state_option,
    timeout_option,
)
from kdc.cli.output import iso, print_fields, print_json, read_time
from kdc.cli.state import MAX_PEM_BYTES, check_writable, state_folder
from kdc.cli.target import client_target
from kdc.cli.tickets import (
    ServiceTicket,
    flag_names,
    get_service_tickets,
    keep_ccache,
    load_tgt,
    service_option,
    ticket_fields,
    ticket_json,
)
from kdc.client.as_exchange import AsExchange, AsOptions, AsResult, client_name
from kdc.client.errors import ClientError
from kdc.client.identity import identity_from_pem
from kdc.client.mechanism import Mechanism
from kdc.client.password import PasswordMechanism
from kdc.client.pkinit import DEFAULT_KDFS, PkinitMechanism, PkinitOptions
from kdc.client.transport import (
    MAX_DATAGRAM_BYTES,
    MAX_UDP_REQUEST_BYTES,
    KdcAddress,
    Protocol,
    exchange,
)
from kdc.config_values import enctype_name
from kdc.crypto.key_agreement import GROUPS
from kdc.crypto.pkinit_kdf import (
    ID_PKINIT_KDF_AH_SHA256,
    ID_PKINIT_KDF_AH_SHA384,
    ID_PKINIT_KDF_AH_SHA512,
)
from kdc.formats.ccache import Ccache, Setting
from pki.cms_sign import CmsSigner
from pki.errors import PkiError

KDFS = {
    "sha256": (ID_PKINIT_KDF_AH_SHA256,),
    "sha384": (ID_PKINIT_KDF_AH_SHA384,),
    "sha512": (ID_PKINIT_KDF_AH_SHA512,),
    "rfc4556": (),
}


@click.command("logon")
@click.argument("user")
@click.option(
    "--identity",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Certificate and private key (PEM): log on by PKINIT.",
)
@password_options
@click.option("--kdc", "kdc_address", metavar="ADDR:PORT", help="Else where this realm listens.")
@click.option("--realm", help="Else the realm of the state folder.")
@click.option(
    "--anchor",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="CA of the KDC's certificate (PEM); else pki/ca.pem.",
)
@service_option
@click.option(
    "--armor",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Credential cache with a TGT, the host's for instance: log on inside FAST.",
)
@click.option(
    "--hide-name", is_flag=True, help="With --armor: do not say the client's name in the clear."
)
@click.option("--tcp", is_flag=True, help="Use TCP from the start.")
@click.option("--udp", is_flag=True, help="Use UDP for requests of any size.")
@click.option(
    "--ccache",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Write the ticket here; else where KRB5CCNAME says, else nowhere.",
)
@click.option(
    "--kex",
    type=click.Choice(list(GROUPS)),
    default="p256",
    show_default=True,
    help="PKINIT group.",
)
@click.option(
    "--kdf", type=click.Choice(list(KDFS)), help="Offer this KDF only; else all but SHA-1."
)
@click.option("--no-dh-nonce", is_flag=True, help="Do not allow the KDC to reuse its key.")
@click.option("--no-freshness", is_flag=True, help="Send the signature at once, without a token.")
@timeout_option
@json_option
@state_option
@click.pass_context
def command(
    ctx: click.Context,
    user: str,
    identity: Path | None,
    password_file: Path | None,
    password_stdin: bool,
    password_prompt: bool,
    kdc_address: str | None,
    realm: str | None,
    anchor: Path | None,
    services: tuple[str, ...],
    armor: Path | None,
    hide_name: bool,
    tcp: bool,
    udp: bool,
    ccache: Path | None,
    kex: str,
    kdf: str | None,
    no_dh_nonce: bool,
    no_freshness: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Log on to a KDC for real, check the KDC's certificate as Windows does, keep the ticket.

    JSON: client, service, mechanism, transport, rounds, milliseconds, session_enctype, flags,
    authtime, starttime, endtime, renew_till, clock_offset_s, ccache, service_tickets (those of
    `kdc ccache show`, and milliseconds), with --armor armor (whose TGT), and for PKINIT kex, kdf,
    digest, key_etype, kdc_key, kdc_certificate_sha256.
    """
    if tcp and udp:
        raise click.UsageError("give --tcp or --udp, not both")
    if hide_name and armor is None:
        raise click.UsageError("--hide-name needs --armor: it is an option of FAST")
    kept = ccache or _default_ccache()
    if kept is not None:
        check_writable(kept)
    target = client_target(state_folder(ctx), kdc_address, realm, anchor)
    name, _, suffix = user.rpartition("@")
    if name and suffix.upper() == target.realm:
        user = name
    mechanism: Mechanism
    if identity is not None:
        if password_file or password_stdin or password_prompt:
            raise click.UsageError("give --identity or a password, not both")
        options = PkinitOptions(
            anchors=target.anchors,
            domain=target.domain,
            group=kex,
            kdfs=DEFAULT_KDFS if kdf is None else KDFS[kdf],
            dh_nonce=not no_dh_nonce,
            freshness=not no_freshness,
        )
        mechanism = PkinitMechanism(load_identity(identity), options)
    else:
        prompt = password_prompt or not (password_file or password_stdin)
        text = read_password(password_file, password_stdin, prompt, confirm=False)
        mechanism = PasswordMechanism(text or "", armored=armor is not None)
    options_as = AsOptions(
        client=client_name(user),
        realm=target.realm,
        armor=None if armor is None else load_tgt(armor, target.realm),
        hide_client=hide_name,
    )
    host, port = target.address
    address = KdcAddress(
        host=host,
        port=port,
        protocol="tcp" if tcp else "udp",
        timeout_s=timeout,
        max_udp_request_bytes=MAX_DATAGRAM_BYTES if udp else MAX_UDP_REQUEST_BYTES,
    )
    started = datetime.now(UTC)
    try:
        result, transport = run(AsExchange(options_as, mechanism, os.urandom), address)
    except ClientError as error:
        raise explain_client_error(error, user, address) from error
    elapsed = datetime.now(UTC) - started

    def keep(tickets: Sequence[ServiceTicket]) -> None:
        if kept is not None:
            keep_ccache(kept, _cache(result, tickets))

    tickets = get_service_tickets(result.credential, services, address, keep, client=user)
    shown = _shown(result)
    shown["service_tickets"] = [
        {**ticket_json(t.credential), "milliseconds": t.milliseconds} for t in tickets
    ]
    shown["transport"] = transport
    shown["milliseconds"] = round(elapsed.total_seconds() * 1000, 1)
    shown["ccache"] = None if kept is None else str(kept)
    if shown.get("kex", kex) != kex:
        click.echo(f"note: the KDC did not take {kex}: {shown['kex']} was used", err=True)
    if as_json:
        print_json(shown)
    else:
        _print(result, shown)
        for ticket in tickets:
            click.echo()
            how = (f"TGT over {ticket.transport}", f"{ticket.milliseconds} ms")
            print_fields([*ticket_fields(ticket.credential), ("by", ", ".join(how))])


def run(state: AsExchange, address: KdcAddress) -> tuple[AsResult, Protocol]:
    """Carry an exchange's messages to a KDC and back until it ends. Raises ClientError."""
    request = state.start(datetime.now(UTC))
    while True:
        answer, transport = exchange(address, request)
        step = state.receive(answer, datetime.now(UTC))
        if isinstance(step, AsResult):
            return step, transport
        request = step


def load_identity(path: Path) -> CmsSigner:
    """Load a PEM file with a private key, its certificate and perhaps intermediates, any order."""
    with path.open("rb") as file:
        data = file.read(MAX_PEM_BYTES)
    if b"PRIVATE KEY-----" not in data or b"BEGIN CERTIFICATE-----" not in data:
        raise CliError(
            f"{path} is no identity",
            "it must hold a certificate and its private key, both as PEM",
            "kdc key enroll USER --out F.pem makes such a file",
        )
    try:
        return identity_from_pem(data)
    except PkiError as error:
        raise PkiError(error.fault, f"{path}: {error.detail}") from None


def _default_ccache() -> Path | None:
    """Take KRB5CCNAME when it names a file, as MIT's programs do."""
    name = os.environ.get("KRB5CCNAME", "")
    kind, colon, rest = name.partition(":")
    if colon and kind.isupper():
        return Path(rest) if kind == "FILE" and rest else None
    return Path(name) if name else None


def _cache(result: AsResult, tickets: Sequence[ServiceTicket]) -> Ccache:
    credential = result.credential
    pa_type = Setting(
        name="pa_type", principal=credential.server, value=str(result.pa_type).encode()
    )
    return Ccache(
        default_principal=credential.client,
        credentials=(credential, *(ticket.credential for ticket in tickets)),
        settings=(pa_type,),
        clock_offset_us=0,
    )


def _shown(result: AsResult) -> dict[str, object]:
    credential = result.credential
    return {
        "client": str(credential.client),
        "service": str(credential.server),
        "mechanism": result.mechanism,
        "transport": None,
        "rounds": result.rounds,
        "milliseconds": None,
        "session_enctype": enctype_name(credential.etype),
        "flags": flag_names(credential.flags),
        "authtime": iso(credential.authtime),
        "starttime": iso(credential.starttime),
        "endtime": iso(credential.endtime),
        "renew_till": iso(credential.renew_till),
        "clock_offset_s": int(result.clock_offset.total_seconds()),
        "ccache": None,
        **result.facts,
    }


def _print(result: AsResult, shown: dict[str, object]) -> None:
    credential = result.credential
    flags = shown["flags"]
    how = f"{result.mechanism} over {shown['transport']}, {result.rounds} rounds"
    print_fields(
        [
            ("client", str(credential.client)),
            ("service", str(credential.server)),
            ("by", f"{how}, {shown['milliseconds']} ms"),
            *((name, str(value)) for name, value in result.facts.items()),
            ("session key", str(shown["session_enctype"])),
            ("flags", " ".join(flags) if isinstance(flags, list) else ""),
            ("valid", f"{read_time(credential.starttime)} to {read_time(credential.endtime)}"),
            (
                "renewable",
                "no"
                if credential.renew_till is None
                else f"until {read_time(credential.renew_till)}",
            ),
            ("ccache", str(shown["ccache"] or "not kept; --ccache F keeps it")),
        ]
    )
