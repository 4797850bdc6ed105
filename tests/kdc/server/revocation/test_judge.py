"""What is fetched is believed when its CA signed it, it is current and nothing newer is there."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus

from kdc.server.revocation.judge import UnwantedError, judge_crl, judge_response
from pki.certificate import Certificate
from pki.chain import ChainProfile
from pki.crl import Crl
from tests.pki import chains, lists
from tests.pki.chains import NOW, Plan
from tests.pki.lists import HOUR, ROOT

MADE = chains.make(Plan(3, ()))
ISSUER, ROOT_CA = Certificate(MADE.sent[0]), Certificate(MADE.root)
SERIAL = Certificate(MADE.leaf).serial_number
PROFILE = ChainProfile()


def _judge(data: bytes, *held: bytes) -> Crl:
    return judge_crl(data, (ISSUER,), [Crl(one) for one in held], PROFILE, NOW)[0]


def _why(data: bytes, *held: bytes) -> str:
    with pytest.raises(UnwantedError) as caught:
        _judge(data, *held)
    return str(caught.value)


def test_a_current_list_of_its_ca_is_taken() -> None:
    """Also as PEM, as the first one, in the place of a lower number, and the same again."""
    data = lists.crl(MADE, number=5)
    assert _judge(data).number == 5
    assert _judge(data, lists.crl(MADE, number=4)).number == 5
    assert _judge(data, data).number == 5
    pem = x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)
    assert _judge(pem).number == 5


def test_the_ca_is_found_among_several() -> None:
    """A list of `crl_urls` is of any CA that is held."""
    _, issuer = judge_crl(lists.crl(MADE, ROOT), (ISSUER, ROOT_CA), (), PROFILE, NOW)
    assert issuer is ROOT_CA
    with pytest.raises(UnwantedError, match="the CRL is another CA's"):
        judge_crl(lists.crl(MADE, signer="stranger"), (ISSUER, ROOT_CA), (), PROFILE, NOW)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no CRL: truncated"),
        (b"<html>", "no CRL: "),
        (lists.crl(MADE)[:-1], "no CRL: truncated"),
        (lists.crl(MADE, ROOT), "the CRL is not the CA's: revocation data of another issuer"),
        (lists.crl(MADE, signer="stranger"), "the CRL is not the CA's: revocation data's"),
        (lists.crl(MADE, next_update=NOW - HOUR / 60), "the CRL has ended"),
        (lists.crl(MADE, this_update=NOW + HOUR / 2), "the CRL is of the future"),
    ],
)
def test_lists_that_are_not_taken(data: bytes, why: str) -> None:
    """Garbage, another's, a stranger's, ended, of the future."""
    assert _why(data).startswith(why)


OLDER = "the CRL is older than the one at hand"


@pytest.mark.parametrize(
    ("number", "age_h", "held_number", "held_age_h"),
    [(4, 1, 5, 1), (5, 2, 5, 1), (None, 1, 5, 2), (None, 2, None, 1)],
)
def test_a_list_is_never_rolled_back(
    number: int | None, age_h: int, held_number: int | None, held_age_h: int
) -> None:
    """RFC 5280 5.2.3, row S04: a lower number, an older list with the same, one without."""
    data = lists.crl(MADE, number=number, this_update=NOW - age_h * HOUR)
    held = lists.crl(MADE, number=held_number, this_update=NOW - held_age_h * HOUR)
    assert _why(data, held) == OLDER


def test_only_lists_of_the_same_series_and_signer_are_compared() -> None:
    """A delta list is numbered apart here, and what a stranger signed holds nothing up."""
    data = lists.crl(MADE, number=5)
    assert _judge(data, lists.crl(MADE, number=9, base=5)).number == 5
    assert _judge(data, lists.crl(MADE, number=9, signer="stranger")).number == 5
    assert _judge(data, lists.crl(MADE, ROOT, number=9)).number == 5


# -- responses -------------------------------------------------------------------------------


def _why_response(data: bytes, held: bytes | None = None, serial: int = SERIAL) -> str:
    with pytest.raises(UnwantedError) as caught:
        judge_response(data, serial, ISSUER, held, PROFILE, NOW)
    return str(caught.value)


def test_a_current_response_of_the_ca_or_its_responder_is_taken() -> None:
    """RFC 6960 4.2.2.2."""
    status = judge_response(lists.response(MADE), SERIAL, ISSUER, None, PROFILE, NOW)
    assert status.reason is None
    by = lists.responder(MADE)
    revoked = lists.response(MADE, OCSPCertStatus.REVOKED, by=by)
    status = judge_response(revoked, SERIAL, ISSUER, lists.response(MADE), PROFILE, NOW)
    assert status.reason == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no use as an OCSP response"),
        (b"\x30\x03\x0a\x01\x03", "no use as an OCSP response: the responder did not answer"),
        (lists.response(MADE, OCSPCertStatus.UNKNOWN), "the OCSP responder does not know"),
        (lists.response(MADE, next_update=NOW - HOUR / 60), "the OCSP response has ended"),
        (lists.response(MADE, this_update=NOW + HOUR), "the OCSP response is of the future"),
        (
            lists.response(MADE, by=lists.responder(MADE, issuer_key="stranger")),
            "no use as an OCSP response: the responder's certificate is not signed by the issuer",
        ),
    ],
)
def test_responses_that_are_not_taken(data: bytes, why: str) -> None:
    """Garbage, tryLater, unknown, ended, of the future, of a stranger."""
    assert _why_response(data).startswith(why)


def test_a_response_about_another_certificate_is_not_taken() -> None:
    """The responder answers what it likes."""
    why = _why_response(lists.response(MADE), serial=SERIAL + 1)
    assert why == "the OCSP response is about another certificate"


def test_an_older_response_does_not_take_a_newer_ones_place() -> None:
    """Whoever replays "good" after "revoked" is refused."""
    newer = lists.response(MADE, OCSPCertStatus.REVOKED, this_update=NOW - HOUR / 2)
    why = _why_response(lists.response(MADE, this_update=NOW - HOUR), newer)
    assert why == "the OCSP response is older than the one at hand"
    later = lists.response(MADE, this_update=NOW - HOUR / 2 + timedelta(seconds=1))
    assert judge_response(later, SERIAL, ISSUER, newer, PROFILE, NOW).reason is None
