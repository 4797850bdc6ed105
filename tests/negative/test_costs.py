"""What a hostile request may cost: rows P13, K09, D06, E04."""

import pytest

import tests.negative.cases  # noqa: F401  registers the cases
from tests.negative.conftest import Targets
from tests.negative.engine import CASES, exchange, run

pytestmark = pytest.mark.e2e

_TRIES = 8

# Milliseconds of the worker for one request. The first look at an account of 512 values decodes
# them all; what is measured there is a logon that finds them decoded no longer.
LIMITS_MS = {
    "P13.rsa_1024": 10,
    "P13.exponent_1": 10,
    "P13.exponent_huge": 10,
    "P13.rsa_16384": 10,
    "K09.key_is_last_of_10000": 50,
    "K09.key_is_512th": 50,
    "D06.p_16384_bits": 2,
    "D06.p_and_y_16384_bits": 2,
    "D01.modp_8192": 2,
    "E04.nested_20000": 5,
    "E04.nested_in_padata": 5,
    "E04.nested_in_pk_as_req": 5,
    "E04.nested_in_trusted_certifiers": 5,
    "E04.padata_5000": 5,
    "E04.etypes_3000": 5,
    "E04.nonce_60_KB": 5,
    "E04.oid_60_KB": 5,
    "N06.60_KB": 5,
    "F05.huge": 5,
    "D08.60_KB": 5,
}


@pytest.mark.parametrize("case_id", LIMITS_MS)
def test_hostile_request_is_cheap(targets: Targets, case_id: str) -> None:
    """The best of eight tries is under the row's bound; the machine may be busy with other things.

    Not a benchmark: a bound that fails is off by a factor, not by a millisecond.
    """
    case = CASES[case_id]
    target = targets.get(case.realm)
    best = float("inf")
    for _ in range(_TRIES):
        got = run(target.world, exchange(case.build(target.world)), "udp")
        cost = target.audit.of("udp", got.port)[-1]["ms"]
        assert isinstance(cost, int | float)
        best = min(best, cost)
    assert best < LIMITS_MS[case_id]
