"""The PAC of a partial TGT: what a read-only DC, or the cloud, signs with its own krbtgt key.

Rules
  1. Both signatures are by that key. Each may end in an RODCIdentifier (MS-PAC 2.8), the number of
     that key: Windows' read-only DCs write it, other makers leave it out. One that is there must be
     the number under which the ticket came.
  2. It says who the client is, and nothing that counts: REQUESTOR, and LOGON_INFO if there is one.
     Groups, names and asserted identities in it are not even returned.
"""

from dataclasses import dataclass
from datetime import datetime

from directory.model import Account, Domain, Sid
from kdc.crypto.etypes import ProtocolKey
from kdc.pac.buffers import (
    PAC_WAS_GIVEN_IMPLICITLY,
    PacType,
    decode_logon_info,
    decode_requestor,
    encode_attributes_info,
    encode_client_info,
    encode_logon_info,
)
from kdc.pac.build import assemble, put_signature
from kdc.pac.faults import PacError, PacFault
from kdc.pac.read import Pac, check_signatures
from kdc.pac.signatures import (
    RODC_IDENTIFIER_BYTES,
    empty_signature,
    make_signature,
    rodc_identifier,
    signature_value,
)


@dataclass(slots=True, kw_only=True)
class PartialPac:
    """Whom a partial TGT's PAC speaks of; its signatures are right. Only its verifier makes one."""

    requestor: Sid | None
    """REQUESTOR; None: it has none, and its TGT is refused."""
    has_logon_info: bool
    logon_sid: Sid | None
    """The SID in LOGON_INFO; None: without one, or one without a domain."""


def verify_partial_pac(pac: Pac, *, key: ProtocolKey, number: int) -> PartialPac:
    """Verify both signatures of a partial TGT's PAC, then read whose it is.

    key: the krbtgt key that opened the ticket. number: that of the read-only DC it is of.
    Raises PacError: MISSING_SIGNATURE, CHECKSUM_TYPE, BAD_SERVER_SIGNATURE, BAD_KDC_SIGNATURE,
    OTHER_READ_ONLY_DC, MALFORMED.
    """
    check_signatures(pac, server_key=key, krbtgt_keys=(key,), ticket=None)
    for kind in (PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM):
        buffer = pac.buffer(kind) or b""
        if rodc_identifier(buffer, signature_value(buffer, key)) not in (None, number):
            raise PacError(PacFault.OTHER_READ_ONLY_DC)
    requestor = pac.buffer(PacType.REQUESTOR)
    logon_info = pac.buffer(PacType.LOGON_INFO)
    return PartialPac(
        requestor=None if requestor is None else decode_requestor(requestor),
        has_logon_info=logon_info is not None,
        logon_sid=None if logon_info is None else decode_logon_info(logon_info).sid,
    )


def partial_tgt_pac(
    account: Account,
    domain: Domain,
    *,
    key: ProtocolKey,
    number: int | None,
    logon_time: datetime,
    groups: tuple[Sid, ...] = (),
    extra_sids: tuple[Sid, ...] = (),
) -> bytes:
    """Build the PAC of a partial TGT: the least that a KDC takes.

    account: its name and SID are all that is read. key: of the read-only DC's krbtgt. number: for
    the RODCIdentifier; None leaves it out.
    Raises ValueError for an account that has no SID in this domain.
    """
    identifier = b"" if number is None else number.to_bytes(RODC_IDENTIFIER_BYTES, "little")
    signature = empty_signature(key.enctype) + identifier
    sid = account.sid
    name = account.sam_account_name
    pac, places = assemble(
        [
            (
                PacType.LOGON_INFO,
                encode_logon_info(account, domain, groups, extra_sids, logon_time, ""),
            ),
            (PacType.CLIENT_INFO, encode_client_info(logon_time, name)),
            (PacType.ATTRIBUTES_INFO, encode_attributes_info(PAC_WAS_GIVEN_IMPLICITLY)),
            (PacType.REQUESTOR, b"" if sid is None else sid.to_bytes()),
            (PacType.SERVER_CHECKSUM, signature),
            (PacType.KDC_CHECKSUM, signature),
        ]
    )
    server = make_signature(key, bytes(pac))
    put_signature(pac, places[-2], server)
    put_signature(pac, places[-1], make_signature(key, server))
    return bytes(pac)
