"""A tenant with alice, her joined device and her Hello key, and what a client does with it."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa

from kdc.formats.cloud_key import CloudKey
from kdc.formats.session_jwe import open_session_jwe
from tenant.http.message import Reply, Request
from tenant.login.nonce import issue_nonce
from tenant.services import Services
from tenant.state import devices, keys, users
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.keys import RegisteredKey
from tenant.state.passwords import hash_password
from tenant.state.users import User
from tests.kdc.cloud_keys import CLOUD_KEY, DOMAIN_SID
from tests.rig import tenant as rig
from tests.tenant.prt import jwts

PASSWORD = "Correct-Horse-7"  # noqa: S105  of a tenant that lives as long as the test
ALICE = User(
    object_id=UUID(int=1),
    upn="alice@lab.test",
    display_name="Alice",
    password=hash_password(PASSWORD, bytes(16), cost=2),
    onprem_sid=str(DOMAIN_SID.with_rid(1107)),
    onprem_sam="alice",
)
BOB = User(object_id=UUID(int=2), upn="bob@lab.test", display_name="Bob")
DEVICE_ID = UUID(int=100)
OTHER_DEVICE_ID = UUID(int=101)
DEVICE_KEY = jwts.rsa_key("device")
TRANSPORT_KEY = jwts.rsa_key("transport")
HELLO_KEY = jwts.rsa_key("hello")
Json = dict[str, Any]


def device_record(device_id: UUID, key: rsa.RSAPrivateKey) -> DeviceRecord:
    """Make a joined device of alice's."""
    return DeviceRecord(
        device_id=device_id,
        object_id=UUID(int=device_id.int + 1000),
        display_name="PC",
        join_type=JoinType.JOINED,
        owner=ALICE.object_id,
        certificate=jwts.device_certificate(device_id),
        device_key=jwts.spki(key),
        transport_key=jwts.spki(TRANSPORT_KEY),
        created=rig.NOW,
    )


def registered_key(key: rsa.RSAPrivateKey, user: User, device_id: UUID, kid: int) -> RegisteredKey:
    """Make a registration of a Hello key."""
    return RegisteredKey(
        kid=UUID(int=kid),
        user=user.object_id,
        device_id=device_id,
        material=jwts.key_blob(key),
        created=rig.NOW,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPrt:
    """A PRT as its device holds it."""

    answer: Json = field(repr=False)
    session_key: bytes = field(repr=False)

    @property
    def token(self) -> str:
        """Its text."""
        return str(self.answer["refresh_token"])


@dataclass(slots=True)
class World:
    """The tenant, and a clock that tests set."""

    folder: Path
    services: Services
    now: datetime = rig.NOW

    def nonce(self, peer: str = "127.0.0.1", client_id: str | None = None) -> str:
        """Get a nonce. client_id: of a client that names itself."""
        request = Request(method="POST", host=rig.LOGIN, path="/common/oauth2/token", peer=peer)
        return issue_nonce(self.services, request, self.services.now(), client_id=client_id)

    def post(self, jwt: str, *, version: str = "", **form: str) -> Reply:
        """Send a signed request to the token endpoint, as the open clients do."""
        fields = {
            "windows_api_version": "2.2",
            "grant_type": jwts.JWT_BEARER,
            "request": jwt,
            "client_info": "1",
            **form,
        }
        return rig.ask(
            self.services,
            "POST",
            f"/common/oauth2{version}/token",
            urlencode(fields).encode(),
            headers=[("content-type", "application/x-www-form-urlencoded")],
        )

    def hello(self, **changes: Any) -> str:
        """Make a request by the Hello key: two nonces, as roadtx and libhimmelblau fetch them."""
        said = {"grant_type": jwts.JWT_BEARER, "username": ALICE.upn, **changes}
        if "assertion" not in said:
            said["assertion"] = jwts.assertion(HELLO_KEY, ALICE.upn, self.nonce())
        return self.device_request(**said)

    def device_request(self, *, nonce: str | None = None, **claims: Any) -> str:
        """Make an outer JWT of alice's device."""
        certificate = jwts.device_certificate(DEVICE_ID)
        return jwts.device_request(DEVICE_KEY, certificate, nonce or self.nonce(), **claims)

    def prt(self, jwt: str | None = None, **form: str) -> HeldPrt:
        """Get a PRT, as a client does: the session key out of part 2 alone."""
        answer = answered(self.post(jwt or self.hello(), **form))
        wrapped = answer["session_key_jwe"].split(".")[1]
        oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303  the wire's
        octets = base64.urlsafe_b64decode(wrapped + "=" * (-len(wrapped) % 4))
        return HeldPrt(answer=answer, session_key=TRANSPORT_KEY.decrypt(octets, oaep))

    def use(
        self, held: HeldPrt, *, version: int = 2, form: Json | None = None, **claims: Any
    ) -> Json:
        """Use a PRT and open the answer."""
        jwt = jwts.session_request(
            held.session_key, held.token, self.nonce(), version=version, **claims
        )
        reply = self.post(jwt, **(form or {}))
        assert reply.status == 200, reply.body
        found: Json = json.loads(open_session_jwe(reply.body.decode(), held.session_key))
        return found

    def change_device(self, **changes: Any) -> None:
        """Change what the tenant knows of alice's device."""
        with self.services.database.write() as connection:
            device = devices.device_by_id(connection, DEVICE_ID)
            assert device is not None
            devices.update_device(connection, replace(device, **changes))

    def change_alice(self, **changes: Any) -> None:
        """Change what the tenant knows of alice."""
        with self.services.database.write() as connection:
            users.update(connection, replace(ALICE, **changes))

    @property
    def records(self) -> list[Json]:
        """The audit records."""
        return rig.audit_records(self.folder)


@contextmanager
def world(folder: Path, *, cloud_key: CloudKey | None = CLOUD_KEY) -> Iterator[World]:
    """Make a tenant with alice, bob, two devices and two Hello keys."""
    made = rig.services(folder, cloud_key=cloud_key)
    found = World(folder=folder, services=made)
    found.services = replace(made, now=lambda: found.now)
    with made.database.write() as connection:
        users.add(connection, ALICE)
        users.add(connection, BOB)
        devices.insert_device(connection, device_record(DEVICE_ID, DEVICE_KEY))
        devices.insert_device(
            connection, device_record(OTHER_DEVICE_ID, jwts.rsa_key("other device"))
        )
        keys.insert_key(connection, registered_key(HELLO_KEY, ALICE, DEVICE_ID, 500))
    try:
        yield found
    finally:
        made.database.close()


def answered(reply: Reply) -> Json:
    """Read the body of an answer that is no refusal."""
    assert reply.status == 200, reply.body
    found: Json = json.loads(reply.body)
    return found


def refused(reply: Reply) -> tuple[int, str, int, str]:
    """Return status, error, AADSTS number and the audit record's reason; check the body's form."""
    body = json.loads(reply.body)
    assert set(body) >= {
        "error",
        "error_description",
        "error_codes",
        "timestamp",
        "trace_id",
        "correlation_id",
    }
    (number,) = body["error_codes"]
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    return reply.status, body["error"], number, reply.note.reason
