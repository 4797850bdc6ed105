"""`kdc init`: make a realm in its state folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from directory.ldap.questions import SOCKET_NAME, STATUS_NAME
from directory.model import Sid
from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli.accounts import add_password_service, random_keys
from kdc.cli.authority import (
    KDC_KEYS,
    Authority,
    has_krbtgt_san,
    issue_http_certificate,
    issue_kdc_certificates,
    issue_ocsp_certificate,
    open_ledger,
)
from kdc.cli.client_files import kdc_toml, krb5_conf
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.https_certificate import default_names
from kdc.cli.init_directory import (
    DirectoryChoice,
    directory_options,
    fill_store,
    first_look,
    keep_password,
)
from kdc.cli.options import HostName, ListenAddress, state_option
from kdc.cli.state import (
    CA_KEY_AAD,
    ROOT_CRL_DAYS,
    ROOT_KEY_AAD,
    RealmState,
    make_private_folder,
    make_state_folders,
    now,
    state_folder,
    write_private,
    write_public,
)
from kdc.config import (
    COMPAT_PROFILES,
    DEFAULT_LISTEN,
    KDC_PORT,
    KPASSWD_PORT,
    ConfigError,
    KdcConfig,
)
from kdc.config_read import parse_config
from kdc.config_values import format_address, parse_address
from kdc.state_folder import StateFolder
from pki import ca

MAX_PORT = 65535


def _addresses(*names: str, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make an option for addresses to listen on."""
    return click.option(*names, multiple=True, type=ListenAddress(), metavar="ADDR:PORT", help=help)


@click.command("init")
@click.option("--realm", required=True, help="Kerberos realm, such as LAB.TEST.")
@click.option("--netbios", help="NetBIOS name of the domain; else the realm's first label.")
@_addresses("--listen", help="May be repeated.")
@_addresses(
    "--kpasswd-listen",
    "kpasswd",
    help="Where passwords are changed; else port 464, or for another port than 88 one beside it.",
)
@_addresses("--http", help="Serve probes and metrics there; may be repeated.")
@_addresses("--kkdcp", help="Serve Kerberos over HTTPS there; may be repeated.")
@click.option(
    "--kdc-key",
    type=click.Choice(list(KDC_KEYS)),
    default="rsa2048",
    show_default=True,
    help="Key of the KDC's certificate.",
)
@click.option(
    "--compat",
    type=click.Choice(list(COMPAT_PROFILES)),
    default="strict",
    show_default=True,
    help="Weak forms to accept.",
)
@click.option(
    "--dns",
    multiple=True,
    type=HostName(),
    metavar="NAME",
    help="Host name of the KDC; else kdc.<domain>.",
)
@click.option(
    "--ca",
    "authority",
    type=click.Choice(["root", "offline-root"]),
    default="root",
    show_default=True,
    help="offline-root: an issuing CA below a root whose key is to be put away.",
)
@click.option("--crl-url", metavar="URL", help="Where the CA's CRL will be fetched from.")
@click.option("--force", is_flag=True, help="Replace the realm that is there.")
@directory_options
@state_option
@click.pass_context
def command(
    ctx: click.Context,
    realm: str,
    netbios: str | None,
    listen: tuple[str, ...],
    kpasswd: tuple[str, ...],
    http: tuple[str, ...],
    kkdcp: tuple[str, ...],
    kdc_key: str,
    compat: str,
    dns: tuple[str, ...],
    authority: str,
    crl_url: str | None,
    force: bool,
    choice: DirectoryChoice,
) -> None:
    """Make a realm: master key, account store, CA, KDC certificate, kdc.toml and krb5.conf.

    Safe to run twice: a realm that is there stays as it is, unless --force says otherwise.

    --compat windows accepts signatures with SHA-1 (Windows before 11 24H2); tools also the 1024-bit
    group and NT hashes that the impacket family uses, and makes the KDC certificate without
    id-pkinit-san, on purpose: those tools cannot read it.

    --directory makes a realm whose accounts live in LDAP, and loads them.
    """
    choice.check()
    if choice.urls and kpasswd:
        raise click.UsageError("--kpasswd-listen: passwords of --directory are changed where it is")
    folder = state_folder(ctx)
    realm = realm.upper()
    if not force and _is_there(folder, realm):
        return
    there = first_look(choice) if choice.urls else None
    if netbios is None and there is not None:
        netbios = there.netbios
    text = kdc_toml(
        realm=realm,
        netbios=(netbios or realm.partition(".")[0][:15]).upper(),
        listen=listen or DEFAULT_LISTEN,
        kpasswd=() if choice.urls else kpasswd or _beside(listen or DEFAULT_LISTEN),
        compat=compat,
        http=http,
        kkdcp=kkdcp,
    )
    text += choice.toml()
    # The file is judged before anything is made: a wrong --listen costs nothing.
    config = _judged(text)
    if force:
        for path in _files(folder):
            path.unlink(missing_ok=True)
    hosts = dns or (f"kdc.{config.domain}",)
    domain_sid = there.facts.sid if there is not None else None
    _make(
        folder,
        config,
        KDC_KEYS[kdc_key],
        hosts,
        crl_url,
        domain_sid,
        offline_root=authority == "offline-root",
    )
    keep_password(folder, choice)
    write_private(
        folder.krb5_conf,
        krb5_conf(
            realm=config.realm,
            domain=config.domain,
            listen=config.listen,
            kpasswd=() if choice.urls else config.kpasswd_addresses(),
            ca_certificate=folder.ca_certificate.resolve(),
            kdc_host=hosts[0],
            krbtgt_san=has_krbtgt_san(config),
        ).encode(),
    )
    folder.krb5_conf.chmod(0o644)
    # Last, because it is what makes the folder a realm.
    write_private(folder.kdc_toml, text.encode())
    click.echo(f"realm {config.realm} is in {folder.root}")
    click.echo(f"  clients use {folder.krb5_conf}")
    if folder.root_key.exists():
        click.echo(f"  put {folder.root_key} away, and a copy of master.key: only a new issuing CA")
        click.echo("  and the root's yearly revocation list need it (kdc cert issuing-ca)")
    if not has_krbtgt_san(config):
        click.echo("  its KDC certificate has no id-pkinit-san, on purpose: compat = tools")
    if choice.urls:
        click.echo(f"  its accounts live in {config.directory_url[0]}")
        fill_store(RealmState(folder=folder, loaded=folder.load_config()))
        click.echo("  next: kdc serve")
    else:
        click.echo("  next: kdc user add NAME, kdc key enroll NAME --out F.pem, kdc serve")


def _judged(text: str) -> KdcConfig:
    """Read what is about to become kdc.toml; nobody has seen its lines, so errors name none."""
    try:
        return parse_config(text, "the options of kdc init").config
    except ConfigError as error:
        error.line = None
        raise


def _beside(listen: tuple[str, ...]) -> tuple[str, ...]:
    """Choose ports for kpasswd where the KDC's is not 88: as far off as 464 is from 88."""
    if any(parse_address(address)[1] == KDC_PORT for address in listen):
        return ()
    out = []
    for address in listen:
        host, port = parse_address(address)
        away = KPASSWD_PORT - KDC_PORT
        out.append(format_address(host, port + (away if port + away <= MAX_PORT else -away)))
    return tuple(out)


def _is_there(folder: StateFolder, realm: str) -> bool:
    """Say what is there; False when the folder holds no realm yet."""
    if folder.kdc_toml.exists():
        found = folder.load_config().config.realm
        if found != realm:
            raise CliError(
                f"{folder.root} holds another realm",
                f"it is {found}, not {realm}",
                "choose another folder with --state, or replace it with --force",
                ExitCode.EXISTS,
            )
        click.echo(f"realm {found} is in {folder.root} already; nothing was changed")
        return True
    left = [path.name for path in _files(folder) if path.exists()]
    if left:
        raise CliError(
            f"{folder.root} holds part of a realm",
            f"there is {left[0]} but no kdc.toml",
            "put kdc.toml back, or replace everything with --force",
            ExitCode.EXISTS,
        )
    return False


def _files(folder: StateFolder) -> Iterator[Path]:
    """List what --force removes: everything but the audit log and files we do not know."""
    yield folder.kdc_toml
    yield folder.krb5_conf
    store = folder.store
    for stem in (store.name, f"{store.stem}-lockout{store.suffix}"):
        for end in ("", "-wal", "-shm", ".new"):
            yield store.with_name(stem + end)
    yield folder.master_key
    yield from (folder.ca_certificate, folder.pki / "ca.key", folder.crl)
    yield from (folder.issuing_certificate, folder.root_key, folder.root_crl)
    yield from (folder.own_logon_ca, folder.own_trusted_root)
    yield from (folder.ca_ledger, folder.ca_lock, *folder.ocsp_responder)
    yield from (folder.kdc_certificate, folder.kdc_key)
    yield from (folder.kdc_ec_certificate, folder.kdc_ec_key)
    yield from folder.own_http_tls
    yield from (folder.replay_map, folder.retransmit_map)
    yield from (folder.root / STATUS_NAME, folder.root / SOCKET_NAME)


def _make(
    folder: StateFolder,
    config: KdcConfig,
    key_types: tuple[ca.KeyType, ...],
    hosts: tuple[str, ...],
    crl_url: str | None,
    domain_sid: Sid | None,
    *,
    offline_root: bool,
) -> None:
    moment = now()
    make_state_folders(folder.root, folder.pki)
    master_key = MasterKey.create(folder.master_key)
    store = Store.create(
        folder.store,
        master_key,
        realm=config.realm,
        netbios=config.netbios,
        krbtgt_keys=random_keys(config),
        now=moment,
        domain_sid=domain_sid,
    )
    if not config.directory_url:
        # Passwords of other realms are changed where they live.
        add_password_service(store, config, moment)
    store.close()
    root = ca.create_root(config.realm, moment)
    write_public(folder.ca_certificate, ca.certificate_to_pem(root.certificate_der))
    issuer = _below_offline_root(folder, config, root, master_key) if offline_root else root
    key_pem = ca.private_key_to_pem(issuer.private_key)
    write_private(folder.pki / "ca.key", master_key.seal(CA_KEY_AAD, key_pem))
    # The realm's own CA may issue logon certificates; removing this file takes that away.
    make_private_folder(folder.logon_cas)
    write_public(folder.own_logon_ca, ca.certificate_to_pem(issuer.certificate_der))
    with open_ledger(folder) as ledger:
        authority = Authority(folder=folder, config=config, issuer=issuer, ledger=ledger)
        authority.publish_crl()
        issue_kdc_certificates(authority, key_types, hosts, crl_url)
        issue_http_certificate(authority, *default_names(config, hosts))
        issue_ocsp_certificate(authority)


def _below_offline_root(
    folder: StateFolder, config: KdcConfig, root: ca.IssuedCertificate, master_key: MasterKey
) -> ca.IssuedCertificate:
    """Make the issuing CA, and put the root where it is trusted but issues no logons."""
    root_pem = ca.certificate_to_pem(root.certificate_der)
    root_key = ca.private_key_to_pem(root.private_key)
    write_private(folder.root_key, master_key.seal(ROOT_KEY_AAD, root_key))
    for place in (folder.trusted_roots, folder.crls):
        make_private_folder(place)
    write_public(folder.own_trusted_root, root_pem)
    moment = now()
    issuing = ca.issue_issuing_ca(root, config.realm, moment)
    write_public(folder.issuing_certificate, ca.certificate_to_pem(issuing.certificate_der))
    write_public(folder.root_crl, ca.create_crl(root, 1, (), moment, ROOT_CRL_DAYS))
    return issuing
