"""RFC 4120: the messages of Kerberos V5, with MS-KILE's padata where it only adds a type.

Names: ASN.1 type names in CapWords, field names in snake_case. The ASN.1 of each type stands above
its fields. Strings are `str` with surrogateescape: bytes that are not UTF-8 survive unchanged.
"""

from datetime import datetime

from pki import asn1

MAX_PADATA = 64  # a FAST PKINIT request carries fewer than ten
MAX_ETYPES = 64  # the registry has about thirty
MAX_NAME_PARTS = 16  # RFC 4120 names have two; a few service names have three or four
MAX_ADDRESSES = 64


@asn1.sequence
class PrincipalName:
    """PrincipalName ::= SEQUENCE {

    name-type [0] Int32, name-string [1] SEQUENCE OF KerberosString }
    """

    name_type: int = asn1.explicit(0, asn1.INT32)
    name_string: tuple[str, ...] = asn1.explicit(
        1, asn1.sequence_of(asn1.GENERAL_STRING, MAX_NAME_PARTS)
    )


@asn1.sequence
class EncryptedData:
    """EncryptedData ::= SEQUENCE {

    etype [0] Int32, kvno [1] UInt32 OPTIONAL, cipher [2] OCTET STRING }
    """

    etype: int = asn1.explicit(0, asn1.INT32)
    kvno: int | None = asn1.explicit(1, asn1.NONCE, default=None)
    """UInt32 in RFC 4120; Windows sends RODC numbers as a signed Int32 (MS-KILE 3.1.5.8)."""
    cipher: bytes = asn1.explicit(2, asn1.OCTET_STRING)


@asn1.sequence
class EncryptionKey:
    """EncryptionKey ::= SEQUENCE { keytype [0] Int32, keyvalue [1] OCTET STRING }."""

    keytype: int = asn1.explicit(0, asn1.INT32)
    keyvalue: bytes = asn1.explicit(1, asn1.OCTET_STRING)

    def __repr__(self) -> str:
        """Never show the key."""
        return f"EncryptionKey(keytype={self.keytype}, keyvalue=***)"


@asn1.sequence
class Checksum:
    """Checksum ::= SEQUENCE { cksumtype [0] Int32, checksum [1] OCTET STRING }."""

    cksumtype: int = asn1.explicit(0, asn1.INT32)
    checksum: bytes = asn1.explicit(1, asn1.OCTET_STRING)


@asn1.sequence
class PaData:
    """PA-DATA ::= SEQUENCE { padata-type [1] Int32, padata-value [2] OCTET STRING }."""

    padata_type: int = asn1.explicit(1, asn1.INT32)
    padata_value: bytes = asn1.explicit(2, asn1.OCTET_STRING)


@asn1.sequence
class HostAddress:
    """HostAddress ::= SEQUENCE { addr-type [0] Int32, address [1] OCTET STRING }."""

    addr_type: int = asn1.explicit(0, asn1.INT32)
    address: bytes = asn1.explicit(1, asn1.OCTET_STRING)


@asn1.sequence
class AuthorizationDataElement:
    """AuthorizationData ::= SEQUENCE OF SEQUENCE {

    ad-type [0] Int32, ad-data [1] OCTET STRING }
    """

    ad_type: int = asn1.explicit(0, asn1.INT32)
    ad_data: bytes = asn1.explicit(1, asn1.OCTET_STRING)


METHOD_DATA = asn1.sequence_of(asn1.nested(PaData), MAX_PADATA)
"""METHOD-DATA ::= SEQUENCE OF PA-DATA."""
AUTHORIZATION_DATA = asn1.sequence_of(asn1.nested(AuthorizationDataElement))
HOST_ADDRESSES = asn1.sequence_of(asn1.nested(HostAddress), MAX_ADDRESSES)


@asn1.sequence(application=1)
class Ticket:
    """Ticket ::= [APPLICATION 1] SEQUENCE {

    tkt-vno [0] INTEGER (5), realm [1] Realm, sname [2] PrincipalName, enc-part [3] EncryptedData }
    """

    tkt_vno: int = asn1.explicit(0, asn1.INT32)
    realm: str = asn1.explicit(1, asn1.GENERAL_STRING)
    sname: PrincipalName = asn1.explicit(2, asn1.nested(PrincipalName))
    enc_part: EncryptedData = asn1.explicit(3, asn1.nested(EncryptedData))


@asn1.sequence
class KdcReqBody:
    """KDC-REQ-BODY ::= SEQUENCE {

    kdc-options [0] KDCOptions, cname [1] PrincipalName OPTIONAL, realm [2] Realm,
    sname [3] PrincipalName OPTIONAL, from [4] KerberosTime OPTIONAL, till [5] KerberosTime,
    rtime [6] KerberosTime OPTIONAL, nonce [7] UInt32, etype [8] SEQUENCE OF Int32,
    addresses [9] HostAddresses OPTIONAL, enc-authorization-data [10] EncryptedData OPTIONAL,
    additional-tickets [11] SEQUENCE OF Ticket OPTIONAL }
    """

    kdc_options: int = asn1.explicit(0, asn1.FLAGS32)
    cname: PrincipalName | None = asn1.explicit(1, asn1.nested(PrincipalName), default=None)
    realm: str = asn1.explicit(2, asn1.GENERAL_STRING)
    sname: PrincipalName | None = asn1.explicit(3, asn1.nested(PrincipalName), default=None)
    from_: datetime | None = asn1.explicit(4, asn1.GENERALIZED_TIME, default=None)
    till: datetime = asn1.explicit(5, asn1.GENERALIZED_TIME)
    rtime: datetime | None = asn1.explicit(6, asn1.GENERALIZED_TIME, default=None)
    nonce: int = asn1.explicit(7, asn1.NONCE)
    etype: tuple[int, ...] = asn1.explicit(8, asn1.sequence_of(asn1.INT32, MAX_ETYPES))
    addresses: tuple[HostAddress, ...] | None = asn1.explicit(9, HOST_ADDRESSES, default=None)
    enc_authorization_data: EncryptedData | None = asn1.explicit(
        10, asn1.nested(EncryptedData), default=None
    )
    additional_tickets: tuple[Ticket, ...] | None = asn1.explicit(
        11, asn1.sequence_of(asn1.nested(Ticket), 4), default=None
    )
    raw: bytes = asn1.received()
    """The body as it arrived: what paChecksum and the authenticator's checksum cover."""


@asn1.sequence
class KdcReq:
    """KDC-REQ ::= SEQUENCE {

    pvno [1] INTEGER (5), msg-type [2] INTEGER, padata [3] SEQUENCE OF PA-DATA OPTIONAL,
    req-body [4] KDC-REQ-BODY }
    """

    pvno: int = asn1.explicit(1, asn1.INT32)
    msg_type: int = asn1.explicit(2, asn1.INT32)
    padata: tuple[PaData, ...] | None = asn1.explicit(3, METHOD_DATA, default=None)
    req_body: KdcReqBody = asn1.explicit(4, asn1.nested(KdcReqBody))
    raw: bytes = asn1.received()
    """The whole message as it arrived: an input of the RFC 8636 KDF."""


@asn1.sequence(application=10)
class AsReq(KdcReq):
    """AS-REQ ::= [APPLICATION 10] KDC-REQ."""


@asn1.sequence(application=12)
class TgsReq(KdcReq):
    """TGS-REQ ::= [APPLICATION 12] KDC-REQ."""


@asn1.sequence
class KdcRep:
    """KDC-REP ::= SEQUENCE {

    pvno [0] INTEGER (5), msg-type [1] INTEGER, padata [2] SEQUENCE OF PA-DATA OPTIONAL,
    crealm [3] Realm, cname [4] PrincipalName, ticket [5] Ticket, enc-part [6] EncryptedData }
    """

    pvno: int = asn1.explicit(0, asn1.INT32)
    msg_type: int = asn1.explicit(1, asn1.INT32)
    padata: tuple[PaData, ...] | None = asn1.explicit(2, METHOD_DATA, default=None)
    crealm: str = asn1.explicit(3, asn1.GENERAL_STRING)
    cname: PrincipalName = asn1.explicit(4, asn1.nested(PrincipalName))
    ticket: Ticket = asn1.explicit(5, asn1.nested(Ticket))
    enc_part: EncryptedData = asn1.explicit(6, asn1.nested(EncryptedData))


@asn1.sequence(application=11)
class AsRep(KdcRep):
    """AS-REP ::= [APPLICATION 11] KDC-REP."""


@asn1.sequence(application=13)
class TgsRep(KdcRep):
    """TGS-REP ::= [APPLICATION 13] KDC-REP."""


@asn1.sequence(application=14)
class ApReq:
    """AP-REQ ::= [APPLICATION 14] SEQUENCE {

    pvno [0] INTEGER (5), msg-type [1] INTEGER (14), ap-options [2] APOptions, ticket [3] Ticket,
    authenticator [4] EncryptedData }
    """

    pvno: int = asn1.explicit(0, asn1.INT32)
    msg_type: int = asn1.explicit(1, asn1.INT32)
    ap_options: int = asn1.explicit(2, asn1.FLAGS32)
    ticket: Ticket = asn1.explicit(3, asn1.nested(Ticket))
    authenticator: EncryptedData = asn1.explicit(4, asn1.nested(EncryptedData))


@asn1.sequence(application=2)
class Authenticator:
    """Authenticator ::= [APPLICATION 2] SEQUENCE {

    authenticator-vno [0] INTEGER (5), crealm [1] Realm, cname [2] PrincipalName,
    cksum [3] Checksum OPTIONAL, cusec [4] Microseconds, ctime [5] KerberosTime,
    subkey [6] EncryptionKey OPTIONAL, seq-number [7] UInt32 OPTIONAL,
    authorization-data [8] AuthorizationData OPTIONAL }
    """

    authenticator_vno: int = asn1.explicit(0, asn1.INT32)
    crealm: str = asn1.explicit(1, asn1.GENERAL_STRING)
    cname: PrincipalName = asn1.explicit(2, asn1.nested(PrincipalName))
    cksum: Checksum | None = asn1.explicit(3, asn1.nested(Checksum), default=None)
    cusec: int = asn1.explicit(4, asn1.MICROSECONDS)
    ctime: datetime = asn1.explicit(5, asn1.GENERALIZED_TIME)
    subkey: EncryptionKey | None = asn1.explicit(6, asn1.nested(EncryptionKey), default=None)
    seq_number: int | None = asn1.explicit(7, asn1.NONCE, default=None)
    """UInt32; like the nonce, deployed clients also send it as a signed Int32."""
    authorization_data: tuple[AuthorizationDataElement, ...] | None = asn1.explicit(
        8, AUTHORIZATION_DATA, default=None
    )


@asn1.sequence(application=15)
class ApRep:
    """AP-REP ::= [APPLICATION 15] SEQUENCE {

    pvno [0] INTEGER (5), msg-type [1] INTEGER (15), enc-part [2] EncryptedData }
    """

    pvno: int = asn1.explicit(0, asn1.INT32)
    msg_type: int = asn1.explicit(1, asn1.INT32)
    enc_part: EncryptedData = asn1.explicit(2, asn1.nested(EncryptedData))


@asn1.sequence(application=27)
class EncApRepPart:
    """EncAPRepPart ::= [APPLICATION 27] SEQUENCE {

    ctime [0] KerberosTime, cusec [1] Microseconds, subkey [2] EncryptionKey OPTIONAL,
    seq-number [3] UInt32 OPTIONAL }
    """

    ctime: datetime = asn1.explicit(0, asn1.GENERALIZED_TIME)
    cusec: int = asn1.explicit(1, asn1.MICROSECONDS)
    subkey: EncryptionKey | None = asn1.explicit(2, asn1.nested(EncryptionKey), default=None)
    seq_number: int | None = asn1.explicit(3, asn1.NONCE, default=None)


@asn1.sequence(application=21)
class KrbPriv:
    """KRB-PRIV ::= [APPLICATION 21] SEQUENCE {

    pvno [0] INTEGER (5), msg-type [1] INTEGER (21), enc-part [3] EncryptedData }
    """

    pvno: int = asn1.explicit(0, asn1.INT32)
    msg_type: int = asn1.explicit(1, asn1.INT32)
    enc_part: EncryptedData = asn1.explicit(3, asn1.nested(EncryptedData))


@asn1.sequence(application=28)
class EncKrbPrivPart:
    """EncKrbPrivPart ::= [APPLICATION 28] SEQUENCE {

    user-data [0] OCTET STRING, timestamp [1] KerberosTime OPTIONAL, usec [2] Microseconds OPTIONAL,
    seq-number [3] UInt32 OPTIONAL, s-address [4] HostAddress, r-address [5] HostAddress OPTIONAL }
    """

    user_data: bytes = asn1.explicit(0, asn1.OCTET_STRING)
    timestamp: datetime | None = asn1.explicit(1, asn1.GENERALIZED_TIME, default=None)
    usec: int | None = asn1.explicit(2, asn1.MICROSECONDS, default=None)
    seq_number: int | None = asn1.explicit(3, asn1.NONCE, default=None)
    s_address: HostAddress = asn1.explicit(4, asn1.nested(HostAddress))
    r_address: HostAddress | None = asn1.explicit(5, asn1.nested(HostAddress), default=None)

    def __repr__(self) -> str:
        """Never show what was protected: it may be a password."""
        return "EncKrbPrivPart(user_data=***)"


@asn1.sequence
class LastReqEntry:
    """LastReq ::= SEQUENCE OF SEQUENCE { lr-type [0] Int32, lr-value [1] KerberosTime }."""

    lr_type: int = asn1.explicit(0, asn1.INT32)
    lr_value: datetime = asn1.explicit(1, asn1.GENERALIZED_TIME)


@asn1.sequence
class EncKdcRepPart:
    """EncKDCRepPart ::= SEQUENCE {

    key [0] EncryptionKey, last-req [1] LastReq, nonce [2] UInt32,
    key-expiration [3] KerberosTime OPTIONAL, flags [4] TicketFlags, authtime [5] KerberosTime,
    starttime [6] KerberosTime OPTIONAL, endtime [7] KerberosTime,
    renew-till [8] KerberosTime OPTIONAL, srealm [9] Realm, sname [10] PrincipalName,
    caddr [11] HostAddresses OPTIONAL, encrypted-pa-data [12] SEQUENCE OF PA-DATA OPTIONAL }
    """

    key: EncryptionKey = asn1.explicit(0, asn1.nested(EncryptionKey))
    last_req: tuple[LastReqEntry, ...] = asn1.explicit(
        1, asn1.sequence_of(asn1.nested(LastReqEntry))
    )
    nonce: int = asn1.explicit(2, asn1.NONCE)
    key_expiration: datetime | None = asn1.explicit(3, asn1.GENERALIZED_TIME, default=None)
    flags: int = asn1.explicit(4, asn1.FLAGS32)
    authtime: datetime = asn1.explicit(5, asn1.GENERALIZED_TIME)
    starttime: datetime | None = asn1.explicit(6, asn1.GENERALIZED_TIME, default=None)
    endtime: datetime = asn1.explicit(7, asn1.GENERALIZED_TIME)
    renew_till: datetime | None = asn1.explicit(8, asn1.GENERALIZED_TIME, default=None)
    srealm: str = asn1.explicit(9, asn1.GENERAL_STRING)
    sname: PrincipalName = asn1.explicit(10, asn1.nested(PrincipalName))
    caddr: tuple[HostAddress, ...] | None = asn1.explicit(11, HOST_ADDRESSES, default=None)
    encrypted_pa_data: tuple[PaData, ...] | None = asn1.explicit(12, METHOD_DATA, default=None)


@asn1.sequence(application=25)
class EncAsRepPart(EncKdcRepPart):
    """EncASRepPart ::= [APPLICATION 25] EncKDCRepPart."""


@asn1.sequence(application=26)
class EncTgsRepPart(EncKdcRepPart):
    """EncTGSRepPart ::= [APPLICATION 26] EncKDCRepPart."""


@asn1.sequence
class TransitedEncoding:
    """TransitedEncoding ::= SEQUENCE { tr-type [0] Int32, contents [1] OCTET STRING }."""

    tr_type: int = asn1.explicit(0, asn1.INT32)
    contents: bytes = asn1.explicit(1, asn1.OCTET_STRING)


NOT_TRANSITED = TransitedEncoding(tr_type=1, contents=b"")
"""A ticket that crossed no realm has an empty DOMAIN-X500-COMPRESS list (3.3.3.2)."""


@asn1.sequence(application=3)
class EncTicketPart:
    """EncTicketPart ::= [APPLICATION 3] SEQUENCE {

    flags [0] TicketFlags, key [1] EncryptionKey, crealm [2] Realm, cname [3] PrincipalName,
    transited [4] TransitedEncoding, authtime [5] KerberosTime,
    starttime [6] KerberosTime OPTIONAL, endtime [7] KerberosTime,
    renew-till [8] KerberosTime OPTIONAL, caddr [9] HostAddresses OPTIONAL,
    authorization-data [10] AuthorizationData OPTIONAL }
    """

    flags: int = asn1.explicit(0, asn1.FLAGS32)
    key: EncryptionKey = asn1.explicit(1, asn1.nested(EncryptionKey))
    crealm: str = asn1.explicit(2, asn1.GENERAL_STRING)
    cname: PrincipalName = asn1.explicit(3, asn1.nested(PrincipalName))
    transited: TransitedEncoding = asn1.explicit(4, asn1.nested(TransitedEncoding))
    authtime: datetime = asn1.explicit(5, asn1.GENERALIZED_TIME)
    starttime: datetime | None = asn1.explicit(6, asn1.GENERALIZED_TIME, default=None)
    endtime: datetime = asn1.explicit(7, asn1.GENERALIZED_TIME)
    renew_till: datetime | None = asn1.explicit(8, asn1.GENERALIZED_TIME, default=None)
    caddr: tuple[HostAddress, ...] | None = asn1.explicit(9, HOST_ADDRESSES, default=None)
    authorization_data: tuple[AuthorizationDataElement, ...] | None = asn1.explicit(
        10, AUTHORIZATION_DATA, default=None
    )


@asn1.sequence(application=30)
class KrbError:
    """KRB-ERROR ::= [APPLICATION 30] SEQUENCE {

    pvno [0] INTEGER (5), msg-type [1] INTEGER (30), ctime [2] KerberosTime OPTIONAL,
    cusec [3] Microseconds OPTIONAL, stime [4] KerberosTime, susec [5] Microseconds,
    error-code [6] Int32, crealm [7] Realm OPTIONAL, cname [8] PrincipalName OPTIONAL,
    realm [9] Realm, sname [10] PrincipalName, e-text [11] KerberosString OPTIONAL,
    e-data [12] OCTET STRING OPTIONAL }
    """

    pvno: int = asn1.explicit(0, asn1.INT32)
    msg_type: int = asn1.explicit(1, asn1.INT32)
    ctime: datetime | None = asn1.explicit(2, asn1.GENERALIZED_TIME, default=None)
    cusec: int | None = asn1.explicit(3, asn1.MICROSECONDS, default=None)
    stime: datetime = asn1.explicit(4, asn1.GENERALIZED_TIME)
    susec: int = asn1.explicit(5, asn1.MICROSECONDS)
    error_code: int = asn1.explicit(6, asn1.INT32)
    crealm: str | None = asn1.explicit(7, asn1.GENERAL_STRING, default=None)
    cname: PrincipalName | None = asn1.explicit(8, asn1.nested(PrincipalName), default=None)
    realm: str = asn1.explicit(9, asn1.GENERAL_STRING)
    sname: PrincipalName = asn1.explicit(10, asn1.nested(PrincipalName))
    e_text: str | None = asn1.explicit(11, asn1.GENERAL_STRING, default=None)
    e_data: bytes | None = asn1.explicit(12, asn1.OCTET_STRING, default=None)


@asn1.sequence
class PaEncTsEnc:
    """PA-ENC-TS-ENC ::= SEQUENCE {

    patimestamp [0] KerberosTime, pausec [1] Microseconds OPTIONAL }
    """

    patimestamp: datetime = asn1.explicit(0, asn1.GENERALIZED_TIME)
    pausec: int | None = asn1.explicit(1, asn1.MICROSECONDS, default=None)


@asn1.sequence
class EtypeInfo2Entry:
    """ETYPE-INFO2-ENTRY ::= SEQUENCE {

    etype [0] Int32, salt [1] KerberosString OPTIONAL, s2kparams [2] OCTET STRING OPTIONAL }
    """

    etype: int = asn1.explicit(0, asn1.INT32)
    salt: str | None = asn1.explicit(1, asn1.GENERAL_STRING, default=None)
    s2kparams: bytes | None = asn1.explicit(2, asn1.OCTET_STRING, default=None)


ETYPE_INFO2 = asn1.sequence_of(asn1.nested(EtypeInfo2Entry))


@asn1.sequence
class TypedDataElement:
    """TYPED-DATA ::= SEQUENCE OF SEQUENCE { data-type [0] Int32, data-value [1] OCTET STRING }."""

    data_type: int = asn1.explicit(0, asn1.INT32)
    data_value: bytes | None = asn1.explicit(1, asn1.OCTET_STRING, default=None)


TYPED_DATA = asn1.sequence_of(asn1.nested(TypedDataElement))
