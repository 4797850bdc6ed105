"""`tenant serve`: run the tenant."""

import asyncio
import logging
import socket

import click

from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import ListenAddress
from tenant.cli.options import state_option, tenant_folder
from tenant.server.run import bind, is_loopback, serve
from tenant.services import open_services

EXPOSED = (
    "exposed: whoever reaches {} and trusts the lab's CA takes this for Microsoft's sign-in; "
    "passwords here are a lab's, and may be guessed: ten at a time, then slowly"
)


@click.command("serve")
@click.option("--listen", type=ListenAddress(), metavar="ADDR:PORT", help="HTTPS.")
@click.option("--proxy", type=ListenAddress(), metavar="ADDR:PORT", help="CONNECT.")
@click.option(
    "--i-expose-this",
    "exposed",
    is_flag=True,
    help="Listen on other addresses than the loopback's: others may then sign in here, under "
    "names of Microsoft's, and guess passwords.",
)
@state_option
@click.pass_context
def command(ctx: click.Context, listen: str | None, proxy: str | None, exposed: bool) -> None:
    """Run the tenant until it is told to stop; print one line when it is ready.

    SIGTERM finishes what is under way and ends.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    # asyncio warns of each answer for which its client did not wait: anybody could fill the log.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    services = open_services(tenant_folder(ctx))
    config = services.config
    places = (listen or config.listen, proxy or config.proxy)
    for place in places:
        if not is_loopback(place):
            if not exposed:
                raise CliError(
                    f"the tenant does not listen on {place}",
                    "it is a stand-in for Microsoft's sign-in, for this machine alone",
                    "choose a loopback address, or say --i-expose-this",
                    ExitCode.DENIED,
                )
            logging.getLogger(__name__).warning(EXPOSED.format(place))
    https, connect = map(_bound, places)

    def ready() -> None:
        click.echo(
            f"tenant {config.tenant_id} of {config.domain}: https {places[0]}, proxy {places[1]}"
        )

    asyncio.run(serve(services, https, connect, on_ready=ready))


def _bound(address: str) -> socket.socket:
    try:
        return bind(address)
    except OSError as error:
        raise CliError(
            f"cannot listen on {address}",
            (error.strerror or "input/output error").lower(),
            "stop what listens there, or choose another port",
            ExitCode.UNREACHABLE,
        ) from error
