"""JWTs under the session key of a PRT: which PRT one shows, and what it says once that is proven.

The PRT names the session key, so the payload is read once before it is proven, for that alone.
"""

from datetime import datetime

from kdc.formats.session_jwe import decode_context
from tenant.jose.jws import MAX_PAYLOAD_DEPTH, MAX_TOKEN_OCTETS, JwsError, UnverifiedJws, verify
from tenant.jose.strict_json import JsonError, JsonObject, parse_object
from tenant.prt import refusals
from tenant.prt.audiences import audiences
from tenant.prt.claims import check_one_of, check_times, claims_of, text
from tenant.prt.kdf import signing_key
from tenant.prt.request import kdf_version
from tenant.services import Services
from tenant.state.prts import Prt, prt_by_token


def shown_prt(services: Services, jws: UnverifiedJws) -> tuple[str, Prt]:
    """Find the PRT that a JWT shows, unproven; it may have expired. Raises LoginError (400)."""
    try:
        claims = parse_object(jws.payload, max_octets=MAX_TOKEN_OCTETS, max_depth=MAX_PAYLOAD_DEPTH)
    except JsonError as error:
        raise refusals.malformed(f"the JWT's claims: {error.why}") from None
    token = text(claims, "refresh_token")
    with services.database.read() as connection:
        prt = prt_by_token(connection, token, services.master_key)
    if prt is None:
        raise refusals.refused(refusals.EXPIRED_OR_REVOKED, "the PRT is unknown or revoked")
    return token, prt


def session_claims(
    services: Services, jws: UnverifiedJws, session_key: bytes, now: datetime
) -> JsonObject:
    """Verify a JWT with the key derived from a session key, and return its claims.

    Raises LoginError: 401 signature, times, audience; 400 what is no such JWT.
    """
    version = kdf_version(jws.header)
    ctx = decode_context(jws.header.get("ctx"))
    if ctx is None:
        raise refusals.not_proven(refusals.INVALID_SESSION_KEY, "the JWT's header has no ctx")
    try:
        proven = verify(jws, signing_key(session_key, ctx, jws.payload, version), {"HS256"})
    except JwsError as error:
        raise refusals.not_proven(refusals.INVALID_SESSION_KEY, error.why) from None
    claims = claims_of(proven)
    check_times(claims, now, required=False)
    check_one_of(claims, "aud", audiences(services), required=False)
    return claims
