"""The steps of an exchange in their order, and how far a refused request got.

The order is that of `kdc.exchange`: as_exchange, then pkinit or enc_timestamp, then the reply; or
tgs_exchange with tgs_open and tgs_decide. A FAST request has more: its armor is an AP-REQ like that
of a TGS-REQ, and then there is the tunnel.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum

from kdc.wire.constants import PaType


class Step(Enum):
    """One check; the value is what is true of a request that passed it."""

    READ = "the message is a well-formed request"
    HEADER = "it is Kerberos 5, and msg-type says what it is"
    REALM = "the realm is ours"
    OPTIONS = "kdc-options has nothing that an AS-REQ cannot have"
    ETYPE = "client and KDC have an encryption type in common"
    CLIENT = "the client's name leads to an account"
    SERVICE = "the service's name leads to an account"
    ACCOUNT = "the account may log on now"
    MECHANISM = "it brings one proof, of a kind that we know"
    TIMES = "a ticket of these times can be granted"

    KDC_CERTIFICATE = "this KDC has a certificate"
    PA_PK_AS_REQ = "PA-PK-AS-REQ is well-formed"
    SIGNED_DATA = "the SignedData in it is well-formed, with an AuthPack inside"
    AUTH_PACK = "the AuthPack is well-formed"
    PK_CLOCK = "the AuthPack's time is within the clock skew"
    CHECKSUM = "the AuthPack was made for this request (paChecksum)"
    MEMORY = "the replay memory reaches back to the AuthPack's time"
    FRESHNESS = "the freshness token, if any is needed, is ours and recent"
    GROUP = "the key agreement is of a kind that we accept"
    DH_NONCE = "clientDHNonce has a sensible size"
    ALGORITHMS = "digest and signature algorithms are accepted"
    ATTRIBUTES = "the signed attributes are complete and in order"
    CERTIFICATE = "the signer's certificate is in the message"
    KEY = "the signer's key meets the key policy"
    SIGNATURE = "digest and signature are right"
    TRUST = "the key is registered on this account, and on no other"
    DEVICE = "the key's device, if it has one, may log on"
    CHAIN = "the certificate leads to a logon CA, is valid and not revoked"
    MAPPING = "the certificate stands for this account"
    PK_REPLAY = "the AuthPack was not used before"

    PASSWORD_ALLOWED = "the account may log on with a password"  # noqa: S105  a sentence
    SEALED = "PA-ENC-TIMESTAMP, or the challenge inside FAST, is well-formed"
    TS_ETYPE = "the account has a key of an encryption type that fits"
    OPENS = "the account's key opens the timestamp (the password is right)"
    TS_CLOCK = "the timestamp is within the clock skew"
    TS_MEMORY = "the replay memory reaches back to the timestamp"
    TS_REPLAY = "the timestamp was not used before"

    PASSWORD_STATE = "the password has not expired"  # noqa: S105  a sentence
    KDF = "a key derivation function in common"
    AGREEMENT = "the client's public value lies in its group"
    PAC_REQUEST = "PA-PAC-REQUEST, if there is one, is well-formed"
    TICKET = "the ticket is sealed"

    AP_REQ = "there is an AP-REQ: a ticket and an authenticator"
    TGT_NAME = "the ticket is a TGT of this realm"
    TGT_OPENS = "a krbtgt key that we have opens it"
    TGT_VALID = "the TGT is valid now"
    AUTH_OPENS = "the TGT's session key opens the authenticator"
    AUTH_CLIENT = "authenticator and ticket name the same client"
    AUTH_BODY = "the authenticator was made for this request"
    AUTH_CLOCK = "the authenticator is within the clock skew"
    AUTH_MEMORY = "the replay memory reaches back to the authenticator"
    AUTH_ARMOR = "neither is for FAST armor only, nor has lost its FAST request"
    AUTH_ADDRESS = "the ticket may be used from this address"
    AUTH_SUBKEY = "the authenticator's subkey, if any, is of a type we use"
    AUTH_DATA = "the client's own authorization data, if any, open"
    TGS_OPTIONS = "the request's options are allowed, and its TGT has what they need"
    REQUESTER = "the TGT speaks for an account that still is that account"
    TGT_PAC = "the TGT's PAC is whole and signed by us"
    TGT_CURRENT = "what the TGT was issued on still holds"
    TGT_ASKED = "a TGT is asked for as one"
    BROUGHT = "the client brings no authorization data that are not its own to give"
    S4U_REQUEST = "what asks for a ticket in another's name was made by the service itself"
    S4U_USER = "the user it asks for is there and may be spoken for"
    EVIDENCE = "the evidence ticket is the service's own, and signed by us"
    DELEGATION = "this service may act for users at that one"
    SEALING_KEY = "there is a key to seal the ticket with"
    AUTH_REPLAY = "the authenticator was not used before"

    FAST_REQUEST = "PA-FX-FAST is well-formed, with an armor of a kind that we know"
    FAST_SUBKEY = "the client has its share in the armor key (a subkey)"
    FAST_OPENS = "the armor key opens the request inside"
    FAST_BOUND = "the request inside was made for this outer one (req-checksum)"
    FAST_OPTIONS = "we know each critical FAST option"
    FAST_COOKIE = "the FX-COOKIE, if it is one of ours, is recent and this client's"


_OPENING = (
    Step.READ,
    Step.HEADER,
    Step.REALM,
    Step.ETYPE,
    Step.CLIENT,
    Step.OPTIONS,
    Step.SERVICE,
    Step.ACCOUNT,
    Step.MECHANISM,
    Step.TIMES,
)
_PKINIT = (
    Step.KDC_CERTIFICATE,
    Step.PA_PK_AS_REQ,
    Step.SIGNED_DATA,
    Step.AUTH_PACK,
    Step.PK_CLOCK,
    Step.CHECKSUM,
    Step.MEMORY,
    Step.FRESHNESS,
    Step.GROUP,
    Step.DH_NONCE,
    Step.ALGORITHMS,
    Step.ATTRIBUTES,
    Step.CERTIFICATE,
    Step.KEY,
    Step.SIGNATURE,
    Step.TRUST,
    Step.DEVICE,
    Step.PK_REPLAY,
)
_CERTIFICATE = tuple(
    part
    for step in _PKINIT
    if step is not Step.DEVICE
    for part in ((Step.CHAIN, Step.MAPPING) if step is Step.TRUST else (step,))
)
"""PKINIT with a key that no account has: its certificate is judged instead."""
_PASSWORD = (
    Step.PASSWORD_ALLOWED,
    Step.SEALED,
    Step.TS_ETYPE,
    Step.OPENS,
    Step.TS_CLOCK,
    Step.TS_MEMORY,
    Step.TS_REPLAY,
)
_REPLY = {
    PaType.PK_AS_REQ: (
        Step.PASSWORD_STATE,
        Step.KDF,
        Step.AGREEMENT,
        Step.PAC_REQUEST,
        Step.TICKET,
    ),
    PaType.ENC_TIMESTAMP: (Step.PASSWORD_STATE, Step.PAC_REQUEST, Step.TICKET),
}
_TGS = (
    Step.READ,
    Step.HEADER,
    Step.REALM,
    Step.AP_REQ,
    Step.TGT_NAME,
    Step.TGT_OPENS,
    Step.TGT_VALID,
    Step.AUTH_OPENS,
    Step.AUTH_CLIENT,
    Step.AUTH_BODY,
    Step.AUTH_CLOCK,
    Step.AUTH_MEMORY,
    Step.AUTH_ARMOR,
    Step.AUTH_ADDRESS,
    Step.AUTH_SUBKEY,
    Step.AUTH_DATA,
    Step.S4U_REQUEST,
    Step.TGS_OPTIONS,
    Step.TGT_PAC,
    Step.REQUESTER,
    Step.ACCOUNT,
    Step.TGT_CURRENT,
    Step.SERVICE,
    Step.TGT_ASKED,
    Step.BROUGHT,
    Step.EVIDENCE,
    Step.S4U_USER,
    Step.DELEGATION,
    Step.SEALING_KEY,
    Step.ETYPE,
    Step.TIMES,
    Step.AUTH_REPLAY,
    Step.TICKET,
)
_ARMOR = (
    Step.FAST_REQUEST,
    Step.AP_REQ,
    Step.TGT_NAME,
    Step.TGT_OPENS,
    Step.TGT_VALID,
    Step.AUTH_OPENS,
    Step.AUTH_CLIENT,
    Step.AUTH_CLOCK,
    Step.AUTH_ADDRESS,
    Step.AUTH_SUBKEY,
    Step.FAST_SUBKEY,
    Step.TGT_PAC,
    Step.REQUESTER,
    Step.TGT_CURRENT,
)
_TUNNEL = (Step.FAST_OPENS, Step.FAST_BOUND, Step.FAST_OPTIONS)
_ONLY_FAST = frozenset((*_TUNNEL, Step.FAST_REQUEST, Step.FAST_SUBKEY, Step.FAST_COOKIE))
_ONLY_TGS = frozenset(_TGS) - frozenset(
    (*_OPENING, *_PKINIT, *_CERTIFICATE, *_PASSWORD, *_REPLY[PaType.PK_AS_REQ])
)


class State(StrEnum):
    """How one step went."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_REACHED = "not reached"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A step of one request."""

    step: Step
    state: State


def order_of(
    step: Step | None,
    preauth: int | None,
    hide_unknown: bool,
    *,
    tgs: bool = False,
    fast: bool = False,
    certificate: bool = False,
) -> tuple[Step, ...]:
    """List the steps of an exchange: those of the proof that was brought, or of the failing one.

    preauth: the PA type that was judged, None before it was chosen.
    hide_unknown: with it the account's state is judged after the proof. tgs: the TGS exchange.
    fast: the request is armored.
    certificate: certificate trust decided, not key trust.
    """
    fast = fast or step in _ONLY_FAST
    if tgs or (step in _ONLY_TGS and not fast):
        return _fast_tgs() if fast else _TGS
    opening: tuple[Step, ...] = _OPENING
    if fast:
        opening = _put(_OPENING, (*_ARMOR, *_TUNNEL), before=Step.REALM)
        opening = _put(opening, (Step.FAST_COOKIE,), before=Step.MECHANISM)
    proof: tuple[Step, ...] = ()
    reply = _REPLY[PaType.ENC_TIMESTAMP]
    by_password = (PaType.ENC_TIMESTAMP, PaType.ENCRYPTED_CHALLENGE)
    if certificate or step in (Step.CHAIN, Step.MAPPING):
        proof, reply = _CERTIFICATE, _REPLY[PaType.PK_AS_REQ]
    elif preauth == PaType.PK_AS_REQ or step in _PKINIT or step in (Step.KDF, Step.AGREEMENT):
        proof, reply = _PKINIT, _REPLY[PaType.PK_AS_REQ]
    elif preauth in by_password or step in _PASSWORD or step in reply:
        proof = _PASSWORD
    if hide_unknown:
        opening = tuple(s for s in opening if s is not Step.ACCOUNT)
        proof = (*proof, Step.ACCOUNT)
    if not proof or proof == (Step.ACCOUNT,):
        return (*opening, *proof)
    return (*opening, *proof, *reply)


def _put(order: tuple[Step, ...], more: tuple[Step, ...], *, before: Step) -> tuple[Step, ...]:
    at = order.index(before)
    return (*order[:at], *more, *order[at:])


def _fast_tgs() -> tuple[Step, ...]:
    """List the steps of an armored TGS-REQ: the inner realm counts, so the tunnel comes first.

    The armor ticket of a compound identity goes through the steps of the other ticket once more.
    """
    order: tuple[Step, ...] = tuple(s for s in _TGS if s is not Step.REALM)
    tunnel = (Step.FAST_REQUEST, Step.FAST_SUBKEY, *_TUNNEL)
    order = _put(order, tunnel, before=Step.AUTH_DATA)
    return _put(order, (Step.REALM,), before=Step.TGS_OPTIONS)


def stages(
    step: Step | None,
    preauth: int | None = None,
    *,
    hide_unknown: bool = False,
    tgs: bool = False,
    fast: bool = False,
    issued: bool = False,
    certificate: bool = False,
) -> tuple[Stage, ...]:
    """Say how each step went, given the one that failed.

    step: None when it is not known where the request stopped, or when nothing failed (`issued`).
    """
    order = order_of(step, preauth, hide_unknown, tgs=tgs, fast=fast, certificate=certificate)
    if Step.AUTH_REPLAY in order and step is Step.TICKET:
        step = Step.SEALING_KEY  # there, the service's key is looked for before anything is decided
    if step is None or step not in order:
        state = State.PASSED if issued else State.UNKNOWN
        return tuple(Stage(step=s, state=state) for s in order)
    at = order.index(step)
    out = []
    for index, known in enumerate(order):
        state = State.PASSED if index < at else State.NOT_REACHED
        out.append(Stage(step=known, state=State.FAILED if index == at else state))
    return tuple(out)
