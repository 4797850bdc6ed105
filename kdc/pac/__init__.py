"""The privilege attribute certificate (MS-PAC): what a ticket says about its client.

Building: `PacFacts`, `tgt_pac`, `service_pac`, `wrap_if_relevant`.
Judging: `split_ticket`, `parse_pac`, `verify_pac` -> `VerifiedPac`, whose `carried` is all that a
new ticket may take over.
"""

from kdc.pac.buffers import (
    ATTESTED_KEY,
    AUTHENTICATION_AUTHORITY_ASSERTED,
    FRESH_PUBLIC_KEY,
    KEY_TRUST,
    MULTIFACTOR_KEY,
    PAC_WAS_GIVEN_IMPLICITLY,
    PAC_WAS_REQUESTED,
    SERVICE_ASSERTED,
    DelegationInfo,
    PacType,
    seal_credential_info,
)
from kdc.pac.build import PacFacts, TgtFrames, service_pac, tgt_pac
from kdc.pac.faults import PacError, PacFault
from kdc.pac.partial import PartialPac, partial_tgt_pac, verify_partial_pac
from kdc.pac.read import Carried, Pac, VerifiedPac, parse_pac, verify_pac
from kdc.pac.ticket import (
    PLACEHOLDER,
    TicketPac,
    encode_if_relevant,
    split_ticket,
    wrap_if_relevant,
)

__all__ = [
    "ATTESTED_KEY",
    "AUTHENTICATION_AUTHORITY_ASSERTED",
    "FRESH_PUBLIC_KEY",
    "KEY_TRUST",
    "MULTIFACTOR_KEY",
    "PAC_WAS_GIVEN_IMPLICITLY",
    "PAC_WAS_REQUESTED",
    "PLACEHOLDER",
    "SERVICE_ASSERTED",
    "Carried",
    "DelegationInfo",
    "Pac",
    "PacError",
    "PacFacts",
    "PacFault",
    "PacType",
    "PartialPac",
    "TgtFrames",
    "TicketPac",
    "VerifiedPac",
    "encode_if_relevant",
    "parse_pac",
    "partial_tgt_pac",
    "seal_credential_info",
    "service_pac",
    "split_ticket",
    "tgt_pac",
    "verify_pac",
    "verify_partial_pac",
    "wrap_if_relevant",
]
