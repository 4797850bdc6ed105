"""The controls: requests with nothing wrong, each of which must get a ticket."""

from tests.negative.engine import Build, control
from tests.negative.wire.groups import Curve, Modp, modp_prime
from tests.negative.wire.kerberos import enterprise, user
from tests.negative.wire.logon import AuthPack, PasswordLogon, PkinitLogon
from tests.negative.world import World


@control("pkinit")
def pkinit(world: World) -> PkinitLogon:
    """The plainest PKINIT logon: RSA-2048, SHA-256, group 14."""
    return world.pkinit()


@control("password")
def password(world: World) -> PasswordLogon:
    """A password, sealed with AES-256."""
    return world.password()


@control("ec")
def ec(world: World) -> PkinitLogon:
    """A signature by ECDSA."""
    return world.pkinit("eve")


@control("modp16")
def modp16(world: World) -> PkinitLogon:
    """Group 16."""
    logon = world.pkinit()
    logon.auth.agreement = Modp(p=modp_prime(4096))
    return logon


def _curve(name: str) -> Build:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        logon.auth.agreement = Curve(name=name)
        return logon

    return build


for _name in ("p256", "p384", "p521"):
    control(_name)(_curve(_name))


@control("dh_nonce")
def dh_nonce(world: World) -> PkinitLogon:
    """With clientDHNonce, as Windows sends it."""
    logon = world.pkinit()
    logon.auth.dh_nonce = bytes(range(32))
    return logon


@control("service")
def service(world: World) -> PkinitLogon:
    """A ticket for a service, straight from the AS."""
    return world.pkinit(sname=world.service_name())


@control("enterprise")
def enterprise_name(world: World) -> PasswordLogon:
    """An enterprise name of our own realm."""
    logon = world.password()
    name = world.person("pat").name
    logon.body.cname = enterprise(f"{name}@{world.realm}")
    return logon


@control("freshness")
def fresh(world: World) -> PkinitLogon:
    """With a freshness token of the realm."""
    from tests.negative.cases.freshness import token

    logon = world.pkinit()
    logon.auth = AuthPack(freshness=token(world))
    return logon


def _person(role: str, kind: str) -> Build:
    def build(world: World) -> PkinitLogon | PasswordLogon:
        return world.pkinit(role) if kind == "key" else world.password(role)

    return build


for _role in ("bob", "card", "computer", "credential", "device"):
    control(f"key of {_role}")(_person(_role, "key"))
for _role in ("accented", "roasted"):
    control(f"password of {_role}")(_person(_role, "password"))


@control("computer without $")
def computer(world: World) -> PkinitLogon:
    """A computer named without the $ of its account."""
    logon = world.pkinit("computer")
    logon.body.cname = user(world.person("computer").name.rstrip("$"))
    return logon
