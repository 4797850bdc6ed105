"""`kdc cloud-trust redeem`: from the answer of the cloud's token endpoint to a full TGT."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from directory.keytab import KeytabEntry, encode_keytab
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.logon_errors import explain_client_error, reference_in
from kdc.cli.options import json_option, read_input_file, state_option, timeout_option
from kdc.cli.output import print_fields, print_json
from kdc.cli.state import check_writable, state_folder, write_private
from kdc.cli.target import ClientTarget, client_target
from kdc.cli.tickets import (
    ServiceTicket,
    get_service_tickets,
    keep_ccache,
    service_option,
    ticket_fields,
    ticket_json,
)
from kdc.client.errors import ClientError, RefusedError
from kdc.client.partial_tgt import open_partial_tgt
from kdc.client.tgs_exchange import TgsExchange, TgsOptions, service_name
from kdc.client.transport import KdcAddress, exchange
from kdc.config_values import enctype_name
from kdc.formats.ccache import Ccache, Credential
from kdc.formats.prt_file import MAX_FILE_BYTES, PrtFileError, decode_prt_file
from kdc.wire.constants import ErrorCode, KdcOption
from kdc.wire.rfc4120 import EncryptionKey

NT_HASH_ETYPE = 23  # all that Windows' clients ask for (MS-KILE 3.2.5.7.4)
_TGT_OPTIONS = KdcOption.FORWARDABLE | KdcOption.RENEWABLE | KdcOption.CANONICALIZE
_ABOUT_THE_TRUST = {
    ErrorCode.KDC_ERR_TGT_REVOKED: "who is in which list",
    ErrorCode.KDC_ERR_POLICY: "what is wrong with the trust",
    ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN: "the numbers that this realm knows",
    ErrorCode.KRB_AP_ERR_BAD_INTEGRITY: "the key's version; the cloud needs the newest key",
}
_NO_KEYS = "none came: cloud_trust.key_list is off there, or none of that kind is kept"


@click.command("redeem")
@click.option(
    "--prt",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="roadtx's .prt file, or what kdc cloud-trust mint --out wrote.",
)
@click.option(
    "--ccache",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Write a credential cache with the full TGT (mode 0600).",
)
@service_option
@click.option(
    "--key-list", is_flag=True, help="Ask for the NT hash as well; allowed by cloud_trust.key_list."
)
@click.option(
    "--keytab",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="With --key-list: write the keys that came to a keytab (mode 0600).",
)
@click.option(
    "--kdc", "kdc_address", metavar="ADDR:PORT", help="Else where the state folder's realm listens."
)
@click.option("--tcp", is_flag=True, help="Use TCP from the start.")
@timeout_option
@json_option
@state_option
@click.pass_context
def redeem(
    ctx: click.Context,
    prt: Path,
    ccache: Path,
    services: tuple[str, ...],
    key_list: bool,
    keytab: Path | None,
    kdc_address: str | None,
    tcp: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Exchange the partial TGT that came with a primary refresh token for a full TGT.

    The KDC's answer is not checked against a certificate: the session key in it was the cloud's
    word. JSON: client, partial_tgt and tgt (as in kdc ccache show), key_list: asked and
    given (encryption types), keytab; service_tickets, ccache.
    """
    if keytab is not None and not key_list:
        raise click.UsageError("--keytab needs --key-list")
    for path in (ccache, keytab):
        if path is not None:
            check_writable(path)
    partial = _partial_tgt(prt)
    realm = partial.client.realm
    target = _target(ctx, kdc_address, realm)
    host, port = target.address
    address = KdcAddress(host=host, port=port, protocol="tcp" if tcp else "udp", timeout_s=timeout)
    asked = (NT_HASH_ETYPE,) if key_list else ()
    try:
        tgt, keys = _full_tgt(partial, asked, address)
    except ClientError as error:
        raise explain(error, str(partial.client), address) from error
    if keytab is not None and keys:
        write_private(keytab, encode_keytab(_entry(tgt, key) for key in keys))

    def keep(tickets: Sequence[ServiceTicket]) -> None:
        credentials = (tgt, *(ticket.credential for ticket in tickets))
        keep_ccache(ccache, Ccache(default_principal=tgt.client, credentials=credentials))

    tickets = get_service_tickets(tgt, services, address, keep, client=str(tgt.client))
    given = [key.keytype for key in keys]
    if as_json:
        print_json(
            {
                "client": str(tgt.client),
                "partial_tgt": ticket_json(partial),
                "tgt": ticket_json(tgt),
                "key_list": {
                    "asked": list(asked),
                    "given": given,
                    "keytab": str(keytab) if keytab is not None and keys else None,
                },
                "service_tickets": [ticket_json(ticket.credential) for ticket in tickets],
                "ccache": str(ccache),
            }
        )
        return
    print_fields([("client", str(tgt.client)), *ticket_fields(tgt), ("ccache", str(ccache))])
    if key_list:
        kept = f", in {keytab}" if keytab is not None and keys else ""
        names = ", ".join(
            "the NT hash" if etype == NT_HASH_ETYPE else enctype_name(etype) for etype in given
        )
        print_fields([("keys", names + kept if given else _NO_KEYS)])
    for ticket in tickets:
        click.echo()
        print_fields(ticket_fields(ticket.credential))


def _partial_tgt(path: Path) -> Credential:
    """Open the partial TGT in a file. Raises CliError."""
    try:
        found = decode_prt_file(read_input_file(path, MAX_FILE_BYTES))
        return open_partial_tgt(found.message, found.client_key)
    except PrtFileError as error:
        why = str(error)
    except ClientError as error:
        why = f"messageBuffer: {error}"
    raise CliError(
        f"{path} has no partial TGT that can be used",
        why,
        "ask for the token again, with tgt=true: roadtx prt -f FILE",
    )


def _target(ctx: click.Context, kdc_address: str | None, realm: str) -> ClientTarget:
    """Find the KDC: by address, else the one of the state folder. Raises CliError."""
    target = client_target(state_folder(ctx), kdc_address, realm if kdc_address else None, None)
    if target.realm != realm:
        raise CliError(
            f"the partial TGT is for {realm}",
            f"the state folder's realm is {target.realm}",
            "name the KDC with --kdc ADDR:PORT, or another state folder with --state",
            ExitCode.NOT_FOUND,
        )
    return target


def _full_tgt(
    partial: Credential, asked: tuple[int, ...], address: KdcAddress
) -> tuple[Credential, tuple[EncryptionKey, ...]]:
    """Exchange a partial TGT for a full one (MS-KILE 3.3.5.7). Raises ClientError."""
    realm = partial.client.realm
    options = TgsOptions(
        server=service_name(f"krbtgt/{realm}"),
        realm=realm,
        kdc_options=_TGT_OPTIONS,
        key_list=asked,
    )
    state = TgsExchange(options, partial, os.urandom)
    answer, _ = exchange(address, state.start(datetime.now(UTC)))
    return state.receive(answer, datetime.now(UTC)), state.keys


def explain(error: ClientError, user: str, address: KdcAddress) -> CliError:
    """Say why the KDC did not take the partial TGT."""
    found = explain_client_error(error, user, address)
    if not isinstance(error, RefusedError) or error.code not in _ABOUT_THE_TRUST:
        return found
    reference = reference_in(error) or "--last"
    about = _ABOUT_THE_TRUST[ErrorCode(error.code)]
    remedy = f"kdc explain {reference} says why; kdc cloud-trust show has {about}"
    return CliError(found.what, found.why, remedy, found.code)


def _entry(tgt: Credential, key: EncryptionKey) -> KeytabEntry:
    """Make the keytab entry of a key; the reply does not say its version."""
    return KeytabEntry(
        realm=tgt.client.realm,
        components=tgt.client.components,
        name_type=tgt.client.name_type,
        kvno=0,
        etype=key.keytype,
        key=key.keyvalue,
    )
