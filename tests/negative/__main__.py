r"""Attack any KDC with the cases that apply to it and print its answers.

    python -m tests.negative --host 127.0.0.1 --port 88 --realm LAB.TEST \
        --key alice=alice.pem,alice.key --user pat=password.txt --anchor ca.pem [--json]

Roles are those of the cases: alice and bob log on by PKINIT, pat by a password (AES-256, the usual
salt). What a role is not given for is left out, and so is a case whose control gets no ticket.
Point it at nothing but a KDC of your own: wrong passwords are sent, and thousands of bad requests.
"""

import argparse
import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.negative.column import measure
from tests.negative.wire.certificate import Certificate, read_certificate
from tests.negative.wire.keys import EcKey, RsaKey, SigningKey, new_ec, new_rsa
from tests.negative.wire.logon import Identity
from tests.negative.world import Person, World


def read_identity(certificate: Path, key: Path) -> Identity:
    """Read a certificate and its private key, both PEM."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    signing: SigningKey
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.private_numbers()
        public = numbers.public_numbers
        signing = RsaKey(n=public.n, e=public.e, d=numbers.d)
    elif isinstance(private, ec.EllipticCurvePrivateKey):
        signing = EcKey(private=private)
    else:
        raise SystemExit(f"{key} is neither an RSA nor an EC key")
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    encoded = found.public_bytes(serialization.Encoding.DER)
    return Identity(key=signing, certificate=read_certificate(encoded))


def strangers() -> dict[str, Identity]:
    """Make identities that no KDC knows."""
    keys: dict[str, SigningKey] = {"rsa": new_rsa(), "issuer": new_rsa(), "ec": new_ec()}
    return {
        name: Identity(key=key, certificate=Certificate(key=key, subject=name).encode())
        for name, key in keys.items()
    }


def world_of(options: argparse.Namespace) -> World:
    """Put together what the options say of a KDC."""
    people: dict[str, Person] = {}
    for text in options.key:
        name, _, files = text.partition("=")
        certificate, _, key = files.partition(",")
        people[name] = Person(name=name, identity=read_identity(Path(certificate), Path(key)))
    for text in options.user:
        name, _, file = text.partition("=")
        person = people.setdefault(name, Person(name=name))
        person.password = Path(file).read_text().rstrip("\n")
    anchor = None
    if options.anchor is not None:
        found = x509.load_pem_x509_certificate(options.anchor.read_bytes())
        anchor = found.public_bytes(serialization.Encoding.DER)
    return World(
        realm=options.realm,
        netbios=options.netbios,
        address=(options.host, options.port),
        people=people,
        service=tuple(options.service.split("/")) if options.service else None,
        anchor=anchor,
        key_trust=options.trust == "key",
        spare=strangers().__getitem__,
    )


def main(arguments: list[str]) -> int:
    """Run the cases; 1 when a ticket came back that its client may not take or cannot open."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.negative", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=88)
    parser.add_argument("--realm", required=True)
    parser.add_argument("--netbios", help="also a name of the realm")
    parser.add_argument("--key", action="append", default=[], metavar="ROLE=CERT,KEY")
    parser.add_argument("--user", action="append", default=[], metavar="ROLE=PASSWORDFILE")
    parser.add_argument("--service", metavar="host/NAME")
    parser.add_argument("--anchor", type=Path, help="CA of the KDC's certificate (PEM)")
    parser.add_argument("--trust", choices=("key", "certificate"), default="key")
    parser.add_argument("--only", action="append", help="cases that start so: P16, K")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    column = measure(
        world_of(options),
        only=tuple(options.only or ("",)),
        said=(lambda line: None) if options.json else print,
    )
    if options.json:
        print(json.dumps(column, indent=1))
    wrong = [case for case, answers in column.items() if "ticket: " in str(answers)]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
