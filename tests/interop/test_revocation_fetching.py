"""CRLs and OCSP responses of another CA, fetched over HTTP: what kinit gets before and after.

The CAs, their lists and their responders are made by other code than the product's: another
library and `openssl ocsp`; one responder is that of a second realm of ours.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.rig import clients, logon_ca
from tests.rig.fetching import (
    CRL,
    DELTA,
    ROOT_CRL,
    Fetching,
    Kinit,
    make_base,
    openssl_responder,
)
from tests.rig.realm import free_port, make_realm

pytestmark = pytest.mark.interop

Base = tuple[Path, str]
GRANTED, REVOKED, UNKNOWN = 0, 72, 73
_CLIENTS = pytest.mark.parametrize(
    "kinit",
    [
        pytest.param(clients.mit_kinit, id="mit"),
        pytest.param(clients.heimdal_kinit, id="heimdal"),
    ],
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A realm with carol, copied by each test."""
    return make_base(tmp_path_factory.mktemp("fetching"))


def make(base: Base, folder: Path, **settings: str) -> Fetching:
    """Make a realm whose logon CA names its list in the certificates that it issues."""
    made = Fetching.make(base, folder, **settings)
    made.issuing.crl_url = made.pki.url(CRL)
    made.publish()
    return made


# -- policies --------------------------------------------------------------------------------


@_CLIENTS
def test_required_list_is_fetched_after_the_first_logon_and_revokes(
    base: Base, tmp_path: Path, kinit: Kinit
) -> None:
    """RFC 5280 4.2.1.13: 73 while nobody knows the address, a ticket, 72 once it is listed."""
    made = make(base, tmp_path)
    carol = made.identity()
    with made.served():
        assert made.code(carol, kinit) == UNKNOWN
        made.until(GRANTED, carol, kinit)
        found = made.when(CRL, lambda one: one["condition"] == "current")
        assert found["named_by"] == "logon certificate"
        assert made.source(ROOT_CRL)["named_by"] == "CA certificate"
        made.issuing.revoked.append(carol.leaf.serial_number)
        made.publish()
        made.until(REVOKED, carol, kinit)
        record = made.live.audit()[-1]
        assert record["why"] == "certificate chain: certificate revoked"
        told = made.live.kdc("explain", str(record["ref"]))
        assert "revoked" in told
        doctor = json.loads(made.live.kdc("doctor", "--no-logons", "--json", ok=(0, 1)))
        (line,) = (c for c in doctor["checks"] if c["check"] == "certificates.fetched")
        assert (line["level"], line["message"]) == (
            "ok",
            "2 CRLs or OCSP responses, all current",
        )
    assert not made.pki.count("/ocsp")


def test_configured_address_is_ahead_of_the_first_logon(base: Base, tmp_path: Path) -> None:
    """`crl_urls`: no logon is refused for want of a list; it may lead to loopback by itself."""
    made = make(base, tmp_path, fetch_networks="[]")
    urls = json.dumps([made.pki.url(CRL), made.pki.url(ROOT_CRL)])
    toml = made.live.state / "kdc.toml"
    toml.write_text(f"crl_urls = {urls}\n" + toml.read_text())
    carol = made.identity()
    with made.served():
        for path in (CRL, ROOT_CRL):
            assert made.when(path, lambda one: one["condition"] == "current")["named_by"]
        time.sleep(1.2)  # changed files count within a second
        assert made.code(carol) == GRANTED


def test_reload_takes_and_drops_addresses(base: Base, tmp_path: Path) -> None:
    """SIGHUP: what is named is fetched, what is named no more goes, also its file."""
    made = make(base, tmp_path)
    toml = made.live.state / "kdc.toml"
    text = toml.read_text()
    with made.served():
        assert made.live.process is not None
        made.when(ROOT_CRL, lambda one: one["condition"] == "current")
        toml.write_text(f'crl_urls = ["{made.pki.url(CRL)}"]\n{text}')
        made.live.process.send_signal(signal.SIGHUP)
        found = made.when(CRL, lambda one: one["condition"] == "current")
        assert (found["named_by"], found["issuer"]) == ("kdc.toml", "CN=Issuing CA")
        assert len(made.fetched_files()) == 2
        toml.write_text("nonsense = 1\n" + text)
        made.live.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert len(made.fetched_files()) == 2
        toml.write_text(text)
        made.live.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while len(made.fetched_files()) != 1 or len(made.sources()) != 1:
            assert time.monotonic() < end, made.sources()
            time.sleep(0.2)
    assert "reload refused, the old configuration stays" in made.live.log.read_text()


def test_soft_lets_pass_until_the_list_is_there(base: Base, tmp_path: Path) -> None:
    """A warning in the record of the first logon, none later; what is listed is refused."""
    made = make(base, tmp_path, revocation='"soft"')
    carol = made.identity()
    with made.served():
        assert made.code(carol) == GRANTED
        assert "revocation status not known" in str(made.live.audit()[-1]["warnings"])
        made.when(CRL, lambda one: one["condition"] == "current")
        made.issuing.revoked.append(carol.leaf.serial_number)
        made.publish()
        made.until(REVOKED, carol)


def test_off_asks_nobody(base: Base, tmp_path: Path) -> None:
    """Neither on a logon nor ahead of one."""
    made = make(base, tmp_path, revocation='"off"')
    made.issuing.revoked.append(1)
    carol = made.identity()
    with made.served():
        assert made.code(carol) == GRANTED
        time.sleep(2)
        assert made.code(carol) == GRANTED
    assert made.pki.asked == []


def test_switched_off_nothing_is_asked(base: Base, tmp_path: Path) -> None:
    """`fetch_revocation = false`: no process, no request."""
    made = make(base, tmp_path, fetch_revocation="false")
    carol = made.identity()
    with made.served():
        assert made.code(carol) == UNKNOWN
        time.sleep(1)
        assert made.code(carol) == UNKNOWN
        assert made.companion() == 0
    assert made.pki.asked == []


# -- delta lists and responders --------------------------------------------------------------


def test_a_delta_list_revokes(base: Base, tmp_path: Path) -> None:
    """RFC 5280 5.2.4, 5.2.6: the complete list says where it is."""
    made = Fetching.make(base, tmp_path)
    made.issuing.crl_url, made.issuing.freshest_url = made.pki.url(CRL), made.pki.url(DELTA)
    made.publish()
    carol = made.identity()
    made.pki.content[DELTA] = made.issuing.crl(base=1)
    with made.served():
        made.until(GRANTED, carol)
        found = made.when(DELTA, lambda one: one["condition"] == "current")
        assert (found["delta"], found["number"], found["named_by"]) == (True, "2", "CRL")
        made.pki.content[DELTA] = made.issuing.crl(base=1, more=(carol.leaf.serial_number,))
        made.until(REVOKED, carol)
        assert made.source(CRL)["number"] == "1"


def test_openssls_responder_is_believed(base: Base, tmp_path: Path) -> None:
    """RFC 6960: a certificate that names a responder alone; good, then revoked."""
    made = Fetching.make(base, tmp_path)
    port = free_port()
    made.issuing.ocsp_url = f"http://127.0.0.1:{port}/"
    carol = made.identity()
    serial = carol.leaf.serial_number
    with made.served():
        with openssl_responder(made.issuing, tmp_path, port, set()):
            assert made.code(carol) == UNKNOWN
            made.until(GRANTED, carol)
            found = made.when("kind ocsp", lambda one: one["condition"] == "current")
            assert (found["condition"], found["serial_number"]) == ("current", f"{serial:x}")
        with openssl_responder(made.issuing, tmp_path, port, {serial}):
            made.until(REVOKED, carol)
            assert made.live.audit()[-1]["why"] == "certificate chain: certificate revoked"


def test_our_own_responder_and_list_are_believed_by_another_realm(
    base: Base, tmp_path: Path
) -> None:
    """Both addresses are in what `kdc cert issue` makes; `kdc cert revoke` counts over there."""
    port = free_port()
    other = make_realm(tmp_path / "other", "--http", f"127.0.0.1:{port}")
    other.kdc("user", "add", "carol")
    made = Fetching.make(base, tmp_path, strong_mapping='"none"')
    made.live.kdc("cert", "trust", "add", str(other.ca), "--name", "other")
    out = tmp_path / "issued.pem"
    other.kdc("cert", "issue", "carol", "--out", str(out), "--no-sid")
    for ca in (made.root, made.issuing):
        ca.certificate = x509.load_pem_x509_certificate(other.ca.read_bytes())
    leaf = x509.load_pem_x509_certificate(out.read_bytes())
    key = logon_ca.new_key()
    carol = logon_ca.LogonIdentity(certificate=out, key=out, leaf=leaf, private_key=key)
    with other.served(workers=1), made.served():
        assert made.code(carol) == UNKNOWN
        made.until(GRANTED, carol)
        made.when("kind ocsp", lambda one: one["condition"] == "current")
        named = {(one["kind"], one["named_by"]) for one in made.sources()}
        assert {("crl", "logon certificate"), ("ocsp", "logon certificate")} <= named
        other.kdc("cert", "revoke", str(out))
        made.until(REVOKED, carol)
        made.when("kind ocsp", lambda one: bool(one["revoked"]))


# -- what goes wrong -------------------------------------------------------------------------


def _garbage(made: Fetching) -> None:
    made.pki.content[CRL] = b"<html>maintenance</html>"


def _huge(made: Fetching) -> None:
    made.pki.endless.add(CRL)


def _loop(made: Fetching) -> None:
    made.pki.redirects[CRL] = CRL


def _error(made: Fetching) -> None:
    made.pki.statuses[CRL] = 500


def _wrong_signer(made: Fetching) -> None:
    stranger = logon_ca.new_root().issuing_ca()
    stranger.crl_number = 99
    made.pki.content[CRL] = stranger.crl()


def _rollback(made: Fetching) -> None:
    made.issuing.revoked.clear()
    made.issuing.crl_number = 0
    made.pki.content[CRL] = made.issuing.crl()


def _ended(made: Fetching) -> None:
    made.issuing.revoked.clear()
    made.pki.content[CRL] = made.issuing.crl(ends_in=-timedelta(minutes=1))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_garbage, "no CRL: truncated"),
        (_huge, "the answer is too large"),
        (_loop, "too many redirects"),
        (_error, "HTTP status 500"),
        (_wrong_signer, "the CRL is not the CA's: revocation data of another issuer"),
        (_rollback, "the CRL is older than the one at hand"),
        (_ended, "the CRL has ended"),
    ],
)
def test_answers_of_no_use_leave_the_list_that_is_there(
    base: Base, tmp_path: Path, spoil: Callable[[Fetching], None], problem: str
) -> None:
    """Rows Q04, S04: dave's certificate is on the list that stays, carol's is not."""
    made = make(base, tmp_path)
    dave = made.identity()
    made.issuing.revoked.append(dave.leaf.serial_number)
    made.publish()
    carol = made.issuing.issue(tmp_path, "other", upn="carol@lab.test", sid=made.sid)
    with made.served():
        made.until(GRANTED, carol)
        before = made.fetched_files()
        spoil(made)
        found = made.when(CRL, lambda one: one["failures"] != 0)
        assert (found["condition"], found["problem"]) == ("failing", problem)
        assert made.fetched_files() == before
        assert made.code(carol) == GRANTED
        assert made.code(dave) == REVOKED
    assert f"cannot be fetched: CRL, {made.pki.url(CRL)}: {problem}" in made.live.log.read_text()


@pytest.mark.alone
def test_logons_go_on_while_a_server_is_slow(base: Base, tmp_path: Path) -> None:
    """An octet every 0.2 s: nobody waits for it, and the CA's other server is asked meanwhile."""
    made = make(base, tmp_path)
    carol = made.identity()
    with made.served():
        made.until(GRANTED, carol)
        made.pki.slow.add(CRL)
        made.publish()
        asked = made.pki.count(CRL)
        while made.pki.count(CRL) == asked:
            time.sleep(0.1)
        others = made.pki.count(ROOT_CRL)
        for _ in range(8):
            began = time.monotonic()
            assert made.code(carol) == GRANTED
            assert time.monotonic() - began < 1.0
            time.sleep(0.3)
        assert made.pki.count(ROOT_CRL) > others


def test_a_server_that_is_away_counts_when_the_list_ends(base: Base, tmp_path: Path) -> None:
    """The old list until nextUpdate, 73 then; a ticket again when the server is back."""
    made = make(base, tmp_path)
    carol = made.identity()
    made.pki.content[CRL] = made.issuing.crl(ends_in=timedelta(seconds=8))
    with made.live.served(workers=1):
        with made.pki.running():
            made.until(GRANTED, carol)
        found = made.when(CRL, lambda one: one["failures"] != 0)
        assert (found["condition"], found["problem"]) == ("failing", "no connection")
        assert made.code(carol) == GRANTED
        made.until(UNKNOWN, carol)
        assert made.source(CRL)["condition"] == "stale"
        doctor = json.loads(made.live.kdc("doctor", "--no-logons", "--json", ok=(1,)))
        lines = [c for c in doctor["checks"] if c["check"] == "certificates.fetched"]
        assert "fail" in {line["level"] for line in lines}
        made.publish()
        with made.pki.running():
            made.until(GRANTED, carol)
            made.when(CRL, lambda one: one["failures"] == 0)
    assert "fetched again: CRL" in made.live.log.read_text()


def test_killed_companion_is_back_and_knows_what_to_fetch(base: Base, tmp_path: Path) -> None:
    """By kill -9: no logon is lost, nothing half written is left, the next list comes."""
    made = make(base, tmp_path)
    carol = made.identity()
    with made.served():
        made.until(GRANTED, carol)
        made.when(CRL, lambda one: one["condition"] == "current")
        for _ in range(3):
            before = made.companion()
            assert before
            os.kill(before, signal.SIGKILL)
            assert made.code(carol) == GRANTED
            end = time.monotonic() + 10
            while made.companion() in (0, before):
                assert time.monotonic() < end
                time.sleep(0.1)
        made.issuing.revoked.append(carol.leaf.serial_number)
        made.publish()
        made.until(REVOKED, carol)
    left = [p for p in (made.live.state / "pki").rglob(".*") if p.is_file()]
    assert left == []
    assert "revocation (pid" in made.live.log.read_text()


# -- whom nobody can make us ask -------------------------------------------------------------


def test_addresses_in_certificates_do_not_lead_to_loopback_by_default(
    base: Base, tmp_path: Path
) -> None:
    """A CA that copies what users ask for cannot make us ask services of this machine."""
    made = make(base, tmp_path, fetch_networks="[]")
    carol = made.identity()
    with made.served():
        assert made.code(carol) == UNKNOWN
        found = made.when(CRL, lambda one: one["failures"] != 0)
        assert "no address that may be asked; see fetch_networks" in str(found["problem"])
        assert found["condition"] == "missing"
    assert made.pki.asked == []


def test_a_strangers_certificate_makes_us_ask_nobody(base: Base, tmp_path: Path) -> None:
    """A CA of the same name and another key: 70 or 71, and its addresses are not looked at."""
    made = make(base, tmp_path)
    strange_root = logon_ca.new_root()
    stranger = strange_root.issuing_ca()
    stranger.crl_url = made.pki.url("/trap.crl")
    stranger.ocsp_url = made.pki.url("/ocsp")
    mallory = stranger.issue(tmp_path, "mallory", upn="carol@lab.test", sid=made.sid)
    with made.served():
        made.root, made.issuing = strange_root, stranger  # what the client has as its anchors
        for _ in range(2):
            assert made.logon(mallory).status == 1
            refused = [record["Status"] for record in made.live.audit()]
            assert {"0x46", "0x47"} & {*refused}
            time.sleep(1)
    assert {path for _, path, _ in made.pki.asked} == {ROOT_CRL}


def test_an_administrators_file_is_neither_touched_nor_undercut(base: Base, tmp_path: Path) -> None:
    """A newer list in pki/crls stays the newer one, whatever the server still has."""
    made = make(base, tmp_path)
    carol = made.identity()
    made.issuing.revoked.append(carol.leaf.serial_number)
    own = made.live.state / "pki/crls/issuing.crl"
    own.parent.mkdir()
    own.write_bytes(made.issuing.crl())
    data = own.read_bytes()
    with made.served():
        # The root's list has to come before revocation of the leaf is all that is left to ask.
        made.until(REVOKED, carol)
        found = made.when(CRL, lambda one: one["failures"] != 0)
        assert found["problem"] == "the CRL is older than the one at hand"
        assert made.code(carol) == REVOKED
    assert own.read_bytes() == data
