"""What a worker holds, and what a reload changes of it."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdc.cli.main import run
from kdc.config import ConfigError
from kdc.server.build import RealmHandler, build_handler
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


def test_what_waits_for_a_restart_is_said(
    folder: StateFolder, handler: RealmHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """Sockets and processes are made once."""
    _add(folder, "workers = 7")
    with caplog.at_level(logging.WARNING):
        handler.reload()
    assert any("waits for a restart: workers" in r.getMessage() for r in caplog.records)


def test_refusals_are_recorded_until_that_is_switched_off(
    folder: StateFolder, handler: RealmHandler
) -> None:
    """`record_refusals` decides, also on reload."""
    assert folder.refusals.exists()
    folder.refusals.unlink()
    _add(folder, "record_refusals = false")
    handler.reload()
    assert not folder.refusals.exists()
