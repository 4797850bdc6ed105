"""MIT's and Heimdal's kinit log on by key trust and by password, and are refused as they should."""

import datetime
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.rig import certificates, clients
from tests.rig.clients import Kinit, Run, Transport

pytestmark = pytest.mark.interop

KDC_ERR_PREAUTH_FAILED = 24
KDC_ERR_CANT_VERIFY_CERTIFICATE = 70
KDC_ERR_CLIENT_NAME_MISMATCH = 75

_ASK = ("-l", "10h", "-r", "7d", "-f")  # both clients take these; lifetimes are Windows' defaults
_CLOCK = datetime.timedelta(seconds=5)

_CLIENTS = pytest.mark.parametrize(
    "kinit",
    [
        pytest.param(clients.mit_kinit, id="mit"),
        pytest.param(clients.heimdal_kinit, id="heimdal"),
    ],
)
_TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])


def _check_tgt(run: Run, principal: str) -> None:
    """Check what klist shows: this client's TGT, 10 hours, renewable for 7 days, FRIA."""
    assert run.status == 0, run.explain()
    owner, tickets = clients.klist(run.cache)
    assert owner == principal
    assert [ticket.service for ticket in tickets] == ["krbtgt/LAB.TEST@LAB.TEST"]
    (tgt,) = tickets
    assert abs(tgt.expires - tgt.starts - datetime.timedelta(hours=10)) <= _CLOCK
    assert tgt.renew_until is not None
    assert abs(tgt.renew_until - tgt.starts - datetime.timedelta(days=7)) <= _CLOCK
    assert set("FRIA") <= set(tgt.flags)
    assert tgt.session_etype.startswith("aes256-")
    assert tgt.ticket_etype.startswith("aes256-")


@_CLIENTS
@_TRANSPORTS
def test_a_registered_key_gets_a_tgt(
    lab: Lab, tmp_path: Path, kinit: Kinit, transport: Transport
) -> None:
    """Key trust, MS-PKCA 3.1.5.2.1.4: no KDC knows the certificate's issuer, the key decides."""
    realm = lab.live.client(tmp_path, lab.throwaway.certificate, transport=transport)
    identity = lab.alice_leaf if kinit is clients.mit_kinit else lab.alice
    run = kinit(realm, "alice@LAB.TEST", identity=identity, options=_ASK)
    _check_tgt(run, "alice@LAB.TEST")
    assert set(run.answered_by) <= {transport}, run.explain()


@_CLIENTS
@_TRANSPORTS
def test_a_password_gets_a_tgt(
    lab: Lab, tmp_path: Path, kinit: Kinit, transport: Transport
) -> None:
    """PA-ENC-TIMESTAMP, RFC 4120 5.2.7.2, with the salt of ETYPE-INFO2."""
    realm = lab.live.client(tmp_path, transport=transport)
    run = kinit(realm, "pat@LAB.TEST", password=lab.password, options=_ASK)
    _check_tgt(run, "pat@LAB.TEST")
    assert set(run.answered_by) <= {transport}, run.explain()


def test_heimdal_lists_its_own_tgt(lab: Lab, tmp_path: Path) -> None:
    """Heimdal's klist names the flags in words; RFC 4120 5.3."""
    realm = lab.live.client(tmp_path)
    run = clients.heimdal_kinit(realm, "alice@LAB.TEST", identity=lab.alice, options=_ASK)
    assert run.status == 0, run.explain()
    listing = clients.heimdal_klist(run.cache)
    flags = next(line for line in listing.splitlines() if line.startswith("Ticket flags:"))
    for flag in ("initial", "pre-authent", "renewable", "forwardable"):
        assert flag in flags


def test_an_enterprise_name_is_canonicalized(lab: Lab, tmp_path: Path) -> None:
    """KRB5-NT-ENTERPRISE with the canonicalize option, RFC 6806 5: the reply names the account."""
    realm = lab.live.client(tmp_path, lab.throwaway.certificate)
    run = clients.mit_kinit(realm, "alice@lab.test", identity=lab.alice_leaf, options=("-E", *_ASK))
    _check_tgt(run, "alice@LAB.TEST")


@_CLIENTS
def test_the_krb5_conf_of_the_state_folder_serves_both_clients(
    lab: Lab, tmp_path: Path, kinit: Kinit
) -> None:
    """`kdc init` writes krb5.conf for MIT and Heimdal (cli contract)."""
    realm = clients.ClientRealm(
        realm="LAB.TEST",
        address="",
        anchors=(),
        folder=tmp_path,
        config=lab.live.state / "krb5.conf",
    )
    run = kinit(realm, "pat@LAB.TEST", password=lab.password, options=_ASK)
    _check_tgt(run, "pat@LAB.TEST")


def test_a_key_enrolled_by_the_command_logs_heimdal_on(lab: Lab, tmp_path: Path) -> None:
    """`kdc key enroll` writes certificate and key into one file that Heimdal takes as it is."""
    file = tmp_path / "erin.pem"
    lab.live.kdc("user", "add", "erin")
    lab.live.kdc("key", "enroll", "erin", "--out", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    identity = certificates.Identity(
        certificate=file, key=file, both=file, private_key=lab.alice.private_key
    )
    realm = lab.live.client(tmp_path)
    run = clients.heimdal_kinit(realm, "erin@LAB.TEST", identity=identity, options=_ASK)
    _check_tgt(run, "erin@LAB.TEST")


def test_a_leaf_enrolled_by_the_command_logs_mit_on(lab: Lab, tmp_path: Path) -> None:
    """With --throwaway-issuer the file holds a leaf that MIT's client agrees to send."""
    file, issuer = tmp_path / "frank.pem", tmp_path / "issuer.pem"
    lab.live.kdc("user", "add", "frank")
    lab.live.kdc("key", "enroll", "frank", "--out", str(file), "--throwaway-issuer", str(issuer))
    identity = certificates.Identity(
        certificate=file, key=file, both=file, private_key=lab.alice.private_key
    )
    realm = lab.live.client(tmp_path, issuer)
    run = clients.mit_kinit(realm, "frank@LAB.TEST", identity=identity, options=_ASK)
    _check_tgt(run, "frank@LAB.TEST")


@_TRANSPORTS
def test_our_own_client_writes_a_cache_that_mit_reads(
    lab: Lab, tmp_path: Path, transport: Transport
) -> None:
    """The FILE credential cache, version 4."""
    cache = tmp_path / "cc"
    address = f"{lab.live.address}:{lab.live.port}"
    lab.live.kdc(
        *("logon", "alice", "--identity", str(lab.alice.both), "--kdc", address),
        *("--ccache", str(cache), "--json", *(["--tcp"] if transport == "tcp" else [])),
    )
    owner, tickets = clients.klist(cache)
    assert owner == "alice@LAB.TEST"
    assert [ticket.service for ticket in tickets] == ["krbtgt/LAB.TEST@LAB.TEST"]


def test_a_wrong_password_is_preauth_failed(lab: Lab, tmp_path: Path) -> None:
    """KDC_ERR_PREAUTH_FAILED, RFC 4120 3.1.3."""
    run = clients.mit_kinit(lab.live.client(tmp_path), "pat@LAB.TEST", password="not it")  # noqa: S106
    assert run.status != 0
    assert KDC_ERR_PREAUTH_FAILED in run.kdc_errors, run.explain()


def test_a_key_on_no_account_is_not_trusted(lab: Lab, tmp_path: Path) -> None:
    """KDC_ERR_CANT_VERIFY_CERTIFICATE: no key trust, and its issuer is no logon CA."""
    stranger = certificates.leaf(tmp_path, "stranger", certificates.new_key(), lab.throwaway)
    realm = lab.live.client(tmp_path, lab.throwaway.certificate)
    run = clients.mit_kinit(realm, "alice@LAB.TEST", identity=stranger)
    assert run.status != 0
    assert KDC_ERR_CANT_VERIFY_CERTIFICATE in run.kdc_errors, run.explain()


def test_the_key_of_another_account_is_a_name_mismatch(lab: Lab, tmp_path: Path) -> None:
    """KDC_ERR_CLIENT_NAME_MISMATCH: bob's key does not log alice on."""
    realm = lab.live.client(tmp_path, lab.throwaway.certificate)
    run = clients.mit_kinit(realm, "alice@LAB.TEST", identity=lab.bob_leaf)
    assert run.status != 0
    assert KDC_ERR_CLIENT_NAME_MISMATCH in run.kdc_errors, run.explain()


def test_a_key_removed_while_serving_is_refused_by_every_worker(lab: Lab, tmp_path: Path) -> None:
    """`kdc key remove USER --all` counts from the next request on, whichever worker gets it."""
    identity = certificates.leaf(tmp_path, "carl", certificates.new_key(), lab.throwaway)
    lab.live.kdc("user", "add", "carl")
    lab.live.kdc("key", "add", "carl", str(identity.certificate))
    realm = lab.live.client(tmp_path, lab.throwaway.certificate)
    # Each request comes from a new port, so two workers both get some of eight.
    for _ in range(8):
        run = clients.mit_kinit(realm, "carl@LAB.TEST", identity=identity)
        assert run.status == 0, run.explain()
    lab.live.kdc("key", "remove", "carl", "--all")
    for _ in range(8):
        run = clients.mit_kinit(realm, "carl@LAB.TEST", identity=identity)
        assert run.status != 0
        assert KDC_ERR_CANT_VERIFY_CERTIFICATE in run.kdc_errors, run.explain()
