"""`tenant.toml`: each key is read strictly, and is in the manual."""

import dataclasses
import re

import pytest

from kdc.config import ConfigError
from tenant.config import KEYS, TenantConfig, parse_config
from tests.rig.peers import ROOT

GOOD = 'tenant_id = "6b9a3f0e-4c55-4f0a-9d0e-0a4f2d1c7e11"\ndomain = "lab.test"\n'


def test_the_two_that_every_tenant_has_are_enough() -> None:
    """Everything else has a default."""
    assert parse_config(GOOD.encode(), "t").domain == "lab.test"


def test_every_field_is_a_key_and_every_key_is_in_the_manual() -> None:
    """What can be set can be found."""
    fields = {field.name for field in dataclasses.fields(TenantConfig)}
    assert fields == set(KEYS)
    page = (ROOT / "docs/tenant.md").read_text()
    assert fields - set(re.findall(r"`(\w+)`", page)) == set()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("frob = 1", "frob is no key of it"),
        ("mfa_freshness_s = 0", "mfa_freshness_s cannot be used"),
        ('mfa_freshness_s = "600"', "mfa_freshness_s cannot be used"),
        ("mfa_freshness_s = true", "mfa_freshness_s cannot be used"),
        ('listen = "127.0.0.1"', "listen cannot be used"),
        ('listen = "localhost:1"', "listen cannot be used"),
        ('kdc_state = ""', "kdc_state cannot be used"),
        ('attestation = "perhaps"', "attestation cannot be used"),
        ("= 1", "not TOML"),
        ("frob = " + "[" * 20_000, "not TOML that can be read"),
    ],
)
def test_a_wrong_value_is_said_by_its_key(line: str, what: str) -> None:
    """Bad configuration is refused whole; no setting falls back to its default."""
    with pytest.raises(ConfigError) as caught:
        parse_config(f"{GOOD}{line}\n".encode(), "tenant.toml")
    assert (caught.value.path, caught.value.what) == ("tenant.toml", what)


@pytest.mark.parametrize("missing", ["tenant_id", "domain"])
def test_a_tenant_without_id_or_domain_is_none(missing: str) -> None:
    """They are in every token."""
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(missing))
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "t")
    assert caught.value.what == f"{missing} is missing"


@pytest.mark.parametrize("domain", ["LAB.TEST", "lab", "lab.test ", "läb.test"])
def test_a_domain_that_is_no_dns_name_in_lower_case_is_refused(domain: str) -> None:
    """Names are compared with it octet by octet."""
    with pytest.raises(ConfigError):
        parse_config(GOOD.replace("lab.test", domain).encode(), "t")
