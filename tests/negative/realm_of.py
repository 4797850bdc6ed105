"""Which realm a test of bad requests is about: what tests that run on several cores go by."""

import tests.negative.cases  # noqa: F401  registers the cases
from tests.negative.engine import CASES


def realm_of(test: str) -> str:
    """Name the realm by a test's name, with its parameters in brackets; "main" where none is said.

    Each realm is made once for each core that asks for it, so its tests stay on one.
    """
    name, _, rest = test.partition("[")
    parameters = rest.removesuffix("]")
    if name == "test_row":
        case_id, _, _ = parameters.rpartition("-")
        return CASES[case_id].realm
    if name == "test_no_secret_is_in_any_log":
        return parameters
    return "hidden" if name == "test_hidden_names_are_answered_alike" else "main"
