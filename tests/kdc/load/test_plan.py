"""Plans of a load: mixes, schedules and conditions, good and bad."""

import pytest

from kdc.load.plan import (
    PlanError,
    closed,
    parse_conditions,
    parse_mix,
    parse_ramp,
    parse_work,
    ramp,
    spread,
    steady,
)


def test_a_mix_names_kinds_of_work_with_weights() -> None:
    """The name says kind, group, and whether the KDC may reuse its key."""
    mix = parse_mix("keytrust-p256+nonce:40, cert-modp14:20,password")
    assert [(work.kind, work.group, work.dh_nonce, weight) for work, weight in mix] == [
        ("keytrust", "p256", True, 40),
        ("cert", "modp14", False, 20),
        ("password", "", False, 1),
    ]


@pytest.mark.parametrize("text", ["keytrust", "keytrust-p257", "password+nonce", "tgs", "", "x:1"])
def test_work_of_an_unknown_name_is_refused(text: str) -> None:
    """A misspelt kind must not become another load."""
    with pytest.raises(PlanError) as caught:
        parse_work(text)
    assert "no kind of work" in caught.value.why


@pytest.mark.parametrize("text", ["password:0", "password:-1", "password:x", "password:10001"])
def test_a_weight_that_is_no_number_from_1_is_refused(text: str) -> None:
    """Weights are whole numbers."""
    with pytest.raises(PlanError) as caught:
        parse_mix(text)
    assert "no weight" in caught.value.why


def test_work_named_twice_is_refused() -> None:
    """Two weights of one kind are a mistake."""
    with pytest.raises(PlanError) as caught:
        parse_mix("password:1,password:2")
    assert "twice" in caught.value.why


def test_kinds_of_work_are_spread_evenly_by_weight() -> None:
    """In every ten requests of 4:2:4 there are four, two and four."""
    order = list(spread((4, 2, 4), 1000))
    for start in range(0, 1000, 10):
        part = order[start : start + 10]
        assert [part.count(kind) for kind in range(3)] == [4, 2, 4]


def test_a_steady_load_sends_at_equal_distances() -> None:
    """500 a second for two seconds: 1,000 requests, 2 ms apart."""
    times = list(steady(500, 2).send_times())
    assert len(times) == 1000
    assert times[0] == 0
    assert times[-1] == pytest.approx(1.998)


def test_a_ramp_climbs_in_equal_steps() -> None:
    """Each step has its own rate, and its requests lie within it."""
    schedule = ramp(100, 500, 5, 2)
    assert [step.rate for step in schedule.steps] == [100, 200, 300, 400, 500]
    times = list(schedule.send_times())
    assert len(times) == schedule.requests == 3000
    assert times == sorted(times)


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-1, 1), (1e7, 1), (1, 0), (1e6, 3600)])
def test_a_load_without_sense_is_refused(rate: float, seconds: float) -> None:
    """No rate, no time, or more requests than can be made beforehand."""
    with pytest.raises(PlanError):
        steady(rate, seconds)


@pytest.mark.parametrize("text", ["100", "100..", "..5", "a..b", "0..5", "5..-1", "nan..5"])
def test_a_ramp_that_is_not_two_rates_is_refused(text: str) -> None:
    """`--ramp` takes A..B."""
    with pytest.raises(PlanError):
        parse_ramp(text)


def test_a_closed_load_needs_requests_and_a_window() -> None:
    """Zero outstanding would wait for ever."""
    with pytest.raises(PlanError):
        closed(0, 10)
    with pytest.raises(PlanError):
        closed(1, 0)


@pytest.mark.parametrize(
    ("text", "limit"), [("p99<50ms", 50), ("p99.9<1.5s", 1500), ("max<900us", 0.9), ("p50<2", 2)]
)
def test_limits_of_time_are_read_in_any_unit(text: str, limit: float) -> None:
    """Milliseconds when there is no unit."""
    assert parse_conditions(text)[0].limit == pytest.approx(limit)


@pytest.mark.parametrize("text", ["p98<5", "p99<5%", "errors<5ms", "p99=5", "", "p99<", "rate>5s"])
def test_a_condition_that_says_nothing_is_refused(text: str) -> None:
    """A condition that was misread would pass every load."""
    with pytest.raises(PlanError):
        parse_conditions(text)


def test_conditions_hold_or_not() -> None:
    """Below and above, and a value that is not there fails every limit."""
    p99, errors, rate = parse_conditions("p99<50ms,errors>0.1%,rate>500/s")
    good = {"p99": 49.0, "errors": 0.2, "rate": 501.0}
    assert (p99.holds(good), errors.holds(good), rate.holds(good)) == (True, True, True)
    bad = {"p99": 50.0, "errors": 0.1, "rate": 500.0}
    assert (p99.holds(bad), errors.holds(bad), rate.holds(bad)) == (False, False, False)
    nothing = {"p99": float("nan"), "errors": 100.0, "rate": float("nan")}
    assert not p99.holds(nothing)
    assert not rate.holds(nothing)
