"""A message under the TGS-REQ's tag gets a KRB-ERROR, never a ticket and never silence.

Until the TGS exchange is served the code is KDC_ERR_SVC_UNAVAILABLE.
"""

from kdc.wire.constants import ErrorCode
from tests.fuzz.realm import answer

_TGS_REQ = b"\x6c"


def one(data: bytes) -> None:
    """Answer one message, its first octet made that of a TGS-REQ."""
    outcome = answer(_TGS_REQ + data[1:])
    assert outcome.exchange == "TGS"
    assert outcome.code == ErrorCode.KDC_ERR_SVC_UNAVAILABLE
    assert outcome.reply is not None
    assert outcome.reply[:1] == b"\x7e"
