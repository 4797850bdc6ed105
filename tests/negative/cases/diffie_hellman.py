"""D01-D09: groups, public values, nonces."""

from collections.abc import Callable

from tests.negative.engine import Exchange, Result, add, case
from tests.negative.wire import der
from tests.negative.wire.groups import CURVES, Agreement, Curve, Modp, ffdhe2048_prime, modp_prime
from tests.negative.wire.logon import AuthPack, PkinitLogon
from tests.negative.world import World

TD_DH_PARAMETERS = 109
MODP14 = modp_prime(2048)


def _lists_our_groups(world: World, result: Result) -> None:
    """A refused group is answered with the groups that are accepted (RFC 4556 3.2.2)."""
    assert result.error is not None
    listed = [node.raw for node in der.read(result.error.typed_data()[TD_DH_PARAMETERS])]
    assert len(listed) >= 2, "TD-DH-PARAMETERS lists too little"
    parameters = [list(der.read(raw))[1] for raw in listed]
    primes = [next(iter(node)).raw for node in parameters if node.tag == der.SEQUENCE]
    assert der.integer(MODP14) in primes, "TD-DH-PARAMETERS does not list group 14"


def _group(
    case_id: str,
    make: Callable[[], Agreement],
    *,
    control: str = "pkinit",
    realm: str = "main",
    refused: bool = True,
) -> None:
    def build(world: World) -> Exchange:
        logon = world.pkinit()
        logon.auth.agreement = make()
        return Exchange(logon=logon, check=_lists_our_groups if refused else None)

    add(case_id, build, control=control, realm=realm)


# -- D01, D02, D06: groups -------------------------------------------------------------------

_group("D01.modp_768", lambda: Modp(p=modp_prime(768)))
_group("D01.modp_1536", lambda: Modp(p=modp_prime(1536)))
_group("D01.modp_3072", lambda: Modp(p=modp_prime(3072)))
_group("D01.modp_6144", lambda: Modp(p=modp_prime(6144)))
_group("D01.modp_8192", lambda: Modp(p=modp_prime(8192)))
_group("D01.ffdhe2048", lambda: Modp(p=ffdhe2048_prime()))
_group("D01.p_of_modp14_plus_2", lambda: Modp(p=MODP14 + 2))
_group("D01.p_negative", lambda: Modp(p=-MODP14, y=4))
_group("D01.p_0", lambda: Modp(p=0, y=4, q=None))
_group("D01.unknown_algorithm", lambda: _Renamed("1.2.840.113549.1.3.1"))
_group("D02.modp_1024", lambda: Modp(p=modp_prime(1024)))
_group(
    "D02.modp_1024_switched_on",
    lambda: Modp(p=modp_prime(1024)),
    realm="switches",
    refused=False,
)
_group("D06.p_16384_bits", lambda: Modp(p=(1 << 16384) - 1, y=4))
_group("D06.p_and_y_16384_bits", lambda: Modp(p=(1 << 16384) - 1, y=(1 << 16383) + 1))


class _Renamed(Modp):
    """A group of ours under another algorithm's name."""

    def __init__(self, algorithm: str) -> None:
        super().__init__()
        self._algorithm = algorithm

    @property
    def spki(self) -> bytes:
        named, public = der.read(super().spki)
        parameters = list(named)[1].raw
        return der.sequence(der.sequence(der.oid(self._algorithm), parameters), public.raw)


# -- D03, D04: public values and parameters --------------------------------------------------

for _name, _y in (
    ("0", 0),
    ("1", 1),
    ("p_minus_1", MODP14 - 1),
    ("p", MODP14),
    ("p_plus_1", MODP14 + 1),
    ("p_plus_2", MODP14 + 2),
    ("negative", -5),
    ("huge", 1 << 4000),
):
    _group(f"D03.y_{_name}", lambda y=_y: Modp(y=y))  # type: ignore[misc]  # bound per value
_group("D03.y_empty", lambda: Modp(public=b""))
_group("D03.y_not_an_integer", lambda: Modp(public=der.octets(bytes(256))))
_group("D03.y_trailing", lambda: Modp(public=der.integer(4) + b"\x00"))
_group("D03.y_long_form", lambda: Modp(public=der.long_form(der.integer(4), 2)))
_P4096 = modp_prime(4096)
_group("D03.y_0_modp16", lambda: Modp(p=_P4096, y=0), control="modp16")
_group("D03.y_p_minus_1_modp16", lambda: Modp(p=_P4096, y=_P4096 - 1), control="modp16")

_group("D04.g_1", lambda: Modp(g=1))
_group("D04.g_0", lambda: Modp(g=0))
_group("D04.g_3", lambda: Modp(g=3))
_group("D04.g_p_minus_1", lambda: Modp(g=MODP14 - 1))
_group("D04.g_negative", lambda: Modp(g=-2, y=4))
_group("D04.q_1", lambda: Modp(q=1))
_group("D04.q_p_minus_1", lambda: Modp(q=MODP14 - 1))
_group("D04.q_negative", lambda: Modp(q=-(MODP14 - 1) // 2))
_group("D04.q_absent", lambda: Modp(q=None), refused=False)
_group("D04.q_0", lambda: Modp(q=0), refused=False)
_group("D04.q_right", lambda: Modp(q=(MODP14 - 1) // 2), refused=False)


# -- D05: curves -----------------------------------------------------------------------------


def _point(case_id: str, change: Callable[[bytes], bytes], curve: str = "p256") -> None:
    def make() -> Curve:
        key = Curve(name=curve)
        key.public = change(key.point)
        return key

    _group(case_id, make, control=curve)


def _off_curve(point: bytes) -> bytes:
    return point[:-1] + bytes((point[-1] ^ 1,))


P256_PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
P256_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def _on_twist(point: bytes) -> bytes:
    # An x for which x^3 - 3x + b is no square lies on the twist; y is then any number.
    x = 1
    while pow(x**3 - 3 * x + P256_B, (P256_PRIME - 1) // 2, P256_PRIME) == 1:
        x += 1
    return b"\x04" + x.to_bytes(32, "big") + point[33:]


_point("D05.off_curve", _off_curve)
_point("D05.off_curve_p384", _off_curve, "p384")
_point("D05.off_curve_p521", _off_curve, "p521")
_point("D05.on_twist", _on_twist)
_point("D05.infinity", lambda point: b"\x00")
_point("D05.infinity_padded", lambda point: bytes(65))
_point("D05.origin", lambda point: b"\x04" + bytes(64))
_point("D05.compressed", lambda point: bytes((2 + (point[-1] & 1),)) + point[1:33])
_point("D05.hybrid", lambda point: bytes((6 + (point[-1] & 1),)) + point[1:])
_point("D05.cut", lambda point: point[:-1])
_point("D05.trailing", lambda point: point + b"\x00")
_point("D05.empty", lambda point: b"")
_point(
    "D05.coordinate_over_p",
    lambda point: (
        b"\x04"
        + (int.from_bytes(point[1:33], "big") % (1 << 224) + P256_PRIME).to_bytes(33, "big")[-32:]
        + point[33:]
    ),
)
_group("D05.p192", lambda: Curve(name="p192"), control="p256")
_group("D05.secp256k1", lambda: Curve(name="k256"), control="p256")


def _explicit_curve() -> Curve:
    key = Curve()
    number = der.oid("1.2.840.10045.1.1")
    field_id = der.sequence(number, der.integer(P256_PRIME))
    a = der.octets((P256_PRIME - 3).to_bytes(32, "big"))
    curve = der.sequence(a, der.octets(P256_B.to_bytes(32, "big")))
    key.parameters = der.sequence(
        der.integer(1), field_id, curve, der.octets(key.point), der.integer(P256_PRIME)
    )
    return key


def _point_of(curve: str, named: str) -> Curve:
    key = Curve(name=curve)
    key.parameters = der.oid(CURVES[named][0])
    return key


_group("D05.explicit_curve", _explicit_curve, control="p256")
_group("D05.implicit_curve", lambda: Curve(parameters=der.null()), control="p256")
_group("D05.point_of_another_curve", lambda: _point_of("p384", "p256"), control="p256")


# -- D07, D08, D09 ---------------------------------------------------------------------------


def _odd_public_value() -> Modp:
    # A reader that only masks the unused bits off gets another number.
    key = Modp()
    while not pow(key.g, key.x, key.p) & 7:
        key = Modp()
    key.unused_bits = 3
    return key


_group("D07.unused_bits", _odd_public_value)
_group("D07.no_parameters", lambda: Modp(parameters=b""))
_group("D07.parameters_null", lambda: Modp(parameters=der.null()))
_group("D07.parameters_garbage", lambda: Modp(parameters=der.octets(b"garbage")))
_group("D07.ec_no_parameters", lambda: Curve(parameters=b""), control="p256")


def _nonce(case_id: str, value: bytes) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        logon.auth.dh_nonce = value
        return logon

    add(case_id, build, control="dh_nonce")


_nonce("D08.empty", b"")
_nonce("D08.short", bytes(15))
_nonce("D08.60_KB", bytes(60_000))


@case("D09.two_logons")
def two_logons(world: World) -> Exchange:
    """Two logons without clientDHNonce, one after the other."""
    return _twice(world, None)


@case("D09.same_client_key")
def same_client_key(world: World) -> Exchange:
    """The same, and the client's own key is the same in both."""
    return _twice(world, Modp())


@case("D09.with_nonce", control="dh_nonce")
def with_nonce(world: World) -> Exchange:
    """With clientDHNonce the key may be reused, but never the nonce beside it."""
    return _twice(world, None, nonce=bytes(range(32)))


def _twice(world: World, agreement: Modp | None, nonce: bytes | None = None) -> Exchange:
    logons = []
    for _ in range(2):
        logon = world.pkinit()
        logon.auth = AuthPack(agreement=agreement or Modp(), dh_nonce=nonce)
        logons.append(logon)
    seen: list[tuple[bytes, bytes]] = []

    def remember(world: World, result: Result) -> None:
        assert result.ticket is not None
        seen.append((result.ticket.kdc_public, result.ticket.server_nonce))
        if len(seen) == 2:
            (first, first_nonce), (second, second_nonce) = seen
            if nonce is None:
                assert first != second, "the KDC's key was used twice without serverDHNonce"
            else:
                assert first_nonce and second_nonce and first_nonce != second_nonce

    first = Exchange(logon=logons[0], check=remember)
    return Exchange(logon=logons[1], first=(first,), check=remember)
