"""Two nodes of one realm: two KDCs, each beside its own slapd of a replicating pair, on four hosts.

The second node is made as docs/operations.md says: a copy of the first one's state folder, with
addresses and a certificate of its own.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.rig import certificates, clients, network, slapd
from tests.rig.certificates import Identity
from tests.rig.clients import ClientRealm, Run
from tests.rig.ldap_realm import ATTRIBUTE, Owner, make_owner
from tests.rig.network import Host, Network
from tests.rig.realm import REALM, LiveRealm, make_realm
from tests.rig.secret_files import write_secret
from tests.rig.slapd import FOLLOWER, Slapd

HOSTS = ("dir1", "dir2", "kdc1", "kdc2")
_PORT = 88


@dataclass(slots=True, kw_only=True)
class Node:
    """A KDC, the directory beside it, and the hosts they run on."""

    host: Host
    directory_host: Host
    directory: Slapd
    live: LiveRealm
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self) -> None:
        """Start the KDC."""
        self._running.enter_context(self.live.served(workers=1))

    def stop(self) -> None:
        """Stop the KDC."""
        self._running.close()

    def status(self) -> dict[str, object]:
        """Return what `kdc directory status` says."""
        found: dict[str, object] = json.loads(
            self.live.kdc("directory", "status", "--json", ok=(0, 6))
        )
        return found

    def follows(self, server: Slapd) -> bool:
        """Tell whether the changes of that server come here now."""
        status = self.status()
        return status["state"] == "following" and status["server"] == server.ldaps_url

    def knows(self, owner: Owner) -> bool:
        """Tell whether the local store has a key of the user."""
        return bool(json.loads(self.live.kdc("key", "list", owner.name, "--json")))

    def enroll(self, owner: Owner) -> None:
        """Register a user's key by a command of this node."""
        self.administer("key", "add", owner.name, str(owner.identity.certificate))

    def administer(self, *command: str) -> str:
        """Run a command of this node as the directory's administrator."""
        secret = self.live.state.with_name("admin-password")
        who = ("--bind-dn", slapd.ADMIN, "--bind-password-file", str(secret))
        return self.live.kdc(*command, *who)


@dataclass(slots=True, kw_only=True)
class Pair:
    """Both nodes, the network between them, and users without keys."""

    net: Network
    one: Node
    two: Node
    folder: Path
    issuer: Identity
    _users: Iterator[int]

    def nodes(self, which: int) -> tuple[Node, Node]:
        """Return one of the nodes, and the other."""
        return (self.one, self.two) if which == 0 else (self.two, self.one)

    def owner(self) -> Owner:
        """Take a user that no other test has, with a key that is not registered yet."""
        return make_owner(self.folder, f"user{next(self._users):04d}", self.issuer)

    def client(self, *nodes: Node) -> ClientRealm:
        """Describe the realm to MIT's client: these KDCs, in this order."""
        folder = self.folder / "clients"
        folder.mkdir(exist_ok=True)
        live = nodes[0].live
        realm = live.client(folder, self.issuer.certificate)
        path = clients.write_mit_config(realm)
        first = f"    kdc = {realm.address}\n"
        assert first in path.read_text()
        kdcs = "".join(f"    kdc = {node.live.address}:{node.live.port}\n" for node in nodes)
        path.write_text(path.read_text().replace(first, kdcs))
        return replace(realm, config=path)

    def kinit(self, owner: Owner, *nodes: Node, options: tuple[str, ...] = ()) -> Run:
        """Log on with MIT's client that knows these KDCs."""
        return clients.mit_kinit(
            self.client(*nodes), f"{owner.name}@{REALM}", identity=owner.leaf, options=options
        )

    def logs_on(self, owner: Owner, *nodes: Node) -> bool:
        """Tell whether a logon succeeds."""
        return self.kinit(owner, *nodes).status == 0


def register(server: Slapd, owner: Owner) -> None:
    """Write a user's key into one server, as the directory's administrator."""
    server.change(owner.dn, "add", ATTRIBUTE, owner.value)


@contextlib.contextmanager
def running(folder: Path, *, users: int = 24) -> Iterator[Pair]:
    """Run both nodes; every process and namespace is gone afterwards."""
    issuer = certificates.throwaway_issuer(folder)
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(network.network(HOSTS))
        dir1, dir2, kdc1, kdc2 = net.hosts
        first, second = stack.enter_context(
            slapd.replicated(folder, users=users, hosts=(dir1, dir2))
        )
        for name in ("bind-password", "admin-password"):
            write_secret(folder / name, first.password)
        options = (
            *("--directory", first.ldaps_url, "--directory", second.ldaps_url),
            *("--flavour", "openldap", "--directory-ca", str(first.ca)),
            *("--directory-bind-dn", FOLLOWER),
            *("--directory-bind-password-file", str(folder / "bind-password")),
            *("--directory-key-source", "ldap-sealed"),
        )
        one = make_realm(
            folder / "kdc1", *options, address=kdc1.address, port=_PORT, prefix=kdc1.prefix
        )
        two = second_node(one, folder / "kdc2", kdc2, first, second)
        nodes = (
            Node(host=kdc1, directory_host=dir1, directory=first, live=one),
            Node(host=kdc2, directory_host=dir2, directory=second, live=two),
        )
        for node in nodes:
            stack.callback(node.stop)
            node.start()
        # From now on krbtgt's keys are in the directory, sealed, for both nodes.
        nodes[0].administer("realm", "rotate-krbtgt")
        yield Pair(
            net=net,
            one=nodes[0],
            two=nodes[1],
            folder=folder,
            issuer=issuer,
            _users=iter(range(users)),
        )


def second_node(one: LiveRealm, state: Path, host: Host, first: Slapd, second: Slapd) -> LiveRealm:
    """Make another node of a realm that is not being served: what docs/operations.md tells."""
    shutil.copytree(one.state, state)
    file = state / "kdc.toml"
    text = file.read_text().replace(f"{one.address}:{one.port}", f"{host.address}:{one.port}")
    here, there = f'"{first.ldaps_url}"', f'"{second.ldaps_url}"'
    assert f"[{here}, {there}]" in text
    file.write_text(text.replace(f"[{here}, {there}]", f"[{there}, {here}]"))
    two = LiveRealm(state=state, address=host.address, port=one.port, prefix=host.prefix)
    two.kdc("cert", "issue-kdc", "--dns", "kdc2.lab.test")
    return two
