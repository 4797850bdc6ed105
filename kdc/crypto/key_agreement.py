"""Diffie-Hellman over MODP groups and over the NIST curves, behind one interface.

Rules
  1. A peer's value is checked by number, here, before any library sees it: 1 < y < p-1 for MODP
     (for a safe prime that is the whole check), the uncompressed form and its length for curves.
     Whether a point is on its curve the library tells, before it multiplies.
  2. A group is known by its exact p and g, or by its named curve. Parameters that a client makes
     up are never used, so a composite p or a huge one costs a comparison.
  3. The shared secret Z is as long as p: the left padding of RFC 4556 section 3.2.3.1 is done
     here, once. For curves it is the x coordinate (RFC 5349 section 4).

MODP runs in OpenSSL through `cryptography`: a fresh group 14 key and its agreement take 0.6 ms,
because OpenSSL knows the group and uses a private exponent of 225 bits. Python's pow() needs
4.8 ms for the same and is not constant in time. Group 2 is not among the groups OpenSSL knows:
there the library tests p for primality at every call, 37 ms. As group 2 only exists for old
tools behind a switch, it runs on pow() with an exponent of 256 bits, 1.4 ms.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Literal, Protocol, cast

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from cryptography.utils import CryptographyDeprecationWarning

from pki import der
from pki.errors import PkiError

with warnings.catch_warnings():
    # `cryptography` 50 announces the end of finite-field Diffie-Hellman when these names are
    # looked up. PKINIT cannot do without; the day it goes, this file changes and no other.
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    from cryptography.hazmat.primitives.asymmetric.dh import (
        DHParameterNumbers,
        DHParameters,
        DHPrivateKey,
        DHPrivateNumbers,
        DHPublicNumbers,
    )

DH_PUBLIC_NUMBER = "1.2.840.10046.2.1"
EC_PUBLIC_KEY = "1.2.840.10045.2.1"

_ECDH = ec.ECDH()

# More than three times what a 1024-bit group is worth (80 bits need an exponent of 160).
_SHORT_EXPONENT_BITS = 256


class AgreementFault(StrEnum):
    """Why a peer's public value is refused (all are KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED)."""

    MALFORMED = "public value is not the DER of one INTEGER"
    OUT_OF_RANGE = "public value outside 1 < y < p-1"
    POINT_FORM = "point not uncompressed or of another curve's length"
    NOT_ON_CURVE = "point not on the curve"


class AgreementError(Exception):
    """A peer's public value is refused; the text is fixed."""

    def __init__(self, fault: AgreementFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class KeyPair:
    """One private key of a group. Made by `generate`, or by `from_private` for test vectors."""

    __slots__ = ("_exchange", "group", "public")

    def __init__(self, group: "Group", public: bytes, exchange: Callable[[bytes], bytes]) -> None:
        self.group = group
        self.public = public
        """Content of the BIT STRING subjectPublicKey, without its unused-bits octet: the DER of
        INTEGER y for MODP, the uncompressed point for curves."""
        self._exchange = exchange

    @classmethod
    def from_private(cls, group: "Group", x: int) -> "KeyPair":
        """Make the key pair of a known private number."""
        return group.key_pair(x)

    def agree(self, peer_public: bytes) -> bytes:
        """Return the shared secret Z, group.secret_bytes long.

        peer_public: the peer's value in the form of `public`, unchecked.
        Raises AgreementError.
        """
        return self._exchange(peer_public)

    def __repr__(self) -> str:
        return f"<KeyPair {self.group.name}>"


class Group(Protocol):
    """A Diffie-Hellman group, of either kind."""

    @property
    def name(self) -> str:
        """The name in configuration: modp14, p256."""

    @property
    def kind(self) -> Literal["modp", "ec"]:
        """What the group is made of."""

    @property
    def bits(self) -> int:
        """Length of p, or of the field of the curve."""

    @property
    def algorithm_identifier(self) -> bytes:
        """DER of the AlgorithmIdentifier with its parameters, for TD-DH-PARAMETERS."""

    @property
    def secret_bytes(self) -> int:
        """Length of the shared secret."""

    def key_pair(self, x: int | None = None) -> KeyPair:
        """Make a fresh key pair, or the one of the private number x."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModpGroup:
    """A MODP group of RFC 2409 or RFC 3526: p a safe prime, g = 2, of order q = (p-1)/2."""

    name: str
    p: int = field(repr=False)
    g: int = 2
    known_to_openssl: bool = True
    kind: Literal["modp"] = "modp"
    q: int = field(init=False, repr=False)
    bits: int = field(init=False)
    secret_bytes: int = field(init=False)
    algorithm_identifier: bytes = field(init=False, repr=False)
    _numbers: DHParameterNumbers = field(init=False, repr=False, compare=False)
    _parameters: DHParameters | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = partial(object.__setattr__, self)
        q = (self.p - 1) // 2
        # DomainParameters ::= SEQUENCE { p INTEGER, g INTEGER, q INTEGER, ... } (RFC 3279 2.3.3)
        parameters = der.sequence(*map(der.encode_integer, (self.p, self.g, q)))
        put("q", q)
        put("bits", self.p.bit_length())
        put("secret_bytes", (self.bits + 7) // 8)
        put("algorithm_identifier", der.sequence(der.encode_oid(DH_PUBLIC_NUMBER), parameters))
        # Without q, for OpenSSL finds the group by p and g alone, and 2 us sooner.
        put("_numbers", DHParameterNumbers(self.p, self.g))
        put("_parameters", self._numbers.parameters() if self.known_to_openssl else None)

    def key_pair(self, x: int | None = None) -> KeyPair:
        """Make a fresh key pair, or the one of the private number x."""
        parameters = self._parameters
        if parameters is None:
            return self._short_exponent_pair(x)
        if x is None:
            private = parameters.generate_private_key()
            y = private.public_key().public_numbers().y
        else:
            y = pow(self.g, x, self.p)
            private = DHPrivateNumbers(x, DHPublicNumbers(y, self._numbers)).private_key()
        return KeyPair(self, der.encode_integer(y), partial(self._exchange, private))

    def _short_exponent_pair(self, x: int | None) -> KeyPair:
        if x is None:
            # 256 random bits of the library's generator; the top bit fixes the time of pow().
            drawn = AESGCM.generate_key(_SHORT_EXPONENT_BITS)
            x = int.from_bytes(drawn, "big") | 1 << (_SHORT_EXPONENT_BITS - 1)
        y = pow(self.g, x, self.p)
        return KeyPair(self, der.encode_integer(y), partial(self._pow_exchange, x))

    def _exchange(self, private: DHPrivateKey, peer_public: bytes) -> bytes:
        y = self.check_public(peer_public)
        secret = private.exchange(DHPublicNumbers(y, self._numbers).public_key())
        return secret.rjust(self.secret_bytes, b"\x00")

    def _pow_exchange(self, x: int, peer_public: bytes) -> bytes:
        return pow(self.check_public(peer_public), x, self.p).to_bytes(self.secret_bytes, "big")

    def check_public(self, peer_public: bytes) -> int:
        """Return y of the DER INTEGER after checking 1 < y < p-1; AgreementError otherwise."""
        try:
            start, end = der.open_tlv(peer_public, der.INTEGER)
            y = der.decode_integer(peer_public, start, end)
        except PkiError:
            raise AgreementError(AgreementFault.MALFORMED) from None
        if not 1 < y < self.p - 1:
            raise AgreementError(AgreementFault.OUT_OF_RANGE)
        return y


@dataclass(frozen=True, slots=True, kw_only=True)
class EcGroup:
    """A NIST curve, as RFC 5349 uses it."""

    name: str
    curve: ec.EllipticCurve
    curve_oid: str
    kind: Literal["ec"] = "ec"
    bits: int = field(init=False)
    secret_bytes: int = field(init=False)
    algorithm_identifier: bytes = field(init=False, repr=False)
    _spki_to_point: bytes = field(init=False, repr=False, compare=False)
    """A SubjectPublicKeyInfo of the curve, up to the octets of an uncompressed point."""

    def __post_init__(self) -> None:
        put = partial(object.__setattr__, self)
        put("bits", self.curve.key_size)
        put("secret_bytes", (self.bits + 7) // 8)
        named_curve = der.encode_oid(self.curve_oid)
        put("algorithm_identifier", der.sequence(der.encode_oid(EC_PUBLIC_KEY), named_curve))
        point = bytes(1 + 2 * self.secret_bytes)
        spki = der.sequence(self.algorithm_identifier, der.encode_bit_string(point))
        put("_spki_to_point", spki[: -len(point)])

    def key_pair(self, x: int | None = None) -> KeyPair:
        """Make a fresh key pair, or the one of the private number x."""
        if x is None:
            private = ec.generate_private_key(self.curve)
        else:
            private = ec.derive_private_key(x, self.curve)
        point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return KeyPair(self, point, partial(self._exchange, private))

    def _exchange(self, private: ec.EllipticCurvePrivateKey, peer_public: bytes) -> bytes:
        # The point at infinity is one octet, a compressed point has no y: both fail here.
        if len(peer_public) != 1 + 2 * self.secret_bytes or peer_public[0] != 0x04:
            raise AgreementError(AgreementFault.POINT_FORM)
        try:
            # Cheaper for the library than a point and a curve.
            loaded = load_der_public_key(self._spki_to_point + peer_public)
            peer = cast(ec.EllipticCurvePublicKey, loaded)
        except ValueError:
            raise AgreementError(AgreementFault.NOT_ON_CURVE) from None
        return private.exchange(_ECDH, peer)


# RFC 2409 section 6.2 and RFC 3526 sections 3 and 5. A test computes all three from the formula
# those documents give, 2**n - 2**(n-64) - 1 + 2**64 * (floor(2**(n-130) * pi) + c).
_P_1024 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    16,
)
_P_2048 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05"
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB"
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
    "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)
_P_4096 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05"
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB"
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
    "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33"
    "A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7"
    "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864"
    "D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2"
    "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7"
    "88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8"
    "DBBBC2DB04DE8EF92E8EFC141FBECAA6287C59474E6BC05D99B2964FA090C3A2"
    "233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9"
    "93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
    16,
)

MODP_GROUPS: tuple[ModpGroup, ...] = (
    ModpGroup(name="modp2", p=_P_1024, known_to_openssl=False),
    ModpGroup(name="modp14", p=_P_2048),
    ModpGroup(name="modp16", p=_P_4096),
)

EC_GROUPS: tuple[EcGroup, ...] = (
    EcGroup(name="p256", curve=ec.SECP256R1(), curve_oid="1.2.840.10045.3.1.7"),
    EcGroup(name="p384", curve=ec.SECP384R1(), curve_oid="1.3.132.0.34"),
    EcGroup(name="p521", curve=ec.SECP521R1(), curve_oid="1.3.132.0.35"),
)

_ALL: tuple[Group, ...] = (*MODP_GROUPS, *EC_GROUPS)
GROUPS: dict[str, Group] = {group.name: group for group in _ALL}

_BY_PRIME = {group.p: group for group in MODP_GROUPS}
_BY_CURVE_OID = {group.curve_oid: group for group in EC_GROUPS}


def match_domain_parameters(p: int, g: int, q: int | None) -> ModpGroup | None:
    """Return the MODP group with exactly these parameters, None if it is not one of ours.

    q may be absent or 0, as tools send it; otherwise it must be (p-1)/2.
    Which of our groups are allowed is policy.
    """
    group = _BY_PRIME.get(p)
    if group is None or g != group.g or q not in (None, 0, group.q):
        return None
    return group


def group_by_curve_oid(oid: str) -> EcGroup | None:
    """Return the group of a named curve, None if it is not one of ours."""
    return _BY_CURVE_OID.get(oid)


def generate(group: Group) -> KeyPair:
    """Make a fresh key pair; the randomness is the library's."""
    return group.key_pair()
