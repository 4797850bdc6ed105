"""Pre-authentication: the table of mechanisms, and what a client without any is told.

Rules
  1. The table's order decides. A request with PKINIT data is judged by PKINIT alone: when that
     fails, a valid password beside it changes nothing (row P23). Inside a FAST tunnel a password
     is proven by an encrypted challenge, outside by an encrypted timestamp; each is left unread
     where the other belongs, as in MIT and Heimdal.
  2. A mechanism returns what was proven or raises; nobody sets a flag that another could leave.
  3. Hints say what this account can really use, in the order that Windows and Samba's tests
     expect (wire facts 2.4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from directory.model import Account, AccountKind, Sid, match_key
from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.errors import KdcError
from kdc.exchange.enc_challenge import make_kdc_challenge, verify_enc_challenge
from kdc.exchange.enc_timestamp import verify_enc_timestamp
from kdc.exchange.fast import Tunnel
from kdc.exchange.fast_cookie import make_cookie
from kdc.exchange.freshness import make_freshness_token
from kdc.exchange.pac_facts import BY_PASSWORD, by_key
from kdc.exchange.pkinit import verify_pk_as_req
from kdc.exchange.pkinit_reply import make_pk_as_rep
from kdc.exchange.realm import Realm
from kdc.trust.verdict import judge
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import ETYPE_INFO2, METHOD_DATA, AsReq, EtypeInfo2Entry, PaData
from pki import asn1

ReplyKey = Callable[[EncType], tuple[ProtocolKey, tuple[PaData, ...]]]
"""encryption type -> (reply key, the padata that go with it in the AS-REP)."""


@dataclass(slots=True, kw_only=True)
class AsContext:
    """One AS-REQ with the accounts it names."""

    request: AsReq
    """The one that counts: that inside the tunnel, if there is one."""
    account: Account
    krbtgt: Account
    realm: Realm
    now: datetime
    packet: bytes
    """SHA-256 of the whole packet."""
    facts: dict[str, object]
    """The audit trail of this request."""
    tunnel: Tunnel


@dataclass(slots=True, kw_only=True)
class Proven:
    """The client proved itself by one mechanism."""

    reply_key: ReplyKey
    nonce: int
    """What EncKDCRepPart.nonce echoes: for PKINIT the authenticator's, as Windows does."""
    asserted: tuple[Sid, ...]
    """S-1-18-x: how the client proved itself."""
    not_after: datetime | None = None
    """The end of what the client proved itself with: no ticket lives longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaMechanism:
    """One row of the table."""

    pa_type: PaType
    verify: Callable[[AsContext, bytes], Proven]


def _verify_pkinit(context: AsContext, value: bytes) -> Proven:
    realm, now = context.realm, context.now
    if not realm.signers:
        raise KdcError(ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP, "this KDC has no certificate")
    body = context.request.req_body
    proof = verify_pk_as_req(value, body, context.krbtgt, realm, now)
    realm.stages.enter("trust")
    verdict = judge(
        proof.evidence,
        context.account,
        realm.directory,
        realm.certificates,
        realm.device_policy,
        now,
    )
    context.facts.update(
        trust=verdict.model,
        key_id=verdict.key_id,
        fresh=proof.fresh,
        kex=proof.group.name if proof.group else "rsa",
    )
    if verdict.mapping:
        context.facts["mapping"] = verdict.mapping
        context.facts.update(verdict.facts)
    warnings = proof.warnings + verdict.warnings
    if warnings:
        context.facts["warnings"] = warnings
    ctime = proof.auth_pack.pk_authenticator.ctime
    if not realm.replay.remember(proof.digest, ctime=ctime, now=now, packet=context.packet):
        raise KdcError(ErrorCode.KRB_AP_ERR_REPEAT, "the AuthPack was used before")

    def reply_key(etype: EncType) -> tuple[ProtocolKey, tuple[PaData, ...]]:
        key, padata = make_pk_as_rep(proof, context.request, etype, realm, now)
        return key, (padata,)

    return Proven(
        reply_key=reply_key,
        nonce=proof.auth_pack.pk_authenticator.nonce,
        asserted=by_key(verdict, fresh=proof.fresh),
        not_after=verdict.not_after,
    )


def _verify_timestamp(context: AsContext, value: bytes) -> Proven:
    account = context.account
    etypes = context.request.req_body.etype
    key = verify_enc_timestamp(value, account, etypes, context.realm, context.now, context.packet)
    hint = etype_info2(account, (key.enctype,), context.realm)
    nonce = context.request.req_body.nonce
    return Proven(reply_key=lambda _etype: (key, (hint,)), nonce=nonce, asserted=BY_PASSWORD)


def _verify_challenge(context: AsContext, value: bytes) -> Proven:
    account, realm, now = context.account, context.realm, context.now
    body, armor_key = context.request.req_body, context.tunnel.armor_key
    if armor_key is None:
        raise AssertionError("the mechanism is in the table of the tunnel only")
    key = verify_enc_challenge(value, account, body.etype, armor_key, realm, now, context.packet)
    padata = (
        etype_info2(account, (key.enctype,), realm),
        make_kdc_challenge(armor_key, key, realm, now),
    )
    return Proven(reply_key=lambda _etype: (key, padata), nonce=body.nonce, asserted=BY_PASSWORD)


_PKINIT = PaMechanism(pa_type=PaType.PK_AS_REQ, verify=_verify_pkinit)
MECHANISMS = (
    _PKINIT,
    PaMechanism(pa_type=PaType.ENC_TIMESTAMP, verify=_verify_timestamp),
)
ARMORED_MECHANISMS = (
    _PKINIT,
    PaMechanism(pa_type=PaType.ENCRYPTED_CHALLENGE, verify=_verify_challenge),
)
"""Those of a request inside a FAST tunnel."""

OLD_PKINIT = frozenset({PaType.PK_AS_REQ_OLD, PaType.PK_AS_REP_OLD})
"""The drafts' types. Windows 2000 sent its request as 15, the number of the reply."""


def find_mechanism(
    padata: tuple[PaData, ...], mechanisms: tuple[PaMechanism, ...] = MECHANISMS
) -> tuple[PaMechanism, bytes] | None:
    """Pick the mechanism that a request uses, with its data; None: it uses none.

    Raises KdcError: KRB_ERR_GENERIC for old and new PKINIT together (MS-PKCA 3.1.5.2),
    KDC_ERR_PREAUTH_FAILED for the same mechanism twice, KDC_ERR_PADATA_TYPE_NOSUPP for the old one.
    """
    types = [pa.padata_type for pa in padata]
    old = not OLD_PKINIT.isdisjoint(types)
    if old and PaType.PK_AS_REQ in types:
        raise KdcError(ErrorCode.KRB_ERR_GENERIC, "PA-PK-AS-REQ together with PA-PK-AS-REQ-OLD")
    for mechanism in mechanisms:
        count = types.count(mechanism.pa_type)
        if count > 1:
            raise KdcError(
                ErrorCode.KDC_ERR_PREAUTH_FAILED, "the same pre-authentication data twice"
            )
        if count:
            return mechanism, padata[types.index(mechanism.pa_type)].padata_value
    if old:
        raise KdcError(
            ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP, "PA-PK-AS-REQ-OLD (a draft) is not supported"
        )
    return None


# Salts come from accounts, and from names that got as far as an answer: none is longer than
# MAX_STAND_IN_CHARS with the realm's before it.
@lru_cache(maxsize=1024)
def _etype_info2(entries: tuple[tuple[int, str], ...]) -> bytes:
    return asn1.encode_as(
        ETYPE_INFO2, tuple(EtypeInfo2Entry(etype=etype, salt=salt) for etype, salt in entries)
    )


def etype_info2(account: Account, etypes: tuple[int, ...], realm: Realm) -> PaData:
    """Make PA-ETYPE-INFO2: the salts of the account's keys, in the client's order of preference.

    An account without a key gets the salt it would have, so that its hints look like others'.
    Under `hide_unknown` every type is listed that the realm supports, whatever keys there are.
    """
    salts = {key.etype: key.salt for key in account.newest_keys()}
    hidden = realm.config.hide_unknown
    name = account.sam_account_name
    default = realm.config.realm + (match_key(name) if hidden else name)
    supported = realm.config.supported_enctypes
    entries = tuple(
        [
            (etype, salts.get(etype, default) or default)
            for etype in dict.fromkeys(etypes)
            if etype in supported and (hidden or etype in salts or not salts)
        ]
    )
    return PaData(padata_type=PaType.ETYPE_INFO2, padata_value=_etype_info2(entries))


def preauth_hints(context: AsContext) -> bytes:
    """Encode the METHOD-DATA for KDC_ERR_PREAUTH_REQUIRED and KDC_ERR_PREAUTH_FAILED."""
    account, realm = context.account, context.realm
    asked = {pa.padata_type for pa in context.request.padata or ()}
    out = [etype_info2(account, context.request.req_body.etype, realm)]
    armored = context.tunnel.armor_key is not None
    # Hidden names are only hidden when every account's hints look alike.
    if realm.config.hide_unknown or _has_password(account, realm, armored):
        kind = PaType.ENCRYPTED_CHALLENGE if armored else PaType.ENC_TIMESTAMP
        out.append(PaData(padata_type=kind, padata_value=b""))
    if realm.signers:
        out.append(PaData(padata_type=PaType.PK_AS_REQ, padata_value=b""))
        if PaType.AS_FRESHNESS in asked:
            token = make_freshness_token(context.krbtgt, context.now, realm.entropy)
            out.append(PaData(padata_type=PaType.AS_FRESHNESS, padata_value=token))
        else:
            out.append(PaData(padata_type=PaType.PK_AS_REP_OLD, padata_value=b""))
    if armored:
        cname = context.request.req_body.cname
        out.append(make_cookie(context.krbtgt, cname, context.now, realm.entropy))
    else:
        out.append(PaData(padata_type=PaType.FX_FAST, padata_value=b""))
    return asn1.encode_as(METHOD_DATA, tuple(out))


def _has_password(account: Account, realm: Realm, armored: bool) -> bool:
    """Tell whether a password is worth a try: of this account, in or outside the tunnel."""
    if not account.keys or account.smartcard_required:
        return False
    return armored or not realm.config.require_fast or account.kind is not AccountKind.USER
