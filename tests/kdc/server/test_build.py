"""What a worker holds, and what a reload changes of it."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kdc.cli.main import run
from kdc.config import ConfigError
from kdc.outcome import Outcome
from kdc.server.build import DirectoryAlarms, RealmHandler, build_handler, load_signers
from kdc.state_folder import StateFolder


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """A realm as `kdc init` makes it."""
    root = tmp_path / "realm"
    assert run(["--state", str(root), "init", "--realm", "LAB.TEST"]) == 0
    return StateFolder(root)


@pytest.fixture
def handler(folder: StateFolder) -> Iterator[RealmHandler]:
    """A worker's handler for it."""
    made = build_handler(folder.root)
    yield made
    made.close()


def _add(folder: StateFolder, line: str) -> None:
    folder.kdc_toml.write_text(folder.kdc_toml.read_text() + line + "\n")


def test_a_vanished_certificate_does_not_end_pkinit_on_reload(
    folder: StateFolder, handler: RealmHandler
) -> None:
    """A file that is gone while loaded counts as wrong: the old configuration stays."""
    before = handler.realm
    folder.kdc_certificate.rename(folder.pki / "elsewhere.pem")
    with pytest.raises(ConfigError) as caught:
        handler.reload()
    assert "certificate is gone" in caught.value.what
    assert handler.realm is before
    assert before.signers


@pytest.mark.parametrize("fetching", [True, False])
def test_leaves_are_told_only_where_revocation_data_is_fetched(
    folder: StateFolder, *, fetching: bool
) -> None:
    """Also after a reload; without a reader each would cost a logon a failed system call."""
    _add(folder, f"fetch_revocation = {str(fetching).lower()}")
    handler = build_handler(folder.root)
    handler.tell_leaves(lambda leaf: None)
    for _ in range(2):
        trust = handler.realm.certificates
        assert trust is not None
        assert (trust.seen is not None) is fetching
        handler.reload()
    handler.close()


def test_a_bad_file_leaves_everything_as_it_was(folder: StateFolder, handler: RealmHandler) -> None:
    """Row S05: an unknown key is an error, and the running configuration stays."""
    before = handler.realm
    _add(folder, "max_lief = 5")
    with pytest.raises(ConfigError):
        handler.reload()
    assert handler.realm is before


def test_weak_forms_that_a_reload_turns_on_are_listed(
    folder: StateFolder, handler: RealmHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """They are listed at the start, so they are listed when they come later."""
    _add(folder, "legacy_dh_group2 = true")
    with caplog.at_level(logging.WARNING):
        handler.reload()
    assert any("legacy_dh_group2" in record.getMessage() for record in caplog.records)
    assert [group.name for group in handler.realm.groups][-1] == "modp2"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("workers = 7", "workers"),
        ("udp_reply_budget = 0", "udp_reply_budget"),
        ("ca_renewal = false", "ca_renewal"),
    ],
)
def test_what_waits_for_a_restart_is_said(
    folder: StateFolder,
    handler: RealmHandler,
    caplog: pytest.LogCaptureFixture,
    line: str,
    field: str,
) -> None:
    """Sockets, processes and what they share are made once."""
    _add(folder, line)
    with caplog.at_level(logging.WARNING):
        handler.reload()
    assert any(f"waits for a restart: {field}" in r.getMessage() for r in caplog.records)


def test_refusals_are_recorded_until_that_is_switched_off(
    folder: StateFolder, handler: RealmHandler
) -> None:
    """`record_refusals` decides, also on reload."""
    assert folder.refusals.exists()
    folder.refusals.unlink()
    _add(folder, "record_refusals = false")
    handler.reload()
    assert not folder.refusals.exists()


def test_alarm_names_the_accounts(
    folder: StateFolder, handler: RealmHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """Row K07: whoever reads the log knows names, not numbers; once an hour is enough."""
    for name in ("alice", "bob"):
        assert run(["--state", str(folder.root), "user", "add", name]) == 0
    directory = handler.realm.directory
    directory.refresh()
    found = [directory.account_by_name(name) for name in ("alice", "bob")]
    numbers = [account.account_id for account in found if account is not None]
    outcome = Outcome(
        reply=b"",
        exchange="AS",
        code=62,
        why="the key is on several accounts",
        reference="",
        facts={"alarm": "shared key", "key_digest": "00ff", "account_ids": (*numbers, 999)},
    )
    alarms = DirectoryAlarms(directory)
    for _ in range(2):
        alarms.notice(outcome, datetime(2026, 1, 1, tzinfo=UTC))
    (record,) = [r for r in caplog.records if "alarm" in r.getMessage()]
    assert record.getMessage() == (
        "alarm: shared key (key digest 00ff, accounts: alice, bob, number 999)"
    )


def test_certificate_that_is_meant_to_lack_a_name_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Compat = tools leaves id-pkinit-san out; a strict realm with that certificate is warned."""
    folder = StateFolder(tmp_path / "tools")
    arguments = ["--state", str(folder.root), "init", "--realm", "LAB.TEST", "--compat", "tools"]
    assert run(arguments) == 0
    config = folder.load_config().config
    with caplog.at_level(logging.INFO):
        load_signers(folder, config)
        load_signers(folder, replace(config, compat="strict"))
    (meant, missing) = [r for r in caplog.records if "id-pkinit-san" in r.getMessage()]
    assert (meant.levelno, missing.levelno) == (logging.INFO, logging.WARNING)
    assert meant.getMessage().endswith("left out on purpose by compat = tools")
