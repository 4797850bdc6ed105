"""The realm's configuration: `kdc.toml` read into one frozen value, and where its files are.

Rules. A key that is not known is an error with file and line, because a misspelt limit is a limit
that is not there. Names are MIT's where the thing is the same; a unit is in the name of the field
(`max_life_s`), never in that of the key (`max_life`). Every key is documented once, in
`conf/kdc.toml`; a test keeps that file, `KEYS` and `KdcConfig` in step.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

Compat = Literal["strict", "windows", "tools"]
DhReuse = Literal["off", "keys", "replies"]
RocaPolicy = Literal["block", "audit", "ignore"]
AuditFailure = Literal["refuse", "count"]

COMPAT_PROFILES: Mapping[str, frozenset[str]] = {
    "strict": frozenset(),
    # Windows before 11 24H2 signs the AuthPack with SHA-1.
    "windows": frozenset({"legacy_sha1_cms"}),
    # The impacket family hard-codes the 1024-bit group 2, reads the NT hash out of the PAC, and
    # asks for service tickets without a checksum of the request.
    "tools": frozenset(
        {"legacy_sha1_cms", "legacy_dh_group2", "legacy_ntlm", "legacy_tgs_checksum"}
    ),
}
"""What each `compat` profile turns on. A `legacy_` key in the file overrides its profile."""

ENCTYPE_NAMES: Mapping[str, int] = {
    "aes128-cts-hmac-sha1-96": 17,
    "aes128-cts": 17,
    "aes128-sha1": 17,
    "aes256-cts-hmac-sha1-96": 18,
    "aes256-cts": 18,
    "aes256-sha1": 18,
    "aes128-cts-hmac-sha256-128": 19,
    "aes128-sha2": 19,
    "aes256-cts-hmac-sha384-192": 20,
    "aes256-sha2": 20,
}
"""MIT's names of the encryption types that exist here; the first of each number is its own."""

MAX_CONFIG_BYTES = 1 << 20  # a hand-written file; anything larger is a mistake
MAX_LIFE_S = 10 * 365 * 86400  # longer than any account's key should live
MAX_SKEW_S = 86400


DEFAULT_LISTEN = ("127.0.0.1:88", "[::1]:88")


@dataclass(slots=True)
class ConfigError(Exception):
    """The configuration cannot be used. The three texts are made to be shown to its author."""

    path: str
    line: int | None
    """1-based; None when no one line is at fault."""
    what: str
    why: str
    remedy: str

    @property
    def place(self) -> str:
        """`file:line`, or `file` alone."""
        return self.path if self.line is None else f"{self.path}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KdcConfig:
    """Everything a realm's owner may decide, with its default. Documented in `conf/kdc.toml`."""

    realm: str
    netbios: str
    domain: str
    listen: tuple[str, ...] = DEFAULT_LISTEN
    workers: int = 0
    max_life_s: int = 36000
    max_renewable_life_s: int = 604800
    clockskew_s: int = 300
    supported_enctypes: tuple[int, ...] = (18, 17, 20, 19)
    pkinit_require_freshness: bool = False
    pkinit_dh_min_bits: int = 2048
    dh_reuse: DhReuse = "keys"
    dh_key_life_s: int = 120
    max_dgram_reply_size: int = 4096
    hide_unknown: bool = False
    roca_policy: RocaPolicy = "block"
    keycredential_check_keyid: bool = True
    require_device_object: bool = False
    implicit_dollar: bool = True
    pac: bool = True
    compat: Compat = "strict"
    legacy_sha1_cms: bool = False
    legacy_sha1_cert: bool = False
    legacy_dh_group2: bool = False
    legacy_rc4: bool = False
    legacy_ntlm: bool = False
    legacy_rsa_reply: bool = False
    legacy_tgs_checksum: bool = False
    cms_require_content_type: bool = True
    lockout_threshold: int = 10
    lockout_window_s: int = 600
    lockout_duration_s: int = 600
    audit_failure: AuditFailure = "count"
    record_refusals: bool = True
    max_connections: int = 4096
    max_connections_per_source: int = 64
    udp_reply_budget: int = 131072
    exempt_sources: tuple[str, ...] = ()
    trusted_secret_paths: tuple[str, ...] = ()
    ca_key: str | None = None

    def weak_forms(self) -> tuple[str, ...]:
        """Names of the `legacy_` switches that are on, as listed when the server starts."""
        names = (f.name for f in fields(self) if f.name.startswith("legacy_"))
        return tuple(name for name in names if getattr(self, name))


# -- values ----------------------------------------------------------------------------------


class _BadValueError(Exception):
    """A value that its key does not take; (why, remedy)."""


def _bad(why: str, remedy: str) -> NoReturn:
    raise _BadValueError(why, remedy)


_DURATION = re.compile(r"(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s?)?", re.ASCII)
_CLOCK = re.compile(r"(\d+):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_REALM = re.compile(r"[A-Z0-9]([A-Z0-9._-]{0,253}[A-Z0-9])?", re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?", re.ASCII)
_NETBIOS = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,14}", re.ASCII)


def parse_duration(text: str) -> int:
    """Read a duration as MIT writes it: `10h`, `7d`, `1d12h`, `5m`, `90s`, `90`, `10:30`; seconds.

    Raises ValueError.
    """
    text = text.strip().lower()
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError("not a duration")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def format_duration(seconds: int) -> str:
    """Write seconds in the largest unit that divides them: 36000 is `10h`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def parse_address(text: str) -> tuple[str, int]:
    """Read `127.0.0.1:88`, `[::1]:88` or `*:88` (every address) as (address, port).

    Raises ValueError.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError("no port between 1 and 65535")
    if host == "*":
        return host, int(port)
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    return str(ipaddress.IPv4Address(host)), int(port)


def format_address(host: str, port: int) -> str:
    """Write an address and a port as `parse_address` reads them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def enctype_name(etype: int) -> str:
    """Give MIT's name of an encryption type, or its number."""
    return next((name for name, number in ENCTYPE_NAMES.items() if number == etype), str(etype))


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        _bad("it is true or false", "write true or false, without quotes")
    return value


def _number(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            _bad(f"it is a number from {low} to {high}", "write such a number, without quotes")
        return value

    return read


def _zero_or(read: Callable[[object], int]) -> Callable[[object], int]:
    """Read a number that may also be 0, which turns its key off."""
    return lambda value: 0 if value == 0 and not isinstance(value, bool) else read(value)


def _duration(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        remedy = 'write it as "10h", "7d", "5m", "90s" or a number of seconds'
        if isinstance(value, bool) or not isinstance(value, int | str):
            _bad("it is a duration", remedy)
        try:
            seconds = value if isinstance(value, int) else parse_duration(value)
        except ValueError:
            _bad("it is a duration", remedy)
        if not low <= seconds <= high:
            _bad(f"it lies between {format_duration(low)} and {format_duration(high)}", remedy)
        return seconds

    return read


def _text(pattern: re.Pattern[str], why: str, remedy: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            _bad(why, remedy)
        return value

    return read


def _one_of(kind: Any) -> Callable[[object], str]:
    allowed: tuple[str, ...] = get_args(kind)

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            _bad("it is one of " + ", ".join(allowed), f'write for example "{allowed[0]}"')
        return value

    return read


def _strings(value: object, remedy: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        _bad("it is a list of strings", remedy)
    return tuple(value)


def _listen(value: object) -> tuple[str, ...]:
    remedy = 'write it as ["127.0.0.1:88", "[::1]:88"]'
    found = _strings(value, remedy)
    if not found:
        _bad("a KDC listens on at least one address", remedy)
    out = []
    for item in found:
        try:
            out.append(format_address(*parse_address(item)))
        except ValueError:
            _bad(f"{item!r} is not an address and a port", remedy)
    return tuple(dict.fromkeys(out))


def _enctypes(value: object) -> tuple[int, ...]:
    remedy = "choose among " + ", ".join(enctype_name(etype) for etype in (18, 17, 20, 19))
    # MIT's own form is one string, each name with an optional ":salttype".
    names = value.split() if isinstance(value, str) else _strings(value, remedy)
    out = []
    for name in names:
        etype = ENCTYPE_NAMES.get(name.partition(":")[0].lower())
        if etype is None:
            _bad(f"{name!r} is not an encryption type of this KDC", remedy)
        out.append(etype)
    if not out:
        _bad("a KDC needs at least one encryption type", remedy)
    return tuple(dict.fromkeys(out))


def _networks(value: object) -> tuple[str, ...]:
    remedy = 'write it as ["192.0.2.0/24", "2001:db8::/32"]'
    try:
        return tuple(str(ipaddress.ip_network(item)) for item in _strings(value, remedy))
    except ValueError:
        _bad("it is a list of networks", remedy)


def _paths(value: object) -> tuple[str, ...]:
    remedy = 'write it as ["/run/credentials/keytrust-kdc.service"]'
    found = _strings(value, remedy)
    if not all(os.path.isabs(item) for item in found):
        _bad("it is a list of absolute paths", remedy)
    return found


def _path(value: object) -> str:
    if not isinstance(value, str) or not value:
        _bad("it is a path", 'write it as "/etc/keytrust/ca.key"')
    return value


@dataclass(frozen=True, slots=True)
class Key:
    """One key of `kdc.toml`."""

    name: str
    field: str
    """The field of KdcConfig it sets."""
    read: Callable[[object], Any]


def _key(name: str, read: Callable[[object], Any], field: str | None = None) -> Key:
    return Key(name, field or name, read)


KEYS: Mapping[str, Key] = {
    key.name: key
    for key in (
        _key(
            "realm",
            _text(_REALM, "it is a realm name in upper case", 'write it as "LAB.TEST"'),
        ),
        _key(
            "netbios",
            _text(_NETBIOS, "it is at most 15 upper-case characters", 'write it as "LAB"'),
        ),
        _key(
            "domain",
            _text(_DOMAIN, "it is a DNS name in lower case", 'write it as "lab.test"'),
        ),
        _key("listen", _listen),
        _key("workers", _number(0, 256)),
        _key("max_life", _duration(60, MAX_LIFE_S), "max_life_s"),
        _key("max_renewable_life", _duration(0, MAX_LIFE_S), "max_renewable_life_s"),
        _key("clockskew", _duration(1, MAX_SKEW_S), "clockskew_s"),
        _key("supported_enctypes", _enctypes),
        _key("pkinit_require_freshness", _boolean),
        _key("pkinit_dh_min_bits", _number(2048, 4096)),
        _key("dh_reuse", _one_of(DhReuse)),
        _key("dh_key_life", _duration(1, 3600), "dh_key_life_s"),
        # 512 holds any KRB-ERROR; 65507 is the most that UDP over IPv4 carries.
        _key("kdc_max_dgram_reply_size", _number(512, 65507), "max_dgram_reply_size"),
        _key("hide_unknown", _boolean),
        _key("roca_policy", _one_of(RocaPolicy)),
        _key("keycredential_check_keyid", _boolean),
        _key("require_device_object", _boolean),
        _key("implicit_dollar", _boolean),
        _key("pac", _boolean),
        _key("compat", _one_of(Compat)),
        _key("legacy_sha1_cms", _boolean),
        _key("legacy_sha1_cert", _boolean),
        _key("legacy_dh_group2", _boolean),
        _key("legacy_rc4", _boolean),
        _key("legacy_ntlm", _boolean),
        _key("legacy_rsa_reply", _boolean),
        _key("legacy_tgs_checksum", _boolean),
        _key("cms_require_content_type", _boolean),
        _key("lockout_threshold", _number(0, 1000)),
        _key("lockout_window", _duration(1, MAX_LIFE_S), "lockout_window_s"),
        _key("lockout_duration", _duration(0, MAX_LIFE_S), "lockout_duration_s"),
        _key("audit_failure", _one_of(AuditFailure)),
        _key("record_refusals", _boolean),
        _key("max_connections", _number(1, 1_000_000)),
        _key("max_connections_per_source", _number(1, 1_000_000)),
        # Below 16 KiB/s a single logon could spend a network's budget.
        _key("udp_reply_budget", _zero_or(_number(16384, 1 << 30))),
        _key("exempt_sources", _networks),
        _key("trusted_secret_paths", _paths),
        _key("ca_key", _path),
    )
}
"""Every key of `kdc.toml`, by its name, in the order of `conf/kdc.toml`."""


# -- reading ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """A configuration together with where each of its values comes from."""

    config: KdcConfig
    origins: Mapping[str, str]
    """Key -> `file:line`, `compat = windows`, `from realm` or `default`."""


def _key_lines(text: str) -> dict[str, int]:
    """Find the line on which each top-level key or table of a TOML text starts.

    Assumes the text is valid TOML. A statement ends on the first line up to which it parses.
    """
    found: dict[str, int] = {}
    statement, start, in_table = "", 1, False
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        in_table = in_table or statement.lstrip().startswith("[")
        for name in parsed:
            if statement.lstrip().startswith("[") or not in_table:
                found.setdefault(name, start)
        statement, start = "", number + 1
    return found


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, KEYS, n=1)
    return f"did you mean {close[0]!r}?" if close else "see conf/kdc.toml for every key"


def parse_config(text: str, path: str = "kdc.toml") -> LoadedConfig:
    """Read the text of a `kdc.toml`. Raises ConfigError."""
    try:
        values = tomllib.loads(text)
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
    lines = _key_lines(text)
    given: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, value in values.items():
        key = KEYS.get(name)
        if key is None:
            raise ConfigError(
                path, lines.get(name), f"unknown key {name!r}", "no such setting", _nearest(name)
            )
        try:
            given[key.field] = key.read(value)
        except _BadValueError as error:
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
    if config.max_connections_per_source > config.max_connections:
        raise ConfigError(
            path,
            lines.get("max_connections_per_source", lines.get("max_connections")),
            "max_connections_per_source is larger than max_connections",
            "one source could then use up every connection",
            "lower the one or raise the other",
        )


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
    try:
        return parse_config(data.decode(), shown)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            shown, line, "not TOML", "the text is not UTF-8", "save the file as UTF-8"
        ) from None
