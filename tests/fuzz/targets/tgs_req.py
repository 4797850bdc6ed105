"""Every TGS-REQ gets one well-formed answer, and a ticket names whose unaltered TGT it shows.

Unaltered are also the authenticator and the KDC-REQ-BODY, which its checksum covers.
"""

from functools import cache

from tests.fuzz.realm import Proof, answer, recorded_proofs, ticket_owner

_TGS_REQ = b"\x6c"


@cache
def proofs() -> tuple[Proof, ...]:
    """Read what the recorded requests prove."""
    return recorded_proofs("tgs_req")


def one(data: bytes) -> None:
    """Answer one message, its first octet made that of a TGS-REQ."""
    message = _TGS_REQ + data[1:]
    outcome = answer(message)
    assert outcome.exchange == "TGS"
    assert outcome.reply is not None
    owner = ticket_owner(outcome)
    if owner is not None:
        assert any(p.owner == owner and p.is_in(message) for p in proofs()), owner
