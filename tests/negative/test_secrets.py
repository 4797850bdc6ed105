"""Row S08: no key, password or token of these tests is in any log, or unsealed in any file."""

import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.negative.conftest import Targets
from tests.negative.engine import CONTROLS, exchange, run
from tests.negative.realms import SWITCHES, Target
from tests.negative.wire import crypto
from tests.negative.wire.logon import PkinitLogon
from tests.rig.leaks import base64_forms

pytestmark = pytest.mark.e2e

_ZEROS = re.compile(rb"\0{33,}")
_SECRET_FILES = {"master.key", "kdc.key"}


def _secrets(realm: str, target: Target) -> dict[str, bytes]:
    """Collect what must not be found: long-term keys, passwords, a logon's keys, private keys."""
    world, state = target.world, target.live.state
    out = {f"krbtgt {etype}": key for (etype, _), key in world.krbtgt.items()}
    for role, person in world.people.items():
        if person.password:
            out[f"password of {role}"] = person.password.encode()
            salt = world.realm + person.name
            out[f"key of {role}"] = crypto.string_to_key(18, person.password, salt)
    # Where a key has to name a device, the usual user's does not.
    fresh = CONTROLS["key of device" if realm == "devices" else "freshness"](world)
    assert isinstance(fresh, PkinitLogon)
    for logon in (fresh, world.password()):
        got = run(world, exchange(logon), "tcp")
        assert got.ticket is not None
        out[f"session key {len(out)}"] = got.ticket.part.key
        out[f"reply key {len(out)}"] = logon.reply_key(got.ticket.reply)[0]
    out["master key"] = (state / "master.key").read_bytes()
    pem = (state / "pki/kdc.key").read_bytes()
    private = serialization.load_pem_private_key(pem, None)
    assert isinstance(private, RSAPrivateKey)
    numbers = private.private_numbers()
    out["the KDC's d"] = numbers.d.to_bytes(256, "big").lstrip(b"\0")
    out["the KDC's p"] = numbers.p.to_bytes(128, "big")
    assert all(len(secret) >= 16 for secret in out.values())
    return out


def _forms(secret: bytes) -> list[bytes]:
    """Return the ways in which a secret could stand in a text."""
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        secret.hex(" ").encode(),
        *base64_forms(secret),
        repr(secret)[2:-1].encode(),
        str(int.from_bytes(secret, "big")).encode(),
    ]


def _files(target: Target) -> list[Path]:
    state = target.live.state
    written = [path for path in state.rglob("*") if path.is_file()]
    return [path for path in (*written, target.live.log) if path.name not in _SECRET_FILES]


@pytest.mark.parametrize("realm", SWITCHES)
def test_no_secret_is_in_any_log(targets: Targets, realm: str) -> None:
    """Every file the server wrote is searched: audit, log, store, shared memories, certificates."""
    target = targets.get(realm)
    secrets = _secrets(realm, target)
    for path in _files(target):
        # The shared memories are 90 MB of zeros with little in them.
        content = _ZEROS.sub(b"\0", path.read_bytes())
        for name, secret in secrets.items():
            assert not any(form in content for form in _forms(secret)), (name, path.name)


def test_search_would_find_what_is_there(targets: Targets) -> None:
    """The control of the search: the secrets are in the files that may hold them."""
    target = targets.get("main")
    secrets = _secrets("main", target)
    assert secrets["master key"] == (target.live.state / "master.key").read_bytes()
    certificate = x509.load_pem_x509_certificate((target.live.state / "pki/kdc.pem").read_bytes())
    public = certificate.public_key()
    assert (
        public
        == serialization.load_pem_private_key(
            (target.live.state / "pki/kdc.key").read_bytes(), None
        ).public_key()
    )
    assert any(form in target.live.log.read_bytes() for form in _forms(b"LAB.TEST"))
