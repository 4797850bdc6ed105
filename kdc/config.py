"""The realm's configuration: every key of `kdc.toml`, and the one frozen value they make.

`config_read` reads the file.

Rules. A key that is not known is an error with file and line, because a misspelt limit is a limit
that is not there. Names are MIT's where the thing is the same; a unit is in the name of the field
(`max_life_s`), never in that of the key (`max_life`). Every key is documented once, in
`conf/kdc.toml`; a test keeps that file, `KEYS` and `KdcConfig` in step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from directory.ldap.settings import Flavour, Sasl
from kdc.config_values import (
    DN,
    DN_HELP,
    DOMAIN,
    HTTP_URL,
    HTTP_URL_HELP,
    NETBIOS,
    REALM,
    absolute_paths,
    boolean,
    duration,
    enctypes,
    fetch_urls,
    key_source,
    ldap_urls,
    listen_addresses,
    networks,
    none_or,
    number,
    one_of,
    path_text,
    path_texts,
    text_like,
    zero_or,
)

PrivilegedKeys = Literal["any", "device"]
Compat = Literal["strict", "windows", "tools"]
DhReuse = Literal["off", "keys", "replies"]
RocaPolicy = Literal["block", "audit", "ignore"]
EkuChecking = Literal["windows", "kpClientAuth", "none"]
Revocation = Literal["require", "soft", "off"]
StrongMapping = Literal["full", "compatibility", "none"]
AuditFailure = Literal["refuse", "count"]
Consistency = Literal["replica", "read_through"]
KeyListSwitch = Literal["off", "on"]

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

MAX_LIFE_S = 10 * 365 * 86400  # longer than any account's key should live
MAX_SKEW_S = 86400


DEFAULT_LISTEN = ("127.0.0.1:88", "[::1]:88")
KDC_PORT, KPASSWD_PORT = 88, 464


def kpasswd_beside(listen: tuple[str, ...]) -> tuple[str, ...]:
    """Return port 464 of each address that has port 88: where clients look for kpasswd."""
    hosts = (address.removesuffix(f":{KDC_PORT}") for address in listen)
    return tuple(
        f"{host}:{KPASSWD_PORT}"
        for host, address in zip(hosts, listen, strict=True)
        if host != address
    )


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


WITHOUT_EFFECT: Final = frozenset({"legacy_rc4"})
"""Switches for what is not built yet. A test finds the one that is used and still listed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KdcConfig:
    """Everything a realm's owner may decide, with its default. Documented in `conf/kdc.toml`."""

    realm: str
    netbios: str
    domain: str
    listen: tuple[str, ...] = DEFAULT_LISTEN
    kpasswd_listen: tuple[str, ...] | None = None
    workers: int = 0
    max_life_s: int = 36000
    max_renewable_life_s: int = 604800
    clockskew_s: int = 300
    supported_enctypes: tuple[int, ...] = (18, 17, 20, 19)
    pkinit_require_freshness: bool = False
    pkinit_dh_min_bits: int = 2048
    pkinit_dh_max_bits: int = 4096
    dh_reuse: DhReuse = "keys"
    dh_key_life_s: int = 120
    max_dgram_reply_size: int = 4096
    hide_unknown: bool = False
    require_fast: bool = False
    roca_policy: RocaPolicy = "block"
    keycredential_check_keyid: bool = True
    require_device_object: bool = False
    privileged_keys: PrivilegedKeys = "any"
    implicit_dollar: bool = True
    pac: bool = True
    logon_cas: tuple[str, ...] = ()
    pkinit_eku_checking: EkuChecking = "windows"
    revocation: Revocation = "require"
    fetch_revocation: bool = True
    crl_urls: tuple[str, ...] = ()
    fetch_interval_s: int = 3600
    fetch_networks: tuple[str, ...] = ()
    strong_mapping: StrongMapping = "full"
    certificate_backdating_s: int = 600
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
    password_min_length: int = 8
    password_min_classes: int = 3
    password_history: int = 24
    password_min_age_s: int = 0
    password_max_age_s: int = 0
    kpasswd_admin_reset: bool = False
    cloud_trust_key_list: KeyListSwitch = "off"
    cloud_trust_deny_admin_count: bool = True
    audit_failure: AuditFailure = "count"
    record_refusals: bool = True
    max_connections: int = 4096
    max_connections_per_source: int = 64
    udp_reply_budget: int = 131072
    exempt_sources: tuple[str, ...] = ()
    trusted_secret_paths: tuple[str, ...] = ()
    ca_key: str | None = None
    ca_renewal: bool = True
    cdp_url: str | None = None
    http_listen: tuple[str, ...] = ()
    http_url: str | None = None
    http_tls_certificate: str | None = None
    http_tls_key: str | None = None
    kkdcp_listen: tuple[str, ...] = ()
    kkdcp_trusted_proxies: tuple[str, ...] = ()
    directory_url: tuple[str, ...] = ()
    directory_flavour: Flavour = "openldap"
    directory_base: str | None = None
    directory_ca_file: str | None = None
    directory_starttls: bool = False
    directory_bind_dn: str | None = None
    directory_bind_password_file: str | None = None
    directory_sasl: Sasl = "none"
    directory_ccache: str | None = None
    directory_key_source: str = "local"
    directory_page_size: int = 1000
    directory_poll_interval_s: int = 1
    directory_compare_interval_s: int = 0
    directory_miss_rate: int = 50
    consistency: Consistency = "replica"
    max_staleness_s: int = 86400

    def kpasswd_addresses(self) -> tuple[str, ...]:
        """Where passwords are changed: as configured, else port 464 beside each port 88.

        Nowhere for a realm in LDAP: its passwords are changed where they live.
        """
        if self.directory_url:
            return ()
        if self.kpasswd_listen is not None:
            return self.kpasswd_listen
        return kpasswd_beside(self.listen)

    def weak_forms(self) -> tuple[str, ...]:
        """List what is accepted beyond the strict default, as said when the server starts.

        The `legacy_` switches that are on, and certificate trust that is less than strict.
        """
        found = [name for name in self._legacy() if name not in WITHOUT_EFFECT]
        if self.strong_mapping != "full":
            found.append(f"strong_mapping = {self.strong_mapping}")
        if self.revocation != "require":
            found.append(f"revocation = {self.revocation}")
        if self.pkinit_eku_checking == "none":
            found.append("pkinit_eku_checking = none")
        return tuple(found)

    def without_effect(self) -> tuple[str, ...]:
        """Names of the `legacy_` switches that are on and change nothing in this version."""
        return tuple(name for name in self._legacy() if name in WITHOUT_EFFECT)

    def _legacy(self) -> tuple[str, ...]:
        names = (f.name for f in fields(self) if f.name.startswith("legacy_"))
        return tuple(name for name in names if getattr(self, name))


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
            text_like(REALM, "it is a realm name in upper case", 'write it as "LAB.TEST"'),
        ),
        _key(
            "netbios",
            text_like(NETBIOS, "it is at most 15 upper-case characters", 'write it as "LAB"'),
        ),
        _key(
            "domain",
            text_like(DOMAIN, "it is a DNS name in lower case", 'write it as "lab.test"'),
        ),
        _key("listen", listen_addresses),
        _key("kpasswd_listen", none_or(listen_addresses)),
        _key("workers", number(0, 256)),
        # 512 holds any KRB-ERROR; 65507 is the most that UDP over IPv4 carries.
        _key("kdc_max_dgram_reply_size", number(512, 65507), "max_dgram_reply_size"),
        _key("max_connections", number(1, 1_000_000)),
        _key("max_connections_per_source", number(1, 1_000_000)),
        # Below 16 KiB/s a single logon could spend a network's budget.
        _key("udp_reply_budget", zero_or(number(16384, 1 << 30))),
        _key("exempt_sources", networks),
        _key("max_life", duration(60, MAX_LIFE_S), "max_life_s"),
        _key("max_renewable_life", duration(0, MAX_LIFE_S), "max_renewable_life_s"),
        _key("clockskew", duration(1, MAX_SKEW_S), "clockskew_s"),
        _key("supported_enctypes", enctypes),
        _key("hide_unknown", boolean),
        _key("require_fast", boolean),
        _key("implicit_dollar", boolean),
        _key("pac", boolean),
        _key("lockout_threshold", number(0, 1000)),
        _key("lockout_window", duration(1, MAX_LIFE_S), "lockout_window_s"),
        _key("lockout_duration", duration(0, MAX_LIFE_S), "lockout_duration_s"),
        _key("password_min_length", number(0, 128)),
        _key("password_min_classes", number(0, 5)),
        # Each one remembered costs a comparison when a password is changed.
        _key("password_history", number(0, 64)),
        _key("password_min_age", duration(0, MAX_LIFE_S), "password_min_age_s"),
        _key("password_max_age", duration(0, MAX_LIFE_S), "password_max_age_s"),
        _key("kpasswd_admin_reset", boolean),
        _key("pkinit_require_freshness", boolean),
        _key("pkinit_dh_min_bits", number(2048, 4096)),
        _key("pkinit_dh_max_bits", number(2048, 4096)),
        _key("dh_reuse", one_of(DhReuse)),
        _key("dh_key_life", duration(1, 3600), "dh_key_life_s"),
        _key("roca_policy", one_of(RocaPolicy)),
        _key("keycredential_check_keyid", boolean),
        _key("require_device_object", boolean),
        _key("privileged_keys", one_of(PrivilegedKeys)),
        _key("cms_require_content_type", boolean),
        _key("logon_cas", path_texts),
        _key("pkinit_eku_checking", one_of(EkuChecking)),
        _key("revocation", one_of(Revocation)),
        _key("fetch_revocation", boolean),
        _key("crl_urls", none_or(fetch_urls)),
        _key("fetch_interval", duration(1, 86400), "fetch_interval_s"),
        _key("fetch_networks", networks),
        _key("strong_mapping", one_of(StrongMapping)),
        _key("certificate_backdating", duration(0, MAX_LIFE_S), "certificate_backdating_s"),
        _key("cloud_trust.key_list", one_of(KeyListSwitch), "cloud_trust_key_list"),
        _key("cloud_trust.deny_admin_count", boolean, "cloud_trust_deny_admin_count"),
        _key("ca_key", path_text),
        _key("ca_renewal", boolean),
        _key("cdp_url", text_like(HTTP_URL, *HTTP_URL_HELP)),
        _key("compat", one_of(Compat)),
        _key("legacy_sha1_cms", boolean),
        _key("legacy_sha1_cert", boolean),
        _key("legacy_dh_group2", boolean),
        _key("legacy_rc4", boolean),
        _key("legacy_ntlm", boolean),
        _key("legacy_rsa_reply", boolean),
        _key("legacy_tgs_checksum", boolean),
        _key("audit_failure", one_of(AuditFailure)),
        _key("record_refusals", boolean),
        _key("trusted_secret_paths", absolute_paths),
        _key("http.listen", none_or(listen_addresses), "http_listen"),
        _key("http.url", text_like(HTTP_URL, *HTTP_URL_HELP), "http_url"),
        _key("http.tls_certificate", path_text, "http_tls_certificate"),
        _key("http.tls_key", path_text, "http_tls_key"),
        _key("kkdcp.listen", none_or(listen_addresses), "kkdcp_listen"),
        _key("kkdcp.trusted_proxies", networks, "kkdcp_trusted_proxies"),
        _key("consistency", one_of(Consistency)),
        _key("max_staleness", duration(0, MAX_LIFE_S), "max_staleness_s"),
        _key("directory.url", none_or(ldap_urls), "directory_url"),
        _key("directory.flavour", one_of(Flavour), "directory_flavour"),
        _key("directory.base", text_like(DN, *DN_HELP), "directory_base"),
        _key("directory.ca_file", path_text, "directory_ca_file"),
        _key("directory.starttls", boolean, "directory_starttls"),
        _key("directory.bind_dn", text_like(DN, *DN_HELP), "directory_bind_dn"),
        _key("directory.bind_password_file", path_text, "directory_bind_password_file"),
        _key("directory.sasl", one_of(Sasl), "directory_sasl"),
        _key("directory.ccache", path_text, "directory_ccache"),
        _key("directory.key_source", key_source, "directory_key_source"),
        _key("directory.page_size", number(10, 100_000), "directory_page_size"),
        _key("directory.poll_interval", duration(1, 3600), "directory_poll_interval_s"),
        _key("directory.compare_interval", duration(0, 604_800), "directory_compare_interval_s"),
        _key("directory.miss_rate", number(1, 100_000), "directory_miss_rate"),
    )
}
"""Every key of `kdc.toml`, by its name, in the order of `conf/kdc.toml`."""
