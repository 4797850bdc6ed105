"""A security descriptor is read or refused; who is let in is named in an entry that grants.

And the descriptor written for those SIDs alone is read as letting in the same.
"""

from directory.model import Sid
from directory.security_descriptor import (
    SecurityDescriptorError,
    encode_allowed_to_act,
    parse_security_descriptor,
)

_STRANGER = Sid(5, (21, 1, 2, 3, 4444))


def one(data: bytes) -> None:
    """Read one descriptor."""
    try:
        found = parse_security_descriptor(data)
    except SecurityDescriptorError as error:
        assert len(str(error)) < 80
        return
    allowed = found.granted_to()
    assert not found.grants(())
    assert found.grants([_STRANGER]) <= (_STRANGER in allowed)
    for sid in allowed:
        denied = any(entry.denies and entry.sid == sid for entry in found.entries)
        assert found.grants([sid]) or denied
    again = parse_security_descriptor(encode_allowed_to_act(allowed))
    assert again.granted_to() == allowed
