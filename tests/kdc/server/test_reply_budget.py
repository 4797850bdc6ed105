"""What a network may be sent by UDP, and for how long (negative row W05)."""

import pytest

from kdc.server.reply_budget import BURST_S, LOOPBACK, Allowance, ReplyBudget, ReplyBudgetTable

RATE = 1000


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now_ns = 10**12

    def __call__(self) -> int:
        """Return the time in nanoseconds."""
        return self.now_ns


def slot_of(budget: ReplyBudget, address: str) -> int:
    """Return the slot of an address that is not exempt."""
    slot = budget.slot(address)
    assert slot is not None
    return slot


def test_bucket_gives_any_reply_then_short_ones_then_nothing_and_refills() -> None:
    """The last eighth is for RESPONSE_TOO_BIG; time brings octets back at the rate."""
    clock = Clock()
    budget = ReplyBudgetTable().for_worker(RATE, clock=clock)
    slot = slot_of(budget, "192.0.2.1")
    full = BURST_S * RATE
    budget.charge(slot, full * 7 // 8 - 1)
    assert budget.allowance(slot) is Allowance.ANY
    budget.charge(slot, 1)
    assert budget.allowance(slot) is Allowance.SHORT
    budget.charge(slot, full // 8)
    assert budget.allowance(slot) is Allowance.NOTHING
    clock.now_ns += 10**9 // 10
    assert budget.allowance(slot) is Allowance.SHORT
    clock.now_ns += 10**9
    assert budget.allowance(slot) is Allowance.ANY


def test_sent_octets_never_pass_burst_and_rate() -> None:
    """A flood for a minute gets the bucket, a minute's octets and one reply too much at most."""
    clock = Clock()
    budget = ReplyBudgetTable().for_worker(RATE, clock=clock)
    slot = slot_of(budget, "192.0.2.1")
    sent = 0
    for _ in range(6000):
        clock.now_ns += 10**7
        allowed = budget.allowance(slot)
        if allowed is not Allowance.NOTHING:
            octets = 319 if allowed is Allowance.ANY else 90
            budget.charge(slot, octets)
            sent += octets
    assert sent <= (BURST_S + 60) * RATE + 319


def test_idle_bucket_holds_no_more_than_its_size() -> None:
    """Silence is not saved up for later."""
    clock = Clock()
    budget = ReplyBudgetTable().for_worker(RATE, clock=clock)
    slot = slot_of(budget, "192.0.2.1")
    clock.now_ns += 10**12
    budget.charge(slot, BURST_S * RATE)
    assert budget.allowance(slot) is Allowance.NOTHING


def test_budget_is_shared_by_all_workers() -> None:
    """A flood from many ports reaches every worker; together they send one budget."""
    table = ReplyBudgetTable()
    one, two = table.for_worker(RATE), table.for_worker(RATE)
    one.charge(slot_of(one, "192.0.2.1"), BURST_S * RATE + 1000)
    assert two.allowance(slot_of(two, "192.0.2.1")) is Allowance.NOTHING


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.254", "192.0.3.1"),
        ("2001:db8::1", "2001:db8:0:ff:1::", "2001:db8:0:100::1"),
    ],
)
def test_network_is_a_24_or_a_56(address: str, same: str, other: str) -> None:
    """Who is flooded is a network: its addresses share one budget, others have their own."""
    budget = ReplyBudgetTable().for_worker(RATE)
    assert budget.slot(address) == budget.slot(same)
    assert budget.slot(address) != budget.slot(other)


def test_loopback_and_exempt_sources_have_no_rule() -> None:
    """No forged packet comes from loopback; load tests and proxies are the operator's choice."""
    budget = ReplyBudgetTable().for_worker(RATE, exempt=(*LOOPBACK, "198.51.100.0/24"))
    assert [budget.slot(a) for a in ("127.0.0.9", "::1", "198.51.100.7")] == [None] * 3
    assert budget.slot("192.0.2.1") is not None


def test_budget_of_zero_is_none() -> None:
    """Off is off; the rule of three times the request stays, which is not the budget's."""
    budget = ReplyBudgetTable().for_worker(0)
    slot = slot_of(budget, "192.0.2.1")
    budget.charge(slot, 1 << 40)
    assert budget.allowance(slot) is Allowance.ANY
