"""A tenant beside a realm: keys and devices put into it as its services do, and sync runs."""

import json
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric import rsa

from directory.keymaterial import MaterialForm, encode_key_material
from pki.ca import certificates_from_pem
from pki.keys import public_key_from_cryptography
from tenant.state import devices, keys, users
from tenant.state.database import Database
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.keys import RegisteredKey
from tests.rig import certificates, peers, samba_dc
from tests.rig.samba_dc import SambaDc
from tests.rig.samba_realm import make_device_container
from tests.rig.secret_files import write_secret
from tests.rig.tenant import LiveTenant

SYNC_ACCOUNT = "kt-sync"
KEY_CREDENTIALS = "5b47d60f-6090-40b2-9f37-2a4de88f3063"
"""schemaIDGUID of msDS-KeyCredentialLink."""
_USER_CLASS = "bf967aba-0de6-11d0-a285-00aa003049e2"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSides:
    """A tenant's folder and its database, without a server."""

    tenant: LiveTenant

    def database(self) -> Database:
        """Open the database beside whoever has it open."""
        return Database.open(self.tenant.state / "tenant.sqlite")

    def sync(self, *options: str, ok: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """Do one run; return what it says as JSON."""
        said = self.tenant.tenant("sync", "--once", "--json", *options, ok=ok)
        return dict(json.loads(said)) if said else {}

    def join(self, name: str, upn: str, folder: Path) -> UUID:
        """Join a device as the device service does; return its id."""
        device_id = uuid4()
        identity = certificates.self_signed(folder, f"device-{name}", certificates.new_key())
        (der,) = certificates_from_pem(identity.certificate.read_bytes())
        database = self.database()
        with database.write() as connection:
            owner = users.by_upn(connection, upn)
            assert owner is not None, upn
            made = DeviceRecord(
                device_id=device_id,
                object_id=uuid4(),
                display_name=name,
                join_type=JoinType.JOINED,
                os_type="Windows",
                os_version="10.0.22631.1",
                owner=owner.object_id,
                certificate=der,
                created=datetime.now(UTC),
            )
            devices.insert_device(connection, made)
        database.close()
        return device_id

    def register(self, upn: str, device_id: UUID, key: rsa.RSAPrivateKey) -> UUID:
        """Register a Hello key as the key service does; return its kid."""
        public = public_key_from_cryptography(key.public_key())
        database = self.database()
        with database.write() as connection:
            owner = users.by_upn(connection, upn)
            assert owner is not None, upn
            made = RegisteredKey(
                kid=uuid4(),
                user=owner.object_id,
                device_id=device_id,
                material=encode_key_material(public, MaterialForm.BCRYPT),
                created=datetime.now(UTC),
            )
            keys.insert_key(connection, made)
        database.close()
        return made.kid

    def remove_key(self, kid: UUID) -> None:
        """Remove a key as the key service does."""
        database = self.database()
        with database.write() as connection:
            assert keys.delete_key(connection, kid)
        database.close()

    def device(self, device_id: UUID) -> DeviceRecord | None:
        """Read a device."""
        database = self.database()
        with database.read() as connection:
            found = devices.device_by_id(connection, device_id)
        database.close()
        return found

    def set_enabled(self, device_id: UUID, *, enabled: bool) -> None:
        """Enable or disable a device."""
        database = self.database()
        with database.write() as connection:
            found = devices.device_by_id(connection, device_id)
            assert found is not None
            devices.update_device(connection, replace(found, enabled=enabled))
        database.close()

    def configure(self, text: str) -> None:
        """Add lines to tenant.toml."""
        file = self.tenant.state / "tenant.toml"
        file.write_text(file.read_text() + text)

    def dump(self) -> list[str]:
        """Return all rows of users, devices and keys."""
        database = self.database()
        with database.read() as connection:
            rows = [
                repr(row)
                for table in ("users", "devices", "registered_keys")
                for row in connection.execute(f"SELECT * FROM {table}")  # noqa: S608  # ours
            ]
        database.close()
        return sorted(rows)


def binds_as(sides: TenantSides, dn: str, password: str) -> None:
    """Let the sync job log on to its directory by a password in a file."""
    write_secret(sides.tenant.state / "sync-password", f"{password}\n")
    sides.configure(f'sync_bind_dn = "{dn}"\nsync_bind_password_file = "sync-password"\n')


# -- Samba -----------------------------------------------------------------------------------


def make_sync_account(dc: SambaDc) -> None:
    """Make the account of the sync job, with the one right that it needs to write keys.

    As Entra Connect's account gets it: to write msDS-KeyCredentialLink of users below the domain.
    """
    if SYNC_ACCOUNT not in dc.tool("user", "list").splitlines():
        dc.tool("user", "create", SYNC_ACCOUNT, samba_dc.USER_PASSWORD)
    sid = sid_of(dc, SYNC_ACCOUNT)
    grant(dc, samba_dc.BASE, f"(OA;CIIO;WP;{KEY_CREDENTIALS};{_USER_CLASS};{sid})")


def let_write_devices(dc: SambaDc) -> str:
    """Give the sync job's account what it needs to write device objects back; return where."""
    place = make_device_container(dc)
    grant(dc, place, f"(A;CI;CCDCLCRPWPSDRC;;;{sid_of(dc, SYNC_ACCOUNT)})")
    return place


def sid_of(dc: SambaDc, name: str) -> str:
    """Return an account's SID as text."""
    code = (
        "import sys\n"
        "from samba.auth import system_session\n"
        "from samba.dcerpc import security\n"
        "from samba.ndr import ndr_unpack\n"
        "from samba.param import LoadParm\n"
        "from samba.samdb import SamDB\n"
        "parameters = LoadParm(); parameters.load(sys.argv[1])\n"
        "database = SamDB(lp=parameters, session_info=system_session())\n"
        "(found,) = database.search(expression=f'(sAMAccountName={sys.argv[2]})',"
        " attrs=['objectSid'])\n"
        "print(ndr_unpack(security.dom_sid, found['objectSid'][0]))\n"
    )
    done = samba_dc.system_python(code, str(dc.config), name)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def grant(dc: SambaDc, dn: str, sddl: str) -> None:
    """Add an entry to an object's access list, by Samba's own tool."""
    dc.tool("dsacl", "set", f"--objectdn={dn}", f"--sddl={sddl}")


_PROTECT = """
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
(holder,) = database.search(
    base=f"CN=AdminSDHolder,CN=System,{base}", scope=ldb.SCOPE_BASE, attrs=["nTSecurityDescriptor"]
)
(user,) = database.search(base=base, expression=f"(sAMAccountName={name})", attrs=["dn"])
held = ndr_unpack(security.descriptor, holder["nTSecurityDescriptor"][0])
held.type |= security.SEC_DESC_DACL_PROTECTED  # nothing comes from above
change = ldb.Message(user.dn)
change["a"] = ldb.MessageElement("1", ldb.FLAG_MOD_REPLACE, "adminCount")
change["n"] = ldb.MessageElement(ndr_pack(held), ldb.FLAG_MOD_REPLACE, "nTSecurityDescriptor")
database.modify(change)
(found,) = database.search(base=user.dn, scope=ldb.SCOPE_BASE, attrs=["nTSecurityDescriptor"])
print(ndr_unpack(security.descriptor, found["nTSecurityDescriptor"][0]).as_sddl())
"""


def protect(dc: SambaDc, name: str) -> None:
    """Do to an account what Windows' SDProp does each hour to members of privileged groups.

    Samba has the object AdminSDHolder, and nothing that applies it (MS-ADTS 3.1.1.6.1).
    """
    done = samba_dc.system_python(_PROTECT, str(dc.config), samba_dc.BASE, name)
    assert done.returncode == 0, done.stderr
    assert "D:P" in done.stdout, done.stdout


# -- another decoder -------------------------------------------------------------------------


def decoded_by_bloodyad(value: str) -> dict[str, Any]:
    """Decode a DN-Binary value by bloodyAD: entry -> hexadecimal octets, in their order."""
    code = (
        "import json, sys\n"
        "from bloodyAD.formatters.cryptography import KEYCREDENTIALLINK_BLOB\n"
        "blob = KEYCREDENTIALLINK_BLOB(bytes.fromhex(sys.argv[1].split(':')[2]))\n"
        "print(json.dumps({'Version': blob['Version'], **blob.toDict()}))\n"
    )
    program = peers.ldap_tools_program("python")
    done = subprocess.run(
        [program.path, "-c", code, value],
        env=peers.clean_environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
