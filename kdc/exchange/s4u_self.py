"""S4U2Self: a service asks for a ticket to itself in a user's name (MS-SFU 3.2.5.1).

Rules
  1. Whom the service means is protected by a checksum keyed with the session key or the subkey,
     of a type that nobody without that key can make (CVE-2018-16860). PA-FOR-USER has HMAC-MD5,
     whatever the key; that of the key's own type, which Heimdal sends, proves as much.
  2. The ticket is for the service that asks, by any of its names, and for no other.
  3. The user is judged as at a logon, but for the password, which nobody has typed. A certificate
     is another way to name the user, who is then the one that a logon with it would be.
  4. The ticket says S-1-18-2: the service asserts who this is, no authority has seen a proof.
  5. FORWARDABLE lets the service go on with S4U2Proxy. It has it when it is trusted for protocol
     transition, or names no services it delegates to, so that only resources decide; and never
     for a user who may not be delegated.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from directory.model import Account, AccountKind, match_key
from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    CryptoError,
    KeyUsage,
    ProtocolKey,
    make_checksum,
    verify_checksum,
)
from kdc.crypto.rfc4757 import HMAC_MD5, verify_hmac_md5
from kdc.errors import KdcError
from kdc.exchange.pac_facts import pac_facts
from kdc.exchange.principals import (
    Named,
    account_by_enterprise_name,
    account_by_simple_name,
    is_our_realm,
    name_text,
)
from kdc.exchange.realm import Realm
from kdc.exchange.requester import Requester, TicketClient, is_delegable
from kdc.exchange.tgs_open import OpenTgsReq
from kdc.pac import PAC_WAS_GIVEN_IMPLICITLY, SERVICE_ASSERTED
from kdc.policy import DELEGABLE_FLAGS, check_account_state
from kdc.trust.named_by_certificate import find_by_certificate
from kdc.wire.constants import ErrorCode, KdcOption, NameType, PaType, TicketFlag
from kdc.wire.ms_sfu import PaForUser, PaS4UX509User, S4UOption, S4UUserId
from kdc.wire.rfc4120 import AsReq, Checksum, PaData, PrincipalName
from pki import asn1
from pki.certificate import Certificate
from pki.errors import PkiError

MAX_CERTIFICATE_BYTES = 16 * 1024

# What would make the ticket something else than one for the service itself.
REFUSED_OPTIONS = (
    KdcOption.FORWARDED
    | KdcOption.PROXY
    | KdcOption.RENEW
    | KdcOption.VALIDATE
    | KdcOption.CNAME_IN_ADDL_TKT
)


@dataclass(slots=True, kw_only=True)
class ForUser:
    """Whom a service asks for, as it said itself. Only `read_for_user` makes one."""

    name: PrincipalName | None
    realm: str
    certificate: bytes | None
    x509_user: PaS4UX509User | None
    """The PA-S4U-X509-USER, which the reply answers; None: it was PA-FOR-USER."""


def read_for_user(opened: OpenTgsReq) -> ForUser | None:
    """Read and verify what asks for S4U2Self; None: nothing does.

    PA-S4U-X509-USER goes before PA-FOR-USER, which clients send beside it (MS-SFU 3.1.5.1.1.1).
    Raises KdcError: KRB_AP_ERR_INAPP_CKSUM, KRB_AP_ERR_MODIFIED; PkiError for what is not DER.
    """
    by_type = {
        pa.padata_type: pa.padata_value
        for pa in opened.padata
        if pa.padata_type in (PaType.FOR_USER, PaType.S4U_X509_USER)
    }
    if not by_type:
        return None
    if opened.body.kdc_options & REFUSED_OPTIONS:
        raise KdcError(ErrorCode.KDC_ERR_BADOPTION, "S4U2Self with an option that it cannot have")
    value = by_type.get(PaType.S4U_X509_USER)
    if value is not None:
        return _read_x509_user(asn1.decode(PaS4UX509User, value), opened)
    return _read_for_user(asn1.decode(PaForUser, by_type[PaType.FOR_USER]), opened)


def _read_for_user(asked: PaForUser, opened: OpenTgsReq) -> ForUser:
    key, usage, octets = (
        opened.tgt.session_key,
        KeyUsage.KERB_NON_KERB_CKSUM_SALT,
        asked.checked_octets(),
    )
    checksum = asked.cksum
    try:
        if checksum.cksumtype == HMAC_MD5:
            verify_hmac_md5(key.value, usage, octets, checksum.checksum)
        else:
            # DEVIATION: MS-SFU 2.2.1 knows HMAC-MD5 alone; Heimdal's client sends the checksum of
            # the session key's own type, which needs the same key.
            _check_type(checksum, key)
            verify_checksum(key, usage, octets, checksum.checksum)
    except CryptoError:
        raise _wrong_checksum() from None
    return ForUser(name=asked.user_name, realm=asked.user_realm, certificate=None, x509_user=None)


def _read_x509_user(asked: PaS4UX509User, opened: OpenTgsReq) -> ForUser:
    user_id, checksum = asked.user_id, asked.checksum
    key = opened.reply_key  # the subkey if there is one
    _check_type(checksum, key)
    try:
        verify_checksum(key, KeyUsage.PA_S4U_X509_USER_REQUEST, user_id.raw, checksum.checksum)
    except CryptoError:
        raise _wrong_checksum() from None
    if user_id.nonce != opened.body.nonce:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_MODIFIED, "PA-S4U-X509-USER was made for another request"
        )
    # A client that knows only the certificate sends a name without parts, or none (MS-SFU 2.2.2).
    name = user_id.cname
    if name is not None and not any(name.name_string):
        name = None
    return ForUser(
        name=name,
        realm=user_id.crealm,
        certificate=user_id.subject_certificate or None,
        x509_user=asked,
    )


def _check_type(checksum: Checksum, key: ProtocolKey) -> None:
    if checksum.cksumtype != CHECKSUM_TYPES[key.enctype]:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
            "the checksum of S4U2Self is not of a type that proves anything",
            cksumtype=checksum.cksumtype,
        )


def _wrong_checksum() -> KdcError:
    return KdcError(
        ErrorCode.KRB_AP_ERR_MODIFIED, "the checksum of S4U2Self is of another user or key"
    )


def speak_for_user(
    asked: ForUser,
    opened: OpenTgsReq,
    requester: Requester,
    target: Named,
    realm: Realm,
    now: datetime,
    facts: dict[str, object],
) -> TicketClient:
    """Decide whether a service gets a ticket to itself in the name of the user it asks for.

    facts: the audit trail. Raises KdcError: KDC_ERR_C_PRINCIPAL_UNKNOWN,
    KDC_ERR_CLIENT_NOT_TRUSTED, KDC_ERR_CLIENT_NAME_MISMATCH, KDC_ERR_INVALID_CERTIFICATE,
    KRB_AP_ERR_BADMATCH, those of `check_account_state` and of `find_by_certificate`.
    """
    facts["s4u"] = "self"
    facts["s4u_user"] = name_text(asked.name)
    if target.account.account_id != requester.account.account_id:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BADMATCH, "S4U2Self is for the service that asks, and no other"
        )
    user = _user(asked, realm, now)
    facts["s4u_account"] = user.sam_account_name
    check_account_state(user, now)
    name = _ticket_name(asked.name, user)
    part = opened.tgt.part
    pac = pac_facts(
        user,
        realm,
        name=name_text(name),
        logon_time=part.authtime,
        asserted=(SERVICE_ASSERTED,),
        pac_attributes=PAC_WAS_GIVEN_IMPLICITLY,
    )
    flags = part.flags
    if not _may_go_on(requester.account, user, realm):
        flags &= ~DELEGABLE_FLAGS
    return TicketClient(
        account=user,
        name=name,
        pac=pac,
        limits=replace(part, flags=flags & ~TicketFlag.FORWARDED),
        # The TGT's own restrictions are the service's, not the user's.
        authorization_data=(),
        padata=_answer(asked, name, opened, realm),
    )


def _user(asked: ForUser, realm: Realm, now: datetime) -> Account:
    by_name = None if asked.name is None else _by_name(asked.name, asked.realm, realm)
    if asked.certificate is None:
        if by_name is None:
            raise KdcError(
                ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN, "no user of the name that a service asks for"
            )
        return by_name
    owner = _by_certificate(asked.certificate, by_name, realm, now)
    if asked.name is not None and (by_name is None or by_name.account_id != owner.account_id):
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
            "name and certificate of S4U2Self are not of one account",
        )
    return owner


def _by_name(name: PrincipalName, user_realm: str, realm: Realm) -> Account | None:
    config, parts = realm.config, name.name_string
    if len(parts) != 1 or not parts[0] or "/" in parts[0]:
        return None
    # Of an enterprise name the realm is where the service looks for it, and no part of it.
    if not is_our_realm(user_realm, config):
        return None
    lookup = (
        account_by_enterprise_name
        if name.name_type == NameType.ENTERPRISE
        else account_by_simple_name
    )
    account = lookup(parts[0], realm.directory, config)
    return None if account is None or account.kind is AccountKind.KRBTGT else account


def _by_certificate(octets: bytes, named: Account | None, realm: Realm, now: datetime) -> Account:
    """Find the account that a certificate stands for, as in a logon with it.

    Nobody has proven to hold the key: this is another way to name a user, and no more. named: the
    account of the name that came with it. Key trust goes first, as in `kdc.trust.verdict.judge`.
    """
    try:
        if len(octets) > MAX_CERTIFICATE_BYTES:
            raise KdcError(
                ErrorCode.KDC_ERR_INVALID_CERTIFICATE, "the certificate of S4U2Self is not readable"
            )
        certificate = Certificate(octets)
        digest = certificate.public_key().digest
        self_issued = certificate.subject == certificate.issuer
    except PkiError as error:
        raise KdcError(
            ErrorCode.KDC_ERR_INVALID_CERTIFICATE,
            "the certificate of S4U2Self is not readable",
            detail=error.detail,
        ) from None
    owners = realm.directory.accounts_by_key(digest)
    if len(owners) > 1:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            "the key of S4U2Self's certificate is on several accounts",
            key_digest=digest.hex(),
        )
    account = realm.directory.account_by_id(owners[0]) if owners else None
    if account is None and realm.certificates is not None and not self_issued:
        account = find_by_certificate(octets, named, realm.directory, realm.certificates, now)
        if account is None:
            raise KdcError(
                ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN, "the certificate of S4U2Self names nobody"
            )
    if account is None:
        raise KdcError(
            ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN,
            "the key of S4U2Self's certificate is on no account",
            key_digest=digest.hex(),
        )
    return account


def client_by_certificate(request: AsReq, realm: Realm, now: datetime) -> Named | None:
    """Find the client of an AS-REQ that names it by certificate alone; None: it names nobody.

    So a service asks which realm a user is of before it asks for S4U2Self (MS-SFU 3.1.5.1.1): it
    sends no proof, and the answer is that one is needed. What is proven later is the account's.
    In an AS-REQ the padata value is the certificate itself, as MIT's client sends it.
    """
    cname = request.req_body.cname
    if cname is not None and any(cname.name_string):
        return None
    for pa in request.padata or ():
        if pa.padata_type == PaType.S4U_X509_USER:
            try:
                account = _by_certificate(pa.padata_value, None, realm, now)
            except KdcError:
                return None
            return Named(account=account, name=_ticket_name(None, account))
    return None


def _ticket_name(name: PrincipalName | None, user: Account) -> PrincipalName:
    """Return the user's name in the ticket: as asked, unless another account could have that."""
    own = user.sam_account_name
    if (
        name is not None
        and name.name_type != NameType.ENTERPRISE
        and match_key(name.name_string[0]) == match_key(own)
    ):
        return name
    return PrincipalName(name_type=NameType.PRINCIPAL, name_string=(own,))


def _may_go_on(service: Account, user: Account, realm: Realm) -> bool:
    """Tell whether the ticket may be shown as evidence in S4U2Proxy (MS-SFU 3.2.5.1.2)."""
    if not service.trusted_to_authenticate_for_delegation and service.allowed_to_delegate_to:
        return False
    return is_delegable(user, realm)


def _answer(
    asked: ForUser, name: PrincipalName, opened: OpenTgsReq, realm: Realm
) -> tuple[PaData, ...]:
    """Make the PA-S4U-X509-USER of the reply (MS-SFU 2.2.2, 3.2.5.1.2).

    It names the user as the ticket does: MIT's client compares the two. Only with keys older than
    AES does MS-SFU want it in the encrypted part as well.
    """
    if asked.x509_user is None:
        return ()
    request = asked.x509_user.user_id
    options = None
    usage = KeyUsage.PA_S4U_X509_USER_REQUEST
    if request.options is not None:
        options = request.options & S4UOption.USE_REPLY_KEY_USAGE
        if options:
            usage = KeyUsage.PA_S4U_X509_USER_REPLY
    user_id = S4UUserId(nonce=request.nonce, cname=name, crealm=realm.config.realm, options=options)
    key = opened.reply_key
    mac = make_checksum(key, usage, asn1.encode(user_id))
    answer = PaS4UX509User(
        user_id=user_id, checksum=Checksum(cksumtype=CHECKSUM_TYPES[key.enctype], checksum=mac)
    )
    return (PaData(padata_type=PaType.S4U_X509_USER, padata_value=asn1.encode(answer)),)
