"""FAST, client side (RFC 6113 5.4): an AS exchange inside the armor of another TGT."""

from dataclasses import replace
from datetime import datetime

from kdc.client.errors import ClientError, ClientFault
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
    verify_checksum,
)
from kdc.crypto.rfc6113 import strengthened_reply_key, ticket_armor_key
from kdc.formats.ccache import Credential
from kdc.wire.constants import PVNO, MessageType, PaType
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    ApReq,
    AsRep,
    Authenticator,
    Checksum,
    EncryptedData,
    EncryptionKey,
    KdcReqBody,
    KrbError,
    PaData,
    PrincipalName,
    Ticket,
)
from kdc.wire.rfc6113 import (
    ANONYMOUS,
    FX_FAST_ARMOR_AP_REQUEST,
    FastOption,
    KrbFastArmor,
    KrbFastArmoredReq,
    KrbFastReq,
    KrbFastResponse,
    decode_pa_fx_fast_reply,
    encode_pa_fx_fast_request,
)
from pki import asn1
from pki.errors import PkiError


class FastTunnel:
    """The armor of one AS exchange: a TGT of the realm, and a subkey of our own."""

    def __init__(self, armor: Credential, entropy: Entropy, *, hide_client: bool = False) -> None:
        """Make the armor key.

        hide_client: ask the KDC not to say the client's name in the clear.
        Raises ClientError(BAD_PARAMETERS) for a credential that cannot be used.
        """
        try:
            self._session = ProtocolKey(EncType(armor.etype), armor.session_key)
            self._ticket = asn1.decode(Ticket, armor.ticket)
        except (ValueError, CryptoError, PkiError):
            raise ClientError(
                ClientFault.BAD_PARAMETERS, "the armor ticket cannot be used"
            ) from None
        self._entropy = entropy
        self._client = armor.client
        self._options = FastOption.HIDE_CLIENT_NAMES if hide_client else 0
        etype = self._session.enctype
        self._subkey = ProtocolKey(etype, entropy(KEY_BYTES[etype]))
        self.key = ticket_armor_key(self._subkey, self._session)
        """The armor key."""

    def wrap(
        self, body: KdcReqBody, padata: tuple[PaData, ...], now: datetime
    ) -> tuple[KdcReqBody, tuple[PaData, ...]]:
        """Put a request into the tunnel; return body and padata of the outer one."""
        outer = replace(body, cname=ANONYMOUS) if self._options else body
        inner = KrbFastReq(fast_options=self._options, padata=padata, req_body=body)
        mac = make_checksum(self.key, KeyUsage.FAST_REQ_CHKSUM, asn1.encode(outer))
        armored = KrbFastArmoredReq(
            armor=KrbFastArmor(
                armor_type=FX_FAST_ARMOR_AP_REQUEST, armor_value=asn1.encode(self._ap_req(now))
            ),
            req_checksum=Checksum(cksumtype=CHECKSUM_TYPES[self.key.enctype], checksum=mac),
            enc_fast_req=self._sealed(self.key, KeyUsage.FAST_ENC, asn1.encode(inner)),
        )
        value = encode_pa_fx_fast_request(armored)
        return outer, (PaData(padata_type=PaType.FX_FAST, padata_value=value),)

    def _sealed(self, key: ProtocolKey, usage: KeyUsage, plain: bytes) -> EncryptedData:
        cipher = encrypt(key, usage, plain, self._entropy(CONFOUNDER_BYTES))
        return EncryptedData(etype=key.enctype, cipher=cipher)

    def _ap_req(self, now: datetime) -> ApReq:
        name = PrincipalName(name_type=self._client.name_type, name_string=self._client.components)
        authenticator = Authenticator(
            authenticator_vno=PVNO,
            crealm=self._client.realm,
            cname=name,
            cusec=now.microsecond,
            ctime=now.replace(microsecond=0),
            subkey=EncryptionKey(keytype=self._subkey.enctype, keyvalue=self._subkey.value),
        )
        return ApReq(
            pvno=PVNO,
            msg_type=MessageType.AP_REQ,
            ap_options=0,
            ticket=self._ticket,
            authenticator=self._sealed(
                self._session, KeyUsage.AP_REQ_AUTHENTICATOR, asn1.encode(authenticator)
            ),
        )

    def _open(self, padata: tuple[PaData, ...], nonce: int) -> KrbFastResponse | None:
        """Open the PA-FX-FAST of an answer; None when there is none. Raises ClientError."""
        value = next((p.padata_value for p in padata if p.padata_type == PaType.FX_FAST), None)
        if value is None:
            return None
        try:
            sealed = decode_pa_fx_fast_reply(value).enc_fast_rep
            plain = decrypt(self.key, KeyUsage.FAST_REP, sealed.cipher)
            response = asn1.decode(KrbFastResponse, plain)
        except CryptoError:
            raise ClientError(ClientFault.WRONG_KEY, "FAST response") from None
        except PkiError as error:
            raise ClientError(ClientFault.MALFORMED, str(error)) from None
        if response.nonce != nonce:
            raise ClientError(ClientFault.WRONG_ANSWER, "nonce of the FAST response")
        return response

    def open_error(self, error: KrbError, nonce: int) -> KrbError:
        """Return what the KDC said inside the tunnel, its padata as METHOD-DATA.

        An error without a tunnel is returned as it is: nobody has vouched for it.
        """
        try:
            outer = asn1.decode_as(METHOD_DATA, error.e_data or b"")
        except PkiError:
            return error
        response = self._open(outer, nonce)
        if response is None:
            return error
        inner = next((p for p in response.padata if p.padata_type == PaType.FX_ERROR), None)
        try:
            said = asn1.decode(KrbError, b"" if inner is None else inner.padata_value)
        except PkiError as fault:
            raise ClientError(ClientFault.MALFORMED, str(fault)) from None
        others = tuple(p for p in response.padata if p is not inner)
        return replace(said, e_data=asn1.encode_as(METHOD_DATA, others) if others else None)

    def open_reply(self, reply: AsRep, nonce: int) -> tuple[AsRep, ProtocolKey]:
        """Return an AS-REP with what was said inside the tunnel, and the strengthen-key.

        Raises ClientError: without a FAST response the reply is not from whom we asked.
        """
        response = self._open(reply.padata or (), nonce)
        if response is None or response.finished is None or response.strengthen_key is None:
            raise ClientError(ClientFault.KDC_NOT_TRUSTED, "the reply came outside the tunnel")
        finished, strengthen = response.finished, response.strengthen_key
        try:
            if finished.ticket_checksum.cksumtype != CHECKSUM_TYPES[self.key.enctype]:
                raise ClientError(ClientFault.WRONG_ANSWER, "checksum of the ticket")
            verify_checksum(
                self.key,
                KeyUsage.FAST_FINISHED,
                asn1.encode(reply.ticket),
                finished.ticket_checksum.checksum,
            )
            key = ProtocolKey(EncType(strengthen.keytype), strengthen.keyvalue)
        except (ValueError, CryptoError):
            raise ClientError(ClientFault.WRONG_ANSWER, "checksum of the ticket") from None
        opened = replace(
            reply, padata=response.padata, crealm=finished.crealm, cname=finished.cname
        )
        return opened, key

    @staticmethod
    def strengthen(strengthen_key: ProtocolKey, reply_key: ProtocolKey) -> ProtocolKey:
        """Return the key that opens the reply (RFC 6113 5.4.3). Raises ClientError."""
        if strengthen_key.enctype != reply_key.enctype:
            raise ClientError(ClientFault.BAD_PARAMETERS, "type of the strengthen-key")
        return strengthened_reply_key(strengthen_key, reply_key)
