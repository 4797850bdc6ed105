"""The certificate of a registered device: CN is its id, and extensions say whose it is.

The extensions hold an OCTET STRING whose length is written in two octets (04 81 10): no DER, but
how the real service writes it (example in MS-DVRJ 4.1), and readers of these certificates count on
the third octet. Nothing decodes them as DER: to X.509 the value of an extension is opaque.
"""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pki import der, oids
from pki.ca import IssuedCertificate, SubjectKey, issue_client_leaf
from pki.templates import Template
from pki.x500 import simple_name

_ARC: Final = "1.2.840.113556.1.5.284."
INVOCATION_ID: Final = _ARC + "1"
DEVICE_ID: Final = _ARC + "2"
OBJECT_GUID: Final = _ARC + "3"
DOMAIN_GUID: Final = _ARC + "4"
TENANT_ID: Final = _ARC + "5"
JOIN_TYPE: Final = _ARC + "7"

DEVICE_DAYS: Final = 3650
"""Ten years, as the real service gives them."""

REGISTERED_DEVICE: Final = Template(
    name="registered-device",
    help="a registered device's, as the device registration service issues it",
    subject="computer",
    purposes=(oids.ID_KP_CLIENT_AUTH,),
    days=DEVICE_DAYS,
    renew_at=1,
)


def issue_device_certificate(
    ca: IssuedCertificate,
    public_key: SubjectKey,
    *,
    device_id: UUID,
    object_guid: UUID,
    tenant_id: UUID,
    joined: bool,
    now: datetime,
) -> bytes:
    """Issue a device's certificate and return its DER.

    object_guid: of who authenticated, the user, or the computer itself in a hybrid join. joined:
    false for a device that is registered alone (JoinType 4). Source: MS-DVRJ 3.1.5.1.1.3.
    """
    guids = (
        (INVOCATION_ID, tenant_id),
        (DEVICE_ID, device_id),
        (OBJECT_GUID, object_guid),
        (DOMAIN_GUID, tenant_id),
        # Not in MS-DVRJ: the cloud's certificates have it, and clients read the tenant there.
        (TENANT_ID, tenant_id),
    )
    kind: Literal[b"1", b"0"] = b"1" if joined else b"0"
    return issue_client_leaf(
        ca,
        public_key,
        simple_name((oids.ID_AT_COMMON_NAME, str(device_id))),
        now,
        template=REGISTERED_DEVICE,
        extensions=(
            *(_extension(oid, guid.bytes_le) for oid, guid in guids),
            _extension(JOIN_TYPE, kind),
        ),
    )


def _extension(oid: str, content: bytes) -> bytes:
    value = bytes((der.OCTET_STRING, 0x81, len(content))) + content
    return der.sequence(der.encode_oid(oid), der.encode_octet_string(value))
