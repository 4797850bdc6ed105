"""`kdc config`: what is in force, and why."""

from pathlib import Path

from kdc.cli.errors import ExitCode
from kdc.config import KEYS
from kdc.config_read import parse_config
from tests.kdc.cli.conftest import Shell


def test_check_says_good_or_78(realm: Shell, tmp_path: Path) -> None:
    """The realm's file, or another before it takes its place."""
    assert "is good: realm LAB.TEST" in realm.ok("config", "check").out
    other = tmp_path / "new.toml"
    other.write_text('realm = "LAB.TEST"\ncompat = "windows"\nlegacy_rc4 = true\n')
    said = realm.ok("config", "check", other).out
    assert "weak form accepted: legacy_sha1_cms" in said
    assert "no effect in this version: legacy_rc4" in said
    other.write_text('realm = "LAB.TEST"\nworkers = "two"\n')
    done = realm("config", "check", other)
    assert done.code == ExitCode.CONFIGURATION
    assert done.error[0] == f"{other}:2: workers has a value that it cannot have"


def test_what_is_shown_is_a_configuration(realm: Shell) -> None:
    """The output can be used as kdc.toml."""
    shown = realm.ok("config", "show").out
    assert parse_config(shown).config == parse_config((realm.state / "kdc.toml").read_text()).config


def test_origin_of_every_key(realm: Shell) -> None:
    """File and line, or default."""
    shown = realm.ok("config", "show", "--origin", "--json").json
    assert list(shown) == list(KEYS)
    assert shown["realm"]["origin"].startswith(f"{realm.state}/kdc.toml:")
    assert shown["max_life"] == {"value": "10h", "origin": "default"}
    assert "from realm" in realm.ok("config", "show", "--origin").out
