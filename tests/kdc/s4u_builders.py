"""Requests and replies of S4U2Self and S4U2Proxy as a service makes and opens them.

The checksum of PA-FOR-USER is written out here from RFC 4757, not taken from the KDC.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from directory.changes import AccountChanges
from directory.model import PrincipalKey
from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    make_checksum,
)
from kdc.outcome import Outcome
from kdc.pac import PLACEHOLDER, DelegationInfo, PacFacts, service_pac, wrap_if_relevant
from kdc.wire.constants import AdType, KdcOption, NameType, PaType
from kdc.wire.ms_kile import KerbErrorData, PaPacOptions
from kdc.wire.ms_sfu import PaForUser, PaS4UX509User, S4UUserId
from kdc.wire.rfc4120 import (
    Checksum,
    EncKdcRepPart,
    EncryptedData,
    EncTgsRepPart,
    EncTicketPart,
    KdcReqBody,
    PaData,
    PrincipalName,
    TgsRep,
    Ticket,
)
from pki import asn1
from tests.kdc.builders import REALM, Kdc, client_entropy, error_of, name, padata
from tests.kdc.tgs_builders import (
    LATER,
    TGS_BODY,
    WEB,
    SentTgs,
    TgsRequest,
    Tgt,
    if_relevant,
    pac_of,
    ready,
    same_part,
    service_key_of,
)

PC1 = name("host", "pc1.lab.test", name_type=NameType.SRV_INST)
"""The service that acts for others: the computer pc1$."""
RBCD = 0x10000000  # bit 3 of PA-PAC-OPTIONS (MS-KILE 2.2.10)
SELF_BODY = replace(TGS_BODY, sname=PC1)


def md5_checksum(key: bytes, octets: bytes, *, usage: int = 17) -> bytes:
    """RFC 4757 section 4."""
    signing = hmac.new(key, b"signaturekey\0", hashlib.md5).digest()
    inner = hashlib.md5(usage.to_bytes(4, "little") + octets, usedforsecurity=False).digest()
    return hmac.new(signing, inner, hashlib.md5).digest()


@dataclass(slots=True, kw_only=True)
class ForUser:
    """A PA-FOR-USER, built in steps."""

    user: PrincipalName = field(default_factory=lambda: name("pat"))
    realm: str = REALM
    package: str = "Kerberos"
    cksumtype: int = -138
    change_checksum: Callable[[bytes], bytes] = bytes
    sent_user: PrincipalName | None = None
    """Sent instead of the one that the checksum covers."""

    def build(self, key: ProtocolKey) -> PaData:
        """Return the PA-DATA."""
        octets = self.user.name_type.to_bytes(4, "little", signed=True)
        octets += "".join((*self.user.name_string, self.realm, self.package)).encode()
        if self.cksumtype == -138:
            mac = md5_checksum(key.value, octets)
        elif self.cksumtype == CHECKSUM_TYPES[key.enctype]:
            mac = make_checksum(key, 17, octets)
        else:
            mac = hashlib.md5(octets, usedforsecurity=False).digest()
        asked = PaForUser(
            user_name=self.sent_user or self.user,
            user_realm=self.realm,
            cksum=Checksum(cksumtype=self.cksumtype, checksum=self.change_checksum(mac)),
            auth_package=self.package,
        )
        return padata(PaType.FOR_USER, asn1.encode(asked))


@dataclass(slots=True, kw_only=True)
class X509User:
    """A PA-S4U-X509-USER, built in steps."""

    user: PrincipalName | None = field(default_factory=lambda: name("pat"))
    realm: str = REALM
    certificate: bytes | None = None
    options: int | None = 1 << 29
    nonce: int = TGS_BODY.nonce
    cksumtype: int | None = None
    change_checksum: Callable[[bytes], bytes] = bytes

    def build(self, key: ProtocolKey) -> PaData:
        """Return the PA-DATA. key: the subkey."""
        user_id = S4UUserId(
            nonce=self.nonce,
            cname=self.user,
            crealm=self.realm,
            subject_certificate=self.certificate,
            options=self.options,
        )
        mac = make_checksum(key, 26, asn1.encode(user_id))
        kind = CHECKSUM_TYPES[key.enctype] if self.cksumtype is None else self.cksumtype
        asked = PaS4UX509User(
            user_id=user_id, checksum=Checksum(cksumtype=kind, checksum=self.change_checksum(mac))
        )
        return padata(PaType.S4U_X509_USER, asn1.encode(asked))


def ask_for(
    kdc: Kdc,
    tgt: Tgt,
    asked: ForUser | X509User | None = None,
    *,
    body: KdcReqBody = SELF_BODY,
    more: tuple[PaData, ...] = (),
) -> tuple[Outcome, SentTgs]:
    """Send an S4U2Self request for pat by name, or for whom `asked` says.

    Without a subkey, so that one key makes every checksum.
    """
    pa = (asked or ForUser()).build(tgt.session)
    sent = TgsRequest(tgt=tgt, body=body, subkey=None, after=(pa, *more)).build()
    return kdc.ask(sent.message, at=LATER), sent


@dataclass(slots=True, kw_only=True)
class S4UTicket:
    """A TGS-REP in somebody else's name, opened."""

    reply: TgsRep
    part: EncKdcRepPart
    ticket: EncTicketPart
    key: PrincipalKey
    """What seals it."""

    @property
    def forwardable(self) -> bool:
        """Whether it has the flag FORWARDABLE."""
        return bool(self.ticket.flags & KdcOption.FORWARDABLE)


def open_s4u(answer: tuple[Outcome, SentTgs], kdc: Kdc) -> S4UTicket:
    """Open a TGS-REP that speaks for somebody else than the requester."""
    outcome, sent = answer
    assert not outcome.code, outcome.why
    assert outcome.reply is not None
    reply = asn1.decode(TgsRep, outcome.reply)
    key = sent.subkey or sent.tgt.session
    usage = 9 if sent.subkey else 8
    part = asn1.decode(EncTgsRepPart, decrypt(key, usage, reply.enc_part.cipher))
    sealing = service_key_of(kdc, reply.ticket)
    plain = decrypt(ready(sealing), KeyUsage.TICKET, reply.ticket.enc_part.cipher)
    ticket = asn1.decode(EncTicketPart, plain)
    assert part.nonce == sent.body.nonce
    assert reply.cname == ticket.cname
    assert (part.key, part.flags, part.endtime) == (ticket.key, ticket.flags, ticket.endtime)
    return S4UTicket(reply=reply, part=part, ticket=ticket, key=sealing)


def change(kdc: Kdc, account: str, **changes: object) -> None:
    """Change an account."""
    kdc.store.update_account(
        kdc.account_id(account),
        AccountChanges(**changes),  # type: ignore[arg-type]  # of AccountChanges
    )


# -- S4U2Proxy -------------------------------------------------------------------------------


def forged(
    kdc: Kdc,
    ticket: Ticket,
    alter: Callable[[EncTicketPart], EncTicketPart] = same_part,
    *,
    change_pac: Callable[[bytes], bytes] | None = None,
) -> Ticket:
    """Make a ticket as the service can that it is for: sealed anew with its own key."""
    key, part = ready(service_key_of(kdc, ticket)), opened(kdc, ticket)
    if change_pac is not None:
        pac = change_pac(pac_of(part))
        part = replace(part, authorization_data=(if_relevant((AdType.WIN2K_PAC, pac)),))
    cipher = encrypt(key, KeyUsage.TICKET, asn1.encode(alter(part)), client_entropy(16))
    sealed = ticket.enc_part
    return replace(
        ticket, enc_part=EncryptedData(etype=sealed.etype, kvno=sealed.kvno, cipher=cipher)
    )


def opened(kdc: Kdc, ticket: Ticket) -> EncTicketPart:
    """Open a ticket with its service's key."""
    key = ready(service_key_of(kdc, ticket))
    return asn1.decode(EncTicketPart, decrypt(key, KeyUsage.TICKET, ticket.enc_part.cipher))


def krbtgt_signer(kdc: Kdc) -> ProtocolKey:
    """Return the key of krbtgt that signs the PACs of service tickets."""
    return next(ready(key) for key in kdc.store.krbtgt().keys if key.etype == 18)


def delegated(kdc: Kdc, ticket: Ticket, chain: DelegationInfo) -> Ticket:
    """Make what the KDC would have made of a ticket at the end of a chain of services."""
    part = opened(kdc, ticket)
    account = kdc.store.account_by_name(part.cname.name_string[0])
    assert account is not None
    facts = PacFacts(
        account=account,
        domain=kdc.store.domain(),
        groups=kdc.store.groups_of(account.account_id),
        logon_time=part.authtime,
        name=account.sam_account_name,
        delegation=chain,
    )
    signed = replace(part, authorization_data=(wrap_if_relevant(PLACEHOLDER),))
    key, krbtgt = ready(service_key_of(kdc, ticket)), krbtgt_signer(kdc)
    pac = service_pac(facts, key, krbtgt, asn1.encode(signed))
    return forged(
        kdc, ticket, lambda part: replace(part, authorization_data=(wrap_if_relevant(pac),))
    )


def delegate(
    kdc: Kdc,
    tgt: Tgt,
    evidence: Ticket | None,
    *,
    sname: PrincipalName = WEB,
    options: int = KdcOption.FORWARDABLE,
    pac_options: int = 0,
) -> tuple[Outcome, SentTgs]:
    """Send an S4U2Proxy request for host/web.lab.test."""
    body = replace(
        TGS_BODY,
        sname=sname,
        kdc_options=options | KdcOption.CNAME_IN_ADDL_TKT,
        additional_tickets=None if evidence is None else (evidence,),
    )
    pa: tuple[PaData, ...] = ()
    if pac_options:
        pa = (padata(PaType.PAC_OPTIONS, asn1.encode(PaPacOptions(flags=pac_options))),)
    sent = TgsRequest(tgt=tgt, body=body, after=pa).build()
    return kdc.ask(sent.message, at=LATER), sent


def status_of(outcome: Outcome) -> int | None:
    """Return the NTSTATUS in a refusal's e-data (MS-KILE 2.2.1); None without."""
    e_data = error_of(outcome).e_data
    if e_data is None:
        return None
    data = asn1.decode(KerbErrorData, e_data)
    assert data.data_type == 3
    assert data.data_value is not None
    assert len(data.data_value) == 12
    return int.from_bytes(data.data_value[:4], "little")
