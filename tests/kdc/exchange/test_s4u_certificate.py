"""S4U2Self by a certificate of a logon CA: judged as a logon would be (MS-SFU 3.2.5.1.1)."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from kdc.explain.tree import message_tree
from kdc.state_folder import StateFolder
from kdc.wire.constants import ErrorCode, PaType
from pki.certificate import Certificate
from tests.kdc.builders import (
    BODY,
    Kdc,
    add_hello_key,
    as_req,
    name,
    padata,
    password_keys,
    refused,
)
from tests.kdc.s4u_builders import X509User, ask_for, change, open_s4u
from tests.kdc.tgs_builders import key_tgt
from tests.pki import chains, lists
from tests.pki.chains import Defect, Plan

NO_NAMES = x509.SubjectAlternativeName([x509.RFC822Name("carol@lab.test")])
MADE = chains.make(Plan(3, ()))
"""root > CA > leaf, whose UPN is carol@lab.test and whose dNSName pc1.lab.test."""
NAMELESS = chains.make(
    Plan(3, ((Defect("no names", lambda links, at: links[at].put("san", NO_NAMES)), 0),))
)
RSA = chains.make(
    Plan(3, ((Defect("RSA key", lambda links, at: setattr(links[at], "key_name", "rsa leaf")), 0),))
)
KEY_HASH = hashlib.sha1(
    Certificate(MADE.leaf).subject_public_key(), usedforsecurity=False
).hexdigest()
STRONG = f"X509:<SHA1-PUKEY>{KEY_HASH}"


def trust_ca(folder: Path, *, revoked: bool = False) -> None:
    """Let a realm trust the CA of MADE for logons; revoked: its CRL has the leaf."""
    state = StateFolder(folder)
    for place in (state.logon_cas, state.trusted_roots, state.crls):
        place.mkdir(parents=True, exist_ok=True)
    (state.trusted_roots / "root.der").write_bytes(MADE.root)
    (state.logon_cas / "ca.der").write_bytes(MADE.sent[0])
    (state.crls / "root.crl").write_bytes(lists.crl(MADE, lists.ROOT))
    serial = Certificate(MADE.leaf).serial_number
    listed = {serial: x509.ReasonFlags.key_compromise} if revoked else None
    (state.crls / "ca.crl").write_bytes(lists.crl(MADE, revoked=listed))


@pytest.fixture
def site(kdc: Kdc) -> Kdc:
    """A realm with a logon CA, and carol, to whom nothing but a UPN leads."""
    trust_ca(kdc.folder)
    kdc.configure()
    kdc.add_user("carol", keys=password_keys("carol"))
    return kdc


BY_CERTIFICATE = X509User(user=None, certificate=MADE.leaf)
BOTH = X509User(user=name("carol"), certificate=MADE.leaf)


@pytest.mark.parametrize("asked", [BY_CERTIFICATE, BOTH], ids=["certificate", "and name"])
def test_certificate_that_maps_strongly_names_its_user(site: Kdc, asked: X509User) -> None:
    """The control: its key is registered nowhere, its chain and mapping are good."""
    change(site, "carol", alt_security_identities=(STRONG,))
    ticket = open_s4u(ask_for(site, key_tgt(site, "pc1"), asked), site).ticket
    assert ticket.cname == name("carol")


def test_service_asks_the_as_whose_certificate_it_is(site: Kdc) -> None:
    """MS-SFU 3.1.5.1.1: the AS names a step to go on with, not an unknown client."""
    change(site, "carol", alt_security_identities=(STRONG,))
    nobody = replace(BODY, cname=name(""))
    request = as_req(nobody, padata(PaType.S4U_X509_USER, MADE.leaf))
    assert site.ask(request).code == ErrorCode.KDC_ERR_PREAUTH_REQUIRED


def _weak(site: Kdc) -> None:
    """Nothing strong: the UPN alone."""


def _two(site: Kdc) -> None:
    for account in ("carol", "pc1$"):
        change(site, account, alt_security_identities=(STRONG,))


def _revoked(site: Kdc) -> None:
    change(site, "carol", alt_security_identities=(STRONG,))
    trust_ca(site.folder, revoked=True)
    site.configure()


def _disabled(site: Kdc) -> None:
    change(site, "carol", alt_security_identities=(STRONG,), disabled=True)


REFUSALS: tuple[tuple[Callable[[Kdc], None], ErrorCode, str], ...] = (
    (
        _weak,
        ErrorCode.KDC_ERR_CERTIFICATE_MISMATCH,
        "the certificate maps to the account only weakly",
    ),
    (
        _two,
        ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
        "the certificate is mapped to several accounts",
    ),
    (
        _revoked,
        ErrorCode.KDC_ERR_REVOKED_CERTIFICATE,
        "certificate chain: certificate revoked",
    ),
    (_disabled, ErrorCode.KDC_ERR_CLIENT_REVOKED, "the account is disabled"),
)


@pytest.mark.parametrize(("prepare", "code", "why"), REFUSALS)
def test_certificate_that_could_not_log_on_names_nobody(
    site: Kdc, prepare: Callable[[Kdc], None], code: ErrorCode, why: str
) -> None:
    """Row C14, C22 and their kin: what refuses a logon refuses S4U2Self, with its code."""
    tgt = key_tgt(site, "pc1")
    prepare(site)
    assert refused(ask_for(site, tgt, BY_CERTIFICATE)[0]) == (code, why)


def test_certificate_of_another_than_the_one_named(site: Kdc) -> None:
    """The name decides who is judged, and the certificate is not his: 75."""
    change(site, "carol", alt_security_identities=(STRONG,))
    asked = X509User(user=name("bob"), certificate=MADE.leaf)
    assert refused(ask_for(site, key_tgt(site, "pc1"), asked)[0]) == (
        ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
        "the certificate does not name the account",
    )


def test_registered_key_goes_before_the_chain(site: Kdc) -> None:
    """Row C12: a key that is registered decides, whatever CA stands behind the certificate."""
    add_hello_key(site.store, "bob", Certificate(RSA.leaf).public_key())
    change(site, "carol", alt_security_identities=(STRONG,))
    asked = X509User(user=None, certificate=RSA.leaf)
    ticket = open_s4u(ask_for(site, key_tgt(site, "pc1"), asked), site).ticket
    assert ticket.cname == name("bob")


def test_names_of_two_accounts(site: Kdc) -> None:
    """Where weak mappings count, UPN and dNSName may lead to two accounts: nobody is meant."""
    site.configure(strong_mapping="none")
    assert refused(ask_for(site, key_tgt(site, "pc1"), BY_CERTIFICATE)[0]) == (
        ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
        "the certificate maps to several accounts",
    )


def test_certificate_without_names_leads_to_whom_it_is_mapped_to(site: Kdc) -> None:
    """By altSecurityIdentities alone; before it is set nobody has the certificate: 6."""
    tgt = key_tgt(site, "pc1")
    asked = X509User(user=None, certificate=NAMELESS.leaf)
    assert refused(ask_for(site, tgt, asked)[0]) == (
        ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN,
        "the certificate of S4U2Self names nobody",
    )
    change(site, "carol", alt_security_identities=(STRONG,))
    assert open_s4u(ask_for(site, tgt, asked), site).ticket.cname == name("carol")


def test_kdc_explain_shows_the_bare_certificate_of_an_as_req() -> None:
    """There the padata value is no PA-S4U-X509-USER, and no fault either."""
    tree = message_tree(as_req(BODY, padata(PaType.S4U_X509_USER, MADE.leaf)))
    assert tree.faults() == []
    for field in ("Certificate", "tbsCertificate", "subject"):
        assert tree.find(field) is not None, field
