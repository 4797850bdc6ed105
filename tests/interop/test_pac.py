"""tshark decrypts tickets with our keytab and dissects their PAC: a reader that is not ours."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.rig import clients, peers, services, wire

pytestmark = pytest.mark.interop

TIMEOUT_S = 60
AS_REP, TGS_REP = 11, 13


def dissect(capture: Path, keytab: Path, port: int, message: int = AS_REP) -> str:
    """Return tshark's full text of a capture's messages of one type, their tickets decrypted."""
    program = peers.system_program("tshark", "tshark")
    done = subprocess.run(
        [
            *(
                program.path,
                "-n",
                "-r",
                str(capture),
                "-V",
                "-Y",
                f"kerberos.msg_type == {message}",
            ),
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


def test_tshark_dissects_a_service_ticket(lab: Lab, tmp_path: Path) -> None:
    """The exported key opens it; tshark 4.0 verifies all signatures but the full one."""
    keytab, file = tmp_path / "both.keytab", tmp_path / "service.pcap"
    lab.live.kdc("service", "add", "host/tshark.lab.test", "--keytab", str(keytab))
    lab.live.kdc("keytab", "export", "krbtgt/LAB.TEST", "-o", str(keytab), "--append")
    realm = lab.live.client(tmp_path, lab.throwaway.certificate, transport="tcp")
    tgt = clients.mit_kinit(realm, "alice@LAB.TEST", identity=lab.alice_leaf)
    assert tgt.status == 0, tgt.explain()
    with wire.capture(file, lab.live.port):
        run = services.mit_kvno(realm, tgt.cache, "host/tshark.lab.test")
    assert run.status == 0, run.explain()
    told = dissect(file, keytab, lab.live.port, TGS_REP)
    assert "Malformed" not in told
    assert "usage 2 using keytab principal host/tshark.lab.test@LAB.TEST" in told
    for signature in ("Server", "KDC", "Ticket"):
        assert f"Verified {signature} checksum 16 keytype 18" in told
    for value in ("Acct Name: alice", "Domain SID: S-1-18-4", "UPN Name: alice@lab.test"):
        assert value in told, value
    assert "RequesterSid" not in told
