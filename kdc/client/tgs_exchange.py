"""The TGS exchange, client side (RFC 4120 3.3.1, 3.3.4): a TGT in, one request, a ticket out."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kdc.client.credential import credential_of
from kdc.client.errors import ClientError, ClientFault, RefusedError
from kdc.client.mechanism import Entropy
from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    CONFOUNDER_BYTES,
    KEY_BYTES,
    CryptoError,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    make_checksum,
)
from kdc.formats.ccache import Credential, Principal
from kdc.wire.constants import PVNO, KdcOption, MessageType, NameType, PaType
from kdc.wire.ms_kile import KERB_KEY_LIST_REP, KERB_KEY_LIST_REQ
from kdc.wire.rfc4120 import (
    ApReq,
    Authenticator,
    Checksum,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    KdcReqBody,
    KrbError,
    PaData,
    PrincipalName,
    TgsRep,
    TgsReq,
    Ticket,
)
from pki import asn1
from pki.errors import PkiError

_TGS_REP_TAG, _KRB_ERROR_TAG = b"\x6d", b"\x7e"
_ENC_AS_REP_PART, _ENC_TGS_REP_PART = b"\x79", b"\x7a"


@dataclass(frozen=True, slots=True, kw_only=True)
class TgsOptions:
    """What to ask for."""

    server: PrincipalName
    realm: str
    kdc_options: int = KdcOption.FORWARDABLE | KdcOption.CANONICALIZE
    etypes: tuple[int, ...] = (18, 17, 20, 19)
    till: datetime | None = None
    """None: as long as the TGT lives."""
    second_ticket: bytes = b""
    """User to user: DER of the other's TGT; kdc_options then needs ENC_TKT_IN_SKEY."""
    key_list: tuple[int, ...] = ()
    """Ask for the client's own keys of these types as well: KERB-KEY-LIST-REQ (MS-KILE 2.2.11)."""
    skew: timedelta = timedelta(minutes=5)


def service_name(text: str) -> PrincipalName:
    """Make the PrincipalName of a service as a user types it: `host/web.lab.test` or `pc1$`."""
    parts = tuple(text.split("/"))
    kind = NameType.SRV_INST if len(parts) > 1 else NameType.PRINCIPAL
    return PrincipalName(name_type=kind, name_string=parts)


class TgsExchange:
    """One TGS exchange. Not to be used again after it ended."""

    def __init__(self, options: TgsOptions, tgt: Credential, entropy: Entropy) -> None:
        self._options = options
        self._tgt = tgt
        self._entropy = entropy
        self._body: KdcReqBody | None = None
        self._subkey: ProtocolKey | None = None
        self._keys: tuple[EncryptionKey, ...] = ()

    @property
    def keys(self) -> tuple[EncryptionKey, ...]:
        """The client's own keys, after the answer came; empty: the KDC gave none."""
        return self._keys

    def start(self, now: datetime) -> bytes:
        """Return the TGS-REQ. Raises ClientError(BAD_PARAMETERS) for a TGT that cannot be used."""
        options, tgt = self._options, self._tgt
        try:
            session = ProtocolKey(EncType(tgt.etype), tgt.session_key)
            ticket = asn1.decode(Ticket, tgt.ticket)
            second = asn1.decode(Ticket, options.second_ticket) if options.second_ticket else None
        except (ValueError, CryptoError, PkiError):
            raise ClientError(ClientFault.BAD_PARAMETERS, "the TGT cannot be used") from None
        till = options.till or tgt.endtime
        if till is None:
            raise ClientError(ClientFault.BAD_PARAMETERS, "the TGT has no end time")
        self._body = body = KdcReqBody(
            kdc_options=options.kdc_options,
            realm=options.realm,
            sname=options.server,
            till=till,
            nonce=int.from_bytes(self._entropy(4), "big") & 0x7FFFFFFF,
            etype=options.etypes,
            additional_tickets=None if second is None else (second,),
        )
        value = self._entropy(KEY_BYTES[session.enctype])
        self._subkey = ProtocolKey(session.enctype, value)
        mac = make_checksum(session, KeyUsage.TGS_REQ_AUTHENTICATOR_CHECKSUM, asn1.encode(body))
        authenticator = Authenticator(
            authenticator_vno=PVNO,
            crealm=tgt.client.realm,
            cname=_principal_name(tgt.client),
            cksum=Checksum(cksumtype=CHECKSUM_TYPES[session.enctype], checksum=mac),
            cusec=now.microsecond,
            ctime=now.replace(microsecond=0),
            subkey=EncryptionKey(keytype=session.enctype, keyvalue=value),
        )
        cipher = encrypt(
            session,
            KeyUsage.TGS_REQ_AUTHENTICATOR,
            asn1.encode(authenticator),
            self._entropy(CONFOUNDER_BYTES),
        )
        ap_req = ApReq(
            pvno=PVNO,
            msg_type=MessageType.AP_REQ,
            ap_options=0,
            ticket=ticket,
            authenticator=EncryptedData(etype=session.enctype, cipher=cipher),
        )
        padata = [PaData(padata_type=PaType.TGS_REQ, padata_value=asn1.encode(ap_req))]
        if options.key_list:
            value = asn1.encode_as(KERB_KEY_LIST_REQ, options.key_list)
            padata.append(PaData(padata_type=PaType.KERB_KEY_LIST_REQ, padata_value=value))
        return asn1.encode(
            TgsReq(pvno=PVNO, msg_type=MessageType.TGS_REQ, padata=tuple(padata), req_body=body)
        )

    def receive(self, message: bytes, now: datetime) -> Credential:
        """Take the KDC's answer and return the ticket.

        Raises ClientError; RefusedError when the KDC refused.
        """
        if self._body is None or self._subkey is None:
            raise ClientError(ClientFault.WRONG_ANSWER, "nothing was asked")
        try:
            if message[:1] == _KRB_ERROR_TAG:
                raise RefusedError(asn1.decode(KrbError, message))
            if message[:1] != _TGS_REP_TAG:
                raise ClientError(ClientFault.MALFORMED, "neither TGS-REP nor KRB-ERROR")
            reply = asn1.decode(TgsRep, message)
            part = _open_enc_part(self._subkey, reply)
            keys = _key_list(part)
        except PkiError as error:
            raise ClientError(ClientFault.MALFORMED, str(error)) from None
        self._check(reply, part, self._body, now)
        self._keys = tuple(key for key in keys if key.keytype in self._options.key_list)
        return replace(
            credential_of(self._tgt.client, reply.ticket, part),
            second_ticket=self._options.second_ticket,
            is_session_key=bool(self._options.second_ticket),
        )

    def _check(self, reply: TgsRep, part: EncTgsRepPart, body: KdcReqBody, now: datetime) -> None:
        """Check that the reply answers our request (RFC 4120 3.3.4)."""
        if reply.pvno != PVNO or reply.msg_type != MessageType.TGS_REP:
            raise ClientError(ClientFault.MALFORMED, "header of the TGS-REP")
        client = self._tgt.client
        if reply.crealm != client.realm or reply.cname.name_string != client.components:
            raise ClientError(ClientFault.WRONG_ANSWER, "cname")
        if part.nonce != body.nonce:
            raise ClientError(ClientFault.WRONG_ANSWER, "nonce")
        if part.srealm != body.realm or reply.ticket.realm != part.srealm:
            raise ClientError(ClientFault.WRONG_ANSWER, "srealm")
        asked = self._options.server.name_string
        # No referrals and no aliases: a KDC that answers for another service answers wrongly.
        if part.sname.name_string != asked or reply.ticket.sname.name_string != asked:
            raise ClientError(ClientFault.WRONG_ANSWER, "sname")
        if part.key.keytype not in body.etype:
            raise ClientError(ClientFault.BAD_PARAMETERS, "session key of a type not asked for")
        start = part.starttime or part.authtime
        if start > now + self._options.skew:
            raise ClientError(ClientFault.CLOCK_SKEW)
        renewing = body.kdc_options & (KdcOption.RENEW | KdcOption.VALIDATE)
        if part.endtime <= start or (part.endtime > body.till and not renewing):
            raise ClientError(ClientFault.WRONG_ANSWER, "endtime")


def _principal_name(principal: Principal) -> PrincipalName:
    return PrincipalName(name_type=principal.name_type, name_string=principal.components)


def _key_list(part: EncTgsRepPart) -> tuple[EncryptionKey, ...]:
    """Return the client's own keys in a reply (MS-KILE 2.2.12). Raises PkiError."""
    for pa in part.encrypted_pa_data or ():
        if pa.padata_type == PaType.KERB_KEY_LIST_REP:
            keys: tuple[EncryptionKey, ...] = asn1.decode_as(KERB_KEY_LIST_REP, pa.padata_value)
            return keys
    return ()


def _open_enc_part(key: ProtocolKey, reply: TgsRep) -> EncTgsRepPart:
    """Open the client's part with the subkey. Raises ClientError, PkiError."""
    if reply.enc_part.etype != key.enctype:
        raise ClientError(ClientFault.WRONG_ANSWER, "encryption type of the reply")
    try:
        plain = decrypt(key, KeyUsage.TGS_REP_ENC_PART_SUBKEY, reply.enc_part.cipher)
    except CryptoError:
        raise ClientError(ClientFault.WRONG_KEY) from None
    if plain[:1] == _ENC_AS_REP_PART:
        # RFC 4120 5.4.2: the two tags are sometimes mixed up, and clients accept it.
        plain = _ENC_TGS_REP_PART + plain[1:]
    return asn1.decode(EncTgsRepPart, plain)
