"""Sealing what was decided: the ticket, the client's part and the TGS-REP (RFC 4120 3.3.3)."""

from kdc.crypto.etypes import CONFOUNDER_BYTES, KEY_BYTES, KeyUsage, encrypt
from kdc.exchange.realm import Realm
from kdc.exchange.tgs_decide import TgsGrant
from kdc.exchange.tgs_open import OpenTgsReq
from kdc.exchange.ticket import encode_ticket_part
from kdc.wire.constants import PVNO, MessageType
from kdc.wire.rfc4120 import (
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    EncTicketPart,
    LastReqEntry,
    TgsRep,
    Ticket,
)
from pki import asn1


def issue_tgs_rep(grant: TgsGrant, opened: OpenTgsReq, realm: Realm) -> bytes:
    """Make the session key, seal ticket and client's part, and encode the TGS-REP."""
    entropy, config = realm.entropy, realm.config
    ticket, tgt = grant.ticket, opened.tgt.part
    etype = grant.session_etype
    session = EncryptionKey(keytype=etype, keyvalue=entropy(KEY_BYTES[etype]))
    ticket_part = EncTicketPart(
        flags=ticket.flags,
        key=session,
        crealm=config.realm,
        cname=grant.requester.name,
        transited=tgt.transited,
        authtime=ticket.authtime,
        starttime=ticket.starttime,
        endtime=ticket.endtime,
        renew_till=ticket.renew_till,
        caddr=grant.caddr,
        authorization_data=grant.authorization_data or None,
    )
    sealing = grant.sealing
    plain = encode_ticket_part(ticket_part, grant.requester.pac, grant.service, sealing.key, realm)
    ticket_cipher = encrypt(sealing.key, KeyUsage.TICKET, plain, entropy(CONFOUNDER_BYTES))
    client_part = EncTgsRepPart(
        key=session,
        last_req=(LastReqEntry(lr_type=0, lr_value=ticket.authtime),),
        nonce=opened.body.nonce,
        flags=ticket.flags,
        authtime=ticket.authtime,
        starttime=ticket.starttime,
        endtime=ticket.endtime,
        renew_till=ticket.renew_till,
        srealm=config.realm,
        sname=grant.sname,
        caddr=grant.caddr,
    )
    client_cipher = encrypt(
        opened.reply_key, opened.reply_usage, asn1.encode(client_part), entropy(CONFOUNDER_BYTES)
    )
    return asn1.encode(
        TgsRep(
            pvno=PVNO,
            msg_type=MessageType.TGS_REP,
            crealm=config.realm,
            cname=grant.requester.name,
            ticket=Ticket(
                tkt_vno=PVNO,
                realm=config.realm,
                sname=grant.sname,
                enc_part=EncryptedData(
                    etype=sealing.key.enctype, kvno=sealing.kvno, cipher=ticket_cipher
                ),
            ),
            enc_part=EncryptedData(etype=opened.reply_key.enctype, cipher=client_cipher),
        )
    )
