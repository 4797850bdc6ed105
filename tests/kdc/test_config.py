"""`kdc.toml`: every key, every way to get it wrong, and the documentation kept in step."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from kdc.config import KEYS, WITHOUT_EFFECT, ConfigError, KdcConfig
from kdc.config_read import _key_lines, load_config, parse_config
from kdc.config_values import enctype_name, format_duration, parse_address, parse_duration
from kdc.state_folder import StateFolder

DOCUMENTED = Path(__file__).parents[2] / "conf" / "kdc.toml"
MINIMAL = 'realm = "LAB.TEST"\n'


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "kdc.toml")
    return caught.value


def test_the_shortest_file_is_a_realm_name() -> None:
    """Names of the domain follow from the realm; all else is at its default."""
    config = parse_config(MINIMAL).config
    assert (config.realm, config.netbios, config.domain) == ("LAB.TEST", "LAB", "lab.test")
    assert config == KdcConfig(realm="LAB.TEST", netbios="LAB", domain="lab.test")


def test_every_field_has_one_key() -> None:
    """A field that no key sets could never be changed."""
    assert {key.field for key in KEYS.values()} == {f.name for f in fields(KdcConfig)}


def test_the_documented_file_names_every_key_once() -> None:
    """conf/kdc.toml is the reference: no key is missing from it, none is there twice."""
    named = re.findall(r"^#?([a-z0-9_.]+) = ", DOCUMENTED.read_text(), re.MULTILINE)
    assert named == list(KEYS), "the same keys in the same order"


def test_the_documented_file_is_valid_as_it_stands() -> None:
    """A user may copy it unchanged."""
    assert load_config(DOCUMENTED).config.realm == "LAB.TEST"


def test_the_documented_defaults_are_the_defaults() -> None:
    """With every comment taken away, the file says what the code does without it."""
    text = re.sub(r"^#(?=[a-z0-9_]+ = )", "", DOCUMENTED.read_text(), flags=re.MULTILINE)
    config = parse_config(text).config
    for field in fields(KdcConfig):
        if field.default is MISSING or field.name in ("ca_key", "cdp_url", "kpasswd_listen"):
            continue
        assert getattr(config, field.name) == field.default, field.name
    assert (config.netbios, config.domain) == ("LAB", "lab.test")


def test_unknown_key_is_refused_with_its_line() -> None:
    """A misspelt limit would be a limit that is not there."""
    error = refusal(MINIMAL + '\n# a comment\nmax_lfe = "10h"\n')
    assert (error.line, error.place) == (4, "kdc.toml:4")
    assert error.what == "unknown key 'max_lfe'"
    assert error.remedy == "did you mean 'max_life'?"


def test_unknown_table_is_refused_with_its_line() -> None:
    """A section of another KDC's file does not pass unread."""
    error = refusal(MINIMAL + 'listen = [\n  "127.0.0.1:88",\n]\n[realms]\nworkers = 1\n')
    assert (error.line, error.what) == (5, "unknown key 'realms'")


def test_bad_value_after_a_multi_line_value_is_refused_with_its_line() -> None:
    """Lines are counted over values that span several."""
    error = refusal(
        'listen = [\n  "127.0.0.1:88",\n  "[::1]:88",\n]\nrealm = "LAB.TEST"\nworkers = -1'
    )
    assert (error.line, error.why) == (6, "it is a number from 0 to 256")


def test_syntax_error_is_refused_with_its_line() -> None:
    """The parser's own position is used."""
    error = refusal(MINIMAL + "workers 4\n")
    assert (error.line, error.what) == (2, "not TOML")


def test_missing_realm_is_refused() -> None:
    """The one key without a default."""
    assert refusal("workers = 1").what == "realm is missing"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('realm = "lab.test"', "it is a realm name in upper case"),
        ('realm = "LAB/TEST"', "it is a realm name in upper case"),
        ("realm = 7", "it is a realm name in upper case"),
        ('netbios = "SIXTEENLETTERSXX"', "it is at most 15 upper-case characters"),
        ('domain = "LAB.TEST"', "it is a DNS name in lower case"),
        ("listen = []", "a KDC listens on at least one address"),
        ('listen = ["localhost:88"]', "'localhost:88' is not an address and a port"),
        ('listen = ["127.0.0.1"]', "'127.0.0.1' is not an address and a port"),
        ('listen = ["127.0.0.1:65536"]', "'127.0.0.1:65536' is not an address and a port"),
        ('listen = ["::1:88"]', "'::1:88' is not an address and a port"),
        ("listen = [88]", "it is a list of strings"),
        ("workers = true", "it is a number from 0 to 256"),
        ("workers = 1.5", "it is a number from 0 to 256"),
        ('max_life = "ten hours"', "it is a duration"),
        ("max_life = true", "it is a duration"),
        ('max_life = "0s"', "it lies between 1m and 3650d"),
        ("clockskew = 0", "it lies between 1s and 1d"),
        ('supported_enctypes = ["rc4"]', "'rc4' is not an encryption type of this KDC"),
        ("supported_enctypes = []", "a KDC needs at least one encryption type"),
        ("pkinit_require_freshness = 1", "it is true or false"),
        ("pkinit_dh_min_bits = 1024", "it is a number from 2048 to 4096"),
        ('dh_reuse = "always"', "it is one of off, keys, replies"),
        ('roca_policy = "warn"', "it is one of block, audit, ignore"),
        ('compat = "samba"', "it is one of strict, windows, tools"),
        ('audit_failure = "drop"', "it is one of refuse, count"),
        ('exempt_sources = ["192.0.2.1/24"]', "it is a list of networks"),
        ('trusted_secret_paths = ["run"]', "it is a list of absolute paths"),
        ('ca_key = ""', "it is a path"),
    ],
)  # fmt: skip
def test_value_that_a_key_cannot_have_is_refused(line: str, why: str) -> None:
    """Each error says what the key takes."""
    error = refusal(line if line.startswith("realm") else MINIMAL + line)
    assert error.why == why
    assert error.line == (1 if line.startswith("realm") else 2)
    assert error.remedy


def test_more_connections_per_source_than_in_all_are_refused() -> None:
    """One source could take every place."""
    error = refusal(MINIMAL + "max_connections = 10\n")
    assert error.what == "max_connections_per_source is larger than max_connections"


def test_smallest_group_above_the_largest_is_refused() -> None:
    """No MODP group would be left for anybody."""
    error = refusal(MINIMAL + "pkinit_dh_min_bits = 4096\npkinit_dh_max_bits = 2048\n")
    assert error.what == "pkinit_dh_min_bits is larger than pkinit_dh_max_bits"


@pytest.mark.parametrize(
    "line",
    [
        'strong_mapping = "compatibility"',
        'strong_mapping = "none"',
        'revocation = "soft"',
        'revocation = "off"',
        'pkinit_eku_checking = "none"',
    ],
)
def test_less_than_strict_certificate_trust_is_a_weak_form(line: str) -> None:
    """Listed at start like a legacy_ switch."""
    assert parse_config(MINIMAL + line).config.weak_forms() == (line.replace('"', ""),)


@pytest.mark.parametrize(
    ("profile", "weak"),
    [
        ("strict", ()),
        ("windows", ("legacy_sha1_cms",)),
        (
            "tools",
            ("legacy_sha1_cms", "legacy_dh_group2", "legacy_ntlm", "legacy_tgs_checksum"),
        ),
    ],
)
def test_compat_profile_turns_on_its_weak_forms(profile: str, weak: tuple[str, ...]) -> None:
    """The profiles of the command contract."""
    assert parse_config(MINIMAL + f'compat = "{profile}"').config.weak_forms() == weak


def test_switch_without_effect_is_said_apart() -> None:
    """Who is told that RC4 is accepted would look elsewhere for why a client fails."""
    settings = parse_config(MINIMAL + "legacy_rc4 = true\nlegacy_ntlm = true\n").config
    assert (settings.weak_forms(), settings.without_effect()) == (("legacy_ntlm",), ("legacy_rc4",))


def test_switches_said_to_have_no_effect_are_used_nowhere() -> None:
    """And all others are, but for the readers and writers of the configuration."""
    root = Path(__file__).parents[2]
    code = "".join(
        path.read_text()
        for part in ("kdc", "directory", "pki")
        for path in (root / part).rglob("*.py")
        if path.name not in ("config.py", "init.py")
    )
    switches = {field.name for field in fields(KdcConfig) if field.name.startswith("legacy_")}
    assert {name for name in switches if f".{name}" not in code} == WITHOUT_EFFECT
    documented = (root / "conf/kdc.toml").read_text()
    for name in WITHOUT_EFFECT:
        assert re.search(rf"No effect yet.*\n#{name} = false", documented), name


def test_switch_overrides_its_profile() -> None:
    """An explicit key wins in both directions."""
    text = MINIMAL + 'compat = "windows"\nlegacy_sha1_cms = false\nlegacy_dh_group2 = true\n'
    assert parse_config(text).config.weak_forms() == ("legacy_dh_group2",)


def test_origin_of_each_value_is_known() -> None:
    """`kdc config show --origin` prints these."""
    origins = parse_config(MINIMAL + 'compat = "windows"\nworkers = 2\n', "a/kdc.toml").origins
    assert set(origins) == set(KEYS)
    assert origins["realm"] == "a/kdc.toml:1"
    assert origins["workers"] == "a/kdc.toml:3"
    assert origins["netbios"] == "from realm"
    assert origins["legacy_sha1_cms"] == "compat = windows"
    assert origins["legacy_dh_group2"] == "default"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10h", 36000),
        ("7d", 604800),
        ("1d12h", 129600),
        ("1d 12h", 129600),
        ("5m", 300),
        ("90s", 90),
        ("90", 90),
        ("10:30", 37800),
        ("0:00:30", 30),
    ],
)
def test_duration_as_mit_writes_it(text: str, seconds: int) -> None:
    """The formats of MIT's krb5.conf manual page."""
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "h", "10 hours", "-5m", "5m3d", "1:60", "٣h"])
def test_text_that_is_no_duration(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_enctypes_by_any_of_their_names_and_in_mits_form() -> None:
    """A list, or one string with salt types; twice the same type counts once."""
    text = MINIMAL + 'supported_enctypes = "aes256-sha2:normal aes256-cts:normal aes256-sha1"'
    assert parse_config(text).config.supported_enctypes == (20, 18)
    assert enctype_name(18) == "aes256-cts-hmac-sha1-96"
    assert enctype_name(99) == "99"


def test_address_of_either_family() -> None:
    """An IPv6 address stands in brackets."""
    assert parse_address("[0:0::1]:88") == ("::1", 88)
    assert parse_address("127.0.0.1:8888") == ("127.0.0.1", 8888)
    assert parse_address("*:88") == ("*", 88)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, not UTF-8, too large: three errors of the same kind."""
    with pytest.raises(ConfigError, match="there is no configuration"):
        load_config(tmp_path / "kdc.toml")
    (tmp_path / "a").write_bytes(b'realm = "LAB.TEST"\n# \xff\n')
    with pytest.raises(ConfigError, match="a:2: not TOML: the text is not UTF-8"):
        load_config(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"#" * (1 << 20) + b"##")
    with pytest.raises(ConfigError, match="too large"):
        load_config(tmp_path / "b")


def test_state_folder_is_option_then_environment_then_dot_kdc() -> None:
    """The order of the command contract."""
    assert StateFolder.find("a", {"KDC_STATE": "b"}).root == Path("a")
    assert StateFolder.find(None, {"KDC_STATE": "b"}).root == Path("b")
    assert StateFolder.find(None, {}).root == Path(".kdc")


def test_ca_key_may_live_elsewhere() -> None:
    """Relative to the state folder, or anywhere."""
    state = StateFolder(Path("/state"))
    assert state.ca_key() == Path("/state/pki/ca.key")
    config = parse_config(MINIMAL + 'ca_key = "/medium/ca.key"').config
    assert state.ca_key(config) == Path("/medium/ca.key")


def test_lines_of_keys_are_known_after_a_long_list_and_inside_tables() -> None:
    """An error in a table names the line of its key."""
    lines = _key_lines('realm = "A"\nlisten = [\n  "127.0.0.1:88",\n]\n[t]\na = 1\nb.c = 2\n')
    assert lines == {"realm": 1, "listen": 2, "t": 5, "t.a": 6, "t.b": 7, "t.b.c": 7}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("127.0.0.1:464", "[::1]:464")),
        ('listen = ["127.0.0.1:8888"]', ()),
        ('listen = ["*:88", "127.0.0.1:8888"]', ("*:464",)),
        ("kpasswd_listen = []", ()),
        ('kpasswd_listen = "*:4464"', ("*:4464",)),
    ],
)
def test_kpasswd_is_beside_port_88_unless_it_is_told(text: str, expected: tuple[str, ...]) -> None:
    """Clients look for it on 464 of the KDC's host."""
    assert parse_config(f"{MINIMAL}\n{text}\n").config.kpasswd_addresses() == expected


def test_kpasswd_cannot_share_a_port_with_the_kdc() -> None:
    """What a message is follows from its port."""
    error = refusal(f'{MINIMAL}\nlisten = ["127.0.0.1:88"]\nkpasswd_listen = ["127.0.0.1:88"]\n')
    assert "cannot share" in error.why


def test_minimum_age_longer_than_the_maximum_is_refused() -> None:
    """Nobody could ever log on again."""
    text = f'{MINIMAL}\npassword_min_age = "2d"\n'
    assert parse_config(text).config.password_min_age_s == 2 * 86400
    assert "expire before" in refusal(f'{text}password_max_age = "1d"\n').why


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('http.tls_key = "k"', "http.tls_key stands alone"),
        ('http.tls_certificate = "c"', "http.tls_certificate stands alone"),
        ('directory.sasl = "gssapi"', "go together"),
        ('directory.ccache = "c"', "go together"),
    ],
)
def test_half_of_a_pair_of_settings_is_refused_by_its_line(line: str, what: str) -> None:
    """Neither means anything without the other."""
    error = refusal(f"{MINIMAL}{line}\n")
    assert what in error.what
    assert error.line == 2
