"""A `kdc.toml` is a configuration, or a ConfigError with words for its author."""

from dataclasses import fields

from kdc.config import KEYS, ConfigError, KdcConfig
from kdc.config_read import parse_config
from kdc.config_values import format_address, format_duration, parse_address, parse_duration


def _read_values(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        pass
    else:
        assert parse_duration(format_duration(seconds)) == seconds
    try:
        host, port = parse_address(text)
    except ValueError:
        return
    assert parse_address(format_address(host, port)) == (host, port)


def one(data: bytes) -> None:
    """Read one file, and its first line as a duration and an address."""
    text = data.decode("utf-8", "replace")
    _read_values(text.partition("\n")[0][:200])
    try:
        loaded = parse_config(text)
    except ConfigError as error:
        assert error.what
        assert error.why
        assert error.remedy
        assert error.line is None or 1 <= error.line <= text.count("\n") + 1
        return
    assert loaded.config.realm == loaded.config.realm.upper()
    assert set(loaded.origins) >= set(KEYS)
    assert {f.name for f in fields(KdcConfig)} == {key.field for key in KEYS.values()}
