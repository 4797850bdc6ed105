"""The answers of the token endpoint that carry a PRT (MS-OAPXBC 3.2.5.1.2.2).

Their forms are the clients': `expires_in`, `ext_expires_in` and `expires_on` are texts,
`refresh_token_expires_in` is a number, and a TGT is a text that holds JSON.
"""

from typing import Final

from tenant.jose.jws import encode_base64url
from tenant.jose.strict_json import JsonObject
from tenant.kerberos.tgt import tgt_members
from tenant.login.token_request import TokenRequest
from tenant.login.tokens import client_info, id_token
from tenant.prt.jwe import seal_answer
from tenant.prt.kdf import KdfVersion
from tenant.services import Services
from tenant.state.prts import Prt
from tenant.state.users import User

PRT_OCTETS: Final = 32
_TRUE: Final = frozenset({"true", "1"})


def new_token(services: Services) -> str:
    """Make the text of a PRT. roadtx takes one without a dot for Base64 of another."""
    return "1." + encode_base64url(services.entropy(PRT_OCTETS)).decode()


def wants_tgts(asked: TokenRequest) -> bool:
    """Tell whether TGTs are asked for; roadtx writes `True`. Raises LoginError."""
    return (asked.optional("tgt") or "").lower() in _TRUE


def prt_members(
    services: Services,
    asked: TokenRequest,
    user: User,
    prt: Prt,
    token: str,
    version: KdfVersion,
) -> JsonObject:
    """Return the members about a PRT, with TGTs and client_info where the form asks for them."""
    now = asked.now
    life_s = int((prt.expires - now).total_seconds())
    body: JsonObject = {
        "token_type": "pop",
        "expires_in": str(life_s),
        "ext_expires_in": "0",
        "expires_on": str(int(prt.expires.timestamp())),
        "refresh_token": token,
        "refresh_token_expires_in": life_s,
        "id_token": id_token(services, user, prt.sign_in, now, v2=asked.v2),
        "device_tenant_id": str(services.config.tenant_id),
    }
    if asked.wants_client_info:
        body["client_info"] = client_info(services, user)
    if wants_tgts(asked):
        body |= tgt_members(
            services.cloud_key,
            user,
            lambda plain: seal_answer(plain, prt.session_key, version, services.entropy),
            now=now,
            entropy=services.entropy,
        )
    return body
