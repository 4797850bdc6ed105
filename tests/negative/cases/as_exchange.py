"""A01-A10: the AS exchange around the proof."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.negative.cases.freshness import PAC_REQUEST
from tests.negative.engine import Exchange, Result, add, case
from tests.negative.wire import kerberos
from tests.negative.wire.kerberos import NT_SRV_INST, NT_WELLKNOWN, Body, Name, padata, user
from tests.negative.wire.logon import Plain
from tests.negative.world import World

INITIAL = 1 << 22
ANONYMOUS = Name(NT_WELLKNOWN, ("WELLKNOWN", "ANONYMOUS"))


# -- A01: no pre-authentication --------------------------------------------------------------


def _no_proof(case_id: str, role: str, *before: bytes, field: bool = False) -> None:
    def build(world: World) -> Exchange:
        plain = world.plain(role)
        plain.before = list(before)
        plain.no_padata_field = not field
        return Exchange(logon=plain, check=_names_mechanisms)

    control = {"alice": "pkinit", "roasted": "password of roasted"}.get(role, "password")
    add(case_id, build, control=control)


def _names_mechanisms(world: World, result: Result) -> None:
    """The hints name a way to prove oneself, and nothing in them is encrypted by a password."""
    assert result.error is not None
    hints = result.error.method_data()
    assert kerberos.PA_ENC_TIMESTAMP in hints or kerberos.PA_PK_AS_REQ in hints


_no_proof("A01.password_user", "pat")
_no_proof("A01.key_user", "alice")
_no_proof("A01.flagged_no_preauth", "roasted")
_no_proof("A01.empty_padata", "pat", field=True)
_no_proof("A01.pac_request_only", "pat", PAC_REQUEST)
_no_proof("A01.unknown_padata_only", "pat", padata(-7777, b"x"))
_no_proof("A01.freshness_only", "pat", padata(kerberos.PA_AS_FRESHNESS, b""))


# -- A02, A03: encryption types --------------------------------------------------------------

WEAK = {
    "rc4": (23,),
    "rc4_md4_128": (-128,),
    "rc4_exp": (24,),
    "des": (1, 3),
    "des3": (16,),
    "none": (),
    "unknown": (99, -1),
    "zero": (0,),
}


def _etypes(case_id: str, etypes: tuple[int, ...], proof: str) -> None:
    def build(world: World) -> Plain:
        if proof == "key":
            return world.pkinit(etypes=etypes)
        logon = world.password(etypes=etypes)
        if proof == "none":
            return Plain(body=logon.body)
        return logon

    add(case_id, build, control="pkinit" if proof == "key" else "password")


for _name, _weak in WEAK.items():
    _etypes(f"A02.{_name}_key", _weak, "key")
    _etypes(f"A02.{_name}_password", _weak, "password")
    _etypes(f"A02.{_name}_no_proof", _weak, "none")


@case("A02.timestamp_of_unasked_etype", control="password")
def timestamp_of_another_etype(world: World) -> Plain:
    """The request lists AES-128 only, the timestamp is sealed with AES-256."""
    return world.password(etypes=(17,))


@case("A02.timestamp_etype_23", control="password")
def timestamp_claims_rc4(world: World) -> Plain:
    """The timestamp claims to be sealed with RC4."""
    logon = world.password(etypes=(23, 18))
    logon.sealed = kerberos.encrypted_data(23, bytes(60))
    return logon


def _aes_only(world: World, result: Result) -> None:
    assert result.ticket is not None
    assert result.ticket.part.key_type in (17, 18, 19, 20)
    assert result.ticket.reply.etype in (17, 18, 19, 20)
    assert result.ticket.reply.ticket_etype in (17, 18, 19, 20)


for _name, _mixed in {
    "rc4_first": (23, 18),
    "rc4_last": (18, 23),
    "many": (24, 23, -128, 17),
}.items():
    add(
        f"A03.{_name}",
        lambda world, etypes=_mixed: Exchange(  # type: ignore[misc]  # bound per list
            logon=world.pkinit(etypes=etypes), check=_aes_only
        ),
    )


# -- A05-A07: policy -------------------------------------------------------------------------

add("A05.right_password", lambda world: world.password("card"), control="key of card")
add("A05.wrong_password", lambda world: world.password("card", wrong=True), control="key of card")

_HOUR = timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _body(case_id: str, change: Callable[[Body], object], *, check: bool = False) -> None:
    """Register a change of the body, for both ways to prove oneself."""

    def by_key(world: World) -> Exchange:
        logon = world.pkinit()
        change(logon.body)
        return Exchange(logon=logon)

    def by_password(world: World) -> Exchange:
        logon = world.password()
        change(logon.body)
        return Exchange(logon=logon)

    add(case_id, by_key)
    add(f"{case_id}_password", by_password, control="password")


def _option(bit: int) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        body.options |= 1 << (31 - bit)

    return change


def _times(**changes: Callable[[], datetime | bytes]) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        for name, make in changes.items():
            setattr(body, name, make())

    return change


def _postdated(body: Body) -> None:
    body.from_ = _now() + _HOUR
    body.options |= 1 << (31 - 6)


_body("A06.postdated", _postdated)
_body("A06.from_in_the_future", _times(from_=lambda: _now() + _HOUR))
_body("A06.till_in_the_past", _times(till=lambda: _now() - _HOUR))
_body("A06.till_second_ago", _times(till=lambda: _now() - timedelta(seconds=1)))
_body("A06.till_1970_and_a_second", _times(till=lambda: b"19700101000001Z"))
_body("A06.option_forwarded", _option(2))
_body("A06.option_proxy", _option(4))
_body("A06.option_cname_in_addl_tkt", _option(14))
_body("A06.option_enc_tkt_in_skey", _option(28))
_body("A06.option_renew", _option(30))
_body("A06.option_validate", _option(31))
_body("A06.rtime_before_till", _times(rtime=lambda: _now() + timedelta(minutes=5)))
_body("A06.unknown_options", _option(20))
_body("A06.allow_postdate", _option(5))
_body("A06.till_zero", _times(till=lambda: b"19700101000000Z"))
_body("A06.till_9999", _times(till=lambda: b"99991231235959Z"))


@case("A07.anonymous_name")
def anonymous(world: World) -> Plain:
    """Anonymous PKINIT as RFC 8062 has it: no signer, the well-known name, the option."""
    logon = world.pkinit()
    logon.signed.signers = []
    logon.body.cname = ANONYMOUS
    logon.body.options |= 1 << (31 - 16)
    logon.owner = ""
    return logon


@case("A07.anonymous_without_option")
def anonymous_without_option(world: World) -> Plain:
    """The same without the option."""
    logon = world.pkinit()
    logon.signed.signers = []
    logon.body.cname = ANONYMOUS
    logon.owner = ""
    return logon


@case("A07.signed_anonymous_name")
def signed_anonymous(world: World) -> Plain:
    """The well-known name, and alice's signature."""
    logon = world.pkinit()
    logon.body.cname = ANONYMOUS
    logon.owner = ""
    return logon


_body("A07.option_of_a_named_user", _option(16))


# -- A08: enumeration ------------------------------------------------------------------------


def _hidden(case_id: str, build: Callable[[World], Plain]) -> None:
    add(case_id, build, control="password", realm="hidden")


def _unknown(world: World, logon: Plain, name: str = "nobody-here") -> Plain:
    logon.body.cname = user(name)
    logon.owner = ""
    return logon


_hidden("A08.unknown_no_proof", lambda world: _unknown(world, world.plain("pat")))
_hidden("A08.known_no_proof", lambda world: world.plain("pat"))
_hidden("A08.disabled_no_proof", lambda world: world.plain("disabled"))
_hidden("A08.locked_no_proof", lambda world: world.plain("locked"))
_hidden("A08.expired_no_proof", lambda world: world.plain("expired"))
_hidden("A08.unknown_password", lambda world: _unknown(world, world.password()))
_hidden("A08.known_wrong_password", lambda world: world.password(wrong=True))
_hidden("A08.disabled_wrong_password", lambda world: world.password("disabled", wrong=True))
_hidden("A08.expired_wrong_password", lambda world: world.password("expired", wrong=True))
_hidden(
    "A08.unknown_strange_key",
    lambda world: _unknown(world, world.pkinit(by=world.stranger("rsa"))),
)
_hidden("A08.known_strange_key", lambda world: world.pkinit(by=world.stranger("rsa")))
_hidden(
    "A08.disabled_strange_key",
    lambda world: world.pkinit("disabled", by=world.stranger("rsa")),
)
_hidden("A08.unknown_somebodys_key", lambda world: _unknown(world, world.pkinit()))
_hidden("A08.known_somebodys_key", lambda world: world.pkinit("bob", by="alice"))
_hidden("A08.disabled_right_password", lambda world: world.password("disabled"))
_hidden("A08.card_no_proof", lambda world: world.plain("card"))
_hidden("A08.card_right_password", lambda world: world.password("card"))
_hidden("A08.card_wrong_password", lambda world: world.password("card", wrong=True))
_hidden("A08.key_user_no_proof", lambda world: world.plain("alice"))


# -- A09, A10 --------------------------------------------------------------------------------


def _frame(case_id: str, **changes: int) -> None:
    def build(world: World) -> Plain:
        logon = world.password()
        for name, value in changes.items():
            setattr(logon, name, value)
        return logon

    add(case_id, build, control="password")


_frame("A09.pvno_4", pvno=4)
_frame("A09.pvno_0", pvno=0)
_frame("A09.pvno_6", pvno=6)
_frame("A09.pvno_negative", pvno=-5)
_frame("A09.msg_type_tgs", msg_type=12)
_frame("A09.msg_type_as_rep", msg_type=11)
_frame("A09.msg_type_0", msg_type=0)
_frame("A09.tag_tgs", tag=12)
_frame("A09.tag_tgs_type_tgs", tag=12, msg_type=12)


_CHANGEPW = Name(NT_SRV_INST, ("kadmin", "changepw"))


def _sname(case_id: str, make: Callable[[World], Name | None]) -> None:
    def by_password(world: World) -> Exchange:
        logon = world.password()
        logon.body.sname = make(world)
        return Exchange(logon=logon, check=_initial)

    add(case_id, by_password, control="password")


def _initial(world: World, result: Result) -> None:
    """A ticket straight from the AS says so (RFC 4120 2.1)."""
    if result.ticket is not None:
        assert result.ticket.part.flags & INITIAL
        assert result.ticket.sname in (world.service_name(), _CHANGEPW)


_sname("A10.service", lambda world: world.service_name())
_sname("A10.kadmin_changepw", lambda world: _CHANGEPW)
_sname("A10.krbtgt_of_another_realm", lambda world: kerberos.krbtgt("EVIL.TEST"))
_sname("A10.krbtgt_alone", lambda world: Name(NT_SRV_INST, ("krbtgt",)))
_sname(
    "A10.krbtgt_three_parts",
    lambda world: Name(NT_SRV_INST, ("krbtgt", world.realm, "x")),
)
_sname("A10.user", lambda world: user(world.person("bob").name))
_sname("A10.unknown_service", lambda world: Name(NT_SRV_INST, ("host", "nowhere.lab.test")))
_sname("A10.absent", lambda world: None)
_sname("A10.no_parts", lambda world: Name(NT_SRV_INST, ()))
_sname("A10.empty_part", lambda world: Name(NT_SRV_INST, ("krbtgt", "")))
