"""The realms under attack, each made when the first test asks for it and served for all of them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.negative.engine import CONTROLS, exchange, run
from tests.negative.realms import Target, served
from tests.negative.wire.transport import Transport
from tests.negative.world import World


@dataclass(kw_only=True)
class Targets:
    """The served realms, by name, and which controls have passed where."""

    make: Callable[[str], Target]
    served: dict[str, Target] = field(default_factory=dict)
    workers: dict[str, set[int]] = field(default_factory=dict)
    passed: set[tuple[str, str, Transport]] = field(default_factory=set)

    def get(self, realm: str) -> Target:
        """Return a realm, made and served now if need be."""
        if realm not in self.served:
            target = self.served[realm] = self.make(realm)
            self.workers[realm] = target.workers()
        return self.served[realm]

    def world(self, realm: str) -> World:
        """Return what a client knows of a realm."""
        return self.get(realm).world

    def need_control(self, name: str, realm: str, transport: Transport) -> None:
        """See that the request without the defect gets a ticket; each is sent once."""
        key = (name, realm, transport)
        if key not in self.passed:
            world = self.world(realm)
            got = run(world, exchange(CONTROLS[name](world)), transport)
            assert got.ticket is not None, f"the control {name} gets {got}"
            self.passed.add(key)


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    """Give out the realms; at the end none may have met a bug or lost a worker."""
    with contextlib.ExitStack() as stack:
        found = Targets(
            make=lambda realm: stack.enter_context(
                served(tmp_path_factory.mktemp(f"negative-{realm}"), realm)
            )
        )
        yield found
        for realm, target in found.served.items():
            audit = (target.live.state / "audit.jsonl").read_text()
            assert '"internal_error"' not in audit, f"{realm}: a request met a bug"
            assert "Traceback" not in target.live.log.read_text(errors="replace"), realm
            assert target.workers() == found.workers[realm], f"{realm}: a worker was replaced"
