"""A realm of ours on a Samba domain: Samba is the directory, our KDC has port 88 of its address."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.rig import peers, samba_dc
from tests.rig.clients import ClientRealm, write_mit_config
from tests.rig.realm import LiveRealm
from tests.rig.samba_dc import SambaDc
from tests.rig.secret_files import write_secret

FOLLOWER = "kdc-follower"

# Who follows must see what was deleted: List Contents on the container, which only administrators
# have (MS-ADTS 3.1.1.5.5). samba-tool dsacl cannot see that container.
_SEE_DELETED = """
import sys
import ldb
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_pack, ndr_unpack
from samba.param import LoadParm
from samba.samdb import SamDB
config, base, name = sys.argv[1:]
parameters = LoadParm()
parameters.load(config)
database = SamDB(lp=parameters, session_info=system_session())
domain = security.dom_sid(database.get_domain_sid())
(user,) = database.search(base=base, expression=f"(sAMAccountName={name})", attrs=["objectSid"])
sid = ndr_unpack(security.dom_sid, user["objectSid"][0])
dn = ldb.Dn(database, f"CN=Deleted Objects,{base}")
controls = ["show_deleted:1"]
(found,) = database.search(
    base=dn, scope=ldb.SCOPE_BASE, attrs=["nTSecurityDescriptor"], controls=controls
)
held = ndr_unpack(security.descriptor, found["nTSecurityDescriptor"][0])
added = security.descriptor.from_sddl(f"D:(A;;LCRP;;;{sid})", domain)
held.dacl_add(added.dacl.aces[0])
change = ldb.Message(dn)
change["n"] = ldb.MessageElement(ndr_pack(held), ldb.FLAG_MOD_REPLACE, "nTSecurityDescriptor")
database.modify(change, controls=controls)
"""
_ALREADY_EXISTS = 68
CHANGE_S = 20.0
"""In which a change in Samba is seen: it looks for what to notify every five seconds."""


def make_samba_realm(dc: SambaDc, state: Path, *options: str) -> LiveRealm:
    """Make a realm on the domain; its follower is an ordinary user who sees what was deleted."""
    peers.need_port(dc.address, 88)
    if FOLLOWER not in dc.tool("user", "list").splitlines():
        dc.tool("user", "create", FOLLOWER, samba_dc.USER_PASSWORD)
        done = samba_dc.system_python(_SEE_DELETED, str(dc.config), samba_dc.BASE, FOLLOWER)
        assert done.returncode == 0, done.stderr
    password = write_secret(state.with_name(f"{state.name}-bind"), samba_dc.USER_PASSWORD)
    live = LiveRealm(state=state, address=dc.address, port=88, realm=samba_dc.REALM)
    live.kdc(
        *("init", "--realm", samba_dc.REALM, "--netbios", samba_dc.NETBIOS),
        *("--listen", f"{dc.address}:88", "--dns", samba_dc.HOST),
        *("--directory", dc.ldaps_url, "--flavour", "samba", "--directory-ca", str(dc.ca)),
        *("--directory-bind-dn", f"CN={FOLLOWER},CN=Users,{samba_dc.BASE}"),
        *("--directory-bind-password-file", str(password)),
        *("--directory-key-source", f"samba:{dc.folder / 'private'}"),
        *options,
    )
    return live


def make_device_container(dc: SambaDc) -> str:
    """Make the place of device objects, unless another test has; return its DN."""
    place = f"CN=RegisteredDevices,{samba_dc.BASE}"
    done = dc.ldap(
        "ldapmodify", ldif=f"dn: {place}\nchangetype: add\nobjectClass: msDS-DeviceContainer\n"
    )
    assert done.returncode in (0, _ALREADY_EXISTS), done.stderr
    return place


def password_file(folder: Path) -> str:
    """Write the administrator's password into a file that commands of ours take."""
    return str(write_secret(folder / "administrator", samba_dc.ADMIN_PASSWORD))


def as_administrator(folder: Path) -> tuple[str, ...]:
    """Return the options by which a command of ours logs on to the directory."""
    return ("--bind-dn", "administrator@lab.example", "--bind-password-file", password_file(folder))


def eventually(what: Callable[[], bool], why: str) -> float:
    """Wait until something is so; return how long it took."""
    start = time.monotonic()
    while not what():
        assert time.monotonic() - start < CHANGE_S, why
        time.sleep(0.2)
    return time.monotonic() - start


def with_ticket(
    dc: SambaDc, realm: ClientRealm, cache: Path, *command: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program that finds dc1 by name and logs on with the tickets of a cache."""
    hosts = cache.with_name("hosts")
    hosts.write_text(f"{dc.address} {samba_dc.HOST} dc1\n")
    wrapper = next(Path("/usr/lib").glob("*/libnss_wrapper.so"), None)
    if wrapper is None:
        peers.missing("libnss-wrapper", "apt-get install --no-install-recommends libnss-wrapper")
    return subprocess.run(
        command,
        env=peers.clean_environment(
            {
                "KRB5_CONFIG": str(write_mit_config(realm)),
                "KRB5CCNAME": f"FILE:{cache}",
                "LDAPTLS_CACERT": str(dc.ca),
                "LD_PRELOAD": str(wrapper),
                "NSS_WRAPPER_HOSTS": str(hosts),
            }
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
