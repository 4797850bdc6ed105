"""Partial TGTs: making them as the cloud does for users who proved themselves to it, opening them.

The key file is all that it takes; no store, no KDC. What comes out is a ticket under the read-only
DC's krbtgt key, and the AS-REP ("message buffer") that the cloud hands to a device with its tokens:
its client's part is sealed with a key of its own (`client_key`), as in an AS exchange.
"""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from directory.model import Account, AccountKind, Domain, Sid
from kdc.client.credential import credential_of
from kdc.client.errors import ClientError, ClientFault
from kdc.client.mechanism import Entropy
from kdc.crypto.etypes import (
    CONFOUNDER_BYTES,
    KEY_BYTES,
    CryptoError,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
)
from kdc.formats.ccache import Ccache, Credential, Principal
from kdc.formats.cloud_key import CloudKey
from kdc.pac import partial_tgt_pac, wrap_if_relevant
from kdc.wire.constants import PVNO, MessageType, NameType, TicketFlag
from kdc.wire.rfc4120 import (
    NOT_TRANSITED,
    AsRep,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    LastReqEntry,
    PrincipalName,
    Ticket,
)
from pki import asn1
from pki.errors import PkiError

DEFAULT_LIFE = timedelta(hours=10)  # what the cloud's were seen to have
RENEWABLE = timedelta(days=7)
FLAGS = (
    TicketFlag.FORWARDABLE
    | TicketFlag.RENEWABLE
    | TicketFlag.INITIAL
    | TicketFlag.PRE_AUTHENT
    | TicketFlag.ENC_PA_REP
)
_ETYPE = EncType(18)
_DOMAIN_USERS_RID = 513
_ACCOUNT_TYPE = 2  # of a user of the domain; nobody was seen to read it


@dataclass(slots=True, kw_only=True)
class MintedTgt:
    """A partial TGT and what its client needs besides."""

    user: str
    sid: Sid
    kvno: int
    """As it stands in the ticket, Int32."""
    credential: Credential
    message: bytes = field(repr=False)
    """DER of the AS-REP."""
    client_key: ProtocolKey = field(repr=False)
    """Opens the AS-REP's enc-part, with key usage 3."""

    @property
    def realm(self) -> str:
        """The realm it is for."""
        return self.credential.client.realm

    def ccache(self) -> Ccache:
        """Return a credential cache with the ticket in it."""
        return Ccache(default_principal=self.credential.client, credentials=(self.credential,))

    def token_member(self, wrapped_key: str | None = None) -> bytes:
        """Return the text of `tgt_ad`, the member of a token response that carries the ticket.

        wrapped_key: `clientKey` as the cloud sends it, sealed for the device; else it is in the
        clear.
        """
        clear = base64.b64encode(self.client_key.value).decode()
        return (
            json.dumps(
                {
                    "clientKey": clear if wrapped_key is None else wrapped_key,
                    "keyType": int(self.client_key.enctype),
                    "error": None,
                    "messageBuffer": base64.b64encode(self.message).decode(),
                    "realm": self.realm,
                    "sn": f"krbtgt/{self.realm}",
                    "cn": self.user,
                    "sessionKeyType": self.credential.etype,
                    "accountType": _ACCOUNT_TYPE,
                }
            )
            + "\n"
        ).encode()


def mint_partial_tgt(
    key: CloudKey,
    user: str,
    sid: Sid,
    *,
    now: datetime,
    entropy: Entropy,
    life: timedelta = DEFAULT_LIFE,
    low_kvno: int | None = None,
    identifier: bool = True,
) -> MintedTgt:
    """Make a partial TGT for a user of the domain.

    user: sAMAccountName. sid: of the account. low_kvno: in the lower half of kvno, instead of the
    key's version. identifier: whether the PAC's signatures end in the RODCIdentifier.
    Raises ValueError for a SID of another domain.
    """
    start = now.replace(microsecond=0)
    end = start + life
    cname = PrincipalName(name_type=NameType.PRINCIPAL, name_string=(user,))
    sname = PrincipalName(name_type=NameType.SRV_INST, name_string=("krbtgt", key.realm))
    session = EncryptionKey(keytype=_ETYPE, keyvalue=entropy(KEY_BYTES[_ETYPE]))
    pac = partial_tgt_pac(
        Account(
            account_id=0,
            sam_account_name=user,
            kind=AccountKind.USER,
            sid=sid,
            created_at=datetime(1970, 1, 1, tzinfo=UTC),
        ),
        Domain(sid=key.domain_sid, netbios=key.netbios, dns_name=key.domain),
        key=key.key,
        number=key.number if identifier else None,
        logon_time=start,
        groups=(key.domain_sid.with_rid(_DOMAIN_USERS_RID),),
    )
    part = EncTicketPart(
        flags=FLAGS,
        key=session,
        crealm=key.realm,
        cname=cname,
        transited=NOT_TRANSITED,
        authtime=start,
        starttime=start,
        endtime=end,
        renew_till=start + RENEWABLE,
        caddr=None,
        authorization_data=(wrap_if_relevant(pac),),
    )
    kvno = key.wire_kvno(low_kvno)
    ticket = Ticket(
        tkt_vno=PVNO,
        realm=key.realm,
        sname=sname,
        enc_part=EncryptedData(
            etype=key.key.enctype,
            kvno=kvno,
            cipher=encrypt(key.key, KeyUsage.TICKET, asn1.encode(part), entropy(CONFOUNDER_BYTES)),
        ),
    )
    client_key = ProtocolKey(_ETYPE, entropy(KEY_BYTES[_ETYPE]))
    client_part = EncAsRepPart(
        key=session,
        last_req=(LastReqEntry(lr_type=0, lr_value=start),),
        nonce=0,
        flags=FLAGS,
        authtime=start,
        starttime=start,
        endtime=end,
        renew_till=part.renew_till,
        srealm=key.realm,
        sname=sname,
    )
    message = AsRep(
        pvno=PVNO,
        msg_type=MessageType.AS_REP,
        crealm=key.realm,
        cname=cname,
        ticket=ticket,
        enc_part=EncryptedData(
            etype=client_key.enctype,
            cipher=encrypt(
                client_key,
                KeyUsage.AS_REP_ENC_PART,
                asn1.encode(client_part),
                entropy(CONFOUNDER_BYTES),
            ),
        ),
    )
    return MintedTgt(
        user=user,
        sid=sid,
        kvno=kvno,
        credential=credential_of(Principal.of(key.realm, cname), ticket, client_part),
        message=asn1.encode(message),
        client_key=client_key,
    )


def open_partial_tgt(message: bytes, client_key: ProtocolKey) -> Credential:
    """Open what the cloud delivered and return the partial TGT as a credential.

    message: DER of the AS-REP. client_key: its reply key.
    Nothing was asked of a KDC, so there is no nonce and no request to compare it with; that the
    ticket is good is the KDC's to say. Raises ClientError: MALFORMED, WRONG_ANSWER, WRONG_KEY.
    """
    try:
        reply = asn1.decode(AsRep, message)
        if reply.enc_part.etype != client_key.enctype:
            raise ClientError(ClientFault.WRONG_ANSWER, "encryption type of the AS-REP")
        plain = decrypt(client_key, KeyUsage.AS_REP_ENC_PART, reply.enc_part.cipher)
        part = asn1.decode(EncAsRepPart, plain)
    except PkiError as error:
        raise ClientError(ClientFault.MALFORMED, str(error)) from None
    except CryptoError:
        raise ClientError(ClientFault.WRONG_KEY) from None
    krbtgt = ("krbtgt", reply.crealm)
    for name, realm in ((reply.ticket.sname, reply.ticket.realm), (part.sname, part.srealm)):
        if name.name_string != krbtgt or realm != reply.crealm:
            raise ClientError(ClientFault.WRONG_ANSWER, "it is no TGT of the client's realm")
    return credential_of(Principal.of(reply.crealm, reply.cname), reply.ticket, part)
