"""Our client inside FAST, against the core: what it checks of what comes through the tunnel."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from kdc.client.as_exchange import AsExchange, AsOptions, AsResult, client_name
from kdc.client.errors import ClientError, ClientFault, RefusedError
from kdc.client.mechanism import Mechanism
from kdc.client.password import PasswordMechanism
from kdc.client.pkinit import PkinitMechanism, PkinitOptions
from kdc.formats.ccache import Credential, Principal
from kdc.outcome import Outcome
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import AsRep, KrbError, PaData
from pki import asn1
from pki.cms_sign import CmsSigner
from tests.kdc.builders import NOW, PASSWORD, REALM, Kdc, client_entropy
from tests.kdc.tgs_builders import LATER, Tgt, key_tgt
from tests.pki import issued


def credential(tgt: Tgt) -> Credential:
    """Return a TGT as a credential cache holds it."""
    return Credential(
        client=Principal.of(REALM, tgt.cname),
        server=Principal(realm=REALM, components=("krbtgt", REALM)),
        etype=tgt.session.enctype,
        session_key=tgt.session.value,
        authtime=NOW,
        starttime=NOW,
        endtime=NOW + timedelta(hours=8),
        renew_till=None,
        flags=0,
        ticket=asn1.encode(tgt.ticket),
    )


def same(outcome: Outcome) -> bytes:
    """Hand the reply on as it is."""
    assert outcome.reply is not None
    return outcome.reply


def log_on(
    kdc: Kdc,
    mechanism: Mechanism,
    who: str = "pat",
    *,
    hide: bool = False,
    change: Callable[[Outcome], bytes] = same,
) -> AsResult:
    """Carry an exchange's messages to the core and back; change: what the client gets instead."""
    armor = credential(key_tgt(kdc, "pc1"))
    options = AsOptions(client=client_name(who), realm=REALM, armor=armor, hide_client=hide)
    exchange = AsExchange(options, mechanism, client_entropy)
    message = exchange.start(LATER)
    while True:
        if hide:
            assert who.encode() not in message
        outcome = kdc.ask(message, at=LATER)
        if hide:
            assert who.encode() not in (outcome.reply or b"")
        step = exchange.receive(change(outcome), LATER)
        if isinstance(step, AsResult):
            return step
        message = step


def by_password(text: str = PASSWORD) -> PasswordMechanism:
    """Return the mechanism of pat's password."""
    return PasswordMechanism(text, armored=True)


@pytest.mark.parametrize("hide", [False, True])
def test_password(kdc: Kdc, hide: bool) -> None:
    """RFC 6113 5.4.6: two rounds, the KDC's challenge checked, the name hidden when asked for."""
    result = log_on(kdc, by_password(), hide=hide)
    assert (result.rounds, result.pa_type) == (2, 138)
    assert str(result.credential.client) == f"pat@{REALM}"
    assert result.facts["armor"] == f"pc1$@{REALM}"


def test_pkinit(kdc: Kdc) -> None:
    """PKINIT inside: the key is strengthened before it opens anything."""
    made = issued.hello("alice")
    signer = CmsSigner(made.private_key, made.certificate_der)
    anchors = (issued.root().certificate_der,)
    options = PkinitOptions(anchors=anchors, domain="lab.test")
    result = log_on(kdc, PkinitMechanism(signer, options), "alice")
    assert str(result.credential.client) == f"alice@{REALM}"


def test_wrong_password_is_final(kdc: Kdc) -> None:
    """The code and the reference are those of the PA-FX-ERROR."""
    with pytest.raises(RefusedError) as refusal:
        log_on(kdc, by_password("wrong"))
    assert refusal.value.code == ErrorCode.KDC_ERR_PREAUTH_FAILED
    assert refusal.value.e_text.startswith("KDC_ERR_PREAUTH_FAILED [ref ")


def test_error_outside_the_tunnel_ends_it(kdc: Kdc) -> None:
    """A forged hint in the clear must not make the client say more (RFC 6113 5.4.4)."""

    def bare(outcome: Outcome) -> bytes:
        return asn1.encode(replace(asn1.decode(KrbError, same(outcome)), e_data=None))

    with pytest.raises(ClientError) as fault:
        log_on(kdc, by_password(), change=bare)
    assert fault.value.fault in (ClientFault.MALFORMED, ClientFault.NOT_OFFERED)


def on_reply(change: Callable[[AsRep], AsRep]) -> Callable[[Outcome], bytes]:
    """Change the AS-REP and nothing before it."""

    def changed(outcome: Outcome) -> bytes:
        if outcome.code:
            return same(outcome)
        return asn1.encode(change(asn1.decode(AsRep, same(outcome))))

    return changed


def other_ticket(reply: AsRep) -> AsRep:
    """Put another ticket into a reply."""
    sealed = replace(reply.ticket.enc_part, cipher=bytes(300))
    return replace(reply, ticket=replace(reply.ticket, enc_part=sealed))


def other_response(reply: AsRep) -> AsRep:
    """Break the sealed response."""
    (fast,) = reply.padata or ()
    broken = fast.padata_value[:-1] + bytes((fast.padata_value[-1] ^ 1,))
    return replace(reply, padata=(PaData(padata_type=fast.padata_type, padata_value=broken),))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda reply: replace(reply, padata=None), ClientFault.KDC_NOT_TRUSTED),
        (other_ticket, ClientFault.WRONG_ANSWER),
        (other_response, ClientFault.WRONG_KEY),
    ],
    ids=["no tunnel", "ticket", "response"],
)
def test_altered_reply(kdc: Kdc, change: Callable[[AsRep], AsRep], fault: ClientFault) -> None:
    """RFC 6113 5.4.3: without FAST, with another ticket, or not sealed with the armor key."""
    with pytest.raises(ClientError) as found:
        log_on(kdc, by_password(), change=on_reply(change))
    assert found.value.fault is fault


def test_armor_that_is_no_ticket() -> None:
    """A cache with something else in it."""
    junk = Credential(
        client=Principal(realm=REALM, components=("x",)),
        server=Principal(realm=REALM, components=("krbtgt", REALM)),
        etype=18,
        session_key=bytes(32),
        authtime=NOW,
        starttime=NOW,
        endtime=NOW,
        renew_till=None,
        flags=0,
        ticket=b"junk",
    )
    options = AsOptions(client=client_name("pat"), realm=REALM, armor=junk)
    with pytest.raises(ClientError) as fault:
        AsExchange(options, by_password(), client_entropy)
    assert fault.value.fault is ClientFault.BAD_PARAMETERS
