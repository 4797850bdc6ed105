"""Path validation decides as two independent judges do, on some hundred generated chains.

The judges: `openssl verify` (for the client purpose, with policies, at security level 2) and
pyhanko-certvalidator. Where one of them differs, `EXPLAINED` says why; a difference that is not in
the table fails, and so does a row of the table that no chain needs.
"""

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from asn1crypto import x509 as asn1_x509  # type: ignore[import-untyped]  # has no types
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathBuildingError, PathValidationError, ValidationError

from pki import oids
from pki.ca import certificate_to_pem
from pki.certificate import Certificate
from pki.chain import ChainProfile, TrustPool, find_chain
from pki.errors import ChainError
from tests.pki import chains
from tests.pki.chains import NOW, MadeChain, Plan

pytestmark = pytest.mark.slow

PLANS = chains.plans()
PROFILE = ChainProfile(purposes=frozenset((oids.ID_KP_CLIENT_AUTH,)), any_purpose=True)


def ours(made: MadeChain) -> str:
    """Return "" for a valid chain, else the fault."""
    pool = TrustPool((Certificate(made.root),))
    try:
        find_chain(Certificate(made.leaf), made.sent, pool, PROFILE, NOW)
    except ChainError as error:
        return error.chain_fault.value
    return ""


def openssl(made: MadeChain, folder: Path) -> str:
    """Ask `openssl verify`; its only clock is -attime."""
    root, sent, leaf = folder / "root.pem", folder / "sent.pem", folder / "leaf.pem"
    root.write_bytes(certificate_to_pem(made.root))
    sent.write_bytes(b"".join(map(certificate_to_pem, made.sent)))
    leaf.write_bytes(certificate_to_pem(made.leaf))
    untrusted = ["-untrusted", str(sent)] if made.sent else []
    done = subprocess.run(
        [
            *("openssl", "verify", "-CAfile", str(root), "-no-CApath", "-no-CAstore", *untrusted),
            *("-attime", str(int(NOW.timestamp())), "-purpose", "sslclient"),
            *("-policy_check", "-auth_level", "2", str(leaf)),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip()


def certvalidator(made: MadeChain) -> str:
    """Ask pyhanko-certvalidator, for signing with the purpose of client authentication."""
    context = ValidationContext(
        trust_roots=[asn1_x509.Certificate.load(made.root)],
        other_certs=[asn1_x509.Certificate.load(data) for data in made.sent],
        moment=NOW,
        allow_fetching=False,
        weak_hash_algos={"md2", "md5", "sha1"},
    )
    validator = CertificateValidator(
        asn1_x509.Certificate.load(made.leaf), validation_context=context
    )
    try:
        asyncio.run(
            validator.async_validate_usage(  # type: ignore[no-untyped-call]  # has no types
                {"digital_signature"}, {"client_auth"}, extended_optional=True
            )
        )
    except (PathBuildingError, PathValidationError, ValidationError) as error:
        return str(error) or type(error).__name__
    except TypeError:
        return "it fails on constraints of an otherName"
    return ""


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a judge may differ on the chains of which `holds` is true."""

    judge: str
    we_accept: bool
    why: str
    holds: Callable[[Plan], bool]


_ANCHOR_RULES = frozenset(
    (
        *("expired", "not yet valid", "unknown critical", "no basicConstraints", "CA:FALSE"),
        *("pathLen 0", "pathLen 1", "no keyCertSign", "DNS permitted elsewhere", "DNS excluded"),
        *("directory permitted elsewhere", "directory excluded", "e-mail permitted elsewhere"),
        *("e-mail excluded", "UPN permitted elsewhere", "purpose server"),
    )
)


def _anchor_breaks_a_rule(plan: Plan) -> bool:
    return any(d.name in _ANCHOR_RULES and at == plan.depth - 1 for d, at in plan.defects)


def _anchor_is_not_self_signed(plan: Plan) -> bool:
    root = plan.depth - 1
    return plan.has("authority key of another", root) or plan.has("issuer's name is another", root)


EXPLAINED = (
    Explained(
        "certvalidator",
        False,
        "RFC 5280 6.1.1 (d) takes name and key of an anchor and nothing else; we apply what its "
        "certificate says as well, as OpenSSL and Windows do",
        _anchor_breaks_a_rule,
    ),
    Explained(
        "certvalidator",
        False,
        "RFC 5280 does not let a CA's extKeyUsage limit what is below it; we do, as OpenSSL and "
        "Windows do",
        lambda plan: plan.has("purpose server", *range(1, plan.depth)),
    ),
    Explained(
        "certvalidator",
        False,
        "it does not judge the size of the leaf's own key",
        lambda plan: plan.has("key rsa1024", 0),
    ),
    Explained(
        "certvalidator",
        True,
        "asked for digital_signature, it wants keyUsage to be there; RFC 5280 4.2.1.3 lets its "
        "absence mean every use",
        lambda plan: plan.has("no keyUsage", 0),
    ),
    Explained(
        "certvalidator",
        True,
        "anyExtendedKeyUsage in the leaf: RFC 5280 4.2.1.12 leaves it to the application, and "
        "Windows takes it",
        lambda plan: plan.has("purpose any", 0),
    ),
    Explained(
        "certvalidator",
        True,
        "it cannot read constraints of an otherName; the UPN is within them",
        lambda plan: plan.has("UPN permitted"),
    ),
    Explained(
        "openssl",
        True,
        "it cannot judge constraints of an otherName; the UPN is within them",
        lambda plan: plan.has("UPN permitted"),
    ),
    Explained(
        "openssl",
        True,
        "it does not take anyExtendedKeyUsage for the client purpose, in leaf or CA",
        lambda plan: plan.has("purpose any"),
    ),
    Explained(
        "openssl",
        True,
        "without -partial_chain only a self-signed certificate ends a path; an anchor of ours is "
        "one because it is in our list",
        _anchor_is_not_self_signed,
    ),
    Explained(
        "openssl",
        False,
        "it takes a self-signed version 3 certificate without basicConstraints for a CA",
        lambda plan: plan.has("no basicConstraints", plan.depth - 1),
    ),
)
"""Every difference there is, and why we decide as we do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One chain on which a judge and we differ."""

    plan: Plan
    judge: str
    we_accept: bool
    said: str

    def explained_by(self) -> list[Explained]:
        """List the rows of the table that speak of this difference."""
        return [
            row
            for row in EXPLAINED
            if (row.judge, row.we_accept) == (self.judge, self.we_accept) and row.holds(self.plan)
        ]


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> list[Difference]:
    """Judge every chain three times and keep the differences."""
    folder = tmp_path_factory.mktemp("chains")
    out = []
    for plan in PLANS:
        made = chains.make(plan)
        own = ours(made)
        judged = {"openssl": openssl(made, folder), "certvalidator": certvalidator(made)}
        out += [
            Difference(plan, name, not own, said or own)
            for name, said in judged.items()
            if bool(said) != bool(own)
        ]
    return out


def test_there_are_chains_enough_of_both_kinds() -> None:
    """Five hundred at least, and neither all good nor all bad."""
    bad = sum(bool(ours(chains.make(plan))) for plan in PLANS)
    assert len(PLANS) >= 500
    assert len({plan.label for plan in PLANS}) >= 500
    assert 200 <= bad <= len(PLANS) - 200


@pytest.mark.timeout(300)
def test_every_difference_is_explained(differences: list[Difference]) -> None:
    """We decide as both judges do, but where the table says why not."""
    unexplained = [
        f"{d.judge} on {d.plan.label}: we {'accept' if d.we_accept else 'refuse'}: {d.said}"
        for d in differences
        if not d.explained_by()
    ]
    assert unexplained == []


@pytest.mark.timeout(300)
def test_every_explanation_is_needed(differences: list[Difference]) -> None:
    """A row that explains nothing is gone, or hides something."""
    used = {row.why for d in differences for row in d.explained_by()}
    assert {row.why for row in EXPLAINED} == used


@pytest.mark.timeout(300)
def test_no_chain_is_accepted_that_both_judges_refuse(differences: list[Difference]) -> None:
    """What only we accept, one judge at least accepts too, but for what neither can read."""
    accepted: dict[str, set[str]] = {}
    for difference in differences:
        if difference.we_accept:
            accepted.setdefault(difference.plan.label, set()).add(difference.judge)
    alone = [label for label, judges in accepted.items() if len(judges) == 2]
    assert all("UPN permitted" in label or "purpose any @0" in label for label in alone), alone
