"""A user joins or registers a device (seed R1, phase G): POST /EnrollmentServer/device/.

Rules
  1. Everything is read and verified before the transaction; all that is written is one transaction.
  2. A device is its key. Who sends the same request again, having lost the answer, gets the same
     device and the same certificate; nothing is written and no nonce is needed.
  3. The same user's request for the same key with other particulars changes that device. Another
     user's is refused: the request proves the key, not whose device it is.
"""

import sqlite3
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from tenant.config import TenantConfig
from tenant.drs.answers import device_disabled, joined_reply, key_taken, registration
from tenant.drs.device_body import DeviceBody, read_device_body
from tenant.drs.device_certificate import issue_device_certificate
from tenant.drs.discovery import check_version
from tenant.drs.nonce import use_nonce
from tenant.errors import DrsError, LoginError
from tenant.http.message import Note, Reply, Request
from tenant.keys.evidence import EvidenceError, Finding, judge_evidence
from tenant.login.bearer import Bearer, device_fault, verify_bearer
from tenant.login.resources import DRS_AUDIENCE
from tenant.services import Services
from tenant.state import devices, users
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.nonces import NonceError
from tenant.state.users import User

VERSIONS: Final = frozenset(("1.0", "2.0", "3.0"))
"""Of Windows and Linux clients (2.0), older tools (1.0) and macOS (3.0)."""

MAX_DEVICES_OF_A_USER: Final = 50
"""Entra's default."""


async def join(services: Services, request: Request) -> Reply:
    """Join or register a device (MS-DVRJ 3.1.5.1.1, with the cloud's join types and token)."""
    check_version(request, VERSIONS)
    bearer = authenticated(services, request)
    upn = bearer.user.upn
    try:
        body = read_device_body(request.body)
    except DrsError as error:
        error.note = Note(user=upn)
        raise
    if body.join_type not in (JoinType.JOINED, JoinType.REGISTERED):
        raise DrsError(
            400,
            "AuthenticationError",
            f"The enrollment request type ({body.join_type}) is not allowed.",
            "join type not allowed",
            note=Note(user=upn),
        )
    with registration(services) as connection:
        user = users.by_id(connection, bearer.user.object_id)
        if user is None or not user.enabled:
            raise DrsError(
                401,
                "AuthenticationError",
                "The user is not found.",
                "user deleted or disabled",
                note=Note(user=upn),
            )
        fault = device_fault(connection, bearer)
        if fault is not None:
            raise DrsError(
                401,
                "AuthenticationError",
                "The device of the access token is not found or is disabled.",
                fault,
                note=bearer.note,
            )
        device = _register(connection, services, request, user, body)
    return joined_reply(device, user.upn)


def authenticated(services: Services, request: Request) -> Bearer:
    """Return who sends a token for device registration. Raises DrsError."""
    try:
        return verify_bearer(services, request, DRS_AUDIENCE)
    except LoginError as error:
        raise DrsError(
            401,
            "AuthenticationError",
            "The access token is missing or not valid.",
            error.why,
            note=error.note,
        ) from None


def _register(
    connection: sqlite3.Connection,
    services: Services,
    request: Request,
    user: User,
    body: DeviceBody,
) -> DeviceRecord:
    now = services.now()
    known = devices.device_by_key(connection, body.request.key)
    if known is not None:
        _check_known(known, user, body)
        if says_the_same(known, body):
            return known
    elif devices.count_devices_of(connection, user.object_id) >= MAX_DEVICES_OF_A_USER:
        raise DrsError(
            400,
            "DirectoryError",
            "The user has reached the maximum number of devices.",
            "too many devices of the user",
            note=Note(user=user.upn),
        )
    finding = judge(connection, services, request, body, now, Note(user=user.upn), known)
    if known is not None:
        changed = with_particulars(known, body, finding)
        devices.update_device(connection, changed)
        return changed
    made = _new_device(services, user, body, finding, now)
    devices.insert_device(connection, made)
    return made


def _check_known(known: DeviceRecord, user: User, body: DeviceBody) -> None:
    note = Note(user=user.upn, device=str(known.device_id))
    if known.owner != user.object_id or known.join_type != body.join_type:
        raise key_taken(note)
    if not known.enabled:
        raise device_disabled(note)


def judge(
    connection: sqlite3.Connection,
    services: Services,
    request: Request,
    body: DeviceBody,
    now: datetime,
    note: Note,
    known: DeviceRecord | None,
) -> Finding:
    """Use the request's nonce up and judge its attestation.

    known: the device as it is recorded, when the key is the one it has: what was verified of that
    key stays. Raises DrsError.
    """
    nonce = body.request.nonce
    try:
        use_nonce(connection, services, request, nonce, now)
        if body.evidence is None and known is not None and known.attested:
            return Finding(attested=True, text=known.attestation)
        return judge_evidence(
            body.evidence,
            key=body.request.key,
            nonce=nonce,
            roots=services.attestation_roots,
            setting=services.config.attestation,
            now=now,
        )
    except NonceError as error:
        raise DrsError(400, "BadRequest", "The nonce is not valid.", error.why, note=note) from None
    except EvidenceError as error:
        raise DrsError(
            400, "BadRequest", "The attestation data is not valid.", error.why, note=note
        ) from None


def says_the_same(known: DeviceRecord, body: DeviceBody) -> bool:
    """Tell whether a request says of its device what is recorded."""
    return known == with_particulars(
        known, body, Finding(attested=known.attested, text=known.attestation)
    )


def with_particulars(device: DeviceRecord, body: DeviceBody, finding: Finding) -> DeviceRecord:
    """Return the device with what a request says of it."""
    return replace(
        device,
        display_name=body.display_name,
        os_type=body.os_type,
        os_version=body.os_version,
        shared=body.shared,
        transport_key=body.transport_key.spki_der(),
        attested=finding.attested,
        attestation=finding.text,
    )


def _new_device(
    services: Services, user: User, body: DeviceBody, finding: Finding, now: datetime
) -> DeviceRecord:
    device_id = UUID(bytes=services.entropy(16), version=4)
    join_type = JoinType(body.join_type)
    certificate = certify(
        services,
        body,
        device_id=device_id,
        object_guid=user.object_id,
        joined=join_type is JoinType.JOINED,
        now=now,
    )
    return with_particulars(
        DeviceRecord(
            device_id=device_id,
            object_id=UUID(bytes=services.entropy(16), version=4),
            display_name=body.display_name,
            join_type=join_type,
            owner=user.object_id,
            certificate=certificate,
            device_key=body.request.key.spki_der(),
            created=now,
        ),
        body,
        finding,
    )


def certify(
    services: Services,
    body: DeviceBody,
    *,
    device_id: UUID,
    object_guid: UUID,
    joined: bool,
    now: datetime,
) -> bytes:
    """Issue the certificate of a device for the key that its request proved."""
    config: TenantConfig = services.config
    return issue_device_certificate(
        services.device_ca,
        body.request.key.verifier(),
        device_id=device_id,
        object_guid=object_guid,
        tenant_id=config.tenant_id,
        joined=joined,
        now=now,
    )
