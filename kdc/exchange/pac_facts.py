"""What a ticket's PAC says about a client: from directory and proof to `PacFacts`.

Used by every exchange that issues tickets, so that all of them say the same of the same account.
"""

from datetime import datetime

from directory.model import Account, Sid
from kdc.errors import KdcError
from kdc.exchange.realm import Realm
from kdc.pac import (
    ATTESTED_KEY,
    AUTHENTICATION_AUTHORITY_ASSERTED,
    FRESH_PUBLIC_KEY,
    KEY_TRUST,
    MULTIFACTOR_KEY,
    PAC_WAS_GIVEN_IMPLICITLY,
    PAC_WAS_REQUESTED,
    DelegationInfo,
    PacError,
    PacFacts,
    PacFault,
)
from kdc.trust import TrustVerdict
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.ms_kile import KerbPaPacRequest, PaPacOptions
from kdc.wire.rfc4120 import PaData
from pki import asn1
from pki.errors import PkiError

BY_PASSWORD = (AUTHENTICATION_AUTHORITY_ASSERTED,)
"""The asserted identities of a logon by password."""

_PAC_CODES = {
    PacFault.MALFORMED: ErrorCode.KRB_ERR_GENERIC,
    PacFault.SEVERAL: ErrorCode.KRB_ERR_GENERIC,
    PacFault.MISSING_BUFFER: ErrorCode.KRB_ERR_GENERIC,
    PacFault.MISSING_SIGNATURE: ErrorCode.KRB_AP_ERR_MODIFIED,
    PacFault.CHECKSUM_TYPE: ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
    PacFault.BAD_SERVER_SIGNATURE: ErrorCode.KRB_AP_ERR_MODIFIED,
    PacFault.BAD_KDC_SIGNATURE: ErrorCode.KRB_AP_ERR_MODIFIED,
    PacFault.BAD_TICKET_SIGNATURE: ErrorCode.KRB_AP_ERR_MODIFIED,
    PacFault.BAD_FULL_SIGNATURE: ErrorCode.KRB_AP_ERR_MODIFIED,
    PacFault.OTHER_READ_ONLY_DC: ErrorCode.KRB_AP_ERR_MODIFIED,
}


def refusal_from_pac(error: PacError) -> KdcError:
    """Turn a fault of a PAC that came in a ticket into its refusal (rows T05-T07, T18)."""
    return KdcError(_PAC_CODES[error.fault], error.fault.value, detail=error.detail)


def wanted_attributes(padata: tuple[PaData, ...]) -> int:
    """Return the PAC attributes that a client asks for with PA-PAC-REQUEST (MS-KILE 3.3.5.6).

    0 for include-pac false: as in Windows since CVE-2021-42287 the TGT has a PAC all the same,
    which says so, and service tickets have none.
    Raises KdcError(KRB_ERR_GENERIC) for a malformed one.
    """
    for pa in padata:
        if pa.padata_type == PaType.PAC_REQUEST:
            try:
                wanted = asn1.decode(KerbPaPacRequest, pa.padata_value).include_pac
            except PkiError:
                raise KdcError(ErrorCode.KRB_ERR_GENERIC, "PA-PAC-REQUEST is malformed") from None
            return PAC_WAS_REQUESTED if wanted else 0
    return PAC_WAS_GIVEN_IMPLICITLY


def wanted_pac_options(padata: tuple[PaData, ...]) -> int:
    """Return the flags of PA-PAC-OPTIONS (MS-KILE 2.2.10), 0 without one.

    Raises KdcError(KRB_ERR_GENERIC) for a malformed one.
    """
    for pa in padata:
        if pa.padata_type == PaType.PAC_OPTIONS:
            try:
                return asn1.decode(PaPacOptions, pa.padata_value).flags
            except PkiError:
                raise KdcError(ErrorCode.KRB_ERR_GENERIC, "PA-PAC-OPTIONS is malformed") from None
    return 0


def by_key(verdict: TrustVerdict, *, fresh: bool) -> tuple[Sid, ...]:
    """Return the asserted identities of a PKINIT logon (MS-DTYP 2.4.2.4).

    fresh: the client returned a freshness token.
    """
    sids = [AUTHENTICATION_AUTHORITY_ASSERTED]
    if fresh:
        sids.append(FRESH_PUBLIC_KEY)
    if verdict.model == "key":
        sids.append(KEY_TRUST)
        if verdict.multifactor:
            sids.append(MULTIFACTOR_KEY)
        if verdict.attested:
            sids.append(ATTESTED_KEY)
    return tuple(sids)


def pac_facts(
    account: Account,
    realm: Realm,
    *,
    name: str,
    logon_time: datetime,
    asserted: tuple[Sid, ...],
    pac_attributes: int,
    credential_info: bytes | None = None,
    delegation: DelegationInfo | None = None,
) -> PacFacts | None:
    """Collect what a PAC says of an account now; None: tickets of this account have no PAC.

    That is so in a realm with `pac = false`, and for an account without a SID in the domain.
    name: the client's name in the ticket. Raises DirectoryError.
    """
    if not realm.config.pac:
        return None
    directory = realm.directory
    domain = directory.domain()
    sid = account.sid
    if sid is None or not sid.is_in(domain.sid):
        return None
    return PacFacts(
        account=account,
        domain=domain,
        groups=directory.groups_of(account.account_id),
        logon_time=logon_time,
        name=name,
        extra_sids=asserted,
        pac_attributes=pac_attributes,
        credential_info=credential_info,
        delegation=delegation,
    )
