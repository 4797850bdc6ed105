"""`kdc device`, and keys that are on a device."""

from pathlib import Path
from uuid import UUID

import pytest

from kdc.cli.errors import ExitCode
from tests.kdc.cli.conftest import Shell

LAPTOP = "8d2f0a52-5a8c-4f0e-9a53-0d1f2b3c4d5e"


@pytest.fixture
def laptop(realm: Shell) -> Shell:
    """Give a realm with one device, alice's."""
    realm.ok("device", "add", "Laptop", "--id", LAPTOP, "--owner", "alice")
    return realm


def test_device_is_added_shown_disabled_and_removed(laptop: Shell) -> None:
    """By its DeviceId, or by its name in any case."""
    (row,) = laptop.ok("device", "list", "--json").json
    assert (row["device_id"], row["name"], row["enabled"]) == (LAPTOP, "Laptop", True)
    assert row["owner"] == "alice" and row["owner_sid"].startswith("S-1-5-21-")
    assert "Laptop is disabled" in laptop.ok("device", "disable", "laptop").out
    assert "disabled: its keys log nobody on" in laptop.ok("device", "show", LAPTOP).out
    assert "disabled" in laptop.ok("device", "list").out
    laptop.ok("device", "enable", LAPTOP.upper())
    assert laptop.ok("device", "show", "Laptop", "--json").json["enabled"] is True
    done = laptop.ok("device", "remove", "Laptop")
    assert "registered still" in done.err
    assert laptop.ok("device", "list", "--json").json == []


def test_device_gets_a_number_of_its_own(realm: Shell) -> None:
    """Without --id; two devices may have one name, and are told apart by their numbers."""
    for _ in range(2):
        realm.ok("device", "add", "Phone")
    found = {UUID(row["device_id"]) for row in realm.ok("device", "list", "--json").json}
    assert len(found) == 2
    done = realm("device", "disable", "Phone")
    assert done.code == ExitCode.FAILED
    assert "several devices are named Phone" in done.err
    for device_id in found:
        realm.ok("device", "disable", str(device_id))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "nothing"), ExitCode.NOT_FOUND),
        (("enable", "00000000-0000-0000-0000-000000000001"), ExitCode.NOT_FOUND),
        (("remove", "nothing"), ExitCode.NOT_FOUND),
        (("add", "Other", "--id", LAPTOP), ExitCode.EXISTS),
        (("add", "x", "--owner", "nobody"), ExitCode.NOT_FOUND),
        (("add", "x", "--id", "7"), ExitCode.USAGE),
    ],
)
def test_command_that_cannot_be_done(
    laptop: Shell, arguments: tuple[str, ...], code: ExitCode
) -> None:
    """Three short lines and the exit code that scripts look at."""
    done = laptop("device", *arguments)
    assert done.code == code, done


def test_key_is_enrolled_on_a_device(laptop: Shell, tmp_path: Path) -> None:
    """The value says so; a device that is not there is a mistake."""
    laptop.ok("key", "enroll", "alice", "--device", LAPTOP, "--out", tmp_path / "a.pem")
    rows = laptop.ok("key", "list", "alice", "--json").json
    assert [row["device_id"] for row in rows] == [None, LAPTOP]
    missing = LAPTOP.replace("8", "9")
    done = laptop("key", "enroll", "alice", "--device", missing, "--out", tmp_path / "b.pem")
    assert done.code == ExitCode.NOT_FOUND and not (tmp_path / "b.pem").exists()
    laptop.ok("key", "remove", "alice", "--all")
    laptop.ok("key", "add", "alice", tmp_path / "a.pem", "--device", LAPTOP)
    assert "device" in laptop.ok("key", "show", rows[1]["key_id"][:16]).out


def test_certificate_on_a_disabled_device_is_said_to_be_refused(
    laptop: Shell, tmp_path: Path
) -> None:
    """The command judges as the KDC does."""
    pem = tmp_path / "a.pem"
    laptop.ok("key", "enroll", "alice", "--device", LAPTOP, "--out", pem)
    assert laptop.ok("cert", "show", pem, "--json").json["accepted"] is True
    laptop.ok("device", "disable", LAPTOP)
    shown = laptop.ok("cert", "show", pem, "--json").json
    assert (shown["accepted"], shown["code"]) == (False, "KDC_ERR_CLIENT_NOT_TRUSTED")
    assert shown["reasons"] == ["the device of the signer's key is disabled"]
