"""Our own LDAP client opened on a rig's server, as a caller of commands would be."""

from directory.ldap.settings import Flavour, LdapSettings, LdapUrl, Sasl
from directory.ldap.write import WritingConnection
from tests.rig import samba_dc, slapd
from tests.rig.samba_dc import SambaDc
from tests.rig.slapd import Slapd


def _open(
    url: str,
    flavour: Flavour,
    *,
    ca: str = "",
    dn: str = "",
    password: str = "",
    sasl: Sasl = "none",
) -> WritingConnection:
    settings = LdapSettings(
        urls=(LdapUrl.parse(url),),
        flavour=flavour,
        bind_dn=dn,
        bind_password=password.encode(),
        sasl=sasl,
        ca_file=ca,
    )
    return WritingConnection.open(settings.urls[0], settings)


def on_slapd(
    server: Slapd, who: str | None = slapd.ADMIN, password: str | None = None
) -> WritingConnection:
    """Open slapd over LDAPS as `who`; None: over the local socket, as the follower."""
    if who is None:
        return _open(server.ldapi_url, "openldap", sasl="external")
    secret = password or server.password
    return _open(server.ldaps_url, "openldap", ca=str(server.ca), dn=who, password=secret)


def on_samba(server: SambaDc, who: str = samba_dc.ADMINISTRATOR) -> WritingConnection:
    """Open Samba over LDAPS as a user of the domain."""
    admin = who == samba_dc.ADMINISTRATOR
    secret = samba_dc.ADMIN_PASSWORD if admin else samba_dc.USER_PASSWORD
    dn = f"{who}@lab.example"
    return _open(server.ldaps_url, "samba", ca=str(server.ca), dn=dn, password=secret)
