"""Why the client stopped: the KDC refused, or its answer cannot be trusted."""

from enum import StrEnum

from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import KrbError


class ClientFault(StrEnum):
    """What went wrong on the client's side of an exchange."""

    UNREACHABLE = "no answer from the KDC"
    REFUSED = "the KDC refused"
    MALFORMED = "the answer is not a well-formed Kerberos message"
    WRONG_ANSWER = "the answer does not belong to the request"
    KDC_NOT_TRUSTED = "the KDC did not prove itself"
    NOT_OFFERED = "the KDC does not offer this way of logging on"
    WRONG_KEY = "the answer cannot be decrypted"
    CLOCK_SKEW = "the clocks of client and KDC differ too much"
    BAD_PARAMETERS = "the KDC asks for parameters that are not accepted"
    TOO_MANY_ROUNDS = "the KDC keeps asking for more"


class ClientError(Exception):
    """An exchange failed; `detail` is fixed text and holds no secret."""

    def __init__(self, fault: ClientFault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault
        self.detail = detail


class RefusedError(ClientError):
    """The KDC answered with a KRB-ERROR that the exchange cannot go on from."""

    def __init__(self, error: KrbError) -> None:
        super().__init__(ClientFault.REFUSED, error_name(error.error_code))
        self.error = error
        self.code = error.error_code
        self.e_text = error.e_text or ""
        """Text of the KDC: not authenticated, so escape it before showing it."""


def error_name(code: int) -> str:
    """Give the registry's name of an error code, or the number."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"
