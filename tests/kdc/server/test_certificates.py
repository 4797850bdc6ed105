"""Certificate trust from files: what is read, what is noticed while serving, what is said."""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.ocsp import OCSPCertStatus

from kdc.config import ConfigError, KdcConfig
from kdc.server import revocation_files
from kdc.server.certificate_watch import CertificateKeeper, CertificateWatch
from kdc.server.certificates import (
    chain_profile,
    keep_newer_crls,
    load_cert_trust,
    problems_of,
)
from kdc.state_folder import StateFolder
from kdc.trust.cert_trust import CertTrust
from pki.certificate import Certificate
from pki.crl import Crl
from pki.errors import ChainError, ChainFault
from pki.ocsp_bundle import encode_bundle
from pki.signatures import Digest
from tests.pki import chains, lists
from tests.pki.chains import NOW, Plan
from tests.pki.lists import HOUR, ROOT

MADE = chains.make(Plan(3, ()))
CONFIG = KdcConfig(realm="LAB.TEST", netbios="LAB", domain="lab.test")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StateFolder]:
    """A state folder with a root, a logon CA below it, and current CRLs of both."""
    found = StateFolder(tmp_path)
    for place in (found.logon_cas, found.trusted_roots, found.crls, found.ocsp):
        place.mkdir(parents=True)
    (found.trusted_roots / "root.der").write_bytes(MADE.root)
    (found.logon_cas / "ca.der").write_bytes(MADE.sent[0])
    (found.crls / "root.crl").write_bytes(lists.crl(MADE, ROOT))
    (found.crls / "ca.crl").write_bytes(lists.crl(MADE))
    yield found


def test_a_realm_without_logon_cas_has_no_certificate_trust(tmp_path: Path) -> None:
    """Key trust alone: no chain is looked at."""
    assert load_cert_trust(StateFolder(tmp_path), CONFIG) is None


def test_a_chain_is_valid_and_remembered(folder: StateFolder) -> None:
    """The second logon validates nothing; what it rests on bounds it."""
    trust = load_cert_trust(folder, CONFIG)
    assert trust is not None
    chain = trust.valid_chain(MADE.leaf, (), NOW)
    assert trust.valid_chain(MADE.leaf, (), NOW) is chain
    assert chain.valid_until == NOW + 24 * HOUR
    assert len(trust.memory) == 1


def test_crl_that_ends_while_serving_refuses_and_is_told_before(folder: StateFolder) -> None:
    """Row S04: a remembered chain ends with its CRL, and the log says so a day ahead."""
    trust = load_cert_trust(folder, CONFIG)
    assert trust is not None
    trust.valid_chain(MADE.leaf, (), NOW)
    assert problems_of(trust, NOW + HOUR)[0].startswith("a CRL ends on 2026-05-05")
    with pytest.raises(ChainError) as caught:
        trust.valid_chain(MADE.leaf, (), NOW + 25 * HOUR)
    assert caught.value.chain_fault is ChainFault.STATUS_UNKNOWN
    assert problems_of(trust, NOW + 25 * HOUR)[0].startswith("a CRL ended on")


def test_a_file_that_changes_is_noticed(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look a second; a new CRL, one removed, a new CA."""
    clock = [1000.0]
    monkeypatch.setattr("kdc.server.certificate_watch.time.monotonic", lambda: clock[0])
    watch = CertificateWatch(folder, CONFIG)
    changes = (
        lambda: (folder.crls / "new.crl").write_bytes(b""),
        lambda: (folder.crls / "new.crl").unlink(),
        lambda: (folder.logon_cas / "more.der").write_bytes(MADE.root),
        lambda: os.utime(folder.crls / "ca.crl", (1, 1)),
    )
    for change in changes:
        clock[0] += 1.1
        assert watch.look(None, NOW) == "nothing"
        change()
        assert watch.look(None, NOW) == "nothing"
        clock[0] += 1.1
        assert watch.look(None, NOW) == "files"


def test_fetched_responses_are_noticed_apart(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their exchange must not make everything be read again."""
    clock = [1000.0]
    monkeypatch.setattr("kdc.server.certificate_watch.time.monotonic", lambda: clock[0])
    keeper = CertificateKeeper(folder)
    trust = keeper.load(CONFIG)
    keeper.begin(CONFIG)
    assert trust is not None
    told: list[bytes] = []
    keeper.tell(told.append, trust)
    trust.valid_chain(MADE.leaf, (), NOW)
    assert told == [MADE.leaf]
    digest = hashlib.sha256(MADE.leaf).digest()
    revoked = lists.response(MADE, OCSPCertStatus.REVOKED)
    folder.fetched_responses.write_bytes(encode_bundle({digest: revoked}))
    assert keeper.renewed(trust, CONFIG, NOW) is trust  # looked at a moment ago
    clock[0] += 1.1
    renewed = keeper.renewed(trust, CONFIG, NOW)
    assert renewed is not None
    assert renewed is not trust
    assert renewed.memory is trust.memory
    with pytest.raises(ChainError) as caught:
        renewed.valid_chain(MADE.leaf, (), NOW)
    assert caught.value.chain_fault is ChainFault.REVOKED
    folder.fetched_responses.write_bytes(b"broken")
    clock[0] += 1.1
    broken = keeper.renewed(renewed, CONFIG, NOW)
    assert broken is not None
    assert len(broken.revocation.fetched) == 0


def test_a_large_list_is_read_in_a_thread_and_counts_when_it_is_there(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are answered meanwhile from what there was; what has not changed is not read."""
    clock = [1000.0]
    monkeypatch.setattr("kdc.server.certificate_watch.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("kdc.server.certificate_watch.LARGE_BYTES", 0)
    gate = threading.Event()
    read: list[str] = []
    parse = revocation_files._parse_crl

    def slow(path: Path, size: int) -> Crl | None:
        read.append(path.name)
        assert gate.wait(10)
        return parse(path, size)

    keeper = CertificateKeeper(folder)
    trust = keeper.load(CONFIG)
    keeper.begin(CONFIG)
    monkeypatch.setattr(revocation_files, "_parse_crl", slow)
    (folder.crls / "ca.crl").write_bytes(lists.crl(MADE, number=7, revoked=REVOKED))
    clock[0] += 1.1
    assert keeper.renewed(trust, CONFIG, NOW) is trust
    clock[0] += 1.1
    assert keeper.renewed(trust, CONFIG, NOW) is trust
    gate.set()
    while (renewed := keeper.renewed(trust, CONFIG, NOW)) is trust:
        time.sleep(0.01)
    assert read == ["ca.crl"]
    assert renewed is not None
    with pytest.raises(ChainError) as caught:
        renewed.valid_chain(MADE.leaf, (), NOW)
    assert caught.value.chain_fault is ChainFault.REVOKED


def test_a_broken_ca_file_is_an_error_and_a_broken_crl_is_left_out(
    folder: StateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a list of CAs would refuse people; half a list of CRLs refuses by itself."""
    (folder.crls / "broken.crl").write_bytes(b"\x30")
    (folder.ocsp / "broken.der").write_bytes(b"\x30")
    with caplog.at_level(logging.ERROR):
        assert load_cert_trust(folder, CONFIG) is not None
    assert [r.message.partition(" ")[0] for r in caplog.records] == ["broken.crl", "broken.der"]
    (folder.logon_cas / "broken.pem").write_bytes(b"no certificate")
    with pytest.raises(ConfigError):
        load_cert_trust(folder, CONFIG)


def test_a_logon_ca_without_its_root_is_said(folder: StateFolder) -> None:
    """Its certificates would all be refused: unknown issuer."""
    (folder.trusted_roots / "root.der").unlink()
    trust = load_cert_trust(folder, CONFIG)
    assert trust is not None
    assert any("leads to no trusted root" in problem for problem in problems_of(trust, NOW))


REVOKED = {Certificate(MADE.leaf).serial_number: x509.ReasonFlags.key_compromise}


def _replaced(folder: StateFolder, caplog: pytest.LogCaptureFixture, **crl: object) -> CertTrust:
    """Load list 7, which revokes the leaf; then another in its place, as the watch does."""
    (folder.crls / "ca.crl").write_bytes(lists.crl(MADE, number=7, revoked=REVOKED))
    before = load_cert_trust(folder, CONFIG)
    assert before is not None
    assert problems_of(before, NOW) == ()  # verified, as before serving
    (folder.crls / "ca.crl").write_bytes(lists.crl(MADE, **crl))  # type: ignore[arg-type]  # its own
    after = load_cert_trust(folder, CONFIG)
    assert after is not None
    with caplog.at_level(logging.ERROR):
        keep_newer_crls(after, before)
    return after


def test_crl_whose_number_fell_is_refused(
    folder: StateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """Row Q04, S04: an older list in a file's place revokes nothing back; the alarm says it."""
    trust = _replaced(folder, caplog, number=6)
    with pytest.raises(ChainError) as caught:
        trust.valid_chain(MADE.leaf, (), NOW)
    assert caught.value.chain_fault is ChainFault.REVOKED
    assert "alarm: CRL number fell from 7 to 6: the newer is kept" in caplog.text


@pytest.mark.parametrize("number", [7, 8])
def test_crl_whose_number_did_not_fall_counts(
    folder: StateFolder, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """The control: the list in the file is the one that is asked."""
    trust = _replaced(folder, caplog, number=number)
    trust.valid_chain(MADE.leaf, (), NOW)
    assert caplog.text == ""


def test_unverified_crl_keeps_no_other_out(
    folder: StateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """A list that somebody made up, with a high number, does not stay."""
    (folder.crls / "ca.crl").write_bytes(lists.crl(MADE, number=7, signer="leaf"))
    before = load_cert_trust(folder, CONFIG)
    assert before is not None
    problems_of(before, NOW)
    (folder.crls / "ca.crl").write_bytes(lists.crl(MADE, number=6))
    after = load_cert_trust(folder, CONFIG)
    assert after is not None
    keep_newer_crls(after, before)
    after.valid_chain(MADE.leaf, (), NOW)


def test_an_ocsp_response_is_taken_where_there_is_no_crl(folder: StateFolder) -> None:
    """Fetched ahead of need, by whatever puts it there."""
    (folder.crls / "ca.crl").unlink()
    (folder.ocsp / "leaf.der").write_bytes(lists.response(MADE))
    trust = load_cert_trust(folder, CONFIG)
    assert trust is not None
    trust.valid_chain(MADE.leaf, (), NOW)


def test_cas_named_in_the_configuration_count_too(folder: StateFolder) -> None:
    """logon_cas, relative to the state folder."""
    (folder.logon_cas / "ca.der").rename(folder.root / "elsewhere.der")
    config = KdcConfig(
        realm="LAB.TEST", netbios="LAB", domain="lab.test", logon_cas=("elsewhere.der",)
    )
    trust = load_cert_trust(folder, config)
    assert trust is not None
    trust.valid_chain(MADE.leaf, (), NOW)


def test_settings_reach_the_profile() -> None:
    """pkinit_eku_checking and legacy_sha1_cert."""
    assert Digest.SHA1 not in chain_profile(CONFIG).digests
    config = KdcConfig(
        realm="LAB.TEST",
        netbios="LAB",
        domain="lab.test",
        legacy_sha1_cert=True,
        pkinit_eku_checking="kpClientAuth",
    )
    profile = chain_profile(config)
    assert Digest.SHA1 in profile.digests
    assert profile.purpose_required
