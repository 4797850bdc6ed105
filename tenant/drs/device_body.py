"""What a device sends about itself when it joins: the JSON body of POST and PUT, read strictly.

Members that the tenant has no use for are ignored, as MS-DVRJ's servers do; those it uses have one
type. `attributes` comes in both casings, and its values as strings or as booleans.
"""

from dataclasses import dataclass
from typing import Final, NoReturn

from pki.errors import PkiError
from pki.keys import PublicKey
from tenant.drs.csr import MAX_REQUEST_OCTETS, CsrError, DeviceRequest, read_device_request
from tenant.errors import DrsError
from tenant.jose.strict_json import (
    JsonError,
    JsonObject,
    integer_member,
    object_member,
    parse_object,
    text_member,
)
from tenant.keys.evidence import Evidence, EvidenceError, read_evidence
from tenant.keys.public_key import (
    MAX_KEY_OCTETS,
    Base64Error,
    decode_base64,
    key_reason,
    read_public_key,
)
from tenant.state.devices import MAX_TEXT_CHARS

INVALID_REQUEST: Final = "BadRequest"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBody:
    """A join request: its certificate request verified and its keys judged."""

    request: DeviceRequest
    transport_key: PublicKey
    display_name: str
    os_type: str
    os_version: str
    join_type: int
    shared: bool
    evidence: Evidence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIdentity:
    """The proof of a hybrid join: a SID and a time, signed (2.2 of the field contract)."""

    text: str
    """`{SID}.{yyyy-mm-dd HH:MM:SS}Z`: the octets signed are its UTF-8."""
    signature: bytes


def refuse(message: str, why: str) -> NoReturn:
    """Refuse a body: 400, with the client's mistake in `message`."""
    raise DrsError(400, INVALID_REQUEST, message, why)


def read_device_body(body: bytes) -> DeviceBody:
    """Read the body of a join. Raises DrsError."""
    value = _object(body)
    return _device_body(value, value)


def read_hybrid_body(body: bytes) -> tuple[DeviceBody, ClientIdentity]:
    """Read the body of a hybrid join, most of which is under ServerAdJoinData. Raises DrsError."""
    value = _object(body)
    try:
        inner = object_member(value, "ServerAdJoinData")
        identity = object_member(inner, "ClientIdentity")
        kind = text_member(identity, "Type")
        text = text_member(identity, "Sid")
        blob = text_member(identity, "SignedBlob")
    except JsonError as error:
        refuse("The request's ServerAdJoinData is not valid.", error.why)
    if kind != "sha256signed":
        refuse("The type of the client identity is not supported.", "unknown client identity type")
    return _device_body(value, inner), ClientIdentity(
        text=text, signature=_octets(blob, 1024, "SignedBlob")
    )


def _object(body: bytes) -> JsonObject:
    try:
        return parse_object(body)
    except JsonError as error:
        refuse("The request body is not valid JSON.", error.why)


def _device_body(value: JsonObject, inner: JsonObject) -> DeviceBody:
    """Read the members; inner: the object that holds the device's own."""
    try:
        certificate_request = object_member(value, "CertificateRequest")
        kind = text_member(certificate_request, "Type")
        data = text_member(certificate_request, "Data")
        join_type = integer_member(value, "JoinType")
        transport_key = text_member(inner, "TransportKey")
        display_name = text_member(inner, "DeviceDisplayName")
        os_type = text_member(inner, "DeviceType")
        os_version = text_member(inner, "OSVersion")
        text_member(inner, "TargetDomain")
        evidence = read_evidence(value)
        attributes = _attributes(value)
    except JsonError as error:
        refuse("A member of the request is missing or of another type.", error.why)
    except EvidenceError as error:
        refuse("The attestation data is not valid.", error.why)
    if kind != "pkcs10":
        refuse("The type of the certificate request must be pkcs10.", "unknown request type")
    return DeviceBody(
        request=_request(data),
        transport_key=_transport_key(transport_key),
        display_name=_shown(display_name, "DeviceDisplayName"),
        os_type=_shown(os_type, "DeviceType"),
        os_version=_shown(os_version, "OSVersion"),
        join_type=join_type,
        shared=_is_true(attributes, "SharedDevice"),
        evidence=evidence,
    )


def _attributes(value: JsonObject) -> JsonObject:
    found = [value[name] for name in ("attributes", "Attributes") if name in value]
    if len(found) > 1:
        raise JsonError("attributes come twice, in both casings")
    if not found or found[0] is None:
        return {}
    if not isinstance(found[0], dict):
        raise JsonError("the member attributes is no object")
    return found[0]


def _is_true(attributes: JsonObject, name: str) -> bool:
    value = attributes.get(name)
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _octets(text: str, limit: int, name: str) -> bytes:
    try:
        return decode_base64(text, limit)
    except Base64Error:
        refuse(f"{name} is not valid Base64.", f"{name} is no Base64, or too long")


def _request(text: str) -> DeviceRequest:
    try:
        return read_device_request(_octets(text, MAX_REQUEST_OCTETS, "CertificateRequest"))
    except CsrError as error:
        refuse("The certificate request is not acceptable.", error.why)


def _transport_key(text: str) -> PublicKey:
    data = _octets(text, MAX_KEY_OCTETS, "TransportKey")
    try:
        return read_public_key(data)
    except PkiError as error:
        refuse("The transport key is not acceptable.", f"transport key: {key_reason(error)}")


def _shown(text: str, name: str) -> str:
    if not 0 < len(text) <= MAX_TEXT_CHARS or not text.isprintable():
        refuse(f"{name} is empty, too long or not printable.", f"{name} cannot be shown")
    return text
