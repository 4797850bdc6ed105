"""W01, W04, W06: lengths, sizes, and messages that are no requests."""

from tests.negative.engine import BOTH, Exchange, add
from tests.negative.wire import der, kerberos
from tests.negative.wire.transport import Transport, frame
from tests.negative.world import World

# -- W01: the length in front of a TCP message -----------------------------------------------


def _length(case_id: str, prefix: bytes) -> None:
    def build(world: World) -> Exchange:
        return Exchange(logon=world.password(), message=lambda m: prefix + m, raw=True)

    add(case_id, build, control="password", transports=("tcp",))


_length("W01.4_GiB", b"\xff\xff\xff\xff")
_length("W01.high_bit", b"\x80\x00\x01\x00")
_length("W01.16_MiB", b"\x01\x00\x00\x00")
_length("W01.one_too_many", (256 * 1024 + 1).to_bytes(4, "big"))


# -- W04: replies larger than a datagram may be ----------------------------------------------

add(
    "W04.pkinit",
    lambda world: world.pkinit(),
    control="password",
    realm="small",
)
add(
    "W04.then_tcp",
    lambda world: _then_tcp(world),
    control="password",
    realm="small",
    transports=("tcp",),
)


def _then_tcp(world: World) -> Exchange:
    logon = world.pkinit()
    by_udp = Exchange(logon=logon, other_transport=True, gets=52)
    return Exchange(logon=logon, first=(by_udp,))


# -- W06: not a request ----------------------------------------------------------------------


def _message(case_id: str, message: bytes, transports: tuple[Transport, ...] = BOTH) -> None:
    def build(world: World) -> Exchange:
        return Exchange(logon=world.password(), message=lambda _: message)

    add(case_id, build, control="password", transports=transports)


_ERROR = der.tlv(
    0x7E,
    der.sequence(
        der.explicit(0, der.integer(5)),
        der.explicit(1, der.integer(30)),
        der.explicit(4, der.time(b"20261121000000Z")),
        der.explicit(5, der.integer(0)),
        der.explicit(6, der.integer(60)),
        der.explicit(9, der.string("LAB.TEST")),
        der.explicit(10, kerberos.krbtgt("LAB.TEST").encode()),
    ),
)


def _tagged(number: int, msg_type: int) -> bytes:
    parts = (der.explicit(0, der.integer(5)), der.explicit(1, der.integer(msg_type)))
    return der.tlv(0x60 | number, der.sequence(*parts))


_message("W06.krb_error", _ERROR)
_message("W06.ap_req", _tagged(14, 14))
_message("W06.ap_rep", _tagged(15, 15))
_message("W06.as_rep", _tagged(11, 11))
_message("W06.tgs_rep", _tagged(13, 13))
_message("W06.krb_safe", _tagged(20, 20))
_message("W06.krb_priv", _tagged(21, 21))
_message("W06.krb_cred", _tagged(22, 22))
_message("W06.empty", b"")
_message("W06.one_octet", b"\x00")
_message("W06.text", b"GET / HTTP/1.0\r\n\r\n")
_message("W06.kpasswd", b"\x00\x06\x00\x01\x00\x00")
_message("W06.framed_twice", frame(frame(b"x")))


def _source_port(port: int) -> None:
    def build(world: World) -> Exchange:
        return Exchange(logon=world.password(), source_port=port)

    add(f"W06.from_port_{port}", build, control="password", transports=("udp",))


for _port in (7, 19, 88, 464):
    _source_port(_port)
