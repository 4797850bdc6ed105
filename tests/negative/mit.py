"""Measure MIT's KDC: `python -m tests.negative.mit` prints the column kept in mit_1_20_1.toml.

Needs Debian's krb5-kdc, krb5-admin-server and krb5-pkinit. The KDC runs on a loopback port from a
folder of its own. MIT trusts certificates, not registered keys: alice and bob get theirs from the
realm's CA, with the name in id-pkinit-san and the EKU that MIT asks for.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers

from tests.negative.__main__ import strangers
from tests.negative.column import measure, write_column
from tests.negative.wire import der, kerberos
from tests.negative.wire.certificate import Certificate, basic_constraints, eku, extension
from tests.negative.wire.keys import RsaKey, SigningKey, new_ec, new_rsa
from tests.negative.wire.logon import Identity
from tests.negative.world import Person, World
from tests.rig import peers
from tests.rig.realm import free_port

REALM = "LAB.TEST"
_KDC_EKU, _CLIENT_EKU = "1.3.6.1.5.2.3.5", "1.3.6.1.5.2.3.4"
_SIGNING = extension("2.5.29.15", der.bits(b"\xa8", 3), critical=True)
_CA_SIGNING = extension("2.5.29.15", der.bits(b"\x06", 1), critical=True)
_PASSWORD = "Correct-Horse-mit"  # noqa: S105  the test users' own

_KRB5_CONF = """[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
"""
_KDC_CONF = """[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
  kdc_max_dgram_reply_size = 16384
[realms]
  {realm} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    max_life = 10h
    supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
    master_key_type = aes256-cts-hmac-sha1-96
    pkinit_identity = FILE:{folder}/kdc.pem,{folder}/kdc.key
    pkinit_anchors = FILE:{folder}/ca.pem
  }}
[dbmodules]
  {realm} = {{
    db_library = db2
    database_name = {folder}/principal
    disable_lockout = true
    disable_last_success = true
  }}
[logging]
  kdc = FILE:{folder}/kdc.log
"""
_PRINCIPALS = f"""addprinc -pw {_PASSWORD} +requires_preauth pat
addprinc -pw {_PASSWORD} -requires_preauth roasted
addprinc -pw {_PASSWORD} +requires_preauth -allow_tix disabled
addprinc -pw {_PASSWORD} +requires_preauth -expire 2020-01-01 expired
addprinc -pw {_PASSWORD} +requires_preauth -pwexpire 2020-01-01 password-expired
addprinc -pw {_PASSWORD} +requires_preauth +needchange must-change
addprinc -nokey +requires_preauth alice
addprinc -nokey +requires_preauth bob
addprinc -nokey +requires_preauth eve
addprinc -randkey host/web.lab.test
"""


def _san(name: kerberos.Name) -> bytes:
    """Encode subjectAltName with an id-pkinit-san."""
    value = der.sequence(der.explicit(0, der.string(REALM)), der.explicit(1, name.encode()))
    other = der.oid("1.3.6.1.5.2.2") + der.explicit(0, value)
    return extension("2.5.29.17", der.sequence(der.tlv(0xA0, other)))


def pem_of_key(key: RsaKey) -> bytes:
    """Return a private key as PEM."""
    p, q = rsa.rsa_recover_prime_factors(key.n, key.e, key.d)
    numbers = RSAPrivateNumbers(
        p=p,
        q=q,
        d=key.d,
        dmp1=rsa.rsa_crt_dmp1(key.d, p),
        dmq1=rsa.rsa_crt_dmq1(key.d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=RSAPublicNumbers(key.e, key.n),
    )
    return numbers.private_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pem_of_certificate(certificate: bytes) -> bytes:
    """Return a certificate's DER as PEM."""
    found = x509.load_der_x509_certificate(certificate)
    return found.public_bytes(serialization.Encoding.PEM)


def _issue(ca_key: RsaKey, key: SigningKey, name: str, *extensions: bytes) -> Identity:
    made = Certificate(
        key=key,
        subject=name,
        issuer="MIT test CA",
        issuer_key=ca_key,
        not_after=datetime.now(UTC) + timedelta(days=30),
        extensions=(basic_constraints(ca=False), _SIGNING, *extensions),
    )
    return Identity(key=key, certificate=made.encode())


def mit_world(folder: Path, port: int) -> World:
    """Make a PKI in a folder (ca.pem, kdc.pem, kdc.key), and say who is in the realm."""
    ca_key, kdc_key = new_rsa(), new_rsa()
    ca = Certificate(
        key=ca_key,
        subject="MIT test CA",
        extensions=(basic_constraints(ca=True), _CA_SIGNING),
    ).encode()
    kdc = _issue(ca_key, kdc_key, "kdc", eku(_KDC_EKU), _san(kerberos.krbtgt(REALM)))
    (folder / "ca.pem").write_bytes(pem_of_certificate(ca.der))
    (folder / "kdc.pem").write_bytes(pem_of_certificate(kdc.certificate.der))
    (folder / "kdc.key").write_bytes(pem_of_key(kdc_key))
    keys: dict[str, SigningKey] = {"alice": new_rsa(), "bob": new_rsa(), "eve": new_ec()}
    people = {
        name: Person(
            name=name,
            identity=_issue(ca_key, key, name, eku(_CLIENT_EKU), _san(kerberos.user(name))),
        )
        for name, key in keys.items()
    }
    for role in ("pat", "roasted", "disabled", "expired", "password_expired", "must_change"):
        people[role] = Person(name=role.replace("_", "-"), password=_PASSWORD)
    return World(
        realm=REALM,
        netbios=None,
        address=("127.0.0.1", port),
        people=people,
        service=("host", "web.lab.test"),
        anchor=ca.der,
        key_trust=False,
        spare=strangers().__getitem__,
    )


@contextlib.contextmanager
def served_by_mit(folder: Path, prefix: Path | None = None) -> Iterator[World]:
    """Make a realm of MIT's in a folder and serve it on a loopback port.

    prefix: where a build of krb5 is installed; None: the system's.
    """
    port = free_port()
    world = mit_world(folder, port)
    names = {"realm": REALM, "port": port, "folder": folder}
    (folder / "krb5.conf").write_text(_KRB5_CONF.format(**names))
    (folder / "kdc.conf").write_text(_KDC_CONF.format(**names))
    environment = {
        **os.environ,
        "KRB5_CONFIG": str(folder / "krb5.conf"),
        "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
    }
    if prefix is not None:
        environment["LD_LIBRARY_PATH"] = str(prefix / "lib")

    def find(name: str, package: str) -> str:
        if prefix is not None:
            return str(prefix / "sbin" / name)
        return peers.system_program(name, package).path

    def program(name: str, package: str, *arguments: str, stdin: str = "") -> None:
        path = find(name, package)
        subprocess.run(
            [path, *arguments],
            env=environment,
            input=stdin,
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )

    program("kdb5_util", "krb5-kdc", "create", "-s", "-r", REALM, "-P", "master")
    program("kadmin.local", "krb5-admin-server", "-r", REALM, stdin=_PRINCIPALS)
    process = subprocess.Popen([find("krb5kdc", "krb5-kdc"), "-n"], env=environment)
    try:
        time.sleep(1.0)
        if process.poll() is not None:
            raise SystemExit(f"krb5kdc ended with {process.returncode}")
        yield world
    finally:
        process.terminate()
        process.wait(10)


def main() -> int:
    """Print the column; what is going on goes to stderr."""
    with (
        tempfile.TemporaryDirectory(prefix="negative-mit-") as folder,
        served_by_mit(Path(folder)) as world,
    ):
        column = measure(world, said=lambda line: print(line, file=sys.stderr))
    head = (
        "# What MIT krb5 1.20.1 (Debian 12) answers to the cases that apply to it: certificate\n"
        "# trust, default configuration. Made by `python -m tests.negative.mit`.\n"
    )
    print(write_column(column, head), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
