"""`kdc cert fetched`: what the server fetches, as people and as scripts read it."""

from datetime import UTC, datetime, timedelta

from kdc.server.revocation.status import Source, encode_status
from kdc.state_folder import StateFolder
from tests.kdc.cli.conftest import Shell


def _write(realm: Shell) -> None:
    moment = datetime.now(UTC)
    sources = [
        Source(
            key="1",
            kind="crl",
            urls=("http://pki.example.com/ca.crl",),
            origin="CA certificate",
            issuer_name="CN=Root",
            next_update=moment + timedelta(hours=1),
            number="7",
        ),
        Source(
            key="2",
            kind="ocsp",
            urls=("http://pki.example.com/ocsp",),
            origin="logon certificate",
            issuer_name="CN=Issuing",
            serial_number="ab12",
            failures=2,
            problem="no connection",
        ),
    ]
    StateFolder(realm.state).fetched_status.write_bytes(encode_status(sources, {}, moment))


def test_nothing_is_fetched_and_why(realm: Shell) -> None:
    """A file that is not there, or none of ours, is no error."""
    assert "nothing is named to be fetched" in realm.ok("cert", "fetched").out
    StateFolder(realm.state).fetched_status.write_text("{")
    assert realm.ok("cert", "fetched", "--json").json == []
    toml = realm.state / "kdc.toml"
    toml.write_text("fetch_revocation = false\n" + toml.read_text())
    assert "fetch_revocation is false" in realm.ok("cert", "fetched").out


def test_each_source_is_a_line(realm: Shell) -> None:
    """What, of whom, how it stands and why, where."""
    _write(realm)
    shown = realm.ok("cert", "fetched").out
    assert "CN=Root" in shown
    assert "OCSP ab12" in shown
    assert "missing: no connection" in shown


def test_json_has_every_source(realm: Shell) -> None:
    """Keys are stable, and stand in the help."""
    _write(realm)
    first, second = realm.ok("cert", "fetched", "--json").json
    assert (first["kind"], first["condition"], first["number"]) == ("crl", "current", "7")
    assert (second["condition"], second["failures"], second["named_by"]) == (
        "missing",
        2,
        "logon certificate",
    )
    text = realm.ok("cert", "fetched", "--help").out
    assert [key for key in first if key not in text] == []
