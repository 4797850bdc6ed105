"""Fixtures that several parts of the tests share: one realm with real clients' keys, served."""

import gc
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # no types

from tests.negative.realm_of import realm_of
from tests.rig import certificates
from tests.rig.certificates import Identity
from tests.rig.realm import LiveRealm, make_realm
from tests.rig.samba_dc import SambaDc

KINDS_BY_FOLDER = ("e2e", "interop")

# Hypothesis' limit of 200 ms for an example would judge what else the machine does; pytest-timeout
# bounds each test.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

# Thousands of small tests beside a heap of modules: the collector took a quarter of the time.
gc.set_threshold(100_000, 50, 100)


def pytest_configure() -> None:
    """Undo what a shell does to what it starts with `&`: programs under test take Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let the collector pass over what was imported."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in the folders of slow kinds: a forgotten mark would slow the quick run."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in KINDS_BY_FOLDER:
            item.add_marker(folder)
        if item.get_closest_marker("alone"):
            item.add_marker("slow")  # the quick tests run beside each other


class Together(LoadScopeScheduling):  # type: ignore[misc]  # of no type, as above
    """Keeps on one core what shares a server: a file, a Samba domain, a realm of bad requests."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.startswith("tests/negative/"):
            return f"realm {realm_of(test)}"
        return "Samba" if "samba_dc" in _text(file) else file


@cache
def _text(file: str) -> str:
    return (Path(__file__).parents[1] / file).read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together | None:
    """Let `--dist loadscope` mean the scopes above."""
    return Together(config, log) if config.getvalue("dist") == "loadscope" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A served realm: pat has a password, alice and bob each have a Hello key."""

    live: LiveRealm
    folder: Path
    password: str
    throwaway: Identity
    """Issuer of the leaves, which only MIT's client knows."""
    alice: Identity
    """Self-signed, as Windows makes it."""
    alice_leaf: Identity
    """The same key under the throwaway issuer."""
    bob: Identity
    bob_leaf: Identity


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Make realm LAB.TEST with its users and serve it by two workers for the whole session."""
    folder = tmp_path_factory.mktemp("lab")
    throwaway = certificates.throwaway_issuer(folder)
    keys = {name: certificates.new_key() for name in ("alice", "bob")}
    own = {name: certificates.self_signed(folder, name, key) for name, key in keys.items()}
    leaves = {
        name: certificates.leaf(folder, f"{name}-leaf", key, throwaway)
        for name, key in keys.items()
    }
    live = make_realm(folder / "state")
    password = "Correct-Horse-7"  # noqa: S105  # the test user's own
    live.kdc("user", "add", "pat", "--password-stdin", stdin=f"{password}\n")
    for name, identity in own.items():
        live.kdc("user", "add", name)
        live.kdc("key", "add", name, str(identity.certificate))
    with live.served(workers=2):
        yield Lab(
            live=live,
            folder=folder,
            password=password,
            throwaway=throwaway,
            alice=own["alice"],
            alice_leaf=leaves["alice"],
            bob=own["bob"],
            bob_leaf=leaves["bob"],
        )


@pytest.fixture(scope="session")
def samba_dc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SambaDc]:
    """Run one private Samba domain controller for the whole session."""
    made = SambaDc.make(tmp_path_factory.mktemp("samba") / "dc")
    with made.running():
        yield made
