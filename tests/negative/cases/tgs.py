"""T01-T20: the TGS exchange, its TGT, PAC and authenticator."""

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.negative.engine import Exchange, Result, add, case, control, exchange, run
from tests.negative.wire import crypto, der, kerberos, pac
from tests.negative.wire.kerberos import Name, krbtgt, padata, user
from tests.negative.wire.tgs import (
    Change,
    Held,
    TgsRequest,
    edited,
    for_user,
    forged,
    held,
    pac_in,
    renamed,
    sealing_of,
    with_pac,
    without_pac,
)
from tests.negative.world import NotApplicableError, World

_LONG = timedelta(days=3650)


# -- what a client holds ---------------------------------------------------------------------


def logged_on(world: World, role: str = "pat", **changes: Any) -> Held:
    """Log on by password; changes: of the body."""
    logon = world.password(role, **changes)
    got = run(world, exchange(logon), "tcp")
    if got.ticket is None:
        raise NotApplicableError(f"a logon of {role}: {got}")
    return held(got.ticket, logon.owner)


def request(
    world: World, tgt: Held, sname: Name | None = None, *, options: int = kerberos.FORWARDABLE
) -> TgsRequest:
    """Ask for a service, the realm's own unless another is named."""
    body = world.body(None, sname=sname or world.service_name(), options=options)
    return TgsRequest(body=body, owner=tgt.owner, held=tgt)


def got(world: World, made: TgsRequest) -> Held:
    """Send a request that must get a ticket."""
    answer = run(world, exchange(made), "tcp")
    if answer.ticket is None:
        raise NotApplicableError(f"a ticket that comes before: {answer}")
    return held(answer.ticket, made.owner)


def _krbtgt(world: World, tgt: Held) -> tuple[int, bytes]:
    etype, kvno = sealing_of(tgt)
    key = world.krbtgt.get((etype, kvno))
    if key is None:
        raise NotApplicableError("the krbtgt key")
    return etype, key


def golden(world: World, change: Change, tgt: Held | None = None, **more: int) -> Held:
    """Forge a TGT with the key of krbtgt."""
    tgt = tgt or logged_on(world)
    return forged(tgt, _krbtgt(world, tgt), change, **more)


def golden_pac(world: World, change: Change, *, sign: bool = True) -> Held:
    """Forge a TGT whose PAC is changed, and signed again with the key of krbtgt."""
    tgt = logged_on(world)
    etype, key = _krbtgt(world, tgt)

    def alter(part: bytes) -> bytes:
        changed = change(pac_in(part))
        return with_pac(part, pac.signed(changed, etype, key, (etype, key)) if sign else changed)

    return forged(tgt, (etype, key), alter)


def _tgt(case_id: str, make: Callable[[World], Held], *, options: int = 1 << 30) -> None:
    """Register a request for a service with a TGT that is not what it should be."""
    add(case_id, lambda world: request(world, make(world), options=options), control="tgs")


def _set(number: int, value: Callable[[], bytes]) -> Change:
    return lambda part: edited(part, {number: value()})


# -- controls --------------------------------------------------------------------------------


def service_ticket(world: World) -> TgsRequest:
    """A service ticket."""
    return request(world, logged_on(world))


def renewal(world: World) -> TgsRequest:
    """A renewed TGT."""
    tgt = logged_on(world)
    return request(world, tgt, krbtgt(world.realm), options=kerberos.RENEW | kerberos.RENEWABLE)


def user_to_user(world: World) -> TgsRequest:
    """A ticket sealed with the session key of the other's TGT."""
    return _u2u(world, logged_on(world, "roasted"), world.person("roasted").name)


def _u2u(world: World, second: Held | None, name: str, sname: Name | None = None) -> TgsRequest:
    made = request(world, logged_on(world), sname or user(name), options=kerberos.ENC_TKT_IN_SKEY)
    if second is not None:
        made.body.replace[11] = der.sequence(second.ticket)
    return made


def s4u2self(world: World) -> TgsRequest:
    """A ticket to a service itself in pat's name."""
    return _self(world, logged_on(world, "svc"))


def s4u2proxy(world: World) -> TgsRequest:
    """A ticket to the realm's service in pat's name, with the ticket that pat has shown."""
    return proxied(world, _evidence(world))


control("tgs")(service_ticket)
control("renewal")(renewal)
control("user to user")(user_to_user)
control("s4u2self")(s4u2self)
control("s4u2proxy")(s4u2proxy)

# -- T01-T08: the TGT and its PAC ------------------------------------------------------------

_tgt("T01.service_ticket", lambda world: golden(world, without_pac))
for _case, _options in {
    "renewal": kerberos.RENEW | kerberos.RENEWABLE,
    "forwarded": kerberos.FORWARDED,
}.items():
    add(
        f"T01.{_case}",
        lambda world, options=_options: request(  # type: ignore[misc]  # bound
            world, golden(world, without_pac), krbtgt(world.realm), options=options
        ),
        control="renewal" if _case == "renewal" else "tgs",
    )
add(
    "T01.second_ticket",
    lambda world: _u2u(
        world,
        golden(world, without_pac, logged_on(world, "roasted")),
        world.person("roasted").name,
    ),
    control="user to user",
)
_tgt("T02.service_ticket", lambda world: golden_pac(world, _no_requestor))
add(
    "T02.renewal",
    lambda world: request(
        world,
        golden_pac(world, _no_requestor),
        krbtgt(world.realm),
        options=kerberos.RENEW | kerberos.RENEWABLE,
    ),
    control="renewal",
)


def _no_requestor(value: bytes) -> bytes:
    return pac.renamed(value, pac.REQUESTOR)


def _requestor(rid: Callable[[int], int]) -> Change:
    def change(value: bytes) -> bytes:
        sid = pac.buffer(value, pac.REQUESTOR)
        number = rid(int.from_bytes(sid[-4:], "little"))
        return pac.put(value, pac.REQUESTOR, number.to_bytes(4, "little"), at=len(sid) - 4)

    return change


_tgt("T03.another_account", lambda world: golden_pac(world, _requestor(lambda rid: rid + 1)))
_tgt("T03.no_account", lambda world: golden_pac(world, _requestor(lambda rid: 0x7FFFFFFF)))
_tgt("T03.administrator", lambda world: golden_pac(world, _requestor(lambda rid: 500)))


def _speaking_for(name: Callable[[World], Name]) -> Callable[[World], Held]:
    """Write another client's name into a TGT."""

    def make(world: World) -> Held:
        other = name(world)
        return replace(golden(world, lambda part: edited(part, {3: other.encode()})), cname=other)

    return make


_tgt(
    "T04.name_without_dollar",
    _speaking_for(lambda world: user(world.person("computer").name.rstrip("$"))),
)
_tgt("T04.name_of_another", _speaking_for(lambda world: user(world.person("alice").name)))
_tgt("T04.service_name_of_another", _speaking_for(lambda world: world.service_name()))


def _flipped(kind: int) -> Change:
    return lambda value: pac.put(value, kind, bytes((pac.buffer(value, kind)[4] ^ 1,)), at=4)


def _zeroed(kind: int) -> Change:
    return lambda value: pac.put(value, kind, bytes(len(pac.buffer(value, kind)) - 4), at=4)


for _name, _kind in {"server": pac.SERVER, "kdc": pac.KDC}.items():
    for _how, _change in {
        "wrong": _flipped(_kind),
        "zero": _zeroed(_kind),
        "missing": lambda value, kind=_kind: pac.renamed(value, kind),  # type: ignore[misc]  # bound
    }.items():
        _tgt(
            f"T05.{_name}_{_how}",
            lambda world, change=_change: golden_pac(world, change, sign=False),  # type: ignore[misc]  # bound
        )
for _name, _type in {"crc32": 1, "md5": 7, "sha1": 14, "hmac_md5": -138}.items():
    _tgt(
        f"T06.{_name}",
        lambda world, kind=_type: golden_pac(  # type: ignore[misc]  # bound
            world, lambda value: pac.signed_without_a_key(value, kind), sign=False
        ),
    )


@case("T07.pac_changed_and_signed_again", control="s4u2proxy")
def full_signature(world: World) -> TgsRequest:
    """Server's and KDC's signature made anew; the full one, which covers the octets, is not."""

    def change(value: bytes) -> bytes:
        offset = pac.table(value)[pac.LOGON_INFO][1] // 2
        return pac.put(value, pac.LOGON_INFO, b"\xff", at=offset)

    return proxied(world, _evidence_pac(world, change))


for _name, _kind in {"full": pac.FULL, "ticket": pac.TICKET}.items():
    add(
        f"T07.{_name}_missing",
        lambda world, kind=_kind: proxied(  # type: ignore[misc]  # bound
            world, _evidence_pac(world, lambda value: pac.renamed(value, kind))
        ),
        control="s4u2proxy",
    )


def _ten_years(part: bytes) -> bytes:
    return edited(part, {7: der.time(datetime.now(UTC) + _LONG)})


@case("T08.ten_years", control="tgs")
def ten_years(world: World) -> Exchange:
    """The end that a forged TGT names does not lengthen what is got with it."""
    made = request(world, golden(world, _ten_years))
    made.body.till = datetime.now(UTC).replace(microsecond=0) + _LONG
    return Exchange(logon=made, check=_clipped)


def _clipped(world: World, result: Result) -> None:
    assert result.ticket is not None
    life = result.ticket.part.endtime - datetime.now(UTC)
    assert life <= timedelta(hours=10), "longer than max_life"


_tgt("T08.no_such_user", _speaking_for(lambda world: user("nobody-at-all")))
_tgt("T08.krbtgt_as_user", _speaking_for(lambda world: user("krbtgt")))
_tgt("T08.upn_as_user", _speaking_for(lambda world: user(f"pat@{world.realm}")))
_tgt(
    "T08.started_eleven_hours_ago",
    lambda world: golden(
        world,
        lambda part: edited(
            part,
            {
                5: der.time(datetime.now(UTC) - timedelta(hours=11)),
                6: der.time(datetime.now(UTC) - timedelta(hours=11)),
                7: der.time(datetime.now(UTC) + _LONG),
            },
        ),
    ),
)
_tgt("T09.unknown_kvno", lambda world: golden(world, bytes, kvno=77))
_tgt("T09.kvno_zero", lambda world: golden(world, bytes, kvno=0))
_tgt("T09.negative_kvno", lambda world: golden(world, bytes, kvno=-2))
_tgt(
    "T09.another_key",
    lambda world: _sealed_anew(logged_on(world), bytes(32)),
)


def _sealed_anew(tgt: Held, key: bytes) -> Held:
    sealed = der.read(tgt.ticket).inner().field(3)
    cipher = crypto.encrypt(18, key, crypto.USAGE_TICKET, b"\x63\x02\x30\x00")
    data = kerberos.encrypted_data(18, cipher, sealed.field(1).number())
    return replace(tgt, ticket=edited(tgt.ticket, {3: data}))


# -- T10, T11: tickets that are no TGT -------------------------------------------------------

_tgt("T10.service_ticket", lambda world: got(world, service_ticket(world)))
_tgt(
    "T10.service_ticket_renamed",
    lambda world: renamed(got(world, service_ticket(world)), krbtgt(world.realm)),
)
_tgt(
    "T10.other_realm",
    lambda world: renamed(logged_on(world), krbtgt("OTHER.TEST")),
)
_CHANGEPW = Name(kerberos.NT_SRV_INST, ("kadmin", "changepw"))
_tgt("T11.kpasswd_ticket", lambda world: logged_on(world, sname=_CHANGEPW))
_tgt(
    "T11.kpasswd_ticket_renamed",
    lambda world: renamed(logged_on(world, sname=_CHANGEPW), krbtgt(world.realm)),
)


# -- T12, T13: S4U ---------------------------------------------------------------------------


def _own(world: World) -> Name:
    return Name(kerberos.NT_SRV_HST, ("host", "svc.lab.test"))


def _self(
    world: World, tgt: Held, whom: str = "pat", sname: Name | None = None, **more: int
) -> TgsRequest:
    name = user(world.person(whom).name)
    made = request(world, tgt, sname or _own(world))
    made.after = [padata(kerberos.PA_FOR_USER, for_user(tgt, name, world.realm, **more))]
    made.owner = world.person(whom).name
    return made


def _service_key(world: World) -> tuple[int, bytes]:
    """Return the long-term key of the service that acts for others: its own to know."""
    person = world.person("svc")
    if person.password is None:
        raise NotApplicableError("password of svc")
    return 18, crypto.string_to_key(18, person.password, world.realm + person.name)


def _evidence(world: World) -> Held:
    """Let pat get a ticket for the service that will act for pat."""
    return got(world, request(world, logged_on(world), _own(world)))


def _evidence_pac(world: World, change: Change) -> Held:
    """Change the PAC of an evidence ticket; sign it anew with the service's and krbtgt's keys."""
    evidence = _evidence(world)
    etype, key = _service_key(world)
    krbtgt_key = _krbtgt(world, logged_on(world))

    def alter(part: bytes) -> bytes:
        return with_pac(part, pac.signed(change(pac_in(part)), etype, key, krbtgt_key))

    return forged(evidence, (etype, key), alter)


def proxied(world: World, evidence: Held | None, *, rbcd: bool = False) -> TgsRequest:
    """Show a ticket as evidence and ask for the realm's service."""
    made = request(
        world,
        logged_on(world, "svc"),
        options=kerberos.FORWARDABLE | kerberos.CNAME_IN_ADDL_TKT,
    )
    if evidence is not None:
        made.body.replace[11] = der.sequence(evidence.ticket)
        made.owner = evidence.owner
    if rbcd:
        flags = der.sequence(der.explicit(0, der.bits(b"\x10\0\0\0")))
        made.after = [padata(kerberos.PA_PAC_OPTIONS, flags)]
    return made


def _forwardable(part: bytes) -> bytes:
    flags = int.from_bytes(der.read(part).inner().field(0).content[1:5], "big")
    return edited(part, {0: der.bits((flags | kerberos.FORWARDABLE).to_bytes(4, "big"))})


def _bronze(world: World) -> Held:
    """Set FORWARDABLE in a ticket of S4U2Self that came without, with the service's own key."""
    own = _self(world, logged_on(world, "svc"))
    ticket = got(world, own)
    return forged(ticket, _service_key(world), _forwardable)


for _case, _rbcd in {"bronze_bit": False, "bronze_bit_rbcd": True}.items():
    add(
        f"T12.{_case}",
        lambda world, rbcd=_rbcd: proxied(world, _bronze(world), rbcd=rbcd),  # type: ignore[misc]  # bound
        control="s4u2proxy",
    )
add(
    "T12.not_forwardable",
    lambda world: proxied(world, got(world, _self(world, logged_on(world, "svc")))),
    control="s4u2proxy",
)
add(
    "T12.another_user",
    lambda world: proxied(
        world,
        forged(
            _evidence(world),
            _service_key(world),
            lambda part: edited(part, {3: user(world.person("alice").name).encode()}),
        ),
    ),
    control="s4u2proxy",
)
add(
    "T12.no_pac",
    lambda world: proxied(world, forged(_evidence(world), _service_key(world), without_pac)),
    control="s4u2proxy",
)
add("T12.no_evidence", lambda world: proxied(world, None), control="s4u2proxy")
add(
    "T12.tgt_as_evidence",
    lambda world: proxied(world, logged_on(world)),
    control="s4u2proxy",
)
add(
    "T12.ticket_of_another_service",
    lambda world: proxied(world, got(world, service_ticket(world))),
    control="s4u2proxy",
)


@case("T12.service_that_is_in_no_list", control="s4u2proxy")
def in_no_list(world: World) -> TgsRequest:
    """A user cannot use his own TGT to act for others."""
    made = proxied(world, _evidence(world))
    made.body.sname = _own(world)
    return made


for _name, _type in {"crc32": 1, "md5": 7, "sha1": 14, "rsa_md5_des": 8, "none": 0}.items():
    add(
        f"T13.{_name}",
        lambda world, kind=_type: _self(world, logged_on(world, "svc"), cksumtype=kind),  # type: ignore[misc]  # bound
        control="s4u2self",
    )


@case("T13.name_changed", control="s4u2self")
def name_changed(world: World) -> TgsRequest:
    """CVE-2018-16860: the name is replaced on the way, the checksum stays."""
    made = _self(world, logged_on(world, "svc"))
    value = der.read(made.after[0]).field(2).content
    other = user(world.person("alice").name).encode()
    made.after = [padata(kerberos.PA_FOR_USER, edited(value, {0: other}))]
    return made


add(
    "T13.other_service",
    lambda world: _self(world, logged_on(world, "svc"), sname=world.service_name()),
    control="s4u2self",
)
add(
    "T13.krbtgt",
    lambda world: _self(world, logged_on(world, "svc"), sname=krbtgt(world.realm)),
    control="s4u2self",
)
add(
    "T13.by_a_user",
    lambda world: _self(world, logged_on(world), "roasted", sname=world.service_name()),
    control="s4u2self",
)


# -- T14: user to user -----------------------------------------------------------------------

add(
    "T14.tgt_of_another",
    lambda world: _u2u(world, logged_on(world), world.person("roasted").name),
    control="user to user",
)
add(
    "T14.wrong_sname",
    lambda world: _u2u(world, logged_on(world, "roasted"), "", world.service_name()),
    control="user to user",
)
add(
    "T14.no_tgt",
    lambda world: _u2u(world, got(world, service_ticket(world)), world.person("roasted").name),
    control="user to user",
)
add(
    "T14.none",
    lambda world: _u2u(world, None, world.person("roasted").name),
    control="user to user",
)


# -- T15: the authenticator ------------------------------------------------------------------


def _authenticator(case_id: str, change: Callable[[World, TgsRequest], object]) -> None:
    def build(world: World) -> TgsRequest:
        made = service_ticket(world)
        change(world, made)
        return made

    add(case_id, build, control="tgs")


def _cut_octet(mac: bytes) -> bytes:
    return mac[:-1]


_authenticator(
    "T15.other_cname", lambda world, made: setattr(made, "cname", user(world.person("alice").name))
)
_authenticator("T15.other_crealm", lambda world, made: setattr(made, "crealm", "OTHER.TEST"))
_authenticator(
    "T15.checksum_absent", lambda world, made: setattr(made, "checksum", lambda mac: b"")
)
_authenticator(
    "T15.checksum_zero", lambda world, made: setattr(made, "checksum", lambda mac: bytes(12))
)
_authenticator("T15.checksum_cut", lambda world, made: setattr(made, "checksum", _cut_octet))
for _name, _type in {"crc32": 1, "md5": 7, "sha1": 14, "of_aes128": 15, "hmac_md5": -138}.items():
    _authenticator(
        f"T15.checksum_{_name}",
        lambda world, made, kind=_type: setattr(made, "cksumtype", kind),  # type: ignore[misc]  # bound
    )
_authenticator(
    "T15.body_changed",
    lambda world, made: setattr(
        made, "change_body", lambda body: setattr(body, "nonce", body.nonce ^ 1)
    ),
)
_authenticator(
    "T15.service_changed",
    lambda world, made: setattr(
        made, "change_body", lambda body: setattr(body, "sname", krbtgt(world.realm))
    ),
)
for _name, _seconds in {"early": -600, "late": 600}.items():
    _authenticator(
        f"T15.skewed_{_name}",
        lambda world, made, seconds=_seconds: setattr(  # type: ignore[misc]  # bound
            made, "when", datetime.now(UTC) + timedelta(seconds=seconds)
        ),
    )


@case("T15.replayed", control="tgs")
def replayed(world: World) -> Exchange:
    """The AP-REQ of a request that was answered, in another message."""
    first = service_ticket(world)
    first.message()
    again = replace(first, after=[padata(kerberos.PA_PAC_REQUEST, b"\x30\x05\xa0\x03\x01\x01\xff")])
    return Exchange(logon=again, first=(Exchange(logon=first),))


@case("T15.stolen_ticket", control="tgs")
def stolen_ticket(world: World) -> TgsRequest:
    """A ticket without its session key."""
    tgt = logged_on(world)
    return request(world, replace(tgt, key=bytes(len(tgt.key))))


# -- T16-T18 ---------------------------------------------------------------------------------


def _renew(world: World, tgt: Held, option: int = kerberos.RENEW) -> TgsRequest:
    return request(world, tgt, krbtgt(world.realm), options=option)


add(
    "T16.not_renewable",
    lambda world: _renew(world, logged_on(world, options=kerberos.FORWARDABLE)),
    control="renewal",
)
add(
    "T16.past_renew_till",
    lambda world: _renew(
        world,
        golden(
            world,
            lambda part: edited(part, {8: der.time(datetime.now(UTC) - timedelta(minutes=1))}),
        ),
    ),
    control="renewal",
)
add(
    "T16.expired",
    lambda world: _renew(
        world,
        golden(
            world,
            lambda part: edited(part, {7: der.time(datetime.now(UTC) - timedelta(minutes=1))}),
        ),
    ),
    control="renewal",
)


def _invalid(part: bytes) -> bytes:
    flags = int.from_bytes(der.read(part).inner().field(0).content[1:5], "big")
    return edited(part, {0: der.bits((flags | kerberos.INVALID).to_bytes(4, "big"))})


_tgt("T16.invalid", lambda world: golden(world, _invalid))
_tgt(
    "T16.not_yet_valid",
    lambda world: golden(world, _set(6, lambda: der.time(datetime.now(UTC) + timedelta(hours=1)))),
)
add(
    "T16.validate_what_is_valid",
    lambda world: _renew(world, logged_on(world), kerberos.VALIDATE),
    control="renewal",
)


@case("T17.no_sname", control="tgs")
def no_sname(world: World) -> TgsRequest:
    """CVE-2021-3671: sname is OPTIONAL in the ASN.1."""
    made = service_ticket(world)
    made.body.sname = None
    return made


for _number, _field in {0: "options", 2: "realm", 5: "till", 7: "nonce", 8: "etype"}.items():

    def _without(world: World, number: int = _number) -> TgsRequest:
        made = service_ticket(world)
        made.body.replace[number] = None
        return made

    add(f"T17.no_{_field}", _without, control="tgs")


@case("T17.no_body", control="tgs")
def no_body(world: World) -> Exchange:
    """CVE-2021-37750: a TGS-REQ that ends where its body should stand."""
    made = service_ticket(world)

    def cut(message: bytes) -> bytes:
        fields = [node.raw for node in der.read(message).inner() if node.tag != 0xA4]
        return der.tlv(0x6C, der.sequence(*fields))

    return Exchange(logon=made, message=cut)


@case("T17.no_ap_req", control="tgs")
def no_ap_req(world: World) -> Exchange:
    """Nothing that proves anything."""
    made = service_ticket(world)

    def cut(message: bytes) -> bytes:
        fields = [node.raw for node in der.read(message).inner() if node.tag != 0xA3]
        return der.tlv(0x6C, der.sequence(*fields))

    return Exchange(logon=made, message=cut)


def _head(count: int, version: int = 0) -> Change:
    return lambda value: struct.pack("<II", count, version) + value[8:]


def _row(size: int | None = None, offset: int | None = None) -> Change:
    def change(value: bytes) -> bytes:
        kind, own_size, own_offset = struct.unpack_from("<IIQ", value, 8)
        row = struct.pack(
            "<IIQ",
            kind,
            own_size if size is None else size,
            own_offset if offset is None else offset,
        )
        return value[:8] + row + value[24:]

    return change


for _case, _change in {
    "count_0": _head(0),
    "count_2_28": _head(0x10000000),
    "count_2_32": _head(0xFFFFFFFF),
    "version_1": _head(5, 1),
    "size_2_32": _row(size=0xFFFFFFFF),
    "offset_2_32": _row(offset=0xFFFFFFF8),
    "offset_2_64": _row(offset=0xFFFFFFFFFFFFFFF8),
    "sum_wraps": _row(size=0xFFFFFFFF, offset=0xFFFFFFFFFFFFFFF8),
    "offset_in_the_table": _row(offset=0),
    "offset_odd": _row(offset=1021),
}.items():
    _tgt(
        f"T18.{_case}",
        lambda world, change=_change: golden_pac(world, change, sign=False),  # type: ignore[misc]  # bound
    )
_tgt("T18.empty", lambda world: golden_pac(world, lambda value: b"", sign=False))
_tgt("T18.one_octet", lambda world: golden_pac(world, lambda value: b"\x05", sign=False))
_tgt("T18.cut", lambda world: golden_pac(world, lambda value: value[: len(value) // 2], sign=False))
