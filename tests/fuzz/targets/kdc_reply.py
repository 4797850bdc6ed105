"""Whatever a KDC answers, our client asks again, fails with a ClientError, or has its ticket.

The first octet chooses where in the exchange the rest of the input stands; in the later places it
is sealed or signed as the real KDC would, so that a hostile KDC is in the tests too.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

from kdc.client.as_exchange import AsExchange, AsOptions, AsResult, client_name
from kdc.client.errors import ClientError
from kdc.client.kdc_certificate import verify_kdc_certificate
from kdc.client.mechanism import Hints, Mechanism, SentRequest
from kdc.client.password import PasswordMechanism
from kdc.client.pkinit import PkinitMechanism, PkinitOptions
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, encrypt
from kdc.wire.constants import PVNO, ErrorCode, MessageType, PaType
from kdc.wire.rfc4120 import AsRep, EncryptedData, KrbError, PaData, Ticket
from kdc.wire.rfc4556 import ID_PKINIT_DH_KEY_DATA, DhRepInfo, encode_pa_pk_as_rep
from pki import asn1
from pki.cms_sign import CmsSigner
from tests.fuzz.realm import hello, kdc_certificate, root
from tests.kdc import builders
from tests.kdc.builders import NOW, REALM

_ETYPE = EncType.AES256_CTS_HMAC_SHA1_96
_TICKET = Ticket(
    tkt_vno=PVNO,
    realm=REALM,
    sname=builders.KRBTGT,
    enc_part=EncryptedData(etype=18, kvno=1, cipher=bytes(64)),
)


class _FixedKeyMechanism(PasswordMechanism):
    """A password mechanism whose keys cost nothing: key derivation has tests of its own."""

    def _key(self, body: object, info: object) -> ProtocolKey:
        return _key()


@cache
def _key() -> ProtocolKey:
    return ProtocolKey(_ETYPE, hashlib.sha256(b"reply key").digest())


def entropy(count: int) -> bytes:
    """Return the client's random octets, always the same."""
    return hashlib.shake_256(b"client").digest(count)


@cache
def _alice() -> CmsSigner:
    made = hello("alice")
    return CmsSigner(made.private_key, made.certificate_der)


@cache
def _options() -> PkinitOptions:
    return PkinitOptions(anchors=(root().certificate_der,), domain="lab.test")


@cache
def _kdc_signer() -> CmsSigner:
    made = kdc_certificate()
    return CmsSigner(made.private_key, made.certificate_der)


def _exchange(mechanism: Mechanism, name: str) -> AsExchange:
    return AsExchange(AsOptions(client=client_name(name), realm=REALM), mechanism, entropy)


def _error(code: ErrorCode, e_data: bytes) -> bytes:
    return asn1.encode(
        KrbError(
            pvno=PVNO,
            msg_type=MessageType.KRB_ERROR,
            stime=NOW,
            susec=0,
            error_code=code,
            realm=REALM,
            sname=builders.KRBTGT,
            e_data=e_data,
        )
    )


def _hints(pa_type: PaType) -> bytes:
    offered = (builders.padata(pa_type), builders.padata(PaType.AS_FRESHNESS, b"\0\0token"))
    return _error(
        ErrorCode.KDC_ERR_PREAUTH_REQUIRED,
        asn1.encode_as(asn1.sequence_of(asn1.nested(PaData)), offered),
    )


def _finish(exchange: AsExchange, message: bytes) -> None:
    result = exchange.receive(message, NOW)
    if isinstance(result, AsResult):
        credential = result.credential
        assert credential.server.components == ("krbtgt", REALM)
        assert credential.client.realm == REALM
        assert credential.etype in (17, 18, 19, 20)


def _to_first_request(data: bytes) -> None:
    """Answer the request for hints."""
    for mechanism in (_FixedKeyMechanism(""), PkinitMechanism(_alice(), _options())):
        exchange = _exchange(mechanism, "alice")
        exchange.start(NOW)
        try:
            _finish(exchange, data)
        except ClientError:
            continue


def _to_proof(data: bytes) -> None:
    """Answer the request with the proof."""
    for mechanism, pa_type in (
        (_FixedKeyMechanism(""), PaType.ENC_TIMESTAMP),
        (PkinitMechanism(_alice(), _options()), PaType.PK_AS_REQ),
    ):
        exchange = _exchange(mechanism, "alice")
        exchange.start(NOW)
        exchange.receive(_hints(pa_type), NOW)
        try:
            _finish(exchange, data)
        except ClientError:
            continue


def _as_hints(data: bytes) -> None:
    """Be the METHOD-DATA of PREAUTH_REQUIRED."""
    _to_first_request(_error(ErrorCode.KDC_ERR_PREAUTH_REQUIRED, data))


def _as_typed_data(code: ErrorCode, data: bytes) -> None:
    """Be the TYPED-DATA of a refused group or digest."""
    _to_proof(_error(code, data))


def _as_rep(padata: PaData | None, cipher: bytes) -> AsRep:
    return AsRep(
        pvno=PVNO,
        msg_type=MessageType.AS_REP,
        padata=None if padata is None else (padata,),
        crealm=REALM,
        cname=builders.name("alice"),
        ticket=_TICKET,
        enc_part=EncryptedData(etype=_ETYPE, kvno=1, cipher=cipher),
    )


def _as_enc_part(data: bytes) -> None:
    """Be the EncASRepPart, sealed in the right key."""
    cipher = encrypt(_key(), KeyUsage.AS_REP_ENC_PART, data, bytes(16))
    exchange = _exchange(_FixedKeyMechanism(""), "alice")
    exchange.start(NOW)
    exchange.receive(_hints(PaType.ENC_TIMESTAMP), NOW)
    _finish(exchange, asn1.encode(_as_rep(None, cipher)))


def _reply_key(padata_value: bytes) -> None:
    mechanism = PkinitMechanism(_alice(), _options())
    body = replace(builders.BODY)
    mechanism.proof(body, Hints(), NOW, entropy)
    sent = SentRequest(body=body, message=b"")
    reply = _as_rep(builders.padata(PaType.PK_AS_REP, padata_value), bytes(64))
    mechanism.reply_key(sent, reply, Hints(), NOW)


def _as_pk_as_rep(data: bytes) -> None:
    """Be the PA-PK-AS-REP."""
    _reply_key(data)


def _as_key_info(data: bytes) -> None:
    """Be the KDCDHKeyInfo, signed by the KDC."""
    signed = _kdc_signer().sign(ID_PKINIT_DH_KEY_DATA, data)
    _reply_key(encode_pa_pk_as_rep(DhRepInfo(dh_signed_data=signed, server_dh_nonce=bytes(32))))


def _as_certificate(data: bytes) -> None:
    """Be the KDC's certificate, and one between it and the anchor."""
    anchors = (root().certificate_der,)
    for leaf, between in ((data, ()), (kdc_certificate().certificate_der, (data,))):
        try:
            verify_kdc_certificate(
                leaf, between, anchors=anchors, realm=REALM, domain="lab.test", now=NOW
            )
        except ClientError:
            continue


_PLACES: tuple[Callable[[bytes], None], ...] = (
    _to_first_request,
    _to_proof,
    _as_hints,
    _as_enc_part,
    _as_pk_as_rep,
    _as_key_info,
    _as_certificate,
    partial(_as_typed_data, ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED),
    partial(_as_typed_data, ErrorCode.KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED),
)


def one(data: bytes) -> None:
    """Put one input in its place."""
    if not data:
        return
    try:
        _PLACES[data[0] % len(_PLACES)](data[1:])
    except ClientError as error:
        assert len(str(error)) < 200
