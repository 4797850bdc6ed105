"""`kdc probe`: is a KDC alive? For health checks of containers and load balancers."""

import os
from datetime import UTC, datetime

import click

from kdc.cli.client_files import reachable
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import kdc_place, state_option, timeout_option
from kdc.cli.state import load_realm_config, state_folder
from kdc.client.as_exchange import AsExchange, AsOptions, client_name
from kdc.client.errors import ClientError, ClientFault, error_name
from kdc.client.password import PasswordMechanism
from kdc.client.transport import KdcAddress, exchange
from kdc.config_values import format_address
from kdc.wire.rfc4120 import AsRep, KrbError
from pki import asn1
from pki.errors import PkiError

PROBE_NAME = "kdc-probe"
"""The client name asked for; no account needs to have it."""


@click.command("probe")
@click.option("--kdc", "kdc_address", metavar="ADDR:PORT", help="Else where this realm listens.")
@click.option("--realm", help="Else the realm of the state folder, if there is one.")
@click.option("--tcp", is_flag=True, help="Ask over TCP.")
@timeout_option
@state_option
@click.pass_context
def command(
    ctx: click.Context, kdc_address: str | None, realm: str | None, tcp: bool, timeout: float
) -> None:
    """Send one AS-REQ; any well-formed answer, an error included, means that the KDC is alive."""
    folder = state_folder(ctx)
    config = None
    if kdc_address is None or (realm is None and folder.kdc_toml.exists()):
        config = load_realm_config(folder).config
    if kdc_address is not None:
        host, port = kdc_place(kdc_address)
    else:
        host, port = reachable(config.listen[0] if config is not None else "")
    name = realm or (config.realm if config is not None else "PROBE")
    request = AsExchange(
        AsOptions(client=client_name(PROBE_NAME), realm=name), PasswordMechanism(""), os.urandom
    ).start(datetime.now(UTC))
    address = KdcAddress(
        host=host, port=port, protocol="tcp" if tcp else "udp", timeout_s=timeout, tries=1
    )
    place = format_address(host, port)
    try:
        answer, transport = exchange(address, request)
        click.echo(f"{place} is alive over {transport}: {_judge(answer)}")
    except ClientError as error:
        raise CliError(
            f"no KDC answers on {place}",
            error.detail or error.fault.value,
            "check the address, and that kdc serve runs there",
            ExitCode.UNREACHABLE,
        ) from error


def _judge(answer: bytes) -> str:
    try:
        return error_name(asn1.decode(KrbError, answer).error_code)
    except PkiError:
        pass
    try:
        asn1.decode(AsRep, answer)
    except PkiError:
        raise ClientError(ClientFault.MALFORMED, "what answers is no KDC") from None
    return "AS-REP"
