"""The krb5.conf and kdc.toml that `kdc init` writes."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from kdc.config_values import format_address, parse_address


def reachable(address: str) -> tuple[str, int]:
    """Return where a client on this host reaches a listening address: a wildcard is loopback."""
    host, port = parse_address(address)
    if host == "*":
        return "127.0.0.1", port
    found = ipaddress.ip_address(host)
    if found.is_unspecified:
        host = "::1" if found.version == 6 else "127.0.0.1"
    return host, port


def krb5_conf(
    *,
    realm: str,
    domain: str,
    listen: Sequence[str],
    kpasswd: Sequence[str],
    ca_certificate: Path,
    kdc_host: str,
    krbtgt_san: bool,
) -> str:
    """Write a krb5.conf that MIT's and Heimdal's clients both read.

    krbtgt_san: whether the KDC certificate names krbtgt/REALM. Without it MIT goes by the host
    name, and Heimdal must be told not to miss it.
    """
    no_san = "" if krbtgt_san else "  pkinit_require_krbtgt_otherName = false\n"
    kdcs = "".join(f"  kdc = {format_address(*reachable(a))}\n" for a in listen)
    servers = "".join(f"  kpasswd_server = {format_address(*reachable(a))}\n" for a in kpasswd)
    return f"""\
# Clients of the realm {realm}: MIT krb5 and Heimdal. Use it with KRB5_CONFIG=this-file.
[libdefaults]
 default_realm = {realm}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 # Heimdal 7 takes group 14 for this; its default is the 1024-bit group 2. MIT takes 2048.
 pkinit_dh_min_bits = 1536

[realms]
 {realm} = {{
{kdcs}{servers}  pkinit_anchors = FILE:{ca_certificate}
  pkinit_kdc_hostname = {kdc_host}
{no_san} }}

[domain_realm]
 .{domain} = {realm}
 {domain} = {realm}

# Heimdal looks for its anchors here.
[appdefaults]
 pkinit_anchors = FILE:{ca_certificate}
"""


def kdc_toml(
    *,
    realm: str,
    netbios: str,
    listen: Sequence[str],
    kpasswd: Sequence[str],
    compat: str,
    http: Sequence[str] = (),
    kkdcp: Sequence[str] = (),
) -> str:
    """Write the configuration of a new realm: what was chosen, nothing else."""
    kpasswd_line = f"kpasswd_listen = [{_quoted(kpasswd)}]\n" if kpasswd else ""
    chosen = "".join(
        f"{name}.listen = [{_quoted(addresses)}]\n"
        for name, addresses in (("http", http), ("kkdcp", kkdcp))
        if addresses
    )
    return f"""\
# The realm's configuration. conf/kdc.toml of Keytrust lists every key with its default and its
# reason; `kdc config show --origin` shows what is in force, `kdc config check` judges this file.
realm = "{realm}"
netbios = "{netbios}"
listen = [{_quoted(listen)}]
{kpasswd_line}compat = "{compat}"
{chosen}"""


def _quoted(addresses: Sequence[str]) -> str:
    return ", ".join(f'"{address}"' for address in addresses)
