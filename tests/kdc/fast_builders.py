"""FAST requests and replies as a client makes and opens them (RFC 6113 5.4).

Everything is valid by default; a test replaces exactly one thing. The client's side is written out
here from RFC 6113: nothing of `kdc.exchange` or `kdc.client` takes part in it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    KEY_BYTES,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    make_checksum,
    verify_checksum,
)
from kdc.crypto.rfc6113 import krb_fx_cf2
from kdc.outcome import Outcome
from kdc.wire.constants import PVNO, MessageType, PaType
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    ApReq,
    AsRep,
    Authenticator,
    AuthorizationDataElement,
    Checksum,
    EncAsRepPart,
    EncKdcRepPart,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    KdcRep,
    KdcReqBody,
    KrbError,
    PaData,
    PaEncTsEnc,
    TgsRep,
    TgsReq,
)
from kdc.wire.rfc6113 import (
    KrbFastArmor,
    KrbFastArmoredReq,
    KrbFastReq,
    KrbFastResponse,
    decode_pa_fx_fast_reply,
    encode_pa_fx_fast_request,
)
from pki import asn1
from tests.kdc.builders import REALM, Kdc, as_req, body_for, client_entropy, key_of, padata
from tests.kdc.tgs_builders import LATER, TGS_BODY, TgsRequest, Tgt, tgs_req

PAT = body_for("pat")
OUTER = replace(PAT, cname=body_for("outside").cname, nonce=77)
"""What stands outside the tunnel: nobody may look at it."""


def random_key(etype: int = 18) -> ProtocolKey:
    """Return a new key of the client's."""
    return ProtocolKey(EncType(etype), client_entropy(KEY_BYTES[EncType(etype)]))


def same_authenticator(authenticator: Authenticator) -> Authenticator:
    """Change nothing."""
    return authenticator


def same_ap_req(ap_req: ApReq) -> ApReq:
    """Change nothing."""
    return ap_req


@dataclass(slots=True, kw_only=True)
class Armor:
    """FX_FAST_ARMOR_AP_REQUEST: an AP-REQ of a TGT, and the key that both sides know."""

    tgt: Tgt
    ctime: datetime = LATER
    subkey: ProtocolKey = field(default_factory=random_key)
    authorization_data: tuple[AuthorizationDataElement, ...] | None = None
    change_authenticator: Callable[[Authenticator], Authenticator] = same_authenticator
    change_ap_req: Callable[[ApReq], ApReq] = same_ap_req

    @property
    def key(self) -> ProtocolKey:
        """RFC 6113 5.4.1.1."""
        return krb_fx_cf2(self.subkey, self.tgt.session, b"subkeyarmor", b"ticketarmor")

    def ap_req(self) -> bytes:
        """Return the armor-value."""
        session = self.tgt.session
        authenticator = self.change_authenticator(
            Authenticator(
                authenticator_vno=PVNO,
                crealm=REALM,
                cname=self.tgt.cname,
                cusec=self.ctime.microsecond,
                ctime=self.ctime,
                subkey=EncryptionKey(keytype=self.subkey.enctype, keyvalue=self.subkey.value),
                authorization_data=self.authorization_data,
            )
        )
        plain = asn1.encode(authenticator)
        cipher = encrypt(session, KeyUsage.AP_REQ_AUTHENTICATOR, plain, client_entropy(16))
        ap_req = ApReq(
            pvno=PVNO,
            msg_type=MessageType.AP_REQ,
            ap_options=0,
            ticket=self.tgt.ticket,
            authenticator=EncryptedData(etype=session.enctype, cipher=cipher),
        )
        return asn1.encode(self.change_ap_req(ap_req))

    def value(self) -> KrbFastArmor:
        """Return the KrbFastArmor."""
        return KrbFastArmor(armor_type=1, armor_value=self.ap_req())


def same_armored(armored: KrbFastArmoredReq) -> KrbFastArmoredReq:
    """Change nothing."""
    return armored


def same_octets(octets: bytes) -> bytes:
    """Change nothing."""
    return octets


@dataclass(slots=True, kw_only=True)
class Wrapping:
    """How a request is put into its tunnel; each step can be broken."""

    options: int = 0
    change_inner: Callable[[bytes], bytes] = same_octets
    """Breaks the DER of KrbFastReq."""
    change_armored: Callable[[KrbFastArmoredReq], KrbFastArmoredReq] = same_armored
    change_value: Callable[[bytes], bytes] = same_octets
    """Breaks the DER of PA-FX-FAST-REQUEST."""

    def wrap(
        self,
        key: ProtocolKey,
        armor: KrbFastArmor | None,
        covered: bytes,
        body: KdcReqBody,
        inside: tuple[PaData, ...],
    ) -> PaData:
        """Return the PA-FX-FAST. covered: what the req-checksum is taken over."""
        request = KrbFastReq(fast_options=self.options, padata=inside, req_body=body)
        plain = self.change_inner(asn1.encode(request))
        cipher = encrypt(key, KeyUsage.FAST_ENC, plain, client_entropy(16))
        mac = make_checksum(key, KeyUsage.FAST_REQ_CHKSUM, covered)
        armored = KrbFastArmoredReq(
            armor=armor,
            req_checksum=Checksum(cksumtype=CHECKSUM_TYPES[key.enctype], checksum=mac),
            enc_fast_req=EncryptedData(etype=key.enctype, cipher=cipher),
        )
        value = encode_pa_fx_fast_request(self.change_armored(armored))
        return padata(PaType.FX_FAST, self.change_value(value))


@dataclass(slots=True, kw_only=True)
class SentFast:
    """An armored request, and what its client remembers of it."""

    message: bytes
    body: KdcReqBody
    armor_key: ProtocolKey
    tgt: Tgt | None = None
    subkey: ProtocolKey | None = None


@dataclass(slots=True, kw_only=True)
class FastAsRequest:
    """An AS-REQ inside FAST."""

    armor: Armor
    body: KdcReqBody = field(default_factory=lambda: PAT)
    outer_body: KdcReqBody = field(default_factory=lambda: OUTER)
    inside: tuple[PaData, ...] = ()
    outside: tuple[PaData, ...] = ()
    """Padata beside PA-FX-FAST: not looked at."""
    wrapping: Wrapping = field(default_factory=Wrapping)
    covered: KdcReqBody | None = None
    """Another body than the outer one, under the req-checksum."""

    def build(self) -> SentFast:
        """Build the message."""
        covered = asn1.encode(self.covered or self.outer_body)
        key = self.armor.key
        fast = self.wrapping.wrap(key, self.armor.value(), covered, self.body, self.inside)
        message = as_req(self.outer_body, *self.outside, fast)
        return SentFast(message=message, body=self.body, armor_key=key)


@dataclass(slots=True, kw_only=True)
class FastTgsRequest:
    """A TGS-REQ inside FAST; with an armor of its own it is Windows' compound identity."""

    tgt: Tgt
    body: KdcReqBody = field(default_factory=lambda: TGS_BODY)
    outer_body: KdcReqBody = field(default_factory=lambda: replace(TGS_BODY, nonce=77))
    inside: tuple[PaData, ...] = ()
    armor: Armor | None = None
    request: TgsRequest | None = None
    """The outer request, when it is not the usual one."""
    wrapping: Wrapping = field(default_factory=Wrapping)
    ctime: datetime = LATER

    def build(self) -> SentFast:
        """Build the message."""
        outer = self.request or TgsRequest(tgt=self.tgt, body=self.outer_body, ctime=self.ctime)
        made = outer.build()
        (ap_req,) = _padata_of(made.message)
        subkey = made.subkey or made.tgt.session
        key = krb_fx_cf2(subkey, made.tgt.session, b"subkeyarmor", b"ticketarmor")
        if self.armor is not None:
            key = krb_fx_cf2(self.armor.key, subkey, b"explicitarmor", b"tgsarmor")
        armor = None if self.armor is None else self.armor.value()
        fast = self.wrapping.wrap(key, armor, ap_req.padata_value, self.body, self.inside)
        message = tgs_req(outer.body, ap_req, fast)
        return SentFast(
            message=message, body=self.body, armor_key=key, tgt=self.tgt, subkey=made.subkey
        )


def _padata_of(message: bytes) -> tuple[PaData, ...]:
    return asn1.decode(TgsReq, message).padata or ()


def enc_challenge(
    armor_key: ProtocolKey,
    *,
    key: ProtocolKey | None = None,
    etype: int = 18,
    at: datetime = LATER,
    change: Callable[[bytes], bytes] = same_octets,
) -> PaData:
    """Make PAT's PA-ENCRYPTED-CHALLENGE; key: another long-term key."""
    own = key_of(etype)
    long_term = key or ProtocolKey(EncType(own.etype), own.key)
    challenge = krb_fx_cf2(armor_key, long_term, b"clientchallengearmor", b"challengelongterm")
    plain = asn1.encode(PaEncTsEnc(patimestamp=at.replace(microsecond=0), pausec=at.microsecond))
    cipher = encrypt(challenge, KeyUsage.ENC_CHALLENGE_CLIENT, plain, client_entropy(16))
    sealed = EncryptedData(etype=challenge.enctype, cipher=change(cipher))
    return padata(PaType.ENCRYPTED_CHALLENGE, asn1.encode(sealed))


# -- replies ---------------------------------------------------------------------------------


def open_response(value: tuple[PaData, ...] | None, sent: SentFast) -> KrbFastResponse:
    """Open the one PA-FX-FAST of a reply or an error, and check its nonce."""
    (fast,) = value or ()
    assert fast.padata_type == PaType.FX_FAST
    sealed = decode_pa_fx_fast_reply(fast.padata_value).enc_fast_rep
    assert (sealed.etype, sealed.kvno) == (sent.armor_key.enctype, None)
    plain = decrypt(sent.armor_key, KeyUsage.FAST_REP, sealed.cipher)
    response = asn1.decode(KrbFastResponse, plain)
    assert response.nonce == sent.body.nonce
    return response


@dataclass(slots=True, kw_only=True)
class FastError:
    """A refusal that came through the tunnel."""

    outer: KrbError
    inner: KrbError
    padata: tuple[PaData, ...]
    """Without PA-FX-ERROR."""

    @property
    def types(self) -> list[int]:
        """The padata-types that came with it."""
        return [pa.padata_type for pa in self.padata]

    def value(self, pa_type: int) -> bytes:
        """Return the value of the padata of this type."""
        (found,) = (pa.padata_value for pa in self.padata if pa.padata_type == pa_type)
        return found


def fast_refusal(outcome: Outcome, sent: SentFast) -> FastError:
    """Open a refusal, and check what RFC 6113 5.4.4 says of both its halves."""
    assert outcome.reply is not None
    outer = asn1.decode(KrbError, outcome.reply)
    response = open_response(asn1.decode_as(METHOD_DATA, outer.e_data or b""), sent)
    assert response.strengthen_key is None
    assert response.finished is None
    *others, last = response.padata
    assert last.padata_type == PaType.FX_ERROR
    inner = asn1.decode(KrbError, last.padata_value)
    assert inner == replace(outer, e_data=None)
    assert inner.error_code == outcome.code
    return FastError(outer=outer, inner=inner, padata=tuple(others))


@dataclass(slots=True, kw_only=True)
class OpenedFast:
    """A reply that came through the tunnel, opened and checked."""

    rep: KdcRep
    part: EncKdcRepPart
    padata: tuple[PaData, ...]
    response: KrbFastResponse
    reply_key: ProtocolKey

    @property
    def types(self) -> list[int]:
        """The padata-types inside."""
        return [pa.padata_type for pa in self.padata]


def open_fast_reply(outcome: Outcome, sent: SentFast, key: ProtocolKey | None = None) -> OpenedFast:
    """Open an AS-REP with the long-term key, or a TGS-REP with subkey or session key."""
    assert (outcome.code, outcome.why) == (0, "")
    assert outcome.reply is not None
    as_rep = sent.tgt is None
    rep = asn1.decode(AsRep if as_rep else TgsRep, outcome.reply)
    response = open_response(rep.padata, sent)
    finished, strengthen = response.finished, response.strengthen_key
    assert finished is not None
    assert strengthen is not None
    assert finished.ticket_checksum.cksumtype == CHECKSUM_TYPES[sent.armor_key.enctype]
    verify_checksum(
        sent.armor_key,
        KeyUsage.FAST_FINISHED,
        asn1.encode(rep.ticket),
        finished.ticket_checksum.checksum,
    )
    assert finished.crealm == REALM
    usage = KeyUsage.AS_REP_ENC_PART
    if sent.tgt is not None:
        key = sent.subkey or sent.tgt.session
        usage = KeyUsage.TGS_REP_ENC_PART_SUBKEY
    assert key is not None
    assert strengthen.keytype == key.enctype
    strong = ProtocolKey(EncType(strengthen.keytype), strengthen.keyvalue)
    reply_key = krb_fx_cf2(strong, key, b"strengthenkey", b"replykey")
    plain = decrypt(reply_key, usage, rep.enc_part.cipher)
    part = asn1.decode(EncAsRepPart if as_rep else EncTgsRepPart, plain)
    assert part.nonce == sent.body.nonce
    return OpenedFast(
        rep=rep, part=part, padata=response.padata, response=response, reply_key=reply_key
    )


def pat_key(etype: int = 18) -> ProtocolKey:
    """Return the key of PAT's password."""
    key = key_of(etype)
    return ProtocolKey(EncType(key.etype), key.key)


def ask_fast(kdc: Kdc, request: FastAsRequest | FastTgsRequest, at: datetime = LATER) -> Outcome:
    """Send an armored request."""
    return kdc.ask(request.build().message, at=at)
