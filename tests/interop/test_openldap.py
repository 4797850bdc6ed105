"""Realms on a real OpenLDAP: keys in msDS-KeyCredentialLink log on by kinit, and what changes there
counts at the next attempt (issue 5; rows L01, L02, L05).
"""

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from tests.rig import certificates, clients
from tests.rig.clients import Kinit, Run
from tests.rig.ldap_realm import (
    ATTRIBUTE,
    Owner,
    key_credential,
    local_options,
    make_owner,
    network_options,
    record_of,
    served,
    until,
    without_push,
)
from tests.rig.realm import LiveRealm, make_realm
from tests.rig.secret_files import write_secret
from tests.rig.slapd import PEOPLE, Slapd, person, record, sid

pytestmark = pytest.mark.interop

C_PRINCIPAL_UNKNOWN = 6
CLIENT_REVOKED = 18
SVC_UNAVAILABLE = 29
CLIENT_NOT_TRUSTED = 62
CANT_VERIFY_CERTIFICATE = 70
LAPTOP = UUID("8d2f0a52-5a8c-4f0e-9a53-0d1f2b3c4d5e")

_CLIENTS = pytest.mark.parametrize(
    "kinit",
    [
        pytest.param(clients.mit_kinit, id="mit"),
        pytest.param(clients.heimdal_kinit, id="heimdal"),
    ],
)


@dataclass(slots=True, kw_only=True)
class Place:
    """A directory, a realm on it that is served, and its users."""

    directory: Slapd
    live: LiveRealm
    folder: Path
    issuer: certificates.Identity
    alice: Owner

    def kinit(self, owner: Owner, folder: Path, kinit: Kinit = clients.mit_kinit) -> Run:
        """Log on with an owner's key."""
        folder.mkdir(exist_ok=True)
        realm = self.live.client(folder, self.issuer.certificate)
        identity = owner.leaf if kinit is clients.mit_kinit else owner.identity
        return kinit(realm, f"{owner.name}@LAB.TEST", identity=identity)

    def try_own_client(self, owner: Owner) -> None:
        """Try to log on with `kdc logon`: MIT's client goes on asking for 35 s after a 29."""
        identity = str(owner.identity.both)
        self.live.kdc("logon", owner.name, "--identity", identity, ok=(1, 5, 6))

    def last_code(self, name: str) -> int:
        """Return the code of the last request for a client, as the audit says."""
        return self.codes(name)[-1]

    def codes(self, name: str) -> list[int]:
        """Return the codes of all requests for a client."""
        records = self.live.audit()
        return [int(str(r["Status"]), 16) for r in records if r["TargetUserName"] == name]


def _place(folder: Path, *, push: bool = True, more: str = "") -> Iterator[Place]:
    issuer = certificates.throwaway_issuer(folder)
    alice = make_owner(folder, "alice", issuer)
    directory = Slapd.make(folder / "slapd", more=record_of(alice, 1200))
    if not push:
        without_push(directory)
    with (
        directory.running(),
        served(folder, *local_options(directory), more=more) as live,
    ):
        yield Place(directory=directory, live=live, folder=folder, issuer=issuer, alice=alice)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Serve a realm that follows its directory by RFC 4533."""
    yield from _place(tmp_path_factory.mktemp("openldap"))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Serve a realm whose directory tells nothing: what is not asked for is not known."""
    folder = tmp_path_factory.mktemp("quiet")
    yield from _place(folder, push=False, more='directory.poll_interval = "1h"\n')


@_CLIENTS
def test_key_in_the_directory_logs_on(place: Place, tmp_path: Path, kinit: Kinit) -> None:
    """Key trust, MS-PKCA 3.1.5.2.1.4, with the key where Active Directory has it."""
    run = place.kinit(place.alice, tmp_path, kinit)
    assert run.status == 0, run.explain()


def test_key_written_by_ldapmodify_counts_at_the_next_attempt(place: Place, tmp_path: Path) -> None:
    """Issue 5: added, used, removed, refused, without a restart."""
    ben = make_owner(tmp_path, "ben", place.issuer)
    place.directory.add(record_of(ben, 1201, with_key=False))
    assert place.kinit(ben, tmp_path / "1").status != 0
    assert place.last_code("ben") == CANT_VERIFY_CERTIFICATE
    place.directory.change(ben.dn, "add", ATTRIBUTE, ben.value)
    run = place.kinit(ben, tmp_path / "2")
    assert run.status == 0, run.explain()
    place.directory.change(ben.dn, "delete", ATTRIBUTE, ben.value)
    until(lambda: place.kinit(ben, tmp_path / "3").status != 0)
    assert place.last_code("ben") == CANT_VERIFY_CERTIFICATE


def test_disabled_deleted_and_renamed_accounts_are_seen(place: Place, tmp_path: Path) -> None:
    """userAccountControl, a delete and a rename come with the stream of changes."""
    cleo = make_owner(tmp_path, "cleo", place.issuer)
    place.directory.add(record_of(cleo, 1202))
    assert place.kinit(cleo, tmp_path / "1").status == 0
    place.directory.change(cleo.dn, "replace", "userAccountControl", "514")
    until(lambda: place.kinit(cleo, tmp_path / "2").status != 0)
    assert place.last_code("cleo") == CLIENT_REVOKED
    place.directory.change(cleo.dn, "replace", "userAccountControl", "512")
    until(lambda: place.kinit(cleo, tmp_path / "3").status == 0)
    place.directory.change(cleo.dn, "replace", "sAMAccountName", "cleopatra")
    place.directory.change(cleo.dn, "replace", "userPrincipalName", "cleopatra@lab.test")
    until(lambda: place.kinit(cleo, tmp_path / "4").status != 0)
    assert place.last_code("cleo") == C_PRINCIPAL_UNKNOWN
    place.directory.delete(cleo.dn)
    until(lambda: "cleopatra" not in place.live.kdc("user", "list"))


def test_device_of_a_key_is_disabled_enabled_and_deleted(place: Place, tmp_path: Path) -> None:
    """Row K11: msDS-Device; once enabled it counts at the next attempt, as a key does."""
    dora = make_owner(tmp_path, "dora", place.issuer)
    on_laptop = key_credential(dora.identity, dora.dn, device_id=LAPTOP)
    place.directory.add(person("dora", 1203, msDS_KeyCredentialLink=on_laptop))
    dn = f"cn={LAPTOP},{PEOPLE}"
    laptop: dict[str, str | bytes] = {
        "objectClass": "msDS-Device",
        "cn": str(LAPTOP),
        "displayName": "laptop",
        "msDS-DeviceID": LAPTOP.bytes_le,
        "msDS-IsEnabled": "FALSE",
        "msDS-RegisteredOwner": sid(1203),
    }
    place.directory.add(record(dn, laptop))
    until(lambda: place.kinit(dora, tmp_path / "1").status != 0)
    assert place.last_code("dora") == CLIENT_NOT_TRUSTED
    (shown,) = json.loads(place.live.kdc("device", "list", "--json"))
    assert (shown["name"], shown["enabled"], shown["owner"]) == ("laptop", False, "dora")
    place.directory.change(dn, "replace", "msDS-IsEnabled", "TRUE")
    run = place.kinit(dora, tmp_path / "2")
    assert run.status == 0, run.explain()
    place.directory.change(dn, "replace", "msDS-IsEnabled", "FALSE")
    until(lambda: place.kinit(dora, tmp_path / "3").status != 0)
    place.directory.delete(dn)
    until(lambda: place.kinit(dora, tmp_path / "4").status == 0)
    assert json.loads(place.live.kdc("device", "list", "--json")) == []
    # Devices of a directory are changed there.
    place.live.kdc("device", "add", "phone", ok=(5,))


def test_account_and_key_that_nothing_told_of_are_asked_for(quiet: Place, tmp_path: Path) -> None:
    """A miss asks the directory once, at once: name and key, and what is gone (issue 5.2)."""
    dora = make_owner(tmp_path, "dora", quiet.issuer)
    quiet.directory.add(record_of(dora, 1203, with_key=False))
    assert quiet.kinit(dora, tmp_path / "1").status != 0
    assert quiet.last_code("dora") == CANT_VERIFY_CERTIFICATE
    # "The same" holds for a second.
    quiet.directory.change(dora.dn, "add", ATTRIBUTE, dora.value)
    until(lambda: quiet.kinit(dora, tmp_path / "2").status == 0)


def test_name_that_nobody_has_is_unknown(quiet: Place, tmp_path: Path) -> None:
    """Only the directory makes a name unknown: 6."""
    nobody = make_owner(tmp_path, "nobody", quiet.issuer)
    assert quiet.kinit(nobody, tmp_path / "1").status != 0
    assert quiet.last_code("nobody") == C_PRINCIPAL_UNKNOWN


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_directory_that_does_not_answer_harms_only_the_unknown(tmp_path: Path, how: str) -> None:
    """Rows L01, L02: known users log on, unknown ones are told 29 in time, and all is well again
    when it is back.
    """
    with contextlib.contextmanager(_place)(tmp_path) as place:
        stranger = make_owner(tmp_path, "stranger", place.issuer)
        (place.directory.stop if how == "stopped" else place.directory.freeze)()
        for step in range(3):
            run = place.kinit(place.alice, tmp_path / f"known{step}")
            assert run.status == 0, run.explain()
        place.try_own_client(stranger)
        assert set(place.codes("stranger")) == {SVC_UNAVAILABLE}
        waits = [r["ms"] for r in place.live.audit() if r["TargetUserName"] == "stranger"]
        assert max(float(str(wait)) for wait in waits) < 3000
        (place.directory.start if how == "stopped" else place.directory.thaw)()
        place.directory.add(record_of(stranger, 1204))
        until(lambda: place.kinit(stranger, tmp_path / "back").status == 0)


@pytest.mark.parametrize("scheme", ["ldaps", "starttls"])
def test_realm_over_the_network(tmp_path: Path, scheme: str) -> None:
    """LDAPS and StartTLS with a simple bind; the password lies sealed in the store."""
    issuer = certificates.throwaway_issuer(tmp_path)
    alice = make_owner(tmp_path, "alice", issuer)
    directory = Slapd.make(tmp_path / "slapd", more=record_of(alice, 1200))
    with directory.running():
        url = directory.ldaps_url if scheme == "ldaps" else directory.url
        with served(tmp_path, *network_options(directory, tmp_path, url)) as live:
            realm = live.client(tmp_path, issuer.certificate)
            run = clients.mit_kinit(realm, "alice@LAB.TEST", identity=alice.leaf)
            assert run.status == 0, run.explain()
            status = json.loads(live.kdc("directory", "status", "--json"))
    assert status["state"] == "following"
    for file in live.state.rglob("*"):
        if file.is_file():
            assert directory.password.encode() not in file.read_bytes(), file


def test_certificate_of_another_host_gets_no_bind(tmp_path: Path) -> None:
    """Row L05: nothing is made, and nothing was said to the stranger."""
    directory = Slapd.make(tmp_path / "slapd", names=("ldap.elsewhere.test",))
    with directory.running():
        options = network_options(directory, tmp_path, directory.ldaps_url)
        live = LiveRealm(state=tmp_path / "state", address="127.0.0.1", port=1)
        command = ("init", "--realm", "LAB.TEST", "--listen", "127.0.0.1:1000")
        live.kdc(*command, *options, ok=(6,))
    assert not live.state.exists()


def test_password_without_tls_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    """Issue 5.5: a simple bind goes over TLS or a local socket; three lines, exit code 2."""
    secret = write_secret(tmp_path / "secret", "hidden\n")
    live = LiveRealm(state=tmp_path / "state", address="127.0.0.1", port=1)
    command = ("init", "--realm", "LAB.TEST", "--directory", "ldap://127.0.0.1:9")
    bind = ("--directory-bind-dn", "cn=kdc", "--directory-bind-password-file", str(secret))
    live.kdc(*command, "--flavour", "openldap", *bind, ok=(2,))
    assert not live.state.exists()


def test_commands_do_not_change_accounts_behind_the_directory(place: Place) -> None:
    """The store follows the directory: `kdc user add` would be undone, and is refused (5)."""
    place.live.kdc("user", "add", "eve", ok=(5,))


def test_store_older_than_max_staleness_answers_nobody(tmp_path: Path) -> None:
    """Architecture, section 4: 29 for known users as well, and never 6."""
    with contextlib.contextmanager(_place)(tmp_path, more='max_staleness = "2s"\n') as place:
        assert place.kinit(place.alice, tmp_path / "fresh").status == 0
        place.directory.stop()
        time.sleep(3)
        place.try_own_client(place.alice)
        # Refused before its names were looked at.
        assert place.codes("")[-1] == SVC_UNAVAILABLE


def test_second_init_on_the_directory_changes_nothing(place: Place) -> None:
    """Safe to run twice, as every `kdc init`."""
    before = (place.live.state / "kdc.toml").read_bytes()
    assert make_realm(place.live.state, *local_options(place.directory)).state.exists()
    assert (place.live.state / "kdc.toml").read_bytes() == before


def test_read_through_sees_every_change_at_once(tmp_path: Path) -> None:
    """Consistency = "read_through": a change and a logon in the same moment, and nothing pushed."""
    more = 'consistency = "read_through"\ndirectory.poll_interval = "1h"\n'
    with contextlib.contextmanager(_place)(tmp_path, push=False, more=more) as place:
        assert place.kinit(place.alice, tmp_path / "1").status == 0
        place.directory.change(place.alice.dn, "replace", "userAccountControl", "514")
        assert place.kinit(place.alice, tmp_path / "2").status != 0
        assert place.last_code("alice") == CLIENT_REVOKED
        place.directory.change(place.alice.dn, "replace", "userAccountControl", "512")
        run = place.kinit(place.alice, tmp_path / "3")
        assert run.status == 0, run.explain()


def test_configuration_of_the_directory_is_taken_by_a_reload(tmp_path: Path) -> None:
    """SIGHUP: the follower begins anew with the settings of that moment, and workers go on."""
    with contextlib.contextmanager(_place)(tmp_path) as place:
        file = place.live.state / "kdc.toml"
        file.write_text(file.read_text() + "directory.miss_rate = 7\n")
        assert place.live.process is not None
        place.live.process.send_signal(signal.SIGHUP)
        until(lambda: "reloaded" in place.live.log.read_text())
        dan = make_owner(tmp_path, "dan", place.issuer)
        place.directory.add(record_of(dan, 1205))
        until(lambda: place.kinit(dan, tmp_path / "1").status == 0)
