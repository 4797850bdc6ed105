"""Which account a certificate stands for: the table, the forms, and the names that lie."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from directory.alt_security import index_keys, split_value
from directory.model import Account, AccountKind, Sid, match_key
from kdc.errors import KdcError
from kdc.trust.alt_security import match_alt_security_identities
from kdc.trust.logon_names import LogonNames
from kdc.trust.mapping import Mapping, MappingPolicy, StrongMapping, judge_mapping
from pki.names import PkinitName
from pki.x500 import canonical, parse_rfc4514
from tests.kdc.builders import NOW

POLICY = MappingPolicy(realm="LAB.TEST", netbios="LAB", domain="lab.test")
SID = Sid.parse("S-1-5-21-1-2-3-1104")
OTHER_SID = "S-1-5-21-1-2-3-1105"
CAROL = Account(
    account_id=7,
    sam_account_name="carol",
    kind=AccountKind.USER,
    sid=SID,
    created_at=NOW - timedelta(days=10),
)
PC = replace(CAROL, account_id=8, sam_account_name="PC1$", kind=AccountKind.COMPUTER)
NAMES = LogonNames(
    upns=("carol@lab.test",),
    dns=(),
    emails=("carol@lab.test",),
    pkinit=(),
    sids=(str(SID),),
    sid_malformed=False,
    issuer=canonical(parse_rfc4514("CN=CA,DC=lab,DC=test")),
    subject=canonical(parse_rfc4514("CN=carol,DC=lab,DC=test")),
    serial_number=0x2B0000000011AC0000000012,
    key_identifier=bytes.fromhex("aabbcc"),
    hashes=frozenset(("11" * 20, "22" * 32)),
    not_before=NOW - timedelta(days=1),
)
NO_SID = replace(NAMES, sids=())


@dataclass(slots=True)
class Accounts:
    """Enough of a Directory to look names up."""

    accounts: tuple[Account, ...] = (CAROL, PC)
    spns: dict[str, Account] = field(default_factory=dict)

    def account_by_name(self, name: str) -> Account | None:
        """See Directory."""
        key = match_key(name)
        return next((a for a in self.accounts if match_key(a.sam_account_name) == key), None)

    def account_by_upn(self, upn: str) -> Account | None:
        """See Directory."""
        key = match_key(upn)
        return next((a for a in self.accounts if a.upn and match_key(a.upn) == key), None)

    def account_by_id(self, account_id: int) -> Account | None:
        """See Directory."""
        return next((a for a in self.accounts if a.account_id == account_id), None)

    def accounts_by_alt_security_identity(self, keys: Sequence[bytes]) -> tuple[int, ...]:
        """See Directory."""
        return tuple(
            a.account_id
            for a in self.accounts
            if any(key in keys for value in a.alt_security_identities for key in index_keys(value))
        )

    def account_by_spn(self, spn: str) -> Account | None:
        """See Directory."""
        return self.spns.get(match_key(spn))


def judge(
    names: LogonNames,
    account: Account = CAROL,
    mode: StrongMapping = "full",
    directory: Accounts | None = None,
) -> Mapping:
    """Judge a mapping in one mode."""
    policy = replace(POLICY, strong_mapping=mode)
    return judge_mapping(names, account, directory or Accounts(), policy)  # type: ignore[arg-type]  # enough of a Directory


def refusal(
    names: LogonNames,
    account: Account = CAROL,
    mode: StrongMapping = "full",
    directory: Accounts | None = None,
) -> tuple[int, str]:
    """Return code and reason of the KdcError that judging must raise."""
    with pytest.raises(KdcError) as caught:
        judge(names, account, mode, directory)
    return int(caught.value.code), caught.value.why


WEAK = "the certificate maps to the account only weakly"
NOT_NAMED = "the certificate does not name the account"
OTHERS = "the certificate's SID is another account's"


def test_sid_and_upn() -> None:
    """The control: strong, by the SID."""
    assert judge(NAMES) == Mapping(by="SID", strength="strong")


@pytest.mark.parametrize("mode", ["full", "compatibility", "none"])
def test_sid_alone_is_strong(mode: StrongMapping) -> None:
    """A certificate that says the SID and no name at all."""
    assert judge(replace(NAMES, upns=()), mode=mode).by == "SID"


@pytest.mark.parametrize("mode", ["full", "compatibility", "none"])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sids": (OTHER_SID,)}, 66),
        ({"sids": (str(SID), OTHER_SID)}, 66),
        ({"sid_malformed": True}, 66),
        ({"upns": ("carol@lab.test", "carol@lab.test")}, 75),
        ({"upns": ("carol@lab.test\0",)}, 75),
        ({"upns": ("carol@lab.test.",)}, 75),
        ({"upns": ("",)}, 75),
        ({"upns": ("dave@lab.test",)}, 75),
        ({"sids": (), "upns": ("dave@lab.test",), "emails": ()}, 75),
    ],
)
def test_refused_in_every_mode(mode: StrongMapping, change: dict[str, object], code: int) -> None:
    """Rows C13, C19, C21 and names of somebody else: no mode lets them pass."""
    assert refusal(replace(NAMES, **change), mode=mode)[0] == code  # type: ignore[arg-type]  # its fields


@pytest.mark.parametrize(
    ("mode", "age_days", "outcome"),
    [
        ("full", 1, 66),
        ("full", 20, 66),
        ("compatibility", 1, "weak"),
        ("compatibility", 20, 66),
        ("none", 1, "weak"),
        ("none", 20, "weak"),
    ],
)
def test_weak_mapping_by_mode_and_age(
    mode: StrongMapping, age_days: int, outcome: int | str
) -> None:
    """Rows C14, C20, C22; KB5014754."""
    names = replace(NO_SID, not_before=NOW - timedelta(days=age_days))
    if isinstance(outcome, str):
        assert judge(names, mode=mode) == Mapping(by="UPN", strength="weak")
    else:
        assert refusal(names, mode=mode)[0] == outcome


def test_backdating_is_allowed_for() -> None:
    """KB5014754, CertificateBackdatingCompensation: a CA dates its certificates back."""
    names = replace(NO_SID, not_before=CAROL.created_at - timedelta(minutes=9))
    assert judge(names, mode="compatibility").strength == "weak"


def test_account_of_unknown_age_is_older_than_no_certificate() -> None:
    """KB5014754, row C20: a directory that does not show whenCreated lets nothing weak pass."""
    hidden = replace(CAROL, created_at=datetime(1970, 1, 1, tzinfo=UTC))
    code, why = refusal(NO_SID, hidden, "compatibility")
    assert (code, why.endswith("older than it")) == (66, True)


def test_weak_in_full_mode_says_why_it_is_not_enough() -> None:
    """Row C14: the age does not matter where nothing weak counts."""
    assert refusal(replace(NO_SID, not_before=NOW - timedelta(days=99))) == (66, WEAK)


@pytest.mark.parametrize("upn", ["carol@lab.test", "CAROL@LAB.TEST", "carol@LAB"])
def test_forms_of_a_upn(upn: str) -> None:
    """name@realm, in any case and by the NetBIOS name."""
    assert judge(replace(NAMES, upns=(upn,))).by == "SID"


@pytest.mark.parametrize("upn", ["carol@elsewhere.test", "carol", "a@carol@lab.test", "@lab.test"])
def test_names_that_are_not_the_accounts(upn: str) -> None:
    """Another suffix, none, or two."""
    assert refusal(replace(NAMES, upns=(upn,))) == (75, NOT_NAMED)


def test_upn_attribute_under_another_suffix() -> None:
    """UserPrincipalName is compared whole."""
    account = replace(CAROL, upn="c.jones@corp.example")
    names = replace(NAMES, upns=("C.Jones@corp.example",))
    assert judge(names, account, directory=Accounts((account,))).by == "SID"


def test_upn_that_two_accounts_could_own_is_refused() -> None:
    """Row C16, CVE-2022-26931: taker's userPrincipalName is carol's name."""
    taker = replace(CAROL, account_id=9, sam_account_name="taker", upn="carol@lab.test")
    both = Accounts((CAROL, taker))
    for account in (CAROL, taker):
        for mode in ("full", "compatibility", "none"):
            names = replace(NO_SID, upns=("carol@lab.test",))
            code, why = refusal(names, account, mode, both)
            assert (code, why) == (75, "the certificate's UPN names two accounts")


def test_no_dollar_is_added_to_a_upn() -> None:
    """Row C16: pc1@lab.test is nobody, whatever implicit_dollar says."""
    assert refusal(replace(NAMES, upns=("pc1@lab.test",)), PC)[0] == 75


def test_dns_name_of_a_computer() -> None:
    """MS-PKCA 3.1.5.2.1.1: the account's name without the dollar, in the domain."""
    names = replace(NAMES, upns=(), dns=("pc1.LAB.test",))
    assert judge(names, PC).by == "SID"
    weak = replace(names, sids=())
    assert judge(weak, PC, "compatibility") == Mapping(by="dNSName", strength="weak")
    assert refusal(replace(weak, dns=("pc2.lab.test",)), PC)[0] == 75
    assert refusal(replace(names, dns=("pc2.lab.test",)), PC)[0] == 75


def test_dns_name_says_nothing_of_a_user() -> None:
    """A user's certificate may carry one for other purposes."""
    assert judge(replace(NAMES, upns=(), dns=("carol.lab.test",))).by == "SID"


def test_id_pkinit_san() -> None:
    """RFC 4556 3.2.2: weak, like the UPN, in a realm with SIDs."""
    name = PkinitName(realm="LAB.TEST", name_type=1, components=("carol",))
    names = replace(NO_SID, upns=(), pkinit=(name,))
    assert judge(names, mode="compatibility") == Mapping(by="id-pkinit-san", strength="weak")
    foreign = replace(names, pkinit=(replace(name, realm="OTHER.TEST"),))
    assert refusal(foreign, mode="none") == (75, NOT_NAMED)
    service = PkinitName(realm="LAB.TEST", name_type=2, components=("host", "pc1"))
    by_spn = Accounts(spns={"host/pc1": PC})
    assert judge(replace(names, pkinit=(service,)), PC, "none", by_spn).by == "id-pkinit-san"


def test_names_are_enough_in_a_realm_without_sids() -> None:
    """Nothing stronger exists there."""
    account = replace(CAROL, sid=None)
    assert judge(NO_SID, account).strength == "strong"
    assert refusal(NAMES, account) == (66, OTHERS)


def test_the_stand_in_of_hidden_names_is_never_named() -> None:
    """hide_unknown: an account that does not exist gets no ticket, and no other code either."""
    nobody = replace(CAROL, account_id=-1, sid=None)
    assert refusal(NO_SID, nobody) == (75, NOT_NAMED)
    assert refusal(NAMES, nobody) == (66, OTHERS)


# -- altSecurityIdentities -------------------------------------------------------------------

_ISSUER = "DC=test,DC=lab,CN=CA"
_SERIAL = "1200000000AC11000000002B"


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        (f"X509:<I>{_ISSUER}<SR>{_SERIAL}", "X509:<I><SR>", ""),
        (f"X509:<SR>{_SERIAL.lower()}<I>{_ISSUER}", "X509:<I><SR>", ""),
        (f"X509:<I>{_ISSUER}<SR>2B0000000011AC0000000012", "", ""),
        (f"X509:<I>CN=CA,DC=lab,DC=test<SR>{_SERIAL}", "", ""),
        (f"X509:<I>DC=test,DC=lab,CN=Other<SR>{_SERIAL}", "", ""),
        ("X509:<SKI>aabbcc", "X509:<SKI>", ""),
        ("x509:<ski>AABBCC", "X509:<SKI>", ""),
        ("<SKI>aabbcc", "", ""),
        ("X509:<SKI>", "", ""),
        ("X509:<SHA1-PUKEY>" + "11" * 20, "X509:<SHA1-PUKEY>", ""),
        ("X509:<SHA1-PUKEY>" + "22" * 32, "", ""),
        ("X509:<SHA256-PUKEY>" + "22" * 32, "X509:<SHA256-PUKEY>", ""),
        (f"X509:<I>{_ISSUER}<SID>{SID}", "X509:<I><SID>", ""),
        (f"X509:<I>{_ISSUER}<SID>{OTHER_SID}", "", ""),
        (f"X509:<I>{_ISSUER}<S>DC=test,DC=lab,CN=carol", "", "X509:<I><S>"),
        ("X509:<S>DC=test,DC=lab,CN=carol", "", "X509:<S>"),
        ("X509:<RFC822>Carol@lab.test", "", "X509:<RFC822>"),
        (f"X509:<I>{_ISSUER}", "", ""),
        (f"X509:<SKI>aabbcc<S>{_ISSUER}", "", ""),
        ("X509:<SKI>aabbcc<SKI>aabbcc", "", ""),
        ("Kerberos:carol@OTHER.TEST", "", ""),
    ],
)
def test_forms_of_alt_security_identities(value: str, strong: str, weak: str) -> None:
    """Rows C17, C18: every tag of a value must match; serial numbers are reversed."""
    assert match_alt_security_identities((value,), NAMES) == (strong, weak)


def test_a_strong_value_is_enough_whatever_the_names_say() -> None:
    """A card of another issuer's name space: its UPN and SID are not this account's."""
    account = replace(CAROL, alt_security_identities=("X509:<SKI>aabbcc",))
    names = replace(NAMES, upns=("1234567890@mil",), sids=(OTHER_SID,))
    assert judge(names, account) == Mapping(by="X509:<SKI>", strength="strong")
    assert refusal(replace(names, upns=("a@b", "c@d")), account)[0] == 75


def test_a_weak_value_needs_a_sid_or_a_weaker_mode() -> None:
    """Row C17; with the SID it stands in for the name."""
    account = replace(CAROL, alt_security_identities=("X509:<S>DC=test,DC=lab,CN=carol",))
    names = replace(NO_SID, upns=("1234567890@mil",))
    assert refusal(names, account) == (66, WEAK)
    assert judge(names, account, "compatibility").by == "X509:<S>"
    assert judge(replace(names, sids=(str(SID),)), account).by == "SID"
    assert refusal(replace(names, sids=(OTHER_SID,)), account) == (66, OTHERS)


def test_a_value_of_any_length_costs_little() -> None:
    """Values come from a directory, but are bounded all the same."""
    assert split_value("X509:" + "<S>" * 5000) == {}


MAPPED = replace(CAROL, alt_security_identities=("X509:<SKI>AABBCC",))


@pytest.mark.parametrize(
    ("value", "shared"),
    [
        ("X509:<SKI>aabbcc", True),
        ("x509:<SHA1-PUKEY>" + "11" * 20, True),
        ("X509:<I>DC=test,DC=lab,CN=CA<SR>120000000000ac110000002b", None),
        ("X509:<I>dc=test,dc=LAB,cn=ca<SR>12000000AC1100000000002B", None),
        ("X509:<SKI>aabbcc<SR>01", False),
        ("X509:<S>DC=test,DC=lab,CN=carol", False),
        ("X509:<SKI>aabbcd", False),
    ],
)
@pytest.mark.parametrize("mode", ["full", "compatibility", "none"])
def test_strong_value_on_two_accounts_is_refused(
    value: str, shared: bool | None, mode: StrongMapping
) -> None:
    """Row C23: what points at one certificate stands on one account, in every spelling and mode."""
    if shared is None:
        strong, _ = match_alt_security_identities((value,), NAMES)
        shared = bool(strong)
    other = replace(CAROL, account_id=9, sam_account_name="mal", alt_security_identities=(value,))
    directory = Accounts(accounts=(MAPPED, other))
    if shared:
        assert refusal(NAMES, MAPPED, mode, directory) == (
            62,
            "the certificate is mapped to several accounts",
        )
    else:
        assert judge(NAMES, MAPPED, mode, directory).strength == "strong"
