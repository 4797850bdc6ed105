"""A request to the token endpoint, opened: its form, and what every grant asks of it."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tenant.http.message import MalformedError, Pairs, Reply, Request, parse_pairs
from tenant.jose.strict_json import JsonError, JsonObject, parse_object
from tenant.login import faults
from tenant.login.resources import Target, target_of
from tenant.services import Services

FORM_TYPE: Final = "application/x-www-form-urlencoded"
ANY_TENANT: Final = frozenset({"common", "organizations"})
MAX_CLAIMS_OCTETS: Final = 4096
MAX_CLAIMS_DEPTH: Final = 6
_MFA: Final = frozenset({"mfa", "ngcmfa"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """One request to a token endpoint, or another one with an OAuth form."""

    http: Request
    form: Pairs = field(repr=False)
    v2: bool
    """Whether it came to the v2.0 path."""
    now: datetime

    def optional(self, name: str) -> str | None:
        """Return a parameter; None when it is absent or empty (RFC 6749 3.2)."""
        try:
            return self.form.single(name) or None
        except MalformedError as error:
            raise faults.malformed(str(error)) from None

    def required(self, name: str) -> str:
        """Return a parameter that must be there. Raises LoginError(invalid_request)."""
        value = self.optional(name)
        if value is None:
            raise faults.missing_parameter(name)
        return value

    @property
    def client_id(self) -> str:
        """The application id, in lower case. Raises LoginError: missing, malformed, confidential.

        Clients are not registered here: any application id is a public client.
        """
        if self.optional("client_secret") or self.optional("client_assertion"):
            raise faults.public_client_with_secret()
        return application_id(self.required("client_id"))

    @property
    def target(self) -> Target:
        """What the tokens are for. Raises LoginError."""
        return target_of(self.optional("resource"), self.optional("scope"), v2=self.v2)

    @property
    def demands_mfa(self) -> bool:
        """Whether the client demands a fresh second factor. Raises LoginError."""
        return demands_mfa(self.optional("amr_values"), self.optional("claims"))

    @property
    def wants_client_info(self) -> bool:
        """Whether the client asks for `client_info`."""
        return self.optional("client_info") == "1"


Grant = Callable[[Services, TokenRequest], Awaitable[Reply]]
"""Answers one grant type. Raises LoginError."""


def open_form(services: Services, request: Request, *, v2: bool) -> TokenRequest:
    """Open a form that was posted to a tenant's path. Raises LoginError: tenant, type, syntax."""
    check_tenant(services, request)
    kind = request.headers.get("content-type")
    # None at all is what libhimmelblau sends with srv_challenge.
    if kind is not None and kind.partition(";")[0].strip().lower() != FORM_TYPE:
        raise faults.malformed("the body is no form")
    try:
        form = parse_pairs(request.body)
    except MalformedError as error:
        raise faults.malformed(str(error)) from None
    return TokenRequest(http=request, form=form, v2=v2, now=services.now())


def check_tenant(services: Services, request: Request) -> None:
    """Judge the {tenant} of a path: common, organizations, our id or domain. Raises LoginError."""
    name = request.match["tenant"].lower()
    if name not in (*ANY_TENANT, str(services.config.tenant_id), services.config.domain):
        raise faults.unknown_tenant()


def application_id(text: str) -> str:
    """Read an application id. Raises LoginError(unauthorized_client)."""
    try:
        found = str(uuid.UUID(text))
    except ValueError:
        found = ""
    if found != text.lower():  # UUID also takes braces, a URN and no hyphens
        raise faults.bad_client("the client id is no application id")
    return found


def demands_mfa(amr_values: str | None, claims: str | None) -> bool:
    """Tell whether `amr_values` (v1) or `claims` (v2, JSON) demands a second factor.

    Raises LoginError: the claims are no JSON object of objects.
    """
    if amr_values is not None and not _MFA.isdisjoint(amr_values.replace(",", " ").split()):
        return True
    if claims is None:
        return False
    try:
        asked = parse_object(
            claims.encode("utf-8", "surrogatepass"),
            max_octets=MAX_CLAIMS_OCTETS,
            max_depth=MAX_CLAIMS_DEPTH,
        )
    except JsonError as error:
        raise faults.malformed(f"the claims: {error.why}") from None
    return any(_asks(_object(asked, token)) for token in ("access_token", "id_token"))


def _object(value: JsonObject, name: str) -> JsonObject:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _asks(token: JsonObject) -> bool:
    amr = _object(token, "amr")
    values = amr.get("values")
    asked = [amr.get("value"), *(values if isinstance(values, list) else ())]
    return any(isinstance(value, str) and value in _MFA for value in asked)
