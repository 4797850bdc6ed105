"""The grant `urn:ietf:params:oauth:grant-type:jwt-bearer` with a `request`: PRTs, and their use."""

from tenant.http.message import Reply
from tenant.jose.jws import JwsError, open_jws
from tenant.login.token_request import TokenRequest
from tenant.prt import refusals
from tenant.prt.issue import issue
from tenant.prt.use import use
from tenant.services import Services


async def jwt_bearer(services: Services, asked: TokenRequest) -> Reply:
    """Answer a form with a signed request in it (MS-OAPXBC 3.2.5.1.2, 3.2.5.1.3).

    The algorithm tells the two kinds apart, and nothing more: each then allows its own alone, with
    a key that was found for it. Raises LoginError.
    """
    try:
        jws = open_jws(asked.required("request"), x5c=True)
    except JwsError as error:
        raise refusals.not_proven(refusals.INVALID_ASSERTION, error.why) from None
    if jws.header["alg"] == "RS256":
        return await issue(services, asked, jws)
    if jws.header["alg"] == "HS256":
        return use(services, asked, jws)
    raise refusals.not_proven(
        refusals.INVALID_ASSERTION, "the token's algorithm is not accepted here"
    )
