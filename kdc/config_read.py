"""Reading `kdc.toml`: from its text to `KdcConfig`, and what is wrong with it by file and line."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdc.config import COMPAT_PROFILES, KEYS, ConfigError, KdcConfig
from kdc.config_values import BadValueError

MAX_CONFIG_BYTES = 1 << 20  # a hand-written file; anything larger is a mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """A configuration together with where each of its values comes from."""

    config: KdcConfig
    origins: Mapping[str, str]
    """Key -> `file:line`, `compat = windows`, `from realm` or `default`."""


MAX_STATEMENT_LINES = 400  # of one key; past it errors name the file without a line


def _key_lines(text: str) -> dict[str, int]:
    """Find the line on which each key or table of a TOML text starts; "table.key" inside a table.

    Assumes the text is valid TOML. A statement ends on the first line up to which it parses.
    """
    found: dict[str, int] = {}
    statement: list[str] = []
    table = ""
    for line_number, line in enumerate(text.split("\n"), 1):
        statement.append(line)
        if len(statement) > MAX_STATEMENT_LINES:
            break
        try:
            parsed = tomllib.loads("\n".join(statement))
        except tomllib.TOMLDecodeError:
            continue
        start = line_number - len(statement) + 1
        header = statement[0].lstrip().startswith("[")
        statement = []
        if header:
            table = ".".join(_path_of(parsed))
            found.setdefault(table, start)
            continue
        for name, value in parsed.items():
            full = f"{table}.{name}" if table else name
            found.setdefault(full, start)
            if isinstance(value, dict):  # a dotted key or an inline table
                for inner in value:
                    found.setdefault(f"{full}.{inner}", start)
    return found


def _path_of(header: dict[str, Any]) -> list[str]:
    """Return the names of a table header that was parsed alone: {"a": {"b": {}}} is a, b."""
    path: list[str] = []
    inner: object = header
    while isinstance(inner, dict) and inner:
        name = next(iter(inner))
        path.append(name)
        inner = inner[name]
    return path


def _flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the tables that exist into keys with a dot: `[cloud_trust] key_list` is one key."""
    tables = {name.partition(".")[0] for name in KEYS if "." in name}
    out: dict[str, Any] = {}
    for name, value in values.items():
        if name in tables and isinstance(value, dict):
            out.update({f"{name}.{inner}": item for inner, item in value.items()})
        else:
            out[name] = value
    return out


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, KEYS, n=1)
    return f"did you mean {close[0]!r}?" if close else "see conf/kdc.toml for every key"


def parse_toml(text: str, path: str) -> dict[str, Any]:
    """Parse TOML as `tomllib` does; path: for errors. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column \d+\)", str(error))
        why = re.sub(r"\s*\(at .*\)", "", str(error))
        raise ConfigError(
            path, int(at[1]) if at else None, "not TOML", why, "correct this line"
        ) from None
    except (ValueError, RecursionError):
        # tomllib (Python 3.11, 3.12) bounds neither nesting nor the digits of a number.
        why = "a number is too long or a list too deep"
        raise ConfigError(path, None, "not TOML that can be read", why, "shorten it") from None


def decode_config(data: bytes, path: str) -> str:
    """Decode the text of a configuration; path: for errors. Raises ConfigError."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            path, line, "not TOML", "the text is not UTF-8", "save the file as UTF-8"
        ) from None


def parse_config(text: str, path: str = "kdc.toml") -> LoadedConfig:
    """Read the text of a `kdc.toml`. Raises ConfigError."""
    values = parse_toml(text, path)
    lines = _key_lines(text)
    given: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, value in _flattened(values).items():
        key = KEYS.get(name)
        if key is None:
            raise ConfigError(
                path, lines.get(name), f"unknown key {name!r}", "no such setting", _nearest(name)
            )
        try:
            given[key.field] = key.read(value)
        except BadValueError as error:
            why, remedy = error.args
            raise ConfigError(
                path, lines.get(name), f"{name} has a value that it cannot have", why, remedy
            ) from None
        origins[name] = f"{path}:{lines.get(name, 1)}"
    if "realm" not in given:
        raise ConfigError(
            path, None, "realm is missing", "a KDC serves one realm", 'add realm = "LAB.TEST"'
        )
    _complete(given, origins)
    config = KdcConfig(**given)
    _check_together(config, path, lines)
    return LoadedConfig(config=config, origins=origins)


def _complete(given: dict[str, Any], origins: dict[str, str]) -> None:
    """Add what follows from other keys: the names from the realm, the switches from `compat`."""
    realm: str = given["realm"]
    for name, derived in (
        ("netbios", realm.partition(".")[0].replace("_", "-")[:15]),
        ("domain", realm.lower()),
    ):
        if name not in given:
            given[name], origins[name] = derived, "from realm"
    profile = given.get("compat", "strict")
    for name in KEYS:
        if name.startswith("legacy_") and name not in given and name in COMPAT_PROFILES[profile]:
            given[name], origins[name] = True, f"compat = {profile}"
        origins.setdefault(name, "default")


def _check_together(config: KdcConfig, path: str, lines: Mapping[str, int]) -> None:
    lone_tls = "http.tls_key" if config.http_tls_certificate is None else "http.tls_certificate"
    # Whether it is wrong, the keys (the first that is given is named by its line), what, why, do.
    for wrong, keys, what, why, remedy in (
        (
            (config.directory_sasl == "gssapi") != (config.directory_ccache is not None),
            ("directory.sasl", "directory.ccache"),
            'directory.sasl = "gssapi" and directory.ccache go together',
            "the mechanism needs a ticket, and nothing else uses the cache",
            "set both, or neither",
        ),
        (
            bool(set(config.listen) & set(config.kpasswd_addresses())),
            ("kpasswd_listen",),
            "kpasswd_listen names an address of listen",
            "the two services cannot share a port",
            "give kpasswd another port, 464 for instance",
        ),
        (
            0 < config.password_max_age_s < config.password_min_age_s,
            ("password_min_age", "password_max_age"),
            "password_min_age is longer than password_max_age",
            "a password would expire before it may be changed",
            "shorten the one or lengthen the other",
        ),
        (
            config.pkinit_dh_min_bits > config.pkinit_dh_max_bits,
            ("pkinit_dh_min_bits", "pkinit_dh_max_bits"),
            "pkinit_dh_min_bits is larger than pkinit_dh_max_bits",
            "no MODP group would be left, and every such logon refused",
            "lower the one or raise the other",
        ),
        (
            config.max_connections_per_source > config.max_connections,
            ("max_connections_per_source", "max_connections"),
            "max_connections_per_source is larger than max_connections",
            "one source could then use up every connection",
            "lower the one or raise the other",
        ),
        (
            (config.http_tls_certificate is None) != (config.http_tls_key is None),
            (lone_tls,),
            f"{lone_tls} stands alone",
            "a certificate is of use with its own key only",
            "give http.tls_certificate and http.tls_key, or neither",
        ),
    ):
        if wrong:
            line = next((lines[key] for key in keys if key in lines), None)
            raise ConfigError(path, line, what, why, remedy)


def load_config(path: Path) -> LoadedConfig:
    """Read a `kdc.toml`. Raises ConfigError, also when the file cannot be read."""
    shown = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            shown, None, "there is no configuration", "the file does not exist", "run kdc init"
        ) from None
    except OSError as error:
        raise ConfigError(
            shown,
            None,
            "the configuration cannot be read",
            error.strerror or "input/output error",
            "check the owner and the mode of the file",
        ) from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(
            shown, None, "the configuration is too large", "over 1 MiB", "check the file"
        )
    return parse_config(decode_config(data, shown), shown)
