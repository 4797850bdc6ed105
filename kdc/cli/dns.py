"""`kdc dns`: the DNS records by which clients find the realm.

SRV: RFC 4120 7.2.3.2 (_kerberos), MIT's _kerberos-master and _kpasswd, and Windows' names under
_msdcs and _sites (MS-ADTS 6.3.2.3). TXT: the realm of a domain, MIT's and Heimdal's _kerberos. URI:
draft-mccallum-kitten-krb-service-discovery, which MIT's client asks first.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from directory.ldap.settings import LdapUrl
from kdc.cli.cert_renew import kdc_hosts
from kdc.cli.options import HostName, is_host_name, json_option, state_option
from kdc.cli.output import print_json
from kdc.cli.state import open_realm
from kdc.config import KDC_PORT, KPASSWD_PORT, KdcConfig
from kdc.config_values import parse_address

TTL_S = 3600
MAX_TTL_S = 604800  # a week: longer than anybody wants to wait for a node that has moved
WEIGHT = 100
FIRST_SITE = "Default-First-Site-Name"
HTTPS_PORT = 443
LDAP_PORT = 389
_DOMAIN_CONTROLLERS = ("samba", "ad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record; data as a zone file has it."""

    name: str
    """Absolute, with the dot at its end."""
    kind: str
    data: str


class _NodeType(click.ParamType[tuple[str, tuple[str, ...]]]):
    """A KDC's host name, and its addresses where they shall be printed too."""

    name = "host"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[str, ...]]:
        """Return name and addresses."""
        host, equals, rest = str(value).partition("=")
        name = HostName().convert(host, param, ctx).lower()
        try:
            addresses = [str(ipaddress.ip_address(part)) for part in rest.split(",") if equals]
        except ValueError:
            self.fail(f"write {value!r} as kdc1.lab.test=192.0.2.1,2001:db8::1", param, ctx)
        return name, tuple(addresses)


@click.group("dns")
def command() -> None:
    """The DNS records by which clients find the realm."""


@command.command("print")
@click.option(
    "--host",
    "nodes",
    multiple=True,
    type=_NodeType(),
    metavar="NAME[=IP,...]",
    help="A KDC; repeat it for each node. Else the names in this one's certificate.",
)
@click.option("--site", default=FIRST_SITE, show_default=True, help="Windows' name of the site.")
@click.option(
    "--ttl",
    type=click.IntRange(min=0, max=MAX_TTL_S),
    default=TTL_S,
    show_default=True,
    help="Seconds that resolvers keep them.",
)
@json_option
@state_option
@click.pass_context
def print_records(
    ctx: click.Context,
    nodes: tuple[tuple[str, tuple[str, ...]], ...],
    site: str,
    ttl: int,
    as_json: bool,
) -> None:
    """Print the records as the text of a BIND zone; nothing is changed.

    Every node is given the same priority, so clients share themselves among them. The names of
    domain controllers' LDAP (_ldap._tcp.dc._msdcs) are printed for realms on Samba or Active
    Directory, whose own DNS has them already.

    JSON: domain, ttl, records (name, type, data).
    """
    if not is_host_name(site):
        raise click.UsageError(f"--site {site!r} is no name of one label")
    realm = open_realm(ctx)
    config = realm.config
    if not nodes:
        nodes = tuple((host.lower(), ()) for host in kdc_hosts(realm))
    found = tuple(records(config, nodes, site))
    if as_json:
        shown = [{"name": r.name, "type": r.kind, "data": r.data} for r in found]
        print_json({"domain": config.domain, "ttl": ttl, "records": shown})
        return
    click.echo(zone_text(config, found, ttl), nl=False)


def zone_text(config: KdcConfig, found: Sequence[Record], ttl: int) -> str:
    """Write records as a part of a zone file."""
    width = max(len(record.name) for record in found)
    lines = [
        f"; How clients find the realm {config.realm}. For the zone {config.domain}.",
        f"$TTL {ttl}",
        *(f"{r.name.ljust(width)} IN {r.kind.ljust(4)} {r.data}" for r in found),
    ]
    return "\n".join(lines) + "\n"


def records(
    config: KdcConfig, nodes: Sequence[tuple[str, tuple[str, ...]]], site: str
) -> Iterator[Record]:
    """Make the records of a realm whose KDCs are these hosts, all with this one's ports."""
    domain = config.domain.lower()
    for host, addresses in nodes:
        for address in addresses:
            kind = "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
            yield Record(name=f"{host}.", kind=kind, data=address)
    yield Record(name=f"_kerberos.{domain}.", kind="TXT", data=f'"{config.realm}"')
    hosts = [host for host, _ in nodes]
    kdc_port = _port(config.listen, KDC_PORT)
    yield from _kerberos(domain, site, hosts, kdc_port)
    yield from _uris(config, domain, hosts, kdc_port)
    if config.kpasswd_addresses():
        port = _port(config.kpasswd_addresses(), KPASSWD_PORT)
        for transport in ("udp", "tcp"):
            yield from _services(f"_kpasswd._{transport}.{domain}.", hosts, port)
    yield from _ldap(config, domain, site)


def _kerberos(domain: str, site: str, hosts: Sequence[str], port: int) -> Iterator[Record]:
    # MIT asks a "master" again after a wrong password, lest a slow copy was asked: here every node
    # follows the directory, so each is as good as any.
    for name in ("_kerberos._udp", "_kerberos._tcp", "_kerberos-master._udp"):
        yield from _services(f"{name}.{domain}.", hosts, port)
    for name in (
        "_kerberos-master._tcp",
        "_kerberos._tcp.dc._msdcs",
        f"_kerberos._tcp.{site}._sites",
        f"_kerberos._tcp.{site}._sites.dc._msdcs",
    ):
        yield from _services(f"{name}.{domain}.", hosts, port)


def _uris(config: KdcConfig, domain: str, hosts: Sequence[str], port: int) -> Iterator[Record]:
    # "m": may change passwords, or as good as one that may.
    for number, transport in enumerate(("udp", "tcp"), start=1):
        for host in hosts:
            data = f'{number}0 {WEIGHT} "krb5srv:m:{transport}:{host}:{port}"'
            yield Record(name=f"_kerberos.{domain}.", kind="URI", data=data)
    if config.kkdcp_listen:
        proxy = _port(config.kkdcp_listen, HTTPS_PORT)
        for host in hosts:
            place = host if proxy == HTTPS_PORT else f"{host}:{proxy}"
            data = f'30 {WEIGHT} "krb5srv:m:kkdcp:https://{place}/KdcProxy"'
            yield Record(name=f"_kerberos.{domain}.", kind="URI", data=data)


def _ldap(config: KdcConfig, domain: str, site: str) -> Iterator[Record]:
    """The directory's own servers, as far as their names are known."""
    urls = [LdapUrl.parse(text) for text in config.directory_url]
    # In the order of the configuration, each once; of a numeric address there is no name to give.
    servers = list(dict.fromkeys(url.host.lower() for url in urls if is_host_name(url.host)))
    names = ["_ldap._tcp"]
    if config.directory_flavour in _DOMAIN_CONTROLLERS:
        names += [
            "_ldap._tcp.dc._msdcs",
            f"_ldap._tcp.{site}._sites",
            f"_ldap._tcp.{site}._sites.dc._msdcs",
        ]
    for name in names:
        # LDAPS has no service name of its own: who finds a server by SRV begins with StartTLS.
        yield from _services(f"{name}.{domain}.", servers, LDAP_PORT)


def _services(name: str, hosts: Sequence[str], port: int) -> Iterator[Record]:
    for host in hosts:
        yield Record(name=name, kind="SRV", data=f"0 {WEIGHT} {port} {host}.")


def _port(addresses: Sequence[str], usual: int) -> int:
    """Return the port that clients elsewhere are to use: the usual one, if it is among them."""
    ports = [parse_address(address)[1] for address in addresses]
    return usual if usual in ports or not ports else ports[0]
