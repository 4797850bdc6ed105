"""A tenant with two users, and requests to its registration services, for tests of handlers."""

import base64
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from directory.backend import DirectoryError, DirectoryFault
from directory.keymaterial import MaterialForm, encode_key_material
from pki.ca import self_signed_hello_certificate
from pki.chain import TrustPool
from pki.keys import PublicKey, public_key_from_cryptography
from pki.oids import ID_AT_COMMON_NAME
from pki.x500 import simple_name
from tenant.config import TenantConfig
from tenant.http.message import Reply
from tenant.services import Services
from tenant.state import devices, users
from tenant.state.database import Database
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.users import User
from tests.rig.tenant import NOW, REGISTRATION, TENANT_ID, ask, services
from tests.tenant.device_requests import device_request
from tests.tenant.login.builders import drs_token

ALICE = User(
    object_id=UUID(int=0xA11CE),
    upn="alice@lab.test",
    display_name="Alice",
    onprem_sid="S-1-5-21-1-2-3-1104",
)
BOB = User(object_id=UUID(int=0xB0B), upn="bob@lab.test", display_name="Bob")

JSON = ("Accept", "application/json")
COMPUTER = UUID("5e1c2f86-8f3c-4a37-9c3e-6a0c5a2f1b77")
COMPUTER_SID = "S-1-5-21-1-2-3-1201"


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    """A key of its own for each name, made once a run."""
    assert name
    return rsa.generate_private_key(65537, 2048)


def numbers(name: str) -> PublicKey:
    """The public half of `key(name)`."""
    return public_key_from_cryptography(key(name).public_key())


def blob(public: PublicKey) -> str:
    """A BCRYPT_RSAKEY_BLOB in Base64."""
    return base64.b64encode(encode_key_material(public, MaterialForm.BCRYPT)).decode()


def body_of(reply: Reply) -> Any:
    """The JSON of a reply."""
    return json.loads(reply.body)


def join_body(name: str, **members: object) -> dict[str, Any]:
    """What roadtx sends to join with `key(name)`, for both of its keys."""
    return {
        "CertificateRequest": {
            "Type": "pkcs10",
            "Data": base64.b64encode(device_request(key(name))).decode(),
        },
        "TransportKey": blob(numbers(name)),
        "TargetDomain": "lab.test",
        "DeviceType": "Windows",
        "OSVersion": "10.0.19041.928",
        "DeviceDisplayName": f"DESKTOP-{name}",
        "JoinType": 0,
        "attributes": {"ReuseDevice": "true", "ReturnClientSid": "true"},
        **members,
    }


@dataclass(slots=True, kw_only=True)
class Lab:
    """A tenant without a server; `now` can be moved."""

    tenant: Services
    now: datetime = NOW

    def token(self, user: User = ALICE, **claims: Any) -> str:
        """An access token of a user for the registration service."""
        return drs_token(self.tenant, user=user, **claims)

    def send(
        self,
        method: str,
        target: str,
        body: Mapping[str, Any] | bytes = b"",
        *,
        token: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        certificate: bytes | None = None,
    ) -> Reply:
        """Send one request to the registration host."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = (("Authorization", f"Bearer {token}"),) if token is not None else ()
        return ask(
            self.tenant,
            method,
            target,
            sent,
            host=REGISTRATION,
            headers=(*bearer, *headers),
            client_certificate=certificate,
        )

    def join(
        self, body: Mapping[str, Any] | bytes, *, user: User = ALICE, token: str | None = None
    ) -> Reply:
        """Join a device as a user."""
        return self.send(
            "POST",
            "/EnrollmentServer/device/?api-version=2.0",
            body,
            token=self.token(user) if token is None else token,
        )

    def joined(self, name: str, *, user: User = ALICE, **members: object) -> DeviceRecord:
        """Join a device with `key(name)` and return its record."""
        reply = self.join(join_body(name, **members), user=user)
        assert reply.status == 200, reply.body
        found = self.device(name)
        assert found is not None
        return found

    def device(self, name: str) -> DeviceRecord | None:
        """The device that has `key(name)`."""
        with self.tenant.database.read() as c:
            return devices.device_by_key(c, numbers(name))

    def hybrid(self, body: Mapping[str, Any], guid: UUID | str = COMPUTER) -> Reply:
        """Send a hybrid join."""
        return self.send("PUT", f"/EnrollmentServer/device/{guid}?api-version=2.0", body)

    def register(
        self,
        body: Mapping[str, Any] | bytes,
        *,
        token: str,
        headers: tuple[tuple[str, str], ...] = (JSON,),
        query: str = "?api-version=1.0",
    ) -> Reply:
        """Register a Hello key."""
        return self.send(
            "POST", f"/EnrollmentServer/key/{query}", body, token=token, headers=headers
        )

    def nonce(self) -> str:
        """Get a nonce from the registration service."""
        reply = self.send("GET", f"/EnrollmentServer/nonce/{TENANT_ID}/?api-version=1.0")
        assert reply.status == 200, reply.body
        value = body_of(reply)["Value"]
        assert isinstance(value, str)
        return value


def make_lab(folder: Path, *, roots: TrustPool | None = None, attestation: str = "checked") -> Lab:
    """Make a tenant with alice, who was synced, and bob; no devices."""
    config = TenantConfig(
        tenant_id=TENANT_ID,
        domain="lab.test",
        attestation=attestation,  # type: ignore[arg-type]  # one of the setting's words
    )
    made = services(folder, config=config, attestation_roots=roots)
    lab = Lab(tenant=made)
    # The rig's clock stands still; this one can be moved.
    object.__setattr__(made, "now", lambda: lab.now)
    with made.database.write() as c:
        users.add(c, ALICE)
        users.add(c, BOB)
    return lab


def synced_computer(lab: Lab, **fields: object) -> DeviceRecord:
    """Put the object of a computer there, as the sync does from its userCertificate."""
    name = simple_name((ID_AT_COMMON_NAME, str(COMPUTER)))
    certificate = self_signed_hello_certificate(key("userCertificate"), name, NOW)
    values: dict[str, Any] = {
        "device_id": COMPUTER,
        "object_id": UUID(int=0xC0),
        "display_name": "CLIENT1",
        "join_type": JoinType.HYBRID,
        "onprem_guid": COMPUTER,
        "sid": COMPUTER_SID,
        "user_certificate": certificate,
        "created": NOW,
        **fields,
    }
    record = DeviceRecord(**values)
    with lab.tenant.database.write() as c:
        devices.insert_device(c, record)
    return record


def hybrid_body(
    lab: Lab,
    name: str,
    *,
    sid: str = COMPUTER_SID,
    signer: str = "userCertificate",
    offset_s: int = 0,
    text: str | None = None,
    join_type: int = 6,
    kind: str = "sha256signed",
) -> dict[str, Any]:
    """What roadtx sends for a hybrid join with `key(name)` as the new device key."""
    moment = (lab.now + timedelta(seconds=offset_s)).astimezone(UTC)
    signed = text if text is not None else f"{sid}.{moment:%Y-%m-%d %H:%M:%S}Z"
    signature = key(signer).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    whole = join_body(name)
    inner = ("TransportKey", "TargetDomain", "DeviceType", "OSVersion", "DeviceDisplayName")
    return {
        "CertificateRequest": whole["CertificateRequest"],
        "ServerAdJoinData": {
            **{member: whole[member] for member in inner},
            "TargetDomainId": str(TENANT_ID),
            "ClientIdentity": {
                "Type": kind,
                "Sid": signed,
                "SignedBlob": base64.b64encode(signature).decode(),
            },
        },
        "JoinType": join_type,
        "attributes": whole["attributes"],
    }


class FullDisk:
    """A database that can be read and not written."""

    def __init__(self, database: Database) -> None:
        """Read this one."""
        self.read = database.read

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Fail as SQLite does."""
        raise DirectoryError(DirectoryFault.UNAVAILABLE, "SQLITE_FULL")
        yield  # a generator, as the real one


def fill_disk(lab: Lab) -> None:
    """Let nothing be written any more."""
    object.__setattr__(lab.tenant, "database", FullDisk(lab.tenant.database))


def refusal(reply: Reply) -> tuple[int, str, str]:
    """Return status, ErrorType and reason of a refused request of the device service.

    The body has MS-DVRJ's four members and nothing else (2.2.3.1).
    """
    body = body_of(reply)
    assert set(body) == {"ErrorType", "Message", "TraceId", "Time"}
    UUID(body["TraceId"])
    assert body["Time"] == NOW.strftime("%m-%d-%Y %H:%M:%SZ") or body["Time"].endswith("Z")
    return reply.status, body["ErrorType"], reply.note.reason


def key_refusal(reply: Reply) -> tuple[int, str, str]:
    """Return status, code and reason of a refused request of the key service.

    The body has MS-KPP's members under `error` (2.2.3.1).
    """
    body = body_of(reply)
    assert set(body) == {"error"}
    error = body["error"]
    assert error["response"] == "ERROR_FAIL"
    assert error["target"] == "key"
    assert error["innererror"] == {"trace": "null", "context": "null"}
    assert set(error) - {"clientrequestid"} == {
        "code",
        "message",
        "response",
        "target",
        "time",
        "innererror",
    }
    UUID(dict(reply.headers)["request-id"])
    return reply.status, error["code"], reply.note.reason
