"""Registration of a Hello key: POST /EnrollmentServer/key/ (MS-KPP; seed P1, phase C).

Rules
  1. The order of checks is MS-KPP's: form (400), token (401), who and where (400, 403), key (400).
  2. One transaction. Who sends the same key again from the same device, having lost the answer,
     gets the same number; nothing is written, and neither the nonce nor an attestation is needed.
  3. A key that somebody registered is taken: for another user, and on another device.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from pki.errors import PkiError
from pki.keys import PublicKey
from tenant.drs.nonce import use_nonce
from tenant.errors import KppError
from tenant.http.message import Note, Reply, Request
from tenant.jose.strict_json import JsonError, JsonObject, optional_text, parse_object, text_member
from tenant.keys.authorization import (
    Registrant,
    bearer_of,
    check_mfa,
    find_registrant,
    forbidden,
    key_transaction,
)
from tenant.keys.evidence import Evidence, EvidenceError, Finding, judge_evidence, read_evidence
from tenant.keys.public_key import (
    MAX_KEY_OCTETS,
    Base64Error,
    decode_base64,
    key_reason,
    read_public_key,
)
from tenant.keys.receipt import key_receipt
from tenant.keys.request_rules import bad_request, check_request, reply_headers
from tenant.services import Services
from tenant.state import keys
from tenant.state.keys import MAX_KEYS_OF_A_USER, RegisteredKey
from tenant.state.nonces import NonceError

BLOB_MAGIC: Final = b"RSA1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """The body of a registration, its key judged."""

    key: PublicKey
    material: bytes
    """The key as it arrived."""
    nonce: str | None
    upn: str | None
    evidence: Evidence | None


def _read_body(data: bytes) -> _Body:
    value = _object(data)
    try:
        kngc = text_member(value, "kngc")
        nonce = optional_text(value, "Nonce")
        upn = optional_text(value, "upn")
        evidence = read_evidence(value)
    except JsonError as error:
        raise bad_request(
            "A member of the request is missing or of another type.", error.why
        ) from None
    except EvidenceError as error:
        raise bad_request("The attestation data is not valid.", error.why) from None
    try:
        material = decode_base64(kngc, MAX_KEY_OCTETS)
    except Base64Error:
        raise bad_request("kngc is not valid Base64.", "kngc is no Base64") from None
    return _Body(key=_key(material), material=material, nonce=nonce, upn=upn, evidence=evidence)


def _key(material: bytes) -> PublicKey:
    try:
        if material[:4] == BLOB_MAGIC:
            return read_public_key(material)
        why = "the key is malformed"
    except PkiError as error:
        why = key_reason(error)
    raise bad_request("The key is not acceptable.", why)


def _object(data: bytes) -> JsonObject:
    try:
        return parse_object(data)
    except JsonError as error:
        raise bad_request("The request body is not valid JSON.", error.why) from None


async def register_key(services: Services, request: Request) -> Reply:
    """Register a key for the token's user on the token's device.

    The body is MS-KPP's `kngc`, and what we add: AttestationData and AikCertificate with the Nonce
    they were made for. A member `upn` must name the token's user, if it is there.
    """
    check_request(request)
    body = _read_body(request.body)
    now = services.now()
    bearer = bearer_of(services, request)
    check_mfa(bearer, now, services.config.mfa_freshness_s)
    with key_transaction(services) as connection:
        registrant = find_registrant(connection, bearer)
        if body.upn is not None and body.upn.lower() != registrant.user.upn.lower():
            raise forbidden(
                "A key can be registered for the token's user only.",
                "another user in the body",
                registrant.note,
            )
        key = _registered(connection, services, request, registrant, body, now)
    answer = {"kid": str(key.kid), "upn": registrant.user.upn}
    receipt = key_receipt(services, registrant.user, key, now)
    if receipt is not None:
        answer["krctx"] = receipt
    note = Note(user=registrant.user.upn, device=str(registrant.device.device_id), key=str(key.kid))
    request_id = UUID(bytes=services.entropy(16), version=4)
    return Reply.json(200, answer, headers=reply_headers(request, request_id), note=note)


def _registered(
    connection: sqlite3.Connection,
    services: Services,
    request: Request,
    registrant: Registrant,
    body: _Body,
    now: datetime,
) -> RegisteredKey:
    """Find the key when it is there already, else write it. Raises KppError."""
    known = keys.key_by_numbers(connection, body.key)
    if known is not None:
        mine = known.user == registrant.user.object_id
        if mine and known.device_id == registrant.device.device_id:
            return known
        why = "the key is registered on another device" if mine else "another user's key"
        raise KppError(
            409, "directory_error", "The key is already registered.", why, note=registrant.note
        )
    if len(keys.keys_of_user(connection, registrant.user.object_id)) >= MAX_KEYS_OF_A_USER:
        raise KppError(
            400,
            "directory_error",
            "The user has reached the maximum number of keys.",
            "too many keys of the user",
            note=registrant.note,
        )
    finding = _judge(connection, services, request, registrant, body, now)
    key = RegisteredKey(
        kid=UUID(bytes=services.entropy(16), version=4),
        user=registrant.user.object_id,
        device_id=registrant.device.device_id,
        material=body.material,
        attested=finding.attested,
        attestation=finding.text,
        created=now,
    )
    keys.insert_key(connection, key)
    return key


def _judge(
    connection: sqlite3.Connection,
    services: Services,
    request: Request,
    registrant: Registrant,
    body: _Body,
    now: datetime,
) -> Finding:
    try:
        use_nonce(connection, services, request, body.nonce, now)
        return judge_evidence(
            body.evidence,
            key=body.key,
            nonce=body.nonce,
            roots=services.attestation_roots,
            setting=services.config.attestation,
            now=now,
        )
    except NonceError as error:
        message = "The nonce is not valid."
        why = error.why
    except EvidenceError as error:
        message = "The attestation data is not valid."
        why = error.why
    raise KppError(400, "invalid_request", message, why, note=registrant.note)
