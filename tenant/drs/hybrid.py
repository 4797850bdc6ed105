"""A computer of the domain joins by itself (seed R3, phase G): PUT /EnrollmentServer/device/{guid}.

Rules
  1. The sync made the device object; a computer that it has not seen is refused.
  2. The proof is the computer's SID and a time, signed with the key of the certificate that the
     sync found in the computer's userCertificate. No token is needed, and none is looked at.
  3. The proof does not name the request that it comes with. So each is good for one: a later one
     must have a later time. Only the same request may come again (rule 2 of `join`).
"""

import re
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn
from uuid import UUID

from pki.certificate import Certificate
from pki.errors import PkiError
from pki.keys import KeyKind, check_key
from pki.signatures import Digest, verify_octets
from tenant.drs.answers import device_disabled, joined_reply, key_taken, registration
from tenant.drs.device_body import ClientIdentity, DeviceBody, read_hybrid_body
from tenant.drs.discovery import check_version
from tenant.drs.join import certify, judge, says_the_same, with_particulars
from tenant.errors import DrsError
from tenant.http.message import Note, Reply, Request
from tenant.keys.public_key import KEY_POLICY
from tenant.services import Services
from tenant.state import devices
from tenant.state.devices import DeviceRecord, JoinType

VERSIONS: Final = frozenset(("1.0", "2.0"))

_IDENTITY: Final = re.compile(r"(S-1-[0-9-]{1,180})\.(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)Z", re.ASCII)


async def hybrid_join(services: Services, request: Request) -> Reply:
    """Complete a computer's device object with its key and certificate.

    Source: the request of roadtx and AADInternals; no document of Microsoft's has it.
    """
    check_version(request, VERSIONS)
    device_id = device_id_in_path(request)
    body, identity = read_hybrid_body(request.body)
    if body.join_type != JoinType.HYBRID:
        raise DrsError(
            400,
            "AuthenticationError",
            f"The enrollment request type ({body.join_type}) is not allowed.",
            "join type not allowed",
        )
    sid, moment = _read_identity(identity.text)
    with registration(services) as connection:
        device = devices.device_by_id(connection, device_id)
        if device is None or device.user_certificate is None:
            raise DrsError(
                400,
                "DirectoryError",
                "The device object by the given id is not found.",
                "no device of the sync",
            )
        _verify(device, identity, sid)
        joined = _complete(connection, services, request, device, body, moment)
    return joined_reply(joined, f"{joined.display_name}$@{services.config.domain}")


def device_id_in_path(request: Request) -> UUID:
    """Read the device id in the path. Raises DrsError."""
    text = request.match["device_id"]
    try:
        if len(text) == 36:
            return UUID(text)
    except ValueError:
        pass
    raise DrsError(400, "BadRequest", "The device id is not a GUID.", "device id is no GUID")


def _unproven(device: DeviceRecord | None, why: str) -> NoReturn:
    raise DrsError(
        401,
        "AuthenticationError",
        "The verification of the target computer's SID failed.",
        why,
        note=Note(device=str(device.device_id)) if device else None,
    )


def _read_identity(text: str) -> tuple[str, datetime]:
    """Split `{SID}.{time}Z`."""
    found = _IDENTITY.fullmatch(text)
    if found is None:
        _unproven(None, "the signed SID has another form")
    try:
        moment = datetime.strptime(found[2], "%Y-%m-%d %H:%M:%S")
    except ValueError:
        _unproven(None, "the signed SID has another form")
    return found[1], moment.replace(tzinfo=UTC)


def _verify(device: DeviceRecord, identity: ClientIdentity, sid: str) -> None:
    """Verify the proof with the certificate that the sync brought."""
    if device.sid is None or sid != device.sid:
        _unproven(device, "the signed SID is another computer's")
    try:
        key = Certificate(device.user_certificate or b"").public_key()
        check_key(key, KEY_POLICY)
    except PkiError:
        _unproven(device, "the synced userCertificate has no key that is accepted")
    if key.kind is not KeyKind.RSA:
        _unproven(device, "the synced userCertificate has no key that is accepted")
    try:
        verify_octets(key, identity.signature, identity.text.encode(), Digest.SHA256, None)
    except PkiError:
        _unproven(device, "the signed SID is not signed with the synced userCertificate")


def _complete(
    connection: sqlite3.Connection,
    services: Services,
    request: Request,
    device: DeviceRecord,
    body: DeviceBody,
    moment: datetime,
) -> DeviceRecord:
    now = services.now()
    note = Note(device=str(device.device_id))
    if abs(now - moment) > timedelta(seconds=services.config.hybrid_clock_window_s):
        _unproven(device, "the signed SID's time is too far off")
    if not device.enabled:
        raise device_disabled(note)
    key = body.request.key.spki_der()
    if device.proof_time is not None and moment <= device.proof_time:
        same = device.device_key == key and says_the_same(device, body)
        if moment == device.proof_time and same:
            return device
        _unproven(device, "the signed SID was used")
    holder = devices.device_by_key(connection, body.request.key)
    if holder is not None and holder.device_id != device.device_id:
        raise key_taken(note)
    same_key = device.device_key == key
    finding = judge(connection, services, request, body, now, note, device if same_key else None)
    certificate = device.certificate
    if not same_key or certificate is None:
        certificate = certify(
            services,
            body,
            device_id=device.device_id,
            object_guid=device.onprem_guid or device.device_id,
            joined=True,
            now=now,
        )
    joined = replace(
        with_particulars(device, body, finding),
        join_type=JoinType.HYBRID,
        certificate=certificate,
        device_key=key,
        proof_time=moment,
    )
    devices.update_device(connection, joined)
    return joined
