"""A realm that trusts another organisation's CA, whose lists and responder are on a real server."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.rig import clients, logon_ca
from tests.rig.certificates import Identity
from tests.rig.clients import Run
from tests.rig.logon_ca import LogonCa, LogonIdentity
from tests.rig.pki_server import PkiServer, pki_server
from tests.rig.realm import LiveRealm, free_port, make_realm

Kinit = Callable[..., Run]
WITHIN_S = 15.0
LABS = '["127.0.0.0/8"]'
LEAF, ROOT_CRL, CRL, DELTA = "carol", "/root.crl", "/issuing.crl", "/delta.crl"


def make_base(folder: Path) -> tuple[Path, str]:
    """Make a realm with carol; return its state folder, to be copied, and her SID."""
    live = make_realm(folder / "state", fetching=True)
    live.kdc("user", "add", "carol")
    shown = json.loads(live.kdc("user", "show", "carol", "--json"))
    return live.state, str(shown["sid"])


@dataclass(slots=True, kw_only=True)
class Fetching:
    """A realm that trusts `issuing`, which lies below `root`; both publish at `pki`."""

    live: LiveRealm
    pki: PkiServer
    root: LogonCa
    issuing: LogonCa
    folder: Path
    sid: str
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, base: tuple[Path, str], folder: Path, **settings: str) -> "Fetching":
        """Copy the base realm and make CAs for it. settings: lines of kdc.toml, as TOML."""
        state, sid = base
        shutil.copytree(state, folder / "state")
        live = LiveRealm(state=folder / "state", address="127.0.0.1", port=free_port())
        pki, root = pki_server(), logon_ca.new_root()
        root.crl_url = pki.url(ROOT_CRL)
        issuing = root.issuing_ca()
        made = cls(live=live, pki=pki, root=root, issuing=issuing, folder=folder, sid=sid)
        made.settings = {"fetch_interval": '"1s"', "fetch_networks": LABS, **settings}
        toml = live.state / "kdc.toml"
        lines = [f"{key} = {value}\n" for key, value in made.settings.items()]
        toml.write_text("".join(lines) + toml.read_text())
        (live.state / "pki/trusted-roots").mkdir()
        (live.state / "pki/trusted-roots/root.pem").write_bytes(root.pem)
        (live.state / "pki/logon-cas/issuing.pem").write_bytes(issuing.pem)
        pki.content[ROOT_CRL] = root.crl()
        return made

    def publish(self) -> None:
        """Publish a fresh list of the issuing CA."""
        self.pki.content[CRL] = self.issuing.crl()

    def identity(self) -> LogonIdentity:
        """Issue a certificate for carol, which names what the issuing CA has as addresses now."""
        return self.issuing.issue(self.folder, LEAF, upn="carol@lab.test", sid=self.sid)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Serve the realm, beside the server of the CAs."""
        with self.pki.running(), self.live.served(workers=1):
            yield

    def logon(self, identity: LogonIdentity, kinit: Kinit = clients.mit_kinit) -> Run:
        """Log carol on."""
        anchors = (self.folder / "root.pem", self.folder / "issuing.pem")
        for path, ca in zip(anchors, (self.root, self.issuing), strict=True):
            path.write_bytes(ca.pem)
        files = Identity(
            certificate=identity.certificate,
            key=identity.key,
            both=identity.key,
            private_key=identity.private_key,  # type: ignore[arg-type]  # only paths are used
        )
        return kinit(self.live.client(self.folder, *anchors), "carol@LAB.TEST", identity=files)

    def code(self, identity: LogonIdentity, kinit: Kinit = clients.mit_kinit) -> int:
        """Log carol on; return the code of the KDC's last answer, 0 for a ticket."""
        run = self.logon(identity, kinit)
        code = int(str(self.live.audit()[-1]["Status"]), 16)
        assert (run.status == 0) == (code == 0), run.explain()
        return code

    def until(self, wanted: int, identity: LogonIdentity, kinit: Kinit = clients.mit_kinit) -> None:
        """Log carol on again and again until the answer is this."""
        end = time.monotonic() + WITHIN_S
        while (found := self.code(identity, kinit)) != wanted:
            assert time.monotonic() < end, (found, self.live.log.read_text())
            time.sleep(0.2)

    def sources(self) -> list[dict[str, object]]:
        """Return what `kdc cert fetched` says."""
        found: list[dict[str, object]] = json.loads(self.live.kdc("cert", "fetched", "--json"))
        return found

    def source(self, what: str) -> dict[str, object]:
        """Return what it says of one path of the server, or of the only `kind crl`, `kind ocsp`."""
        if what.startswith("kind "):
            (found,) = (o for o in self.sources() if o["kind"] == what[5:] and o["fetched_at"])
        else:
            url = self.pki.url(what)
            (found,) = (o for o in self.sources() if url in o["urls"])  # type: ignore[operator]  # a list
        return found

    def when(self, what: str, is_so: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        """Wait until something is so of one address."""
        end = time.monotonic() + WITHIN_S
        while True:
            with contextlib.suppress(ValueError):
                if is_so(found := self.source(what)):
                    return found
            assert time.monotonic() < end, (self.sources(), self.live.log.read_text())
            time.sleep(0.2)

    def fetched_files(self) -> dict[str, bytes]:
        """Return the lists that were fetched, by file name."""
        folder = self.live.state / "pki/crls"
        return {path.name: path.read_bytes() for path in folder.glob("fetched-*")}

    def companion(self) -> int:
        """Return the process of the companion: the one beside the worker."""
        assert self.live.process is not None
        pid = self.live.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # It has made itself nicer than the worker; before that it is not seen yet.
        nice = [p for p in children if Path(f"/proc/{p}/stat").read_text().split()[18] == "5"]
        return int(nice[0]) if nice else 0


@contextlib.contextmanager
def openssl_responder(ca: LogonCa, folder: Path, port: int, revoked: set[int]) -> Iterator[None]:
    """Answer OCSP requests by `openssl ocsp`, signed by the CA itself."""
    pem, key, index = folder / "ocsp-ca.pem", folder / "ocsp-ca.key", folder / "index.txt"
    pem.write_bytes(ca.pem)
    key.touch(0o600)
    key.write_bytes(
        ca.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    lines = []
    for path in folder.glob(f"{LEAF}*.pem"):
        serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
        text = f"{serial:X}"
        text = text.rjust(len(text) + len(text) % 2, "0")
        state = "R\t350101000000Z\t260101000000Z" if serial in revoked else "V\t350101000000Z\t"
        lines.append(f"{state}\t{text}\tunknown\t/CN={LEAF}\n")
    index.write_text("".join(lines))
    command = ["openssl", "ocsp", "-index", str(index), "-port", str(port), "-CA", str(pem)]
    command += ["-rsigner", str(pem), "-rkey", str(key), "-nmin", "10"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            os.kill(process.pid, 15)
            process.wait(10)
