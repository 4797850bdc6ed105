"""Requests and replies of the TGS exchange as a client makes and opens them, and golden tickets.

Everything is valid by default; a test replaces exactly one thing. The client's side is written out
here from RFC 4120: nothing of `kdc.exchange` or `kdc.client` takes part in it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

from directory.model import PrincipalKey
from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    KEY_BYTES,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    make_checksum,
)
from kdc.outcome import Outcome
from kdc.wire.constants import PVNO, AdType, KdcOption, MessageType, NameType, PaType
from kdc.wire.rfc4120 import (
    AUTHORIZATION_DATA,
    ApReq,
    Authenticator,
    AuthorizationDataElement,
    Checksum,
    EncKdcRepPart,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    EncTicketPart,
    HostAddress,
    KdcReqBody,
    PaData,
    PrincipalName,
    TgsRep,
    TgsReq,
    Ticket,
)
from pki import asn1
from tests.kdc.builders import (
    BODY,
    ENCTYPES,
    KRBTGT,
    NONCE,
    NOW,
    REALM,
    Kdc,
    Opened,
    PkinitRequest,
    as_req,
    client_entropy,
    enc_timestamp,
    key_of,
    name,
    open_password_reply,
    open_reply,
    padata,
)
from tests.pki import issued

WEB = name("host", "web.lab.test", name_type=NameType.SRV_INST)
LATER = NOW + timedelta(minutes=10)
"""When service tickets are asked for, unless a test says otherwise."""

TGS_BODY = KdcReqBody(
    kdc_options=KdcOption.FORWARDABLE,
    realm=REALM,
    sname=WEB,
    till=NOW + timedelta(hours=8),
    nonce=NONCE,
    etype=ENCTYPES,
)
"""A ticket for host/web.lab.test; use `dataclasses.replace`."""


@dataclass(slots=True, kw_only=True)
class Tgt:
    """A ticket-granting ticket in a client's hands, and what is sealed in it."""

    ticket: Ticket
    part: EncTicketPart
    session: ProtocolKey

    @property
    def cname(self) -> PrincipalName:
        """The client's name."""
        return self.part.cname


def tgt_of(opened: Opened) -> Tgt:
    """Return the TGT of an AS-REP."""
    key = opened.part.key
    return Tgt(
        ticket=opened.as_rep.ticket,
        part=opened.ticket,
        session=ProtocolKey(EncType(key.keytype), key.keyvalue),
    )


class BodyFields(TypedDict, total=False):
    """What tests change of a request for a TGT."""

    kdc_options: int
    till: datetime
    rtime: datetime
    etype: tuple[int, ...]
    addresses: tuple[HostAddress, ...]
    sname: PrincipalName


def password_tgt(
    kdc: Kdc, who: str = "pat", *, at: datetime = NOW, **changes: Unpack[BodyFields]
) -> Tgt:
    """Log on with PASSWORD."""
    body = replace(BODY, cname=name(who), **changes)
    outcome = kdc.ask(as_req(body, enc_timestamp(key_of(18, who), at=at)), at=at)
    return tgt_of(open_password_reply(outcome, key_of(18, who), kdc, body))


def key_tgt(kdc: Kdc, who: str = "alice") -> Tgt:
    """Log on with the Hello key of this name (`pc1` is the computer pc1$)."""
    account = f"{who}$" if who == "pc1" else who
    sent = PkinitRequest(body=replace(BODY, cname=name(account)), signer=issued.hello(who)).build()
    return tgt_of(open_reply(kdc.ask(sent.message), sent, kdc))


# -- golden tickets --------------------------------------------------------------------------


def krbtgt_key(kdc: Kdc, ticket: Ticket) -> PrincipalKey:
    """Return the key of krbtgt that a TGT names."""
    sealed = ticket.enc_part
    (key,) = (
        k for k in kdc.store.krbtgt().keys if (k.etype, k.kvno) == (sealed.etype, sealed.kvno)
    )
    return key


def ready(key: PrincipalKey) -> ProtocolKey:
    """Return the protocol key of an account's key."""
    return ProtocolKey(EncType(key.etype), key.key)


def pac_of(part: EncTicketPart) -> bytes:
    """Return the PAC in a ticket's authorization data."""
    (found,) = (
        inner.ad_data
        for element in part.authorization_data or ()
        if element.ad_type == AdType.IF_RELEVANT
        for inner in asn1.decode_as(AUTHORIZATION_DATA, element.ad_data)
        if inner.ad_type == AdType.WIN2K_PAC
    )
    return found


def if_relevant(*inner: tuple[int, bytes]) -> AuthorizationDataElement:
    """Return an AD-IF-RELEVANT with these elements."""
    elements = tuple(AuthorizationDataElement(ad_type=t, ad_data=d) for t, d in inner)
    return AuthorizationDataElement(
        ad_type=AdType.IF_RELEVANT, ad_data=asn1.encode_as(AUTHORIZATION_DATA, elements)
    )


def same_part(part: EncTicketPart) -> EncTicketPart:
    """Change nothing."""
    return part


def golden(
    kdc: Kdc,
    tgt: Tgt,
    change: Callable[[EncTicketPart], EncTicketPart] = same_part,
    *,
    change_pac: Callable[[bytes], bytes] | None = None,
    key: PrincipalKey | None = None,
    name_key: PrincipalKey | None = None,
) -> Tgt:
    """Make a TGT as whoever stole the key of krbtgt can.

    key: seals it; else the one that sealed `tgt`. name_key: the one that the ticket says seals it.
    """
    key = key or krbtgt_key(kdc, tgt.ticket)
    part = replace(tgt.part)
    if change_pac is not None:
        pac = change_pac(pac_of(part))
        part = replace(part, authorization_data=(if_relevant((AdType.WIN2K_PAC, pac)),))
    part = change(part)
    cipher = encrypt(ready(key), KeyUsage.TICKET, asn1.encode(part), client_entropy(16))
    named = name_key or key
    sealed = EncryptedData(etype=named.etype, kvno=named.kvno, cipher=cipher)
    return replace(tgt, ticket=replace(tgt.ticket, enc_part=sealed), part=part)


# -- requests --------------------------------------------------------------------------------


def same_authenticator(authenticator: Authenticator) -> Authenticator:
    """Change nothing."""
    return authenticator


def same_ap_req(ap_req: ApReq) -> ApReq:
    """Change nothing."""
    return ap_req


def same_octets(octets: bytes) -> bytes:
    """Change nothing."""
    return octets


@dataclass(slots=True, kw_only=True)
class TgsRequest:
    """A TGS-REQ, built in steps; each step can be broken by a `change_`."""

    tgt: Tgt
    body: KdcReqBody = field(default_factory=lambda: TGS_BODY)
    """What the checksum covers, and what is sent unless `sent_body` says otherwise."""
    sent_body: KdcReqBody | None = None
    ctime: datetime = LATER
    subkey: int | None = 18
    """Encryption type of the subkey; None: none."""
    brought: tuple[AuthorizationDataElement, ...] | None = None
    """Authorization data of the client's own."""
    change_authenticator: Callable[[Authenticator], Authenticator] = same_authenticator
    change_authenticator_der: Callable[[bytes], bytes] = same_octets
    change_cipher: Callable[[bytes], bytes] = same_octets
    """Breaks the sealed authenticator."""
    change_ap_req: Callable[[ApReq], ApReq] = same_ap_req
    change_value: Callable[[bytes], bytes] = same_octets
    """Breaks the DER of the AP-REQ."""
    before: tuple[PaData, ...] = ()
    after: tuple[PaData, ...] = ()

    def build(self) -> "SentTgs":
        """Build the message and keep what opening its reply needs."""
        session = self.tgt.session
        subkey = None
        if self.subkey is not None:
            etype = EncType(self.subkey)
            subkey = ProtocolKey(etype, client_entropy(KEY_BYTES[etype]))
        body = self.body
        if self.brought is not None:
            body = replace(
                body, enc_authorization_data=_seal_brought(self.brought, subkey, session)
            )
        mac = make_checksum(session, KeyUsage.TGS_REQ_AUTHENTICATOR_CHECKSUM, asn1.encode(body))
        authenticator = self.change_authenticator(
            Authenticator(
                authenticator_vno=PVNO,
                crealm=REALM,
                cname=self.tgt.cname,
                cksum=Checksum(cksumtype=CHECKSUM_TYPES[session.enctype], checksum=mac),
                cusec=int.from_bytes(client_entropy(2), "big"),
                ctime=self.ctime,
                subkey=None
                if subkey is None
                else EncryptionKey(keytype=subkey.enctype, keyvalue=subkey.value),
            )
        )
        plain = self.change_authenticator_der(asn1.encode(authenticator))
        cipher = encrypt(session, KeyUsage.TGS_REQ_AUTHENTICATOR, plain, client_entropy(16))
        ap_req = ApReq(
            pvno=PVNO,
            msg_type=MessageType.AP_REQ,
            ap_options=0,
            ticket=self.tgt.ticket,
            authenticator=EncryptedData(etype=session.enctype, cipher=self.change_cipher(cipher)),
        )
        value = self.change_value(asn1.encode(self.change_ap_req(ap_req)))
        pa = (*self.before, padata(PaType.TGS_REQ, value), *self.after)
        sent_body = self.sent_body or body
        return SentTgs(message=tgs_req(sent_body, *pa), body=sent_body, tgt=self.tgt, subkey=subkey)


def _seal_brought(
    brought: tuple[AuthorizationDataElement, ...],
    subkey: ProtocolKey | None,
    session: ProtocolKey,
) -> EncryptedData:
    usage = (
        KeyUsage.TGS_REQ_AUTHORIZATION_DATA_SESSION_KEY
        if subkey is None
        else KeyUsage.TGS_REQ_AUTHORIZATION_DATA_SUBKEY
    )
    key = subkey or session
    plain = asn1.encode_as(AUTHORIZATION_DATA, brought)
    return EncryptedData(etype=key.enctype, cipher=encrypt(key, usage, plain, client_entropy(16)))


def tgs_req(body: KdcReqBody, *padata: PaData) -> bytes:
    """Encode a TGS-REQ."""
    return asn1.encode(
        TgsReq(pvno=PVNO, msg_type=MessageType.TGS_REQ, padata=padata or None, req_body=body)
    )


def second_tickets(tgt: Tgt, *, user: str) -> KdcReqBody:
    """Return the body of a user-to-user request with the other's TGT."""
    return replace(
        TGS_BODY,
        kdc_options=KdcOption.ENC_TKT_IN_SKEY,
        sname=name(user),
        additional_tickets=(tgt.ticket,),
    )


RENEW = replace(
    TGS_BODY,
    kdc_options=KdcOption.RENEW | KdcOption.RENEWABLE | KdcOption.FORWARDABLE,
    sname=KRBTGT,
)
"""Renew the TGT that is shown."""


# -- replies ---------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class SentTgs:
    """A TGS-REQ, and what its client remembers of it."""

    message: bytes
    body: KdcReqBody
    tgt: Tgt
    subkey: ProtocolKey | None


@dataclass(slots=True, kw_only=True)
class OpenedTgs:
    """A TGS-REP, opened and checked."""

    tgs_rep: TgsRep
    part: EncKdcRepPart
    ticket: EncTicketPart
    sealed_with: PrincipalKey | None
    """None: another ticket's session key."""

    @property
    def tgt(self) -> Tgt:
        """The ticket as a TGT to go on with."""
        key = self.part.key
        return Tgt(
            ticket=self.tgs_rep.ticket,
            part=self.ticket,
            session=ProtocolKey(EncType(key.keytype), key.keyvalue),
        )


def open_tgs_reply(
    outcome: Outcome, sent: SentTgs, kdc: Kdc, second: Tgt | None = None
) -> OpenedTgs:
    """Open a TGS-REP; check names, times and flags against the request and the ticket.

    second: the TGT whose session key seals the ticket, in user to user.
    """
    assert (outcome.code, outcome.why) == (0, "")
    assert outcome.reply is not None
    reply = asn1.decode(TgsRep, outcome.reply)
    assert reply.padata is None
    key = sent.subkey or sent.tgt.session
    usage = (
        KeyUsage.TGS_REP_ENC_PART_SUBKEY if sent.subkey else KeyUsage.TGS_REP_ENC_PART_SESSION_KEY
    )
    assert (reply.enc_part.etype, reply.enc_part.kvno) == (key.enctype, None)
    part = asn1.decode(EncTgsRepPart, decrypt(key, usage, reply.enc_part.cipher))
    sealed = reply.ticket.enc_part
    sealing = None if second is not None else service_key_of(kdc, reply.ticket)
    opener = (
        second.session if second is not None else ready(sealing or krbtgt_key(kdc, reply.ticket))
    )
    assert sealed.kvno == (None if sealing is None else sealing.kvno)
    ticket = asn1.decode(EncTicketPart, decrypt(opener, KeyUsage.TICKET, sealed.cipher))
    assert part.nonce == sent.body.nonce
    assert reply.crealm == ticket.crealm == part.srealm == reply.ticket.realm == REALM
    assert reply.cname == ticket.cname == sent.tgt.cname
    assert reply.ticket.sname == part.sname
    assert part.key == ticket.key
    assert part.key.keytype in sent.body.etype
    for same in ("authtime", "starttime", "endtime", "renew_till", "flags", "caddr"):
        assert getattr(part, same) == getattr(ticket, same)
    assert part.authtime == sent.tgt.part.authtime
    return OpenedTgs(tgs_rep=reply, part=part, ticket=ticket, sealed_with=sealing)


def service_key_of(kdc: Kdc, ticket: Ticket) -> PrincipalKey:
    """Return the service's key that a ticket names; the service is found by any of its names."""
    parts = ticket.sname.name_string
    store = kdc.store
    service = store.krbtgt() if parts[0].lower() == "krbtgt" else None
    if service is None and len(parts) > 1:
        host = parts[1] if "." in parts[1] else f"{parts[1]}.lab.test"
        service = store.account_by_spn("/".join(parts)) or store.account_by_spn(f"host/{host}")
    service = service or store.account_by_name(parts[0]) or store.account_by_name(f"{parts[0]}$")
    assert service is not None
    sealed = ticket.enc_part
    (key,) = (k for k in service.keys if (k.etype, k.kvno) == (sealed.etype, sealed.kvno))
    return key


def ask_tgs(kdc: Kdc, request: TgsRequest, *, at: datetime = LATER) -> Outcome:
    """Send a TGS-REQ."""
    return kdc.ask(request.build().message, at=at)


def service_ticket(kdc: Kdc, request: TgsRequest, *, at: datetime = LATER) -> OpenedTgs:
    """Send a TGS-REQ that must get a ticket, and open it."""
    sent = request.build()
    return open_tgs_reply(kdc.ask(sent.message, at=at), sent, kdc)
