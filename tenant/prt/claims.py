"""Reading the claims of clients' JWTs: what each kind must say, and when it is good.

A claim that is wrong proves the JWT to be meant for somebody or some time else: 401. One that is
missing or of another type makes it no JWT of this protocol: 400.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tenant.jose.jws import JwsError, VerifiedJws
from tenant.jose.strict_json import JsonObject
from tenant.prt import refusals

CLOCK_SKEW: Final = timedelta(minutes=5)
MAX_LIFE: Final = timedelta(hours=4)
"""Between iat and exp of an assertion; roadtx writes two hours. The nonce bounds its use."""
MAX_TEXT_CHARS: Final = 4096
_MAX_TIME: Final = 253370764800  # the year 9999 begins


def claims_of(jws: VerifiedJws) -> JsonObject:
    """Read the claims of a proven JWT. Raises LoginError (400)."""
    try:
        return jws.claims()
    except JwsError as error:
        raise refusals.malformed(error.why) from None


def text(claims: JsonObject, name: str) -> str:
    """Return a claim that must be a text. Raises LoginError (400)."""
    found = optional_text(claims, name)
    if found is None:
        raise refusals.malformed(f"the JWT has no {name}")
    return found


def optional_text(claims: JsonObject, name: str) -> str | None:
    """Return a claim that is a text, or None. Raises LoginError (400) for another type."""
    found = claims.get(name)
    if found is not None and (not isinstance(found, str) or len(found) > MAX_TEXT_CHARS):
        raise refusals.malformed(f"{name} of the JWT is no text")
    return found or None


def scopes(claims: JsonObject, *, openid: bool = True) -> frozenset[str]:
    """Return the scopes asked for (RFC 6749 3.3). openid: whether that one must be among them.

    Raises LoginError (400).
    """
    found = frozenset(text(claims, "scope").split(" ")) - {""}
    if openid and "openid" not in found:
        raise refusals.malformed(
            "the scope openid is missing", error="invalid_scope", number=refusals.INVALID_SCOPE
        )
    return found


def check_times(claims: JsonObject, now: datetime, *, required: bool) -> None:
    """Check iat, exp and nbf. required: whether iat and exp must be there.

    They are numbers, or texts of digits as roadtx writes them. Raises LoginError: 401 for a JWT of
    another time, 400 for what is no time.
    """
    issued, expires, begins = (_time(claims, name) for name in ("iat", "exp", "nbf"))
    if required and (issued is None or expires is None):
        raise refusals.malformed("iat or exp is missing")
    moment, skew = now.timestamp(), CLOCK_SKEW.total_seconds()
    if expires is not None and expires <= moment - skew:
        raise refusals.not_proven(refusals.OUT_OF_TIME, "the JWT has expired")
    if any(start is not None and start > moment + skew for start in (issued, begins)):
        raise refusals.not_proven(refusals.OUT_OF_TIME, "the JWT is not valid yet")
    if issued is not None and expires is not None and expires - issued > MAX_LIFE.total_seconds():
        raise refusals.not_proven(refusals.OUT_OF_TIME, "the JWT is valid for too long")


def check_one_of(
    claims: JsonObject, name: str, allowed: Collection[str], *, required: bool
) -> None:
    """Check that a claim is one of a few texts; Raises LoginError (401)."""
    found = claims.get(name)
    if found is None and not required:
        return
    if not isinstance(found, str) or found not in allowed:
        raise refusals.not_proven(refusals.INVALID_ASSERTION, f"{name} of the JWT is another's")


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """The name that a JWT gives itself, by which it may come once (RFC 7519 4.1.7)."""

    jti: str
    ends: datetime
    """When the JWT is no longer accepted anyhow."""


def once_only(claims: JsonObject, now: datetime) -> Once | None:
    """Return the `jti` of claims whose times were checked; None without one. Raises LoginError."""
    jti = optional_text(claims, "jti")
    if jti is None:
        return None
    expires = _time(claims, "exp")
    # The table of names is bounded, so none is kept for longer than the life of an assertion; a JWT
    # that lives longer is stopped by its nonce.
    ends = now + MAX_LIFE + CLOCK_SKEW
    if expires is not None:
        ends = min(ends, datetime.fromtimestamp(expires, UTC) + CLOCK_SKEW)
    return Once(jti=jti, ends=ends)


def _time(claims: JsonObject, name: str) -> int | None:
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 12:
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _MAX_TIME:
        raise refusals.malformed(f"{name} of the JWT is no time")
    return found
