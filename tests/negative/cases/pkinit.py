"""P01-P25: the CMS message and the AuthPack."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.negative.engine import add, case
from tests.negative.wire import cms, der, kerberos
from tests.negative.wire.certificate import Certificate
from tests.negative.wire.cms import MESSAGE_DIGEST, SIGNING_TIME, Signer, algorithm, attribute
from tests.negative.wire.kerberos import PA_PK_AS_REP_15, PA_PK_AS_REQ_14, Body, padata, user
from tests.negative.wire.keys import (
    DIGESTS,
    P256_ORDER,
    RSA_ENCRYPTION,
    RSA_WITH,
    EcKey,
    RsaKey,
    SigningKey,
    digest,
    rsa_modulus_only,
    rsa_of,
)
from tests.negative.wire.logon import (
    ID_DH_KEY_DATA,
    ID_RKEY_DATA,
    Identity,
    PkinitLogon,
    checksum2,
)
from tests.negative.world import World

Change = Callable[[PkinitLogon], object]


def _add(
    case_id: str,
    change: Change,
    *,
    role: str = "alice",
    control: str = "pkinit",
    realm: str = "main",
) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit(role)
        change(logon)
        return logon

    add(case_id, build, control=control, realm=realm)


def _signer(**changes: object) -> Change:
    def change(logon: PkinitLogon) -> None:
        for name, value in changes.items():
            setattr(logon.signer, name, value)

    return change


def _signed(**changes: object) -> Change:
    def change(logon: PkinitLogon) -> None:
        for name, value in changes.items():
            setattr(logon.signed, name, value)

    return change


def _auth(**changes: object) -> Change:
    def change(logon: PkinitLogon) -> None:
        for name, value in changes.items():
            setattr(logon.auth, name, value)

    return change


def rsa_key(logon: PkinitLogon) -> RsaKey:
    """Return the RSA key of a logon's signer."""
    key = logon.identity.key
    if not isinstance(key, RsaKey):
        raise TypeError("the signer's key is not RSA")
    return key


def self_signed(key: SigningKey, subject: str) -> Identity:
    """Make an identity over a key, with a self-signed certificate."""
    return Identity(key=key, certificate=Certificate(key=key, subject=subject).encode())


def flip(data: bytes, at: int) -> bytes:
    """Flip the lowest bit of one octet."""
    at %= len(data)
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


# -- P01, P02: signature and digest ----------------------------------------------------------

for _name, _bend in (
    ("first_bit", lambda s: bytes((s[0] ^ 0x80,)) + s[1:]),
    ("last_bit", lambda s: flip(s, -1)),
    ("middle_bit", lambda s: flip(s, len(s) // 2)),
    ("cut", lambda s: s[:-1]),
    ("longer", lambda s: s + b"\x00"),
    ("empty", lambda s: b""),
    ("zeros", lambda s: bytes(len(s))),
):
    _add(f"P01.{_name}", _signer(bend=_bend))

_add("P02.wrong", _signer(message_digest=digest("sha256", b"something else")))
_add("P02.flipped", lambda logon: _flip_digest(logon))
_add("P02.short", _signer(message_digest=bytes(31)))
_add("P02.of_sha1_length", _signer(message_digest=bytes(20)))
_add("P02.missing", _signer(message_digest=b""))
_add(
    "P02.twice",
    _signer(more_attributes=(attribute(MESSAGE_DIGEST, der.octets(bytes(32))),)),
)


def _flip_digest(logon: PkinitLogon) -> None:
    # The body is fixed by now, so the AuthPack will be the same octets when it is signed.
    content = logon.auth.encode(logon.body.encode())
    logon.signer.message_digest = flip(digest("sha256", content), -1)


@case("P02.two_values")
def two_digest_values(world: World) -> PkinitLogon:
    """A messageDigest attribute with the right value and another beside it."""
    logon = world.pkinit()
    content = logon.auth.encode(logon.body.encode())
    right = der.octets(digest("sha256", content))
    logon.signer.message_digest = b""
    logon.signer.more_attributes = (attribute(MESSAGE_DIGEST, right, der.octets(bytes(32))),)
    return logon


# -- P03, P04: content types -----------------------------------------------------------------

_add("P03.missing", _signer(content_type=""))
_add("P03.id_data", _signer(content_type=cms.ID_DATA))
_add("P03.dh_key_data", _signer(content_type=ID_DH_KEY_DATA))
_add("P03.no_signed_attributes", _signer(unsigned_attributes=True))
_add("P03.missing_switched_off", _signer(content_type=""), realm="switches")
_add("P03.wrong_switched_off", _signer(content_type=cms.ID_DATA), realm="switches")

_add("P04.id_data", _signed(content_type=cms.ID_DATA))
_add("P04.rkey_data", _signed(content_type=ID_RKEY_DATA))
_add("P04.dh_key_data", _signed(content_type=ID_DH_KEY_DATA))


# -- P05-P09: who signed ---------------------------------------------------------------------


@case("P05.with_certificate")
def no_signer(world: World) -> PkinitLogon:
    """Anonymous PKINIT's form, with alice's certificate beside it."""
    logon = world.pkinit()
    logon.signed.signers = []
    logon.signed.certificates = [logon.identity.certificate.der]
    logon.owner = ""
    return logon


@case("P05.without_certificate")
def no_signer_no_certificate(world: World) -> PkinitLogon:
    """Anonymous PKINIT's form, with alice's name."""
    logon = world.pkinit()
    logon.signed.signers = []
    logon.owner = ""
    return logon


def _old_mit(kept: bytes) -> bytes:
    info = der.sequence(der.oid("1.3.6.1.5.2.3.1"), der.explicit(0, der.octets(kept)))
    return der.sequence(der.implicit(0, info))


_add("P06.auth_data", lambda logon: setattr(logon, "wrap", _old_mit))
_add("P06.bare_signed_data", _signed(bare=True))
_add("P06.enveloped_data", _signed(outer_type="1.2.840.113549.1.7.3"))
_add("P06.no_content", _signed(econtent=lambda content: b""))


def _two_signers(first: str, second: str, cname: str) -> Callable[[World], PkinitLogon]:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit(cname)
        identities = [world.identity(first), world.identity(second)]
        logon.signed.signers = [Signer(key=i.key, certificate=i.certificate) for i in identities]
        return logon

    return build


add("P07.alice_bob", _two_signers("alice", "bob", "alice"))
add("P07.bob_alice", _two_signers("bob", "alice", "alice"))
add("P07.alice_twice", _two_signers("alice", "alice", "alice"))


@case("P08.certificate_beside")
def name_of_another_certificate(world: World) -> PkinitLogon:
    """Alice signs, bob is named, and bob's certificate is the first in the bag."""
    logon = world.pkinit("bob", by="alice")
    bob = world.identity("bob").certificate.der
    logon.signed.certificates = [bob, logon.identity.certificate.der]
    return logon


@case("P08.borrowed_certificate")
def borrowed_certificate(world: World) -> PkinitLogon:
    """Alice signs, and the SignerInfo names bob's certificate."""
    logon = world.pkinit("bob", by="alice")
    logon.signer.certificate = world.identity("bob").certificate
    return logon


@case("P08.same_issuer_and_serial")
def twin_certificates(world: World) -> PkinitLogon:
    """A certificate over alice's key with issuer and serial of bob's, before bob's own."""
    logon = world.pkinit("bob", by="alice")
    bob = world.identity("bob").certificate
    logon.signer.certificate = bob
    key = logon.identity.key
    forged = Certificate(key=key, subject="bob", issuer_name=bob.issuer, serial=bob.serial)
    logon.signed.certificates = [forged.encode().der, bob.der]
    return logon


_add("P09.empty_bag", _signed(certificates=[]))


@case("P09.another_certificate")
def another_certificate_only(world: World) -> PkinitLogon:
    """Only bob's certificate is in the bag."""
    logon = world.pkinit()
    logon.signed.certificates = [world.identity("bob").certificate.der]
    return logon


_add("P09.unknown_key_identifier", _signer(sid=der.implicit(0, bytes(20)), version=3))


def _wrong_serial(logon: PkinitLogon) -> None:
    own = logon.identity.certificate
    logon.signer.sid = der.sequence(own.issuer, der.integer(own.serial + 1))


_add("P09.wrong_serial", _wrong_serial)


# -- P10, P11: algorithms --------------------------------------------------------------------


def _digest(name: str, *, encryption: bool = False) -> Change:
    def change(logon: PkinitLogon) -> None:
        logon.signer.hash = name
        if encryption:
            logon.signer.signature_algorithm = algorithm(RSA_ENCRYPTION, der.null())

    return change


_add("P10.md5", _digest("md5"))
_add("P10.md5_rsa_encryption", _digest("md5", encryption=True))
_add("P10.sha1", _digest("sha1"))
_add("P10.sha1_rsa_encryption", _digest("sha1", encryption=True))
_add("P10.sha224", _digest("sha224"))
_add("P10.sha3", _digest("sha3_256"))
_add(
    "P10.md5_signed_as_sha256",
    _signer(digest_algorithm=algorithm(DIGESTS["md5"], der.null())),
)
_add("P10.md5_switched_on", _digest("md5"), realm="switches")
_add("P10.sha1_switched_on", _digest("sha1"), realm="switches")


def _signature_algorithm(oid: str, parameters: bytes | None) -> Change:
    return _signer(signature_algorithm=algorithm(oid, parameters))


_add("P11.sha512", _signature_algorithm(RSA_WITH["sha512"], der.null()))
_add("P11.sha1", _signature_algorithm(RSA_WITH["sha1"], der.null()))
_add("P11.md5", _signature_algorithm(RSA_WITH["md5"], der.null()))
_add("P11.pss_sha1", _signature_algorithm("1.2.840.113549.1.1.10", der.sequence()))
_add("P11.ecdsa_for_rsa_key", _signature_algorithm("1.2.840.10045.4.3.2", None))
_add("P11.dsa", _signature_algorithm("2.16.840.1.101.3.4.3.2", None))
_add("P11.digest_as_signature", _signature_algorithm(DIGESTS["sha256"], der.null()))
_add(
    "P11.rsa_encryption_for_ec_key",
    _signature_algorithm(RSA_ENCRYPTION, der.null()),
    role="eve",
    control="ec",
)


# -- P13, P14: keys and forged signatures ----------------------------------------------------


def _key(case_id: str, make: Callable[[], RsaKey]) -> None:
    def build(world: World) -> PkinitLogon:
        return world.pkinit("alice", by=self_signed(make(), "weak"))

    add(case_id, build)


_key("P13.rsa_1024", lambda: rsa_of(1024, 65537))
_key("P13.rsa_2040", lambda: rsa_modulus_only(2040))
_key("P13.exponent_1", lambda: RsaKey(n=rsa_modulus_only(2048).n, e=1, d=1))
_key("P13.exponent_3", lambda: rsa_modulus_only(2048, 3))
_key("P13.exponent_even", lambda: rsa_modulus_only(2048, 65538))
_key("P13.exponent_33_bits", lambda: rsa_modulus_only(2048, (1 << 32) + 1))
_key("P13.exponent_huge", lambda: rsa_modulus_only(2048, (1 << 2046) + 1))
_key("P13.rsa_4104", lambda: rsa_modulus_only(4104))
_key("P13.rsa_16384", lambda: rsa_modulus_only(16384))
_key("P13.modulus_even", lambda: RsaKey(n=rsa_modulus_only(2048).n + 1, e=65537))
_key("P13.modulus_smooth", lambda: RsaKey(n=rsa_modulus_only(2043).n * 31, e=65537))


def _forge(case_id: str, forge: Callable[[RsaKey, bytes], bytes]) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        key = rsa_key(logon)
        logon.signer.signature = lambda data: forge(key, data)
        return logon

    add(case_id, build)


def _info(key: RsaKey, data: bytes) -> bytes:
    return key.padded("sha256", data).rpartition(b"\xff\x00")[2]


def _garbage_behind(key: RsaKey, data: bytes) -> bytes:
    head = b"\x00\x01" + b"\xff" * 8 + b"\x00" + _info(key, data)
    return key.raw(head + bytes(key.size - len(head)))


def _block_type_2(key: RsaKey, data: bytes) -> bytes:
    return key.raw(b"\x00\x02" + key.padded("sha256", data)[2:])


def _hash_only(key: RsaKey, data: bytes) -> bytes:
    value = digest("sha256", data)
    filler = b"\xff" * (key.size - 3 - len(value))
    return key.raw(b"\x00\x01" + filler + b"\x00" + value)


def _other_hash_named(key: RsaKey, data: bytes) -> bytes:
    sha512 = der.oid(DIGESTS["sha512"])
    return key.raw(key.padded("sha256", data).replace(der.oid(DIGESTS["sha256"]), sha512))


def _long_form_length(key: RsaKey, data: bytes) -> bytes:
    info = der.long_form(_info(key, data), 1)
    return key.raw(b"\x00\x01" + b"\xff" * (key.size - 3 - len(info)) + b"\x00" + info)


def _garbage_in_parameters(key: RsaKey, data: bytes) -> bytes:
    named = der.sequence(der.oid(DIGESTS["sha256"]), der.octets(bytes(64)))
    info = der.sequence(named, der.octets(digest("sha256", data)))
    return key.raw(b"\x00\x01" + b"\xff" * (key.size - 3 - len(info)) + b"\x00" + info)


_forge("P14.garbage_behind_digest", _garbage_behind)
_forge("P14.garbage_in_parameters", _garbage_in_parameters)
_forge("P14.block_type_2", _block_type_2)
_forge("P14.digest_without_info", _hash_only)
_forge("P14.other_hash_named", _other_hash_named)
_forge("P14.long_form_length", _long_form_length)
_forge("P14.value_0", lambda key, data: bytes(key.size))
_forge("P14.value_1", lambda key, data: (1).to_bytes(key.size, "big"))
_forge("P14.value_n", lambda key, data: key.n.to_bytes(key.size, "big"))
_forge(
    "P14.value_plus_n",
    lambda key, data: (int.from_bytes(key.sign("sha256", data), "big") + key.n).to_bytes(
        key.size + 1, "big"
    ),
)


@case("P14.exponent_3_garbage")
def exponent_3(world: World) -> PkinitLogon:
    """The classic: e = 3, and a cube root whose cube starts like the right padding."""
    key = rsa_modulus_only(2048, 3)
    logon = world.pkinit("alice", by=self_signed(key, "cube"))

    def forge(data: bytes) -> bytes:
        head = b"\x00\x01" + b"\xff" * 8 + b"\x00" + _info(key, data)
        target = int.from_bytes(head + bytes(key.size - len(head)), "big")
        low, high = 0, 1 << 700
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if middle**3 < target else (low, middle)
        return low.to_bytes(key.size, "big")

    logon.signer.signature = forge
    return logon


def _ecdsa(case_id: str, forge: Callable[[EcKey, bytes], bytes]) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit("eve")
        key = logon.identity.key
        if not isinstance(key, EcKey):
            raise TypeError("eve's key is not EC")
        found = key
        logon.signer.signature = lambda data: forge(found, data)
        return logon

    add(case_id, build, control="ec")


def _pair(r: int, s: int) -> bytes:
    return der.sequence(der.integer(r), der.integer(s))


_ecdsa("P14.ecdsa_r_0", lambda key, data: _pair(0, key.numbers("sha256", data)[1]))
_ecdsa("P14.ecdsa_s_0", lambda key, data: _pair(key.numbers("sha256", data)[0], 0))
_ecdsa("P14.ecdsa_both_0", lambda key, data: _pair(0, 0))
_ecdsa("P14.ecdsa_r_order", lambda key, data: _pair(P256_ORDER, 1))
_ecdsa(
    "P14.ecdsa_r_plus_order",
    lambda key, data: _pair(
        key.numbers("sha256", data)[0] + P256_ORDER, key.numbers("sha256", data)[1]
    ),
)
_ecdsa("P14.ecdsa_negative", lambda key, data: _pair(-1, key.numbers("sha256", data)[1]))
_ecdsa("P14.ecdsa_trailing", lambda key, data: key.sign("sha256", data) + b"\x00")
_ecdsa("P14.ecdsa_not_der", lambda key, data: bytes(64))
_ecdsa("P14.ecdsa_long_form", lambda key, data: der.long_form(key.sign("sha256", data), 1))


# -- P15-P20: the PKAuthenticator ------------------------------------------------------------

_add("P15.absent", _auth(checksum=b""))
_add("P15.only_checksum2", _auth(checksum=b"", checksum2=checksum2("sha256")))


def _after_signing(case_id: str, change: Callable[[World, Body], object]) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        if case_id == "P16.cname":
            logon.owner = ""
        logon.change_body = lambda body: change(world, body)
        return logon

    add(case_id, build)


def _body(**changes: object) -> Callable[[World, Body], None]:
    def change(world: World, body: Body) -> None:
        for name, value in changes.items():
            setattr(body, name, value)

    return change


def _later(body: Body) -> datetime:
    if isinstance(body.till, bytes):
        raise TypeError("till")
    return body.till + timedelta(hours=1)


_after_signing("P16.till", lambda world, body: setattr(body, "till", _later(body)))
_after_signing("P16.etype", _body(etypes=(17, 18)))
_after_signing("P16.sname", lambda world, body: setattr(body, "sname", world.service_name()))
_after_signing(
    "P16.cname",
    lambda world, body: setattr(body, "cname", user(world.person("bob").name)),
)
_after_signing("P16.nonce", lambda world, body: setattr(body, "nonce", body.nonce ^ 1))
_after_signing("P16.options", _body(options=kerberos.RENEWABLE))
_after_signing("P16.rtime", _body(rtime=datetime(2037, 1, 1, tzinfo=UTC)))
_after_signing(
    "P16.cname_type",
    lambda world, body: setattr(
        body, "cname", kerberos.Name(0, body.cname.parts if body.cname else ())
    ),
)
_after_signing(
    "P16.addresses",
    _body(
        addresses=(
            der.sequence(
                der.explicit(0, der.integer(2)), der.explicit(1, der.octets(bytes((192, 0, 2, 1))))
            ),
        )
    ),
)
_add("P16.checksum_flipped", lambda logon: _flip_checksum(logon, -1))
_add("P16.checksum_short", lambda logon: _cut_checksum(logon))
_add("P16.checksum_sha256", lambda logon: _sha256_checksum(logon))


def _flip_checksum(logon: PkinitLogon, at: int) -> None:
    logon.auth.checksum = flip(digest("sha1", logon.body.encode()), at)


def _cut_checksum(logon: PkinitLogon) -> None:
    logon.auth.checksum = digest("sha1", logon.body.encode())[:10]


def _sha256_checksum(logon: PkinitLogon) -> None:
    logon.auth.checksum = digest("sha256", logon.body.encode())


_add("P17.wrong", _auth(checksum2=checksum2("sha256", bend=lambda v: flip(v, -1))))
_add("P17.short", _auth(checksum2=checksum2("sha256", bend=lambda v: v[:16])))
_add("P17.empty", _auth(checksum2=checksum2("sha256", bend=lambda v: b"")))
_add("P17.md5", _auth(checksum2=checksum2("md5")))
_add("P17.unknown_hash", _auth(checksum2=checksum2("sha256", oid="1.3.6.1.4.1.99999.1")))
_add("P17.other_hash_named", _auth(checksum2=checksum2("sha256", oid=DIGESTS["sha512"])))
for _name in ("sha1", "sha256", "sha384", "sha512"):
    _add(f"P17.right_{_name}", _auth(checksum2=checksum2(_name)))

_add("P18.absent", _auth(public_value=b""))


@case("P19.different_nonces")
def different_nonces(world: World) -> PkinitLogon:
    """The AuthPack's nonce is not the body's."""
    logon = world.pkinit()
    logon.auth.nonce = logon.body.nonce ^ 0x55
    return logon


_add("P19.nonce_0", _auth(nonce=0))


def _kdc_pk_id(logon: PkinitLogon) -> None:
    other = Certificate(key=rsa_modulus_only(2048), subject="another KDC").encode()
    logon.kdc_pk_id = der.sequence(other.issuer, der.integer(other.serial))


_add("P20.kdc_pk_id", _kdc_pk_id)
_add("P20.kdc_pk_id_garbage", lambda logon: setattr(logon, "kdc_pk_id", b"garbage"))
_add("P20.no_cms_types", _auth(cms_types=der.sequence()))
_add("P20.extra_attribute", lambda logon: _extra_attribute(logon))


def _extra_attribute(logon: PkinitLogon) -> None:
    now = der.tlv(0x17, datetime.now(UTC).strftime("%y%m%d%H%M%SZ").encode())
    logon.signer.more_attributes = (attribute(SIGNING_TIME, now),)


# -- P21-P25: padata -------------------------------------------------------------------------

_add("P21.type_14", lambda logon: setattr(logon, "pa_type", PA_PK_AS_REQ_14))
_add("P21.type_15", lambda logon: setattr(logon, "pa_type", PA_PK_AS_REP_15))


def _second(case_id: str, role: str) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        other = logon if role == "alice" else world.pkinit("alice", by=role)
        value = other.request(logon.body.encode())
        logon.after = [padata(kerberos.PA_PK_AS_REQ, value)]
        return logon

    add(case_id, build)


_second("P22.same", "alice")
_second("P22.another", "bob")


def _with_timestamp(case_id: str, change: Change, *, first: bool, by: str | None = None) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit("card", by=by)
        change(logon)
        stamp = world.password("card").encrypted_timestamp()
        entry = padata(kerberos.PA_ENC_TIMESTAMP, stamp)
        (logon.before if first else logon.after).append(entry)
        logon.owner = ""
        return logon

    add(case_id, build, control="key of card")


def _garbled(logon: PkinitLogon) -> None:
    logon.wrap = lambda kept: b"garbage"


_with_timestamp("P23.garbled", _garbled, first=False)
_with_timestamp("P23.garbled_behind", _garbled, first=True)
_with_timestamp("P23.bad_signature", _signer(bend=lambda s: flip(s, -1)), first=False)
_with_timestamp("P23.bad_signature_behind", _signer(bend=lambda s: flip(s, -1)), first=True)
_with_timestamp("P23.another_key", lambda logon: None, first=False, by="bob")

_add("P24.behind_content_info", lambda logon: setattr(logon, "behind_signed", b"\x00"))
_add("P24.behind_request", lambda logon: setattr(logon, "behind_request", b"\x05\x00"))
_add("P24.behind_auth_pack", _auth(after=b"\x05\x00"))
_add("P24.second_auth_pack", lambda logon: _second_auth_pack(logon))
_add(
    "P24.inside_signed_data",
    _signed(bend_signed_data=lambda signed: der.tlv(0x30, der.read(signed).content + b"\x05\x00")),
)


def _second_auth_pack(logon: PkinitLogon) -> None:
    logon.auth.after = logon.auth.encode(logon.body.encode())


def _old_beside(case_id: str, kind: int) -> None:
    def build(world: World) -> PkinitLogon:
        logon = world.pkinit()
        logon.after = [padata(kind, logon.request(logon.body.encode()))]
        return logon

    add(case_id, build)


_old_beside("P25.type_15", PA_PK_AS_REP_15)
_old_beside("P25.type_14", PA_PK_AS_REQ_14)
