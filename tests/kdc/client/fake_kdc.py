"""A small KDC for the client's tests: right by default, and each part can be made wrong."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    make_checksum,
    string_to_key,
)
from kdc.crypto.key_agreement import (
    GROUPS,
    Group,
    generate,
    group_by_curve_oid,
    match_domain_parameters,
)
from kdc.crypto.pkinit_kdf import octetstring2key, rfc8636_kdf
from kdc.wire.constants import ErrorCode, MessageType, NameType, PaType, TicketFlag
from kdc.wire.rfc4120 import (
    ETYPE_INFO2,
    METHOD_DATA,
    TYPED_DATA,
    AsRep,
    AsReq,
    Checksum,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EtypeInfo2Entry,
    KrbError,
    LastReqEntry,
    PaData,
    PaEncTsEnc,
    PrincipalName,
    Ticket,
    TypedDataElement,
)
from kdc.wire.rfc4556 import (
    ID_PKINIT_DH_KEY_DATA,
    AlgorithmIdentifier,
    AuthPack,
    DhRepInfo,
    DomainParameters,
    KdcDhKeyInfo,
    KdfAlgorithmId,
    Krb5PrincipalName,
    OtherInfo,
    PaPkAsReq,
    PkinitSuppPubInfo,
    encode_pa_pk_as_rep,
)
from pki import asn1, ca, cms, oids
from pki.cms_sign import CmsSigner
from pki.x500 import simple_name

NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
NOW_S = NOW.replace(microsecond=0)
"""As Kerberos times have it."""
REALM = "LAB.TEST"
PASSWORD = "correct horse"  # noqa: S105  # of a fake account
ALICE = PrincipalName(name_type=NameType.PRINCIPAL, name_string=("alice",))
KRBTGT = PrincipalName(name_type=NameType.SRV_INST, name_string=("krbtgt", REALM))
ETYPE = EncType.AES256_CTS_HMAC_SHA1_96
SESSION_KEY = bytes(range(32))
TOKEN = b"\0\0freshness"


def counting_entropy(count: int) -> bytes:
    """Give octets that are the same in every run."""
    return hashlib.sha512(str(count).encode()).digest()[:count]


@cache
def root() -> ca.IssuedCertificate:
    """Make the CA of the fake realm, once."""
    return ca.create_root(REALM, NOW)


@cache
def kdc_certificate(realm: str = REALM, *, days: int = 365) -> ca.IssuedCertificate:
    """Issue a KDC certificate for a realm."""
    return ca.issue_kdc_certificate(
        root(), realm, ("kdc.lab.test",), None, ca.KeyType.RSA_2048, NOW, days
    )


@cache
def hello() -> CmsSigner:
    """Make alice's key with a self-signed certificate."""
    key = ca.generate_key(ca.KeyType.RSA_2048)
    name = simple_name((oids.ID_AT_COMMON_NAME, "alice"))
    return CmsSigner(key, ca.self_signed_hello_certificate(key, name, NOW))


def password_key() -> ProtocolKey:
    """Derive the key of alice's password."""
    return string_to_key(ETYPE, PASSWORD, f"{REALM}alice")


def error(code: ErrorCode, e_data: bytes | None = None, e_text: str | None = None) -> bytes:
    """Make a KRB-ERROR."""
    return asn1.encode(
        KrbError(
            pvno=5,
            msg_type=MessageType.KRB_ERROR,
            stime=NOW.replace(microsecond=0),
            susec=0,
            error_code=code,
            realm=REALM,
            sname=KRBTGT,
            e_text=e_text,
            e_data=e_data,
        )
    )


def typed(data_type: int, algorithms: tuple[AlgorithmIdentifier, ...]) -> bytes:
    """Make the e-data of a PKINIT error that lists algorithms."""
    value = asn1.encode_as(asn1.sequence_of(asn1.nested(AlgorithmIdentifier)), algorithms)
    element = TypedDataElement(data_type=data_type, data_value=value)
    return asn1.encode_as(TYPED_DATA, (element,))


@dataclass(slots=True, kw_only=True)
class FakeKdc:
    """Answers an AS-REQ. Set a field to make that part of the answer wrong."""

    offered: tuple[int, ...] = (PaType.ENC_TIMESTAMP, PaType.PK_AS_REQ)
    info: EtypeInfo2Entry = field(
        default_factory=lambda: EtypeInfo2Entry(etype=int(ETYPE), salt=f"{REALM}alice")
    )
    signer: CmsSigner | None = None
    kdf: str | None = "first"
    """"first": the client's first; None: that of RFC 4556; else this one, whatever was offered."""
    server_nonce: bytes | None = b"n" * 32
    """None: leave it out even if the client sent its own."""
    unasked_nonce: bool = False
    """Send serverDHNonce without a clientDHNonce."""
    key_info_nonce: int | None = None
    expiration: datetime | None = NOW + timedelta(hours=2)
    nonce: int | None = None
    crealm: str = REALM
    cname: PrincipalName | None = None
    sname: PrincipalName | None = None
    srealm: str = REALM
    ticket_sname: PrincipalName | None = None
    starttime: datetime = NOW_S
    endtime: datetime | None = None
    session_etype: int = int(ETYPE)
    enc_part_tag: bytes = b"\x79"
    request_checksum: bytes | None = None
    requests: list[AsReq] = field(default_factory=list)
    auth_packs: list[AuthPack] = field(default_factory=list)

    def handle(self, message: bytes) -> bytes:
        """Answer one request: hints for one without a proof, a ticket for one with."""
        request = asn1.decode(AsReq, message)
        self.requests.append(request)
        padata = {pa.padata_type: pa.padata_value for pa in request.padata or ()}
        if PaType.PK_AS_REQ in padata:
            return self._pkinit(request, message, padata[PaType.PK_AS_REQ])
        if PaType.ENC_TIMESTAMP in padata:
            sealed = asn1.decode(EncryptedData, padata[PaType.ENC_TIMESTAMP])
            plain = decrypt(password_key(), KeyUsage.PA_ENC_TIMESTAMP, sealed.cipher)
            assert asn1.decode(PaEncTsEnc, plain).patimestamp == NOW.replace(microsecond=0)
            return self._reply(request, message, password_key(), ())
        return self.hints()

    def hints(self) -> bytes:
        """Answer PREAUTH_REQUIRED."""
        listed = (
            PaData(
                padata_type=PaType.ETYPE_INFO2,
                padata_value=asn1.encode_as(ETYPE_INFO2, (self.info,)),
            ),
            *(PaData(padata_type=kind, padata_value=b"") for kind in self.offered),
            PaData(padata_type=PaType.AS_FRESHNESS, padata_value=TOKEN),
        )
        return error(ErrorCode.KDC_ERR_PREAUTH_REQUIRED, asn1.encode_as(METHOD_DATA, listed))

    def _pkinit(self, request: AsReq, message: bytes, value: bytes) -> bytes:
        signed = cms.parse_signed_data(asn1.decode(PaPkAsReq, value).signed_auth_pack)
        auth_pack = asn1.decode(AuthPack, signed.content)
        self.auth_packs.append(auth_pack)
        auth = auth_pack.pk_authenticator
        assert auth.pa_checksum == hashlib.sha1(request.req_body.raw).digest()  # noqa: S324
        spki = auth_pack.client_public_value
        assert spki is not None
        pair = generate(_group(spki.algorithm))
        client_nonce = auth_pack.client_dh_nonce
        both = client_nonce is not None or self.unasked_nonce
        server_nonce = self.server_nonce if both else None
        info = KdcDhKeyInfo(
            subject_public_key=pair.public,
            nonce=auth.nonce if self.key_info_nonce is None else self.key_info_nonce,
            dh_key_expiration=self.expiration if server_nonce is not None else None,
        )
        issued = kdc_certificate()
        signer = self.signer or CmsSigner(issued.private_key, issued.certificate_der)
        kdf = self._kdf(auth_pack)
        pk_as_rep = encode_pa_pk_as_rep(
            DhRepInfo(
                dh_signed_data=signer.sign(ID_PKINIT_DH_KEY_DATA, asn1.encode(info)),
                server_dh_nonce=server_nonce,
                kdf=None if kdf is None else KdfAlgorithmId(kdf_id=kdf),
            )
        )
        secret = pair.agree(spki.subject_public_key)
        if kdf is None:
            if client_nonce is not None and server_nonce is not None:
                secret += client_nonce + server_nonce
            key = octetstring2key(ETYPE, secret)
        else:
            key = rfc8636_kdf(kdf, secret, _other_info(kdf, request, message, pk_as_rep), ETYPE)
        padata = PaData(padata_type=PaType.PK_AS_REP, padata_value=pk_as_rep)
        return self._reply(request, message, key, (padata,))

    def _kdf(self, auth_pack: AuthPack) -> str | None:
        if self.kdf != "first":
            return self.kdf
        return auth_pack.supported_kdfs[0].kdf_id if auth_pack.supported_kdfs else None

    def _reply(
        self, request: AsReq, message: bytes, key: ProtocolKey, padata: tuple[PaData, ...]
    ) -> bytes:
        body = request.req_body
        assert body.sname is not None
        assert body.cname is not None
        digest = self.request_checksum or make_checksum(key, KeyUsage.AS_REQ, message)
        checksum = Checksum(cksumtype=CHECKSUM_TYPES[key.enctype], checksum=digest)
        part = EncAsRepPart(
            key=EncryptionKey(keytype=self.session_etype, keyvalue=SESSION_KEY),
            last_req=(LastReqEntry(lr_type=0, lr_value=self.starttime),),
            nonce=body.nonce if self.nonce is None else self.nonce,
            flags=TicketFlag.INITIAL | TicketFlag.PRE_AUTHENT | TicketFlag.ENC_PA_REP,
            authtime=self.starttime,
            starttime=self.starttime,
            endtime=self.endtime or body.till,
            renew_till=body.rtime,
            srealm=self.srealm,
            sname=self.sname or body.sname,
            encrypted_pa_data=(
                PaData(padata_type=PaType.REQ_ENC_PA_REP, padata_value=asn1.encode(checksum)),
            ),
        )
        plain = self.enc_part_tag + asn1.encode(part)[1:]
        return asn1.encode(
            AsRep(
                pvno=5,
                msg_type=MessageType.AS_REP,
                padata=padata,
                crealm=self.crealm,
                cname=self.cname or body.cname,
                ticket=Ticket(
                    tkt_vno=5,
                    realm=self.srealm,
                    sname=self.ticket_sname or body.sname,
                    enc_part=EncryptedData(etype=18, kvno=1, cipher=b"sealed for the TGS"),
                ),
                enc_part=EncryptedData(
                    etype=int(key.enctype),
                    cipher=encrypt(key, KeyUsage.AS_REP_ENC_PART, plain, bytes(16)),
                ),
            )
        )


def _group(algorithm: AlgorithmIdentifier) -> Group:
    assert algorithm.parameters is not None
    found: Group | None
    if algorithm.algorithm == oids.EC_PUBLIC_KEY:
        found = group_by_curve_oid(asn1.decode_as(asn1.OID, algorithm.parameters))
    else:
        domain = asn1.decode(DomainParameters, algorithm.parameters)
        found = match_domain_parameters(domain.p, domain.g, domain.q)
    assert found is not None
    return found


def group_identifier(name: str) -> AlgorithmIdentifier:
    """Give a group as TD-DH-PARAMETERS lists it."""
    return asn1.decode(AlgorithmIdentifier, GROUPS[name].algorithm_identifier)


def _other_info(kdf: str, request: AsReq, message: bytes, pk_as_rep: bytes) -> bytes:
    body = request.req_body
    assert body.cname is not None
    assert body.sname is not None
    public = PkinitSuppPubInfo(enctype=int(ETYPE), as_req=message, pk_as_rep=pk_as_rep)
    return asn1.encode(
        OtherInfo(
            algorithm_id=AlgorithmIdentifier(algorithm=kdf),
            party_u_info=asn1.encode(
                Krb5PrincipalName(realm=body.realm, principal_name=body.cname)
            ),
            party_v_info=asn1.encode(
                Krb5PrincipalName(realm=body.realm, principal_name=body.sname)
            ),
            supp_pub_info=asn1.encode(public),
        )
    )
