"""A realm made for tools has a domain controller's kind of certificate; real clients still work."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.rig import clients
from tests.rig.realm import LiveRealm, make_realm

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def tools_realm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve a realm with `--compat tools` on a free port."""
    live = make_realm(tmp_path_factory.mktemp("tools") / "state", "--compat", "tools")
    live.kdc("user", "add", "alice")
    live.kdc("key", "add", "alice", str(lab.alice.certificate))
    with live.served() as served:
        yield served


def test_the_certificate_has_no_krbtgt_name(tools_realm: LiveRealm) -> None:
    """The impacket family cannot read id-pkinit-san, and domain controllers have none."""
    shown = tools_realm.kdc("cert", "show", str(tools_realm.state / "pki" / "kdc.pem"))
    assert "no id-pkinit-san" in shown


def test_mit_goes_by_the_host_name(tools_realm: LiveRealm, lab: Lab, tmp_path: Path) -> None:
    """The realm's own krb5.conf names the KDC's host for MIT (pkinit_kdc_hostname)."""
    realm = replace(tools_realm.client(tmp_path), config=tools_realm.state / "krb5.conf")
    anchors = (tools_realm.ca, lab.throwaway.certificate)
    options = [word for path in anchors for word in ("-X", f"X509_anchors=FILE:{path}")]
    run = clients.mit_kinit(realm, "alice@LAB.TEST", identity=lab.alice_leaf, options=options)
    assert run.status == 0, run.explain()


def test_heimdal_does_not_miss_the_krbtgt_name(
    tools_realm: LiveRealm, lab: Lab, tmp_path: Path
) -> None:
    """The realm's own krb5.conf says so to Heimdal (pkinit_require_krbtgt_otherName)."""
    realm = replace(tools_realm.client(tmp_path), config=tools_realm.state / "krb5.conf")
    run = clients.heimdal_kinit(realm, "alice@LAB.TEST", identity=lab.alice)
    assert run.status == 0, run.explain()
