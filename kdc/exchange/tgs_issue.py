"""Sealing what was decided: the ticket, the client's part and the TGS-REP (RFC 4120 3.3.3)."""

from datetime import datetime

from kdc.crypto.etypes import KeyUsage, encrypt
from kdc.crypto.rfc6113 import strengthened_reply_key
from kdc.exchange.fast_reply import make_strengthen_key, seal_fast_reply
from kdc.exchange.realm import Realm
from kdc.exchange.reply_der import ReplyDer
from kdc.exchange.tgs_decide import TgsGrant
from kdc.exchange.tgs_open import OpenTgsReq
from kdc.exchange.ticket import draw, encode_ticket_part, session_etypes
from kdc.wire.constants import MessageType, PaType
from kdc.wire.ms_kile import ENCTYPE_BITS, PacOption, PaPacOptions
from kdc.wire.rfc4120 import EncryptedData, PaData
from pki import asn1


def issue_tgs_rep(grant: TgsGrant, opened: OpenTgsReq, realm: Realm, now: datetime) -> bytes:
    """Make the session key, seal ticket and client's part, and encode the TGS-REP."""
    entropy = realm.entropy
    etype, sealing, speaks_for = grant.session_etype, grant.sealing, grant.client
    session, ticket_confounder, client_confounder = draw(etype, entropy)
    der = ReplyDer(
        kind=MessageType.TGS_REP,
        realm=realm.config.realm,
        cname=speaks_for.name,
        sname=grant.sname,
        session=session,
        flags=grant.ticket.flags,
        grant=grant.ticket,
        caddr=grant.caddr,
    )
    ticket_part = encode_ticket_part(
        der.ticket_fields(speaks_for.limits.transited),
        grant.authorization_data,
        speaks_for.pac,
        grant.service,
        sealing.key,
        realm,
    )
    client_part = der.client_part(
        nonce=opened.body.nonce,
        encrypted_pa_data=_encrypted_pa_data(grant, realm) or None,
    )
    sealed = encrypt(sealing.key, KeyUsage.TICKET, ticket_part, ticket_confounder)
    ticket = der.ticket(EncryptedData(etype=sealing.key.enctype, kvno=sealing.kvno, cipher=sealed))
    reply_key, tunnel, padata = opened.reply_key, opened.tunnel, speaks_for.padata
    if tunnel.armor_key is not None:
        strengthen_key = make_strengthen_key(reply_key, entropy)
        reply_key = strengthened_reply_key(strengthen_key, reply_key)
        fast = seal_fast_reply(
            tunnel.armor_key,
            tunnel,
            padata=padata,
            strengthen_key=strengthen_key,
            ticket=ticket,
            crealm=realm.config.realm,
            cname=speaks_for.name,
            now=now,
            entropy=entropy,
        )
        padata = (fast,)
    client = encrypt(reply_key, opened.reply_usage, client_part, client_confounder)
    return der.message(
        padata=padata,
        ticket=ticket,
        client=EncryptedData(etype=reply_key.enctype, cipher=client),
        hide_client=tunnel.hide_client,
    )


def _encrypted_pa_data(grant: TgsGrant, realm: Realm) -> tuple[PaData, ...]:
    """Answer KERB-KEY-LIST-REQ; and PA-PAC-OPTIONS: what the service supports, and which of the
    options we do.

    The key list is the first: there are clients that look at no other element.
    Source: MS-KILE 3.3.5.7, 3.3.5.7.8; MS-SFU 3.2.5.2.
    """
    out: tuple[PaData, ...] = ()
    if grant.key_list is not None:
        out = (PaData(padata_type=PaType.KERB_KEY_LIST_REP, padata_value=grant.key_list),)
    if not grant.pac_options:
        return out
    etypes = session_etypes(grant.service, realm.config.supported_enctypes)
    bits = sum(ENCTYPE_BITS.get(etype, 0) for etype in etypes)
    known = grant.pac_options & PacOption.RESOURCE_BASED_CONSTRAINED_DELEGATION
    return (
        *out,
        PaData(padata_type=PaType.SUPPORTED_ENCTYPES, padata_value=bits.to_bytes(4, "little")),
        PaData(padata_type=PaType.PAC_OPTIONS, padata_value=asn1.encode(PaPacOptions(flags=known))),
    )
