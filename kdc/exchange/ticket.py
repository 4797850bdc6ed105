"""Sealing what was decided: the ticket, the client's part and the AS-REP (RFC 4120 5.3, 5.4.2)."""

from dataclasses import dataclass
from datetime import datetime

from directory.model import Account, AccountKind, PrincipalKey
from kdc.crypto.etypes import CHECKSUM_TYPES, EncType, KeyUsage, ProtocolKey, encrypt, make_checksum
from kdc.errors import KdcError
from kdc.exchange.realm import Realm
from kdc.pac import (
    PLACEHOLDER,
    PacFacts,
    fill_placeholder,
    service_pac,
    tgt_pac,
    wrap_if_relevant,
)
from kdc.policy import TicketGrant
from kdc.wire.constants import PVNO, ErrorCode, MessageType, PaType, TicketFlag
from kdc.wire.ms_kile import PA_SUPPORTED_ENCTYPES_BITS
from kdc.wire.rfc4120 import (
    AsRep,
    AsReq,
    Checksum,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    LastReqEntry,
    PaData,
    PrincipalName,
    Ticket,
    TransitedEncoding,
)
from pki import asn1

CONFOUNDER_BYTES = 16
KEY_BYTES = {17: 16, 18: 32, 19: 16, 20: 32}

# RFC 4120 3.3.3.2: a ticket that crossed no realm has an empty DOMAIN-X500-COMPRESS list.
_NOT_TRANSITED = TransitedEncoding(tr_type=1, contents=b"")


@dataclass(slots=True, kw_only=True)
class AsReply:
    """What goes into one AS-REP."""

    request: AsReq
    crealm: str
    cname: PrincipalName
    srealm: str
    sname: PrincipalName
    service: Account
    grant: TicketGrant
    session_etype: EncType
    reply_key: ProtocolKey
    reply_key_kvno: int | None
    padata: tuple[PaData, ...]
    nonce: int
    key_expiration: datetime | None
    pac: PacFacts | None
    """None: the ticket has no PAC."""


def service_key(service: Account, supported: tuple[int, ...]) -> PrincipalKey:
    """Choose the key a ticket is sealed with: the newest, of the realm's first etype it has."""
    newest = {key.etype: key for key in service.newest_keys()}
    for etype in supported:
        if etype in newest:
            return newest[etype]
    raise KdcError(ErrorCode.KDC_ERR_NULL_KEY, "the service has no key of a supported type")


def _enc_pa_rep(reply: AsReply, supported: tuple[int, ...]) -> tuple[PaData, ...]:
    """Make encrypted-pa-data for a client that sent PA-REQ-ENC-PA-REP (RFC 6806 section 11).

    The checksum over the request as received lets the client notice a changed request.
    """
    mac = make_checksum(reply.reply_key, KeyUsage.AS_REQ, reply.request.raw)
    bits = sum(PA_SUPPORTED_ENCTYPES_BITS.get(etype, 0) for etype in set(supported))
    checksum = Checksum(cksumtype=CHECKSUM_TYPES[reply.reply_key.enctype], checksum=mac)
    return (
        PaData(padata_type=PaType.REQ_ENC_PA_REP, padata_value=asn1.encode(checksum)),
        PaData(padata_type=PaType.SUPPORTED_ENCTYPES, padata_value=bits.to_bytes(4, "little")),
    )


def encode_ticket_part(
    part: EncTicketPart, pac: PacFacts | None, service: Account, key: ProtocolKey, realm: Realm
) -> bytes:
    """Encode an EncTicketPart, with a PAC as the first element of its authorization data.

    key: the service's, that the ticket is sealed with. A service ticket has no PAC when its client
    asked for none (attributes 0); a TGT has one that says so.
    """
    if pac is None or (service.kind is not AccountKind.KRBTGT and not pac.pac_attributes):
        return asn1.encode(part)
    others = part.authorization_data or ()
    if service.kind is AccountKind.KRBTGT:
        part.authorization_data = (wrap_if_relevant(tgt_pac(pac, key)), *others)
        return asn1.encode(part)
    part.authorization_data = (wrap_if_relevant(PLACEHOLDER), *others)
    signed = asn1.encode(part)
    krbtgt = service_key(realm.directory.krbtgt(), realm.config.supported_enctypes)
    krbtgt_key = realm.service_keys.ready(krbtgt)
    return fill_placeholder(signed, service_pac(pac, key, krbtgt_key, signed))


def issue_as_rep(reply: AsReply, realm: Realm) -> bytes:
    """Make the session key, seal ticket and client's part, and encode the AS-REP."""
    entropy = realm.entropy
    grant = reply.grant
    flags = grant.flags
    encrypted_pa_data = None
    if any(pa.padata_type == PaType.REQ_ENC_PA_REP for pa in reply.request.padata or ()):
        flags |= TicketFlag.ENC_PA_REP
        encrypted_pa_data = _enc_pa_rep(reply, realm.config.supported_enctypes)
    etype = reply.session_etype
    session = EncryptionKey(keytype=etype, keyvalue=entropy(KEY_BYTES[etype]))
    addresses = reply.request.req_body.addresses
    ticket_part = EncTicketPart(
        flags=flags,
        key=session,
        crealm=reply.crealm,
        cname=reply.cname,
        transited=_NOT_TRANSITED,
        authtime=grant.authtime,
        starttime=grant.starttime,
        endtime=grant.endtime,
        renew_till=grant.renew_till,
        caddr=addresses,
        authorization_data=None,
    )
    sealing = service_key(reply.service, realm.config.supported_enctypes)
    ticket_key = realm.service_keys.ready(sealing)
    ticket_cipher = encrypt(
        ticket_key,
        KeyUsage.TICKET,
        encode_ticket_part(ticket_part, reply.pac, reply.service, ticket_key, realm),
        entropy(CONFOUNDER_BYTES),
    )
    client_part = EncAsRepPart(
        key=session,
        last_req=(LastReqEntry(lr_type=0, lr_value=grant.authtime),),
        nonce=reply.nonce,
        key_expiration=reply.key_expiration,
        flags=flags,
        authtime=grant.authtime,
        starttime=grant.starttime,
        endtime=grant.endtime,
        renew_till=grant.renew_till,
        srealm=reply.srealm,
        sname=reply.sname,
        caddr=addresses,
        encrypted_pa_data=encrypted_pa_data,
    )
    client_cipher = encrypt(
        reply.reply_key,
        KeyUsage.AS_REP_ENC_PART,
        asn1.encode(client_part),
        entropy(CONFOUNDER_BYTES),
    )
    return asn1.encode(
        AsRep(
            pvno=PVNO,
            msg_type=MessageType.AS_REP,
            padata=reply.padata or None,
            crealm=reply.crealm,
            cname=reply.cname,
            ticket=Ticket(
                tkt_vno=PVNO,
                realm=reply.srealm,
                sname=reply.sname,
                enc_part=EncryptedData(
                    etype=sealing.etype, kvno=sealing.kvno, cipher=ticket_cipher
                ),
            ),
            enc_part=EncryptedData(
                etype=reply.reply_key.enctype, kvno=reply.reply_key_kvno, cipher=client_cipher
            ),
        )
    )
