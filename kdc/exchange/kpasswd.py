"""kpasswd: the straight line from a frame to a changed password and its reply (RFC 3244).

Rules
  1. Success is answered when the new keys are on disk, never before.
  2. Once ticket and authenticator are proven, every answer is an AP-REP with a KRB-PRIV, refusals
     too: what the user is told cannot be forged. Before that it is a KRB-ERROR in a frame.
  3. Users with a password change their own, with a ticket of a logon (INITIAL). Somebody else's is
     set by members of Domain Admins, in a realm that says so (`kpasswd_admin_reset`).
"""

import ipaddress
from datetime import datetime

from directory.backend import DirectoryError, DirectoryFault, NeedsFetch, PasswordStore
from directory.model import DOMAIN_ADMINS_RID, Account, AccountKind
from kdc.crypto.etypes import CONFOUNDER_BYTES, KeyUsage, encrypt
from kdc.errors import KdcError
from kdc.exchange.authenticator import IPV4, IPV6
from kdc.exchange.kpasswd_open import OpenChange, open_change, open_private, read_frame
from kdc.exchange.passwords import (
    ChangeRefused,
    changes_with_a_password,
    check_new_password,
    next_kvno,
    password_keys,
    password_nt_hash,
    remembered_passwords,
)
from kdc.exchange.principals import (
    PASSWORD_SERVICE,
    PASSWORD_SERVICE_NAME,
    account_by_parts,
    account_by_simple_name,
    account_of_ticket,
    is_our_realm,
    name_text,
)
from kdc.exchange.realm import Realm
from kdc.outcome import Peer
from kdc.policy import check_account_state
from kdc.wire.constants import PVNO, ErrorCode, MessageType, NameType, TicketFlag
from kdc.wire.rfc3244 import (
    REPLY_VERSION,
    SET_PASSWORD,
    ChangePasswdData,
    ResultCode,
    encode_frame,
    encode_result,
)
from kdc.wire.rfc4120 import (
    ApRep,
    EncApRepPart,
    EncKrbPrivPart,
    EncryptedData,
    HostAddress,
    KrbError,
    KrbPriv,
    PrincipalName,
)
from pki import asn1
from pki.errors import PkiError

SERVICE_NAME = PrincipalName(name_type=NameType.SRV_INST, name_string=PASSWORD_SERVICE)

_DONE = "Password changed."
_TRY_LATER = "The password could not be stored; the old one stays in force. Try again later."
_FAILED = "The request was not accepted. Start kpasswd again; if it stays, ask an administrator."
_UNREADABLE = "The request could not be read."
_RESULTS = {
    ErrorCode.KDC_ERR_BAD_PVNO: (ResultCode.BAD_VERSION, "This version is not spoken here."),
    ErrorCode.KRB_AP_ERR_MODIFIED: (ResultCode.MALFORMED, _UNREADABLE),
    ErrorCode.KRB_ERR_GENERIC: (ResultCode.MALFORMED, _UNREADABLE),
    ErrorCode.KRB_ERR_FIELD_TOOLONG: (ResultCode.MALFORMED, _UNREADABLE),
    ErrorCode.KDC_ERR_SVC_UNAVAILABLE: (ResultCode.HARDERROR, "Try again later."),
}
"""Code of a refusal -> result and text, where it is not AUTHERROR."""


class SealedRefusal(Exception):  # noqa: N818 - it is an answer
    """A refusal that its client learns under protection."""

    def __init__(self, refusal: KdcError, change: OpenChange, realm: Realm, peer: Peer) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self._change = change
        self._realm = realm
        self._peer = peer

    def reply(self, reference: str) -> bytes:
        """Return the whole reply; the reference is part of the text that is shown."""
        result, text = _result_of(self.refusal)
        said = f"{text} [ref {reference}]"
        return _sealed(self._change, result, said, self._realm, self._peer)


def answer_kpasswd(
    message: bytes,
    realm: Realm,
    peer: Peer,
    now: datetime,
    packet: bytes,
    facts: dict[str, object],
) -> bytes:
    """Answer a request to change a password with the frame of its success.

    message: a whole frame. packet: its SHA-256. facts: the audit trail.
    Raises SealedRefusal; before the client is proven KdcError, Discard, PkiError, DirectoryError.
    """
    facts["service"] = PASSWORD_SERVICE_NAME
    facts["realm"] = realm.config.realm
    frame = read_frame(message)
    facts["kpasswd_version"] = frame.version
    change = open_change(frame, realm, peer.address, now, packet)
    facts["client"] = name_text(change.ticket.part.cname)
    try:
        _change_password(change, realm, now, facts)
    except KdcError as refusal:
        raise SealedRefusal(refusal, change, realm, peer) from None
    except NeedsFetch:
        raise  # the same packet comes again; its authenticator is no replay then
    except DirectoryError as error:
        raise SealedRefusal(_not_stored(error), change, realm, peer) from None
    facts["kpasswd_result"] = int(ResultCode.SUCCESS)
    return _sealed(change, ResultCode.SUCCESS, _DONE, realm, peer)


def _not_stored(error: DirectoryError) -> ChangeRefused:
    busy = error.kind is DirectoryFault.UNAVAILABLE
    return ChangeRefused(
        "the new password could not be stored",
        _TRY_LATER,
        result=ResultCode.SOFTERROR if busy else ResultCode.HARDERROR,
        code=ErrorCode.KDC_ERR_SVC_UNAVAILABLE,
        detail=str(error),
    )


def _change_password(
    change: OpenChange, realm: Realm, now: datetime, facts: dict[str, object]
) -> None:
    if realm.passwords is None:
        raise ChangeRefused(
            "passwords are not changed by this KDC",
            "Passwords of this realm are changed elsewhere. Ask an administrator.",
            result=ResultCode.HARDERROR,
        )
    user_data = open_private(change, realm, now)
    client = _client_of(change, realm)
    facts["account"] = client.sam_account_name
    check_account_state(client, now)
    password, target = _asked_for(change, user_data, client, realm)
    by_owner = target is not None and target.account_id == client.account_id
    facts["reset"] = not by_owner
    if by_owner and not change.ticket.part.flags & TicketFlag.INITIAL:
        raise ChangeRefused(
            "the ticket of a password change is not from a logon",
            "Log on with the old password first: kpasswd asks for it.",
            result=ResultCode.INITIAL_FLAG_NEEDED,
        )
    if not by_owner:
        _check_administrator(client, change, realm)
    if target is None:
        raise ChangeRefused(
            "the account whose password is to be set does not exist",
            "There is no such user.",
            result=ResultCode.HARDERROR,
        )
    facts["target"] = target.sam_account_name
    _check_has_password(target)
    _store(target, password, realm, realm.passwords, now, by_owner=by_owner)


def _client_of(change: OpenChange, realm: Realm) -> Account:
    """Find the account of the ticket's client, still the one that logged on."""
    part = change.ticket.part
    account = account_of_ticket(part.cname, realm.directory)
    if account is None or (change.user_sid is not None and change.user_sid != account.sid):
        raise ChangeRefused(
            "the account of a password change is not the one that logged on",
            "Your account was changed. Start kpasswd again.",
            result=ResultCode.AUTHERROR,
        )
    if account.created_at.replace(microsecond=0) > part.authtime:
        raise ChangeRefused(
            "the account of a password change is younger than its ticket",
            "Your account was changed. Start kpasswd again.",
            result=ResultCode.AUTHERROR,
        )
    return account


def _asked_for(
    change: OpenChange, user_data: bytes, client: Account, realm: Realm
) -> tuple[str, Account | None]:
    """Read what is asked for: the new password, and whose it is; None: nobody's."""
    octets, target = user_data, client
    found: Account | None = target
    if change.version == SET_PASSWORD:
        try:
            data = asn1.decode(ChangePasswdData, user_data)
        except PkiError:
            raise ChangeRefused(
                "ChangePasswdData is malformed", _UNREADABLE, result=ResultCode.MALFORMED
            ) from None
        octets = data.newpasswd
        if data.targname is not None:
            found = _target(data, realm)
    try:
        return octets.decode(), found
    except UnicodeDecodeError:
        raise ChangeRefused(
            "the new password is not UTF-8",
            "The new password has characters that cannot be read: use a UTF-8 terminal.",
            result=ResultCode.MALFORMED,
        ) from None


def _target(data: ChangePasswdData, realm: Realm) -> Account | None:
    if data.targrealm is not None and not is_our_realm(data.targrealm, realm.config):
        return None
    parts = data.targname.name_string if data.targname is not None else ()
    if len(parts) == 1 and parts[0] and "/" not in parts[0]:
        return account_by_simple_name(parts[0], realm.directory, realm.config)
    return account_by_parts(parts, realm.directory) if len(parts) > 1 else None


def _check_administrator(client: Account, change: OpenChange, realm: Realm) -> None:
    """Check that the client may set others' passwords; nobody learns which accounts there are."""
    directory = realm.directory
    admins = directory.domain().sid.with_rid(DOMAIN_ADMINS_RID)
    if not (
        realm.config.kpasswd_admin_reset
        and change.ticket.part.flags & TicketFlag.INITIAL
        and admins in directory.groups_of(client.account_id)
    ):
        raise ChangeRefused(
            "only an administrator sets another account's password",
            "You may change your own password only.",
            result=ResultCode.ACCESSDENIED,
        )


def _check_has_password(account: Account) -> None:
    """Refuse accounts without a password: users who log on with a key, services, computers."""
    if account.kind is not AccountKind.USER or not account.keys:
        raise ChangeRefused(
            "the account has no password to change",
            "This account has no password. Ask an administrator for one.",
            result=ResultCode.ACCESSDENIED,
        )
    if account.smartcard_required:
        raise ChangeRefused(
            "the account must log on with a key, its password is not changed",
            "This account logs on with a key or smart card; its password is not used.",
            result=ResultCode.ACCESSDENIED,
        )


def _store(
    account: Account,
    password: str,
    realm: Realm,
    passwords: PasswordStore,
    now: datetime,
    *,
    by_owner: bool,
) -> None:
    config = realm.config
    history = passwords.password_history(account.account_id)
    check_new_password(account, password, history, config, now, by_owner=by_owner)
    passwords.set_keys(
        account.account_id,
        password_keys(config, account.sam_account_name, password, next_kvno(account)),
        now=now,
        nt_hash=password_nt_hash(config, password),
        history=remembered_passwords(config),
        changes=changes_with_a_password(config, now),
    )


# -- replies ---------------------------------------------------------------------------------


def _result_of(refusal: KdcError) -> tuple[ResultCode, str]:
    if isinstance(refusal, ChangeRefused):
        return refusal.result, refusal.text
    return _RESULTS.get(refusal.code, (ResultCode.AUTHERROR, _FAILED))


def error_frame(refusal: KdcError, error: KrbError) -> bytes:
    """Put a KRB-ERROR into a frame, with the result as its e-data (RFC 3244 2)."""
    result, text = _result_of(refusal)
    error.e_data = encode_result(result, text)
    return encode_frame(REPLY_VERSION, b"", asn1.encode(error))


def _sealed(change: OpenChange, result: ResultCode, text: str, realm: Realm, peer: Peer) -> bytes:
    """Make AP-REP and KRB-PRIV: the one under the session key, the other under the subkey."""
    entropy = realm.entropy
    sequence = int.from_bytes(entropy(4), "big") & 0x3FFFFFFF  # positive as an Int32, too
    authenticator = change.authenticator
    ap_part = EncApRepPart(
        ctime=authenticator.ctime,
        cusec=authenticator.cusec,
        subkey=None,
        seq_number=sequence,
    )
    session_key = change.ticket.session_key
    ap_cipher = encrypt(
        session_key, KeyUsage.AP_REP_ENC_PART, asn1.encode(ap_part), entropy(CONFOUNDER_BYTES)
    )
    private_part = EncKrbPrivPart(
        user_data=encode_result(result, text),
        timestamp=None,
        usec=None,
        seq_number=sequence,
        s_address=_host_address(peer.local),
        r_address=None,
    )
    private_cipher = encrypt(
        change.subkey,
        KeyUsage.KRB_PRIV_ENC_PART,
        asn1.encode(private_part),
        entropy(CONFOUNDER_BYTES),
    )
    ap_rep = ApRep(
        pvno=PVNO,
        msg_type=MessageType.AP_REP,
        enc_part=EncryptedData(etype=session_key.enctype, kvno=None, cipher=ap_cipher),
    )
    private = KrbPriv(
        pvno=PVNO,
        msg_type=MessageType.KRB_PRIV,
        enc_part=EncryptedData(etype=change.subkey.enctype, kvno=None, cipher=private_cipher),
    )
    return encode_frame(REPLY_VERSION, asn1.encode(ap_rep), asn1.encode(private))


def _host_address(text: str) -> HostAddress:
    """Return the address that a request was sent to: clients compare it with the one they used."""
    address = ipaddress.ip_address(text or "0.0.0.0")  # noqa: S104 - no binding
    return HostAddress(addr_type=IPV4 if address.version == 4 else IPV6, address=address.packed)
