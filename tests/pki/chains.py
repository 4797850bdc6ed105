"""Certificate chains, good and bad, made with another library from one plan each.

A plan is the depth, and defects: each changes one thing at one place. Keys are made once a run;
names, serial numbers and the choice of defects are the same in every run.
"""

import datetime
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

NOW = datetime.datetime(2026, 5, 4, 12, 0, 0, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
CLIENT_AUTH = ObjectIdentifier("1.3.6.1.5.5.7.3.2")
SERVER_AUTH = ObjectIdentifier("1.3.6.1.5.5.7.3.1")
ANY_PURPOSE = ObjectIdentifier("2.5.29.37.0")
UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
PRIVATE = ObjectIdentifier("1.3.6.1.4.1.55555.1")
POLICY = ObjectIdentifier("1.3.6.1.4.1.55555.2")
OTHER_POLICY = ObjectIdentifier("1.3.6.1.4.1.55555.3")
ANY_POLICY = ObjectIdentifier("2.5.29.32.0")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@cache
def key(name: str) -> Key:
    """Return the key of a name: `rsa1024 x`, `rsa x` and `p384 x` say the kind; else P-256."""
    kind = name.partition(" ")[0]
    if kind == "rsa1024":
        return rsa.generate_private_key(65537, 1024)  # noqa: S505  # what the policy refuses
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


def directory_name(*parts: tuple[ObjectIdentifier, str]) -> x509.Name:
    """Return a name of (type, value) pairs, the root first."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _name(common_name: str) -> x509.Name:
    return directory_name(
        (NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, common_name)
    )


def usage(*names: str) -> x509.KeyUsage:
    """Return a keyUsage of these bits."""
    bits = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{bit: bit in names for bit in bits})


@dataclass(slots=True, kw_only=True)
class Made:
    """One certificate to be made: what a defect may change."""

    subject: x509.Name
    issuer: x509.Name
    key_name: str
    signer: str
    """Name of the issuer's key."""
    authority: str
    """Name of the key in authorityKeyIdentifier; "" for none."""
    not_before: datetime.datetime = NOW - 30 * DAY
    not_after: datetime.datetime = NOW + 365 * DAY
    extensions: dict[str, tuple[x509.ExtensionType, bool]] = field(default_factory=dict)
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    pss: bool = False
    sha1: bool = False
    dropped: bool = False
    """The certificate is not among those sent."""

    def put(self, name: str, value: x509.ExtensionType, *, critical: bool = False) -> None:
        """Set an extension."""
        self.extensions[name] = (value, critical)

    def sign(self, serial_number: int) -> bytes:
        """Make the certificate, DER."""
        public = key(self.key_name).public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(self.issuer)
            .public_key(public)
            .serial_number(serial_number)
            .not_valid_before(self.not_before)
            .not_valid_after(self.not_after)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if self.authority:
            authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(
                key(self.authority).public_key()
            )
            builder = builder.add_extension(authority, critical=False)
        for value, critical in self.extensions.values():
            builder = builder.add_extension(value, critical=critical)
        scheme = padding.PSS(padding.MGF1(self.digest), 32) if self.pss else None
        signer = key(self.signer)
        made = builder.sign(signer, self.digest, rsa_padding=scheme)  # type: ignore[arg-type]  # any
        if self.sha1 and isinstance(signer, rsa.RSAPrivateKey):
            return _signed_with_sha1(made, signer)
        return made.public_bytes(serialization.Encoding.DER)


_SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")
_SHA1_WITH_RSA = bytes.fromhex("2a864886f70d010105")


def _signed_with_sha1(made: x509.Certificate, signer: rsa.RSAPrivateKey) -> bytes:
    """Sign anew with SHA-1, which the library makes no certificates with: lengths stay."""
    tbs = made.tbs_certificate_bytes.replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA)
    signature = signer.sign(tbs, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303  # that is it
    whole = made.public_bytes(serialization.Encoding.DER)
    return whole.replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA).replace(made.signature, signature)


Links = list[Made]
"""The leaf first, the root last."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One change; `at` is the index of the certificate, counted from the leaf."""

    name: str
    apply: Callable[[Links, int], None]


def _at(name: str, change: Callable[[Made], None]) -> Defect:
    def apply(links: Links, at: int) -> None:
        change(links[at])

    return Defect(name, apply)


def _set(name: str, **fields: object) -> Defect:
    def change(made: Made) -> None:
        for field_name, value in fields.items():
            setattr(made, field_name, value)

    return _at(name, change)


def _ext(
    name: str, slot: str, value: x509.ExtensionType | None, *, critical: bool = False
) -> Defect:
    def change(made: Made) -> None:
        if value is None:
            made.extensions.pop(slot, None)
        else:
            made.put(slot, value, critical=critical)

    return _at(name, change)


def _new_key(kind: str) -> Defect:
    """Give a certificate a key of another kind, and let what it signed follow."""

    def apply(links: Links, at: int) -> None:
        old, new = links[at].key_name, f"{kind} {links[at].key_name}"
        for made in links:
            made.key_name = new if made.key_name == old else made.key_name
            made.signer = new if made.signer == old else made.signer
            made.authority = new if made.authority == old else made.authority

    return Defect(f"key {kind}", apply)


def _loop_name(links: Links, at: int) -> None:
    """Let a CA be self-issued: its subject is its issuer's, its key another."""
    if at + 1 < len(links):
        links[at].subject = links[at].issuer
        links[at - 1].issuer = links[at].subject


def _other_case(links: Links, at: int) -> None:
    made = links[at]
    texts = [(a.oid, str(a.value).upper().replace(" ", "  ")) for a in made.issuer]
    made.issuer = directory_name(*texts)


def _sha1(links: Links, at: int) -> None:
    _new_key("rsa").apply(links, min(at + 1, len(links) - 1))
    links[at].sha1 = True


def _pss(links: Links, at: int) -> None:
    if at + 1 < len(links):
        _new_key("rsa").apply(links, at + 1)
        links[at].pss = True


EVERYWHERE = (
    _set("expired", not_after=NOW - DAY),
    _set("not yet valid", not_before=NOW + DAY),
    _set("signed by another key", signer="stranger"),
    _set("authority key of another", authority="stranger"),
    _set("no authority key", authority=""),
    Defect("SHA-1", _sha1),
    _set("SHA-384", digest=hashes.SHA384()),
    _set("issuer's name is another", issuer=_name("Nobody")),
    Defect("issuer's name in another case", _other_case),
    Defect("RSASSA-PSS", _pss),
    _new_key("rsa"),
    _new_key("p384"),
    _new_key("rsa1024"),
    _ext(
        "unknown critical", "private", x509.UnrecognizedExtension(PRIVATE, b"\5\0"), critical=True
    ),
    _ext("unknown", "private", x509.UnrecognizedExtension(PRIVATE, b"\5\0")),
    _ext("no keyUsage", "usage", None),
    _ext("purpose client", "purpose", x509.ExtendedKeyUsage([CLIENT_AUTH])),
    _ext("purpose server", "purpose", x509.ExtendedKeyUsage([SERVER_AUTH])),
    _ext("purpose any", "purpose", x509.ExtendedKeyUsage([ANY_PURPOSE])),
    _ext("no basicConstraints", "basic", None),
    _ext("policy", "policy", x509.CertificatePolicies([x509.PolicyInformation(POLICY, None)])),
)


def _constrain(
    name: str,
    permitted: list[x509.GeneralName] | None = None,
    excluded: list[x509.GeneralName] | None = None,
) -> Defect:
    return _ext(name, "names", x509.NameConstraints(permitted, excluded), critical=True)


_OURS = x509.DirectoryName(directory_name((NameOID.ORGANIZATION_NAME, "Example")))
_OURS_CASE = x509.DirectoryName(directory_name((NameOID.ORGANIZATION_NAME, "EXAMPLE")))
_THEIRS = x509.DirectoryName(directory_name((NameOID.ORGANIZATION_NAME, "Elsewhere")))


def _upn(suffix: str) -> x509.OtherName:
    return x509.OtherName(UPN, bytes((0x0C, len(suffix))) + suffix.encode())


CA_ONLY = (
    _ext("CA:FALSE", "basic", x509.BasicConstraints(False, None), critical=True),
    _ext("pathLen 0", "basic", x509.BasicConstraints(True, 0), critical=True),
    _ext("pathLen 1", "basic", x509.BasicConstraints(True, 1), critical=True),
    _ext("pathLen 2", "basic", x509.BasicConstraints(True, 2), critical=True),
    _ext("no keyCertSign", "usage", usage("crl_sign", "digital_signature"), critical=True),
    _set("not sent", dropped=True),
    Defect("self-issued", _loop_name),
    _constrain("DNS permitted", [x509.DNSName("lab.test")]),
    _constrain("DNS permitted elsewhere", [x509.DNSName("other.test")]),
    _constrain("DNS excluded", None, [x509.DNSName("lab.test")]),
    _constrain("DNS excluded elsewhere", None, [x509.DNSName("other.test")]),
    _constrain("directory permitted", [_OURS]),
    _constrain("directory permitted in another case", [_OURS_CASE]),
    _constrain("directory permitted elsewhere", [_THEIRS]),
    _constrain("directory excluded", None, [_OURS]),
    _constrain("e-mail permitted", [x509.RFC822Name("lab.test")]),
    _constrain("e-mail permitted elsewhere", [x509.RFC822Name("other.test")]),
    _constrain("e-mail excluded", None, [x509.RFC822Name("carol@lab.test")]),
    _constrain("UPN permitted", [_upn("lab.test")]),
    _constrain("UPN permitted elsewhere", [_upn("other.test")]),
    _ext("explicit policy", "pc", x509.PolicyConstraints(0, None), critical=True),
    _ext("explicit policy later", "pc", x509.PolicyConstraints(2, None), critical=True),
)
LEAF_ONLY = (
    _ext("keyUsage keyEncipherment", "usage", usage("key_encipherment"), critical=True),
    _ext(
        "other policy",
        "policy",
        x509.CertificatePolicies([x509.PolicyInformation(OTHER_POLICY, None)]),
    ),
    _ext("no names", "san", None),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one chain is to be."""

    depth: int
    """Certificates, leaf and root included."""
    defects: tuple[tuple[Defect, int], ...]

    @property
    def label(self) -> str:
        """Depth and defects, in words."""
        said = ", ".join(f"{defect.name} @{at}" for defect, at in self.defects)
        return f"{self.depth}: {said or 'nothing wrong'}"

    @property
    def names(self) -> frozenset[str]:
        """The names of the defects."""
        return frozenset(defect.name for defect, _ in self.defects)

    def has(self, name: str, *places: int) -> bool:
        """Tell whether a defect is at one of the places (any place when none is given)."""
        return any(d.name == name and (not places or at in places) for d, at in self.defects)


def plans() -> list[Plan]:
    """List the chains: every defect at every place of three depths, and seeded pairs of them."""
    out = [Plan(depth, ()) for depth in (2, 3, 4)]
    single: list[Plan] = []
    for depth in (2, 3, 4):
        for at in range(depth):
            fitting = [*EVERYWHERE, *(LEAF_ONLY if at == 0 else CA_ONLY)]
            single += [Plan(depth, ((defect, at),)) for defect in fitting]
    out += single
    draw = random.Random(4556)  # noqa: S311  # a choice of tests
    by_depth = {d: [p for p in single if p.depth == d] for d in (2, 3, 4)}
    for _ in range(300):
        first, second = draw.sample(by_depth[draw.choice((3, 4))], 2)
        if first.depth != second.depth:
            continue
        out.append(Plan(first.depth, first.defects + second.defects))
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeChain:
    """A chain as a KDC meets it."""

    leaf: bytes
    sent: tuple[bytes, ...]
    root: bytes


def make(plan: Plan, serials: Iterator[int] | None = None) -> MadeChain:
    """Make the certificates of a plan."""
    serials = serials or itertools.count(1000)
    names = ["leaf", *(f"CA {i}" for i in range(1, plan.depth))]
    links: Links = []
    for index, name in enumerate(names):
        above = names[min(index + 1, plan.depth - 1)]
        made = Made(
            subject=_name(name),
            issuer=_name(above),
            key_name=name,
            signer=above,
            authority=above,
        )
        if index:
            made.put("basic", x509.BasicConstraints(True, None), critical=True)
            made.put("usage", usage("key_cert_sign", "crl_sign"), critical=True)
        else:
            made.put("basic", x509.BasicConstraints(False, None), critical=True)
            made.put("usage", usage("digital_signature"), critical=True)
            made.put("purpose", x509.ExtendedKeyUsage([CLIENT_AUTH]))
            san = [x509.DNSName("pc1.lab.test"), x509.RFC822Name("carol@lab.test")]
            made.put("san", x509.SubjectAlternativeName([*san, _upn("carol@lab.test")]))
        links.append(made)
    for defect, at in plan.defects:
        defect.apply(links, at)
    encoded = [made.sign(next(serials)) for made in links]
    sent = tuple(
        data for made, data in zip(links[1:-1], encoded[1:-1], strict=True) if not made.dropped
    )
    return MadeChain(leaf=encoded[0], sent=sent, root=encoded[-1])
