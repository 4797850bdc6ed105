"""Record the ten refusals of docs/refusals.md from real clients.

    python -m tests.kdc.explain.record_refusals

Runs MIT's and Heimdal's kinit, and kerbad (bloodyAD's client, of the impacket family), against a
KDC in this process, and keeps what its recorder kept in tests/vectors/refusals.json. Only needed
when the messages themselves should change; the page is made from that file by `refusals_page`.
Needs the peers that `./scripts/test` installs, and port 88 of 127.0.0.90.
"""

import json
import selectors
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from directory.model import Account
from kdc.cli.main import run
from kdc.cli.state import RealmState, now
from kdc.explain.recorder import FILE_NAME, RefusalRecorder, last_refusal
from kdc.outcome import Peer, Transport
from kdc.server.build import RealmHandler
from kdc.state_folder import StateFolder
from tests.rig import certificates, clients
from tests.rig.clients import ClientRealm

VECTORS = Path(__file__).resolve().parents[2] / "vectors/refusals.json"
ADDRESS, PORT = "127.0.0.90", 88
NAMES = ("alice", "bob", "carol", "dave", "pat")
_PASSWORD = "Correct-Horse-7"  # noqa: S105  # of users who live as long as this run
_PFX_PASSWORD = "throwaway"  # noqa: S105  # of a file that lives as long

_RC4_ONLY = """
[libdefaults]
  default_realm = LAB.TEST
  dns_lookup_kdc = false
  allow_weak_crypto = true
  allow_rc4 = true
  default_tkt_enctypes = arcfour-hmac
  permitted_enctypes = arcfour-hmac
[realms]
  LAB.TEST = {
    kdc = %s:%d
  }
"""


@dataclass(slots=True, kw_only=True)
class Kdc:
    """The real handler behind two plain sockets, in a thread, with a clock that can be wrong."""

    state: Path
    offset: timedelta = timedelta()
    stop: bool = False
    ready: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        """Answer until told to stop, one message at a time."""
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
            selectors.DefaultSelector() as selector,
        ):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for sock in (datagrams, listener):
                sock.bind((ADDRESS, PORT))
                selector.register(sock, selectors.EVENT_READ)
            listener.listen()
            self.ready.set()
            while not self.stop:
                for key, _ in selector.select(0.1):
                    if key.fileobj is datagrams:
                        message, peer = datagrams.recvfrom(65536)
                        reply = self.answer(message, peer, "udp")
                        if reply is not None:
                            datagrams.sendto(reply, peer)
                    else:
                        self.connection(listener.accept())

    def connection(self, accepted: tuple[socket.socket, tuple[str, int]]) -> None:
        """Answer the messages of one TCP connection."""
        stream, peer = accepted
        with stream, stream.makefile("rb") as file:
            stream.settimeout(5)
            while head := file.read(4):
                reply = self.answer(file.read(int.from_bytes(head, "big")), peer, "tcp")
                if reply is None:
                    return
                stream.sendall(len(reply).to_bytes(4, "big") + reply)

    def answer(self, message: bytes, peer: tuple[str, int], transport: Transport) -> bytes | None:
        """Answer and record, as a worker does; the realm is read anew each time."""
        handler = RealmHandler(self.state)
        recorder = RefusalRecorder(self.state / FILE_NAME)
        at = datetime.now(UTC) + self.offset
        where = Peer(address="192.0.2.7", port=peer[1], transport=transport)
        try:
            outcome = handler.handle(message, where, at)
            recorder.record(message, where, at, outcome)
            return outcome.reply
        finally:
            recorder.close()
            handler.close()


def _kdc(state: Path, *arguments: str) -> None:
    code = run(["--state", str(state), *arguments])
    assert code == 0, arguments


def _account(state: Path, name: str) -> Account:
    folder = StateFolder(state)
    with RealmState(folder=folder, loaded=folder.load_config()).store() as store:
        found = store.account_by_name(name)
        assert found is not None
        return found


def record(folder: Path) -> dict[str, object]:
    """Make a realm, let the clients be refused, and return what the page is made from."""
    state = folder / "state"
    _kdc(state, "init", "--realm", "LAB.TEST", "--listen", f"{ADDRESS}:{PORT}")
    issuer = certificates.throwaway_issuer(folder)
    password = folder / "password"
    password.write_text(_PASSWORD)
    for name in NAMES:
        _kdc(state, "user", "add", name, "--password-file", str(password))
    keys = {name: certificates.new_key() for name in ("alice", "bob", "carol")}
    leaves = {name: certificates.leaf(folder, name, key, issuer) for name, key in keys.items()}
    own = certificates.self_signed(folder, "alice-own", keys["alice"])
    pfx = certificates.write_pkcs12(own, _PFX_PASSWORD)
    for name in ("alice", "bob"):
        _kdc(state, "key", "add", name, str(leaves[name].certificate))
    _kdc(state, "user", "disable", "dave")
    accounts = [_account(state, name) for name in NAMES]
    kdc = Kdc(state=state)
    thread = threading.Thread(target=kdc.serve, daemon=True)
    thread.start()
    assert kdc.ready.wait(10)
    realm = ClientRealm(
        realm="LAB.TEST",
        address=f"{ADDRESS}:{PORT}",
        anchors=(state / "pki/ca.pem",),
        folder=folder,
        own_anchors=(issuer.certificate,),
    )
    weak = folder / "rc4.conf"
    weak.write_text(_RC4_ONLY % (ADDRESS, PORT))
    cases: list[dict[str, object]] = []

    def case(title: str, command: str, client: Callable[[], object]) -> None:
        (state / FILE_NAME).unlink(missing_ok=True)
        client()
        found = last_refusal(state / FILE_NAME)
        assert found is not None, title
        print(f"{found.code:3} {found.why:60} {title}")
        shown = json.loads(msgspec.json.encode(found))
        cases.append({"title": title, "command": command, "record": shown})

    try:
        case(
            "The password is wrong",
            "kinit pat",
            lambda: clients.mit_kinit(realm, "pat", password="wrong"),  # noqa: S106
        )
        case(
            "The name is misspelt",
            "kinit alcie",
            lambda: clients.mit_kinit(realm, "alcie", password="x"),  # noqa: S106
        )
        case(
            "The account is disabled",
            "kinit dave",
            lambda: clients.mit_kinit(realm, "dave", password=_PASSWORD),
        )
        case(
            "The client offers RC4 only",
            "kinit pat            # with default_tkt_enctypes = arcfour-hmac",
            lambda: clients.mit_kinit(replace(realm, config=weak), "pat", password=_PASSWORD),
        )
        case(
            "The request is for another realm",
            "kinit alice@OTHER.TEST",
            lambda: clients.mit_kinit(
                replace(realm, realm="OTHER.TEST"),
                "alice@OTHER.TEST",
                password="x",  # noqa: S106
            ),
        )
        case(
            "The key was never registered",
            "kinit -X X509_user_identity=FILE:carol.pem,carol.key carol",
            lambda: clients.mit_kinit(realm, "carol", identity=leaves["carol"]),
        )
        case(
            "It is somebody else's key",
            "kinit -X X509_user_identity=FILE:bob.pem,bob.key alice",
            lambda: clients.mit_kinit(realm, "alice", identity=leaves["bob"]),
        )
        kdc.offset = timedelta(minutes=20)
        case(
            "The clocks differ",
            # MIT's client takes the KDC's time from its first answer; Heimdal's need not.
            "kinit.heimdal -C FILE:alice.pem,alice.key alice",
            lambda: clients.heimdal_kinit(realm, "alice", identity=own),
        )
        kdc.offset = timedelta()
        case(
            "A tool of the impacket family: group 2",
            "python -m kerbad.examples.getTGT 'kerberos+pfx://LAB.TEST\\alice:...'",
            lambda: clients.kerbad_kinit(realm, "alice", pfx, _PFX_PASSWORD),
        )
        toml = state / "kdc.toml"
        toml.write_text(toml.read_text() + "legacy_dh_group2 = true\n")
        case(
            "The same tool, when group 2 is allowed: SHA-1",
            "python -m kerbad.examples.getTGT 'kerberos+pfx://LAB.TEST\\alice:...'",
            lambda: clients.kerbad_kinit(realm, "alice", pfx, _PFX_PASSWORD),
        )
    finally:
        kdc.stop = True
        thread.join(5)
    return {
        "source": "record_refusals.py: MIT krb5, Heimdal and kerbad against this KDC",
        "recorded": now().strftime("%Y-%m-%d"),
        "accounts": [
            {
                "name": account.sam_account_name,
                "disabled": account.disabled,
                "key_credentials": [c.text for c in account.key_credentials],
            }
            for account in accounts
        ],
        "cases": cases,
    }


def main() -> None:
    """Record and write the vectors."""
    with tempfile.TemporaryDirectory() as folder:
        found = record(Path(folder))
    VECTORS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
