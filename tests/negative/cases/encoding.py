"""E01, E02, E04-E07: what is not DER, or too much of it. E03 is a test of its own."""

from collections.abc import Callable

from tests.negative.engine import Exchange, add, case
from tests.negative.wire import der, mutate
from tests.negative.wire.cms import SIGNING_TIME, attribute
from tests.negative.wire.kerberos import PA_PAC_REQUEST, Body, padata
from tests.negative.wire.logon import PasswordLogon, PkinitLogon
from tests.negative.wire.mutate import Change, rewrite
from tests.negative.world import World


def _message(case_id: str, change: Change) -> None:
    def build(world: World) -> Exchange:
        return Exchange(logon=world.password(), message=change)

    add(case_id, build, control="password")


def _at(case_id: str, path: tuple[int, ...], change: Change) -> None:
    _message(case_id, lambda message: rewrite(message, path, change))


# -- E01: lengths, integers ------------------------------------------------------------------

PLACES = {
    "outer": mutate.OUTER,
    "sequence": mutate.SEQUENCE,
    "padata": mutate.PADATA,
    "pa_data": mutate.FIRST_PA,
    "body": mutate.BODY,
    "cname": mutate.CNAME,
}
for _name, _path in PLACES.items():
    _at(f"E01.indefinite_{_name}", _path, der.indefinite)
    _at(f"E01.zero_octets_in_length_{_name}", _path, lambda element: der.long_form(element, 4))
for _name, _path in {
    "pvno": mutate.PVNO,
    "realm": mutate.REALM,
    "nonce": mutate.NONCE,
    "till": mutate.TILL,
}.items():
    _at(f"E01.long_form_{_name}", _path, lambda element: der.long_form(element, 1))
_at("E01.length_of_5_octets", mutate.REALM, lambda element: der.long_form(element, 5))
_at("E01.length_reserved", mutate.REALM, lambda element: element[:1] + b"\xff" + element[2:])
_at("E01.integer_pvno", mutate.PVNO, mutate.leading_zero)
_at("E01.integer_msg_type", mutate.MSG_TYPE, mutate.leading_zero)
_at("E01.integer_nonce_ff", mutate.NONCE, mutate.content(b"\xff\xff\xff\xff\xff"))
_at("E01.integer_empty", mutate.NONCE, mutate.content(b""))
_at("E01.constructed_string", mutate.REALM, mutate.tag(0x3B))
_at("E01.flags_unused_bits_8", (0, 3, 0, 0, 0), mutate.content(b"\x08\x00\x00\x00\x00"))
_at("E01.flags_empty", (0, 3, 0, 0, 0), mutate.content(b""))
_at("E01.timestamp_indefinite", mutate.FIRST_PA_VALUE, lambda e: _inside(e, der.indefinite))
_at(
    "E01.timestamp_long_form",
    mutate.FIRST_PA_VALUE,
    lambda element: _inside(element, lambda inner: der.long_form(inner, 4)),
)


def _inside(octet_string: bytes, change: Change) -> bytes:
    return der.octets(change(der.read(octet_string).content))


def _cms(case_id: str, change: Callable[[PkinitLogon], object]) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        change(logon)
        return logon

    add(case_id, build)


def _request(change: Change) -> Callable[[PkinitLogon], None]:
    def apply(logon: PkinitLogon) -> None:
        logon.wrap = lambda kept: change(der.sequence(der.implicit(0, kept)))

    return apply


def _content_info(change: Change) -> Callable[[PkinitLogon], None]:
    def apply(logon: PkinitLogon) -> None:
        logon.wrap = lambda kept: der.sequence(der.implicit(0, change(kept)))

    return apply


_cms("E01.pk_as_req_indefinite", _request(der.indefinite))
_cms("E01.content_info_indefinite", _content_info(der.indefinite))
_cms("E01.content_info_long_form", _content_info(lambda info: der.long_form(info, 4)))
_cms(
    "E01.signed_data_indefinite",
    lambda logon: setattr(logon.signed, "bend_signed_data", der.indefinite),
)
_cms("E01.econtent_constructed", lambda logon: setattr(logon.signed, "econtent", _constructed))


def _constructed(content: bytes) -> bytes:
    """Cut the OCTET STRING in two, as BER producers do with long ones."""
    return der.explicit(0, der.tlv(0x24, der.octets(content[:100]) + der.octets(content[100:])))


def _pac_request(case_id: str, value: bytes) -> None:
    """Register a PA-PAC-REQUEST, which holds the only BOOLEAN of an AS-REQ."""

    def build(world: World) -> PasswordLogon:
        logon = world.password()
        logon.after = [padata(PA_PAC_REQUEST, value)]
        return logon

    add(case_id, build, control="password")


def _boolean(content: bytes) -> bytes:
    return der.sequence(der.explicit(0, der.tlv(der.BOOLEAN, content)))


_pac_request("E01.boolean_01", _boolean(b"\x01"))
_pac_request("E01.boolean_fe", _boolean(b"\xfe"))
_pac_request("E01.boolean_empty", _boolean(b""))
_pac_request("E01.boolean_two_octets", _boolean(b"\xff\xff"))
_pac_request("E01.boolean_ff", _boolean(b"\xff"))
_pac_request("E01.boolean_00", _boolean(b"\x00"))


# -- E02: behind the message -----------------------------------------------------------------

_message("E02.zero", lambda message: message + b"\x00")
_message("E02.null_element", lambda message: message + b"\x05\x00")
_message("E02.twice", lambda message: message + message)
_message("E02.inside_application", lambda m: der.tlv(m[0], der.read(m).content + b"\x05\x00"))
_at("E02.inside_body", mutate.BODY, lambda e: der.tlv(e[0], der.read(e).content + b"\x05\x00"))
_at(
    "E02.inside_explicit",
    (0, 0),
    lambda element: der.tlv(element[0], der.read(element).content + b"\x05\x00"),
)


# -- E04: too much ---------------------------------------------------------------------------

_message("E04.nested_20000", lambda message: der.tlv(0x6A, mutate.nested(16_000)))
_at("E04.nested_in_padata", mutate.PADATA, lambda element: mutate.nested(15_000))
_at("E04.nested_in_timestamp", mutate.FIRST_PA_VALUE, lambda e: der.octets(mutate.nested(15_000)))
_cms("E04.nested_in_pk_as_req", _request(lambda request: mutate.nested(15_000)))
_cms(
    "E04.nested_in_trusted_certifiers",
    _request(
        lambda request: der.tlv(
            0x30, der.read(request).content + der.explicit(1, mutate.nested(14_000))
        )
    ),
)


def _many_padata(count: int) -> Callable[[World], PasswordLogon]:
    def build(world: World) -> PasswordLogon:
        logon = world.password()
        logon.after = [padata(1000, b"")] * count
        return logon

    return build


add("E04.padata_5000", _many_padata(4000), control="password")
add("E04.padata_65", _many_padata(64), control="password")
add("E04.padata_64", _many_padata(63), control="password")


def _etypes(case_id: str, etypes: tuple[int, ...]) -> None:
    add(case_id, lambda world: world.password(etypes=etypes), control="password")


_etypes("E04.etypes_3000", (18,) * 3000)
_etypes("E04.etypes_65", (18,) * 65)
_etypes("E04.etypes_64", (18, *range(1000, 1063)))
_at("E04.nonce_60_KB", mutate.NONCE, mutate.content(b"\x01" * 60_000))
_at("E04.nonce_9_octets", mutate.NONCE, mutate.content(b"\x01" * 9))
_at("E04.pvno_60_KB", mutate.PVNO, mutate.content(b"\x05" * 60_000))
_cms("E04.oid_60_KB", lambda logon: setattr(logon.signed, "bend_signed_data", _long_oid))
_cms("E04.oid_65_octets", lambda logon: setattr(logon.signed, "bend_signed_data", _oid_65))
_cms("E04.certificates_65", lambda logon: _certificates(logon, 65))
_cms("E04.certificates_10", lambda logon: _certificates(logon, 10))


def _content_oid(signed: bytes, oid: bytes) -> bytes:
    return rewrite(signed, (2, 0), lambda element: der.tlv(der.OID, oid))


def _long_oid(signed: bytes) -> bytes:
    return _content_oid(signed, b"\x2a" + b"\x81\x01" * 30_000)


def _oid_65(signed: bytes) -> bytes:
    return _content_oid(signed, b"\x2a" + b"\x01" * 64)


def _certificates(logon: PkinitLogon, count: int) -> None:
    own = logon.identity.certificate.der
    fillers = [own[:-1] + bytes((number,)) for number in range(count - 1)]
    logon.signed.certificates = [own, *fillers]


@case("E04.oid_100_KB", transports=("tcp",))
def oid_of_100_kb(world: World) -> PkinitLogon:
    """An OID of 100 KB, which only TCP can carry."""
    logon = world.pkinit()
    logon.signed.bend_signed_data = lambda signed: _content_oid(
        signed, b"\x2a" + b"\x81\x01" * 50_000
    )
    return logon


@case("E04.integer_250_KB", control="password", transports=("tcp",))
def integer_of_250_kb(world: World) -> Exchange:
    """An INTEGER as large as a TCP message may be."""
    return Exchange(
        logon=world.password(),
        message=lambda m: rewrite(m, mutate.NONCE, mutate.content(b"\x01" * 250_000)),
    )


@case("E04.integer_1_MB", control="password", transports=("tcp",))
def integer_of_1_mb(world: World) -> Exchange:
    """An INTEGER of a megabyte, in a message that is itself too long."""
    return Exchange(
        logon=world.password(),
        message=lambda m: rewrite(m, mutate.NONCE, mutate.content(b"\x01" * (1 << 20))),
    )


# -- E05: fields -----------------------------------------------------------------------------


def _order(case_id: str, change: Callable[[Body], object]) -> None:
    def build(world: World) -> PasswordLogon:
        logon = world.password()
        change(logon.body)
        return logon

    add(case_id, build, control="password")


def _fields(*order: int) -> Callable[[Body], None]:
    return lambda body: setattr(body, "order", order)


_order("E05.body_realm_twice", _fields(0, 1, 2, 2, 3, 5, 7, 8))
_order("E05.body_cname_twice", _fields(0, 1, 1, 2, 3, 5, 7, 8))
_order("E05.body_nonce_twice_at_end", _fields(0, 1, 2, 3, 5, 7, 8, 7))
_order("E05.body_out_of_order", _fields(0, 2, 1, 3, 5, 7, 8))
_order("E05.body_reversed", _fields(8, 7, 5, 3, 2, 1, 0))
_order("E05.realm_missing", _fields(0, 1, 3, 5, 7, 8))
_order("E05.till_missing", _fields(0, 1, 2, 3, 7, 8))
_order("E05.nonce_missing", _fields(0, 1, 2, 3, 5, 8))
_order("E05.etype_missing", _fields(0, 1, 2, 3, 5, 7))
_order("E05.options_missing", _fields(1, 2, 3, 5, 7, 8))
_order(
    "E05.unknown_field",
    lambda body: (body.replace.update({12: der.null()}), _fields(*range(13))(body)),
)


def _swap(element: bytes) -> bytes:
    first, second, *rest = [child.raw for child in der.read(element)]
    return der.tlv(element[0], b"".join((second, first, *rest)))


def _double_first(element: bytes) -> bytes:
    first, *rest = [child.raw for child in der.read(element)]
    return der.tlv(element[0], b"".join((first, first, *rest)))


_at("E05.header_out_of_order", mutate.SEQUENCE, _swap)
_at("E05.pvno_twice", mutate.SEQUENCE, _double_first)
_at("E05.high_tag_outer", mutate.OUTER, mutate.high_tag)
_at("E05.high_tag_field", (0, 0), mutate.high_tag)
_at("E05.high_tag_body_field", (0, 3, 0, 2), mutate.high_tag)
_at("E05.application_tag_inside", mutate.SEQUENCE, mutate.tag(0x6A))
_at("E05.wrong_string_type", mutate.REALM, mutate.tag(0x0C))
_at("E05.wrong_time_type", mutate.TILL, mutate.tag(0x17))
_at("E05.set_for_sequence", mutate.CNAME, mutate.tag(0x31))


# -- E06: signed attributes out of order -----------------------------------------------------


def _attributes(case_id: str, *, sent: bool, extra: bool) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        logon.signer.order = lambda attributes: sorted(attributes, reverse=True)
        logon.signer.sign_sent_order = sent
        if extra:
            when = der.tlv(0x17, b"261121000000Z")
            logon.signer.more_attributes = (attribute(SIGNING_TIME, when),)
        return logon

    add(case_id, build)


_attributes("E06.sent_reversed", sent=False, extra=False)
_attributes("E06.signed_reversed", sent=True, extra=False)
_attributes("E06.three_reversed", sent=False, extra=True)
_attributes("E06.three_signed_reversed", sent=True, extra=True)


@case("E06.same_twice")
def same_attribute_twice(world: World) -> PkinitLogon:
    """The same attribute twice, signed so."""
    logon = world.pkinit()
    logon.signer.order = lambda attributes: [*attributes, attributes[-1]]
    logon.signer.sign_sent_order = True
    return logon


# -- E07: ranges -----------------------------------------------------------------------------


def _nonce(case_id: str, value: int) -> None:
    add(case_id, lambda world: world.password(nonce=value), control="password")


_nonce("E07.nonce_too_large", 1 << 32)
_nonce("E07.nonce_too_small", -(1 << 31) - 1)
_nonce("E07.nonce_64_bits", (1 << 63) - 1)
_nonce("E07.nonce_lowest", -(1 << 31))
_nonce("E07.nonce_minus_1", -1)
_nonce("E07.nonce_largest", (1 << 32) - 1)
_nonce("E07.nonce_0", 0)


@case("E07.auth_pack_nonce_too_large")
def auth_pack_nonce(world: World) -> PkinitLogon:
    """The same range holds inside the AuthPack."""
    logon = world.pkinit()
    logon.auth.nonce = 1 << 32
    return logon


def _raw(case_id: str, **changes: bytes) -> None:
    def build(world: World) -> PasswordLogon:
        logon = world.password()
        for name, value in changes.items():
            setattr(logon.body, name, value)
        return logon

    add(case_id, build, control="password")


_raw("E07.till_fraction", till=b"20370101000000.5Z")
_raw("E07.till_offset", till=b"20370101000000+0100")
_raw("E07.till_no_zone", till=b"20370101000000")
_raw("E07.till_no_seconds", till=b"203701010000Z")
_raw("E07.till_two_digit_year", till=b"370101000000Z")
_raw("E07.till_month_13", till=b"20371301000000Z")
_raw("E07.till_february_30", till=b"20370230000000Z")
_raw("E07.till_second_60", till=b"20370101000060Z")
_raw("E07.till_letters", till=b"2037010100000xZ")
_raw("E07.till_empty", till=b"")
_raw("E07.from_fraction", from_=b"20260101000000.5Z")
_raw("E07.rtime_offset", rtime=b"20370101000000+0100")


def _replaced(case_id: str, number: int, element: bytes) -> None:
    def build(world: World) -> PasswordLogon:
        logon = world.password()
        logon.body.replace[number] = element
        return logon

    add(case_id, build, control="password")


_replaced("E07.flags_40_bits", 0, der.bits(b"\x40\x80\x00\x00\xff"))
_replaced("E07.etype_64_bits", 8, der.sequence(der.integer(1 << 40), der.integer(18)))
_replaced(
    "E07.name_type_64_bits",
    1,
    der.sequence(
        der.explicit(0, der.integer(1 << 40)),
        der.explicit(1, der.sequence(der.string("pat"))),
    ),
)
