"""Who a command is for the realm's directory: the caller's own credentials, never the follower's.

`--bind-dn` and a password, `--ldapi` (the kernel says who asks), or the tickets of a credential
cache. Without any of them, KRB5CCNAME names the cache, as it does for every Kerberos program.
"""

import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path

import click

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.connection import LdapConnection
from directory.ldap.session import root_entry
from directory.ldap.settings import Flavour, LdapSettings, LdapUrl, LdapUrlError, Sasl
from directory.ldap.write import WritingConnection
from kdc.cli.client_files import reachable
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import read_input_file, read_password
from kdc.cli.state import RealmState
from kdc.cli.tickets import get_service_ticket
from kdc.client.errors import ClientError
from kdc.client.gssapi import GssapiClient
from kdc.client.transport import KdcAddress
from kdc.config import KdcConfig
from kdc.formats.ccache import MAX_FILE_BYTES, Ccache, CcacheError, Credential, decode_ccache

_CODES: Mapping[DirectoryFault, ExitCode] = {
    DirectoryFault.NOT_FOUND: ExitCode.NOT_FOUND,
    DirectoryFault.EXISTS: ExitCode.EXISTS,
    DirectoryFault.INVALID: ExitCode.FAILED,
    DirectoryFault.DENIED: ExitCode.DENIED,
    DirectoryFault.UNAVAILABLE: ExitCode.UNREACHABLE,
    DirectoryFault.CORRUPT: ExitCode.FAILED,
}
_REMEDIES: Mapping[DirectoryFault, str] = {
    DirectoryFault.NOT_FOUND: "check the name, and directory.base in kdc.toml",
    DirectoryFault.EXISTS: "look at what is there now, and try again if it is still wanted",
    DirectoryFault.INVALID: "kdc directory check says what the directory lacks",
    DirectoryFault.DENIED: "log on to the directory as somebody who may: a member of Key Admins",
    DirectoryFault.UNAVAILABLE: "check that the directory runs, and directory.url in kdc.toml",
    DirectoryFault.CORRUPT: "mend the entry in the directory first",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What the options say about who asks."""

    bind_dn: str | None = None
    password_file: Path | None = None
    ldapi: bool = False
    ccache: Path | None = None
    server: str | None = None
    """The URL of one server, in place of those of the configuration."""

    @property
    def given(self) -> bool:
        """Whether any option was given."""
        return self != Caller()


_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option("--server", metavar="URL", help="LDAP realm: this server of directory.url only."),
    click.option(
        "--ccache",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="F",
        help="LDAP realm: log on to the directory with the tickets in this cache.",
    ),
    click.option("--ldapi", is_flag=True, help="LDAP realm: over the local socket, as who I am."),
    click.option(
        "--bind-password-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="F",
        help="LDAP realm: the password of --bind-dn; else it is asked for.",
    ),
    click.option("--bind-dn", metavar="DN", help="LDAP realm: log on to the directory as this."),
)


def caller_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say who asks; the command gets them as one argument, `caller`."""

    @wraps(function)
    def collected(
        *arguments: object,
        bind_dn: str | None,
        bind_password_file: Path | None,
        ldapi: bool,
        ccache: Path | None,
        server: str | None,
        **others: object,
    ) -> None:
        caller = Caller(
            bind_dn=bind_dn,
            password_file=bind_password_file,
            ldapi=ldapi,
            ccache=ccache,
            server=server,
        )
        function(*arguments, caller=caller, **others)

    decorated: Callable[..., None] = collected
    for add_option in _OPTIONS:
        decorated = add_option(decorated)
    return decorated


@contextmanager
def directory_errors(what: str) -> Iterator[None]:
    """Turn a directory's fault into three lines; what: what did not happen."""
    try:
        yield
    except DirectoryError as error:
        raise CliError(
            what, error.detail or error.kind.value, _REMEDIES[error.kind], _CODES[error.kind]
        ) from error


# -- connecting ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """An open directory, as the caller."""

    connection: WritingConnection
    base: str
    flavour: Flavour


@contextmanager
def open_directory(realm: RealmState, caller: Caller) -> Iterator[Access]:
    """Log on to the realm's directory as the caller; closed at the end of the block.

    Raises CliError.
    """
    with directory_errors("the directory cannot be used"):
        connection = _connect(realm.config, realm.folder.root, caller)
    try:
        with directory_errors("the directory cannot be used"):
            base = realm.config.directory_base or _default_base(connection)
        yield Access(connection=connection, base=base, flavour=realm.config.directory_flavour)
    finally:
        connection.close()


def _default_base(connection: LdapConnection) -> str:
    root = root_entry(connection)
    contexts = root.values("defaultnamingcontext") or root.values("namingcontexts")
    if not contexts:
        raise DirectoryError(DirectoryFault.INVALID, "the server shows no naming context")
    return contexts[0].decode("utf-8", "replace")


def _urls(config: KdcConfig, caller: Caller) -> tuple[LdapUrl, ...]:
    texts = (caller.server,) if caller.server is not None else config.directory_url
    try:
        urls = tuple(LdapUrl.parse(text) for text in texts)
    except LdapUrlError as error:
        raise click.UsageError(f"--server {caller.server!r}: {error}") from None
    if caller.ldapi:
        urls = tuple(url for url in urls if url.scheme == "ldapi")
        if not urls:
            raise click.UsageError(
                "--ldapi needs a local socket, and directory.url has none: --server names one"
            )
    return urls


def _settings(
    config: KdcConfig,
    root: Path,
    urls: tuple[LdapUrl, ...],
    *,
    bind_dn: str = "",
    password: str = "",
    sasl: Sasl = "none",
) -> LdapSettings:
    return LdapSettings(
        urls=urls,
        flavour=config.directory_flavour,
        base=config.directory_base or "",
        bind_dn=bind_dn,
        bind_password=password.encode(),
        sasl=sasl,
        starttls=config.directory_starttls,
        ca_file=str(root / config.directory_ca_file) if config.directory_ca_file else "",
    )


def _connect(config: KdcConfig, root: Path, caller: Caller) -> WritingConnection:
    urls = _urls(config, caller)
    ways = (caller.bind_dn is not None) + caller.ldapi + (caller.ccache is not None)
    if ways > 1:
        raise click.UsageError("give one of --bind-dn, --ldapi, --ccache")
    if caller.password_file is not None and caller.bind_dn is None:
        raise click.UsageError("--bind-password-file needs --bind-dn")
    if caller.bind_dn is not None:
        password = read_password(
            caller.password_file, False, caller.password_file is None, confirm=False
        )
        settings = _settings(config, root, urls, bind_dn=caller.bind_dn, password=password or "")
        return _first(urls, lambda url: WritingConnection.open(url, settings))
    if caller.ldapi:
        # Samba knows who may enter its private folder, and no EXTERNAL; OpenLDAP asks the kernel.
        sasl: Sasl = "external" if config.directory_flavour == "openldap" else "none"
        settings = _settings(config, root, urls, sasl=sasl)
        return _first(urls, lambda url: WritingConnection.open(url, settings))
    cache = _cache(caller.ccache)
    return _first(urls, lambda url: _with_ticket(config, root, url, cache))


def _first(
    urls: tuple[LdapUrl, ...], connect: Callable[[LdapUrl], WritingConnection]
) -> WritingConnection:
    """Connect to the first server that answers. Raises DirectoryError of the last."""
    for url in urls[:-1]:
        try:
            return connect(url)
        except DirectoryError as error:
            if error.kind is not DirectoryFault.UNAVAILABLE:
                raise
    return connect(urls[-1])


# -- tickets ---------------------------------------------------------------------------------


def _cache(named: Path | None) -> Ccache:
    path = named
    if path is None:
        kind, colon, rest = os.environ.get("KRB5CCNAME", "").partition(":")
        name = rest if colon and kind == "FILE" else (kind if not colon else "")
        path = Path(name) if name else None
    if path is None:
        raise CliError(
            "the directory must know who you are",
            "no option says so, and KRB5CCNAME names no credential cache",
            "give --bind-dn DN, --ldapi or --ccache FILE",
            ExitCode.USAGE,
        )
    try:
        return decode_ccache(read_input_file(path, MAX_FILE_BYTES))
    except CcacheError as error:
        raise CliError(
            f"{path} is no credential cache",
            str(error),
            "kinit makes one, kdc ccache show reads it",
        ) from None


def _with_ticket(config: KdcConfig, root: Path, url: LdapUrl, cache: Ccache) -> WritingConnection:
    client = gssapi_client(config, root, url, cache)
    return WritingConnection.open(url, _settings(config, root, (url,), sasl="gssapi"), client)


def gssapi_client(config: KdcConfig, root: Path, url: LdapUrl, cache: Ccache) -> GssapiClient:
    """Make SASL GSSAPI for a server from the tickets in a cache.

    root: what a path in the configuration is relative to.

    Raises CliError when none will do, DirectoryError when the server does not say its name.
    """
    service = f"ldap/{_host(config, root, url)}"
    now = datetime.now(UTC)
    ticket = _ticket(cache, config, now, *service.split("/"))
    if ticket is None:
        tgt = _ticket(cache, config, now, "krbtgt", config.realm)
        if tgt is None:
            raise CliError(
                "the credential cache has no ticket that can be used",
                f"none for {service} and no TGT of {config.realm} that is still valid",
                "kinit first, or kdc logon",
                ExitCode.DENIED,
            )
        ticket = _ask_kdc(config, tgt, service)
    return GssapiClient(ticket, lambda: datetime.now(UTC), os.urandom)


def _host(config: KdcConfig, root: Path, url: LdapUrl) -> str:
    """Return the name that the server's service principal has.

    An address is no such name: the server is asked for its own. TLS has checked the address, and a
    server that names another will not have that one's key.
    """
    try:
        ipaddress.ip_address(url.host)
    except ValueError:
        if url.host:
            return url.host.lower()
    connection = LdapConnection.open(url, _settings(config, root, (url,)))
    try:
        names = root_entry(connection).values("dnshostname")
    finally:
        connection.close()
    if not names:
        raise DirectoryError(
            DirectoryFault.INVALID, f"{url}: tickets are for host names; write its name in the URL"
        )
    return names[0].decode("ascii", "replace").lower()


def _ticket(cache: Ccache, config: KdcConfig, now: datetime, *name: str) -> Credential | None:
    for credential in cache.credentials:
        server = credential.server
        if (
            server.realm == config.realm
            and tuple(part.lower() for part in server.components) == tuple(n.lower() for n in name)
            and credential.endtime is not None
            and credential.endtime > now
        ):
            return credential
    return None


def _ask_kdc(config: KdcConfig, tgt: Credential, service: str) -> Credential:
    host, port = reachable(config.listen[0])
    try:
        address = KdcAddress(host=host, port=port)
        return get_service_ticket(tgt, service, config.realm, address).credential
    except ClientError as error:
        raise CliError(
            f"there is no ticket for {service}",
            str(error),
            f"check that {service} is a service principal of the realm: kdc service list",
            ExitCode.DENIED,
        ) from error
