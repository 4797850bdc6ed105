"""`kdc doctor` on what the server fetches of other CAs' revocation data."""

from datetime import UTC, datetime, timedelta

from kdc.server.revocation.status import Source, encode_status
from kdc.state_folder import StateFolder
from tests.kdc.cli.conftest import Shell
from tests.kdc.cli.test_doctor import Line, examine


def test_revocation_data_that_cannot_be_fetched_is_told(realm: Shell) -> None:
    """One line for each address, bounded; what has ended fails where revocation is required."""
    folder, moment = StateFolder(realm.state), datetime.now(UTC)

    def write(*ends: timedelta) -> None:
        sources = [
            Source(
                key=str(n),
                kind="crl",
                urls=(f"http://pki.example.com/{n}.crl",),
                origin="kdc.toml",
                next_update=moment + end,
                failures=1,
                problem="no answer in time",
            )
            for n, end in enumerate(ends)
        ]
        folder.fetched_status.write_bytes(encode_status(sources, {}, moment))

    def look() -> list[Line]:
        found = examine(realm, "--no-logons")
        return [line for line in found if line[0] == "certificates.fetched"]

    assert look() == []
    write(timedelta(hours=1), -timedelta(hours=1))
    first, second = look()
    assert first[1:3] == (
        "warn",
        "http://pki.example.com/0.crl (of any CA): failing, no answer in time",
    )
    assert second[1:3] == (
        "fail",
        "http://pki.example.com/1.crl (of any CA): stale, no answer in time",
    )
    write(*[timedelta(hours=1)] * 7)
    lines = look()
    assert len(lines) == 6
    assert lines[-1][2] == "and 2 more"
    folder.fetched_status.write_bytes(encode_status((), {}, moment))
    assert look() == []
