"""K01-K20: whose key it is, and what makes a registered value count."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from tests.negative.engine import Exchange, Result, add, case, open_ticket
from tests.negative.wire import der
from tests.negative.wire import keycredential as kc
from tests.negative.wire.certificate import (
    SERVER_AUTH,
    SMART_CARD_LOGON,
    Certificate,
    basic_constraints,
    eku,
    sid_extension,
    upn_san,
)
from tests.negative.wire.kerberos import Name, user
from tests.negative.wire.keycredential import KeyCredential, bcrypt
from tests.negative.wire.keys import RsaKey, rsa_modulus_only
from tests.negative.wire.logon import Identity, PkinitLogon
from tests.negative.world import NotApplicableError, World

ADMINISTRATOR_SID = "S-1-5-21-1004336348-1177238915-682003330-500"

Values = Callable[[RsaKey, str], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An account that the realm must have for a case, with what its attribute holds."""

    name: str
    values: Values


HOLDERS: dict[str, Holder] = {}
"""By role."""


def _holder(case_id: str, values: Values, *, realm: str = "main") -> None:
    """Register an account that holds these values, and the logon with its key as a case."""
    role = case_id if realm == "main" else case_id.rpartition(".")[0] + ".switch"
    name = "u-" + role.lower().replace(".", "-").replace("_", "-")
    HOLDERS[role] = Holder(name=name, values=values)
    add(case_id, lambda world: world.pkinit(role), control="key of credential", realm=realm)


def _value(case_id: str, change: Callable[[KeyCredential], object]) -> None:
    def values(key: RsaKey, dn: str) -> list[str]:
        made = KeyCredential(material=bcrypt(key))
        change(made)
        return [made.text(dn)]

    _holder(case_id, values)


def _text(case_id: str, change: Callable[[str, str], str]) -> None:
    _holder(case_id, lambda key, dn: [change(KeyCredential(material=bcrypt(key)).text(dn), dn)])


def _set(**changes: object) -> Callable[[KeyCredential], None]:
    def change(value: KeyCredential) -> None:
        for name, new in changes.items():
            setattr(value, name, new)

    return change


HOLDERS["credential"] = Holder(
    name="u-credential", values=lambda key, dn: [KeyCredential(material=bcrypt(key)).text(dn)]
)


# -- K01, K02: keys of nobody ----------------------------------------------------------------


@case("K01.self_issued")
def stranger(world: World) -> PkinitLogon:
    """An honest logon with a key that was never registered."""
    return world.pkinit(by=world.stranger("rsa"))


@case("K01.other_issuer")
def stranger_of_another_issuer(world: World) -> PkinitLogon:
    """The same, under a certificate that a CA unknown here has issued."""
    key, issuer = world.stranger("rsa").key, world.stranger("issuer").key
    made = Certificate(key=key, subject="alice", issuer="Some CA", issuer_key=issuer)
    return world.pkinit(by=Identity(key=key, certificate=made.encode()))


@case("K01.ec")
def ec_stranger(world: World) -> PkinitLogon:
    """The same with an EC key."""
    return world.pkinit(by=world.stranger("ec"))


@case("K02.absent")
def no_attribute(world: World) -> PkinitLogon:
    """The account has no key credentials, and a stranger's key signs."""
    return world.pkinit("pat", by=world.stranger("rsa"))


@case("K02.removed")
def removed_key(world: World) -> PkinitLogon:
    """The key was registered once and has been removed."""
    return world.pkinit("removed")


# -- K03, K04, K13: keys of somebody else ----------------------------------------------------


def _somebody_elses(case_id: str, named: str, by: str) -> None:
    add(case_id, lambda world: world.pkinit(named, by=by))


_somebody_elses("K03.bob_as_alice", "alice", "bob")
_somebody_elses("K03.ec_as_alice", "alice", "eve")
_somebody_elses("K03.computer_as_alice", "alice", "computer")
_somebody_elses("K03.alice_as_computer", "computer", "alice")
_somebody_elses("K03.alice_as_password_user", "pat", "alice")
_somebody_elses("K03.disabled_owner", "alice", "disabled")


@case("K03.alice_as_service")
def alice_as_a_service(world: World) -> PkinitLogon:
    """Alice's key, and the name of a service."""
    logon = world.pkinit()
    logon.body.cname = world.service_name()
    return logon


_somebody_elses("K04.two_users_first", "twin1", "twin1")
_somebody_elses("K04.two_users_second", "twin2", "twin2")
_somebody_elses("K04.user_of_user_and_computer", "twin3", "twin3")
_somebody_elses("K04.computer_of_user_and_computer", "twin4", "twin4")
_somebody_elses("K04.named_neither", "alice", "twin1")


# -- K05-K08, K12: values that must not count ------------------------------------------------

_value("K05.key_id_wrong", _set(entries={kc.KEY_ID: bytes(32)}))
_value("K05.key_id_short", _set(entries={kc.KEY_ID: bytes(31)}))
_value("K05.key_id_empty", _set(entries={kc.KEY_ID: b""}))
_holder(
    "K05.key_id_of_another_key",
    lambda key, dn: [
        KeyCredential(
            material=bcrypt(key),
            entries={kc.KEY_ID: sha256(bcrypt(rsa_modulus_only(2048))).digest()},
        ).text(dn)
    ],
)
_holder(
    "K05.key_id_wrong_switched_off",
    lambda key, dn: [KeyCredential(material=bcrypt(key), entries={kc.KEY_ID: bytes(32)}).text(dn)],
    realm="switches",
)
_value("K05.key_hash_wrong", _set(entries={kc.KEY_HASH: bytes(32)}))
_value("K05.key_hash_absent", _set(entries={kc.KEY_HASH: None}))

for _name, _usage in (
    ("stk", b"\x02"),
    ("admin", b"\x00"),
    ("bitlocker", b"\x03"),
    ("fido", b"\x07"),
    ("fek", b"\x08"),
    ("unknown", b"\xff"),
    ("two_octets", b"\x01\x00"),
    ("empty", b""),
):
    _value(f"K06.usage_{_name}", _set(entries={kc.USAGE: _usage}))
for _name, _source in (("entra", b"\x01"), ("unknown", b"\x7f"), ("absent", None)):
    _value(f"K06.source_{_name}", _set(entries={kc.SOURCE: _source}))

_value("K07.out_of_order", _set(order=(1, 2, 4, 3, 5, 6, 8, 9)))
_value("K07.reversed", _set(order=(9, 8, 6, 5, 4, 3, 2, 1)))
_value("K07.key_id_missing", _set(entries={kc.KEY_ID: None}))
_value("K07.material_missing", _set(entries={kc.MATERIAL: None}))
_value("K07.usage_missing", _set(entries={kc.USAGE: None}))
_value("K07.version_0", _set(version=0))
_value("K07.version_100", _set(version=0x100))
_value("K07.version_201", _set(version=0x201))
_value("K07.material_twice", _set(order=(1, 2, 3, 3, 4, 5, 6, 8, 9)))
_value("K07.usage_twice", _set(order=(1, 2, 3, 4, 4, 5, 6, 8, 9)))

_value("K08.entry_past_end", _set(tail=kc.entry(10, b"x", size=200)))
_value("K08.entry_header_cut", _set(tail=b"\x01"))
_text("K08.odd_hex", lambda text, dn: _rebuilt(text, dn, lambda h: h[:-1]))
_text("K08.not_hex", lambda text, dn: _rebuilt(text, dn, lambda h: "G" + h[1:]))
_text("K08.space_in_hex", lambda text, dn: _rebuilt(text, dn, lambda h: h[:2] + "  " + h[4:]))
_text("K08.count_wrong", lambda text, dn: text.replace(":", ":1", 1))
_text("K08.another_object", lambda text, dn: text.replace(dn, "CN=bob,DC=lab,DC=test"))
_text("K08.another_suffix", lambda text, dn: text + ",DC=evil")
_text("K08.string_syntax", lambda text, dn: "S" + text[1:])
_text("K08.dn_other_case", lambda text, dn: text.replace(dn, dn.upper()))
_text("K08.dn_spaces", lambda text, dn: text.replace(dn, dn.replace(",", " , ")))
_text(
    "K08.dn_escaped",
    lambda text, dn: text.replace(dn, dn.replace("=u", "=\\75", 1)),
)


def _rebuilt(text: str, dn: str, change: Callable[[str], str]) -> str:
    digits = change(text.split(":")[2])
    return f"B:{len(digits)}:{digits}:{dn}"


def _beside_bad_ones(key: RsaKey, dn: str) -> list[str]:
    good = KeyCredential(material=bcrypt(key)).text(dn)
    return ["", "B:4:zz:x", good[:-3], "B:8:00020000:" + dn, good]


_holder("K08.good_beside_bad", _beside_bad_ones)


def _material(case_id: str, make: Callable[[RsaKey], bytes]) -> None:
    _holder(case_id, lambda key, dn: [KeyCredential(material=make(key)).text(dn)])


def _exponent_0(key: RsaKey) -> bytes:
    return bcrypt(key, exponent=b"\x00\x00\x00")


_material("K12.bcrypt_exponent_0", _exponent_0)
_material("K12.bcrypt_exponent_empty", lambda key: bcrypt(key, exponent=b""))
_material("K12.bcrypt_modulus_size_short", lambda key: bcrypt(key, modulus_size=255))
_material("K12.bcrypt_modulus_size_long", lambda key: bcrypt(key, modulus_size=257))
_material("K12.bcrypt_modulus_size_huge", lambda key: bcrypt(key, modulus_size=0xFFFFFFFF))
_material("K12.bcrypt_cut", lambda key: bcrypt(key)[:-1])
_material("K12.bcrypt_trailing", lambda key: bcrypt(key) + b"\x00")
_material("K12.bcrypt_header_only", lambda key: bcrypt(key)[:24])
_material("K12.bcrypt_private_magic", lambda key: bcrypt(key, magic=b"RSA2"))
_material("K12.unknown_magic", lambda key: bcrypt(key, magic=b"XXXX"))
_material("K12.bits_wrong", lambda key: _bits(bcrypt(key), 2047))
_material("K12.der_trailing", lambda key: key.public_key + b"\x00")
_material("K12.der_long_form", lambda key: der.long_form(key.public_key, 4))
_material("K12.empty", lambda key: b"")
_material("K12.fido_json", lambda key: b'{"version":1,"authData":"AA=="}')


def _bits(blob: bytes, value: int) -> bytes:
    return blob[:4] + struct.pack("<I", value) + blob[8:]


@case("K12.bcrypt_1024", control="key of credential")
def small_key(world: World) -> PkinitLogon:
    """A 1024-bit key in the attribute, and its owner's signature."""
    return world.pkinit("small")


# -- K09, K10 --------------------------------------------------------------------------------

K09_VALUES = 10_000


def _many(position: int) -> Values:
    def values(key: RsaKey, dn: str) -> list[str]:
        filler = KeyCredential(material=bytes(700), entries={kc.KEY_ID: bytes(32)}).text(dn)
        out = [filler] * (K09_VALUES - 1)
        out.insert(position, KeyCredential(material=bcrypt(key)).text(dn))
        return out

    return values


_holder("K09.key_is_last_of_10000", _many(K09_VALUES - 1))
_holder("K09.key_is_513th", _many(512))
_holder("K09.key_is_512th", _many(511))

add("K10.block", lambda world: world.pkinit("roca"), control="key of credential")
add("K10.audit", lambda world: world.pkinit("roca"), control="pkinit", realm="switches")

# -- K11, K19: the device that a key is on -----------------------------------------------------

ENABLED, DISABLED, UNKNOWN = (bytes((number,)) * 16 for number in (0xE1, 0xD1, 0x77))
DEVICES = {"enabled": ENABLED, "disabled": DISABLED}
"""Name -> DeviceId, of the device objects that every realm has."""
ADMINS = "Domain Admins"
GROUPS = {"Helpdesk": ADMINS}
"""Name -> the group it is in, of the groups that every realm has besides the well-known ones."""
PRIVILEGED: dict[str, str] = {}
"""Role -> its group, or "adminCount"."""
_NAMED = {
    "enabled": ENABLED,
    "disabled": DISABLED,
    "unknown_device": UNKNOWN,
    "zeros": bytes(16),
    "device_absent": None,
}


def _on_device(role: str, device: bytes | None) -> None:
    """Register an account whose key is on a device."""

    def values(key: RsaKey, dn: str) -> list[str]:
        return [KeyCredential(material=bcrypt(key), entries={kc.DEVICE: device}).text(dn)]

    name = "u-" + role.lower().replace(".", "-").replace("_", "-")
    HOLDERS[role] = Holder(name=name, values=values)


def _by(role: str) -> Callable[[World], PkinitLogon]:
    return lambda world: world.pkinit(role)


_on_device("device", ENABLED)
for _name, _device in _NAMED.items():
    _on_device(f"K11.{_name}", _device)
    add(f"K11.{_name}", _by(f"K11.{_name}"), control="key of device")
    # The same accounts, where require_device_object is on.
    add(f"K11.{_name}_required", _by(f"K11.{_name}"), control="key of device", realm="devices")
    _on_device(f"K19.{_name}", _device)
    PRIVILEGED[f"K19.{_name}"] = ADMINS
    add(f"K19.{_name}", _by(f"K19.{_name}"), control="key of device", realm="tier0")
for _name, _how in (("nested_group", "Helpdesk"), ("admin_count", "adminCount")):
    _on_device(f"K19.{_name}", None)
    PRIVILEGED[f"K19.{_name}"] = _how
    add(f"K19.{_name}", _by(f"K19.{_name}"), control="key of device", realm="tier0")
add("K19.not_privileged", _by("K11.device_absent"), control="key of device", realm="tier0")
add("K19.policy_off", _by("K19.device_absent"), control="key of device")


# -- K13, K14: what the certificate says does not matter -------------------------------------


def _certificate(case_id: str, named: str | Name = "alice", **parts: object) -> None:
    def build(world: World) -> PkinitLogon:
        if not world.key_trust:
            raise NotApplicableError("key trust")
        key = world.identity("alice").key
        made = Certificate(key=key, subject="alice")
        for name, value in parts.items():
            setattr(made, name, value)
        logon = world.pkinit()
        signed = made.encode()
        logon.identity = Identity(key=key, certificate=signed)
        logon.signer.certificate = signed
        if isinstance(named, str):
            logon.body.cname = user(world.person(named).name)
        return logon

    add(case_id, build)


_NOW = datetime.now(UTC)
_usual = (basic_constraints(ca=False), eku(SMART_CARD_LOGON))
_certificate("K13.administrators_sid", extensions=(*_usual, sid_extension(ADMINISTRATOR_SID)))
_certificate("K13.administrators_upn", extensions=(*_usual, upn_san("administrator@lab.test")))
_certificate(
    "K13.named_administrator",
    "administrator",
    extensions=(*_usual, sid_extension(ADMINISTRATOR_SID), upn_san("administrator@lab.test")),
)
_certificate("K13.named_bob_by_upn", "bob", extensions=(*_usual, upn_san("bob@lab.test")))

_certificate(
    "K14.expired",
    not_before=_NOW - timedelta(days=30),
    not_after=_NOW - timedelta(days=1),
)
_certificate(
    "K14.not_yet_valid", not_before=_NOW + timedelta(days=1), not_after=_NOW + timedelta(days=30)
)
_certificate("K14.ca", extensions=(basic_constraints(ca=True),))
_certificate("K14.version_1", extensions=None)
_certificate("K14.signed_sha1", hash="sha1")
_certificate("K14.signed_md5", hash="md5")
_certificate("K14.foreign_san", extensions=(*_usual, upn_san("mallory@evil.test")))
_certificate("K14.no_eku", extensions=(basic_constraints(ca=False),))
_certificate("K14.other_eku", extensions=(basic_constraints(ca=False), eku(SERVER_AUTH)))
_certificate("K14.other_issuer", issuer="Some CA")


# -- K15: state of the account ---------------------------------------------------------------

for _role in ("disabled", "locked", "expired", "hours", "password_expired", "must_change"):
    add(f"K15.{_role}_key", lambda world, role=_role: world.pkinit(role))  # type: ignore[misc]  # bound per role
    add(
        f"K15.{_role}_password",
        lambda world, role=_role: world.password(role),  # type: ignore[misc]  # bound per role
        control="password",
    )
add("K15.must_change_card_only", lambda world: world.pkinit("must_change_card"))
add("K15.password_expired_card_only", lambda world: world.pkinit("password_expired_card"))


# -- K16: what a key's flags put into the PAC ------------------------------------------------


def _flags(name: str, flags: bytes, sid: int, *, present: bool) -> None:
    """Register a key with CustomKeyInformation flags; sid: S-1-18-5 MFA, S-1-18-6 attested."""
    case_id = f"K16.{name}"
    order = (1, 2, 3, 4, 5, 6, 7, 8, 9)

    def values(key: RsaKey, dn: str) -> list[str]:
        entries: dict[int, bytes | None] = {kc.CUSTOM: b"\x01" + flags}
        made = KeyCredential(material=bcrypt(key), entries=entries, order=order)
        return [made.text(dn)]

    def check(world: World, result: Result) -> None:
        assert result.ticket is not None
        plain = open_ticket(world, result.ticket)
        assert plain is not None
        # In the PAC's ExtraSids: revision 1, one sub-authority, authority 18, the number.
        octets = b"\x01\x01" + bytes(5) + b"\x12"
        assert octets in plain, "no SID of S-1-18 at all"
        assert (octets + sid.to_bytes(4, "little") in plain) is present

    HOLDERS[case_id] = Holder(name="u-k16-" + name.replace("_", "-"), values=values)
    add(
        case_id,
        lambda world: Exchange(logon=world.pkinit(case_id), check=check),
        control="key of credential",
    )


_flags("mfa_not_used", b"\x02", 5, present=False)
_flags("mfa_used", b"\x00", 5, present=True)
_flags("not_attested", b"\x00", 6, present=False)
_flags("attested", b"\x01", 6, present=True)


# -- K20: genuine shapes ---------------------------------------------------------------------

for _size in (2, 4, 5, 6, 15):
    _value(
        f"K20.custom_key_information_{_size}",
        _set(
            entries={kc.CUSTOM: b"\x01\x02" + bytes(_size - 2)},
            order=(1, 2, 3, 4, 5, 6, 7, 8, 9),
        ),
    )
_value("K20.only_1_3_4", _set(order=(1, 3, 4)))
_value(
    "K20.dotnet_times",
    _set(
        entries={
            kc.SOURCE: b"\x01",
            kc.LAST_LOGON: kc.DOTNET_2026,
            kc.CREATED: kc.DOTNET_2026,
        }
    ),
)
_value("K20.unknown_entry", _set(tail=kc.entry(0x63, b"something new")))
_material("K20.rsa_public_key", lambda key: key.public_key)
_material("K20.spki", lambda key: key.spki)
