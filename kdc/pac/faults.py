"""What can be wrong with a PAC. No Kerberos codes here."""

from enum import StrEnum


class PacFault(StrEnum):
    """Why a PAC was not accepted."""

    MALFORMED = "PAC malformed or over a limit"
    SEVERAL = "more than one PAC in the ticket"
    MISSING_BUFFER = "PAC without a buffer that it must have"
    MISSING_SIGNATURE = "PAC without a signature that it must have"
    CHECKSUM_TYPE = "PAC signature of a type that is not the key's"
    BAD_SERVER_SIGNATURE = "PAC server signature wrong"
    BAD_KDC_SIGNATURE = "PAC KDC signature wrong"
    BAD_TICKET_SIGNATURE = "PAC ticket signature wrong"
    BAD_FULL_SIGNATURE = "PAC full signature wrong"
    OTHER_READ_ONLY_DC = "PAC signature of another read-only DC"


class PacError(Exception):
    """A PAC is not accepted; `detail` is fixed text and holds nothing of the PAC."""

    def __init__(self, fault: PacFault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault
        self.detail = detail


def malformed(detail: str) -> PacError:
    """Make the error for octets that are not what they should be."""
    return PacError(PacFault.MALFORMED, detail)
