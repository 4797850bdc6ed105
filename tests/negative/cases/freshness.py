"""F01-F07: time, freshness tokens, replay."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.negative.cases.pkinit import flip
from tests.negative.engine import Exchange, add, case
from tests.negative.wire import crypto, der, kerberos
from tests.negative.wire.cms import SIGNING_TIME, attribute
from tests.negative.wire.kerberos import PA_PAC_REQUEST, padata
from tests.negative.wire.logon import PasswordLogon, PkinitLogon
from tests.negative.world import World

PAC_REQUEST = padata(PA_PAC_REQUEST, der.sequence(der.explicit(0, der.tlv(der.BOOLEAN, b"\xff"))))
"""A padata that changes the packet and nothing else."""

# The skew is 300 s. ctime has whole seconds and time passes on the way, so the near side of
# the limit is two seconds off it.
JUST_TOO_OLD = timedelta(seconds=-301)
JUST_TOO_NEW = timedelta(seconds=302)
JUST_NEW_ENOUGH = timedelta(seconds=290)


# -- F01: clocks -----------------------------------------------------------------------------


def _clock(name: str, when: Callable[[], datetime | bytes]) -> None:
    def by_key(world: World) -> PkinitLogon:
        logon = world.pkinit()
        logon.auth.ctime = when()
        return logon

    def by_password(world: World) -> PasswordLogon:
        logon = world.password()
        logon.plain = der.sequence(
            der.explicit(0, der.time(when())), der.explicit(1, der.integer(1))
        )
        return logon

    add(f"F01.{name}", by_key)
    add(f"F01.{name}_password", by_password, control="password")


def _off(step: timedelta) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + step


_clock("too_old", _off(JUST_TOO_OLD))
_clock("too_new", _off(JUST_TOO_NEW))
# There is no near side in the past: a realm this young refuses what is older than its memory.
_clock("new_enough", _off(JUST_NEW_ENOUGH))
_clock("hour_old", _off(timedelta(hours=-1)))
_clock("year_1970", lambda: b"19700101000000Z")
_clock("year_9999", lambda: b"99991231235959Z")
_clock("year_0", lambda: b"00000101000000Z")
_clock("second_60", lambda: datetime.now(UTC).strftime("%Y%m%d%H%M60Z").encode())
_clock("month_13", lambda: b"20261301000000Z")
_clock("fraction", lambda: datetime.now(UTC).strftime("%Y%m%d%H%M%S.5Z").encode())
_clock("no_zone", lambda: datetime.now(UTC).strftime("%Y%m%d%H%M%S").encode())
_clock("offset", lambda: datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000").encode())


@case("F01.cusec_1000000")
def cusec_too_large(world: World) -> PkinitLogon:
    """Microseconds run from 0 to 999,999."""
    logon = world.pkinit()
    logon.auth.cusec = 1_000_000
    return logon


# -- F02: replay -----------------------------------------------------------------------------


def _again(first: PkinitLogon, world: World) -> PkinitLogon:
    """Make another packet with the same AuthPack."""
    second = PkinitLogon(
        body=first.body, identity=first.identity, anchor=first.anchor, owner=first.owner
    )
    second.auth = first.auth
    first.request(first.body.encode())
    second.kept = first.kept
    return second


@case("F02.padata_added")
def padata_added(world: World) -> Exchange:
    """The same AuthPack in a packet with one more padata."""
    first = world.pkinit()
    second = _again(first, world)
    second.after = [PAC_REQUEST]
    return Exchange(logon=second, first=(Exchange(logon=first),))


@case("F02.padata_reordered")
def padata_reordered(world: World) -> Exchange:
    """The same AuthPack, with its padata in another order."""
    first = world.pkinit()
    first.after = [PAC_REQUEST]
    second = _again(first, world)
    second.before = [PAC_REQUEST]
    return Exchange(logon=second, first=(Exchange(logon=first),))


@case("F02.other_transport")
def over_the_other_transport(world: World) -> Exchange:
    """The first packet by the other transport, most likely to another worker."""
    first = world.pkinit()
    second = _again(first, world)
    second.after = [PAC_REQUEST]
    return Exchange(logon=second, first=(Exchange(logon=first, other_transport=True),))


@case("F02.signed_again")
def signed_again(world: World) -> Exchange:
    """The same AuthPack under a signature that differs: signatures are malleable."""
    first = world.pkinit()
    second = _again(first, world)
    second.kept = None
    when = der.tlv(0x17, datetime.now(UTC).strftime("%y%m%d%H%M%SZ").encode())
    second.signer.more_attributes = (attribute(SIGNING_TIME, when),)
    return Exchange(logon=second, first=(Exchange(logon=first),))


@case("F02.signed_again_ecdsa", control="ec")
def signed_again_ecdsa(world: World) -> Exchange:
    """The same AuthPack, signed again by ECDSA, which gives other octets each time."""
    first = world.pkinit("eve")
    second = _again(first, world)
    second.kept = None
    return Exchange(logon=second, first=(Exchange(logon=first),))


@case("F02.third_packet")
def third_packet(world: World) -> Exchange:
    """A third packet, after the second was refused."""
    first = world.pkinit()
    second = _again(first, world)
    second.after = [PAC_REQUEST, PAC_REQUEST]
    return Exchange(logon=second, first=(Exchange(logon=first), Exchange(logon=first)))


@case("F02.identical_other_port")
def identical_other_port(world: World) -> Exchange:
    """The identical packet from another port: a retransmission, not a replay."""
    first = world.pkinit()
    return Exchange(logon=first, first=(Exchange(logon=first),))


@case("F02.identical_other_transport")
def identical_other_transport(world: World) -> Exchange:
    """The identical packet by the other transport."""
    first = world.pkinit()
    return Exchange(logon=first, first=(Exchange(logon=first, other_transport=True),))


@case("F02.timestamp_other_nonce", control="password")
def timestamp_other_nonce(world: World) -> Exchange:
    """An encrypted timestamp in a request with another nonce."""
    first = world.password()
    first.encrypted_timestamp()
    second = world.password()
    second.sealed = first.sealed
    return Exchange(logon=second, first=(Exchange(logon=first),))


@case("F02.timestamp_padata_added", control="password")
def timestamp_padata_added(world: World) -> Exchange:
    """An encrypted timestamp in a packet with one more padata."""
    first = world.password()
    first.encrypted_timestamp()
    second = PasswordLogon(
        body=first.body, key=first.key, sealed=first.sealed, owner=first.owner, after=[PAC_REQUEST]
    )
    return Exchange(logon=second, first=(Exchange(logon=first),))


@case("F02.timestamp_other_transport", control="password")
def timestamp_other_transport(world: World) -> Exchange:
    """An encrypted timestamp that was used over the other transport."""
    first = world.password()
    first.encrypted_timestamp()
    second = world.password()
    second.sealed = first.sealed
    return Exchange(logon=second, first=(Exchange(logon=first, other_transport=True),))


@case("F02.timestamp_identical", control="password")
def timestamp_identical(world: World) -> Exchange:
    """The identical packet again."""
    first = world.password()
    first.encrypted_timestamp()
    return Exchange(logon=first, first=(Exchange(logon=first),))


# -- F03-F07: freshness tokens ---------------------------------------------------------------


def token(
    world: World,
    *,
    when: datetime | None = None,
    key: bytes | None = None,
    etype: int | None = None,
    kvno: int | None = None,
    usage: int = crypto.USAGE_FRESHNESS,
    plain: bytes | None = None,
) -> bytes:
    """Seal a freshness token as the KDC does, or wrongly."""
    own_etype, own_kvno, own_key = world.krbtgt_key()
    content = plain or kerberos.timestamp(when or datetime.now(UTC))
    cipher = crypto.encrypt(own_etype, key or own_key, usage, content)
    number = own_kvno if kvno is None else kvno
    return b"\x00\x00" + kerberos.encrypted_data(etype or own_etype, cipher, number)


def _fresh(case_id: str, make: Callable[[World], bytes], realm: str = "main") -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        logon.auth.freshness = make(world)
        return logon

    add(case_id, build, control="freshness", realm=realm)


add("F03.missing", lambda world: world.pkinit(), control="freshness", realm="fresh")
_fresh("F03.present", token, realm="fresh")

_fresh("F04.old", lambda world: token(world, when=datetime.now(UTC) + JUST_TOO_OLD))
_fresh("F04.hour_old", lambda world: token(world, when=datetime.now(UTC) - timedelta(hours=1)))
_fresh("F04.future", lambda world: token(world, when=datetime.now(UTC) + JUST_TOO_NEW))
_fresh(
    "F04.old_required", lambda world: token(world, when=datetime.now(UTC) + JUST_TOO_OLD), "fresh"
)

_fresh("F05.flipped", lambda world: flip(token(world), -1))
_fresh("F05.flipped_first", lambda world: flip(token(world), 60))
_fresh("F05.empty", lambda world: b"")
_fresh("F05.header_only", lambda world: b"\x00\x00")
_fresh("F05.wrong_header", lambda world: b"\x00\x01" + token(world)[2:])
_fresh("F05.no_header", lambda world: token(world)[2:])
_fresh("F05.cut", lambda world: token(world)[:-1])
_fresh("F05.trailing", lambda world: token(world) + b"\x00")
_fresh("F05.random", lambda world: bytes(range(100)))
_fresh("F05.huge", lambda world: b"\x00\x00" + bytes(20_000))
_fresh("F05.other_key_usage", lambda world: token(world, usage=crypto.USAGE_TIMESTAMP))
_fresh("F05.not_a_timestamp", lambda world: token(world, plain=der.sequence(der.integer(5))))

_fresh("F06.other_kvno", lambda world: token(world, kvno=999))
_fresh("F06.read_only_kdc", lambda world: token(world, kvno=7 << 16 | 1))
_fresh("F06.other_etype", lambda world: token(world, etype=23))
_fresh("F06.other_key_same_kvno", lambda world: token(world, key=bytes(32)))
_fresh("F06.no_kvno", lambda world: _without_kvno(world))


def _without_kvno(world: World) -> bytes:
    etype, _, key = world.krbtgt_key()
    cipher = crypto.encrypt(
        etype, key, crypto.USAGE_FRESHNESS, kerberos.timestamp(datetime.now(UTC))
    )
    return b"\x00\x00" + kerberos.encrypted_data(etype, cipher)


@case("F07.token_again", control="freshness")
def token_again(world: World) -> Exchange:
    """One token in two AuthPacks."""
    shared = token(world)
    logons = [world.pkinit(), world.pkinit()]
    for logon in logons:
        logon.auth.freshness = shared
    return Exchange(logon=logons[1], first=(Exchange(logon=logons[0]),))
