"""MIT's and Heimdal's kinit log on with certificates of a logon CA, and are refused as they should.

The CA, its certificates and its CRLs are made by another library than the product's own code.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.rig import clients, logon_ca
from tests.rig.certificates import Identity
from tests.rig.clients import Run
from tests.rig.logon_ca import LogonCa, LogonIdentity
from tests.rig.realm import LiveRealm, make_realm

pytestmark = pytest.mark.interop

Kinit = Callable[..., Run]
_CLIENTS = pytest.mark.parametrize(
    "kinit",
    [
        pytest.param(clients.mit_kinit, id="mit"),
        pytest.param(clients.heimdal_kinit, id="heimdal"),
    ],
)
_RELOAD_S = 1.2  # changed files count within a second


@dataclass(slots=True, kw_only=True)
class Realm:
    """A served realm with a root that it trusts and an issuing CA that may make logons."""

    live: LiveRealm
    root: LogonCa
    issuing: LogonCa
    sid: str

    def publish(self) -> None:
        """Put the CRLs of both CAs where the KDC looks; a file is replaced whole."""
        for name, ca in (("root", self.root), ("issuing", self.issuing)):
            fresh = self.live.state / f"pki/crls/{name}.new"
            fresh.write_bytes(ca.crl())
            os.replace(fresh, fresh.with_suffix(".crl"))

    def logon(self, kinit: Kinit, folder: Path, identity: LogonIdentity) -> Run:
        """Log carol on."""
        # MIT reads no intermediates from the identity's file, so it must know them as anchors.
        anchors = (folder / "root.pem", folder / "issuing.pem")
        for path, ca in zip(anchors, (self.root, self.issuing), strict=True):
            path.write_bytes(ca.pem)
        client = self.live.client(folder, *anchors)
        return kinit(client, "carol@LAB.TEST", identity=_paths(identity))


def _paths(identity: LogonIdentity) -> Identity:
    return Identity(
        certificate=identity.certificate,
        key=identity.key,
        both=identity.key,
        private_key=identity.private_key,  # type: ignore[arg-type]  # only paths are used
    )


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """A realm whose logon CA is an issuing CA below an offline root."""
    live = make_realm(tmp_path_factory.mktemp("certificates") / "state")
    live.kdc("user", "add", "carol")
    shown = json.loads(live.kdc("user", "show", "carol", "--json"))
    root = logon_ca.new_root()
    made = Realm(live=live, root=root, issuing=root.issuing_ca(), sid=shown["sid"])
    for folder in ("trusted-roots", "crls"):
        (live.state / "pki" / folder).mkdir()
    (live.state / "pki/trusted-roots/root.pem").write_bytes(root.pem)
    (live.state / "pki/logon-cas/issuing.pem").write_bytes(made.issuing.pem)
    made.publish()
    with live.served(workers=1):
        yield made


def _last(realm: Realm) -> dict[str, object]:
    return realm.live.audit()[-1]


@_CLIENTS
def test_a_certificate_with_the_accounts_sid_gets_a_tgt(
    realm: Realm, tmp_path: Path, kinit: Kinit
) -> None:
    """MS-PKCA 3.1.5.2.1: three certificates, revocation required, full strong mapping."""
    identity = realm.issuing.issue(tmp_path, "carol", upn="carol@lab.test", sid=realm.sid)
    run = realm.logon(kinit, tmp_path, identity)
    assert run.status == 0, run.explain()
    owner, tickets = clients.klist(run.cache)
    assert (owner, tickets[0].service) == ("carol@LAB.TEST", "krbtgt/LAB.TEST@LAB.TEST")
    record = _last(realm)
    assert (record["trust"], record["mapping"]) == ("certificate", "SID")
    assert record["CertIssuerName"] == "CN=Issuing CA"
    assert record["CertSerialNumber"] == f"{identity.leaf.serial_number:x}"


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_an_ec_certificate_gets_a_tgt(realm: Realm, tmp_path: Path, curve: str) -> None:
    """RFC 5349; Heimdal 7.8 cannot sign with EC keys, so MIT alone."""
    key = logon_ca.new_key(curve)
    identity = realm.issuing.issue(tmp_path, "ec", upn="carol@lab.test", sid=realm.sid, key=key)
    run = realm.logon(clients.mit_kinit, tmp_path, identity)
    assert run.status == 0, run.explain()
    assert _last(realm)["trust"] == "certificate"


@_CLIENTS
@pytest.mark.parametrize(
    ("stem", "given", "code", "why"),
    [
        ("other-sid", {"sid": "S-1-5-21-1-2-3-1104"}, 66, "the certificate's SID is another"),
        ("upn-alone", {}, 66, "the certificate maps to the account only weakly"),
        ("other-upn", {"upn": "dave@lab.test"}, 75, "the certificate does not name the account"),
    ],
)
def test_a_certificate_of_somebody_else_is_refused(
    realm: Realm,
    tmp_path: Path,
    kinit: Kinit,
    stem: str,
    given: dict[str, str],
    code: int,
    why: str,
) -> None:
    """Rows C13, C14 and a name that is not the account's."""
    names = {"upn": "carol@lab.test", **given}
    identity = realm.issuing.issue(tmp_path, stem, **names)  # type: ignore[arg-type]  # texts
    run = realm.logon(kinit, tmp_path, identity)
    assert run.status != 0
    record = _last(realm)
    assert record["Status"] == hex(code), record
    assert str(record["why"]).startswith(why)


def test_heimdal_takes_the_name_from_the_certificate(realm: Realm, tmp_path: Path) -> None:
    """--pk-enterprise: the UPN as an enterprise name (RFC 6806 5)."""
    identity = realm.issuing.issue(tmp_path, "upn", upn="carol@lab.test", sid=realm.sid)
    run = clients.heimdal_kinit(
        realm.live.client(tmp_path),
        "LAB.TEST",
        identity=_paths(identity),
        options=("--pk-enterprise",),
    )
    assert run.status == 0, run.explain()
    assert _last(realm)["TargetUserName"] == "carol@lab.test"


def test_mit_takes_a_pkcs12_file(realm: Realm, tmp_path: Path) -> None:
    """Leaf, key and issuing CA in one file: the intermediate is sent along."""
    identity = realm.issuing.issue(tmp_path, "file", upn="carol@lab.test", sid=realm.sid)
    file = tmp_path / "carol.p12"
    file.write_bytes(identity.pkcs12("not much"))
    anchor = tmp_path / "root.pem"
    anchor.write_bytes(realm.root.pem)
    issuing = tmp_path / "issuing.pem"
    issuing.write_bytes(realm.issuing.pem)
    run = clients.mit_kinit(
        realm.live.client(tmp_path, anchor, issuing),
        "carol@LAB.TEST",
        identity=replace(_paths(identity), source=f"PKCS12:{file}"),
        password="not much",  # noqa: S106  # of a file that lives as long
    )
    assert run.status == 0, run.explain()


@_CLIENTS
def test_a_revoked_certificate_is_refused_within_a_second(
    realm: Realm, tmp_path: Path, kinit: Kinit
) -> None:
    """Row C03, 72: a new CRL counts without a reload."""
    identity = realm.issuing.issue(tmp_path, "revoked", upn="carol@lab.test", sid=realm.sid)
    run = realm.logon(kinit, tmp_path, identity)
    assert run.status == 0, run.explain()
    realm.issuing.revoked.append(identity.leaf.serial_number)
    realm.publish()
    time.sleep(_RELOAD_S)
    run = realm.logon(kinit, tmp_path, identity)
    assert run.status != 0
    record = _last(realm)
    assert (record["Status"], record["why"]) == ("0x48", "certificate chain: certificate revoked")
    assert record["CertSerialNumber"] == f"{identity.leaf.serial_number:x}"
    assert "serial number" in realm.live.kdc("explain", str(record["ref"]), "--no-tree")


def test_a_root_that_is_trusted_is_no_logon_ca(realm: Realm, tmp_path: Path) -> None:
    """Row C11, CVE-2025-26647: only the issuers listed may make logon certificates."""
    identity = realm.root.issue(tmp_path, "by-root", upn="carol@lab.test", sid=realm.sid)
    run = realm.logon(clients.mit_kinit, tmp_path, identity)
    assert run.status != 0
    record = _last(realm)
    assert record["Status"] == "0x3e"
    assert "may not issue logon certificates" in str(record["why"])
