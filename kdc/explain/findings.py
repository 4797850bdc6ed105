"""What this very request says about its refusal: the values that a rule was compared with.

Pure and tolerant like the tree: what cannot be read is not mentioned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from directory.model import Account, AccountKind
from kdc.config import KdcConfig
from kdc.config_values import format_duration
from kdc.crypto.key_agreement import group_by_curve_oid, match_domain_parameters
from kdc.explain import names
from kdc.explain.keys import key_text
from kdc.explain.steps import Step
from kdc.explain.text import escape, quoted, span
from kdc.explain.tree import message_name
from kdc.explain.values import time_text
from kdc.wire.constants import PaType
from kdc.wire.rfc4120 import ApReq, AsReq, KdcReq, PrincipalName, TgsReq, Ticket
from kdc.wire.rfc4556 import DH_PUBLIC_NUMBER, EC_PUBLIC_KEY, AuthPack, DomainParameters, PaPkAsReq
from pki import asn1, cms
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.keys import PublicKey

MAX_OWNERS = 8


@dataclass(slots=True, kw_only=True)
class Request:
    """The parts of a request that could be read; None for the others."""

    kdc_req: KdcReq | None = None
    """An AS-REQ or a TGS-REQ."""
    ticket: Ticket | None = None
    """What a TGS-REQ shows, unopened."""
    auth_pack: AuthPack | None = None
    signed: cms.SignedData | None = None
    armored: bool = False
    """It is inside FAST: what counts cannot be read here."""
    signer_key: PublicKey | None = None
    """Of the first certificate that can be read: what the client would have signed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the realm knows today about the names and the key in a request."""

    account: Account | None = None
    owners: tuple[str, ...] = ()
    """Names of the accounts on which the signer's key is registered."""


def read_request(message: bytes) -> Request:
    """Decode what can be decoded of an AS-REQ or a TGS-REQ."""
    out = Request()
    try:
        tgs = message_name(message) == "TGS-REQ"
        out.kdc_req = asn1.decode(TgsReq if tgs else AsReq, message)
        for pa in out.kdc_req.padata or ():
            out.armored = out.armored or pa.padata_type == PaType.FX_FAST
            if tgs and pa.padata_type == PaType.TGS_REQ:
                out.ticket = asn1.decode(ApReq, pa.padata_value).ticket
            if pa.padata_type == PaType.PK_AS_REQ:
                pa_pk_as_req = asn1.decode(PaPkAsReq, pa.padata_value)
                out.signed = cms.parse_signed_data(pa_pk_as_req.signed_auth_pack)
                out.signer_key = _signer_key(out.signed)
                out.auth_pack = asn1.decode(AuthPack, out.signed.content)
    except (PkiError, IndexError):
        pass
    return out


def _signer_key(signed: cms.SignedData) -> PublicKey | None:
    for data in signed.certificates:
        try:
            return Certificate(data).public_key()
        except (PkiError, IndexError):
            continue
    return None


def findings(
    step: Step | None, message: bytes, time: datetime, config: KdcConfig | None, known: Known
) -> tuple[str, ...]:
    """List what was compared at the failing step, one sentence each.

    time: the KDC's clock when the request came.
    """
    request = read_request(message)
    case = _Case(request=request, time=time, config=config, known=known)
    about = _ABOUT.get(step) if step is not None else None
    return tuple(about(case)) if about is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    request: Request
    time: datetime
    config: KdcConfig | None
    known: Known


def _name(name: PrincipalName | None) -> str:
    return "no name" if name is None else quoted("/".join(name.name_string))


def _realm(case: _Case) -> list[str]:
    if case.request.kdc_req is None:
        return []
    out = [f"The request is for realm {quoted(case.request.kdc_req.req_body.realm)}."]
    if case.config is not None:
        out.append(f"This KDC serves {case.config.realm} (NetBIOS {case.config.netbios}).")
    return out


def _ticket(case: _Case) -> list[str]:
    ticket = case.request.ticket
    if ticket is None:
        return []
    sealed = ticket.enc_part
    return [
        f"The ticket says it is for {_name(ticket.sname)} of realm {quoted(ticket.realm)}.",
        f"It says it is sealed with key version {sealed.kvno}, {names.etype_text(sealed.etype)}.",
    ]


def _options(case: _Case) -> list[str]:
    if case.request.kdc_req is None:
        return []
    return [f"kdc-options is {names.options_text(case.request.kdc_req.req_body.kdc_options)}."]


def _etype(case: _Case) -> list[str]:
    if case.request.kdc_req is None:
        return []
    asked = ", ".join(map(names.etype_text, case.request.kdc_req.req_body.etype[:16]))
    out = [f"The client offers: {asked or 'nothing at all'}."]
    if case.config is not None:
        ours = ", ".join(map(names.etype_text, case.config.supported_enctypes))
        out.append(f"This realm supports: {ours}.")
    return out


def _client(case: _Case) -> list[str]:
    if case.request.kdc_req is None:
        return []
    cname = case.request.kdc_req.req_body.cname
    kind = "" if cname is None else f", {names.name_type_text(cname.name_type)}"
    out = [f"The client calls itself {_name(cname)}{kind}."]
    if case.known.account is not None:
        found = case.known.account.sam_account_name
        out.append(f"Today there is such an account: {escape(found)}.")
    return out


def _service(case: _Case) -> list[str]:
    if case.request.kdc_req is None:
        return []
    return [f"The client asks for {_name(case.request.kdc_req.req_body.sname)}."]


def _account(case: _Case) -> list[str]:
    account = case.known.account
    if account is None:
        return []
    parts = ["disabled" if account.disabled else "enabled"]
    if account.locked_until is not None:
        parts.append(f"locked until {time_text(account.locked_until)}")
    if account.expires_at is not None:
        parts.append(f"expires {time_text(account.expires_at)}")
    if account.smartcard_required:
        parts.append("must use a key")
    if account.must_change_password:
        parts.append("must change the password")
    elif account.password_expires_at is not None:
        parts.append(f"password expires {time_text(account.password_expires_at)}")
    parts.append("has a password" if account.keys else "has no password")
    shown = f"Today {escape(account.sam_account_name)} is: {', '.join(parts)}."
    return [shown]


def _clock(client: datetime, case: _Case) -> list[str]:
    off = (client - case.time).total_seconds()
    side = "ahead of" if off > 0 else "behind"
    out = [
        f"The client's clock said {time_text(client)}, ours {time_text(case.time)}: it is "
        f"{span(abs(off))} {side} ours."
    ]
    if case.config is not None:
        allowed = format_duration(case.config.clockskew_s)
        out.append(f"Allowed is {allowed} (clockskew).")
    return out


def _pk_clock(case: _Case) -> list[str]:
    pack = case.request.auth_pack
    return [] if pack is None else _clock(pack.pk_authenticator.ctime, case)


def _times(case: _Case) -> list[str]:
    if case.request.kdc_req is None:
        return []
    body = case.request.kdc_req.req_body
    out = [f"till is {time_text(body.till)}; our clock said {time_text(case.time)}."]
    if body.from_ is not None:
        out.append(f"from is {time_text(body.from_)}.")
    return out


def _group(case: _Case) -> list[str]:
    pack = case.request.auth_pack
    if pack is None:
        return []
    if pack.client_public_value is None:
        return ["There is no clientPublicValue: the client wants the RSA form."]
    algorithm = pack.client_public_value.algorithm
    try:
        if algorithm.algorithm == DH_PUBLIC_NUMBER and algorithm.parameters is not None:
            domain = asn1.decode(DomainParameters, algorithm.parameters)
            group = match_domain_parameters(domain.p, domain.g, domain.q)
            name = "an unknown group" if group is None else group.name
            return [f"The client offers {name}, {domain.p.bit_length()} bits, g = {domain.g:#x}."]
        if algorithm.algorithm == EC_PUBLIC_KEY and algorithm.parameters is not None:
            oid = asn1.decode_as(asn1.OID, algorithm.parameters)
            curve = group_by_curve_oid(oid)
            known = "" if curve is not None else ", which is not one of ours"
            return [f"The client offers the curve {names.oid_name(oid)}{known}."]
    except PkiError:
        return []
    return [f"The client offers {names.oid_name(algorithm.algorithm)}."]


def _algorithms(case: _Case) -> list[str]:
    signed = case.request.signed
    if signed is None:
        return []
    if signed.signer is None:
        return ["There is no SignerInfo."]
    digest = names.oid_short(signed.signer.digest_algorithm.algorithm)
    signature = names.oid_short(signed.signer.signature_algorithm.algorithm)
    return [f"The client signed with digest {digest}, signature algorithm {signature}."]


def _key(case: _Case) -> list[str]:
    key = case.request.signer_key
    return [] if key is None else [f"The signer's key: {key_text(key)}."]


def _trust(case: _Case) -> list[str]:
    out = _key(case)
    account = case.known.account
    owners = [escape(owner) for owner in case.known.owners[:MAX_OWNERS]]
    if case.request.signer_key is not None:
        where = ", ".join(owners) or "no account"
        out.append(f"Today that key is registered on {where}.")
    if account is not None and account.kind in (AccountKind.USER, AccountKind.COMPUTER):
        usable = sum(1 for c in account.key_credentials if c.usable)
        count = len(account.key_credentials)
        out.append(
            f"Today {escape(account.sam_account_name)} has {count} registered "
            f"key{'' if count == 1 else 's'}, {usable} of them usable."
        )
    return out


def _replay(case: _Case) -> list[str]:
    return [line for line in _pk_clock(case) if "clock said" in line]


def _sealed(case: _Case) -> list[str]:
    if case.request.kdc_req is None:
        return []
    asked = ", ".join(map(names.etype_text, case.request.kdc_req.req_body.etype[:16]))
    return [f"The client offers: {asked}.", *_account(case)]


_ABOUT: dict[Step, Callable[[_Case], list[str]]] = {
    Step.REALM: _realm,
    Step.OPTIONS: _options,
    Step.TGS_OPTIONS: _options,
    Step.TGT_ASKED: _options,
    Step.TGT_NAME: _ticket,
    Step.TGT_OPENS: _ticket,
    Step.SEALING_KEY: _service,
    Step.ETYPE: _etype,
    Step.CLIENT: _client,
    Step.SERVICE: _service,
    Step.ACCOUNT: _account,
    Step.TIMES: _times,
    Step.PK_CLOCK: _pk_clock,
    Step.MEMORY: _pk_clock,
    Step.GROUP: _group,
    Step.AGREEMENT: _group,
    Step.ALGORITHMS: _algorithms,
    Step.ATTRIBUTES: _algorithms,
    Step.CERTIFICATE: _algorithms,
    Step.KEY: _key,
    Step.SIGNATURE: _key,
    Step.TRUST: _trust,
    Step.DEVICE: _trust,
    Step.PK_REPLAY: _replay,
    Step.PASSWORD_ALLOWED: _account,
    Step.TS_ETYPE: _sealed,
    Step.OPENS: _account,
    Step.PASSWORD_STATE: _account,
}
