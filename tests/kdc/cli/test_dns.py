"""`kdc dns print`: the records by which clients find a realm."""

import pytest

from kdc.cli.dns import records, zone_text
from kdc.config import KdcConfig
from kdc.config_read import parse_config
from tests.kdc.cli.conftest import Shell

NODES = (("kdc1.lab.test", ("192.0.2.1", "2001:db8::1")), ("kdc2.lab.test", ()))


def config(more: str = "") -> KdcConfig:
    """A realm on the usual ports."""
    text = f'realm = "LAB.TEST"\nnetbios = "LAB"\nlisten = ["*:88"]\n{more}'
    return parse_config(text, "test").config


def found(of: KdcConfig, site: str = "Main") -> dict[str, list[str]]:
    """The data of each name and type."""
    out: dict[str, list[str]] = {}
    for record in records(of, NODES, site):
        assert record.name.endswith(".")
        out.setdefault(f"{record.name} {record.kind}", []).append(record.data)
    return out


@pytest.mark.parametrize(
    "name",
    [
        "_kerberos._udp",
        "_kerberos._tcp",
        "_kerberos-master._udp",
        "_kerberos-master._tcp",
        "_kerberos._tcp.dc._msdcs",
        "_kerberos._tcp.Main._sites",
        "_kerberos._tcp.Main._sites.dc._msdcs",
    ],
)
def test_every_node_is_found_by_each_name(name: str) -> None:
    """RFC 4120 7.2.3.2, MIT's master, MS-ADTS 6.3.2.3; all nodes alike."""
    wanted = ["0 100 88 kdc1.lab.test.", "0 100 88 kdc2.lab.test."]
    assert found(config())[f"{name}.lab.test. SRV"] == wanted


def test_realm_of_the_domain_is_told_and_addresses_where_given() -> None:
    """MIT's and Heimdal's dns_lookup_realm."""
    of = found(config())
    assert of["_kerberos.lab.test. TXT"] == ['"LAB.TEST"']
    assert of["kdc1.lab.test. A"] == ["192.0.2.1"]
    assert of["kdc1.lab.test. AAAA"] == ["2001:db8::1"]
    assert "kdc2.lab.test. A" not in of


def test_uris_name_transports_in_order_and_the_https_proxy_last() -> None:
    """draft-mccallum-kitten-krb-service-discovery: krb5srv:FLAGS:TRANSPORT:RESIDUAL."""
    of = found(config('kkdcp.listen = ["*:8443"]\n'))["_kerberos.lab.test. URI"]
    assert of[0] == '10 100 "krb5srv:m:udp:kdc1.lab.test:88"'
    assert of[2] == '20 100 "krb5srv:m:tcp:kdc1.lab.test:88"'
    assert of[5] == '30 100 "krb5srv:m:kkdcp:https://kdc2.lab.test:8443/KdcProxy"'


def test_passwords_are_changed_where_the_realm_changes_them() -> None:
    """RFC 3244: _kpasswd; not for a realm in LDAP."""
    assert found(config())["_kpasswd._udp.lab.test. SRV"][0] == "0 100 464 kdc1.lab.test."
    of = found(config('directory.url = ["ldaps://ldap1.lab.test"]\n'))
    assert not [name for name in of if name.startswith("_kpasswd")]


def test_directory_servers_are_named_and_dcs_as_such() -> None:
    """MS-ADTS 6.3.2.3: _ldap._tcp.dc._msdcs is for domain controllers only; addresses are none."""
    servers = '["ldaps://ldap1.lab.test", "ldap://LDAP1.lab.test", "ldaps://192.0.2.9"]'
    for flavour, is_dc in (("openldap", False), ("samba", True)):
        of = found(config(f'directory.url = {servers}\ndirectory.flavour = "{flavour}"\n'))
        assert of["_ldap._tcp.lab.test. SRV"] == ["0 100 389 ldap1.lab.test."]
        assert ("_ldap._tcp.dc._msdcs.lab.test. SRV" in of) is is_dc


def test_port_that_is_not_the_usual_one_is_told() -> None:
    """A KDC on another port is found by its records."""
    of = found(parse_config('realm = "LAB.TEST"\nlisten = ["127.0.0.1:8888"]\n', "test").config)
    assert of["_kerberos._udp.lab.test. SRV"][0] == "0 100 8888 kdc1.lab.test."


def test_zone_text_is_a_line_a_record() -> None:
    """RFC 1035 5.1: name, class, type, data."""
    text = zone_text(config(), tuple(records(config(), NODES, "Main")), 600)
    assert "\n$TTL 600\n" in text
    for line in text.splitlines()[2:]:
        name, net, kind, _ = line.split(maxsplit=3)
        assert (name[-1], net) == (".", "IN")
        assert kind in ("A", "AAAA", "SRV", "TXT", "URI")


def test_command_takes_the_host_of_the_certificate(realm: Shell) -> None:
    """Without --host: this node, by the name that clients check."""
    done = realm("dns", "print", "--json")
    assert done.code == 0, done.err
    data = {record["data"] for record in done.json["records"] if record["type"] == "SRV"}
    assert data
    assert all(" kdc." in one for one in data)


@pytest.mark.parametrize(
    "wrong",
    [("--host", "kdc1=not-an-address"), ("--host", "-x"), ("--site", "a b"), ("--ttl", "-1")],
)
def test_wrong_values_are_usage(realm: Shell, wrong: tuple[str, str]) -> None:
    """cli.md: exit code 2 and three lines."""
    done = realm("dns", "print", *wrong)
    assert done.code == 2
    assert done.error
