"""`kdc init --directory`: a realm whose accounts live in LDAP."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, get_args

import click

from directory.backend import DirectoryError
from directory.ldap.keys import KeyFeed
from directory.ldap.reach import check_safe
from directory.ldap.session import Session, open_session
from directory.ldap.settings import Flavour, LdapSettings, LdapUrl, LdapUrlError, Sasl
from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli.directory import load_accounts, show_problems, unreachable
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import read_input_file
from kdc.cli.state import RealmState
from kdc.server.directory_link import BIND_SECRET, MAX_SECRET_BYTES, make_servers, make_writer
from kdc.server.key_source import open_key_source
from kdc.state_folder import StateFolder

_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option(
        "--directory-key-source",
        "key_source",
        metavar="SOURCE",
        help="Where long-term keys are: local, keytab:F, samba:DIR, ldap-sealed.",
    ),
    click.option(
        "--directory-sasl",
        "sasl",
        # A ticket for the directory can only come once the realm is there: directory.ccache.
        type=click.Choice([name for name in get_args(Sasl) if name != "gssapi"]),
        help="external: a local socket says who the KDC is (OpenLDAP).",
    ),
    click.option(
        "--directory-bind-password-file",
        "bind_password_file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="F",
        help="Its password; it is kept sealed in the store.",
    ),
    click.option("--directory-bind-dn", "bind_dn", metavar="DN", help="Who the KDC is there."),
    click.option("--directory-starttls", "starttls", is_flag=True, help="TLS on ldap:// URLs."),
    click.option(
        "--directory-ca",
        "ca_file",
        type=click.Path(dir_okay=False, exists=True, path_type=Path),
        metavar="F",
        help="Issuers of the directory's TLS certificates (PEM).",
    ),
    click.option("--directory-base", "base", metavar="DN", help="Else the server's default."),
    click.option("--flavour", type=click.Choice(get_args(Flavour)), help="Kind of directory."),
    click.option(
        "--directory",
        "urls",
        multiple=True,
        metavar="URL",
        help="Accounts live there: ldaps://, ldapi:// or ldap://; may be repeated.",
    ),
)


def directory_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that make a realm on a directory; they arrive together as `choice`."""

    @wraps(function)
    def collected(*args: object, **values: Any) -> None:
        names = [field.name for field in fields(DirectoryChoice)]
        choice = DirectoryChoice(**{name: values.pop(name) for name in names})
        function(*args, choice=choice, **values)

    wrapped: Callable[..., None] = collected
    for add_option in _OPTIONS:
        wrapped = add_option(wrapped)
    return wrapped


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryChoice:
    """What the options say about the directory."""

    urls: tuple[str, ...]
    flavour: str | None
    base: str | None
    ca_file: Path | None
    starttls: bool
    bind_dn: str | None
    bind_password_file: Path | None
    sasl: str | None
    key_source: str | None

    def check(self) -> None:
        """Refuse options that do not go together. Raises click.UsageError."""
        if not self.urls:
            if any(getattr(self, field.name) for field in fields(self)):
                raise click.UsageError("options of a directory need --directory URL")
            return
        if self.flavour is None:
            raise click.UsageError("--directory needs --flavour samba, ad or openldap")
        if self.bind_dn and self.bind_password_file is None:
            raise click.UsageError("--directory-bind-dn needs --directory-bind-password-file")
        if self.bind_password_file is not None and not self.bind_dn:
            raise click.UsageError("--directory-bind-password-file needs --directory-bind-dn")

    def password(self) -> bytes:
        """Read the bind's password."""
        if self.bind_password_file is None:
            return b""
        data = read_input_file(self.bind_password_file, MAX_SECRET_BYTES)
        return data.removesuffix(b"\n").removesuffix(b"\r")

    def settings(self) -> LdapSettings:
        """Make the settings of a first connection. Raises CliError."""
        try:
            urls = tuple(LdapUrl.parse(text) for text in self.urls)
        except LdapUrlError as error:
            raise CliError(
                "this is no URL of a directory",
                str(error),
                "write it as ldaps://dc1.lab.test",
                ExitCode.USAGE,
            ) from None
        flavours: dict[str, Flavour] = {name: name for name in get_args(Flavour)}
        sasls: dict[str, Sasl] = {name: name for name in get_args(Sasl)}
        return LdapSettings(
            urls=urls,
            flavour=flavours[self.flavour or "openldap"],
            base=self.base or "",
            bind_dn=self.bind_dn or "",
            bind_password=self.password(),
            sasl=sasls[self.sasl or "none"],
            starttls=self.starttls,
            ca_file=str(self.ca_file.resolve()) if self.ca_file else "",
        )

    def toml(self) -> str:
        """Write the keys of kdc.toml; nothing for an embedded realm."""
        if not self.urls:
            return ""
        quoted = ", ".join(f'"{LdapUrl.parse(url)}"' for url in self.urls)
        lines = [f"directory.url = [{quoted}]", f'directory.flavour = "{self.flavour}"']
        ca_file = str(self.ca_file.resolve()) if self.ca_file else None
        for key, value in (
            ("base", self.base),
            ("ca_file", ca_file),
            ("bind_dn", self.bind_dn),
            ("sasl", self.sasl),
            ("key_source", self.key_source),
        ):
            if value:
                escaped = value.replace("\\", "\\\\").replace('"', '\\"')
                lines.append(f'directory.{key} = "{escaped}"')
        if self.starttls:
            lines.append("directory.starttls = true")
        return "\n".join(lines) + "\n"


def first_look(choice: DirectoryChoice) -> Session:
    """Connect for the first time, so that nothing is made for a directory that is not there.

    Raises CliError. The session's connection is closed; what it learned stays.
    """
    settings = choice.settings()
    try:
        for url in settings.urls:
            check_safe(url, settings)
    except DirectoryError as error:
        raise CliError(
            "the directory cannot be used like that",
            error.detail,
            "use ldaps://, --directory-starttls or a local socket (ldapi://)",
            ExitCode.USAGE,
        ) from None
    last: DirectoryError | None = None
    for url in settings.urls:
        try:
            session = open_session(url, settings)
        except DirectoryError as error:
            last = error
            continue
        session.connection.close()
        return session
    assert last is not None  # noqa: S101  there is at least one URL
    raise unreachable(last) from last


def keep_password(folder: StateFolder, choice: DirectoryChoice) -> None:
    """Seal the bind's password in the new store."""
    password = choice.password()
    if password:
        store = Store.open(folder.store, MasterKey.load(folder.master_key))
        store.set_secret(BIND_SECRET, password)
        store.close()


def fill_store(realm: RealmState) -> None:
    """Load all accounts of a new realm; `kdc directory load` goes on from where it stops.

    Raises CliError.
    """
    with realm.store(write=True, local=True) as store:
        feed = KeyFeed(open_key_source(realm.config, realm.folder, realm.master_key()))
        writer = make_writer(store, realm.config, feed)
        servers = make_servers(realm.config, store, realm.folder.root)
        loaded = load_accounts(servers, writer, feed)
        feed.close()
        click.echo(f"  {loaded.entries} accounts and groups are in the store")
        show_problems(writer)
