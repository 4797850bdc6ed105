"""The AS exchange, client side (RFC 4120 3.1.1, 3.1.5): a state machine over messages.

`start` gives the first request, `receive` takes each answer and gives the next request or the
ticket. Between the two stands whoever owns the sockets. Time and randomness are arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kdc.client.credential import credential_of
from kdc.client.errors import ClientError, ClientFault, RefusedError
from kdc.client.fast import FastTunnel
from kdc.client.mechanism import Entropy, Hints, Mechanism, SentRequest
from kdc.client.password import decode_etype_info2
from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    CryptoError,
    KeyUsage,
    ProtocolKey,
    decrypt,
    verify_checksum,
)
from kdc.formats.ccache import Credential, Principal
from kdc.wire.constants import PVNO, ErrorCode, KdcOption, MessageType, NameType, PaType, TicketFlag
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    AsRep,
    AsReq,
    Checksum,
    EncAsRepPart,
    KdcReqBody,
    KrbError,
    PaData,
    PrincipalName,
)
from pki import asn1
from pki.errors import PkiError

# One round for the hints, one for the proof, and a few to adapt group, digest and token.
MAX_ROUNDS = 6

_AS_REP_TAG, _KRB_ERROR_TAG = 0x6B, 0x7E
_ENC_AS_REP_PART, _ENC_TGS_REP_PART = b"\x79", b"\x7a"


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOptions:
    """What to ask for."""

    client: PrincipalName
    realm: str
    server: PrincipalName | None = None
    """None: krbtgt/REALM."""
    lifetime: timedelta = timedelta(hours=10)
    renewable: timedelta | None = timedelta(days=7)
    forwardable: bool = True
    canonicalize: bool = True
    """Let the KDC answer with the account's own name."""
    etypes: tuple[int, ...] = (18, 17, 20, 19)
    skew: timedelta = timedelta(minutes=5)
    armor: Credential | None = None
    """A TGT: the exchange goes through a FAST tunnel made with it."""
    hide_client: bool = False
    """Inside the tunnel: ask that our name is not said in the clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AsResult:
    """A ticket, and how it was got."""

    credential: Credential
    mechanism: str
    pa_type: int
    rounds: int
    clock_offset: timedelta
    """The KDC's clock minus ours, from the ticket's times; whole seconds."""
    facts: Mapping[str, object]


def client_name(text: str) -> PrincipalName:
    """Make the PrincipalName of a name as a user types it; one with `@` is an enterprise name."""
    if "@" in text:
        return PrincipalName(name_type=NameType.ENTERPRISE, name_string=(text,))
    parts = tuple(text.split("/"))
    return PrincipalName(name_type=NameType.PRINCIPAL, name_string=parts)


class AsExchange:
    """One AS exchange by one mechanism. Not to be used again after it ended."""

    def __init__(self, options: AsOptions, mechanism: Mechanism, entropy: Entropy) -> None:
        self._options = options
        self._mechanism = mechanism
        self._entropy = entropy
        self._server = options.server or PrincipalName(
            name_type=NameType.SRV_INST, name_string=("krbtgt", options.realm)
        )
        self._tunnel = (
            None
            if options.armor is None
            else FastTunnel(options.armor, entropy, hide_client=options.hide_client)
        )
        self._hints = Hints(armor_key=None if self._tunnel is None else self._tunnel.key)
        self._sent: SentRequest | None = None
        self._rounds = 0
        self._proven = False
        self._asked_again = False

    def start(self, now: datetime) -> bytes:
        """Return the first AS-REQ."""
        return self._request(now, prove=not self._mechanism.asks_first)

    def receive(self, message: bytes, now: datetime) -> bytes | AsResult:
        """Take the KDC's answer: return the next AS-REQ, or the ticket.

        Raises ClientError; RefusedError when the KDC's answer is final.
        """
        if self._sent is None:
            raise ClientError(ClientFault.WRONG_ANSWER, "nothing was asked")
        try:
            if message[:1] == bytes((_KRB_ERROR_TAG,)):
                return self._on_error(asn1.decode(KrbError, message), self._sent, now)
            if message[:1] != bytes((_AS_REP_TAG,)):
                raise ClientError(ClientFault.MALFORMED, "neither AS-REP nor KRB-ERROR")
            reply = asn1.decode(AsRep, message)
        except PkiError as error:
            raise ClientError(ClientFault.MALFORMED, str(error)) from None
        return self._on_reply(reply, self._sent, now)

    # -- requests --------------------------------------------------------------------------

    def _body(self, now: datetime) -> KdcReqBody:
        options = self._options
        flags = KdcOption.RENEWABLE_OK if options.renewable is None else KdcOption.RENEWABLE
        if options.forwardable:
            flags |= KdcOption.FORWARDABLE
        if options.canonicalize or options.client.name_type == NameType.ENTERPRISE:
            flags |= KdcOption.CANONICALIZE
        start = now.replace(microsecond=0)
        return KdcReqBody(
            kdc_options=flags,
            cname=options.client,
            realm=options.realm,
            sname=self._server,
            till=start + options.lifetime,
            rtime=None if options.renewable is None else start + options.renewable,
            # 31 bits: some KDCs read the nonce as a signed integer.
            nonce=int.from_bytes(self._entropy(4), "big") & 0x7FFFFFFF,
            etype=options.etypes,
        )

    def _request(self, now: datetime, *, prove: bool) -> bytes:
        if self._rounds >= MAX_ROUNDS:
            raise ClientError(ClientFault.TOO_MANY_ROUNDS)
        self._rounds += 1
        self._proven = prove
        body = self._body(now)
        if prove:
            padata = self._mechanism.proof(body, self._hints, now, self._entropy)
        else:
            padata = self._mechanism.first_padata()
        # RFC 6806 11: asks the KDC to seal a checksum of this request into its reply.
        padata += (PaData(padata_type=PaType.REQ_ENC_PA_REP, padata_value=b""),)
        if self._hints.cookie is not None:
            padata += (PaData(padata_type=PaType.FX_COOKIE, padata_value=self._hints.cookie),)
        outer = body
        if self._tunnel is not None:
            outer, padata = self._tunnel.wrap(body, padata, now)
        message = asn1.encode(
            AsReq(pvno=PVNO, msg_type=MessageType.AS_REQ, padata=padata, req_body=outer)
        )
        self._sent = SentRequest(body=body, message=message)
        return message

    # -- errors ----------------------------------------------------------------------------

    def _on_error(self, error: KrbError, sent: SentRequest, now: datetime) -> bytes:
        if self._tunnel is not None:
            error = self._tunnel.open_error(error, sent.body.nonce)
        code = error.error_code
        if code == ErrorCode.KDC_ERR_PREAUTH_REQUIRED and not self._proven:
            self._hints = replace(_read_hints(error), armor_key=self._hints.armor_key)
            if self._mechanism.pa_type not in self._hints.offered:
                raise ClientError(ClientFault.NOT_OFFERED, self._mechanism.name)
            return self._request(now, prove=True)
        if code == ErrorCode.KDC_ERR_PREAUTH_EXPIRED and not self._asked_again:
            # RFC 8070 2.4: the token was too old; ask for a new one, once.
            self._asked_again = True
            self._hints = replace(self._hints, cookie=None)
            return self._request(now, prove=not self._mechanism.asks_first)
        if self._proven and self._mechanism.retry(error):
            # The freshness token, if any, is still good: it is bound to time, not to a request.
            return self._request(now, prove=True)
        raise RefusedError(error)

    # -- the reply -------------------------------------------------------------------------

    def _on_reply(self, reply: AsRep, sent: SentRequest, now: datetime) -> AsResult:
        if reply.pvno != PVNO or reply.msg_type != MessageType.AS_REP:
            raise ClientError(ClientFault.MALFORMED, "header of the AS-REP")
        strengthen_key = None
        if self._tunnel is not None:
            reply, strengthen_key = self._tunnel.open_reply(reply, sent.body.nonce)
        self._check_names(reply, sent.body)
        key = self._mechanism.reply_key(sent, reply, self._hints, now)
        if strengthen_key is not None:
            key = FastTunnel.strengthen(strengthen_key, key)
        part = _open_enc_part(key, reply)
        self._check_part(part, reply, sent, key)
        offset = self._check_times(part, sent.body, now)
        client = Principal.of(reply.crealm, reply.cname)
        return AsResult(
            credential=credential_of(client, reply.ticket, part),
            mechanism=self._mechanism.name,
            pa_type=self._mechanism.pa_type,
            rounds=self._rounds,
            clock_offset=offset,
            facts={**self._mechanism.facts(), **self._armor_facts()},
        )

    def _armor_facts(self) -> Mapping[str, object]:
        armor = self._options.armor
        return {} if armor is None else {"armor": str(armor.client)}

    def _check_names(self, reply: AsRep, body: KdcReqBody) -> None:
        """Check the outer names; the ticket's own are compared with the sealed ones later."""
        if reply.crealm != body.realm:
            raise ClientError(ClientFault.WRONG_ANSWER, "crealm")
        if not body.kdc_options & KdcOption.CANONICALIZE and (
            body.cname is None or reply.cname.name_string != body.cname.name_string
        ):
            raise ClientError(ClientFault.WRONG_ANSWER, "cname")

    def _check_part(
        self, part: EncAsRepPart, reply: AsRep, sent: SentRequest, key: ProtocolKey
    ) -> None:
        if part.nonce != sent.body.nonce:
            raise ClientError(ClientFault.WRONG_ANSWER, "nonce")
        if part.srealm != sent.body.realm or reply.ticket.realm != part.srealm:
            raise ClientError(ClientFault.WRONG_ANSWER, "srealm")
        asked = self._server.name_string
        if part.sname.name_string != asked or reply.ticket.sname.name_string != asked:
            raise ClientError(ClientFault.WRONG_ANSWER, "sname")
        if part.key.keytype not in sent.body.etype:
            raise ClientError(ClientFault.BAD_PARAMETERS, "session key of a type not asked for")
        if part.flags & TicketFlag.ENC_PA_REP:
            _check_request_checksum(part, sent, key)

    def _check_times(self, part: EncAsRepPart, body: KdcReqBody, now: datetime) -> timedelta:
        start = part.starttime or part.authtime
        offset = start - now.replace(microsecond=0)
        if abs(offset) > self._options.skew:
            raise ClientError(ClientFault.CLOCK_SKEW)
        if part.endtime <= start or part.endtime > body.till:
            raise ClientError(ClientFault.WRONG_ANSWER, "endtime")
        return offset


def _read_hints(error: KrbError) -> Hints:
    """Read the METHOD-DATA of KDC_ERR_PREAUTH_REQUIRED."""
    try:
        listed = asn1.decode_as(METHOD_DATA, error.e_data or b"")
    except PkiError:
        raise ClientError(ClientFault.MALFORMED, "METHOD-DATA") from None
    hints = Hints(offered=frozenset(pa.padata_type for pa in listed))
    for padata in listed:
        if padata.padata_type == PaType.ETYPE_INFO2:
            hints = replace(hints, etype_info2=decode_etype_info2(padata.padata_value))
        elif padata.padata_type == PaType.AS_FRESHNESS and padata.padata_value:
            hints = replace(hints, freshness_token=padata.padata_value)
        elif padata.padata_type == PaType.FX_COOKIE:
            hints = replace(hints, cookie=padata.padata_value)
    return hints


def _open_enc_part(key: ProtocolKey, reply: AsRep) -> EncAsRepPart:
    if reply.enc_part.etype != key.enctype:
        raise ClientError(ClientFault.WRONG_ANSWER, "encryption type of the reply")
    try:
        plain = decrypt(key, KeyUsage.AS_REP_ENC_PART, reply.enc_part.cipher)
    except CryptoError:
        raise ClientError(ClientFault.WRONG_KEY) from None
    if plain[:1] == _ENC_TGS_REP_PART:
        # RFC 4120 5.4.2: some KDCs always use the other tag, and clients accept it.
        plain = _ENC_AS_REP_PART + plain[1:]
    try:
        return asn1.decode(EncAsRepPart, plain)
    except PkiError as error:
        raise ClientError(ClientFault.MALFORMED, str(error)) from None


def _check_request_checksum(part: EncAsRepPart, sent: SentRequest, key: ProtocolKey) -> None:
    """Check that the KDC saw our request as we sent it (RFC 6806 11)."""
    value = next(
        (
            pa.padata_value
            for pa in part.encrypted_pa_data or ()
            if pa.padata_type == PaType.REQ_ENC_PA_REP
        ),
        None,
    )
    try:
        checksum = asn1.decode(Checksum, value or b"")
        if checksum.cksumtype != CHECKSUM_TYPES[key.enctype]:
            raise ClientError(ClientFault.WRONG_ANSWER, "checksum of the request")
        verify_checksum(key, KeyUsage.AS_REQ, sent.message, checksum.checksum)
    except (PkiError, CryptoError):
        raise ClientError(ClientFault.WRONG_ANSWER, "checksum of the request") from None
