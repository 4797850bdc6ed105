"""bloodyAD adds a key to an account of Samba over LDAP; that very key logs on at our KDC.

It writes the whole attribute anew, with a KeyHash that is wrong and times in a unit of its own; its
certificate is as bare as any. The realm is one for tools.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.rig import certificates, clients, peers
from tests.rig.realm import LiveRealm
from tests.rig.samba_dc import ADMIN_PASSWORD, ADMINISTRATOR, REALM, USER_PASSWORD, SambaDc
from tests.rig.samba_realm import eventually, make_samba_realm

pytestmark = [pytest.mark.interop, pytest.mark.slow]

KDC_ERR_CLIENT_NOT_TRUSTED = 62
KDC_ERR_CANT_VERIFY_CERTIFICATE = 70
_NAME = "shadow"


@pytest.fixture(scope="module")
def live(samba_dc: SambaDc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    state = tmp_path_factory.mktemp("tools-realm") / "state"
    made = make_samba_realm(samba_dc, state, "--compat", "tools")
    with made.served():
        yield made


def _bloody_ad(dc: SambaDc, *command: str) -> str:
    program = peers.ldap_tools_program("bloodyAD")
    done = subprocess.run(
        [
            *(program.path, "-d", "lab.example", "-u", ADMINISTRATOR),
            *("-p", ADMIN_PASSWORD, "-s", "--host", dc.address, *command),
        ],
        env=peers.clean_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_its_key_logs_on_until_it_removes_it(
    samba_dc: SambaDc, live: LiveRealm, tmp_path: Path
) -> None:
    """`add shadowCredentials`, its own client library and kinit, `remove shadowCredentials`."""
    samba_dc.tool("user", "create", _NAME, USER_PASSWORD)
    said = _bloody_ad(
        samba_dc, "add", "shadowCredentials", _NAME, "--path", str(tmp_path / _NAME), "--stealth"
    )
    pfx = tmp_path / f"{_NAME}.pfx"
    # Its own client library: SHA-1, MODP group 2, TCP.
    realm = live.client(tmp_path)
    run = clients.kerbad_kinit(realm, _NAME, pfx, "")
    assert run.status == 0, run.explain()
    # The same key by MIT's kinit, which wants a certificate of an issuer.
    key, _, _ = pkcs12.load_key_and_certificates(pfx.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    throwaway = certificates.throwaway_issuer(tmp_path)
    identity = certificates.leaf(tmp_path, "leaf", key, throwaway)
    # The KDC's certificate is one that tools can read: MIT goes by its host name.
    client = replace(realm, config=live.state / "krb5.conf")
    anchors = (live.ca, throwaway.certificate)
    options = [word for path in anchors for word in ("-X", f"X509_anchors=FILE:{path}")]
    run = clients.mit_kinit(client, f"{_NAME}@{REALM}", identity=identity, options=options)
    assert run.status == 0, run.explain()
    # What we list is what it said that it wrote.
    listed = live.kdc("key", "list", _NAME)
    key_id = next(line for line in listed.splitlines() if line.startswith(_NAME)).split()[1]
    assert key_id in said
    assert "usable" in listed
    _bloody_ad(samba_dc, "remove", "shadowCredentials", _NAME)
    eventually(lambda: "usable" not in live.kdc("key", "list", _NAME), "the key is still there")
    run = clients.mit_kinit(client, f"{_NAME}@{REALM}", identity=identity, options=options)
    # A certificate of an issuer is then judged by its chain, a self-issued one by its key alone.
    assert KDC_ERR_CANT_VERIFY_CERTIFICATE in run.kdc_errors, run.explain()
    self_signed = certificates.self_signed(tmp_path, "own", key)
    run = clients.heimdal_kinit(client, f"{_NAME}@{REALM}", identity=self_signed)
    assert run.status != 0
    last = live.audit()[-1]
    assert last["Status"] == hex(KDC_ERR_CLIENT_NOT_TRUSTED), last
