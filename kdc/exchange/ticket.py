"""Sealing what was decided: the ticket, the client's part and the AS-REP (RFC 4120 5.3, 5.4.2)."""

from dataclasses import dataclass
from datetime import datetime

from directory.model import Account, AccountKind, PrincipalKey
from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    CONFOUNDER_BYTES,
    KEY_BYTES,
    EncType,
    KeyUsage,
    ProtocolKey,
    encrypt,
    make_checksum,
)
from kdc.errors import KdcError
from kdc.exchange.fast import Tunnel
from kdc.exchange.fast_reply import seal_fast_reply
from kdc.exchange.principals import is_password_service
from kdc.exchange.realm import Entropy, Realm
from kdc.exchange.reply_der import ReplyDer, enc_ticket_part
from kdc.pac import PLACEHOLDER, PacFacts, encode_if_relevant, service_pac, tgt_pac
from kdc.policy import TicketGrant
from kdc.wire.constants import ErrorCode, MessageType, PaType, TicketFlag
from kdc.wire.ms_kile import AES_SESSION_KEY_BIT, ENCTYPE_BITS, ENCTYPE_MASK, FAST_SUPPORTED
from kdc.wire.rfc4120 import (
    NOT_TRANSITED,
    AsReq,
    AuthorizationDataElement,
    Checksum,
    EncryptedData,
    EncryptionKey,
    PaData,
    PrincipalName,
)
from pki import asn1

_WITHOUT_PAC = encode_if_relevant(PLACEHOLDER)


@dataclass(slots=True, kw_only=True)
class AsReply:
    """What goes into one AS-REP."""

    request: AsReq
    cname: PrincipalName
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
    tunnel: Tunnel
    strengthen_key: ProtocolKey | None
    """What `reply_key` was strengthened with; None outside FAST."""
    now: datetime


def _named_etypes(service: Account) -> int:
    """Return the encryption types that msDS-SupportedEncryptionTypes names; 0: none, so any.

    krbtgt is ours: what it supports is the realm's to say (MS-KILE 3.1.5.2, 3.3.5.7).
    """
    mask = service.supported_enctypes
    if mask is None or service.kind is AccountKind.KRBTGT:
        return 0
    return mask & ENCTYPE_MASK


def service_key(service: Account, supported: tuple[int, ...]) -> PrincipalKey:
    """Choose the key a ticket is sealed with: the newest, of the realm's first etype it has.

    Raises KdcError: KDC_ERR_NULL_KEY; KDC_ERR_ETYPE_NOSUPP when the account's
    msDS-SupportedEncryptionTypes names none of the types it has keys of.
    """
    named = _named_etypes(service)
    keys = service.newest_keys()
    found = False
    for etype in supported:
        for key in keys:
            if key.etype == etype:
                if not named or named & ENCTYPE_BITS.get(etype, 0):
                    return key
                found = True
    if found:
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP,
            "the service's account allows no type that it has a key of",
            supported_enctypes=service.supported_enctypes,
        )
    raise KdcError(ErrorCode.KDC_ERR_NULL_KEY, "the service has no key of a supported type")


def session_etypes(service: Account, supported: tuple[int, ...]) -> tuple[int, ...]:
    """List the types that a session key with this service may have, as the realm prefers them.

    They are those that its account names, or those of its newest keys when it names none.
    """
    named = _named_etypes(service)
    if named:
        if named & AES_SESSION_KEY_BIT:
            named |= ENCTYPE_BITS[17] | ENCTYPE_BITS[18]
        return tuple(etype for etype in supported if named & ENCTYPE_BITS.get(etype, 0))
    own = {key.etype for key in service.newest_keys()}
    return tuple(etype for etype in supported if etype in own)


def _enc_pa_rep(reply: AsReply, supported: tuple[int, ...]) -> tuple[PaData, ...]:
    """Make encrypted-pa-data for a client that sent PA-REQ-ENC-PA-REP (RFC 6806 section 11).

    The checksum over the request as received lets the client notice a changed request.
    """
    mac = make_checksum(reply.reply_key, KeyUsage.AS_REQ, reply.request.raw)
    bits = sum(ENCTYPE_BITS.get(etype, 0) for etype in set(supported))
    bits |= FAST_SUPPORTED
    checksum = Checksum(cksumtype=CHECKSUM_TYPES[reply.reply_key.enctype], checksum=mac)
    return (
        PaData(padata_type=PaType.REQ_ENC_PA_REP, padata_value=asn1.encode(checksum)),
        # MIT's clients learn from it that the next logon can have an armor (RFC 6806 11).
        PaData(padata_type=PaType.FX_FAST, padata_value=b""),
        PaData(padata_type=PaType.SUPPORTED_ENCTYPES, padata_value=bits.to_bytes(4, "little")),
    )


def _always_has_pac(service: Account) -> bool:
    """Tell whether we ourselves read tickets for this service: by the SID, not by a name.

    Names change hands: without the SID whoever swaps two could change the other's password.
    """
    return service.kind is AccountKind.KRBTGT or is_password_service(service)


def encode_ticket_part(
    fields: bytes,
    others: tuple[AuthorizationDataElement, ...],
    pac: PacFacts | None,
    service: Account,
    key: ProtocolKey,
    realm: Realm,
) -> bytes:
    """Encode an EncTicketPart, with a PAC as the first element of its authorization data.

    fields: from `ReplyDer.ticket_fields`. others: authorization data besides the PAC.
    key: the service's, that the ticket is sealed with. A service ticket has no PAC when its client
    asked for none (attributes 0); a TGT has one that says so, and so has a ticket for kpasswd.
    """
    rest = b"".join([asn1.encode(element) for element in others])
    if pac is None or not (pac.pac_attributes or _always_has_pac(service)):
        return enc_ticket_part(fields, rest)
    realm.stages.enter("pac")
    if service.kind is AccountKind.KRBTGT:
        octets = tgt_pac(pac, key, realm.tgt_frames)
    else:
        # The ticket signature covers the ticket with one zero octet as its PAC (MS-PAC 2.8.3).
        signed = enc_ticket_part(fields, _WITHOUT_PAC + rest)
        krbtgt = service_key(realm.directory.krbtgt(), realm.config.supported_enctypes)
        octets = service_pac(pac, key, realm.service_keys.ready(krbtgt), signed)
    realm.stages.enter("seal")
    return enc_ticket_part(fields, encode_if_relevant(octets) + rest)


def draw(etype: EncType, entropy: Entropy) -> tuple[EncryptionKey, bytes, bytes]:
    """Draw a session key and the confounders of ticket and client's part.

    At once, for each call asks the kernel.
    """
    drawn = entropy(KEY_BYTES[etype] + 2 * CONFOUNDER_BYTES)
    session = EncryptionKey(keytype=etype, keyvalue=drawn[: -2 * CONFOUNDER_BYTES])
    return session, drawn[-2 * CONFOUNDER_BYTES : -CONFOUNDER_BYTES], drawn[-CONFOUNDER_BYTES:]


def issue_as_rep(reply: AsReply, realm: Realm) -> bytes:
    """Make the session key, seal ticket and client's part, and encode the AS-REP."""
    entropy = realm.entropy
    flags = reply.grant.flags
    encrypted_pa_data = None
    if any(pa.padata_type == PaType.REQ_ENC_PA_REP for pa in reply.request.padata or ()):
        flags |= TicketFlag.ENC_PA_REP
        encrypted_pa_data = _enc_pa_rep(reply, realm.config.supported_enctypes)
    etype = reply.session_etype
    session, ticket_confounder, client_confounder = draw(etype, entropy)
    der = ReplyDer(
        kind=MessageType.AS_REP,
        realm=realm.config.realm,
        cname=reply.cname,
        sname=reply.sname,
        session=session,
        flags=flags,
        grant=reply.grant,
        caddr=reply.request.req_body.addresses,
    )
    sealing = service_key(reply.service, realm.config.supported_enctypes)
    ticket_key = realm.service_keys.ready(sealing)
    fields = der.ticket_fields(NOT_TRANSITED)
    ticket_part = encode_ticket_part(fields, (), reply.pac, reply.service, ticket_key, realm)
    client_part = der.client_part(
        nonce=reply.nonce,
        key_expiration=reply.key_expiration,
        encrypted_pa_data=encrypted_pa_data,
    )
    ticket_cipher = encrypt(ticket_key, KeyUsage.TICKET, ticket_part, ticket_confounder)
    client_cipher = encrypt(
        reply.reply_key, KeyUsage.AS_REP_ENC_PART, client_part, client_confounder
    )
    ticket = der.ticket(EncryptedData(etype=sealing.etype, kvno=sealing.kvno, cipher=ticket_cipher))
    tunnel, padata = reply.tunnel, reply.padata
    if tunnel.armor_key is not None and reply.strengthen_key is not None:
        fast = seal_fast_reply(
            tunnel.armor_key,
            tunnel,
            padata=padata,
            strengthen_key=reply.strengthen_key,
            ticket=ticket,
            crealm=realm.config.realm,
            cname=reply.cname,
            now=reply.now,
            entropy=entropy,
        )
        padata = (fast,)
    return der.message(
        padata=padata,
        ticket=ticket,
        client=EncryptedData(
            etype=reply.reply_key.enctype, kvno=reply.reply_key_kvno, cipher=client_cipher
        ),
        hide_client=tunnel.hide_client,
    )
