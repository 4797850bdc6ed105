"""Row S08: no key, password or session key is in any file or output it does not belong in.

A realm with known secrets lives a short and eventful life: every command, good and bad, logons by
every mechanism, refusals, reloads, crashes. Then everything it left behind is searched.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from directory.keytab import decode_keytab
from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli import main
from kdc.cli.logon import load_identity, run
from kdc.cli.state import CA_KEY_AAD
from kdc.client.as_exchange import AsExchange, AsOptions, AsResult, client_name
from kdc.client.errors import ClientError
from kdc.client.mechanism import Hints, Mechanism, SentRequest
from kdc.client.password import PasswordMechanism
from kdc.client.pkinit import PkinitMechanism, PkinitOptions
from kdc.client.transport import KdcAddress
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, encrypt
from kdc.crypto.key_agreement import Group, KeyPair, generate
from kdc.exchange.kpasswd import SERVICE_NAME
from kdc.formats.ccache import Credential, decode_ccache
from kdc.state_folder import StateFolder
from kdc.wire.constants import MessageType
from kdc.wire.rfc3244 import encode_frame
from kdc.wire.rfc4120 import (
    ApReq,
    AsRep,
    Authenticator,
    EncKrbPrivPart,
    EncryptedData,
    EncryptionKey,
    HostAddress,
    KrbPriv,
    Ticket,
)
from pki import asn1, ca
from tests.e2e.server_process import ask_tcp, ask_udp, wait_until
from tests.rig import peers
from tests.rig.leaks import Secrets
from tests.rig.realm import REALM, free_port

PASSWORDS = {
    "pat": "Kärnten-Blau-7391",
    "dora": "two words & a 'quote'",
    "emil": "zeile,mit;komma-55",
    "fritz": "alt-und-abgelegt-1",
    "wrong": "never-the-right-one-8",
}
CHANGED_PASSWORD = "per-kpasswd-geändert-4410"  # noqa: S105  a test user's
WEAK_PASSWORD = "kpa-ss"  # noqa: S105  too short for the policy
NEW_PASSWORD = "frisch-gesetzt-2207"  # noqa: S105  # a test user's
BAD_CSV_PASSWORD = "in-a-line-that-is-wrong-31"  # noqa: S105


pytestmark = [pytest.mark.e2e, pytest.mark.slow]


# -- the life of a realm ---------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Life:
    """A realm in a folder of its own, and all that its commands printed."""

    top: Path
    port: int
    secrets: Secrets = field(default_factory=Secrets)
    allowed: dict[str, list[str]] = field(default_factory=dict)
    """Path below `top` -> the secrets that it is meant to hold."""
    said: list[tuple[str, str]] = field(default_factory=list)
    """Command line -> what it printed on either stream."""
    server: "subprocess.Popen[bytes] | None" = None
    starts: int = 0

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.top / "state"

    @property
    def work(self) -> Path:
        """Where commands run, and what they are given."""
        return self.top / "work"

    def environment(self) -> dict[str, str]:
        """Nothing is written outside the folder that is searched."""
        return peers.clean_environment(
            {
                "KDC_STATE": str(self.state),
                "PYTHONPATH": str(peers.ROOT),
                "HOME": str(self.top / "home"),
                "TMPDIR": str(self.top / "tmp"),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
        )

    def allow(self, path: Path, *names: str) -> None:
        """Let a file hold some secrets."""
        self.allowed.setdefault(str(path.relative_to(self.top)), []).extend(names)

    def kdc(self, *arguments: str, stdin: str | bytes = b"", ok: bool | None = True) -> str:
        """Run a command; ok: whether it must succeed, must fail, or (None) may do either.

        In this process, or it would take a minute; a bug is then an error of the test.
        """
        data = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.chdir(self.work),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
            patch.setenv("KDC_STATE", str(self.state))
            patch.delenv("KRB5CCNAME", raising=False)
            code = main.run(arguments)
        shown = ""
        for stream in (out, err):
            stream.flush()
            shown += stream.buffer.getvalue().decode()
        return self._note(arguments, code, shown, ok)

    def kdc_process(self, *arguments: str, stdin: str = "", ok: bool | None = True) -> str:
        """Run a command as users do: what it leaves in its environment is searched as well."""
        done = subprocess.run(
            [sys.executable, "-m", "kdc", *arguments],
            cwd=self.work,
            env=self.environment(),
            input=stdin.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return self._note(arguments, done.returncode, (done.stdout + done.stderr).decode(), ok)

    def _note(self, arguments: Sequence[str], code: int, shown: str, ok: bool | None) -> str:
        self.said.append((" ".join(arguments), shown))
        assert "Traceback" not in shown, shown
        assert ok is None or (code == 0) == ok, (arguments, shown)
        return shown

    def start(self, *options: str) -> None:
        """Start the server; its log is searched with everything else."""
        self.starts += 1
        with (self.top / f"serve-{self.starts}.log").open("wb") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "kdc", "serve", "--workers", "2", *options],
                cwd=self.work,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert wait_until(lambda: "ready on" in self.log(), 30.0), self.log()

    def log(self) -> str:
        """The running server's log so far."""
        return (self.top / f"serve-{self.starts}.log").read_text()

    def workers(self) -> list[int]:
        """The running server's workers."""
        assert self.server is not None
        pid = self.server.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def tell(self, number: int, words: str) -> None:
        """Send the server a signal and wait for words in its log."""
        assert self.server is not None
        before = self.log().count(words)
        self.server.send_signal(number)
        assert wait_until(lambda: self.log().count(words) > before), self.log()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server and wait until its workers are gone, too."""
        if self.server is None:
            return
        workers = self.workers()
        self.server.send_signal(number)
        self.server.wait(20)
        for pid in workers:
            assert wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]  # mypy infers no default
        self.server = None


def make_realm(life: Life) -> None:
    """Make users of every kind, each secret by the way that commands offer for it."""
    for name in ("state", "work", "home", "tmp"):
        (life.top / name).mkdir()
    for name, password in PASSWORDS.items():
        life.secrets.add_text(f"password of {name}", password)
    life.secrets.add_text("new password", NEW_PASSWORD)
    life.secrets.add_text("password in a bad line", BAD_CSV_PASSWORD)
    life.secrets.add_text("password changed by kpasswd", CHANGED_PASSWORD)
    life.secrets.add_text("password refused by kpasswd", WEAK_PASSWORD)
    kdc, work = life.kdc, life.work
    kdc("init", "--realm", REALM, "--listen", f"127.0.0.1:{life.port}", "--kdc-key", "both")
    toml = life.state / "kdc.toml"
    # Its workers are counted.
    toml.write_text("ca_renewal = false\nfetch_revocation = false\n" + toml.read_text())
    kdc("user", "add", "pat", "--password-stdin", stdin=PASSWORDS["pat"])
    (work / "dora.password").write_text(PASSWORDS["dora"] + "\n")
    life.allow(work / "dora.password", "password of dora")
    kdc("user", "add", "dora", "--password-file", "dora.password")
    (work / "users.csv").write_text(f'name,password\nemil,"{PASSWORDS["emil"]}"\n')
    life.allow(work / "users.csv", "password of emil")
    kdc("user", "import", "users.csv")
    kdc("user", "add", "fritz", "--password-stdin", stdin=PASSWORDS["fritz"])
    keys_now(life, "fritz, first")
    life.kdc_process("user", "password", "fritz", "--password-stdin", stdin=NEW_PASSWORD)
    kdc("user", "add", "pc1$")
    kdc("user", "add", "alice")
    kdc("key", "enroll", "alice", "--out", "alice.pem")
    kdc("key", "enroll", "alice", "--out", "alice-mit.pem", "--throwaway-issuer", "issuer.pem")
    kdc("user", "bulk-add", "--count", "4", "--keys", "bulk")
    for stem in ("alice", "alice-mit"):
        life.secrets.add_pem(f"key {stem}", work / f"{stem}.pem")
        life.allow(work / f"{stem}.pem", f"key {stem}")
    for path in (work / "bulk").iterdir():
        life.secrets.add_pem(f"key {path.stem}", path)
        life.allow(path, f"key {path.stem}")
    kdc("service", "add", "host/web.lab.test", "--keytab", "web.keytab")
    keys_now(life, "first")
    kdc("keytab", "rotate", "host/web.lab.test", "--keytab", "web.keytab")
    kdc("keytab", "export", "pat", "-o", "pat.keytab")


def keys_now(life: Life, when: str) -> None:
    """Note every long-term key of the store as a secret."""
    folder = StateFolder(life.state)
    store = Store.open(folder.store, MasterKey.load(folder.master_key), read_only=True)
    for summary in store.list_accounts():
        account = store.account_by_id(summary.account_id)
        assert account is not None
        for key in account.keys:
            name = f"{account.sam_account_name} {key.kvno} {key.etype} ({when})"
            if not any(
                known.startswith(name.partition(" (")[0] + " (") for known in life.secrets.names
            ):
                life.secrets.add(name, key.key)
    store.close()


def realm_secrets(life: Life) -> None:
    """Note the master key, the CA's and the KDC's."""
    folder = StateFolder(life.state)
    life.secrets.add("master key", folder.master_key.read_bytes())
    life.allow(folder.master_key, "master key")
    sealed = folder.ca_key().read_bytes()
    pem = MasterKey.load(folder.master_key).open(CA_KEY_AAD, sealed)
    life.secrets.add_private_key("CA key", ca.private_key_from_pem(pem))
    for _, path in folder.kdc_certificates():
        life.secrets.add_pem(path.name, path)
        life.allow(path, path.name)


def wrong_commands(life: Life) -> None:
    """Every command that takes a secret, used wrongly; and every read."""
    kdc, work = life.kdc, life.work
    wrong = PASSWORDS["wrong"]
    (work / "bad.csv").write_text(f"name,password\nx,{BAD_CSV_PASSWORD},{BAD_CSV_PASSWORD}\n")
    life.allow(work / "bad.csv", "password in a bad line")
    kdc("user", "import", "bad.csv", ok=False)
    (work / "worse.csv").write_text(f'name,{BAD_CSV_PASSWORD}\nx,"{BAD_CSV_PASSWORD}')
    life.allow(work / "worse.csv", "password in a bad line")
    kdc("user", "import", "worse.csv", ok=False)
    kdc("user", "add", "pat", "--password-stdin", stdin=wrong, ok=False)
    kdc("user", "add", "a/b", "--password-stdin", stdin=wrong, ok=False)
    kdc("user", "password", "nobody", "--password-stdin", stdin=wrong, ok=False)
    kdc("user", "password", "pc1", "--password-stdin", stdin=wrong, ok=False)
    kdc("user", "add", "long", "--password-stdin", stdin=wrong * 500, ok=False)
    kdc("user", "add", "latin", "--password-stdin", stdin=wrong.encode() + b"\xe9", ok=False)
    kdc("user", "password", "pat", "--password-stdin", "--password-file", "dora.password", ok=False)
    # A private key where a public one is wanted, and secrets where no file of that kind is.
    kdc("key", "add", "pat", "bulk/user0000.key", ok=False)
    kdc("key", "add", "pat", "dora.password", ok=False)
    kdc("key", "add", "pat", str(life.state / "master.key"), ok=False)
    kdc("cert", "show", "bulk/user0001.key", ok=False)
    kdc("cert", "show", str(life.state / "master.key"), ok=False)
    kdc("keytab", "show", str(life.state / "master.key"), ok=False)
    kdc("keytab", "show", "alice.pem", ok=False)
    kdc("config", "check", "dora.password", ok=False)
    kdc("explain", "--file", "dora.password", ok=None)
    for command in (
        *("user list", "user show pat", "user show alice", "key list", "service list"),
        *("keytab show web.keytab", "keytab show pat.keytab", "cert show alice.pem"),
        *("config show --origin",),
    ):
        kdc(*command.split())
        kdc(*command.split(), "--json")


# -- logons ----------------------------------------------------------------------------------


class Listening:
    """A mechanism that notes the reply key; everything else is the mechanism's it stands for."""

    def __init__(self, mechanism: Mechanism, heard: Callable[[bytes], None]) -> None:
        self._mechanism = mechanism
        self._heard = heard
        self.name = mechanism.name
        self.pa_type = mechanism.pa_type
        self.asks_first = mechanism.asks_first
        self.first_padata = mechanism.first_padata
        self.proof = mechanism.proof
        self.retry = mechanism.retry
        self.facts = mechanism.facts

    def reply_key(
        self, sent: SentRequest, reply: AsRep, hints: Hints, now: datetime
    ) -> ProtocolKey:
        """Pass the reply key on."""
        key = self._mechanism.reply_key(sent, reply, hints, now)
        self._heard(key.value)
        return key


class NotingPair:
    """A key pair that notes what it agrees on."""

    def __init__(self, pair: KeyPair, heard: Callable[[bytes], None]) -> None:
        self._pair = pair
        self._heard = heard
        self.group = pair.group
        self.public = pair.public

    def agree(self, peer_public: bytes) -> bytes:
        """Agree as the pair does."""
        secret = self._pair.agree(peer_public)
        self._heard(secret)
        return secret


def log_on(
    name: str, mechanism: Mechanism, heard: Callable[[str, bytes], None], port: int, number: int
) -> AsResult:
    """Log on by our client and note every secret of the exchange."""
    listening = Listening(mechanism, lambda key: heard(f"reply key {number}", key))
    options = AsOptions(client=client_name(name), realm=REALM)
    address = KdcAddress(host="127.0.0.1", port=port)
    result, _ = run(AsExchange(options, listening, os.urandom), address)
    heard(f"session key {number}", result.credential.session_key)
    return result


def pkinit(
    identity: Path, anchor: Path, group: str, heard: Callable[[bytes], None], *, nonce: bool
) -> PkinitMechanism:
    """Make a PKINIT mechanism whose key agreement is noted."""

    def noting(chosen: Group) -> KeyPair:
        return NotingPair(generate(chosen), heard)  # type: ignore[return-value]  # the same shape

    options = PkinitOptions(
        anchors=ca.certificates_from_pem(anchor.read_bytes()),
        domain=REALM.lower(),
        group=group,
        dh_nonce=nonce,
    )
    return PkinitMechanism(load_identity(identity), options, noting)


def good_logons(life: Life) -> None:
    """Log on by every mechanism, with `kdc logon` and with the client in this process."""
    work, kdc = life.work, life.kdc
    for index, (user, options, stdin) in enumerate(
        [
            ("pat", ["--password-stdin"], PASSWORDS["pat"]),
            ("dora", ["--password-file", "dora.password", "--tcp"], ""),
            ("emil", ["--password-stdin", "--json"], PASSWORDS["emil"]),
            ("fritz", ["--password-stdin"], NEW_PASSWORD),
            ("alice", ["--identity", "alice.pem"], ""),
            ("alice", ["--identity", "alice-mit.pem", "--kex", "modp14", "--json"], ""),
            ("alice", ["--identity", "alice.pem", "--kdf", "rfc4556", "--no-dh-nonce"], ""),
        ]
    ):
        cache = work / f"cache-{index}"
        kdc("logon", user, *options, "--ccache", cache.name, stdin=stdin)
        (credential,) = decode_ccache(cache.read_bytes()).credentials
        name = f"session key in {cache.name}"
        life.secrets.add(name, credential.session_key)
        life.allow(cache, name)
    anchor = life.state / "pki/ca.pem"
    log_on("pat", PasswordMechanism(PASSWORDS["pat"]), reply_noter(life, "pat"), life.port, 0)
    for number, (group, nonce) in enumerate(
        [("p256", True), ("modp14", True), ("p384", False), ("modp16", False)], 1
    ):
        mechanism = pkinit(
            work / "alice.pem",
            anchor,
            group,
            lambda secret, number=number: life.secrets.add(f"DH secret {number}", secret),  # type: ignore[misc]  # mypy infers no default
            nonce=nonce,
        )
        log_on("alice", mechanism, life.secrets.add, life.port, number)


def reply_noter(life: Life, user: str) -> Callable[[str, bytes], None]:
    """A password's reply key is the user's own key, which is noted already."""

    def note(name: str, value: bytes) -> None:
        if not name.startswith("reply key"):
            life.secrets.add(f"{name} of {user}", value)

    return note


def armored_logons(life: Life) -> None:
    """Log on inside a FAST tunnel, well and badly; note what opens it."""
    (armor,) = decode_ccache((life.work / "cache-4").read_bytes()).credentials
    options = ("--armor", "cache-4", "--password-stdin", "--ccache", "cache-fast")
    life.kdc("logon", "pat", *options, stdin=PASSWORDS["pat"])
    (credential,) = decode_ccache((life.work / "cache-fast").read_bytes()).credentials
    life.secrets.add("session key in cache-fast", credential.session_key)
    life.allow(life.work / "cache-fast", "session key in cache-fast")
    life.kdc("logon", "pat", *options, stdin=PASSWORDS["wrong"], ok=False)
    life.kdc("explain", "--last", ok=None)
    entropy = os.urandom

    def noting(count: int) -> bytes:
        octets = entropy(count)
        if count >= 16:  # subkeys, and confounders with them
            life.secrets.add(f"drawn in the tunnel {len(life.secrets.names)}", octets)
        return octets

    for password in (PASSWORDS["pat"], PASSWORDS["wrong"]):
        options_of = AsOptions(client=client_name("pat"), realm=REALM, armor=armor)
        exchange = AsExchange(options_of, PasswordMechanism(password), noting)
        with contextlib.suppress(ClientError):
            run(exchange, KdcAddress(host="127.0.0.1", port=life.port))


def password_changes(life: Life) -> None:
    """Change a password by kpasswd, be refused by policy and by a broken message."""
    port = int(StateFolder(life.state).load_config().config.kpasswd_addresses()[0].split(":")[-1])
    changes = [
        (NEW_PASSWORD, WEAK_PASSWORD, False),
        (NEW_PASSWORD, CHANGED_PASSWORD, True),
        (NEW_PASSWORD, CHANGED_PASSWORD, False),
        (CHANGED_PASSWORD, NEW_PASSWORD, False),  # one that was used before
    ]
    for number, (current, password, defect) in enumerate(changes):
        options = AsOptions(client=client_name("fritz"), realm=REALM, server=SERVICE_NAME)
        exchange = AsExchange(options, PasswordMechanism(current), os.urandom)
        result, _ = run(exchange, KdcAddress(host="127.0.0.1", port=life.port))
        life.secrets.add(f"kpasswd session key {number}", result.credential.session_key)
        message, subkey = kpasswd_message(result.credential, password)
        life.secrets.add(f"kpasswd subkey {number}", subkey)
        if defect:
            message = message[:-1] + bytes((message[-1] ^ 1,))
        assert ask_tcp(port, message)
        life.kdc("explain", "--last", ok=None)
    life.kdc(
        "logon", "fritz", "--password-stdin", "--ccache", "cache-fritz", stdin=CHANGED_PASSWORD
    )
    (credential,) = decode_ccache((life.work / "cache-fritz").read_bytes()).credentials
    life.secrets.add("session key in cache-fritz", credential.session_key)
    life.allow(life.work / "cache-fritz", "session key in cache-fritz")
    keys_now(life, "fritz, changed")


def kpasswd_message(credential: Credential, password: str) -> tuple[bytes, bytes]:
    """Make a request to change a password (RFC 3244 2); return it and its subkey."""
    subkey = ProtocolKey(EncType(18), os.urandom(32))
    session = ProtocolKey(EncType(credential.etype), credential.session_key)
    now = datetime.now(UTC)
    authenticator = Authenticator(
        authenticator_vno=5,
        crealm=REALM,
        cname=client_name("fritz"),
        cusec=now.microsecond,
        ctime=now.replace(microsecond=0),
        subkey=EncryptionKey(keytype=18, keyvalue=subkey.value),
        seq_number=1,
    )
    ap_req = ApReq(
        pvno=5,
        msg_type=MessageType.AP_REQ,
        ap_options=0,
        ticket=asn1.decode(Ticket, credential.ticket),
        authenticator=seal(session, KeyUsage.AP_REQ_AUTHENTICATOR, asn1.encode(authenticator)),
    )
    address = HostAddress(addr_type=2, address=bytes((127, 0, 0, 1)))
    part = EncKrbPrivPart(user_data=password.encode(), seq_number=1, s_address=address)
    private = KrbPriv(
        pvno=5,
        msg_type=MessageType.KRB_PRIV,
        enc_part=seal(subkey, KeyUsage.KRB_PRIV_ENC_PART, asn1.encode(part)),
    )
    return encode_frame(1, asn1.encode(ap_req), asn1.encode(private)), subkey.value


def seal(key: ProtocolKey, usage: KeyUsage, plain: bytes) -> EncryptedData:
    """Encrypt a part of a message."""
    return EncryptedData(etype=key.enctype, cipher=encrypt(key, usage, plain, os.urandom(16)))


def bad_logons(life: Life) -> None:
    """Be refused in every way that a client can try, and ask why."""
    kdc = life.kdc
    wrong = PASSWORDS["wrong"]
    kdc("logon", "pat", "--password-stdin", stdin=wrong, ok=False)
    kdc("logon", "pat", "--password-stdin", "--json", stdin=wrong, ok=False)
    kdc("logon", "nobody", "--password-stdin", stdin=wrong, ok=False)
    kdc("logon", "alice", "--identity", "bulk/user0000.key", ok=False)
    kdc("logon", "pat", "--identity", "alice.pem", ok=False)
    kdc("logon", "alice", "--identity", "alice.pem", "--kex", "modp2")  # refused, then moved
    kdc("user", "disable", "dora")
    kdc("logon", "dora", "--password-file", "dora.password", ok=False)
    for number in range(12):
        with pytest.raises(ClientError):
            log_on("emil", PasswordMechanism(wrong), life.secrets.add, life.port, 100 + number)
    kdc("logon", "emil", "--password-stdin", stdin=PASSWORDS["emil"], ok=False)
    kdc("user", "show", "emil", "--json")
    kdc("user", "unlock", "emil")
    for message in (b"", b"\x6a", b"\x6a\x82\xff\xff", os.urandom(300), b"\x6a\x03\x02\x01\x05"):
        ask_udp(life.port, message, timeout_s=0.2)
        with contextlib.suppress(OSError):
            ask_tcp(life.port, message)
    kdc("explain", "--last", ok=None)
    kdc("explain", "--last", "--json", ok=None)
    life.kdc_process("doctor")
    kdc("doctor", "--json", "--no-logons")
    kdc("probe")


def troubles(life: Life) -> None:
    """Reload well and badly, crash and kill workers and the supervisor, and start again."""
    assert life.server is not None
    toml = life.state / "kdc.toml"
    good = toml.read_text()
    life.tell(signal.SIGHUP, "reloading")
    toml.write_text(good + "nonsense = 1\n")
    life.tell(signal.SIGHUP, "reload refused")
    key = life.state / "pki/kdc.key"
    key.chmod(0o644)
    toml.write_text(good + "hide_unknown = true\n")
    life.tell(signal.SIGHUP, "reload refused")
    key.chmod(0o600)
    life.tell(signal.SIGHUP, "reloading")
    for number in (signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT):
        victim = life.workers()[0]
        os.kill(victim, number)
        assert wait_until(lambda number=number: f"ended with signal {number:d}" in life.log())  # type: ignore[misc]  # mypy infers no default
        assert wait_until(lambda: len(life.workers()) == 2)
    life.kdc_process("logon", "pat", "--password-stdin", stdin=PASSWORDS["pat"])
    life.stop(signal.SIGABRT)
    # A damaged store: what the server says of it must not quote it.
    store = life.state / "store.sqlite"
    whole = store.read_bytes()
    store.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    life.kdc("user", "list", ok=None)
    life.kdc("doctor", ok=False)
    store.write_bytes(whole)
    life.start("--log-json")
    life.kdc_process("logon", "pat", "--password-stdin", stdin=PASSWORDS["pat"])
    life.kdc_process("logon", "nobody", "--password-stdin", stdin=PASSWORDS["wrong"], ok=False)
    life.stop()


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Let the realm live, once."""
    lived = Life(top=tmp_path_factory.mktemp("secrets"), port=free_port())
    try:
        make_realm(lived)
        keys_now(lived, "now")
        realm_secrets(lived)
        keytab_secrets(lived)
        lived.start()
        good_logons(lived)
        armored_logons(lived)
        password_changes(lived)
        wrong_commands(lived)
        bad_logons(lived)
        troubles(lived)
        keys_now(lived, "at the end")
        yield lived
    finally:
        if lived.server is not None and lived.server.poll() is None:
            os.killpg(lived.server.pid, signal.SIGKILL)
            lived.server.wait()


def keytab_secrets(life: Life) -> None:
    """A keytab holds the keys that were exported to it."""
    for path in life.work.glob("*.keytab"):
        for entry in decode_keytab(path.read_bytes()):
            life.allow(path, *life.secrets.found_in(entry.key))


def files_of(life: Life) -> Mapping[str, int]:
    return {
        str(path.relative_to(life.top)): path.stat().st_size
        for path in life.top.rglob("*")
        if path.is_file()
    }


@pytest.mark.timeout(300)
def test_no_file_holds_a_secret_it_is_not_meant_to_hold(life: Life) -> None:
    """Row S08: store, log, maps, audit, recordings, left-overs; and each search finds its own."""
    files = files_of(life)
    for expected in ("state/audit.jsonl", "state/store.sqlite", "state/replay.map", "serve-1.log"):
        assert files[expected] > 0
    assert len(life.secrets.names) > 60
    assert life.secrets.leaks(life.top, life.allowed) == {}


def test_no_command_printed_a_secret(life: Life) -> None:
    """Row S08: neither results nor errors, as text or as JSON."""
    assert len(life.said) > 70
    told = {command: life.secrets.found_in(text.encode()) for command, text in life.said}
    assert {command: names for command, names in told.items() if names} == {}


def test_nothing_left_a_core_file(life: Life) -> None:
    """Requirement 14: three workers and the supervisor crashed."""
    assert [path for path in files_of(life) if Path(path).name.startswith("core")] == []


def test_no_temporary_file_is_left(life: Life) -> None:
    """What is written whole or not at all leaves no part behind."""
    assert [path for path in files_of(life) if path.startswith(("home/", "tmp/"))] == []
    assert [path for path in files_of(life) if ".new" in path or "/." in path] == []
