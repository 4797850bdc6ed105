"""N01-N07: names that must not be taken for others."""

from collections.abc import Callable

from tests.negative.engine import Exchange, Result, add, case
from tests.negative.wire import kerberos
from tests.negative.wire.kerberos import CANONICALIZE, NT_PRINCIPAL, Body, Name, enterprise, user
from tests.negative.wire.logon import PasswordLogon, Plain
from tests.negative.world import World


def _name(
    case_id: str,
    make: Callable[[World], Name | None],
    *,
    role: str = "pat",
    control: str = "password",
) -> None:
    """Register a logon with pat's right password under another name."""

    def build(world: World) -> PasswordLogon:
        logon = world.password(role)
        logon.body.cname = make(world)
        return logon

    add(case_id, build, control=control)


def _body(case_id: str, change: Callable[[World, Body], object], **more: str) -> None:
    def build(world: World) -> PasswordLogon:
        logon = world.password(more.get("role", "pat"))
        change(world, logon.body)
        return logon

    add(case_id, build, control=more.get("control", "password"))


def _set(name: str, make: Callable[[World], object]) -> Callable[[World, Body], None]:
    return lambda world, body: setattr(body, name, make(world))


# -- N01: realms -----------------------------------------------------------------------------

_body("N01.other_realm", _set("realm", lambda world: "EVIL.TEST"))
_body("N01.subdomain", _set("realm", lambda world: "SUB." + world.realm))
_body("N01.longer", _set("realm", lambda world: world.realm + ".EVIL"))
_body("N01.prefix", _set("realm", lambda world: world.realm[:-1]))
_body("N01.empty", _set("realm", lambda world: ""))
_body("N01.nul", _set("realm", lambda world: world.realm + "\0"))
_body("N01.trailing_dot", _set("realm", lambda world: world.realm + "."))
_body("N01.trailing_space", _set("realm", lambda world: world.realm + " "))
_body("N01.homoglyph", _set("realm", lambda world: world.realm.replace("A", "А")))
_body("N01.invalid_utf8", _set("realm", lambda world: world.realm.encode() + b"\xff"))
_body("N01.lower_case", _set("realm", lambda world: world.realm.lower()))
_body("N01.netbios", _set("realm", lambda world: world.netbios_name()))
_body("N01.krbtgt_netbios", _set("sname", lambda world: kerberos.krbtgt(world.netbios_name())))


@case("N01.enterprise_other_suffix", control="password")
def enterprise_of_another_suffix(world: World) -> Exchange:
    """A UPN whose suffix is no realm of ours belongs to whoever has it as userPrincipalName."""
    logon = world.password("suffixed")
    logon.body.cname = enterprise("somebody@elsewhere.example")
    return Exchange(logon=logon, check=_canonical)


@case("N01.enterprise_own_suffix", control="password")
def enterprise_of_our_suffix(world: World) -> Exchange:
    """An enterprise name of our own realm, in other case, canonicalized."""
    logon = world.password()
    logon.body.cname = enterprise(f"{world.person('pat').name.upper()}@{world.realm.lower()}")
    logon.body.options |= CANONICALIZE
    return Exchange(logon=logon, check=_canonical)


def _canonical(world: World, result: Result) -> None:
    """MS-KILE 3.3.5.6.1: the reply names the account itself."""
    assert result.ticket is not None
    assert result.ticket.cname.kind == NT_PRINCIPAL
    assert result.ticket.crealm == world.realm


# -- N02-N04: what is not the name -----------------------------------------------------------

for _case, _text in {
    "nul": "pat\0",
    "nul_and_more": "pat\0lice",
    "nul_first": "\0pat",
    "cr_lf": "pat\r\n",
    "cr_lf_forged_line": 'pat\r\n{"why":""}',
    "esc": "pat\x1b[2J",
    "bell": "pat\x07",
    "del": "pat\x7f",
    "bidi": "pat\u202e",
    "zero_width": "pa\u200bt",
}.items():
    _name(f"N02.{_case}", lambda world, text=_text: user(text))  # type: ignore[misc]  # bound
for _case, _raw in {
    "invalid_utf8": b"pat\xff",
    "overlong_utf8": b"p\xc1\xa1t",
    "surrogate_utf8": b"pat\xed\xa0\x80",
    "utf16": "pat".encode("utf-16-le"),
}.items():
    _name(f"N02.{_case}", lambda world, raw=_raw: user(raw))  # type: ignore[misc]  # bound

for _case, _text in {
    "cyrillic_a": "p\u0430t",
    "greek_alpha": "p\u03b1t",
    "fullwidth": "\uff50\uff41\uff54",
    "superscript": "pa\u1d57",
    "combining": "pa\u0301t",
    "soft_hyphen": "pa\xadt",
}.items():
    _name(f"N03.{_case}", lambda world, text=_text: user(text))  # type: ignore[misc]  # bound
_ACCENTED = {"role": "accented", "control": "password of accented"}
_name("N03.nfd", lambda world: user("zoe\u0308-irina-fin"), **_ACCENTED)
_name("N03.turkish_dotted_capital", lambda world: user("zo\xeb-\u0130rina-fin"), **_ACCENTED)
_name("N03.turkish_dotless", lambda world: user("zo\xeb-\u0131rina-fin"), **_ACCENTED)
_name("N03.ligature", lambda world: user("zo\xeb-irina-\ufb01n"), **_ACCENTED)
_name("N03.without_accent", lambda world: user("zoe-irina-fin"), **_ACCENTED)
_name("N03.capital_accent", lambda world: user("zo\xcb-irina-fin"), **_ACCENTED)

for _case, _text in {
    "star": "*",
    "prefix_star": "pa*",
    "filter": "pat)(objectClass=*",
    "filter_or": "*)(|(sAMAccountName=pat",
    "hex_escape": "\\70at",
    "star_escape": "\\2a",
    "backslash": "pat\\",
    "domain_backslash": "LAB\\pat",
    "quote": "pat' OR '1'='1",
    "percent": "pa%",
    "underscore": "pa_",
    "dn": "CN=pat,DC=lab,DC=test",
}.items():
    _name(f"N04.{_case}", lambda world, text=_text: user(text))  # type: ignore[misc]  # bound


# -- N05, N06: parts -------------------------------------------------------------------------


def _joined(world: World) -> str:
    return "/".join(str(part) for part in world.service_name().parts)


_name("N05.client_in_one_part", lambda world: user(_joined(world)))
_name("N05.client_three_parts", lambda world: Name(NT_PRINCIPAL, ("pat", "", "")))
_name("N05.client_empty_second_part", lambda world: Name(NT_PRINCIPAL, ("pat", "")))
_name("N05.client_and_realm_part", lambda world: Name(NT_PRINCIPAL, ("pat", world.realm)))
_body(
    "N05.service_in_one_part",
    _set("sname", lambda world: Name(kerberos.NT_SRV_HST, (_joined(world),))),
    control="service",
)
_body(
    "N05.service_split_elsewhere",
    _set("sname", lambda world: Name(kerberos.NT_SRV_HST, ("", _joined(world)))),
    control="service",
)
_body(
    "N05.krbtgt_in_one_part",
    _set("sname", lambda world: Name(kerberos.NT_SRV_INST, ("krbtgt/" + world.realm,))),
)
_name("N05.krbtgt_as_client", lambda world: user("krbtgt"))
_name("N05.krbtgt_two_parts_as_client", lambda world: kerberos.krbtgt(world.realm))

_name("N06.no_parts", lambda world: Name(NT_PRINCIPAL, ()))
_name("N06.empty_part", lambda world: user(""))
_name("N06.1000_parts", lambda world: Name(NT_PRINCIPAL, ("pat",) * 1000))
_name("N06.17_parts", lambda world: Name(NT_PRINCIPAL, ("pat",) * 17))
_name("N06.absent", lambda world: None)
_name("N06.60_KB", lambda world: user("p" * 60_000))


@case("N06.200_KB", control="password", transports=("tcp",))
def long_name(world: World) -> Plain:
    """A name of 200 KB, which only TCP can carry."""
    logon = world.password()
    logon.body.cname = user("p" * 200_000)
    return logon


_body("N06.realm_60_KB", _set("realm", lambda world: "R" * 60_000))


# -- N07: enterprise names -------------------------------------------------------------------

for _case, _text in {
    "two_realms": "pat@LAB.TEST@EVIL.TEST",
    "two_realms_netbios": "pat@LAB@EVIL",
    "ours_twice": "pat@LAB.TEST@LAB.TEST",
    "other_realm": "pat@EVIL.TEST",
    "no_name": "@LAB.TEST",
    "no_realm": "pat@",
    "only_at": "@",
    "space": "pat @LAB.TEST",
    "slash": "pat/admin@LAB.TEST",
    "krbtgt": "krbtgt@LAB.TEST",
}.items():
    _name(
        f"N07.{_case}",
        lambda world, text=_text: enterprise(text),  # type: ignore[misc]  # bound
        control="enterprise",
    )
