"""The files in conf/: the example for clients and the systemd unit."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kdc.cli.client_files import krb5_conf

CONF = Path(__file__).parents[3] / "conf"
UNIT = CONF / "systemd/keytrust-kdc.service"


def without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_example_for_clients_is_what_init_writes() -> None:
    """conf/krb5.conf explains the file that every realm gets."""
    written = krb5_conf(
        realm="LAB.TEST",
        domain="lab.test",
        listen=("127.0.0.1:8888",),
        kpasswd=("127.0.0.1:9264",),
        ca_certificate=Path("/etc/keytrust/ca.pem"),
        kdc_host="kdc.lab.test",
        krbtgt_san=True,
    )
    example = (CONF / "krb5.conf").read_text()
    assert without_comments(example) == without_comments(written)


def service() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in without_comments(UNIT.read_text()):
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def test_unit_drops_what_the_kdc_does_not_need() -> None:
    """Design requirement 14 of the negative rows."""
    unit = service()
    for key, value in (
        ("Type", "notify"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
        ("AmbientCapabilities", "CAP_NET_BIND_SERVICE"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("LimitCORE", "0"),
        ("MemoryMax", "2G"),
        ("RestartPreventExitStatus", "78"),
        ("StateDirectoryMode", "0700"),
    ):
        assert unit[key] == [value], key
    assert unit["SystemCallFilter"][0] == "@system-service"
    assert unit["User"] != ["root"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_units_are_well_formed(tmp_path: Path) -> None:
    """`systemd-analyze verify` with all drop-ins, and a program that exists."""
    units = [path for path in (CONF / "systemd").iterdir() if path.is_file()]
    assert len(units) >= 3
    shutil.copytree(CONF / "systemd", tmp_path / "units")
    copies = []
    for unit in units:
        copy = tmp_path / "units" / unit.name
        copy.write_text(unit.read_text().replace("/usr/bin/kdc", "/bin/true"))
        copies.append(copy)
    done = subprocess.run(
        ["systemd-analyze", "verify", *copies],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}/units:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "keytrust" in line]
    assert complaints == []


def test_drop_in_gives_the_master_key_under_the_name_that_the_link_has() -> None:
    """Row S06: LoadCredential= and the link in the state folder fit together."""
    text = (CONF / "systemd/keytrust-kdc.service.d/master-key.conf").read_text()
    (line,) = [one for one in without_comments(text) if one.startswith("LoadCredential=")]
    assert line.partition("=")[2].startswith("master.key:/")
    assert f"/run/credentials/{UNIT.name}/master.key" in text


Yaml = dict[str, "Yaml"] | list[str] | str


def read_yaml(lines: list[str]) -> Yaml:
    """Read the few forms of YAML that the file has: mappings, lists of strings, strings."""
    if lines[0].lstrip().startswith("- "):
        assert all(line.lstrip().startswith("- ") for line in lines), lines
        return [line.lstrip()[2:].strip('"') for line in lines]
    depth = len(lines[0]) - len(lines[0].lstrip())
    found: dict[str, Yaml] = {}
    heads = [n for n, line in enumerate(lines) if len(line) - len(line.lstrip()) == depth]
    for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        key, colon, value = lines[head].strip().partition(":")
        assert colon, lines[head]
        body = lines[head + 1 : end]
        found[key] = read_yaml(body) if body else value.strip().strip('"')
    return found


def test_compose_file_runs_the_image_with_nothing_it_does_not_need() -> None:
    """Design requirement 14, in a container: its volume, ports and user are the image's."""
    read = read_yaml(without_comments((CONF / "compose.yaml").read_text()))
    image = (CONF.parent / "Dockerfile").read_text()
    assert isinstance(read, dict)
    services = read["services"]
    assert isinstance(services, dict)
    kdc = services["kdc"]
    assert isinstance(kdc, dict)
    assert kdc["cap_drop"] == ["ALL"]
    assert kdc["security_opt"] == ["no-new-privileges:true"]
    assert kdc["read_only"] == "true"
    assert kdc["ulimits"] == {"core": "0", "nofile": "65536"}
    assert kdc["volumes"] == ["realm:/var/lib/kdc"]
    assert "VOLUME /var/lib/kdc" in image
    assert "USER kdc" in image
    ports = kdc["ports"]
    assert isinstance(ports, list)
    assert {"88:88/udp", "88:88/tcp", "464:464/udp", "464:464/tcp"} == set(ports)
    assert read["volumes"] == {"realm": ""}
