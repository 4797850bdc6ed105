"""Sealing what was decided: the ticket, the client's part and the TGS-REP (RFC 4120 3.3.3)."""

from kdc.crypto.etypes import CONFOUNDER_BYTES, KEY_BYTES, KeyUsage, encrypt
from kdc.exchange.realm import Realm
from kdc.exchange.reply_der import ReplyDer
from kdc.exchange.tgs_decide import TgsGrant
from kdc.exchange.tgs_open import OpenTgsReq
from kdc.exchange.ticket import encode_ticket_part
from kdc.wire.constants import MessageType
from kdc.wire.rfc4120 import EncryptedData, EncryptionKey


def issue_tgs_rep(grant: TgsGrant, opened: OpenTgsReq, realm: Realm) -> bytes:
    """Make the session key, seal ticket and client's part, and encode the TGS-REP."""
    entropy = realm.entropy
    etype, sealing, requester = grant.session_etype, grant.sealing, grant.requester
    der = ReplyDer(
        kind=MessageType.TGS_REP,
        realm=realm.config.realm,
        cname=requester.name,
        sname=grant.sname,
        session=EncryptionKey(keytype=etype, keyvalue=entropy(KEY_BYTES[etype])),
        flags=grant.ticket.flags,
        grant=grant.ticket,
        caddr=grant.caddr,
    )
    ticket_part = encode_ticket_part(
        der.ticket_fields(opened.tgt.part.transited),
        grant.authorization_data,
        requester.pac,
        grant.service,
        sealing.key,
        realm,
    )
    client_part = der.client_part(nonce=opened.body.nonce)
    ticket = encrypt(sealing.key, KeyUsage.TICKET, ticket_part, entropy(CONFOUNDER_BYTES))
    client = encrypt(opened.reply_key, opened.reply_usage, client_part, entropy(CONFOUNDER_BYTES))
    return der.message(
        padata=None,
        ticket=EncryptedData(etype=sealing.key.enctype, kvno=sealing.kvno, cipher=ticket),
        client=EncryptedData(etype=opened.reply_key.enctype, cipher=client),
    )
