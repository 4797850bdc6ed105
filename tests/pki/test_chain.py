"""Path validation, rule by rule: the certificate at fault and the rule are named."""

from dataclasses import replace
from typing import Any

import pytest

from pki import oids
from pki.certificate import Certificate
from pki.chain import BUDGET, Chain, ChainProfile, TrustPool, find_chain
from pki.errors import ChainError, ChainFault
from tests.pki import chains
from tests.pki.chains import CA_ONLY, EVERYWHERE, LEAF_ONLY, NOW, Defect, MadeChain, Plan

CLIENT = ChainProfile(purposes=frozenset((oids.ID_KP_CLIENT_AUTH,)), any_purpose=True)
DEFECTS = {d.name: d for d in (*EVERYWHERE, *CA_ONLY, *LEAF_ONLY)}


def plan(*defects: tuple[str, int], depth: int = 3) -> Plan:
    """Return a plan with defects by name."""
    return Plan(depth, tuple((DEFECTS[name], at) for name, at in defects))


def validate(made: MadeChain, profile: ChainProfile = CLIENT) -> Chain:
    """Find the chain with the root alone as anchor."""
    pool = TrustPool((Certificate(made.root),))
    return find_chain(Certificate(made.leaf), made.sent, pool, profile, NOW)


def refusal(made: MadeChain, profile: ChainProfile = CLIENT) -> ChainError:
    """Return the ChainError that validation must raise."""
    with pytest.raises(ChainError) as caught:
        validate(made, profile)
    return caught.value


def test_three_certificates() -> None:
    """The control: leaf, intermediate, root, and the time in which all are valid."""
    chain = validate(chains.make(plan()))
    assert len(chain.certificates) == 3
    assert (chain.not_before, chain.not_after) == (NOW - 30 * chains.DAY, NOW + 365 * chains.DAY)


@pytest.mark.parametrize(
    ("name", "at", "fault", "index"),
    [
        ("expired", 0, ChainFault.EXPIRED, 0),
        ("expired", 1, ChainFault.EXPIRED, 1),
        ("expired", 2, ChainFault.EXPIRED, 2),
        ("not yet valid", 0, ChainFault.NOT_YET_VALID, 0),
        ("signed by another key", 0, ChainFault.BAD_SIGNATURE, 0),
        ("signed by another key", 1, ChainFault.BAD_SIGNATURE, 1),
        ("authority key of another", 0, ChainFault.UNKNOWN_ISSUER, 0),
        ("issuer's name is another", 1, ChainFault.UNKNOWN_ISSUER, 1),
        ("not sent", 1, ChainFault.UNKNOWN_ISSUER, 0),
        ("SHA-1", 0, ChainFault.DIGEST_NOT_ACCEPTED, 0),
        ("key rsa1024", 0, ChainFault.KEY_NOT_ACCEPTED, 0),
        ("key rsa1024", 1, ChainFault.KEY_NOT_ACCEPTED, 1),
        ("unknown critical", 0, ChainFault.UNKNOWN_CRITICAL_EXTENSION, 0),
        ("unknown critical", 2, ChainFault.UNKNOWN_CRITICAL_EXTENSION, 2),
        ("CA:FALSE", 1, ChainFault.NOT_A_CA, 1),
        ("no basicConstraints", 1, ChainFault.NOT_A_CA, 1),
        ("no keyCertSign", 1, ChainFault.NOT_A_CA, 1),
        ("pathLen 0", 2, ChainFault.PATH_TOO_LONG, 2),
        ("DNS permitted elsewhere", 2, ChainFault.NAME_CONSTRAINT, 0),
        ("DNS excluded", 1, ChainFault.NAME_CONSTRAINT, 0),
        ("directory permitted elsewhere", 2, ChainFault.NAME_CONSTRAINT, 1),
        ("UPN permitted elsewhere", 1, ChainFault.NAME_CONSTRAINT, 0),
        ("explicit policy", 1, ChainFault.POLICY_CONSTRAINT, 0),
        ("keyUsage keyEncipherment", 0, ChainFault.WRONG_KEY_USAGE, 0),
        ("purpose server", 0, ChainFault.WRONG_EKU, 0),
        ("purpose server", 1, ChainFault.WRONG_EKU, 1),
    ],
)
def test_the_certificate_at_fault_is_named(
    name: str, at: int, fault: ChainFault, index: int
) -> None:
    """RFC 5280 6.1: one defect, its fault, and where it is."""
    made = chains.make(plan((name, at)))
    error = refusal(made)
    assert (error.chain_fault, error.index) == (fault, index)
    encoded = (made.leaf, *made.sent, made.root)
    assert error.certificate == encoded[index]
    assert error.serial_number == Certificate(encoded[index]).serial_number
    assert error.subject.startswith("CN=")
    assert error.detail


@pytest.mark.parametrize("name", ["SHA-384", "RSASSA-PSS", "key rsa", "key p384", "unknown"])
@pytest.mark.parametrize("at", [0, 1])
def test_what_is_accepted(name: str, at: int) -> None:
    """Algorithms, keys and extensions that are no defects."""
    validate(chains.make(plan((name, at))))


def test_sha1_behind_its_switch() -> None:
    """Row P12: legacy_sha1_cert."""
    from pki.signatures import Digest

    made = chains.make(plan(("SHA-1", 0)))
    validate(made, replace(CLIENT, digests=CLIENT.digests | {Digest.SHA1}))


def test_policies_that_are_demanded_and_there() -> None:
    """RFC 5280 6.1.5 (g): every certificate below has the policy."""
    validate(chains.make(plan(("explicit policy", 2), ("policy", 1), ("policy", 0))))
    error = refusal(chains.make(plan(("explicit policy", 1), ("policy", 1), ("other policy", 0))))
    assert error.chain_fault is ChainFault.POLICY_CONSTRAINT


@pytest.mark.parametrize(
    ("profile", "defect", "accepted"),
    [
        (CLIENT, "", True),
        (CLIENT, "purpose any", True),
        (CLIENT, "purpose server", False),
        (replace(CLIENT, any_purpose=False), "purpose any", False),
        (ChainProfile(), "purpose server", True),
    ],
)
def test_purposes_of_a_logon(profile: ChainProfile, defect: str, accepted: bool) -> None:
    """Row C08: the modes of pkinit_eku_checking."""
    made = chains.make(plan(*([(defect, 0)] if defect else [])))
    if accepted:
        validate(made, profile)
    else:
        assert refusal(made, profile).chain_fault is ChainFault.WRONG_EKU


def _without_purpose(links: list[chains.Made], at: int) -> None:
    links[at].extensions.pop("purpose")


def test_absent_purpose_is_refused_only_where_one_is_required() -> None:
    """Row C08: windows and kpClientAuth."""
    made = chains.make(Plan(3, ((Defect("no purpose", _without_purpose), 0),)))
    validate(made)
    error = refusal(made, replace(CLIENT, purpose_required=True))
    assert (error.chain_fault, error.detail) == (ChainFault.WRONG_EKU, "no extKeyUsage")


def test_another_path_is_tried_when_the_first_breaks_a_rule() -> None:
    """RFC 4158: a CA with two certificates, of which one has expired."""
    old = chains.make(plan(("expired", 1)))
    new = chains.make(plan())
    both = MadeChain(leaf=new.leaf, sent=(*old.sent, *new.sent), root=new.root)
    assert len(validate(both).certificates) == 3


def test_what_judges_a_path_further_can_refuse_it() -> None:
    """Revocation and logon CAs are asked for each path; their fault is the one reported."""
    made = chains.make(plan())
    seen: list[Chain] = []

    def accept(chain: Chain) -> None:
        seen.append(chain)
        raise ChainError(
            ChainFault.REVOKED, "x", index=0, subject="", serial_number=1, certificate=b""
        )

    pool = TrustPool((Certificate(made.root),))
    with pytest.raises(ChainError) as caught:
        find_chain(Certificate(made.leaf), made.sent, pool, CLIENT, NOW, accept=accept)
    assert caught.value.chain_fault is ChainFault.REVOKED
    assert len(seen) == 1


def test_unreadable_certificates_beside_the_chain_do_not_matter() -> None:
    """What the client sends besides is material, nothing more."""
    made = chains.make(plan())
    validate(replace(made, sent=(b"", b"\x30\x80", made.leaf[:-1], *made.sent)))


def test_hostile_chains_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row C10: signatures are counted, not timed; each pair is checked once."""
    from pki import chain as module

    counted: list[int] = []
    check = module.check_issued_by

    def counting(*given: Any) -> None:
        counted.append(1)
        check(*given)

    monkeypatch.setattr(module, "check_issued_by", counting)
    made = chains.make(plan(depth=4))
    with pytest.raises(ChainError) as caught:
        find_chain(Certificate(made.leaf), made.sent * 4, TrustPool(()), CLIENT, NOW)
    assert caught.value.chain_fault is ChainFault.UNKNOWN_ISSUER
    assert len(counted) <= 4
    with pytest.raises(ChainError) as caught:
        find_chain(Certificate(made.leaf), made.sent * 6, TrustPool(()), CLIENT, NOW)
    assert caught.value.chain_fault is ChainFault.OVER_BUDGET
    assert BUDGET.signatures <= 24
