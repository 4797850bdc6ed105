"""Requests to change a password, built in steps that each can be broken, and their replies."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from directory.changes import NewAccount
from directory.model import AccountKind, PrincipalKey
from kdc.crypto.etypes import (
    KEY_BYTES,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    string_to_key,
)
from kdc.outcome import Outcome
from kdc.wire.constants import PVNO, MessageType, NameType
from kdc.wire.rfc3244 import (
    CHANGE_PASSWORD,
    SET_PASSWORD,
    ChangePasswdData,
    decode_frame,
    encode_frame,
)
from kdc.wire.rfc4120 import (
    ApRep,
    ApReq,
    Authenticator,
    EncApRepPart,
    EncKrbPrivPart,
    EncryptedData,
    EncryptionKey,
    HostAddress,
    KrbError,
    KrbPriv,
    PaData,
    PrincipalName,
)
from pki import asn1
from tests.kdc.builders import (
    BODY,
    NOW,
    REALM,
    Kdc,
    as_req,
    client_entropy,
    enc_timestamp,
    key_of,
    name,
    open_password_reply,
    random_keys,
)
from tests.kdc.tgs_builders import Tgt, tgt_of

CHANGEPW = name("kadmin", "changepw", name_type=NameType.SRV_INST)
AT = NOW + timedelta(minutes=1)
"""When passwords are changed: a minute after the logon."""
NEW = "Battery-Staple-8"
SEQUENCE = 4711


def add_password_service(kdc: Kdc) -> tuple[PrincipalKey, ...]:
    """Add kadmin/changepw to the realm; return its keys."""
    keys = random_keys("changepw")
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name="kadmin/changepw",
            created_at=NOW - timedelta(days=20),
            spns=("kadmin/changepw",),
            keys=keys,
        )
    )
    return keys


def password_ticket(
    kdc: Kdc,
    who: str = "pat",
    *extra: PaData,
    key: PrincipalKey | None = None,
    at: datetime = NOW,
) -> Tgt:
    """Log on with a password for a ticket of kadmin/changepw. extra: padata to add."""
    key = key or key_of(18, who)
    body = replace(BODY, cname=name(who), sname=CHANGEPW)
    outcome = kdc.ask(as_req(body, enc_timestamp(key, at=at), *extra), at=at)
    return tgt_of(open_password_reply(outcome, key, kdc, body))


def logon_code(kdc: Kdc, password: str, who: str = "pat") -> int:
    """Log on for a TGT with a password typed; return the code of the answer."""
    made = string_to_key(EncType(18), password, REALM + who).value
    key = PrincipalKey(etype=18, kvno=1, key=made)
    at = AT + timedelta(seconds=1)
    return kdc.ask(as_req(replace(BODY, cname=name(who)), enc_timestamp(key, at=at)), at=at).code


@dataclass(slots=True, kw_only=True)
class Change:
    """A request of kpasswd; each step can be broken by a `change_`."""

    ticket: Tgt
    password: bytes = NEW.encode()
    version: int = CHANGE_PASSWORD
    target: PrincipalName | None = None
    target_realm: str | None = None
    user_data: bytes | None = None
    """Instead of what version, password and target make."""
    ctime: datetime = AT
    subkey: int | None = 18
    change_authenticator: Callable[[Authenticator], Authenticator] = lambda a: a
    change_ap_req: Callable[[ApReq], ApReq] = lambda a: a
    change_part: Callable[[EncKrbPrivPart], EncKrbPrivPart] = lambda p: p
    change_private: Callable[[KrbPriv], KrbPriv] = lambda p: p
    change_rest: Callable[[bytes], bytes] = lambda octets: octets
    """Breaks the DER of the KRB-PRIV."""
    change_message: Callable[[bytes], bytes] = lambda octets: octets

    def build(self) -> "SentChange":
        """Build the message and keep what opening its reply needs."""
        session = self.ticket.session
        subkey = None
        if self.subkey is not None:
            etype = EncType(self.subkey)
            subkey = ProtocolKey(etype, client_entropy(KEY_BYTES[etype]))
        authenticator = self.change_authenticator(
            Authenticator(
                authenticator_vno=PVNO,
                crealm=REALM,
                cname=self.ticket.cname,
                cusec=int.from_bytes(client_entropy(2), "big"),
                ctime=self.ctime,
                subkey=None
                if subkey is None
                else EncryptionKey(keytype=subkey.enctype, keyvalue=subkey.value),
                seq_number=SEQUENCE,
            )
        )
        cipher = encrypt(
            session,
            KeyUsage.AP_REQ_AUTHENTICATOR,
            asn1.encode(authenticator),
            client_entropy(16),
        )
        ap_req = ApReq(
            pvno=PVNO,
            msg_type=MessageType.AP_REQ,
            ap_options=1 << 29,
            ticket=self.ticket.ticket,
            authenticator=EncryptedData(etype=session.enctype, cipher=cipher),
        )
        part = self.change_part(
            EncKrbPrivPart(
                user_data=self._user_data(),
                seq_number=SEQUENCE,
                s_address=HostAddress(addr_type=2, address=bytes((192, 0, 2, 7))),
            )
        )
        key = subkey or session
        sealed = encrypt(key, KeyUsage.KRB_PRIV_ENC_PART, asn1.encode(part), client_entropy(16))
        private = KrbPriv(
            pvno=PVNO,
            msg_type=MessageType.KRB_PRIV,
            enc_part=EncryptedData(etype=key.enctype, cipher=sealed),
        )
        message = encode_frame(
            self.version,
            asn1.encode(self.change_ap_req(ap_req)),
            self.change_rest(asn1.encode(self.change_private(private))),
        )
        return SentChange(
            message=self.change_message(message),
            session=session,
            subkey=key,
            authenticator=authenticator,
        )

    def _user_data(self) -> bytes:
        if self.user_data is not None:
            return self.user_data
        if self.version != SET_PASSWORD:
            return self.password
        return asn1.encode(
            ChangePasswdData(
                newpasswd=self.password, targname=self.target, targrealm=self.target_realm
            )
        )


@dataclass(slots=True, kw_only=True)
class SentChange:
    """A request as it was sent."""

    message: bytes
    session: ProtocolKey
    subkey: ProtocolKey
    authenticator: Authenticator


def ask_change(kdc: Kdc, sent: SentChange, *, at: datetime = AT) -> Outcome:
    """Send a request to the port of kpasswd."""
    return kdc.ask(sent.message, at=at, service="kpasswd")


def open_change_reply(outcome: Outcome, sent: SentChange) -> tuple[int, str]:
    """Open AP-REP and KRB-PRIV as a client does; return result code and text."""
    assert outcome.reply is not None
    frame = decode_frame(outcome.reply)
    assert frame is not None
    assert frame.version == 1
    assert frame.ap, "an error, not protected"
    ap_rep = asn1.decode(ApRep, frame.ap)
    plain = decrypt(sent.session, KeyUsage.AP_REP_ENC_PART, ap_rep.enc_part.cipher)
    ap_part = asn1.decode(EncApRepPart, plain)
    assert (ap_part.ctime, ap_part.cusec) == (sent.authenticator.ctime, sent.authenticator.cusec)
    assert ap_part.subkey is None
    private = asn1.decode(KrbPriv, frame.rest)
    plain = decrypt(sent.subkey, KeyUsage.KRB_PRIV_ENC_PART, private.enc_part.cipher)
    part = asn1.decode(EncKrbPrivPart, plain)
    assert part.seq_number == ap_part.seq_number
    assert part.s_address.address == bytes((192, 0, 2, 1))
    return int.from_bytes(part.user_data[:2], "big"), part.user_data[2:].decode()


def open_error(outcome: Outcome) -> tuple[KrbError, int, str]:
    """Read a KRB-ERROR in its frame; return it with the result code and text of its e-data."""
    assert outcome.reply is not None
    frame = decode_frame(outcome.reply)
    assert frame is not None
    assert (frame.version, frame.ap) == (1, b"")
    error = asn1.decode(KrbError, frame.rest)
    assert error.e_data is not None
    return error, int.from_bytes(error.e_data[:2], "big"), error.e_data[2:].decode()
