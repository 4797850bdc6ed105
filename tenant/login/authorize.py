"""The authorization endpoint and the page of device codes, as bare forms (seed R1, B and C).

Rules
  1. Clients are not registered, so the redirect URI is judged by its form: the machine's own
     loopback, the scheme of a known broker, or the sign-in's own page for native clients. A code
     never goes to a host of somebody's.
  2. There are no sessions and no cookies of ours: each sign-in is one form with name and password,
     or the credential of a PRT. What a form carries along is judged again when it comes back.
  3. Errors are shown to whoever looks, never sent to a redirect URI.
"""

import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from tenant.errors import LoginError
from tenant.http.message import Note, Reply, Request
from tenant.jose.jws import encode_base64url
from tenant.login import faults, page
from tenant.login.discovery import HOSTS
from tenant.login.password import Proof, prove_password
from tenant.login.resources import target_of
from tenant.login.token_request import TokenRequest, check_tenant, open_form
from tenant.prt import browser
from tenant.services import Services
from tenant.state import tokens
from tenant.state.sign_in import SignIn
from tenant.state.tokens import Grant, GrantError, GrantFault
from tenant.state.users import User

CODE_LIFE_S: Final = 600
"""RFC 6749 4.1.2: ten minutes at most."""
CODE_OCTETS: Final = 32
MAX_STATE_CHARS: Final = 4096
MAX_URI_CHARS: Final = 2048

NATIVE_PATH: Final = "/common/oauth2/nativeclient"
_LOOPBACK: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{0,5})?")
"""Host and port as they stand in the URI: `hostname` of urlsplit finds ::1 in evil.test[::1]."""
BROKER_SCHEMES: Final = frozenset(
    {"ms-appx-web", "ms-aadj-redir", "msauth", "himmelblau", "companyportal"}
)

_PARAMETERS: Final = (
    *("client_id", "redirect_uri", "response_type", "response_mode", "resource", "scope", "state"),
    *("code_challenge", "code_challenge_method", "amr_values", "claims", "nonce"),
)
_INTERACTIVE: Final = frozenset({"login", "select_account"})
"""Values of `prompt` that want the form, whoever is signed in (OpenID Connect Core 3.1.2.1)."""
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of SHA-256 (RFC 7636 4.2)
_URI: Final = re.compile(r"[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authorization:
    """An authorization request that may be answered with a code."""

    client_id: str
    redirect_uri: str
    mode: str
    state: str | None
    nonce: str | None
    """What the id token has to hold (OpenID Connect Core 3.1.2.1)."""
    resource: str
    scope: str
    challenge: str | None
    demands_mfa: bool


async def authorize_v1(services: Services, request: Request) -> Reply:
    """Answer GET /{tenant}/oauth2/authorize with the form."""
    return _form(services, request, v2=False)


async def authorize_v2(services: Services, request: Request) -> Reply:
    """Answer GET /{tenant}/oauth2/v2.0/authorize with the form."""
    return _form(services, request, v2=True)


def _form(services: Services, request: Request, *, v2: bool) -> Reply:
    check_tenant(services, request)
    asked = TokenRequest(http=request, form=request.query, v2=v2, now=services.now())
    authorization = _judge(asked)
    shown = None if asked.optional("prompt") in _INTERACTIVE else browser.credential(request)
    if shown is None:
        return _page(request.match["tenant"], asked, authorization, name=_hint(asked))
    try:
        user, sign_in = browser.prove_credential(services, asked, shown)
    except LoginError as error:
        return _page(request.match["tenant"], asked, authorization, name=_hint(asked), error=error)
    return _send_code(services, asked, authorization, user, sign_in)


def _page(
    tenant: str,
    asked: TokenRequest,
    authorization: _Authorization,
    *,
    name: str,
    error: LoginError | None = None,
) -> Reply:
    hidden = [(key, value) for key in _PARAMETERS if (value := asked.optional(key)) is not None]
    hidden.append(("v", "2.0" if asked.v2 else "1.0"))
    return page.sign_in_page(
        f"/{tenant}/login",
        f"Application {authorization.client_id} asks who you are."
        + (" It demands a second factor." if authorization.demands_mfa else ""),
        hidden,
        name=name,
        problem="" if error is None else f"AADSTS{error.number}: {error.text}",
        status=200 if error is None else _status(error),
        note=None if error is None else _note(error),
    )


def _note(error: LoginError) -> Note:
    return Note(reason=error.why, user=error.note.user, device=error.note.device)


def _status(error: LoginError) -> int:
    return 401 if error.status == 400 else error.status


def _hint(asked: TokenRequest) -> str:
    return asked.optional("login_hint") or ""


async def login(services: Services, request: Request) -> Reply:
    """Answer POST /{tenant}/login, the form of `authorize`: with a code, or the form again."""
    asked = open_form(services, request, v2=False)
    asked = replace(asked, v2=asked.optional("v") == "2.0")
    authorization = _judge(asked)
    name = asked.optional("login") or ""
    try:
        proof = await _prove(services, asked, authorization.demands_mfa)
    except LoginError as error:
        return _page(request.match["tenant"], asked, authorization, name=name, error=error)
    sign_in = proof.sign_in(authorization.client_id)
    return _send_code(services, asked, authorization, proof.user, sign_in)


async def _prove(services: Services, asked: TokenRequest, demands_mfa: bool) -> Proof:
    return await prove_password(
        services,
        asked.required("login"),
        asked.required("passwd"),
        asked.now,
        demands_mfa=demands_mfa,
        code=asked.optional("otc"),
    )


def _send_code(
    services: Services,
    asked: TokenRequest,
    authorization: _Authorization,
    user: User,
    sign_in: SignIn,
) -> Reply:
    code = encode_base64url(services.entropy(CODE_OCTETS)).decode()
    grant = Grant(
        sign_in=sign_in,
        resource=authorization.resource,
        scope=authorization.scope,
        nonce=authorization.nonce,
    )
    with services.database.write() as connection:
        tokens.keep_code(
            connection,
            code,
            grant,
            authorization.redirect_uri,
            authorization.challenge,
            asked.now,
            CODE_LIFE_S,
        )
    values = [("code", code)]
    if authorization.state is not None:
        values.append(("state", authorization.state))
    device = None if sign_in.device_id is None else str(sign_in.device_id)
    note = Note(reason="authorization code", user=user.upn, device=device)
    if authorization.mode == "form_post":
        return page.post_page(authorization.redirect_uri, values, note)
    location = _with_values(authorization.redirect_uri, values, authorization.mode)
    headers = (*page.HEADERS, ("Location", location))
    return Reply(status=302, content_type=page.HTML_TYPE, headers=headers, note=note)


def _with_values(uri: str, values: list[tuple[str, str]], mode: str) -> str:
    parts = urlsplit(uri)
    added = urlencode(values)
    if mode == "fragment":
        return urlunsplit(parts._replace(fragment=added))
    query = f"{parts.query}&{added}" if parts.query else added
    return urlunsplit(parts._replace(query=query))


def _judge(asked: TokenRequest) -> _Authorization:
    """Judge the parameters of an authorization request (RFC 6749 4.1.1). Raises LoginError."""
    client_id = asked.client_id
    redirect_uri = check_redirect_uri(asked.required("redirect_uri"))
    if asked.required("response_type") != "code":
        text = "The response_type of the request is not enabled for the application."
        why = "the response type is not code"
        raise faults.refusal("unsupported_response_type", 700054, text, why)
    mode = asked.optional("response_mode") or "query"
    if mode not in ("query", "fragment", "form_post"):
        text = "The response_mode of the request is not supported."
        raise faults.refusal("invalid_request", 70007, text, "the response mode is unknown")
    state, nonce = asked.optional("state"), asked.optional("nonce")
    for value in (state, nonce):
        if value is not None and (len(value) > MAX_STATE_CHARS or not value.isprintable()):
            raise faults.malformed("the state or nonce is too long or unprintable")
    target = target_of(asked.optional("resource"), asked.optional("scope"), v2=asked.v2)
    return _Authorization(
        client_id=client_id,
        redirect_uri=redirect_uri,
        mode=mode,
        state=state,
        nonce=nonce,
        resource=asked.optional("resource") or "",
        scope=target.scope,
        challenge=_challenge(asked),
        demands_mfa=asked.demands_mfa,
    )


def _challenge(asked: TokenRequest) -> str | None:
    challenge = asked.optional("code_challenge")
    method = asked.optional("code_challenge_method")
    if challenge is None and method is None:
        return None
    # `plain`, the default of RFC 7636 4.3, would show the verifier to whoever sees the request.
    if method != "S256" or challenge is None or _CHALLENGE.fullmatch(challenge) is None:
        raise faults.malformed("the code challenge is not of S256")
    return challenge


def check_redirect_uri(uri: str) -> str:
    """Return a redirect URI to which a code may go (rule 1). Raises LoginError."""
    if len(uri) > MAX_URI_CHARS or _URI.fullmatch(uri) is None or "#" in uri:
        raise faults.bad_redirect("the redirect URI is no absolute URI without a fragment")
    try:
        parts = urlsplit(uri)
        host, user = parts.hostname or "", parts.username
        _ = parts.port  # raises when it is no number
    except ValueError:
        raise faults.bad_redirect("the redirect URI cannot be read") from None
    web = parts.scheme in ("http", "https")
    native = parts.scheme == "https" and host in HOSTS and parts.path.lower() == NATIVE_PATH
    local = web and _LOOPBACK.fullmatch(parts.netloc.lower()) is not None
    broker = not web and parts.scheme in BROKER_SCHEMES
    if user is not None or not (native or local or broker):
        raise faults.bad_redirect("the redirect URI is neither this machine's nor a broker's")
    return uri


async def native_client(_services: Services, _request: Request) -> Reply:
    """Answer the page where native clients pick up their code from the address."""
    return page.done_page("Signed in. The application takes it from here.", Note())


# -- device codes -----------------------------------------------------------------------------

DEVICE_PATH: Final = "/common/oauth2/deviceauth"
_DEVICE = "A device waits for your sign-in. Go on only if the code is from a device of yours."


async def device_page(_services: Services, request: Request) -> Reply:
    """Answer GET /{tenant}/oauth2/deviceauth with the form; user_code may be in the query."""
    code = request.query.single("user_code") or request.query.single("otc") or ""
    return page.sign_in_page(DEVICE_PATH, _DEVICE, (), user_code=code)


async def device_login(services: Services, request: Request) -> Reply:
    """Answer the form of `device_page`: sign the device in, or decline."""
    asked = open_form(services, request, v2=True)
    code = asked.optional("user_code") or ""
    try:
        with services.database.read() as connection:
            waiting = tokens.find_user_code(connection, code, asked.now)
        if asked.optional("go") == "decline":
            with services.database.write() as connection:
                tokens.settle_device_code(connection, code, None, asked.now)
            return page.done_page("Declined.", Note(reason="device code declined"))
        proof = await _prove(services, asked, waiting.demands_mfa)
        with services.database.write() as connection:
            sign_in = proof.sign_in(waiting.client_id)
            tokens.settle_device_code(connection, code, sign_in, asked.now)
    except GrantError as error:
        return _device_again(asked, code, _bad_user_code(error.fault))
    except LoginError as error:
        return _device_again(asked, code, error)
    note = Note(reason="device code approved", user=proof.user.upn)
    return page.done_page("Signed in. You may close this page.", note)


def _bad_user_code(fault: GrantFault) -> LoginError:
    text = "The code you entered is incorrect, or it was used or has expired."
    return faults.refusal("invalid_grant", 70018, text, fault.value)


def _device_again(asked: TokenRequest, code: str, error: LoginError) -> Reply:
    return page.sign_in_page(
        DEVICE_PATH,
        _DEVICE,
        (),
        name=asked.optional("login") or "",
        user_code=code,
        problem=f"AADSTS{error.number}: {error.text}",
        status=_status(error),
        note=_note(error),
    )
