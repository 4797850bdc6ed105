"""Every AS-REQ gets one well-formed answer, and a ticket names whose unaltered proof it carries.

The proof is, for PKINIT, the KDC-REQ-BODY with the AuthPack of a recorded request; for a password,
the ciphertext of its timestamp (RFC 4120 protects no more of the request).
"""

from functools import cache

from tests.fuzz.realm import Proof, answer, proof_of, ticket_owner
from tests.fuzz.targets import CORPUS


@cache
def proofs() -> tuple[Proof, ...]:
    """Read what the recorded requests prove; their files begin with their owners' names."""
    found = (
        proof_of(path.name.partition("-")[0], path.read_bytes())
        for path in (CORPUS / "as_req").iterdir()
    )
    return tuple(proof for proof in found if proof is not None)


def one(data: bytes) -> None:
    """Answer one message."""
    owner = ticket_owner(answer(data))
    if owner is not None:
        assert any(p.owner == owner and p.is_in(data) for p in proofs()), owner
