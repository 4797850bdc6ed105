"""C01-C22, P12: certificates of logon CAs, what may be wrong with them, and whose they are."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.negative.engine import Exchange, Result, add, case, control
from tests.negative.pki import LEAF_USAGE, REVOKED, Authority, LogonPki
from tests.negative.wire import certificate as x509
from tests.negative.wire import der
from tests.negative.wire.certificate import SignedCertificate
from tests.negative.wire.keys import new_ec
from tests.negative.wire.logon import Identity, PkinitLogon
from tests.negative.world import NotApplicableError, World

REALM = "certificates"
PRIVATE_EXTENSION = "1.3.6.1.4.1.55555.7"
OTHER_SID = "S-1-5-21-1004336348-1177238915-682003330-500"
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
KP_CLIENT_AUTH = "1.3.6.1.5.2.3.4"
ANY_PURPOSE = "2.5.29.37.0"
TD_TRUSTED_CERTIFIERS, TD_INVALID_CERTIFICATES, TD_CERT_DIGESTS = 104, 105, 112


def _pki(world: World) -> LogonPki:
    if world.pki is None:
        raise NotApplicableError("logon CAs of the tests")
    return world.pki


def names_of(world: World, role: str = "carol") -> tuple[bytes, ...]:
    """Return the extensions that map a certificate to a user strongly."""
    name = world.person(role).name
    return (
        x509.san(x509.upn_name(f"{name}@lab.test")),
        x509.sid_extension(_pki(world).sids[name]),
    )


def logon(
    world: World, certificate: SignedCertificate, key: object, *sent: bytes, role: str = "carol"
) -> PkinitLogon:
    """Make a logon with a certificate; sent: further certificates of the message."""
    identity = Identity(key=key, certificate=certificate)  # type: ignore[arg-type]  # a SigningKey
    made = world.pkinit(role, by=identity)
    made.owner = world.person(role).name
    if sent:
        made.signed.certificates = [certificate.der, *sent]
    return made


def by(
    world: World,
    authority: str | Authority = "good",
    *extensions: bytes,
    sent: tuple[bytes, ...] = (),
    role: str = "carol",
    **changes: object,
) -> PkinitLogon:
    """Make a logon with a certificate of one CA; without extensions an honest one."""
    key = new_ec()
    issuer = _pki(world).authorities[authority] if isinstance(authority, str) else authority
    made = issuer.leaf(key, *(extensions or names_of(world, role)), **changes)
    return logon(world, made, key, *sent, role=role)


def _exchange(made: PkinitLogon, data_type: int) -> Exchange:
    """Send a logon whose error must carry typed data of this type, and of no other."""

    def check(_world: World, got: Result) -> None:
        assert got.error is not None
        types = list(got.error.typed_data()) if got.error.e_data else []
        assert types == ([data_type] if data_type else []), types

    return Exchange(logon=made, check=check)


def _case(
    case_id: str,
    build: Callable[[World], PkinitLogon],
    *,
    data: int = 0,
    realm: str = REALM,
    control: str = "certificate",
) -> None:
    add(case_id, lambda world: _exchange(build(world), data), control=control, realm=realm)


@control("certificate")
def _honest(world: World) -> PkinitLogon:
    return by(world)


@control("machine certificate")
def _machine(world: World) -> PkinitLogon:
    name = world.person("kiosk").name
    host = x509.san(x509.dns_name(f"{name.rstrip('$')}.lab.test"))
    return by(world, "good", host, x509.sid_extension(_pki(world).sids[name]), role="kiosk")


# -- C01-C12: the chain ----------------------------------------------------------------------

_case("C01.unknown_ca", lambda world: by(world, _pki(world).unknown), data=TD_TRUSTED_CERTIFIERS)
_case(
    "C01.unknown_ca_sent",
    lambda world: by(world, _pki(world).unknown, sent=(_pki(world).unknown.certificate.der,)),
    data=TD_TRUSTED_CERTIFIERS,
)
_case(
    "C01.same_name_other_key",
    lambda world: by(world, _impostor(world)),
    data=TD_INVALID_CERTIFICATES,
)


def _impostor(world: World) -> Authority:
    good = _pki(world).authorities["good"]
    return Authority(name=good.name, key=new_ec(), certificate=good.certificate)


def _days(count: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=count)


_case(
    "C02.expired",
    lambda world: by(world, not_before=_days(-9), not_after=_days(-1)),
    data=TD_INVALID_CERTIFICATES,
)
_case(
    "C02.not_yet_valid",
    lambda world: by(world, not_before=_days(1)),
    data=TD_INVALID_CERTIFICATES,
)
_case("C03.leaf", lambda world: by(world, serial=REVOKED), data=TD_INVALID_CERTIFICATES)
_case("C03.intermediate", lambda world: by(world, "fallen"), data=TD_INVALID_CERTIFICATES)


def _of(role: str) -> Callable[[World], PkinitLogon]:
    return lambda world: by(world, role)


def _as(role: str) -> Callable[[World], PkinitLogon]:
    return lambda world: world.pkinit(role)


for _name in ("silent", "stale", "forged"):
    _case(f"C04.{_name}", _of(_name), data=TD_INVALID_CERTIFICATES)


def _below(
    world: World, parent: str, *extensions: bytes, path_length: int | None = None
) -> PkinitLogon:
    """Log on with a leaf of a CA below a logon CA, which the client brings along."""
    above = _pki(world).authorities[parent]
    key = new_ec()
    changes: dict[str, object] = {"subject": "CA below"}
    if extensions:
        changes["extensions"] = extensions
        made = above.leaf(key, **changes)
        middle = Authority(name="CA below", key=key, certificate=made)
    else:
        middle = above.below("CA below", path_length=path_length)
    return by(world, middle, sent=(middle.certificate.der,))


_case("C05.path_length", lambda world: _below(world, "short"), data=TD_INVALID_CERTIFICATES)
_case(
    "C05.no_ca",
    lambda world: _below(world, "good", x509.basic_constraints(ca=False)),
    data=TD_INVALID_CERTIFICATES,
)
_case(
    "C05.no_basic_constraints",
    lambda world: _below(world, "good", x509.key_usage("key_cert_sign")),
    data=TD_INVALID_CERTIFICATES,
)
_case(
    "C05.no_keyCertSign",
    lambda world: _below(world, "good", x509.ca_constraints(), x509.key_usage("crl_sign")),
    data=TD_INVALID_CERTIFICATES,
)


def _named(world: World, authority: str, *names: bytes) -> PkinitLogon:
    sid = x509.sid_extension(_pki(world).sids["carol"])
    return by(world, authority, x509.san(x509.upn_name("carol@lab.test"), *names), sid)


_case(
    "C06.dns",
    lambda world: _named(world, "narrow dns", x509.dns_name("carol.other.test")),
    data=TD_INVALID_CERTIFICATES,
)
_case("C06.upn", lambda world: _named(world, "narrow upn"), data=TD_INVALID_CERTIFICATES)
_case(
    "C06.directory", lambda world: _named(world, "narrow directory"), data=TD_INVALID_CERTIFICATES
)
add(
    "C06.dns_within",
    lambda world: _named(world, "narrow dns", x509.dns_name("carol.lab.test")),
    control="certificate",
    realm=REALM,
)
_case(
    "C07.leaf",
    lambda world: by(
        world,
        "good",
        *names_of(world),
        x509.extension(PRIVATE_EXTENSION, der.null(), critical=True),
    ),
    data=TD_INVALID_CERTIFICATES,
)
_case(
    "C07.intermediate",
    lambda world: _below(
        world,
        "good",
        x509.ca_constraints(),
        x509.extension(PRIVATE_EXTENSION, der.null(), critical=True),
    ),
    data=TD_INVALID_CERTIFICATES,
)
add(
    "C07.not_critical",
    lambda world: by(
        world, "good", *names_of(world), x509.extension(PRIVATE_EXTENSION, der.null())
    ),
    control="certificate",
    realm=REALM,
)


def _purposes(world: World, *purposes: str) -> PkinitLogon:
    parts = [x509.basic_constraints(ca=False), LEAF_USAGE]
    if purposes:
        parts.append(x509.eku(*purposes))
    return by(world, extensions=(*parts, *names_of(world)))


def _for(*purposes: str) -> Callable[[World], PkinitLogon]:
    return lambda world: _purposes(world, *purposes)


_case("C08.email", lambda world: _purposes(world, EMAIL_PROTECTION))
_case("C08.server", lambda world: _purposes(world, x509.SERVER_AUTH))
for _name, _given in (
    ("absent", ()),
    ("client_auth", (CLIENT_AUTH,)),
    ("kp_client_auth", (KP_CLIENT_AUTH,)),
    ("any_purpose", (ANY_PURPOSE,)),
):
    add(
        f"C08.{_name}",
        _for(*_given),
        control="certificate",
        realm=REALM,
    )
_case("C08.kpClientAuth_absent", lambda world: _purposes(world), realm="purposes")
_case("C08.kpClientAuth_other", lambda world: _purposes(world, CLIENT_AUTH), realm="purposes")
add(
    "C08.kpClientAuth_present",
    lambda world: _purposes(world, KP_CLIENT_AUTH),
    control="certificate",
    realm="purposes",
)
add(
    "C08.none_any_will_do",
    lambda world: _purposes(world, EMAIL_PROTECTION),
    control="certificate",
    realm="compatible",
)
_case(
    "C09.encipherment_only",
    lambda world: by(
        world,
        extensions=(
            x509.basic_constraints(ca=False),
            x509.key_usage("key_encipherment"),
            x509.eku(x509.SMART_CARD_LOGON),
            *names_of(world),
        ),
    ),
)


def _loop(world: World, count: int) -> PkinitLogon:
    """Bring CAs that have issued one another in a circle, none of them known."""
    keys = [new_ec() for _ in range(count)]
    rest = []
    for index, key in enumerate(keys):
        after = (index + 1) % count
        made = x509.Certificate(
            key=key,
            subject=f"L{index}",
            issuer=f"L{after}",
            issuer_key=keys[after],
            extensions=(x509.ca_constraints(),),
        )
        rest.append(made.encode())
    return by(
        world,
        Authority(name="L0", key=keys[0], certificate=rest[0]),
        sent=tuple(made.der for made in rest),
    )


def _bushy(world: World) -> PkinitLogon:
    """Bring nine CAs of one name and different keys, each issued by that name: 9! paths."""
    keys = [new_ec() for _ in range(9)]
    sent = []
    for index, key in enumerate(keys):
        made = x509.Certificate(
            key=key,
            subject="Bush",
            issuer="Bush",
            issuer_key=keys[(index * 5 + 1) % 9],
            extensions=(x509.ca_constraints(),),
        )
        sent.append(made.encode())
    return by(
        world,
        Authority(name="Bush", key=keys[0], certificate=sent[0]),
        sent=tuple(made.der for made in sent),
    )


_case("C10.loop_of_63", lambda world: _loop(world, 63), data=TD_TRUSTED_CERTIFIERS)
_case("C10.loop_of_9", lambda world: _loop(world, 9), data=TD_TRUSTED_CERTIFIERS)
_case("C10.many_of_one_name", _bushy, data=TD_INVALID_CERTIFICATES)
_case("C11.trusted_root", lambda world: by(world, _pki(world).root))
_case("C11.below_a_logon_ca", lambda world: _below(world, "good"))
add(
    "C12.key_trust",
    lambda world: world.pkinit("alice"),
    control="certificate",
    realm=REALM,
)


@case("C12.key_trust_under_a_bad_certificate", control="certificate", realm=REALM)
def _key_trust_bad_certificate(world: World) -> PkinitLogon:
    """Alice's key is registered: no rule of chains asks about her certificate."""
    identity = world.identity("alice")
    made = x509.Certificate(
        key=identity.key,
        subject="alice",
        not_before=_days(-9),
        not_after=_days(-1),
        extensions=(
            x509.eku(EMAIL_PROTECTION),
            x509.extension(PRIVATE_EXTENSION, der.null(), critical=True),
            x509.sid_extension(OTHER_SID),
        ),
    )
    made_logon = world.pkinit("alice", by=Identity(key=identity.key, certificate=made.encode()))
    made_logon.owner = world.person("alice").name
    return made_logon


# -- C13-C22: the mapping --------------------------------------------------------------------

_UPN = "carol@lab.test"


def _upn(*more: bytes, upn: str | bytes = _UPN) -> bytes:
    return x509.san(x509.upn_name(upn), *more)


def _sid(world: World, name: str = "carol") -> bytes:
    return x509.sid_extension(_pki(world).sids[name])


_case("C13.sid_of_mallory", lambda world: by(world, "good", _upn(), _sid(world, "mallory")))
_case("C13.sid_of_nobody", lambda world: by(world, "good", _upn(), x509.sid_extension(OTHER_SID)))
_case(
    "C13.sid_malformed",
    lambda world: by(world, "good", _upn(), x509.extension(x509.SID_EXTENSION, der.null())),
)
_case("C14.upn_alone", lambda world: by(world, "good", _upn()))
_case(
    "C15.dns_of_another_machine",
    lambda world: by(
        world, "good", x509.san(x509.dns_name("kiosk.lab.test")), _sid(world), role="kiosk"
    ),
    control="machine certificate",
)
_case(
    "C15.dns_alone",
    lambda world: by(world, "good", x509.san(x509.dns_name("kiosk.lab.test")), role="kiosk"),
    control="machine certificate",
)
_case(
    "C16.upn_of_a_computer_without_dollar",
    lambda world: by(world, "good", _upn(upn="kiosk@lab.test"), role="kiosk"),
    control="machine certificate",
)
_case(
    "C16.upn_of_a_computer_with_dollar",
    lambda world: by(world, "good", _upn(upn="kiosk$@lab.test"), role="kiosk"),
    control="machine certificate",
)
_case("C16.upn_of_another_user", lambda world: by(world, "good", _upn(), role="mallory"))
for _name in ("issuer-subject", "subject", "rfc822"):
    _case(f"C17.{_name.replace('-', '_')}", _as(f"alt-{_name}"))
for _name in ("issuer-serial", "ski", "sha1"):
    add(
        f"C18.{_name.replace('-', '_')}",
        _as(f"alt-{_name}"),
        control="certificate",
        realm=REALM,
    )
_case("C18.serial_order", lambda world: world.pkinit("alt-serial-order"))


def _uri(world: World, name: str) -> bytes:
    sid = _pki(world).sids[name]
    return x509.uri_name(f"tag:microsoft.com,2022-09-14:sid:{sid}")


_case("C19.uri_of_mallory", lambda world: by(world, "good", _upn(_uri(world, "mallory"))))
_case(
    "C19.uri_and_extension_differ",
    lambda world: by(world, "good", _upn(_uri(world, "mallory")), _sid(world)),
)
add(
    "C19.uri",
    lambda world: by(world, "good", _upn(_uri(world, "carol"))),
    control="certificate",
    realm=REALM,
)
_case(
    "C20.older_than_the_account",
    lambda world: by(world, "good", _upn(), not_before=_days(-9)),
    realm="compatible",
)
add(
    "C20.newer_than_the_account",
    lambda world: by(world, "good", _upn(), not_before=datetime.now(UTC)),
    control="certificate",
    realm="compatible",
)
_case(
    "C21.two_upns",
    lambda world: by(world, "good", _upn(x509.upn_name("mallory@lab.test")), _sid(world)),
)
_case("C21.nul", lambda world: by(world, "good", _upn(upn=f"{_UPN}\0"), _sid(world)))
_case("C21.nul_inside", lambda world: by(world, "good", _upn(upn="carol\0@lab.test"), _sid(world)))
_case("C21.trailing_dot", lambda world: by(world, "good", _upn(upn=f"{_UPN}."), _sid(world)))
_case("C22.no_sid_no_mapping", lambda world: by(world, "good", _upn(), serial=0x22))
_case("C22.email_alone", lambda world: by(world, "good", x509.san(x509.email_name(_UPN))))


# -- P12: digests in certificates ------------------------------------------------------------


def _digest(world: World, name: str) -> PkinitLogon:
    """Sign a leaf with an old digest; the CA has an RSA key so that MD5 has a name."""
    return by(world, _pki(world).authorities["rsa"], hash=name)


_case("P12.leaf_md5", lambda world: _digest(world, "md5"), data=TD_CERT_DIGESTS)
_case("P12.leaf_sha1", lambda world: _digest(world, "sha1"), data=TD_CERT_DIGESTS)
_case(
    "P12.leaf_md5_with_the_switch",
    lambda world: _digest(world, "md5"),
    data=TD_CERT_DIGESTS,
    realm="compatible",
)
add(
    "P12.leaf_sha1_with_the_switch",
    lambda world: _digest(world, "sha1"),
    control="certificate",
    realm="compatible",
)
