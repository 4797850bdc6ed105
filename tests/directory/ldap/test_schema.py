"""Entries of OpenLDAP, Samba and Active Directory, read to what decisions need of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from directory.ldap.attributes import guid_of
from directory.ldap.messages import Entry
from directory.ldap.records import AccountEntry, DomainFacts, Gone, Unusable
from directory.ldap.schema import interval, read_entry
from directory.lockout import FOREVER
from directory.model import AccountKind, Sid
from tests.directory.ldap.builders import (
    DOMAIN,
    account,
    as_group,
    facts,
    group,
    guid,
    openldap,
    record,
    user,
)

SAMBA_SID = Sid(5, (21, 743206898, 2944152505, 2806950109))
SAMBA = Entry(
    dn="CN=PC1,CN=Computers,DC=lab,DC=example",
    attributes={
        "objectclass": (b"top", b"person", b"organizationalPerson", b"user", b"computer"),
        "objectguid": (bytes.fromhex("f82860e3e21665428071277a4e1c2a90"),),
        "usnchanged": (b"3904",),
        "whencreated": (b"20261122050101.0Z",),
        "samaccountname": (b"PC1$",),
        "objectsid": (SAMBA_SID.with_rid(1103).to_bytes(),),
        "useraccountcontrol": (b"4128",),
        "primarygroupid": (b"515",),
        "accountexpires": (b"9223372036854775807",),
        "pwdlastset": (b"0",),
        "serviceprincipalname": (b"HOST/PC1", b"host/pc1", b"HOST/pc1.lab.example", b"bad@name"),
        "msds-supportedencryptiontypes": (b"28",),
        "msds-userpasswordexpirytimecomputed": (b"9223372036854775807",),
    },
)
"""A computer as Samba 4.17 gave it, its number and names changed."""


def samba_facts() -> DomainFacts:
    return DomainFacts(flavour="samba", sid=SAMBA_SID)


def unusable(entry: Entry) -> Unusable:
    found = record(entry)
    assert isinstance(found, Unusable), found
    return found


def test_account_whose_state_is_not_shown_is_unusable() -> None:
    """Rights that hide userAccountControl would hide who is disabled: not an account that may."""
    shown = {k: v for k, v in SAMBA.attributes.items() if k != "useraccountcontrol"}
    found = read_entry(replace(SAMBA, attributes=shown), samba_facts())
    assert isinstance(found, Unusable)
    assert found.why == "its userAccountControl is not shown to us"


def test_computer_as_samba_gives_it() -> None:
    """MS-ADTS 2.2.16: WORKSTATION_TRUST_ACCOUNT; its password never expires."""
    found = read_entry(SAMBA, samba_facts())
    assert isinstance(found, AccountEntry)
    made = found.account
    assert (made.kind, made.name, made.primary_group_id) == (AccountKind.COMPUTER, "PC1$", 515)
    assert made.spns == ("HOST/PC1", "HOST/pc1.lab.example")
    assert (made.expires_at, made.password_expires_at, made.must_change_password) == (
        None,
        None,
        False,
    )
    assert made.supported_enctypes == 28
    assert made.created_at == datetime(2026, 11, 22, 5, 1, 1, tzinfo=UTC)
    assert str(found.guid) == "e36028f8-16e2-4265-8071-277a4e1c2a90"
    assert found.version == "3904"


def test_plain_user_of_openldap() -> None:
    """The OpenLDAP schema of conf/ldap/ has the names of Active Directory."""
    found = account(user(1, "alice", userPrincipalName="alice@lab.test"))
    assert (found.account.name, found.account.upn) == ("alice", "alice@lab.test")
    assert found.account.sid == DOMAIN.with_rid(1001)
    assert found.guid == guid(1)
    assert not found.account.disabled


@pytest.mark.parametrize(
    ("control", "field"),
    [
        (0x2, "disabled"),
        (0x40000, "smartcard_required"),
        (0x80000, "trusted_for_delegation"),
        (0x100000, "not_delegated"),
        (0x400000, "preauth_not_required"),
        (0x1000000, "trusted_to_authenticate_for_delegation"),
        (0x2000000, "no_auth_data_required"),
        (0x4000000, "partial_secrets"),
    ],
)
def test_bit_of_user_account_control(control: int, field: str) -> None:
    """MS-ADTS 2.2.16, each bit that decides something, and no other."""
    found = account(user(1, "alice", userAccountControl=str(0x200 | control))).account
    fields = (
        "disabled",
        "smartcard_required",
        "trusted_for_delegation",
        "not_delegated",
        "preauth_not_required",
        "trusted_to_authenticate_for_delegation",
        "no_auth_data_required",
        "partial_secrets",
    )
    assert [name for name in fields if getattr(found, name)] == [field]


def test_password_that_was_never_set_must_be_changed() -> None:
    """MS-ADA3 pwdLastSet: 0 stands for that."""
    assert account(user(1, "alice", pwdLastSet="0")).account.must_change_password
    never = user(1, "alice", pwdLastSet="0", userAccountControl=str(0x10200))
    assert not account(never).account.must_change_password


def test_password_expires_by_the_domains_age() -> None:
    """MS-ADA3 maxPwdAge counts from pwdLastSet where nothing is computed."""
    entry = user(1, "alice", pwdLastSet="134388000000000000")
    aged = DomainFacts(flavour="openldap", sid=DOMAIN, max_password_age=timedelta(days=42))
    found = read_entry(entry, aged)
    assert isinstance(found, AccountEntry)
    set_at = found.account.password_set_at
    assert set_at is not None
    assert found.account.password_expires_at == set_at + timedelta(days=42)


def test_account_expires_at_a_filetime() -> None:
    """MS-ADA1 accountExpires; 0 and the largest number are never."""
    assert account(user(1, "a", accountExpires="134388000000000000")).account.expires_at == (
        datetime(2026, 11, 10, 16, 0, tzinfo=UTC)
    )
    assert account(user(1, "a", accountExpires="0")).account.expires_at is None


def test_lockout_time_locks_for_the_domains_duration() -> None:
    """MS-ADA1 lockoutTime and lockoutDuration; without a duration until somebody unlocks."""
    entry = user(1, "alice", lockoutTime="134388000000000000")
    assert account(entry).locked_until == datetime(2026, 11, 10, 16, 30, tzinfo=UTC)
    forever = DomainFacts(flavour="openldap", sid=DOMAIN, lockout_duration=None)
    found = read_entry(entry, forever)
    assert isinstance(found, AccountEntry)
    assert found.locked_until == FOREVER
    assert account(user(1, "alice", lockoutTime="0")).locked_until is None


def test_krbtgt_is_not_disabled_and_a_secondary_one_is_another() -> None:
    """MS-ADTS 6.1.1.5: krbtgt has RID 502; a read-only DC's has a number of its own."""
    own = user(1, "krbtgt", userAccountControl="514", objectSid=DOMAIN.with_rid(502).to_bytes())
    made = account(own).account
    assert (made.kind, made.disabled) == (AccountKind.KRBTGT, False)
    cloud = user(2, "krbtgt_7", userAccountControl="514", msDS_SecondaryKrbTgtNumber="7")
    made = account(cloud).account
    assert (made.kind, made.secondary_krbtgt_number) == (AccountKind.KRBTGT, 7)


def test_group_of_any_class_and_its_members() -> None:
    """GroupType with the security bit, as a negative number (MS-ADTS 2.2.12)."""
    found = as_group(group(9, "Staff", "uid=a,dc=x", "cn=B,dc=x"))
    assert (found.name, found.members) == ("Staff", ("uid=a,dc=x", "cn=B,dc=x"))


def test_distribution_list_is_no_group() -> None:
    """Without GROUP_TYPE_SECURITY_ENABLED it is in no token."""
    entry = group(9, "News")
    changed = Entry(dn=entry.dn, attributes={**entry.attributes, "grouptype": (b"2",)})
    assert isinstance(record(changed), Gone)


def test_trust_account_and_tombstone_are_gone() -> None:
    """INTERDOMAIN_TRUST_ACCOUNT logs nobody on; isDeleted is a tombstone (MS-ADTS 3.1.1.5.5)."""
    assert isinstance(record(user(1, "OTHER$", userAccountControl=str(0x820))), Gone)
    assert isinstance(record(user(1, "old", isDeleted="TRUE")), Gone)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"objectSid": b"\x01\x05"}, "its objectSid is malformed"),
        ({"objectSid": Sid(5, (21, 9, 9, 9, 1000)).to_bytes()}, "another domain"),
        ({"userAccountControl": "many"}, "its userAccountControl is no number"),
        ({"accountExpires": "--1"}, "its accountExpires is no number"),
        ({"logonHours": b"\xff" * 20}, "its logonHours are not 21 octets"),
        ({"primaryGroupID": "-5000000000"}, "its primaryGroupID is no RID"),
        ({"sAMAccountName": ["a", "b"]}, "it has no sAMAccountName, or several"),
    ],
)
def test_entry_that_cannot_be_read_is_unusable(
    changed: dict[str, str | bytes | list[str]], why: str
) -> None:
    """A restriction that cannot be read is no reason to go without it; the load goes on."""
    found = unusable(user(1, "alice", **changed))
    assert why in found.why
    assert found.guid == guid(1)


def test_unusable_entry_keeps_its_names() -> None:
    """Those are answered with 29, not 6."""
    entry = user(1, "alice", objectSid=b"", userPrincipalName="al@lab.test")
    assert unusable(entry).names == ("name:alice", "upn:al@lab.test")


def test_entry_without_a_number_is_nothing() -> None:
    """Without entryUUID or objectGUID nothing can be kept of it."""
    assert read_entry(Entry(dn="cn=x", attributes={}), facts()) is None
    assert guid_of(Entry(dn="cn=x", attributes={"objectguid": (b"short",)}), "ad") is None


def test_malformed_upn_is_left_out() -> None:
    """A name that cannot be looked up can only be missed."""
    assert account(user(1, "alice", userPrincipalName="no-at-sign")).account.upn is None


def test_octets_that_are_no_text_harm_nobody() -> None:
    """A value of any octets is read without raising."""
    entry = openldap(3, "cn=x", sAMAccountName=b"\xff\xfe", objectSid=b"\xff" * 28)
    assert isinstance(record(entry), Unusable)


@pytest.mark.parametrize(
    ("ticks", "meant"),
    [(-36288000000000, timedelta(days=42)), (0, None), (None, None), (-(1 << 63), None)],
)
def test_interval_of_the_domain(ticks: int | None, meant: timedelta | None) -> None:
    """MS-ADA3 maxPwdAge: a negative interval; the smallest number is for ever."""
    assert interval(ticks) == meant
