"""What Windows does with a tenant, step by step (seed flows R1, P3/P4, A1).

Assumes that the user passes as one with a second factor (`tenant user mfa NAME assumed`): nobody
is there to be asked for one.
"""

import base64
import json
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from directory.keymaterial import MaterialForm, encode_key_material
from kdc.formats.session_jwe import SessionJweError, open_session_jwe
from pki.keys import public_key_from_cryptography
from tenant.client.https import LogonError, Place, post_form, post_json
from tenant.client.jwt import sign_rs256, sign_with_session_key

LOGIN: Final = "login.microsoftonline.com"
REGISTRATION: Final = "enterpriseregistration.windows.net"
DRS: Final = "urn:ms-drs:enterpriseregistration.windows.net"

BROKER: Final = "29d9ed98-a469-4536-ade2-f981bc1d605e"
"""Client id of the authentication broker, which joins devices."""
CLOUD_AP: Final = "38aa3b87-a06d-4817-b275-7a316988d93b"
"""Client id of Windows' sign-in, which asks for PRTs (MS-OAPXBC 3.2.5.1.2)."""
CSR_NAME: Final = "7E980AD9-B86D-4306-9425-9AC066FB014A"
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN: Final = "/common/oauth2/token"  # noqa: S105  a path
_CTX_BYTES: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A joined device: its certificate and key; the transport key is the same one."""

    certificate: bytes
    """DER."""
    key: rsa.RSAPrivateKey = field(repr=False)

    @property
    def device_id(self) -> str:
        """The common name in the certificate."""
        found = x509.load_der_x509_certificate(self.certificate)
        (name,) = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prt:
    """A primary refresh token with its session key, and the whole answer it came in."""

    token: str = field(repr=False)
    session_key: bytes = field(repr=False)
    answer: dict[str, object] = field(repr=False)

    def file(self) -> bytes:
        """Write it as roadtx does: the answer, and the keys unwrapped."""
        out = {**self.answer, "session_key": self.session_key.hex()}
        key = _client_key(self.answer.get("tgt_ad"), self.session_key)
        if key is not None:
            out["tgt_ad_sessionkey"] = key.hex()
        return (json.dumps(out, indent=2) + "\n").encode()

    @property
    def has_partial_tgt(self) -> bool:
        """Whether a partial TGT came with it."""
        return _client_key(self.answer.get("tgt_ad"), self.session_key) is not None


def _client_key(tgt: object, session_key: bytes) -> bytes | None:
    try:
        found = json.loads(tgt) if isinstance(tgt, str) else {}
        sealed = found.get("clientKey")
        return open_session_jwe(sealed, session_key) if sealed and found.get("keyType") else None
    except (ValueError, AttributeError, SessionJweError):
        return None


def new_key() -> rsa.RSAPrivateKey:
    """Make an RSA-2048 key, as Windows does for devices and for Hello."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def blob_of(key: rsa.RSAPrivateKey) -> bytes:
    """Return the public key as Windows sends it: a BCRYPT_RSAKEY_BLOB."""
    return encode_key_material(public_key_from_cryptography(key.public_key()), MaterialForm.BCRYPT)


def password_token(place: Place, upn: str, password: str) -> str:
    """Sign in with a password and return an access token for the registration service (R1 C)."""
    form = {
        "client_id": BROKER,
        "grant_type": "password",
        "resource": DRS,
        "username": upn,
        "password": password,
    }
    return _text(_object(post_form(place, LOGIN, _TOKEN, form)), "access_token")


def join(place: Place, token: str, name: str, domain: str, key: rsa.RSAPrivateKey) -> Device:
    """Join a device (R1 F, G): a CSR by its key, the certificate that comes back."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CSR_NAME)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    csr = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    body = {
        "CertificateRequest": {"Type": "pkcs10", "Data": _base64(csr)},
        "TransportKey": _base64(blob_of(key)),
        "TargetDomain": domain,
        "DeviceType": "Windows",
        "OSVersion": "10.0.22631.0",
        "DeviceDisplayName": name,
        "JoinType": 0,
        "attributes": {"ReuseDevice": "true", "ReturnClientSid": "true"},
    }
    path = "/EnrollmentServer/device/?api-version=2.0"
    found = _object(post_json(place, REGISTRATION, path, body, token)).get("Certificate")
    try:
        raw = found["RawBody"] if isinstance(found, dict) else ""
        certificate = base64.b64decode(raw, validate=True)
        x509.load_der_x509_certificate(certificate)
    except (KeyError, TypeError, ValueError):
        raise _odd("the join's answer holds no certificate") from None
    return Device(certificate=certificate, key=key)


def nonce(place: Place) -> str:
    """Ask for a nonce (A1 B)."""
    return _text(_object(post_form(place, LOGIN, _TOKEN, {"grant_type": "srv_challenge"})), "Nonce")


def prt_by_password(place: Place, device: Device, upn: str, password: str) -> Prt:
    """Ask for a PRT with a password."""
    return _request(
        place, device, {"username": upn, "password": password, "grant_type": "password"}
    )


def prt_by_hello_key(
    place: Place, device: Device, upn: str, key: rsa.RSAPrivateKey, now: datetime
) -> Prt:
    """Ask for a PRT with a Hello key's signature over a nonce (A1 A to C)."""
    key_id = sha256(blob_of(key)).digest()
    claims = {
        "iss": upn,
        "aud": "common",
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=10)).timestamp()),
        "scope": "openid aza ugs",
        "request_nonce": nonce(place),
    }
    assertion = sign_rs256({"kid": _base64(key_id), "use": "ngc"}, claims, key)
    return _request(
        place, device, {"username": upn, "grant_type": JWT_BEARER, "assertion": assertion}
    )


def _request(place: Place, device: Device, proof: dict[str, str]) -> Prt:
    claims = {
        "client_id": CLOUD_AP,
        "request_nonce": nonce(place),
        "scope": "openid aza ugs",
        "group_sids": [],
        "win_ver": "10.0.22631.0",
        **proof,
    }
    header = {"x5c": [_base64(device.certificate)], "kdf_ver": 2}
    form = {
        "windows_api_version": "2.2",
        "grant_type": JWT_BEARER,
        "request": sign_rs256(header, claims, device.key),
        "client_info": "1",
        "tgt": "true",
    }
    answer = _object(post_form(place, LOGIN, _TOKEN, form))
    parts = _text(answer, "session_key_jwe").split(".")
    oaep = padding.OAEP(
        mgf=padding.MGF1(hashes.SHA1()),  # noqa: S303  RSA-OAEP in JOSE is with SHA-1
        algorithm=hashes.SHA1(),  # noqa: S303
        label=None,
    )
    try:
        wrapped = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        session_key = device.key.decrypt(wrapped, oaep)
    except (IndexError, ValueError):
        raise _odd("the session key does not open with the transport key") from None
    return Prt(token=_text(answer, "refresh_token"), session_key=session_key, answer=answer)


def use_prt(place: Place, prt: Prt, resource: str, now: datetime) -> str:
    """Ask for an access token with a PRT; it names the device and the PRT's proof."""
    claims = {
        "client_id": BROKER,
        "scope": "openid",
        "resource": resource,
        "request_nonce": nonce(place),
        "refresh_token": prt.token,
        "grant_type": "refresh_token",
        "iss": "aad:brokerplugin",
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=10)).timestamp()),
    }
    request = sign_with_session_key(claims, prt.session_key, os.urandom(_CTX_BYTES))
    form = {
        "windows_api_version": "2.2",
        "grant_type": JWT_BEARER,
        "request": request,
        "client_info": "1",
    }
    try:
        plain = open_session_jwe(post_form(place, LOGIN, _TOKEN, form).strip(), prt.session_key)
    except SessionJweError as error:
        raise _odd(f"the answer does not open: {error}") from None
    return _text(_object(plain.decode(errors="replace")), "access_token")


def register_key(place: Place, token: str, key: rsa.RSAPrivateKey) -> str:
    """Register a Hello key (P3/P4 C) and return the number of its registration."""
    body = {"kngc": _base64(blob_of(key))}
    path = "/EnrollmentServer/key/?api-version=1.0"
    return _text(_object(post_json(place, REGISTRATION, path, body, token)), "kid")


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _odd("the answer is no JSON object")
    return found


def _text(answer: dict[str, object], name: str) -> str:
    found = answer.get(name)
    if not isinstance(found, str) or not found:
        raise _odd(f"the answer has no {name}")
    return found


def _odd(why: str) -> LogonError:
    return LogonError(
        "the tenant's answer cannot be used", why, "is it this program's version that runs there?"
    )
