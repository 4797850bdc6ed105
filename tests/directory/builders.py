"""Default-valid keys, values and stores for the directory's tests."""

from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import rsa

from directory.changes import NewAccount
from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.keymaterial import MaterialForm
from directory.model import AccountKind, PrincipalKey
from directory.sealing import MasterKey
from directory.store import Store
from pki.keys import PublicKey, public_key_from_cryptography

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ALICE_DN = "CN=alice,CN=Users,DC=LAB,DC=TEST"
DEVICE = UUID("8d2f0a52-5a8c-4f0e-9a53-0d1f2b3c4d5e")
KEY_SIZES = {18: 32, 17: 16, 20: 32, 19: 16}


@lru_cache
def hello_key(number: int = 0) -> PublicKey:
    """Return one of a few real RSA-2048 public keys."""
    del number  # tells the cache which
    return public_key_from_cryptography(
        rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    )


def link(
    key: PublicKey | None = None,
    dn: str = ALICE_DN,
    form: MaterialForm = MaterialForm.BCRYPT,
) -> str:
    """Return a value as Windows registers it for a user."""
    new = NewKeyCredential(
        public_key=key or hello_key(),
        material=form,
        created=NOW,
        device_id=DEVICE,
        custom_key_information=b"\x01\x00",
        last_logon=NOW,
    )
    return encode_key_credential(new, dn)


def entry(identifier: int, value: bytes) -> bytes:
    """Encode one KEYCREDENTIALLINK_ENTRY (MS-ADTS 2.2.20.3)."""
    return len(value).to_bytes(2, "little") + bytes((identifier,)) + value


def blob(entries: list[tuple[int, bytes]], version: int = 0x200) -> bytes:
    """Encode entries exactly as given, in any order."""
    return version.to_bytes(4, "little") + b"".join(entry(i, v) for i, v in entries)


def minimal_entries(material: bytes) -> list[tuple[int, bytes]]:
    """Return the three entries that decide, for this key material."""
    return [(1, sha256(material).digest()), (3, material), (4, b"\x01")]


def value(data: bytes, dn: str = ALICE_DN) -> str:
    """Render octets as a DN-Binary value."""
    return f"B:{2 * len(data)}:{data.hex()}:{dn}"


def secret_keys(seed: str, kvno: int = 1) -> tuple[PrincipalKey, ...]:
    """Return a generation of long-term keys, the same for the same seed."""
    return tuple(
        PrincipalKey(
            etype=etype,
            kvno=kvno,
            key=sha256(f"{seed} {etype} {kvno}".encode("utf-8", "replace")).digest()[:size],
            salt=f"LAB.TEST{seed}",
        )
        for etype, size in KEY_SIZES.items()
    )


def master_key() -> MasterKey:
    """Return the master key of the tests' stores."""
    return MasterKey(sha256(b"master").digest())


def make_store(folder: Path) -> Store:
    """Make the store of realm LAB.TEST."""
    return Store.create(
        folder / "store.sqlite",
        master_key(),
        realm="LAB.TEST",
        netbios="LAB",
        krbtgt_keys=secret_keys("krbtgt"),
        now=NOW,
    )


def user(name: str = "alice", **names: str) -> NewAccount:
    """Return a user with a UPN and password keys."""
    return NewAccount(
        kind=AccountKind.USER,
        name=name,
        upn=names.get("upn", f"{name}@lab.test"),
        created_at=NOW,
        keys=secret_keys(name),
    )
