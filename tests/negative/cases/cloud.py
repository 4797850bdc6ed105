"""X01-X11: partial TGTs of read-only DCs and the cloud, and key lists."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.negative.cases.tgs import golden, logged_on, request
from tests.negative.engine import Exchange, Result, add, case, control, open_ticket
from tests.negative.wire import cloud, crypto, der, kerberos
from tests.negative.wire.cloud import CloudKeys, Partial
from tests.negative.wire.kerberos import krbtgt, padata, user
from tests.negative.wire.tgs import TgsRequest, for_user, pac_in
from tests.negative.world import NotApplicableError, World

MAIN, NO_LINK, NO_FLAG, BROKEN_LIST, OTHER, TWICE, PRIMARY, NO_LIST = 40_000, 2, 3, 4, 5, 6, 7, 8
"""Read-only DCs by number; the first one's kvno is negative."""
GONE = 0x1234
REALM = "cloud"


def _keys(world: World) -> CloudKeys:
    if world.cloud is None:
        raise NotApplicableError("keys of read-only DCs")
    return world.cloud


def partial(world: World, role: str = "pat", *, number: int = MAIN, **changes: Any) -> Partial:
    """Make a partial TGT for a person, or for an account by its own name."""
    keys = _keys(world)
    found = world.people.get(role)
    name = role if found is None else found.name
    given = {
        "realm": world.realm,
        "name": name,
        "sid": keys.sids.get(name, f"{keys.domain}-9999"),
        "number": number,
        "key": keys.keys.get(number, bytes(32)),
        **changes,
    }
    return Partial(**given)


def full(world: World, made: Partial) -> TgsRequest:
    """Ask for a full TGT."""
    held = made.held()
    return request(world, held, krbtgt(world.realm), options=kerberos.FORWARDABLE)


def _partial(
    case_id: str,
    make: Callable[[World], Partial],
    *,
    control: str = "partial",
    realm: str = REALM,
) -> None:
    add(case_id, lambda world: full(world, make(world)), control=control, realm=realm)


# -- controls --------------------------------------------------------------------------------


def plain(world: World) -> TgsRequest:
    """A full TGT for a partial one."""
    return full(world, partial(world))


def with_key_list(world: World) -> TgsRequest:
    """The same, and the AES keys."""
    return _listed(full(world, partial(world)))


def service(world: World) -> TgsRequest:
    """A service ticket straight from a partial TGT."""
    return request(world, partial(world).held())


control("partial")(plain)
control("key list")(with_key_list)
control("partial service")(service)


# -- X01-X04 ---------------------------------------------------------------------------------

_partial("X01.unknown_number", lambda world: partial(world, number=GONE))
_partial("X01.unknown_negative_number", lambda world: partial(world, number=0xFFFE))
_partial("X02.no_link", lambda world: partial(world, number=NO_LINK))
_partial("X02.no_flag", lambda world: partial(world, number=NO_FLAG))
_partial("X02.deny_list_names_what_is_gone", lambda world: partial(world, number=BROKEN_LIST))
for _case, _role in {
    "denied": "eve",
    "in_both_lists": "roasted",
    "in_both_by_three_groups": "accented",
    "in_neither": "twin1",
}.items():
    _partial(f"X03.{_case}", lambda world, role=_role: partial(world, role))  # type: ignore[misc]  # bound
_partial("X03.no_list", lambda world: partial(world, number=NO_LIST))
_partial("X03.denied_by_primary_group", lambda world: partial(world, "bob"))
_partial("X03.allowed_by_primary_group", lambda world: partial(world, "bob", number=PRIMARY))
_partial("X03.left_by_primary_group", lambda world: partial(world, number=PRIMARY))
for _case, _name in {
    "domain_admin": "administrator",
    "krbtgt": "krbtgt",
    "krbtgt_of_the_read_only_dc": f"krbtgt_{MAIN}",
    "domain_controller": "dc1$",
    "computer_of_the_cloud": f"rodc{MAIN}$",
    "admin_count": "card",
}.items():
    _partial(f"X04.{_case}", lambda world, name=_name: partial(world, name))  # type: ignore[misc]  # bound
add(
    "X04.service_ticket",
    lambda world: request(world, partial(world, "administrator").held()),
    control="partial service",
    realm=REALM,
)


# -- X05 -------------------------------------------------------------------------------------


@case("X05.groups_and_extra_sids", control="partial", realm=REALM)
def forged_groups(world: World) -> Exchange:
    """Domain Admins, Enterprise Admins, Administrators, and a key-trust logon: all thrown away."""
    keys = _keys(world)
    made = partial(
        world,
        groups=(513, 512, 519),
        extra=("S-1-5-32-544", "S-1-18-4", f"{keys.domain}-519"),
    )
    return Exchange(logon=full(world, made), check=_nothing_forged)


def _nothing_forged(world: World, result: Result) -> None:
    assert result.ticket is not None
    plain = open_ticket(world, result.ticket)
    assert plain is not None
    pac = pac_in(plain)
    for text in ("S-1-5-32-544", "S-1-18-4", f"{_keys(world).domain}-519"):
        assert cloud.sid(text) not in pac, text
    for rid in (512, 519):
        assert rid.to_bytes(4, "little") + b"\x07\0\0\0" not in pac, rid
    assert (513).to_bytes(4, "little") + b"\x07\0\0\0" in pac


@case("X05.other_authorization_data", control="partial", realm=REALM)
def other_data(world: World) -> Exchange:
    """AD-KDC-ISSUED and an authentication indicator beside the PAC."""

    def data(pac: bytes) -> list[bytes]:
        element = der.sequence(
            der.explicit(0, der.integer(97)), der.explicit(1, der.octets(b"strong"))
        )
        return [cloud.if_relevant(cloud.pac_element(pac)), cloud.if_relevant(element)]

    return Exchange(logon=full(world, partial(world, data=data)), check=_one_element)


def _one_element(world: World, result: Result) -> None:
    assert result.ticket is not None
    plain = open_ticket(world, result.ticket)
    assert plain is not None
    assert len(list(der.read(plain).inner().field(10))) == 1


# -- X06, X07 --------------------------------------------------------------------------------


def _sid_of(world: World, role: str) -> str:
    return _keys(world).sids[world.person(role).name]


_partial("X06.sid_of_another", lambda world: partial(world, sid=_sid_of(world, "disabled")))
_partial(
    "X06.name_of_another",
    lambda world: partial(world, "card", cname=user(world.person("pat").name)),
)
_partial(
    "X06.logon_info_of_another",
    lambda world: partial(world, logon_sid=_sid_of(world, "administrator")),
)
_partial("X06.sid_of_nobody", lambda world: partial(world, sid=f"{_keys(world).domain}-77777"))
_partial("X06.name_of_nobody", lambda world: partial(world, "nobody-at-all"))
_partial("X06.name_without_dollar", lambda world: partial(world, "dc1", sid=_dollar(world)))


def _dollar(world: World) -> str:
    return _keys(world).sids["dc1$"]


_partial("X07.wrong_key", lambda world: partial(world, key=bytes(32)))
_partial("X07.rolled_twice", lambda world: partial(world, key=_keys(world).void))
_partial("X07.rolled_once", lambda world: partial(world, key=_keys(world).previous))
_HOUR = timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


_partial("X07.expired", lambda world: partial(world, start=_now() - 2 * _HOUR, end=_now() - _HOUR))
_partial("X07.not_yet_valid", lambda world: partial(world, start=_now() + _HOUR))
_partial("X07.proven_in_the_future", lambda world: partial(world, authtime=_now() + 99 * _HOUR))


# -- X08: key lists --------------------------------------------------------------------------


def _listed(made: TgsRequest, *etypes: int) -> TgsRequest:
    made.after = [cloud.key_list_request(*(etypes or (18, 17)))]
    return made


def _no_keys(world: World, result: Result) -> None:
    assert result.ticket is not None
    assert cloud.PA_KEY_LIST_REP not in dict(result.ticket.part.padata)


def _own_keys(world: World, result: Result) -> None:
    assert result.ticket is not None
    (kind, value), *_ = result.ticket.part.padata
    assert kind == cloud.PA_KEY_LIST_REP
    person = world.person("pat")
    assert person.password is not None
    keys = {
        e: crypto.string_to_key(e, person.password, world.realm + person.name) for e in (18, 17)
    }
    assert cloud.key_list(value) == keys


for _case, _role in {"denied": "eve", "in_neither_list": "twin1", "administrator": ""}.items():
    add(
        f"X08.{_case}",
        lambda world, role=_role: _listed(  # type: ignore[misc]  # bound
            full(world, partial(world, role or "administrator"))
        ),
        control="key list",
        realm=REALM,
    )


@case("X08.allowed", control="key list", realm=REALM)
def key_list_allowed(world: World) -> Exchange:
    """The client's own keys, first in encrypted-pa-data, and no type that was not asked for."""
    return Exchange(logon=with_key_list(world), check=_own_keys)


@case("X08.off", control="partial", realm="cloud_off")
def key_list_off(world: World) -> Exchange:
    """A ticket and no keys, where the realm has not switched them on."""
    return Exchange(logon=with_key_list(world), check=_no_keys)


@case("X08.full_tgt", control="tgs", realm=REALM)
def key_list_with_a_full_tgt(world: World) -> Exchange:
    """A TGT of our own is no reason to give keys out."""
    made = request(world, logged_on(world), krbtgt(world.realm), options=kerberos.FORWARDED)
    return Exchange(logon=_listed(made), check=_no_keys)


@case("X08.service_ticket", control="partial service", realm=REALM)
def key_list_with_a_service_ticket(world: World) -> Exchange:
    """Only with a TGT."""
    return Exchange(logon=_listed(service(world)), check=_no_keys)


@case("X08.no_such_key", control="key list", realm=REALM)
def key_list_of_types_nobody_has(world: World) -> Exchange:
    """DES, RC4 and made-up types: none is stored."""
    return Exchange(logon=_listed(plain(world), 3, 23, -1, 99), check=_no_keys)


@case("X08.malformed", control="key list", realm=REALM)
def key_list_malformed(world: World) -> TgsRequest:
    """An OCTET STRING instead of the list."""
    made = plain(world)
    made.after = [padata(cloud.PA_KEY_LIST_REQ, der.octets(b"23"))]
    return made


@case("X08.too_many_types", control="key list", realm=REALM)
def key_list_too_long(world: World) -> TgsRequest:
    """1,000 types."""
    return _listed(plain(world), *range(1000))


# -- X09, X10 --------------------------------------------------------------------------------


@case("X09.s4u2self", control="partial", realm=REALM)
def s4u2self(world: World) -> TgsRequest:
    """As Windows: 6."""
    held = partial(world, "svc").held()
    name = user(world.person("pat").name)
    own = kerberos.Name(kerberos.NT_SRV_HST, ("host", "svc.lab.test"))
    made = request(world, held, own)
    made.after = [padata(kerberos.PA_FOR_USER, for_user(held, name, world.realm))]
    return made


for _case in (
    "disabled",
    "expired",
    "locked",
    "hours",
    "must_change",
    "password_expired",
):
    _partial(f"X10.{_case}", lambda world, role=_case: partial(world, role))  # type: ignore[misc]  # bound


# -- X11 -------------------------------------------------------------------------------------

_partial("X11.no_pac", lambda world: partial(world, data=lambda pac: None))
_partial(
    "X11.two_pacs",
    lambda world: partial(world, data=lambda pac: [cloud.if_relevant(cloud.pac_element(pac))] * 2),
)
_partial(
    "X11.two_pacs_in_one_container",
    lambda world: partial(
        world, data=lambda pac: [cloud.if_relevant(*[cloud.pac_element(pac)] * 2)]
    ),
)
_partial(
    "X11.nested_pac",
    lambda world: partial(
        world, data=lambda pac: [cloud.if_relevant(cloud.if_relevant(cloud.pac_element(pac)))]
    ),
)
_partial(
    "X11.pac_without_container",
    lambda world: partial(world, data=lambda pac: [cloud.pac_element(pac)]),
)


def _without(kind: int) -> Callable[[cloud.Buffers], cloud.Buffers]:
    return lambda buffers: {k: v for k, v in buffers.items() if k != kind}


_partial("X11.no_requestor", lambda world: partial(world, change=_without(cloud.REQUESTOR)))
_partial("X11.no_server_signature", lambda world: partial(world, change=_without(cloud.SERVER)))
_partial("X11.no_kdc_signature", lambda world: partial(world, change=_without(cloud.KDC)))
_partial("X11.no_logon_info", lambda world: partial(world, change=_without(cloud.LOGON_INFO)))
_partial(
    "X11.pac_changed",
    lambda world: partial(world, signed=lambda pac: pac[:200] + b"\xff" + pac[201:]),
)
_partial(
    "X11.signed_by_another_read_only_dc",
    lambda world: partial(world, signer=_keys(world).keys[OTHER]),
)
_partial("X11.number_in_signatures", lambda world: partial(world, identifier=MAIN))
_partial("X11.other_number_in_signatures", lambda world: partial(world, identifier=OTHER))
_partial("X11.number_of_another", lambda world: partial(world, kvno=OTHER << 16 | 1))
_partial("X11.number_zero", lambda world: partial(world, kvno=1))
_partial("X11.no_kvno", lambda world: partial(world, kvno=77))
_partial("X11.number_of_two", lambda world: partial(world, number=TWICE))
_partial("X11.lower_half_zero", lambda world: partial(world, kvno=(MAIN << 16) - (1 << 32)))
_partial("X11.unsigned_kvno", lambda world: partial(world, kvno=MAIN << 16 | 0xFFFF))


@case("X11.own_tgt_under_a_number", control="tgs", realm=REALM)
def own_tgt_under_a_number(world: World) -> TgsRequest:
    """A golden ticket that says that a read-only DC made it."""
    return request(world, golden(world, bytes, kvno=OTHER << 16 | 1))


@case("X11.replayed", control="partial", realm=REALM)
def replayed(world: World) -> Exchange:
    """The same authenticator in another packet."""
    first = plain(world)
    held = first.held
    second = request(world, held, krbtgt(world.realm), options=kerberos.FORWARDABLE)
    first.message()
    second.body = first.body
    second.kept = first.kept
    second.after = [padata(150, b"")]
    return Exchange(logon=second, first=(Exchange(logon=first),))
