"""Who logs on in a load: users with their keys, certificates or passwords, read from files."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from kdc.client.identity import identity_from_pem
from kdc.load.plan import PlanError, WorkKind
from pki import ca, oids
from pki.cms_sign import CmsSigner
from pki.x500 import simple_name

MAX_KEY_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user of the load."""

    name: str
    file: Path | None = None
    """NAME.key (a Hello key: the certificate is made here) or NAME.pem (certificate and key)."""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The users of a load, by the kind of work they do."""

    keytrust: tuple[Person, ...] = ()
    cert: tuple[Person, ...] = ()
    password: tuple[Person, ...] = ()

    def of(self, kind: WorkKind) -> tuple[Person, ...]:
        """List those who do this work; a service ticket is asked for by whoever can log on."""
        if kind == "tgs":
            return self.keytrust + self.cert + self.password
        return {"keytrust": self.keytrust, "cert": self.cert, "password": self.password}[kind]

    def check(self, kind: WorkKind) -> None:
        """Raise PlanError when nobody does this work."""
        if not self.of(kind):
            remedy = {
                "keytrust": "name the folder of their keys: --keys DIR (kdc user bulk-add --keys)",
                "cert": "name the folder of their certificates: --keys DIR with NAME.pem files",
                "password": "name them and their password: --users NAME --password-file F",
                "tgs": "give --keys DIR, or --users and --password-file",
            }[kind]
            raise PlanError(f"there is nobody to do the work {kind}", remedy)


def find_people(keys: Path | None, password_names: tuple[str, ...], password: str) -> People:
    """List the users: those of a folder of keys and certificates, and those with a password.

    Raises PlanError, OSError.
    """
    hello: list[Person] = []
    certificates: list[Person] = []
    if keys is not None:
        for path in sorted(keys.iterdir()):
            if path.suffix == ".key":
                hello.append(Person(name=path.stem, file=path))
            elif path.suffix == ".pem":
                certificates.append(Person(name=path.stem, file=path))
        if not hello and not certificates:
            raise PlanError(
                f"{keys} holds neither NAME.key nor NAME.pem", "kdc user bulk-add --keys makes them"
            )
    return People(
        keytrust=tuple(hello),
        cert=tuple(certificates),
        password=tuple(Person(name=name, password=password) for name in password_names),
    )


def names_of_pattern(pattern: str, count: int) -> list[str]:
    """List the names of a pattern: `user%04d` for 100 users is user0000 to user0099, or one name.

    Raises PlanError.
    """
    if "%" not in pattern:
        return [pattern]
    try:
        return [pattern % number for number in range(count)]
    except (TypeError, ValueError):
        raise PlanError(f"{pattern!r} is no pattern", "write it as user%04d") from None


def load_signer(person: Person, now: datetime) -> CmsSigner:
    """Read a user's key and certificate; for a Hello key make the certificate, as Windows does.

    Raises OSError, PkiError, PlanError.
    """
    if person.file is None:
        raise PlanError(f"{person.name} has no key", "give --keys DIR")
    with person.file.open("rb") as file:
        data = file.read(MAX_KEY_FILE_BYTES)
    if person.file.suffix == ".pem":
        return identity_from_pem(data)
    key = ca.private_key_from_pem(data)
    if not isinstance(key, RSAPrivateKey):
        raise PlanError(f"{person.file} is no RSA key", "Windows Hello's keys are RSA")
    subject = simple_name((oids.ID_AT_COMMON_NAME, person.name))
    return CmsSigner(key, ca.self_signed_hello_certificate(key, subject, now), ())
