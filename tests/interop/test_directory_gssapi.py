"""Our SASL GSSAPI client logs on to a real OpenLDAP with a ticket of our KDC, under StartTLS."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from directory.backend import DirectoryError
from directory.ldap.settings import LdapSettings, LdapUrl
from directory.ldap.write import WritingConnection
from kdc.cli.tickets import get_service_ticket
from kdc.client.gssapi import GssapiClient
from kdc.client.transport import KdcAddress
from kdc.formats.ccache import Credential, decode_ccache
from tests.conftest import Lab
from tests.rig import clients, slapd
from tests.rig.ldap_realm import network_options, until
from tests.rig.realm import make_realm
from tests.rig.slapd import Slapd

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def server(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """Run a slapd that takes tickets of the lab's realm for ldap/localhost."""
    folder = tmp_path_factory.mktemp("gssapi")
    keytab = folder / "slapd.keytab"
    lab.live.kdc("service", "add", "ldap/localhost", "--keytab", str(keytab))
    made = Slapd.make(folder / "slapd", more=slapd.person("pat", 1200))
    made.keytab = keytab
    with made.running():
        yield made


@pytest.fixture
def ticket(lab: Lab, tmp_path: Path) -> Credential:
    """Get a ticket for ldap/localhost for pat."""
    run = clients.mit_kinit(lab.live.client(tmp_path), "pat@LAB.TEST", password=lab.password)
    assert run.status == 0, run.explain()
    tgt = next(
        each
        for each in decode_ccache(run.cache.read_bytes()).credentials
        if each.server.components[0] == "krbtgt"
    )
    address = KdcAddress(host=lab.live.address, port=lab.live.port)
    return get_service_ticket(tgt, "ldap/localhost", "LAB.TEST", address).credential


def _open(server: Slapd, client: GssapiClient) -> WritingConnection:
    settings = LdapSettings(
        urls=(LdapUrl.parse(f"ldap://localhost:{server.port}"),),
        flavour="openldap",
        sasl="gssapi",
        starttls=True,
        ca_file=str(server.ca),
    )
    return WritingConnection.open(settings.urls[0], settings, client)


def _now() -> datetime:
    return datetime.now(UTC)


def test_a_ticket_logs_on(server: Slapd, ticket: Credential) -> None:
    """RFC 4752 over RFC 4121; the server maps the principal to the account's entry."""
    connection = _open(server, GssapiClient(ticket, _now, os.urandom))
    assert connection.who_am_i() == f"dn:uid=pat,{slapd.PEOPLE}"
    connection.close()


def test_a_server_without_the_key_does_not_prove_itself(server: Slapd, ticket: Credential) -> None:
    """Mutual authentication: an AP-REP under another session key is not the server's."""
    client = GssapiClient(ticket, _now, os.urandom)
    other = GssapiClient(replace(ticket, session_key=bytes(32)), _now, os.urandom)
    answers: list[bytes] = []

    class Between:
        """Hands the server our request, and the answer to somebody with another key."""

        mechanism = "GSSAPI"

        def step(self, challenge: bytes | None) -> bytes | None:
            if challenge is None:
                other.step(None)
                return client.step(None)
            answers.append(challenge)
            return other.step(challenge)

    settings = LdapSettings(
        urls=(LdapUrl.parse(f"ldap://localhost:{server.port}"),),
        flavour="openldap",
        sasl="gssapi",
        starttls=True,
        ca_file=str(server.ca),
    )
    with pytest.raises(DirectoryError, match="did not prove itself"):
        WritingConnection.open(settings.urls[0], settings, Between())
    assert answers


def test_a_realm_reads_its_directory_with_a_ticket(server: Slapd, lab: Lab, tmp_path: Path) -> None:
    """directory.sasl = "gssapi": the follower's logon, from a cache that is kept from outside."""
    cache = tmp_path / "ccache"
    lab.live.kdc(
        *("logon", "pat", "--password-stdin", "--service", "ldap/localhost"),
        *("--ccache", str(cache)),
        stdin=f"{lab.password}\n",
    )
    url = f"ldap://localhost:{server.port}"
    live = make_realm(tmp_path / "state", *network_options(server, tmp_path, url))
    file = live.state / "kdc.toml"
    dropped = ("bind_dn", "ca_file")
    kept = [line for line in file.read_text().splitlines() if not any(d in line for d in dropped)]
    kept += ['directory.sasl = "gssapi"', f'directory.ccache = "{cache}"']
    # A path in kdc.toml is relative to the state folder, for the follower and for callers.
    (live.state / "directory.pem").write_bytes(server.ca.read_bytes())
    kept += ['directory.ca_file = "directory.pem"']
    file.write_text("\n".join(kept) + "\n")
    server.change(f"uid=pat,{slapd.PEOPLE}", "replace", "userPrincipalName", "patricia@lab.test")
    assert "1 changed" in live.kdc("directory", "load")
    assert f"{url} answers the follower" in live.kdc("directory", "check", ok=(0, 1))
    assert "cannot be read" not in live.kdc("key", "check", ok=(0, 1))
    live.kdc("directory", "check", "--ccache", str(cache), ok=(0, 1))
    with live.served():
        until(lambda: '"following"' in live.kdc("directory", "status", "--json", ok=(0, 6)))
    cache.unlink()
    live.kdc("directory", "load", ok=(5,))
