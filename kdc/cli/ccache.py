"""`kdc ccache`: credential caches, and what is sealed in their tickets."""

from pathlib import Path

import click

from directory.keytab import KeytabEntry, decode_keytab
from kdc.cli.errors import CliError
from kdc.cli.keytab import MAX_KEYTAB_BYTES
from kdc.cli.options import json_option, read_input_file
from kdc.cli.output import iso, print_fields, print_json, read_time
from kdc.cli.pac_view import pac_fields, pac_json
from kdc.cli.tickets import flag_names, ticket_fields, ticket_json, ticket_of
from kdc.config_values import enctype_name
from kdc.crypto.etypes import CryptoError, EncType, KeyUsage, ProtocolKey, decrypt
from kdc.formats.ccache import MAX_FILE_BYTES, CcacheError, Credential, Principal, decode_ccache
from kdc.wire.rfc4120 import EncTicketPart
from pki import asn1
from pki.errors import PkiError


@click.group("ccache")
def command() -> None:
    """Credential caches: the tickets in them."""


@command.command("show")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--keytab",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Open the tickets that these keys open, and show what is in them.",
)
@json_option
def show(file: Path, keytab: Path | None, as_json: bool) -> None:
    """List the tickets of a credential cache.

    With a keytab also what is sealed in them. Neither keys nor tickets are printed.

    JSON: default_principal, tickets: a list of service, client, session_enctype, ticket_enctype,
    kvno, flags, authtime, starttime, endtime, renew_till and opened: null, or key, client,
    session_enctype, flags, authtime, starttime, endtime, renew_till, authorization_data, pac.
    """
    try:
        cache = decode_ccache(read_input_file(file, MAX_FILE_BYTES))
    except CcacheError as error:
        raise CliError(
            f"{file} is no credential cache", str(error), "klist says which cache is in use"
        ) from None
    keys = () if keytab is None else decode_keytab(read_input_file(keytab, MAX_KEYTAB_BYTES))
    opened = [_open(credential, keys) for credential in cache.credentials]
    if as_json:
        print_json(
            {
                "default_principal": str(cache.default_principal),
                "tickets": [
                    {**ticket_json(credential), "opened": found and found.json()}
                    for credential, found in zip(cache.credentials, opened, strict=True)
                ],
            }
        )
        return
    print_fields([("client", str(cache.default_principal))])
    for credential, found in zip(cache.credentials, opened, strict=True):
        click.echo()
        print_fields(ticket_fields(credential))
        if found is not None:
            click.echo()
            print_fields(found.fields())


class _Opened:
    """A ticket opened with a key of a keytab."""

    def __init__(self, plain: bytes, entry: KeytabEntry, krbtgt: tuple[ProtocolKey, ...]) -> None:
        self._part = asn1.decode(EncTicketPart, plain)
        self._plain = plain
        self._entry = entry
        self._krbtgt = krbtgt

    @property
    def _key_name(self) -> str:
        entry = self._entry
        return f"{entry.principal}, {enctype_name(entry.etype)}, kvno {entry.kvno}"

    @property
    def _key(self) -> ProtocolKey:
        return ProtocolKey(EncType(self._entry.etype), self._entry.key)

    def json(self) -> dict[str, object]:
        """Show it with stable keys."""
        part = self._part
        return {
            "key": self._key_name,
            "client": str(Principal.of(part.crealm, part.cname)),
            "session_enctype": enctype_name(part.key.keytype),
            "flags": flag_names(part.flags),
            "authtime": iso(part.authtime),
            "starttime": iso(part.starttime),
            "endtime": iso(part.endtime),
            "renew_till": iso(part.renew_till),
            "authorization_data": [e.ad_type for e in part.authorization_data or ()],
            "pac": pac_json(self._plain, self._key, self._krbtgt),
        }

    def fields(self) -> list[tuple[str, str]]:
        """Show it for people."""
        part = self._part
        start, end = read_time(part.starttime), read_time(part.endtime)
        return [
            ("  opened with", self._key_name),
            ("  client", str(Principal.of(part.crealm, part.cname))),
            ("  session key", enctype_name(part.key.keytype)),
            ("  flags", " ".join(flag_names(part.flags))),
            ("  logon", read_time(part.authtime)),
            ("  valid", f"{start} to {end}"),
            *pac_fields(self._plain, self._key, self._krbtgt),
        ]


def _open(credential: Credential, keys: tuple[KeytabEntry, ...]) -> _Opened | None:
    """Open a credential's ticket: first with the keys of its name, then with any that fit.

    A ticket may name the service by an alias that the keytab does not know.
    """
    ticket = ticket_of(credential)
    if ticket is None:
        return None
    sealed = ticket.enc_part
    fitting = [k for k in keys if k.etype == sealed.etype and sealed.kvno in (None, k.kvno)]
    fitting.sort(key=lambda k: k.components != ticket.sname.name_string)
    krbtgt = tuple(
        ProtocolKey(EncType(k.etype), k.key)
        for k in keys
        if k.components[:1] == ("krbtgt",) and k.etype in EncType.__members__.values()
    )
    for entry in fitting:
        try:
            key = ProtocolKey(EncType(entry.etype), entry.key)
            return _Opened(decrypt(key, KeyUsage.TICKET, sealed.cipher), entry, krbtgt)
        except (ValueError, CryptoError, PkiError):
            continue
    return None
