from datetime import UTC, datetime

import pytest

from supervisor.domain.access.caller import Caller
from supervisor.domain.access.limits import MINUTE_NS, RequestRates, UnderWay, require_within
from supervisor.domain.access.usage import NOTHING, Usage
from supervisor.domain.errors import LimitRefusal
from supervisor.domain.policies.roles import CallerLimits

NOW = datetime(2026, 1, 31, 23, 59, 0, 500_000, tzinfo=UTC)
IDLE = UnderWay(0, 0)


def limited(name: str = "one", **limits: int) -> Caller:
    return Caller("experimenter", name, frozenset(), CallerLimits(**limits))


@pytest.mark.parametrize("most", [1, 7, 600, 999_983])
def test_a_minutes_requests_may_come_at_once_and_no_more(most: int) -> None:
    rates, caller = RequestRates(), limited(requests_per_minute=most)
    for _ in range(min(most, 700)):
        rates.take(caller, 0)
    if most <= 700:
        with pytest.raises(LimitRefusal, match=f"requests_per_minute = {most}"):
            rates.take(caller, 0)


def test_the_bucket_fills_evenly_and_the_refusal_says_when() -> None:
    rates, caller = RequestRates(), limited(requests_per_minute=6)
    for _ in range(6):
        rates.take(caller, 0)
    with pytest.raises(LimitRefusal) as caught:
        rates.take(caller, 2 * 10**9)
    assert (caught.value.limit.name, caught.value.limit.most, caught.value.retry_after_s) == (
        "requests_per_minute",
        6,
        8,
    )
    rates.take(caller, 10 * 10**9)
    with pytest.raises(LimitRefusal):
        rates.take(caller, 10 * 10**9)
    for _ in range(6):
        rates.take(caller, 10 * 10**9 + MINUTE_NS)


def test_each_caller_has_a_bucket_of_its_own_and_some_have_none() -> None:
    rates = RequestRates()
    for _ in range(5):
        rates.take(limited(), 0)
    for name in ("one", "two"):
        rates.take(limited(name, requests_per_minute=1), 0)
        with pytest.raises(LimitRefusal):
            rates.take(limited(name, requests_per_minute=1), 0)


def test_without_limits_everything_is_within() -> None:
    require_within(limited(), Usage(10**12, 10**15), UnderWay(10**6, 10**9), max_tokens=8192, now=NOW)


def test_executions_under_way_count() -> None:
    caller = limited(executions_at_once=2)
    require_within(caller, NOTHING, UnderWay(1, 0), max_tokens=1, now=NOW)
    with pytest.raises(LimitRefusal) as caught:
        require_within(caller, NOTHING, UnderWay(2, 0), max_tokens=1, now=NOW)
    assert (caught.value.code, caught.value.limit.name, caught.value.limit.used) == (
        "limit_reached",
        "executions_at_once",
        2,
    )


def test_tokens_of_the_day_count_with_what_may_still_come() -> None:
    caller = limited(tokens_per_day=100)
    require_within(caller, Usage(50, 0), UnderWay(1, 30), max_tokens=20, now=NOW)
    with pytest.raises(LimitRefusal) as caught:
        require_within(caller, Usage(50, 0), UnderWay(1, 30), max_tokens=21, now=NOW)
    assert (caught.value.limit.name, caught.value.limit.used) == ("tokens_per_day", 80)
    # The next day begins in 59.5 s.
    assert caught.value.retry_after_s == 60


def test_energy_of_the_day_counts_when_it_is_used_up() -> None:
    caller = limited(joules_per_day=3)
    require_within(caller, Usage(0, 2_999_999), IDLE, max_tokens=8192, now=NOW)
    with pytest.raises(LimitRefusal, match="night-run' has the limit joules_per_day = 3; 3 are counted") as caught:
        require_within(limited("night-run", joules_per_day=3), Usage(0, 3_000_000), IDLE, max_tokens=1, now=NOW)
    assert caught.value.limit.name == "joules_per_day"
