"""Revocation: what CRLs and OCSP responses say, and when they say nothing."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.certificate import Certificate
from pki.chain import Chain, ChainProfile, TrustPool, find_chain
from pki.crl import Crl
from pki.errors import ChainError, ChainFault, DerFault, PkiError, RevocationFault
from pki.ocsp import OcspResponse
from pki.revocation import RevocationPolicy, RevocationSource, Status
from tests.pki import chains, lists
from tests.pki.chains import NOW, Plan
from tests.pki.lists import HOUR, ROOT

MADE = chains.make(Plan(3, ()))
SERIAL = lists.load(MADE, 0).serial_number
PROFILE = ChainProfile()
COMPROMISE, HOLD = x509.ReasonFlags.key_compromise, x509.ReasonFlags.certificate_hold


def chain() -> Chain:
    """Return the valid chain of three."""
    pool = TrustPool((Certificate(MADE.root),))
    return find_chain(Certificate(MADE.leaf), MADE.sent, pool, PROFILE, NOW)


ROOT_CRL = lists.crl(MADE, ROOT)


def ask(
    *crls: bytes, responses: tuple[bytes, ...] = (), policy: RevocationPolicy = "require"
) -> Status:
    """Judge the chain by these lists and a good one of the root."""
    source = RevocationSource(
        policy, PROFILE, map(Crl, (ROOT_CRL, *crls)), map(OcspResponse, responses)
    )
    return source.check_chain(chain(), NOW)


def unknown(*crls: bytes, responses: tuple[bytes, ...] = ()) -> str:
    """Return the rule of the STATUS_UNKNOWN that must be raised for the leaf."""
    with pytest.raises(ChainError) as caught:
        ask(*crls, responses=responses)
    error = caught.value
    assert (error.chain_fault, error.index) == (ChainFault.STATUS_UNKNOWN, 0)
    return error.detail


def revoked(*crls: bytes, responses: tuple[bytes, ...] = ()) -> tuple[int, str]:
    """Return index and reason of the REVOKED that must be raised."""
    with pytest.raises(ChainError) as caught:
        ask(*crls, responses=responses)
    assert caught.value.chain_fault is ChainFault.REVOKED
    return caught.value.index, caught.value.detail


# -- CRLs ------------------------------------------------------------------------------------


def test_a_current_list_without_the_certificate() -> None:
    """The control; it holds until the first list ends."""
    status = ask(lists.crl(MADE, next_update=NOW + 2 * HOUR))
    assert (status.valid_until, status.warnings) == (NOW + 2 * HOUR, ())


@pytest.mark.parametrize(
    ("reason", "shown"), [(x509.ReasonFlags.unspecified, "unspecified"), (HOLD, "certificateHold")]
)
def test_a_listed_certificate(reason: x509.ReasonFlags, shown: str) -> None:
    """RFC 5280 6.3.3; a certificate on hold is revoked as long as it is."""
    assert revoked(lists.crl(MADE, revoked={SERIAL: reason})) == (0, shown)


def test_a_revoked_intermediate() -> None:
    """Every certificate but the anchor is asked about."""
    serial = lists.load(MADE, lists.CA).serial_number
    with pytest.raises(ChainError) as caught:
        RevocationSource(
            "require",
            PROFILE,
            map(Crl, (lists.crl(MADE, ROOT, revoked={serial: COMPROMISE}), lists.crl(MADE))),
        ).check_chain(chain(), NOW)
    assert (caught.value.chain_fault, caught.value.index) == (ChainFault.REVOKED, 1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ((), "no CRL of the issuer"),
        ((lists.crl(MADE, next_update=NOW - timedelta(seconds=1)),), "is not current"),
        ((lists.crl(MADE, this_update=NOW + HOUR),), "is not current"),
        ((lists.crl(MADE, signer="stranger"),), "does not verify"),
        ((lists.crl(MADE, authority="stranger"),), "another issuer"),
        ((lists.crl(MADE, ROOT),), "no CRL of the issuer"),
    ],
)
def test_lists_that_say_nothing(data: tuple[bytes, ...], why: str) -> None:
    """Row C04: missing, ended, ahead of time, of another key, of another CA."""
    assert why in unknown(*data)


def test_a_ca_that_may_not_sign_lists() -> None:
    """RFC 5280 6.3.3 (f): keyUsage without cRLSign."""

    def only_certificates(links: list[chains.Made], at: int) -> None:
        links[at].put("usage", chains.usage("key_cert_sign"), critical=True)

    made = chains.make(Plan(3, ((chains.Defect("no cRLSign", only_certificates), 1),)))
    crl = Crl(lists.crl(made))
    with pytest.raises(PkiError) as caught:
        crl.check_signature(Certificate(made.sent[0]), PROFILE.digests, PROFILE.key_policy)
    assert caught.value.fault is RevocationFault.NOT_ALLOWED


def test_a_digest_that_is_taken_away_counts_for_lists_that_were_verified() -> None:
    """A list is read once and kept across reloads: one may have taken legacy_sha1_cert back."""
    crl, issuer = Crl(lists.crl(MADE)), Certificate(MADE.sent[0])
    crl.check_signature(issuer, PROFILE.digests, PROFILE.key_policy)
    crl.check_signature(issuer, PROFILE.digests, PROFILE.key_policy)
    with pytest.raises(PkiError) as caught:
        crl.check_signature(issuer, frozenset(), PROFILE.key_policy)
    assert caught.value.fault is RevocationFault.UNSUPPORTED


def test_an_unknown_status_under_soft_is_a_warning_for_a_short_time() -> None:
    """Revocation = soft."""
    status = ask(policy="soft")
    assert status.warnings
    assert status.valid_until is not None and status.valid_until <= NOW + HOUR


def test_soft_still_refuses_what_is_revoked_and_off_asks_nobody() -> None:
    """Revocation = soft, off."""
    data = lists.crl(MADE, revoked={SERIAL: COMPROMISE})
    with pytest.raises(ChainError):
        ask(data, policy="soft")
    assert ask(data, policy="off") == Status()


def ended(reason: x509.ReasonFlags, signer: str = "") -> bytes:
    """Return a list with the leaf whose time is over."""
    begin, end = NOW - 2 * HOUR, NOW - HOUR
    listed = {SERIAL: reason}
    return lists.crl(MADE, revoked=listed, signer=signer, this_update=begin, next_update=end)


@pytest.mark.parametrize("policy", ["soft", "require"])
def test_what_an_ended_list_calls_revoked_stays_so(policy: RevocationPolicy) -> None:
    """RFC 5280 5.3.1: `soft` lets a status be unknown, not be forgotten."""
    with pytest.raises(ChainError) as caught:
        ask(ended(COMPROMISE), policy=policy)
    assert caught.value.chain_fault is ChainFault.REVOKED


def test_an_ended_list_says_nothing_beside_a_current_one_of_a_hold_or_of_another_key() -> None:
    """RFC 5280 5.3.1: a hold may have ended, and a newer list knows better."""
    assert not ask(ended(COMPROMISE), lists.crl(MADE), policy="soft").warnings
    for data in (ended(HOLD), ended(COMPROMISE, signer="stranger")):
        assert ask(data, policy="soft").warnings


def test_the_newest_list_of_a_scope_counts() -> None:
    """crlNumber, 5.2.3: a certificate released from hold."""
    old = lists.crl(MADE, revoked={SERIAL: HOLD}, number=4)
    new = lists.crl(MADE, number=5)
    ask(old, new)
    ask(new, old)


def test_a_delta_list_adds_and_removes() -> None:
    """RFC 5280 5.2.4: BaseCRLNumber at most the base's number, its own number above."""
    base = lists.crl(MADE, number=10)
    held = lists.crl(MADE, number=10, revoked={SERIAL: HOLD})
    added = lists.crl(MADE, number=12, base=10, revoked={SERIAL: COMPROMISE})
    removed = lists.crl(MADE, number=13, base=9, revoked={SERIAL: x509.ReasonFlags.remove_from_crl})
    assert revoked(base, added) == (0, "keyCompromise")
    ask(held, removed)
    assert revoked(held) == (0, "certificateHold")


@pytest.mark.parametrize(("number", "base"), [(12, 11), (9, 5)])
def test_a_delta_list_that_does_not_fit_its_base_is_not_used(number: int, base: int) -> None:
    """One that starts later than the base, or is older."""
    ask(
        lists.crl(MADE, number=10),
        lists.crl(MADE, number=number, base=base, revoked={SERIAL: COMPROMISE}),
    )


def test_a_delta_list_alone_says_nothing() -> None:
    """It is a list of changes."""
    delta = lists.crl(MADE, number=12, base=10, revoked={SERIAL: COMPROMISE})
    assert unknown(delta) == "no CRL of the issuer"


def _scope(**given: object) -> x509.IssuingDistributionPoint:
    fields: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
        **given,
    }
    return x509.IssuingDistributionPoint(**fields)  # type: ignore[arg-type]  # its own fields


def test_a_list_of_user_certificates_speaks_of_them() -> None:
    """issuingDistributionPoint, 5.2.5."""
    scope = _scope(only_contains_user_certs=True)
    ask(lists.crl(MADE, scope=scope))
    assert revoked(lists.crl(MADE, scope=scope, revoked={SERIAL: COMPROMISE}))[0] == 0


@pytest.mark.parametrize(
    "scope",
    [
        _scope(only_contains_ca_certs=True),
        _scope(only_contains_attribute_certs=True),
        _scope(full_name=[x509.UniformResourceIdentifier("http://pki.test/other.crl")]),
    ],
)
def test_a_list_of_another_scope_says_nothing(scope: x509.IssuingDistributionPoint) -> None:
    """6.3.3 (b): CA certificates only, attribute certificates only, another distribution point."""
    assert unknown(lists.crl(MADE, scope=scope)) == "no CRL of the issuer"


def test_lists_of_some_reasons_count_together() -> None:
    """onlySomeReasons: revoked by one is revoked; good only when all reasons are covered."""
    one = _scope(only_some_reasons=frozenset((COMPROMISE, x509.ReasonFlags.ca_compromise)))
    rest = _scope(
        only_some_reasons=frozenset(
            reason
            for reason in x509.ReasonFlags
            if reason
            not in (
                *(COMPROMISE, x509.ReasonFlags.ca_compromise),
                *(x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl),
            )
        )
    )
    assert "all reasons" in unknown(lists.crl(MADE, scope=one))
    ask(lists.crl(MADE, scope=one), lists.crl(MADE, scope=rest))
    assert revoked(lists.crl(MADE, scope=one, revoked={SERIAL: COMPROMISE}))[0] == 0


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (lists.crl(MADE, scope=_scope(indirect_crl=True)), RevocationFault.UNSUPPORTED),
        (
            lists.crl(
                MADE,
                critical=x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"),
            ),
            RevocationFault.UNSUPPORTED,
        ),
        (lists.crl(MADE)[:-1], DerFault.TRUNCATED),
        (lists.crl(MADE) + b"\0", DerFault.TRAILING_DATA),
        (b"", DerFault.TRUNCATED),
    ],
)
def test_lists_that_are_refused_when_read(data: bytes, fault: RevocationFault | DerFault) -> None:
    """Indirect lists, unknown critical extensions, broken DER."""
    with pytest.raises(PkiError) as caught:
        Crl(data)
    assert caught.value.fault is fault


@pytest.mark.slow
def test_a_hundred_thousand_entries_are_searched_in_seventeen_steps() -> None:
    """A large list costs a logon nothing: a sorted block, found and not found."""
    serials = {1000 + 7 * i: x509.ReasonFlags.unspecified for i in range(100_000)}
    crl = Crl(lists.crl(MADE, revoked=serials))
    assert len(crl.entries) == 100_000
    for serial in (1000, 1007, 1000 + 7 * 99_999):
        assert crl.reason_of(serial) == 0
    for serial in (0, 999, 1001, 1 << 80, -5):
        assert crl.reason_of(serial) is None
    assert crl.entries.steps() <= 17


# -- OCSP ------------------------------------------------------------------------------------


def _bent(data: bytes) -> bytes:
    """Flip the last bit: of the signature, in a response without certificates."""
    return data[:-1] + bytes((data[-1] ^ 1,))


@pytest.mark.parametrize("digest", [None, "sha256"])
def test_a_good_response_of_the_issuer_itself(digest: str | None) -> None:
    """RFC 6960 4.2.2.2; CertID by SHA-1 and SHA-256."""
    from cryptography.hazmat.primitives import hashes

    ask(responses=(lists.response(MADE, digest=hashes.SHA256() if digest else None),))


def test_a_delegated_responder() -> None:
    """Its certificate comes in the response, issued directly, with OCSPSigning."""
    ask(responses=(lists.response(MADE, by=lists.responder(MADE)),))


def test_a_revoked_response_counts_beside_a_list_that_says_nothing_bad() -> None:
    """What any source calls revoked is revoked."""
    bad = lists.response(MADE, ocsp.OCSPCertStatus.REVOKED)
    assert revoked(lists.crl(MADE), responses=(bad,)) == (0, "keyCompromise")
    listed = lists.crl(MADE, revoked={SERIAL: COMPROMISE})
    assert revoked(listed, responses=(lists.response(MADE),))[0] == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (lists.response(MADE, ocsp.OCSPCertStatus.UNKNOWN), "does not know it"),
        (lists.response(MADE, next_update=NOW - timedelta(seconds=1)), "is not current"),
        (lists.response(MADE, this_update=NOW - 30 * HOUR, next_update=None), "is not current"),
        (_bent(lists.response(MADE)), "does not verify"),
        (
            lists.response(MADE, by=lists.responder(MADE, purposes=())),
            "may not sign revocation data",
        ),
        (
            lists.response(
                MADE, by=lists.responder(MADE, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))
            ),
            "may not sign revocation data",
        ),
        (
            lists.response(MADE, by=lists.responder(MADE, issuer_key="stranger")),
            "may not sign revocation data",
        ),
        (
            lists.response(MADE, by=lists.responder(MADE, not_after=NOW - timedelta(minutes=1))),
            "may not sign revocation data",
        ),
        (
            lists.response(MADE, by=lists.responder(MADE, no_check=False)),
            "may not sign revocation data",
        ),
    ],
)
def test_responses_that_say_nothing(data: bytes, why: str) -> None:
    """RFC 6960 3.2, 4.2.2.2."""
    assert why in unknown(responses=(data,))


def test_a_responder_without_nocheck_needs_a_status_of_its_own() -> None:
    """RFC 6960 4.2.2.2.1: the issuer's CRL answers for the responder."""
    data = lists.response(MADE, by=lists.responder(MADE, no_check=False))
    ask(lists.crl(MADE), responses=(data,))
    assert revoked(lists.crl(MADE, revoked={SERIAL: HOLD}), responses=(data,))[0] == 0


def test_responses_that_are_no_answer() -> None:
    """`tryLater` and its like, and broken DER."""
    late = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    from cryptography.hazmat.primitives.serialization import Encoding

    with pytest.raises(PkiError) as caught:
        OcspResponse(late.public_bytes(Encoding.DER))
    assert caught.value.fault is RevocationFault.UNSUPPORTED
    with pytest.raises(PkiError):
        OcspResponse(lists.response(MADE)[:-3])
