"""The key receipt, `krctx`: what a client shows with the certificate request for a new Hello key.

Until the sync has written the key to the directory, a certificate registration authority has only
this receipt to go by (seed P5, phases D and E).
"""

import base64
import json
from datetime import datetime
from typing import Final

from tenant.jose.jws import sign
from tenant.jose.strict_json import JsonObject
from tenant.login.tokens import issuer_v1, key_id
from tenant.services import Services
from tenant.state.keys import RegisteredKey
from tenant.state.users import User

RECEIPT_AUDIENCE: Final = "urn:microsoft:winhello:cert:prov:server"
"""The resource that certificates are asked for at (MS-OAPXBC 3.2.5.1.4.1)."""

RECEIPT_LIFE_S: Final = 86400
"""Longer than the delay until a sync, which is half an hour in the field."""


def key_receipt(services: Services, user: User, key: RegisteredKey, now: datetime) -> str | None:
    """Make the receipt of a key; None for a user whom no domain knows.

    Base64 of {"Data": Base64 of a JWT, "Format": 1, "Version": 1}
    (MS-OAPXBC 2.2.2.1). The JWT's claims that count are `ngc_key`, the Base64 of the key's
    BCRYPT_RSAKEY_BLOB, and `onprem_sid` (3.2.5.1.4.3).
    """
    if user.onprem_sid is None:
        return None
    issued = int(now.timestamp())
    claims: JsonObject = {
        "aud": RECEIPT_AUDIENCE,
        "iss": issuer_v1(services),
        "iat": issued,
        "nbf": issued,
        "exp": issued + RECEIPT_LIFE_S,
        "tid": str(services.config.tenant_id),
        "oid": str(user.object_id),
        "upn": user.upn,
        "onprem_sid": user.onprem_sid,
        "deviceid": str(key.device_id),
        "ngc_key": base64.b64encode(key.material).decode(),
    }
    token = sign(claims, services.signing_key.private_key, key_id(services.signing_key))
    receipt = {"Data": base64.b64encode(token.encode()).decode(), "Format": 1, "Version": 1}
    return base64.b64encode(json.dumps(receipt, separators=(",", ":")).encode()).decode()
