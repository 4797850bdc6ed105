"""The AS exchange (RFC 4120 3.1): the straight line from a decoded AS-REQ to the AS-REP."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from directory.model import NOBODY, Account, AccountKind, match_key
from kdc.config import KdcConfig
from kdc.crypto.etypes import CONFOUNDER_BYTES, ProtocolKey
from kdc.crypto.rfc6113 import strengthened_reply_key
from kdc.errors import KdcError
from kdc.exchange.fast import Arrival, Tunnel, fast_value, open_fast_as_req
from kdc.exchange.fast_cookie import check_cookie
from kdc.exchange.fast_reply import make_strengthen_key
from kdc.exchange.pac_facts import pac_facts, wanted_attributes
from kdc.exchange.preauth import (
    ARMORED_MECHANISMS,
    MECHANISMS,
    AsContext,
    find_mechanism,
    preauth_hints,
)
from kdc.exchange.principals import (
    Named,
    check_realm,
    find_client,
    find_service,
    is_our_realm,
    is_password_service,
    name_text,
)
from kdc.exchange.realm import Realm
from kdc.exchange.requester import is_delegable
from kdc.exchange.s4u_self import client_by_certificate
from kdc.exchange.ticket import AsReply, issue_as_rep
from kdc.pac import seal_credential_info
from kdc.policy import (
    DELEGABLE_FLAGS,
    check_account_state,
    check_as_options,
    check_password_state,
    choose_etype,
    decide_password_ticket,
    decide_ticket,
    end_with_proof,
    is_protected,
    limit_protected,
)
from kdc.wire.constants import PVNO, ErrorCode, MessageType, PaType
from kdc.wire.rfc4120 import AsReq, KdcReqBody, PrincipalName

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
MAX_STAND_IN_CHARS = 256  # no account's name is longer; it is in the salt of each type


def check_header(request: AsReq) -> None:
    """Check pvno and msg-type: KDC_ERR_BAD_PVNO, KRB_AP_ERR_MSG_TYPE (RFC 4120 3.1.2)."""
    if request.pvno != PVNO:
        raise KdcError(ErrorCode.KDC_ERR_BAD_PVNO, "the protocol version is not 5")
    if request.msg_type != MessageType.AS_REQ:
        raise KdcError(ErrorCode.KRB_AP_ERR_MSG_TYPE, "msg-type does not match the message")


def _stand_in(body: KdcReqBody, config: KdcConfig) -> Named:
    """Return an account that nobody can log on to, for `hide_unknown`.

    It goes the same way as a real one, so that neither answers nor their timing tell names apart;
    its id owns no key, so it ends in the refusal a real account gives to a stranger. Its name is
    what the account of such a name would most likely be called: its salt shows.
    """
    cname = body.cname or PrincipalName(name_type=0, name_string=("",))
    name = match_key(name_text(cname)[:MAX_STAND_IN_CHARS])
    local, at, suffix = name.rpartition("@")
    if at and is_our_realm(suffix, config):
        name = local
    account = Account(
        account_id=NOBODY, sam_account_name=name, kind=AccountKind.USER, created_at=_LONG_AGO
    )
    return Named(account=account, name=cname)


def _named_client(request: AsReq, realm: Realm, now: datetime) -> Named:
    body = request.req_body
    client = find_client(body, realm.directory, realm.config)
    if client is None:
        if not realm.config.hide_unknown:
            client = client_by_certificate(request, realm, now)
            if client is not None:
                return client
            raise KdcError(ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN, "no account of the client's name")
        client = _stand_in(body, realm.config)
        realm.directory.spend_as_found(client.account.sam_account_name)
    return client


def answer_as_req(
    request: AsReq,
    realm: Realm,
    address: str,
    now: datetime,
    packet: bytes,
    facts: dict[str, object],
    tunnel: Tunnel,
) -> bytes:
    """Answer an AS-REQ with the DER of an AS-REP.

    address: the sender's IP address in text form. packet: SHA-256 of the whole packet.
    facts: the audit trail, filled as far as the request gets. tunnel: opened here, if the request
    brings one.
    Raises KdcError with the code of the first check that fails; DirectoryError when the store
    cannot be read.
    """
    _note(request.req_body, facts)
    check_header(request)
    fast = fast_value(request.padata)
    if fast is not None:
        arrival = Arrival(realm=realm, address=address, now=now, facts=facts, tunnel=tunnel)
        request = open_fast_as_req(request, fast, arrival)
        _note(request.req_body, facts)
    body = request.req_body
    config = realm.config
    check_realm(body, config)
    session_etype = choose_etype(body.etype, config.supported_enctypes)
    client = _named_client(request, realm, now)
    # After the name: anonymous PKINIT, which sets an option as well, is told 6 (row A07).
    check_as_options(body.kdc_options)
    account = client.account
    facts["account"] = account.sam_account_name
    service = find_service(body, realm.directory, config)
    if not config.hide_unknown:
        check_account_state(account, now)
    context = AsContext(
        request=request,
        account=account,
        krbtgt=realm.directory.krbtgt(),
        realm=realm,
        now=now,
        packet=packet,
        facts=facts,
        tunnel=tunnel,
    )
    mechanisms = MECHANISMS
    if fast is not None:
        mechanisms = ARMORED_MECHANISMS
        skew = timedelta(seconds=config.clockskew_s)
        check_cookie(request.padata or (), context.krbtgt, body.cname, now, skew)
    found = find_mechanism(request.padata or (), mechanisms)
    if found is None:
        raise KdcError(
            ErrorCode.KDC_ERR_PREAUTH_REQUIRED,
            "no pre-authentication data",
            e_data=preauth_hints(context),
        )
    mechanism, value = found
    facts["preauth"] = int(mechanism.pa_type)
    # A ticket that policy refuses must not cost a signature, nor use up the client's proof.
    changing = is_password_service(service.account)
    if changing:
        grant = decide_password_ticket(body, now, clockskew_s=config.clockskew_s)
    else:
        grant = decide_ticket(
            body,
            now,
            max_life_s=config.max_life_s,
            max_renewable_life_s=config.max_renewable_life_s,
            clockskew_s=config.clockskew_s,
        )
    realm.stages.enter("preauth")
    try:
        proven = mechanism.verify(context, value)
    except KdcError as refusal:
        if refusal.code is ErrorCode.KDC_ERR_PREAUTH_FAILED and refusal.e_data is None:
            refusal.e_data = preauth_hints(context)
        raise
    if config.hide_unknown:
        check_account_state(account, now)
    # An expired password is still good for changing it, and for nothing else.
    if not changing:
        check_password_state(account, now)
    grant = end_with_proof(grant, proven.not_after)
    groups = realm.directory.groups_of(account.account_id)
    protected = is_protected(groups, realm.directory.domain().sid)
    if protected:
        grant = limit_protected(grant)
    realm.stages.enter("key_agreement")
    reply_key, padata = proven.reply_key(session_etype)
    realm.stages.enter("pac")
    facts["etype"] = int(reply_key.enctype)
    strengthen_key = None
    if tunnel.armor_key is not None:
        strengthen_key = make_strengthen_key(reply_key, realm.entropy)
        # Before the PAC: "the reply key" that seals PAC_CREDENTIAL_INFO is what the client ends
        # up with.
        reply_key = strengthened_reply_key(strengthen_key, reply_key)
    pkinit = mechanism.pa_type is PaType.PK_AS_REQ
    pac = pac_facts(
        account,
        realm,
        name=name_text(client.name),
        logon_time=grant.authtime,
        asserted=proven.asserted,
        pac_attributes=wanted_attributes(request.padata or ()),
    )
    # NTLM refuses members of Protected Users, so the hash would serve nobody but a thief.
    if pac is not None and pkinit and config.legacy_ntlm and not protected:
        pac.credential_info = _credential_info(account, reply_key, realm)
    if grant.flags & DELEGABLE_FLAGS and not is_delegable(account, realm):
        grant = replace(grant, flags=grant.flags & ~DELEGABLE_FLAGS)
    realm.stages.enter("seal")
    return issue_as_rep(
        AsReply(
            request=request,
            cname=client.name,
            sname=service.name,
            service=service.account,
            grant=grant,
            session_etype=session_etype,
            reply_key=reply_key,
            reply_key_kvno=None if pkinit else account.newest_keys()[0].kvno,
            padata=padata,
            nonce=proven.nonce,
            # The password of an account that must use a smart card matters to nobody.
            key_expiration=None if account.smartcard_required else account.password_expires_at,
            pac=None if service.account.no_auth_data_required else pac,
            tunnel=tunnel,
            strengthen_key=strengthen_key,
            now=now,
        ),
        realm,
    )


def _note(body: KdcReqBody, facts: dict[str, object]) -> None:
    facts["client"] = name_text(body.cname)
    facts["realm"] = body.realm
    facts["service"] = name_text(body.sname)
    facts["kdc_options"] = f"0x{body.kdc_options:08x}"


def _credential_info(account: Account, reply_key: ProtocolKey, realm: Realm) -> bytes | None:
    """Seal the NT hash for a client that typed no password (MS-PAC 2.6; MS-PKCA 3.1.5.2)."""
    nt_hash = realm.directory.nt_hash(account.account_id)
    if nt_hash is None:
        return None
    return seal_credential_info(nt_hash, reply_key, realm.entropy(CONFOUNDER_BYTES))


def packet_digest(message: bytes) -> bytes:
    """Return the digest under which replay and retransmit memory know a packet."""
    return hashlib.sha256(message).digest()
