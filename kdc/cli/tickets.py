"""How commands show and keep tickets, and `--service`: service tickets for the TGT just got."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from kdc.cli.errors import CliError
from kdc.cli.logon_errors import explain_client_error
from kdc.cli.options import read_input_file
from kdc.cli.output import iso, read_time
from kdc.cli.state import write_private
from kdc.client.errors import ClientError
from kdc.client.tgs_exchange import TgsExchange, TgsOptions, service_name
from kdc.client.transport import KdcAddress, exchange
from kdc.config_values import enctype_name
from kdc.formats.ccache import (
    MAX_FILE_BYTES,
    Ccache,
    CcacheError,
    Credential,
    decode_ccache,
    encode_ccache,
)
from kdc.wire.constants import TicketFlag
from kdc.wire.rfc4120 import Ticket
from pki import asn1
from pki.errors import PkiError

service_option = click.option(
    "--service",
    "services",
    multiple=True,
    metavar="SPN",
    help="Then ask for a ticket for this service; may be given several times.",
)

FLAG_NAMES = {
    flag: name.lower().replace("_", "-")
    for name, flag in vars(TicketFlag).items()
    if isinstance(flag, int)
}


def flag_names(flags: int) -> list[str]:
    """Name the flags that are set."""
    return [name for flag, name in FLAG_NAMES.items() if flags & flag]


def ticket_of(credential: Credential) -> Ticket | None:
    """Decode the ticket of a credential; None when it is not one."""
    try:
        return asn1.decode(Ticket, credential.ticket)
    except PkiError:
        return None


def ticket_json(credential: Credential) -> dict[str, object]:
    """Show a ticket with stable keys; neither the key nor the ticket is in it."""
    ticket = ticket_of(credential)
    return {
        "service": str(credential.server),
        "client": str(credential.client),
        "session_enctype": enctype_name(credential.etype),
        "ticket_enctype": None if ticket is None else enctype_name(ticket.enc_part.etype),
        "kvno": None if ticket is None else ticket.enc_part.kvno,
        "flags": flag_names(credential.flags),
        "authtime": iso(credential.authtime),
        "starttime": iso(credential.starttime),
        "endtime": iso(credential.endtime),
        "renew_till": iso(credential.renew_till),
    }


def ticket_fields(credential: Credential) -> list[tuple[str, str]]:
    """Show a ticket for people."""
    ticket = ticket_of(credential)
    sealed = "not a ticket"
    if ticket is not None:
        kvno = ticket.enc_part.kvno
        sealed = enctype_name(ticket.enc_part.etype) + ("" if kvno is None else f", kvno {kvno}")
    fields = [
        ("service", str(credential.server)),
        ("sealed", sealed),
        ("session key", enctype_name(credential.etype)),
        ("flags", " ".join(flag_names(credential.flags))),
        ("valid", f"{read_time(credential.starttime)} to {read_time(credential.endtime)}"),
    ]
    if credential.renew_till is not None:
        fields.append(("renewable", f"until {read_time(credential.renew_till)}"))
    return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTicket:
    """A service ticket, and how it was got."""

    credential: Credential
    transport: str
    milliseconds: float


def get_service_ticket(
    tgt: Credential, service: str, realm: str, address: KdcAddress
) -> ServiceTicket:
    """Ask for a service ticket with a TGT.

    service: `host/web.lab.test`, or the name of an account; the realm may be named.
    Raises ClientError.
    """
    name, at, suffix = service.rpartition("@")
    if not at or suffix.upper() != realm:
        name = service
    state = TgsExchange(TgsOptions(server=service_name(name), realm=realm), tgt, os.urandom)
    started = datetime.now(UTC)
    answer, transport = exchange(address, state.start(started))
    ended = datetime.now(UTC)
    return ServiceTicket(
        credential=state.receive(answer, ended),
        transport=transport,
        milliseconds=round((ended - started).total_seconds() * 1000, 1),
    )


def get_service_tickets(
    tgt: Credential,
    services: Iterable[str],
    address: KdcAddress,
    keep: Callable[[Sequence[ServiceTicket]], None],
    *,
    client: str,
) -> Sequence[ServiceTicket]:
    """Ask for a ticket for each service; realm: the TGT's.

    keep: gets what came, also when a later one did not: the TGT is good, whatever became of them.
    client: as the error calls it. Raises CliError.
    """
    tickets: list[ServiceTicket] = []
    service = ""
    try:
        for service in services:
            tickets.append(get_service_ticket(tgt, service, tgt.server.realm, address))
    except ClientError as error:
        raise explain_client_error(error, f"{client} a ticket for {service}", address) from error
    finally:
        keep(tickets)
    return tickets


def keep_ccache(path: Path, cache: Ccache) -> None:
    """Write a credential cache, mode 0600, in place of what was there. Raises CliError."""
    write_private(path, encode_ccache(cache))


def load_tgt(path: Path, realm: str) -> Credential:
    """Read the TGT of a realm from a credential cache. Raises CliError."""
    try:
        cache = decode_ccache(read_input_file(path, MAX_FILE_BYTES))
    except CcacheError as error:
        raise CliError(
            f"{path} is no credential cache that can be read", str(error), "look at: klist -c"
        ) from None
    wanted = ("krbtgt", realm)
    for credential in cache.credentials:
        if credential.server.components == wanted and credential.server.realm == realm:
            return credential
    raise CliError(
        f"{path} has no TGT of {realm}",
        "an armor is made with one",
        "log on first, as the host for instance: kdc logon HOST$ --ccache F",
    )
