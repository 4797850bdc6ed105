"""`tenant.toml`: what it may hold, and `TenantConfig`, which everything reads.

The file is read by `load_config`; what is wrong in it is said with the file's name and the key,
and with the line where it is no TOML at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

from kdc.config import ConfigError
from kdc.config_read import decode_config, parse_toml
from kdc.config_values import (
    BadValueError,
    bad_value,
    boolean,
    number,
    one_of,
    parse_address,
    strings,
)

MAX_CONFIG_BYTES: Final = 64 * 1024

DEFAULT_LISTEN: Final = "127.0.0.1:8443"
DEFAULT_PROXY: Final = "127.0.0.1:8444"

AttestationSetting = Literal["checked", "required", "noted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantConfig:
    """The settings of a tenant. Times are in seconds."""

    tenant_id: UUID
    domain: str
    """DNS name of the domain whose users these are, in lower case: lab.test."""
    kdc_state: str | None = None
    """State folder of the KDC, for `tenant sync`; relative to the tenant's own."""
    listen: str = DEFAULT_LISTEN
    """Where HTTPS is served."""
    proxy: str = DEFAULT_PROXY
    """Where CONNECT is taken, for clients that are pointed here by HTTPS_PROXY."""
    mfa_freshness_s: int = 600
    """How old a second factor may be when a key is registered (seed P1, phase C)."""
    nonce_life_s: int = 300
    access_token_life_s: int = 3600
    refresh_token_life_s: int = 86400
    refresh_token_rotation: bool = True
    """A refresh token ends with its use; false: it stays valid beside its successor, as Entra's."""
    prt_life_s: int = 14 * 86400
    device_code_life_s: int = 900
    hybrid_clock_window_s: int = 300
    """How far the time in a hybrid join's signed SID may be off."""
    attestation: AttestationSetting = "checked"
    """Of keys and devices: `checked`, `required` or `noted` (tenant.keys.evidence)."""
    sync_users: tuple[str, ...] = ("*",)
    """Which users `tenant sync` takes up: sAMAccountName, with * and ?."""
    sync_users_base: str | None = None
    """Only users below this DN."""
    sync_server: str | None = None
    """URL of one server of the directory, in the place of those of the KDC."""
    sync_bind_dn: str | None = None
    """Whom `tenant sync` logs on to an LDAP directory as; None: who asks is known by the socket."""
    sync_bind_password_file: str | None = None
    """Relative to the tenant's folder; mode 0600."""
    sync_device_writeback: bool = True
    """Write device objects into the directory."""
    sync_disable_limit: int = 20
    """How many of a hundred synced users or devices one run may disable for being gone."""


Reader = Callable[[object], object]


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 4096 or not value.isprintable():
        bad_value("it is a text", "write it in quotes")
    return value


def _guid(value: object) -> UUID:
    try:
        return UUID(_text(value))
    except ValueError:
        bad_value("it is a GUID", 'write it as "01234567-89ab-cdef-0123-456789abcdef"')


def _domain(value: object) -> str:
    text = _text(value)
    if not text.isascii() or "." not in text or text != text.lower() or " " in text:
        bad_value("it is the DNS name of a domain", 'write it as "lab.test", in lower case')
    return text


def _address(value: object) -> str:
    text = _text(value)
    try:
        parse_address(text)
    except ValueError:
        bad_value("it is an address with a port", 'write it as "127.0.0.1:8443"')
    return text


def _patterns(value: object) -> tuple[str, ...]:
    remedy = 'write it as ["*"] or ["alice", "lab-*"]'
    found = strings(value, remedy)
    if not found or not all(0 < len(item) <= 256 and item.isprintable() for item in found):
        bad_value("it is a list of names, with * and ?", remedy)
    return found


KEYS: Final[Mapping[str, Reader]] = {
    "tenant_id": _guid,
    "domain": _domain,
    "kdc_state": _text,
    "listen": _address,
    "proxy": _address,
    "mfa_freshness_s": number(1, 86400),
    "nonce_life_s": number(5, 3600),
    "access_token_life_s": number(60, 86400),
    "refresh_token_life_s": number(60, 90 * 86400),
    "refresh_token_rotation": boolean,
    "prt_life_s": number(60, 90 * 86400),
    "device_code_life_s": number(10, 3600),
    "hybrid_clock_window_s": number(1, 86400),
    "attestation": one_of(AttestationSetting),
    "sync_users": _patterns,
    "sync_users_base": _text,
    "sync_server": _text,
    "sync_bind_dn": _text,
    "sync_bind_password_file": _text,
    "sync_device_writeback": boolean,
    "sync_disable_limit": number(1, 100),
}
"""Key -> reader of its value; each is a field of TenantConfig."""


def load_config(path: Path) -> TenantConfig:
    """Read `tenant.toml`. Raises ConfigError, also when there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            str(path),
            None,
            "there is no tenant here",
            "the file does not exist",
            "name the tenant's folder with --state DIR or TENANT_STATE, or make one: tenant init",
        ) from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(str(path), None, "it cannot be read", "it is too large", "shorten it")
    return parse_config(data, str(path))


def parse_config(data: bytes, name: str) -> TenantConfig:
    """Read the text of `tenant.toml`; name: for errors. Raises ConfigError."""
    values = parse_toml(decode_config(data, name), name)
    for key in values:
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise ConfigError(name, None, f"{key} is no key of it", "unknown key", f"keys: {known}")
    found: dict[str, object] = {}
    for key, reader in KEYS.items():
        if key not in values:
            continue
        try:
            found[key] = reader(values[key])
        except BadValueError as error:
            why, remedy = error.args
            raise ConfigError(name, None, f"{key} cannot be used", why, remedy) from None
    for key in ("tenant_id", "domain"):
        if key not in found:
            raise ConfigError(name, None, f"{key} is missing", "every tenant has one", "add it")
    return TenantConfig(**found)  # type: ignore[arg-type]  # each reader returns its field's type
