"""Issuing a PRT: a device's signature, a user's proof, and a session key for the device alone.

Order of the checks (MS-OAPXBC 3.2.5.1.2.3): the device by its certificate and the outer signature;
the outer nonce, which is used up then, whatever follows; the device's state; the user's proof with
its own nonce. What the token is bound to is asked once more in the transaction that keeps it.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pki.certificate import Certificate
from pki.errors import PkiError
from pki.keys import public_key_from_spki
from tenant.errors import NO_STORE, LoginError
from tenant.http.message import Note, Reply
from tenant.jose.jws import UnverifiedJws
from tenant.login import faults
from tenant.login.nonce import use_login_nonce
from tenant.login.password import check_second_factor, prove_password
from tenant.login.token_request import TokenRequest
from tenant.prt import refusals
from tenant.prt.answer import new_token, prt_members
from tenant.prt.audiences import audiences
from tenant.prt.binding import (
    bound_to,
    check_enabled,
    note_of,
    noted,
    rsa_key,
    use_jti_of,
)
from tenant.prt.jwe import wrap_session_key
from tenant.prt.request import (
    AssertionProof,
    OpenRequest,
    PasswordProof,
    PrtRequest,
    RefreshTokenProof,
    open_request,
    prove_assertion,
    prove_request,
)
from tenant.services import Services
from tenant.state import devices, keys, tokens, users
from tenant.state.devices import DeviceRecord
from tenant.state.prts import Prt, insert_prt
from tenant.state.sign_in import SignIn
from tenant.state.tokens import GrantError

SESSION_KEY_OCTETS: Final = 32


async def issue(services: Services, asked: TokenRequest, jws: UnverifiedJws) -> Reply:
    """Answer a request for a PRT. Raises LoginError."""
    now = asked.now
    opened = open_request(jws)
    device = _device(services, opened, now)
    key = device.public_key()
    verifier = rsa_key(key)
    if key is None or verifier is None:
        raise refusals.not_proven(
            refusals.DEVICE_AUTHENTICATION_FAILED, "the device has no RSA key"
        )
    request = prove_request(opened, verifier, audiences(services), now)
    try:
        use_login_nonce(services, asked.http, request.nonce, now, client_id=request.client_id)
        use_jti_of(services, f"device {device.device_id}", request.once, now)
        check_enabled(device)
        transport_key = _transport_key(device)
        sign_in, hello_key = await _proven_user(services, asked, request, device)
        prt = Prt(
            sign_in=sign_in,
            device_key=key.digest,
            session_key=services.entropy(SESSION_KEY_OCTETS),
            hello_key=hello_key,
            issued=now,
            expires=now + timedelta(seconds=services.config.prt_life_s),
        )
        token = new_token(services)
        with services.database.write() as connection:
            user, _ = bound_to(connection, prt)
            check_second_factor(services, user, sign_in, now, demands_mfa=asked.demands_mfa)
            insert_prt(connection, token, prt, services.master_key)
    except LoginError as error:
        raise noted(error, note_of(device)) from None
    body = prt_members(services, asked, user, prt, token, request.kdf_version)
    body["session_key_jwe"] = wrap_session_key(prt.session_key, transport_key, services.entropy)
    note = note_of(device, user)
    return Reply.json(200, body, headers=NO_STORE, note=replace(note, reason="PRT issued"))


def _device(services: Services, opened: OpenRequest, now: datetime) -> DeviceRecord:
    """Find the device of a certificate. Raises LoginError (401)."""
    with services.database.read() as connection:
        device = devices.device_by_certificate(connection, opened.certificate)
    if device is None:
        raise refusals.not_proven(
            refusals.DEVICE_AUTHENTICATION_FAILED, "the certificate is no device's"
        )
    try:
        begins, ends = Certificate(opened.certificate).validity()
    except PkiError:
        begins = ends = now
    if not begins <= now < ends:
        raise refusals.not_proven(
            refusals.DEVICE_AUTHENTICATION_FAILED,
            "the device's certificate is not valid now",
            note_of(device),
        )
    return device


def _transport_key(device: DeviceRecord) -> RSAPublicKey:
    """Return the key that the session key is wrapped with. Raises LoginError (400)."""
    key = None if device.transport_key is None else public_key_from_spki(device.transport_key)
    found = rsa_key(key)
    if found is None:
        raise refusals.refused(refusals.NO_TRANSPORT_KEY, "the device has no transport key of RSA")
    return found


async def _proven_user(
    services: Services, asked: TokenRequest, request: PrtRequest, device: DeviceRecord
) -> tuple[SignIn, bytes | None]:
    """Judge the proof of the user; return the sign-in, and the digest of the Hello key if any."""
    client_id, now = request.client_id, asked.now
    match request.proof:
        case PasswordProof(username=name, password=password):
            proven = await prove_password(
                services, name, password, now, demands_mfa=asked.demands_mfa
            )
            return proven.sign_in(client_id, device.device_id), None
        case RefreshTokenProof() as proof:
            sign_in = _by_refresh_token(services, proof, client_id, now)
            if sign_in.device_id not in (None, device.device_id):
                raise refusals.refused(
                    refusals.DEVICE_AUTHENTICATION_FAILED,
                    "the refresh token was got on another device",
                )
            return replace(sign_in, device_id=device.device_id), None
        case AssertionProof() as proof:
            return _by_assertion(services, asked, request, proof, device), proof.key_id


def _by_refresh_token(
    services: Services, proof: RefreshTokenProof, client_id: str, now: datetime
) -> SignIn:
    """Judge a refresh token: it is the broker's own, as RFC 6749 6 demands. It is not used up."""
    with services.database.read() as connection:
        try:
            return tokens.find_refresh_token(connection, proof.token, client_id, now)[0]
        except GrantError as error:
            raise faults.refresh_refused(error.fault) from None


def _by_assertion(
    services: Services,
    asked: TokenRequest,
    request: PrtRequest,
    proof: AssertionProof,
    device: DeviceRecord,
) -> SignIn:
    """Judge a Hello key's assertion (MS-OAPXBC 3.2.5.1.2.3)."""
    now = asked.now
    with services.database.read() as connection:
        key = keys.key_by_key_id(connection, proof.key_id)
    verifier = None if key is None else rsa_key(key.public_key())
    if key is None or verifier is None:
        raise refusals.not_proven(
            refusals.NGC_KEY_NOT_FOUND, "no registered key has the kid of the assertion"
        )
    assertion = prove_assertion(proof, verifier, audiences(services), now)
    if assertion.nonce != request.nonce:
        # One that stands in both was used up already.
        use_login_nonce(services, asked.http, assertion.nonce, now, client_id=request.client_id)
    use_jti_of(services, f"key {key.kid}", assertion.once, now)
    with services.database.read() as connection:
        user = users.by_upn(connection, assertion.issuer)
    note = Note(key=str(key.kid))
    if user is None or user.object_id != key.user:
        raise refusals.not_proven(
            refusals.NGC_KEY_NOT_FOUND, "the key is not the one of the assertion's issuer", note
        )
    if key.device_id != device.device_id:
        raise refusals.refused(
            refusals.DEVICE_AUTHENTICATION_FAILED, "the key was registered on another device", note
        )
    return SignIn(
        user_id=user.object_id,
        client_id=request.client_id,
        methods=frozenset({"rsa"}),
        auth_time=now,
        # What a key of hardware and the gesture that unlocks it prove are two factors.
        mfa_time=now,
        device_id=device.device_id,
    )
