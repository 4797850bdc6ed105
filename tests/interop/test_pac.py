"""tshark decrypts a TGT with our keytab and dissects its PAC: NDR by a reader that is not ours."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.rig import clients, peers, wire

pytestmark = pytest.mark.interop

TIMEOUT_S = 60


def dissect(capture: Path, keytab: Path, port: int) -> str:
    """Return tshark's full text of the AS-REPs in a capture, their tickets decrypted."""
    program = peers.system_program("tshark", "tshark")
    done = subprocess.run(
        [
            *(program.path, "-n", "-r", str(capture), "-V", "-Y", "kerberos.msg_type == 11"),
            *("-o", "kerberos.decrypt:TRUE", "-o", f"kerberos.file:{keytab}"),
            *("-d", f"tcp.port=={port},kerberos"),
        ],
        env=peers.clean_environment({}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tshark_dissects_the_pac_of_a_tgt(lab: Lab, tmp_path: Path) -> None:
    """No malformed part, both signatures verified, and the values of the account."""
    keytab, file = tmp_path / "krbtgt.keytab", tmp_path / "logon.pcap"
    lab.live.kdc("keytab", "export", "krbtgt/LAB.TEST", "-o", str(keytab))
    realm = lab.live.client(tmp_path, transport="tcp")
    with wire.capture(file, lab.live.port):
        run = clients.mit_kinit(realm, "pat@LAB.TEST", password=lab.password)
    assert run.status == 0, run.explain()
    told = dissect(file, keytab, lab.live.port)
    assert "Malformed" not in told
    for signature in ("Server", "KDC"):
        assert f"Verified {signature} checksum 16 keytype 18" in told
    shown = lab.live.kdc("user", "show", "pat", "--json")
    sid = json.loads(shown)["sid"]
    for value in (
        "Acct Name: pat",
        "Server: KDC",
        "Domain: LAB",
        "Group RID: 513",
        "Domain SID: S-1-18-1",
        "Num Extra SID: 1",
        "UPN Name: pat@lab.test",
        "DNS Name: LAB.TEST",
        f"objectSid: {sid}",
        f"RequesterSid: {sid}",
        "PAC given Implicitly: PAC was given implicitly",
    ):
        assert value in told, value
