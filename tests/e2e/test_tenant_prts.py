"""PRTs of a served tenant: the same request twice at once, and SIGKILL between answer and use."""

import base64
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding

from tenant.client import windows
from tenant.client.https import LogonError, post_form
from tenant.client.windows import Prt
from tenant.services import utc_now
from tests.rig.tenant_kills import Site, make_site
from tests.tenant.prt import jwts

pytestmark = pytest.mark.slow

USER = "kim@lab.test"
AT_ONCE = 12
KILLS = 6


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A served tenant, a device, and a Hello key on it."""
    made = make_site(tmp_path_factory.mktemp("prts"))
    windows.register_key(made.place, made.key_token, made.hello_keys[0])
    yield made
    made.tenant.stop()


def hello_request(site: Site) -> dict[str, str]:
    """Make the form of a request for a PRT by the Hello key."""
    nonce = windows.nonce(site.place)
    assertion = jwts.assertion(site.hello_keys[0], USER, nonce, now=utc_now())
    return form_of(
        jwts.device_request(
            site.base.key,
            site.base.certificate,
            nonce,
            grant_type=jwts.JWT_BEARER,
            assertion=assertion,
        )
    )


def form_of(jwt: str) -> dict[str, str]:
    """Put a JWT into a form."""
    return {"windows_api_version": "2.2", "grant_type": jwts.JWT_BEARER, "request": jwt}


def send(site: Site, form: dict[str, str]) -> str:
    """Send a form. Raises LogonError for a refusal."""
    return post_form(site.place, windows.LOGIN, "/common/oauth2/token", form)


def held(site: Site, text: str) -> Prt:
    """Take a PRT out of an answer."""
    answer = json.loads(text)
    wrapped = answer["session_key_jwe"].split(".")[1]
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303  the wire's
    octets = base64.urlsafe_b64decode(wrapped + "=" * (-len(wrapped) % 4))
    key = site.base.key.decrypt(octets, oaep)
    return Prt(token=answer["refresh_token"], session_key=key, answer=answer)


def at_once(site: Site, form: dict[str, str]) -> list[str]:
    """Send the same form from many threads; return the answers of those that were not refused."""
    start = threading.Barrier(AT_ONCE)

    def one(_number: int) -> str | None:
        start.wait()
        try:
            return send(site, form)
        except LogonError as error:
            assert "140000" in error.why, error.why
            return None

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return [answer for answer in threads.map(one, range(AT_ONCE)) if answer is not None]


def test_same_request_at_once_is_answered_once(site: Site) -> None:
    """Row R04: the nonce is used up in one transaction, for requests and for uses."""
    (answer,) = at_once(site, hello_request(site))
    prt = held(site, answer)
    use = jwts.session_request(prt.session_key, prt.token, windows.nonce(site.place))
    assert len(at_once(site, form_of(use))) == 1


def until_killed(site: Site, answered: list[tuple[dict[str, str], str]]) -> None:
    """Get PRTs until the server is gone; keep each request with its answer."""
    try:
        while True:
            form = hello_request(site)
            answered.append((form, send(site, form)))
    except LogonError as error:
        assert "does not answer" in error.what, error.why


def test_acknowledged_prt_survives_a_kill(site: Site) -> None:
    """And so does the use of its nonces: what was answered once is not answered again."""
    random_ = random.Random(20261122)  # noqa: S311  for times
    for _ in range(KILLS):
        answered: list[tuple[dict[str, str], str]] = []
        with ThreadPoolExecutor(1) as pool:
            client = pool.submit(until_killed, site, answered)
            while not (answered or client.done()):
                time.sleep(0.01)
            time.sleep(random_.uniform(0, 0.3))
            site.tenant.kill()
        site.tenant.start()
        client.result()  # a refusal is an error
        form, answer = answered[-1]
        assert windows.use_prt(site.place, held(site, answer), windows.DRS, utc_now())
        with pytest.raises(LogonError, match="refuse"):
            send(site, form)
