"""Fetched OCSP responses under remembered chains, and who is told of logon certificates."""

import gc
import hashlib

import pytest
from cryptography.x509.ocsp import OCSPCertStatus

from kdc.config import KdcConfig
from kdc.server.certificates import chain_profile
from kdc.trust.cert_trust import CertTrust, ca_identity
from kdc.trust.mapping import MappingPolicy
from pki.certificate import Certificate
from pki.chain import TrustPool
from pki.crl import Crl
from pki.errors import ChainError, ChainFault
from pki.ocsp_bundle import OcspBundle, encode_bundle
from pki.revocation import RevocationSource
from tests.pki import chains, lists
from tests.pki.chains import NOW, Plan
from tests.pki.lists import HOUR, ROOT

MADE = chains.make(Plan(3, ()))
LEAF = hashlib.sha256(MADE.leaf).digest()
CONFIG = KdcConfig(realm="LAB.TEST", netbios="LAB", domain="lab.test")


def _trust() -> CertTrust:
    root, ca = Certificate(MADE.root), Certificate(MADE.sent[0])
    profile = chain_profile(CONFIG)
    return CertTrust(
        pool=TrustPool((root,), (ca,)),
        logon_cas=frozenset((ca_identity(ca),)),
        profile=profile,
        mapping=MappingPolicy(realm="LAB.TEST", netbios="LAB", domain="lab.test"),
        revocation=RevocationSource("require", profile, [Crl(lists.crl(MADE, ROOT))]),
    )


def _with(trust: CertTrust, response: bytes | None) -> CertTrust:
    responses = {} if response is None else {LEAF: response}
    bundle = OcspBundle(encode_bundle(responses))
    trust.revocation = trust.revocation.with_fetched(bundle)
    return trust


def test_a_fetched_response_says_what_no_list_does() -> None:
    """RFC 6960: good lets pass, revoked refuses, none leaves the status unknown."""
    trust = _trust()
    with pytest.raises(ChainError) as caught:
        trust.valid_chain(MADE.leaf, (), NOW)
    assert caught.value.chain_fault is ChainFault.STATUS_UNKNOWN
    good = _with(trust, lists.response(MADE)).valid_chain(MADE.leaf, (), NOW)
    assert good.valid_until == NOW + 24 * HOUR
    revoked = lists.response(MADE, OCSPCertStatus.REVOKED)
    with pytest.raises(ChainError) as caught:
        _with(trust, revoked).valid_chain(MADE.leaf, (), NOW)
    assert caught.value.chain_fault is ChainFault.REVOKED


def test_another_bundle_forgets_only_chains_whose_response_is_another() -> None:
    """Refreshing thousands of responses must not make every chain be validated again."""
    trust = _with(_trust(), lists.response(MADE))
    seen: list[bytes] = []
    trust.seen = seen.append
    trust.valid_chain(MADE.leaf, (), NOW)
    assert seen == [MADE.leaf]
    same = {LEAF: trust.revocation.fetched.response(LEAF) or b"", b"x" * 32: b"another's"}
    trust.revocation = trust.revocation.with_fetched(OcspBundle(encode_bundle(same)))
    trust.valid_chain(MADE.leaf, (), NOW)
    assert seen == [MADE.leaf]  # remembered
    _with(trust, lists.response(MADE, this_update=NOW - HOUR / 2)).valid_chain(MADE.leaf, (), NOW)
    assert seen == [MADE.leaf] * 2
    with pytest.raises(ChainError):
        _with(trust, None).valid_chain(MADE.leaf, (), NOW)


def test_a_remembered_chain_does_not_keep_the_bundle() -> None:
    """Bundles of megabytes are replaced every few seconds, chains are remembered for hours."""
    trust = _with(_trust(), lists.response(MADE))
    trust.valid_chain(MADE.leaf, (), NOW)
    before = trust.revocation.fetched
    trust.revocation = trust.revocation.with_fetched(OcspBundle())
    remembered = trust.memory.find(LEAF, NOW)
    assert remembered is not None
    assert not any(one is before for one in gc.get_referents(remembered))


def test_only_validated_leaves_are_told() -> None:
    """What a stranger has signed is not; one whose revocation is not known yet is."""
    trust = _trust()
    seen: list[bytes] = []
    trust.seen = seen.append
    other = chains.make(Plan(3, ())).leaf[:-1] + b"\x00"
    with pytest.raises(ChainError):
        trust.valid_chain(other, (), NOW)
    assert seen == []
    with pytest.raises(ChainError):
        trust.valid_chain(MADE.leaf, (), NOW)
    assert seen == [MADE.leaf]
    trust.logon_cas = frozenset()
    trust.memory = type(trust.memory)()
    with pytest.raises(ChainError) as caught:
        trust.valid_chain(MADE.leaf, (), NOW)
    assert caught.value.chain_fault is ChainFault.NOT_A_LOGON_CA
    assert seen == [MADE.leaf]
