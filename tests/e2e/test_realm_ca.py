"""The realm's CA beside a running server: renewed by itself, and true after a SIGKILL (row Q04)."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from kdc.cli.state import RealmState, now
from kdc.state_folder import StateFolder
from pki import ca
from tests.rig import peers
from tests.rig.realm import LiveRealm, make_realm

pytestmark = pytest.mark.e2e

_WAIT_S = 30.0


def _age(live: LiveRealm) -> str:
    """Give the KDC a certificate that is past two thirds of its life; return its digest."""
    folder = StateFolder(live.state)
    realm = RealmState(folder=folder, loaded=folder.load_config())
    made = ca.issue_kdc_certificate(
        realm.ca(),
        "LAB.TEST",
        ("kdc.lab.test", "lab.test"),
        "LAB",
        ca.KeyType.RSA_2048,
        now() - timedelta(days=300),
    )
    folder.kdc_certificate.write_bytes(ca.certificate_to_pem(made.certificate_der))
    folder.kdc_key.write_bytes(ca.private_key_to_pem(made.private_key))
    return hashlib.sha256(made.certificate_der).hexdigest()


def test_old_kdc_certificate_is_renewed_and_swapped_without_a_lost_request(
    tmp_path: Path,
) -> None:
    """Two thirds of its life are over: the server renews it, and every logon succeeds meanwhile."""
    live = make_realm(tmp_path / "state", renewal=True)
    live.kdc("user", "add", "carol")
    identity = tmp_path / "carol.pem"
    live.kdc("cert", "issue", "carol", "--out", str(identity))
    old = _age(live)
    logon = ("logon", "carol", "--identity", str(identity), "--json")
    seen: list[str] = []
    with live.served(workers=2):
        end = time.monotonic() + _WAIT_S
        while time.monotonic() < end and (not seen or seen[-1] == old):
            # One that fails fails the test.
            found = json.loads(live.kdc(*logon, "--kdc", f"127.0.0.1:{live.port}"))
            seen.append(found["kdc_certificate_sha256"])
        log = live.log.read_text()
    assert seen[-1] != old, log
    renewed = x509.load_pem_x509_certificate((live.state / "pki/kdc.pem").read_bytes())
    assert renewed.not_valid_after_utc > now() + timedelta(days=300)
    assert "renewed: kdc" in log
    assert "reloaded" in log


def test_server_without_the_cas_key_says_so_and_serves(tmp_path: Path) -> None:
    """An offline key: a third of the certificate's life is left to do something about it."""
    live = make_realm(tmp_path / "state", renewal=True)
    _age(live)
    (live.state / "pki/ca.key").rename(tmp_path / "ca.key")
    with live.served(workers=1):
        end = time.monotonic() + _WAIT_S
        while "cannot renew what is due" not in live.log.read_text():
            assert time.monotonic() < end, live.log.read_text()
            time.sleep(0.1)


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """Row Q04: issues and revocations killed at any moment."""
    live = make_realm(tmp_path / "state")
    live.kdc("user", "add", "carol")
    environment = peers.clean_environment({"KDC_STATE": str(live.state), "NO_COLOR": "1"})
    numbers, acknowledged = [_crl(live)[0]], set[int]()
    for attempt in range(10):
        out = tmp_path / f"{attempt}.pem"
        live.kdc("cert", "issue", "carol", "--out", str(out), "--key-type", "ec-p256")
        command = [sys.executable, "-m", "kdc", "cert", "revoke", str(out)]
        process = subprocess.Popen(
            command, cwd=peers.ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        try:
            # Around the time that the command takes, so that some are cut in the middle.
            code = process.wait(0.25 + attempt * 0.05)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            code = process.wait()
        number, revoked = _crl(live)
        numbers.append(number)
        if code == 0:
            acknowledged.add(x509.load_pem_x509_certificate(out.read_bytes()).serial_number)
        assert acknowledged <= revoked
    assert numbers == sorted(numbers)
    live.kdc("cert", "renew", "--due")
    number, revoked = _crl(live)
    assert number >= numbers[-1]
    listed = json.loads(live.kdc("cert", "list", "--json"))
    serials = [entry["serial_number"] for entry in listed]
    assert len(serials) == len(set(serials)) == 13
    # What the ledger has as revoked is on the list by now, acknowledged or not.
    assert revoked == {int(e["serial_number"], 16) for e in listed if e["status"] == "revoked"}


def _crl(live: LiveRealm) -> tuple[int, set[int]]:
    crl = x509.load_pem_x509_crl(_pem(live)) if b"BEGIN" in _pem(live) else _der(live)
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    return number, {entry.serial_number for entry in crl}


def _pem(live: LiveRealm) -> bytes:
    return (live.state / "pki/ca.crl").read_bytes()


def _der(live: LiveRealm) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(_pem(live))
