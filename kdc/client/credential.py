"""The credential that an answer of a KDC makes: a ticket, and what the client's part says of it."""

from kdc.formats.ccache import Credential, Principal
from kdc.wire.rfc4120 import EncKdcRepPart, Ticket
from pki import asn1


def credential_of(client: Principal, ticket: Ticket, part: EncKdcRepPart) -> Credential:
    """Make the credential of an AS-REP or TGS-REP.

    part: the opened client's part. What of it is right was checked before (RFC 4120 3.1.5, 3.3.4).
    """
    return Credential(
        client=client,
        server=Principal.of(part.srealm, part.sname),
        etype=part.key.keytype,
        session_key=part.key.keyvalue,
        authtime=part.authtime,
        starttime=part.starttime or part.authtime,
        endtime=part.endtime,
        renew_till=part.renew_till,
        flags=part.flags,
        ticket=asn1.encode(ticket),
        addresses=part.caddr or (),
    )
