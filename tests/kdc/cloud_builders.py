"""Read-only DCs in a test realm, and the partial TGTs that they, or a thief of their key, make.

The PAC is put together here from MS-PAC with `struct`: nothing of `kdc.pac` builds it.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from directory.changes import NewAccount
from directory.model import AccountKind, PrincipalKey, Sid
from directory.store_read_only_dc import dn_of_group
from kdc.crypto.etypes import CHECKSUM_TYPES, KeyUsage, ProtocolKey, encrypt, make_checksum
from kdc.outcome import Outcome
from kdc.pac.buffers import encode_logon_info
from kdc.wire.constants import AdType, PaType, TicketFlag
from kdc.wire.ms_kile import KERB_KEY_LIST_REP, KERB_KEY_LIST_REQ
from kdc.wire.rfc4120 import (
    AuthorizationDataElement,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    KdcReqBody,
    PaData,
    PrincipalName,
    Ticket,
    TransitedEncoding,
)
from pki import asn1
from tests.kdc.builders import (
    KRBTGT,
    NOW,
    REALM,
    Kdc,
    client_entropy,
    name,
    padata,
    random_keys,
)
from tests.kdc.tgs_builders import (
    LATER,
    TGS_BODY,
    OpenedTgs,
    SentTgs,
    TgsRequest,
    Tgt,
    if_relevant,
    open_tgs_reply,
    ready,
    same_part,
)

NUMBER = 4660
LOGON_INFO, SERVER, KDC, CLIENT_INFO, ATTRIBUTES, REQUESTOR = 1, 6, 7, 10, 17, 18
TO_KRBTGT = replace(TGS_BODY, sname=KRBTGT)
"""A TGS-REQ for a full TGT."""


def dn(kdc: Kdc, group: str) -> str:
    """Return the DN of a group by its name."""
    found = kdc.store.group_by_name(group)
    assert found is not None
    return dn_of_group(found, REALM)


def add_read_only_dc(
    kdc: Kdc,
    number: int = NUMBER,
    *,
    allow: Sequence[str] = ("Domain Users",),
    deny: Sequence[str] = ("Domain Admins", "Domain Controllers"),
    partial_secrets: bool = True,
    link: bool = True,
    keys: tuple[PrincipalKey, ...] | None = None,
) -> None:
    """Add the two accounts of a read-only DC; its computer has no machine and so no key."""
    created = NOW - timedelta(days=15)
    krbtgt_dn = f"CN=krbtgt_{number},CN=Users,DC=LAB,DC=TEST"
    kdc.store.add_accounts(
        (
            NewAccount(
                kind=AccountKind.KRBTGT,
                name=f"krbtgt_{number}",
                created_at=created,
                keys=random_keys(f"krbtgt_{number}") if keys is None else keys,
                secondary_krbtgt_number=number,
                dn=krbtgt_dn,
            ),
            NewAccount(
                kind=AccountKind.COMPUTER,
                name=f"Cloud{number}$",
                created_at=created,
                partial_secrets=partial_secrets,
                krbtgt_link=krbtgt_dn if link else None,
                primary_group_id=521,
                dn=f"CN=Cloud{number},OU=Domain Controllers,DC=LAB,DC=TEST",
                reveal_on_demand=tuple(dn(kdc, group) for group in allow),
                never_reveal=tuple(dn(kdc, group) for group in deny),
            ),
        )
    )


def put_into(kdc: Kdc, group: str, member: str) -> None:
    """Put an account or a group into a group, which is made when it is not there."""
    found = kdc.store.group_by_name(group)
    number = kdc.store.add_group(group) if found is None else found.group_id
    inner = kdc.store.group_by_name(member)
    if inner is not None:
        kdc.store.add_member(number, member_group=inner.group_id)
    else:
        kdc.store.add_member(number, account_id=kdc.account_id(member))


def sid_of(kdc: Kdc, account: str) -> Sid:
    """Return an account's SID."""
    found = kdc.store.account_by_name(account)
    assert found is not None
    assert found.sid is not None
    return found.sid


Buffers = dict[int, bytes]


def same_buffers(buffers: Buffers) -> Buffers:
    """Change nothing."""
    return buffers


def same_octets(octets: bytes) -> bytes:
    """Change nothing."""
    return octets


@dataclass(slots=True, kw_only=True)
class Partial:
    """A partial TGT, built in steps; each step can be broken."""

    kdc: Kdc
    who: str = "pat"
    number: int = NUMBER
    kvno: int | None = None
    """As it goes into the ticket; None: the number and version 1, as Int32."""
    key: PrincipalKey | None = None
    """Seals and signs; None: the newest of the number's krbtgt."""
    signer: PrincipalKey | None = None
    """Signs instead of `key`."""
    sid: Sid | None = None
    """In REQUESTOR and LOGON_INFO; None: that of `who`."""
    logon_sid: Sid | None = None
    """In LOGON_INFO instead."""
    cname: PrincipalName | None = None
    groups: tuple[Sid, ...] = ()
    extra_sids: tuple[Sid, ...] = ()
    identifier: int | None = None
    """RODCIdentifier after both signatures."""
    authtime: datetime = NOW
    endtime: datetime = NOW + timedelta(hours=10)
    flags: int = (
        TicketFlag.FORWARDABLE
        | TicketFlag.RENEWABLE
        | TicketFlag.INITIAL
        | TicketFlag.PRE_AUTHENT
        | TicketFlag.ENC_PA_REP
    )
    change_buffers: Callable[[Buffers], Buffers] = same_buffers
    """Before they are signed."""
    change_pac: Callable[[bytes], bytes] = same_octets
    """After."""
    authorization_data: Callable[[bytes], tuple[AuthorizationDataElement, ...] | None] | None = None
    """From the PAC; None: one AD-IF-RELEVANT with it."""
    alter: Callable[[EncTicketPart], EncTicketPart] = same_part
    session: ProtocolKey = field(
        default_factory=lambda: ready(PrincipalKey(etype=18, kvno=1, key=client_entropy(32)))
    )

    def sealing_key(self) -> PrincipalKey:
        """Return the key it is sealed with."""
        if self.key is not None:
            return self.key
        account = self.kdc.store.account_by_name(f"krbtgt_{self.number}")
        assert account is not None
        return next(key for key in account.keys if key.etype == 18)

    def pac(self) -> bytes:
        """Build the PAC and sign it."""
        sid = self.sid or sid_of(self.kdc, self.who)
        account = self.kdc.store.account_by_name("pat")
        assert account is not None
        user = (self.cname or name(self.who)).name_string[0].encode("utf-16-le")
        logon = encode_logon_info(
            replace(account, sam_account_name=self.who, sid=self.logon_sid or sid),
            self.kdc.store.domain(),
            self.groups,
            self.extra_sids,
            self.authtime,
            "",
        )
        key = ready(self.signer or self.sealing_key())
        rodc = b"" if self.identifier is None else struct.pack("<H", self.identifier)
        empty = struct.pack("<i", CHECKSUM_TYPES[key.enctype]) + bytes(12) + rodc
        filetime = int((self.authtime - datetime(1601, 1, 1, tzinfo=NOW.tzinfo)).total_seconds())
        buffers = self.change_buffers(
            {
                LOGON_INFO: logon,
                CLIENT_INFO: struct.pack("<QH", filetime * 10_000_000, len(user)) + user,
                ATTRIBUTES: struct.pack("<II", 2, 2),
                REQUESTOR: sid.to_bytes(),
                SERVER: empty,
                KDC: empty,
            }
        )
        return self.change_pac(sign(buffers, key))

    def build(self) -> Tgt:
        """Seal the ticket."""
        pac = self.pac()
        data: tuple[AuthorizationDataElement, ...] | None
        if self.authorization_data is None:
            data = (if_relevant((AdType.WIN2K_PAC, pac)),)
        else:
            data = self.authorization_data(pac)
        part = self.alter(
            EncTicketPart(
                flags=self.flags,
                key=EncryptionKey(keytype=self.session.enctype, keyvalue=self.session.value),
                crealm=REALM,
                cname=self.cname or name(self.who),
                transited=TransitedEncoding(tr_type=1, contents=b""),
                authtime=self.authtime,
                starttime=None,
                endtime=self.endtime,
                renew_till=self.authtime + timedelta(days=7),
                caddr=None,
                authorization_data=data,
            )
        )
        key = self.sealing_key()
        kvno = self.kvno
        if kvno is None:
            kvno = (self.number << 16) + 1
            kvno -= (kvno >> 31) << 32
        cipher = encrypt(ready(key), KeyUsage.TICKET, asn1.encode(part), client_entropy(16))
        ticket = Ticket(
            tkt_vno=5,
            realm=REALM,
            sname=KRBTGT,
            enc_part=EncryptedData(etype=key.etype, kvno=kvno, cipher=cipher),
        )
        return Tgt(ticket=ticket, part=part, session=self.session)


def sign(buffers: Buffers, key: ProtocolKey) -> bytes:
    """Lay a PAC out and make its two signatures (MS-PAC 2.3, 2.8), where there are places."""
    offset = 8 + 16 * len(buffers)
    head, body, places = struct.pack("<II", len(buffers), 0), b"", {}
    for kind, data in buffers.items():
        head += struct.pack("<IIQ", kind, len(data), offset)
        places[kind] = offset
        padded = data + bytes(-len(data) % 8)
        body += padded
        offset += len(padded)
    pac = bytearray(head + body)
    server = make_checksum(key, 17, bytes(pac))
    for kind, value in ((SERVER, server), (KDC, make_checksum(key, 17, server))):
        if kind in places:
            pac[places[kind] + 4 : places[kind] + 16] = value
    return bytes(pac)


# -- requests --------------------------------------------------------------------------------


def ask_full(
    partial: Partial, *, body: KdcReqBody = TO_KRBTGT, more: tuple[PaData, ...] = ()
) -> tuple[Outcome, SentTgs]:
    """Show a partial TGT."""
    sent = TgsRequest(tgt=partial.build(), body=body, after=more).build()
    return partial.kdc.ask(sent.message, at=LATER), sent


def full(
    partial: Partial, *, body: KdcReqBody = TO_KRBTGT, more: tuple[PaData, ...] = ()
) -> OpenedTgs:
    """Show a partial TGT that must be good, and open what it gets."""
    outcome, sent = ask_full(partial, body=body, more=more)
    return open_tgs_reply(outcome, sent, partial.kdc)


def key_list_request(*etypes: int) -> tuple[PaData, ...]:
    """Return a KERB-KEY-LIST-REQ."""
    return (padata(PaType.KERB_KEY_LIST_REQ, asn1.encode_as(KERB_KEY_LIST_REQ, etypes)),)


def key_list_of(opened: OpenedTgs) -> dict[int, bytes] | None:
    """Return the keys in a reply, which stand first in encrypted-pa-data; None without."""
    elements = opened.part.encrypted_pa_data or ()
    found = [pa for pa in elements if pa.padata_type == PaType.KERB_KEY_LIST_REP]
    if not found:
        return None
    assert len(found) == 1
    assert elements[0] is found[0]
    keys: tuple[EncryptionKey, ...] = asn1.decode_as(KERB_KEY_LIST_REP, found[0].padata_value)
    return {key.keytype: key.keyvalue for key in keys}
