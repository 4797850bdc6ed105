"""Two KDCs, each beside one of two slapd that replicate: links are cut and healed, either node is
stopped, and afterwards both have everything (issue 5.6).
"""

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.rig import services, two_nodes
from tests.rig.ldap_realm import ATTRIBUTE, until
from tests.rig.two_nodes import Pair, register

pytestmark = pytest.mark.interop

HEALED_S = 30.0
"""TCP's own patience: what was sent into a cut link is sent again after a growing pause."""

_EITHER = pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Run both nodes, each following its own directory."""
    with two_nodes.running(tmp_path_factory.mktemp("nodes")) as made:
        for node in (made.one, made.two):
            until(partial(node.follows, node.directory), HEALED_S)
        yield made


def test_key_enrolled_at_one_node_logs_on_at_the_other(pair: Pair) -> None:
    """Issue 5.6: enrol at A, log on at B; and the other way round."""
    for here, there in ((pair.one, pair.two), (pair.two, pair.one)):
        user = pair.owner()
        here.enroll(user)
        run = pair.kinit(user, here)
        assert run.status == 0, run.explain()
        until(partial(pair.logs_on, user, there))


def test_ticket_of_one_node_is_good_at_the_other(pair: Pair) -> None:
    """Keys of krbtgt are sealed in the directory: rotated at A, they are B's in a moment."""
    user = pair.owner()
    pair.one.enroll(user)
    pair.one.administer("realm", "rotate-krbtgt")
    run = pair.kinit(user, pair.one, options=("-r", "1d"))
    assert run.status == 0, run.explain()
    until(lambda: services.mit_renew(pair.client(pair.two), run.cache).status == 0)
    run = pair.kinit(user, pair.two, options=("-r", "1d"))
    assert run.status == 0, run.explain()
    assert services.mit_renew(pair.client(pair.one), run.cache).status == 0
    for node in (pair.one, pair.two):
        (krbtgt,) = json.loads(node.live.kdc("key", "check", "--json"))
        assert krbtgt["store"] == krbtgt["source"]


def test_directories_cut_apart_each_serve_and_then_both_have_everything(pair: Pair) -> None:
    """Multi-master: both sides take writes meanwhile."""
    left, right = pair.owner(), pair.owner()
    hosts = pair.one.directory_host, pair.two.directory_host
    pair.net.cut(*hosts)
    try:
        register(pair.one.directory, left)
        register(pair.two.directory, right)
        until(lambda: pair.logs_on(left, pair.one))
        until(lambda: pair.logs_on(right, pair.two))
        assert not pair.logs_on(left, pair.two)
        assert not pair.logs_on(right, pair.one)
    finally:
        pair.net.heal(*hosts)
    until(lambda: pair.logs_on(left, pair.two), HEALED_S)
    until(lambda: pair.logs_on(right, pair.one), HEALED_S)


def test_node_cut_from_its_directory_follows_the_other(pair: Pair) -> None:
    """Failover: known users log on at once, new keys come from the other server."""
    known, new = pair.owner(), pair.owner()
    register(pair.one.directory, known)
    until(lambda: pair.logs_on(known, pair.one))
    pair.net.cut(pair.one.host, pair.one.directory_host)
    try:
        run = pair.kinit(known, pair.one)
        assert run.status == 0, run.explain()
        register(pair.two.directory, new)
        until(lambda: pair.one.follows(pair.two.directory), HEALED_S)
        until(lambda: pair.logs_on(new, pair.one))
    finally:
        pair.net.heal(pair.one.host, pair.one.directory_host)
    late = pair.owner()
    register(pair.one.directory, late)
    until(lambda: pair.logs_on(late, pair.one), HEALED_S)


def test_node_cut_from_both_directories_serves_whom_it_knows_and_catches_up(pair: Pair) -> None:
    """The local store answers while there is no directory, and has everything afterwards."""
    known, new = pair.owner(), pair.owner()
    register(pair.two.directory, known)
    until(lambda: pair.logs_on(known, pair.two))
    directories = pair.one.directory_host, pair.two.directory_host
    for host in directories:
        pair.net.cut(pair.two.host, host)
    try:
        register(pair.one.directory, new)
        until(lambda: pair.logs_on(new, pair.one))
        until(lambda: pair.two.status()["state"] != "following", HEALED_S)
        run = pair.kinit(known, pair.two)
        assert run.status == 0, run.explain()
        # A client that knows both nodes is served by the one that knows the key.
        run = pair.kinit(new, pair.two, pair.one)
        assert run.status == 0, run.explain()
    finally:
        for host in directories:
            pair.net.heal(pair.two.host, host)
    until(lambda: pair.logs_on(new, pair.two), HEALED_S)


@_EITHER
def test_directory_that_is_stopped_is_replaced_and_catches_up(pair: Pair, which: int) -> None:
    """Stop either slapd, change at the other: both KDCs see it, and the stopped one when back."""
    stopped, other = pair.nodes(which)
    user = pair.owner()
    stopped.directory.stop()
    try:
        other.enroll(user)
        until(lambda: pair.logs_on(user, other))
        until(lambda: pair.logs_on(user, stopped), HEALED_S)
    finally:
        stopped.directory.start()
    until(lambda: len(stopped.directory.values(user.dn, ATTRIBUTE)) == 1, HEALED_S)


@_EITHER
def test_kdc_that_is_stopped_is_replaced_and_catches_up(pair: Pair, which: int) -> None:
    """Stop either KDC: clients that know both go to the other; once back it has all that came."""
    stopped, other = pair.nodes(which)
    user = pair.owner()
    stopped.stop()
    try:
        other.enroll(user)
        run = pair.kinit(user, stopped, other)
        assert run.status == 0, run.explain()
    finally:
        stopped.start()
    until(lambda: pair.logs_on(user, stopped), HEALED_S)
