"""Every AS-REQ gets one well-formed answer, and a ticket names whose unaltered proof it carries.

The proof is, for PKINIT, the KDC-REQ-BODY with the AuthPack of a recorded request; for a password,
the ciphertext of its timestamp (RFC 4120 protects no more of the request).
"""

from functools import cache

from tests.fuzz.realm import Proof, answer, recorded_proofs, ticket_owner


@cache
def proofs() -> tuple[Proof, ...]:
    """Read what the recorded requests prove."""
    return recorded_proofs("as_req")


def one(data: bytes) -> None:
    """Answer one message."""
    owner = ticket_owner(answer(data))
    if owner is not None:
        assert any(p.owner == owner and p.is_in(data) for p in proofs()), owner
