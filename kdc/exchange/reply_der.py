"""The DER of a reply and its sealed parts, spliced: what they say alike is encoded once.

Encoding the three through their declared types costs a tenth of a whole TGS exchange. A test
compares each with what the declared types give.
"""

from datetime import datetime
from functools import lru_cache

from kdc.policy import TicketGrant
from kdc.wire.constants import PVNO, MessageType
from kdc.wire.rfc4120 import (
    HOST_ADDRESSES,
    NOT_TRANSITED,
    EncryptedData,
    EncryptionKey,
    HostAddress,
    PaData,
    PrincipalName,
    TransitedEncoding,
)
from kdc.wire.rfc6113 import ANONYMOUS, ANONYMOUS_REALM
from pki import asn1
from pki.der import (
    GENERAL_STRING,
    GENERALIZED_TIME,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    encode_oid,
    generalized_time_content,
    integer_content,
    tlv,
)

_FLAGS_HEAD = b"\x03\x05\x00"  # BIT STRING of 32 bits
_ENC_TICKET_PART = 0x63
_TICKET = 0x61
_ENC_PART = {MessageType.AS_REP: 0x79, MessageType.TGS_REP: 0x7A}
_VERSION = tlv(0xA0, tlv(INTEGER, bytes((PVNO,))))
_HEADS = {
    kind: _VERSION + tlv(0xA1, tlv(INTEGER, bytes((kind,))))
    for kind in (MessageType.AS_REP, MessageType.TGS_REP)
}


# Realms are one or two; names come from the accounts that there are, and their spellings.
@lru_cache(maxsize=64)
def _realm(text: str) -> bytes:
    return tlv(GENERAL_STRING, asn1.GENERAL_STRING.write(text))


@lru_cache(maxsize=2048)
def _name(name_type: int, name_string: tuple[str, ...]) -> bytes:
    return asn1.encode(PrincipalName(name_type=name_type, name_string=name_string))


@lru_cache(maxsize=2048)
def _client_fields(realm: str, name_type: int, name_string: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Return crealm and cname, of EncTicketPart and of the message."""
    realm_der, name = _realm(realm), _name(name_type, name_string)
    return tlv(0xA2, realm_der) + tlv(0xA3, name), tlv(0xA3, realm_der) + tlv(0xA4, name)


@lru_cache(maxsize=2048)
def _service_fields(
    realm: str, name_type: int, name_string: tuple[str, ...]
) -> tuple[bytes, bytes]:
    """Return srealm and sname of the client's part; tkt-vno, realm and sname of the Ticket."""
    realm_der, name = _realm(realm), _name(name_type, name_string)
    of_client_part = tlv(0xA9, realm_der) + tlv(0xAA, name)
    return of_client_part, _VERSION + tlv(0xA1, realm_der) + tlv(0xA2, name)


_NOT_TRANSITED = tlv(0xA4, asn1.encode(NOT_TRANSITED))


def _transited(value: TransitedEncoding) -> bytes:
    if value.contents or value.tr_type != NOT_TRANSITED.tr_type:
        return tlv(0xA4, asn1.encode(value))
    return _NOT_TRANSITED


_HIDDEN = tlv(0xA3, _realm(ANONYMOUS_REALM)) + tlv(
    0xA4, _name(ANONYMOUS.name_type, ANONYMOUS.name_string)
)
"""crealm and cname of a client that hides its name (RFC 6113 5.4.2)."""


_AUTHTIME, _STARTTIME, _ENDTIME, _RENEW_TILL = (
    bytes((tag, 17, GENERALIZED_TIME, 15)) for tag in (0xA5, 0xA6, 0xA7, 0xA8)
)


def _time(tag: int, value: datetime) -> bytes:
    return bytes((tag, 17, GENERALIZED_TIME, 15)) + generalized_time_content(value)


def _integer(tag: int, value: int) -> bytes:
    return tlv(tag, tlv(INTEGER, integer_content(value)))


def _encrypted(sealed: EncryptedData) -> bytes:
    out = _integer(0xA0, sealed.etype)
    if sealed.kvno is not None:
        out += _integer(0xA1, sealed.kvno)
    return tlv(SEQUENCE, out + tlv(0xA2, tlv(OCTET_STRING, sealed.cipher)))


def _pa_data(pa: PaData) -> bytes:
    octets = tlv(OCTET_STRING, pa.padata_value)
    return tlv(SEQUENCE, _integer(0xA1, pa.padata_type) + tlv(0xA2, octets))


def _method_data(padata: tuple[PaData, ...]) -> bytes:
    return tlv(SEQUENCE, b"".join(map(_pa_data, padata)))


class ReplyDer:
    """Writes an AS-REP or TGS-REP: the ticket's part, then the client's, then the message."""

    __slots__ = (
        "_addresses",
        "_authtime",
        "_client_in_message",
        "_client_in_ticket",
        "_flags",
        "_key",
        "_kind",
        "_service_in_client_part",
        "_service_in_ticket",
        "_times",
    )

    def __init__(
        self,
        *,
        kind: MessageType,
        realm: str,
        cname: PrincipalName,
        sname: PrincipalName,
        session: EncryptionKey,
        flags: int,
        grant: TicketGrant,
        caddr: tuple[HostAddress, ...] | None,
    ) -> None:
        """Encode what both parts say.

        kind: AS_REP or TGS_REP. realm: the client's and the service's. flags: instead of grant's.
        """
        self._kind = kind
        self._client_in_ticket, self._client_in_message = _client_fields(
            realm, cname.name_type, cname.name_string
        )
        self._service_in_client_part, self._service_in_ticket = _service_fields(
            realm, sname.name_type, sname.name_string
        )
        self._flags = _FLAGS_HEAD + flags.to_bytes(4, "big")
        key = _integer(0xA0, session.keytype) + tlv(0xA1, tlv(OCTET_STRING, session.keyvalue))
        self._key = tlv(SEQUENCE, key)
        authtime = self._authtime = generalized_time_content(grant.authtime)
        # In most initial tickets the two are one.
        starttime = (
            authtime
            if grant.starttime is grant.authtime
            else generalized_time_content(grant.starttime)
        )
        times = [_AUTHTIME, authtime, _STARTTIME, starttime]
        times += (_ENDTIME, generalized_time_content(grant.endtime))
        if grant.renew_till is not None:
            times += (_RENEW_TILL, generalized_time_content(grant.renew_till))
        self._times = b"".join(times)
        self._addresses = None if caddr is None else asn1.encode_as(HOST_ADDRESSES, caddr)

    def ticket_fields(self, transited: TransitedEncoding) -> bytes:
        """Return the fields of EncTicketPart up to its authorization data."""
        out = tlv(0xA0, self._flags) + tlv(0xA1, self._key)
        out += self._client_in_ticket + _transited(transited) + self._times
        return out if self._addresses is None else out + tlv(0xA9, self._addresses)

    def client_part(
        self,
        *,
        nonce: int,
        key_expiration: datetime | None = None,
        encrypted_pa_data: tuple[PaData, ...] | None = None,
    ) -> bytes:
        """Return EncASRepPart or EncTGSRepPart."""
        last_req = tlv(SEQUENCE, b"\xa0\x03\x02\x01\x00\xa1\x11\x18\x0f" + self._authtime)
        out = tlv(0xA0, self._key) + tlv(0xA1, tlv(SEQUENCE, last_req)) + _integer(0xA2, nonce)
        if key_expiration is not None:
            out += _time(0xA3, key_expiration)
        out += tlv(0xA4, self._flags) + self._times + self._service_in_client_part
        if self._addresses is not None:
            out += tlv(0xAB, self._addresses)
        if encrypted_pa_data is not None:
            out += tlv(0xAC, _method_data(encrypted_pa_data))
        return tlv(_ENC_PART[self._kind], tlv(SEQUENCE, out))

    def ticket(self, sealed: EncryptedData) -> bytes:
        """Return the Ticket. sealed: its enc-part."""
        out = self._service_in_ticket + tlv(0xA3, _encrypted(sealed))
        return tlv(_TICKET, tlv(SEQUENCE, out))

    def message(
        self,
        *,
        padata: tuple[PaData, ...] | None,
        ticket: bytes,
        client: EncryptedData,
        hide_client: bool = False,
    ) -> bytes:
        """Return the whole reply.

        ticket: DER of the Ticket. client: the client's sealed part. hide_client: call the client
        WELLKNOWN/ANONYMOUS in the clear.
        """
        out = _HEADS[self._kind]
        if padata:
            out += tlv(0xA2, _method_data(padata))
        out += _HIDDEN if hide_client else self._client_in_message
        out += tlv(0xA5, ticket) + tlv(0xA6, _encrypted(client))
        return tlv(0x60 | self._kind, tlv(SEQUENCE, out))


@lru_cache(maxsize=8)
def _algorithm(oid: str) -> bytes:
    return tlv(SEQUENCE, encode_oid(oid))


def _party(realm: bytes, name: PrincipalName) -> bytes:
    """Return a KRB5PrincipalName as the value of an OCTET STRING."""
    inner = tlv(0xA0, realm) + tlv(0xA1, _name(name.name_type, name.name_string))
    return tlv(OCTET_STRING, tlv(SEQUENCE, inner))


def pkinit_other_info(
    *,
    kdf_id: str,
    realm: str,
    cname: PrincipalName,
    sname: PrincipalName,
    enctype: int,
    as_req: bytes,
    pk_as_rep: bytes,
) -> bytes:
    """Return RFC 8636's OtherInfo; realm and names as the request has them."""
    realm_der = _realm(realm)
    public = _integer(0xA0, enctype)
    public += tlv(0xA1, tlv(OCTET_STRING, as_req)) + tlv(0xA2, tlv(OCTET_STRING, pk_as_rep))
    out = _algorithm(kdf_id)
    out += tlv(0xA0, _party(realm_der, cname)) + tlv(0xA1, _party(realm_der, sname))
    return tlv(SEQUENCE, out + tlv(0xA2, tlv(OCTET_STRING, tlv(SEQUENCE, public))))


def enc_ticket_part(fields: bytes, authorization_data: bytes) -> bytes:
    """Return EncTicketPart. fields: from `ticket_fields`; authorization_data: its elements' DER."""
    if authorization_data:
        fields += tlv(0xAA, tlv(SEQUENCE, authorization_data))
    return tlv(_ENC_TICKET_PART, tlv(SEQUENCE, fields))
