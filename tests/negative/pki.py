"""The CAs of the realms whose cases are about certificates, made with the client's own DER.

A root that is trusted but may make no logons, and below it CAs that may: one that does it right,
and one for each thing that can be wrong with a CA or its CRL.
"""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.negative.wire import certificate as x509
from tests.negative.wire import der
from tests.negative.wire.certificate import Certificate, SignedCertificate
from tests.negative.wire.keys import SigningKey, digest, new_ec, new_rsa
from tests.negative.wire.logon import Identity

REVOKED = 0x00DEAD0000000000000000000000000001
"""A serial number that each CA with a CRL has revoked."""
CA_USAGE = x509.key_usage("key_cert_sign", "crl_sign")
LEAF_USAGE = x509.key_usage("digital_signature")


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A CA: its key and its certificate."""

    name: str
    key: SigningKey = field(repr=False)
    certificate: SignedCertificate

    @property
    def subject(self) -> bytes:
        """DER of its Name."""
        return x509.name(self.name)

    def below(self, name: str, *more: bytes, path_length: int | None = None) -> "Authority":
        """Issue a CA below this one; more: further extensions."""
        key = new_ec()
        made = Certificate(
            key=key,
            subject=name,
            issuer_name=self.subject,
            issuer_key=self.key,
            extensions=(x509.ca_constraints(path_length), CA_USAGE, *more),
        )
        return Authority(name=name, key=key, certificate=made.encode())

    def leaf(self, key: SigningKey, *extensions: bytes, **changes: object) -> SignedCertificate:
        """Issue a logon certificate: basicConstraints, keyUsage, EKU, then `extensions`."""
        fields: dict[str, object] = {
            "subject": "carol",
            "issuer_name": self.subject,
            "issuer_key": self.key,
            "extensions": (
                x509.basic_constraints(ca=False),
                LEAF_USAGE,
                x509.eku(x509.SMART_CARD_LOGON),
                *extensions,
            ),
            **changes,
        }
        return Certificate(key=key, **fields).encode()  # type: ignore[arg-type]  # of its fields


def _rsa_below(root: Authority, name: str) -> Authority:
    key = new_rsa()
    made = Certificate(
        key=key,
        subject=name,
        issuer_name=root.subject,
        issuer_key=root.key,
        extensions=(x509.ca_constraints(), CA_USAGE),
    )
    return Authority(name=name, key=key, certificate=made.encode())


def new_root(name: str) -> Authority:
    """Make a self-signed CA."""
    key = new_ec()
    made = Certificate(key=key, subject=name, extensions=(x509.ca_constraints(), CA_USAGE))
    return Authority(name=name, key=key, certificate=made.encode())


@dataclass(kw_only=True)
class LogonPki:
    """The CAs of a realm, and what its accounts are."""

    root: Authority
    authorities: dict[str, Authority]
    """Logon CAs, by role."""
    unknown: Authority
    """A CA that the realm never heard of."""
    sids: dict[str, str] = field(default_factory=dict)
    """Account -> SID."""
    identities: dict[str, Identity] = field(default_factory=dict)
    """Certificates that altSecurityIdentities of an account point at, by account."""


def make_pki() -> LogonPki:
    """Make the CAs. `good` is as it should be; the others have one fault each."""
    root = new_root("Negative Root")
    lab = x509.dns_name("lab.test")
    return LogonPki(
        root=root,
        unknown=new_root("Nobody's Root"),
        authorities={
            "good": root.below("Good CA"),
            "rsa": _rsa_below(root, "RSA CA"),
            "short": root.below("Short CA", path_length=0),
            "silent": root.below("Silent CA"),
            "stale": root.below("Stale CA"),
            "forged": root.below("Forged CA"),
            "fallen": root.below("Fallen CA"),
            "narrow dns": root.below("Narrow DNS CA", x509.name_constraints(permitted=lab)),
            "narrow upn": root.below(
                "Narrow UPN CA", x509.name_constraints(permitted=x509.upn_name("other.test"))
            ),
            "narrow directory": root.below(
                "Narrow directory CA",
                x509.name_constraints(permitted=der.tlv(0xA4, x509.name("nobody"))),
            ),
        },
    )


def install(pki: LogonPki, state: Path) -> None:
    """Put CA certificates and CRLs where the KDC looks for them."""
    folder = state / "pki"
    for name in ("trusted-roots", "crls", "logon-cas"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "trusted-roots/root.der").write_bytes(pki.root.certificate.der)
    now = datetime.now(UTC)
    past = now - timedelta(days=2)
    lists = {
        "root": x509.crl(
            pki.root.subject,
            pki.root.key,
            (pki.authorities["fallen"].certificate.serial,),
        )
    }
    for role, authority in pki.authorities.items():
        name = role.replace(" ", "-")
        (folder / f"logon-cas/{name}.der").write_bytes(authority.certificate.der)
        key = new_ec() if role == "forged" else authority.key
        next_update = past + timedelta(days=1) if role == "stale" else None
        if role != "silent":
            lists[name] = x509.crl(
                authority.subject, key, (REVOKED,), this_update=past, next_update=next_update
            )
    for name, data in lists.items():
        (folder / f"crls/{name}.crl").write_bytes(data)


def serial() -> int:
    """Return a serial number that nobody used."""
    return secrets.randbits(120) | 1 << 119


def alt_security(pki: LogonPki, role: str) -> tuple[str, ...]:
    """Return the altSecurityIdentities of the account `alt-<role>`, and make its certificate.

    The account's certificates say its UPN and no SID: alone a weak mapping.
    """
    good = pki.authorities["good"]
    key = new_ec()
    ski = secrets.token_bytes(20)
    upn = x509.upn_name(f"alt-{role}@lab.test")
    mail = x509.email_name(f"alt-{role}@lab.test")
    made = good.leaf(
        key, x509.san(upn, mail), x509.subject_key_identifier(ski), subject=f"alt-{role}"
    )
    pki.identities[f"alt-{role}"] = Identity(key=key, certificate=made)
    size = (made.serial.bit_length() + 7) // 8
    issuer, subject = f"CN={good.name}", f"CN=alt-{role}"
    little, big = (made.serial.to_bytes(size, order).hex() for order in ("little", "big"))
    values = {
        "issuer-serial": f"X509:<I>{issuer}<SR>{little}",
        "serial-order": f"X509:<I>{issuer}<SR>{big}",
        "ski": f"X509:<SKI>{ski.hex()}",
        "sha1": f"X509:<SHA1-PUKEY>{digest('sha1', made.spki).hex()}",
        "issuer-subject": f"X509:<I>{issuer}<S>{subject}",
        "subject": f"X509:<S>{subject}",
        "rfc822": f"X509:<RFC822>alt-{role}@lab.test",
    }
    return (values[role],)


ALT_ROLES = (
    *("issuer-serial", "serial-order", "ski", "sha1"),
    *("issuer-subject", "subject", "rfc822"),
)
