"""The checks behind /readyz, each broken alone."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from kdc.server.http.health import Health
from kdc.server.shared import SharedTables
from kdc.state_folder import StateFolder
from pki import ca

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SECOND_NS = 10**9


class Patient:
    """A state folder with a certificate, two workers that beat, and a clock of its own."""

    def __init__(self, root: Path) -> None:
        self.folder = StateFolder(root)
        self.folder.pki.mkdir()
        issuer = ca.create_root("LAB.TEST", NOW, ca.generate_key(ca.KeyType.EC_P256))
        issued = ca.issue_kdc_certificate(
            issuer, "LAB.TEST", ("kdc.lab.test",), None, ca.KeyType.EC_P256, NOW
        )
        pem = ca.certificate_to_pem(issued.certificate_der)
        self.folder.kdc_certificate.write_bytes(pem)
        self.shared = SharedTables(2)
        self.now = NOW
        self.now_ns = 1000 * SECOND_NS
        self.shared.counters.for_supervisor().workers_ready = 2
        for index in range(2):
            self.shared.counters.for_worker(index).heartbeat = self.now_ns
        self.health = Health(
            self.folder,
            self.folder.audit_log,
            self.shared,
            wall_clock=lambda: self.now,
            clock_ns=lambda: self.now_ns,
        )


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def test_one_worker_of_two_is_enough(patient: Patient) -> None:
    """The other's requests come to it; that one is missing is a metric."""
    patient.shared.counters.for_supervisor().workers_ready = 1
    check = patient.health.workers()
    assert (check.ok, check.detail) == (True, "1 of 2 workers ready")


def test_workers_that_are_stuck_are_not_ready(patient: Patient) -> None:
    """Alive for the kernel, but their loops do not turn."""
    patient.now_ns += 6 * SECOND_NS
    check = patient.health.workers()
    assert (check.ok, check.detail) == (False, "0 of 2 workers ready")


def test_missing_store_is_not_ready(patient: Patient) -> None:
    """The KDC would answer 29."""
    assert not patient.health.store().ok
    assert not patient.folder.store.exists()


@pytest.mark.parametrize("days", [-1, 366])
def test_certificate_out_of_its_time_is_not_ready(patient: Patient, days: int) -> None:
    """Clients would refuse every reply."""
    patient.now += timedelta(days=days)
    check = patient.health.certificate()
    assert (check.ok, check.detail) == (False, "kdc.pem is not valid now")


def test_damaged_certificate_is_not_ready(patient: Patient) -> None:
    """The next reload would refuse it."""
    patient.folder.kdc_certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    assert patient.health.certificate().detail == "kdc.pem cannot be read"


def test_realm_without_a_certificate_is_ready(patient: Patient) -> None:
    """Passwords alone are a choice."""
    patient.folder.kdc_certificate.unlink()
    assert patient.health.certificate().detail == "none: PKINIT is off"


def test_full_disk_is_not_ready(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row S03: audit records would be lost, or logons refused."""
    assert patient.health.disk().ok
    full = SimpleNamespace(f_bavail=10, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert patient.health.disk().detail == "the audit log's disk is full"


def test_read_only_disk_is_not_ready(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that had an error is remounted so."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert patient.health.disk().detail == "the audit log cannot be written"


def test_checks_are_kept_for_a_second(patient: Patient) -> None:
    """Who asks a thousand times a second costs one look at the disk."""
    first = patient.health.checks()
    assert patient.health.checks() is first
    patient.now_ns += SECOND_NS
    assert patient.health.checks() is not first
