"""MIT's client finds a realm by what `kdc dns print` says, and by nothing else (issue 5.6)."""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.rig import dns, network, peers
from tests.rig.realm import make_realm

pytestmark = pytest.mark.interop

PASSWORD = "Correct-Horse-7"  # noqa: S105  # the test user's own
CONFIG = """\
[libdefaults]
 default_realm = LAB.TEST
 dns_lookup_kdc = true
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
"""


@pytest.mark.parametrize("kind", ["SRV", "URI"])
def test_client_finds_the_kdc_by_its_records(tmp_path: Path, kind: str) -> None:
    """RFC 4120 7.2.3.2; draft-mccallum-kitten-krb-service-discovery. One kind at a time."""
    kinit = peers.mit_program("kinit").path
    with network.network(["client"]) as net:
        (host,) = net.hosts
        live = make_realm(tmp_path / "state", address=net.outside, port=88)
        live.kdc("user", "add", "pat", "--password-stdin", stdin=f"{PASSWORD}\n")
        node = f"kdc1.lab.test={net.outside}"
        printed = json.loads(live.kdc("dns", "print", "--host", node, "--json"))
        records = [
            (one["name"], one["type"], one["data"])
            for one in printed["records"]
            if one["type"] in (kind, "A")
        ]
        (tmp_path / "krb5.conf").write_text(CONFIG)
        # Where `ip netns exec` takes the files of a namespace from.
        own = Path("/etc/netns") / host.namespace
        own.mkdir(parents=True)
        try:
            (own / "resolv.conf").write_text(f"nameserver {net.outside}\noptions attempts:1\n")
            with live.served(workers=1), dns.serving(net.outside, records) as asked:
                done = subprocess.run(
                    [*host.prefix, kinit, "-c", f"FILE:{tmp_path / 'cc'}", "pat"],
                    env=peers.clean_environment(
                        {
                            "KRB5_CONFIG": str(tmp_path / "krb5.conf"),
                            "KRB5_TRACE": str(tmp_path / "trace"),
                        }
                    ),
                    input=f"{PASSWORD}\n",
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
        finally:
            shutil.rmtree(own)
            with contextlib.suppress(OSError):
                own.parent.rmdir()  # unless others have theirs there
        trace = (tmp_path / "trace").read_text()
        assert done.returncode == 0, f"{done.stderr}\n{asked}\n{trace}"
        assert f"DNS {kind} query" in trace
