from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.execution.power_evidence import MAX_SAMPLES, PowerLimitEvidence
from contracts.wire.units import NANO_CPUS_PER_CPU, NS_PER_S
from supervisor.domain.policies.policy import GovernorPolicy
from supervisor.domain.power.governor import Decision, Governor, RollingMean

MS = 1_000_000
POLICY = GovernorPolicy(
    interval_ms=250,
    updates_min=5,
    period_us=20_000,
    target_percent=97,
    start_percent=60,
    smoothing_percent=80,
    payback_percent=100,
    hold_percent=3,
    tolerance_percent=5,
    grace_ms=5_000,
    sensor_lost_ms=3_000,
    quota_floor_percent=5,
)
TICK_NS = POLICY.interval_ms * MS
CAP_MW = 25_000
IDLE_MW = 3_000
THREADS = 8
PRICE_MW = 4_500
FLOOR_NANO = NANO_CPUS_PER_CPU // 20
TARGET_MW = 24_250
OVER_MW = 26_250
Reading = tuple[int, int | None, int | None]


def governor(policy: GovernorPolicy = POLICY, **changes: int) -> Governor:
    settings = {
        "cap_mw": CAP_MW,
        "idle_mw": IDLE_MW,
        "quota_max_nano": THREADS * NANO_CPUS_PER_CPU,
        "high_mw_per_cpu": PRICE_MW,
        "update_ns": MS,
    }
    return Governor(policy, **(settings | changes))


def with_policy(**changes: int) -> GovernorPolicy:
    return GovernorPolicy.model_validate(POLICY.model_dump() | changes)


class Execution:
    """A plant without noise: it uses what it is given, at a fixed price."""

    def __init__(self, law: Governor, *, price_mw: int = PRICE_MW, refill: float = 1.0) -> None:
        self.law = law
        self.price_mw = price_mw
        self.refill = refill
        self.at_ns = 0
        self.energy_uj = 0.0
        self.cpu_ns = 0.0
        self.last = law.observe(0, energy_uj=0, cpu_time_ns=0)

    def run(self, ticks: int = 1, *, demand_cpus: float = THREADS, readable: bool = True) -> list[float]:
        """Return the watts of each interval."""
        powers = []
        for _ in range(ticks):
            cpus = min(demand_cpus, self.law.quota_nano * self.refill / NANO_CPUS_PER_CPU)
            powers.append(IDLE_MW + cpus * self.price_mw)
            self.at_ns += TICK_NS
            self.energy_uj += powers[-1] * TICK_NS / MS
            self.cpu_ns += cpus * TICK_NS
            self.last = self.law.observe(
                self.at_ns,
                energy_uj=round(self.energy_uj) if readable else None,
                cpu_time_ns=round(self.cpu_ns) if readable else None,
            )
        return powers


def evidence_of(law: Governor, **changes: Any) -> PowerLimitEvidence:
    facts: dict[str, Any] = {"basis": "model", "throttled_ns": None, "throttled_periods": None, "gpu_limit_mw": None}
    return law.evidence(**(facts | changes))


def feed(law: Governor, powers_mw: list[int], *, cpus: float = 4.0, start_ns: int = 0) -> list[Decision]:
    """Give it powers that do not depend on what it says, one per interval."""
    decisions = [law.observe(start_ns, energy_uj=0, cpu_time_ns=0)]
    energy_uj = 0
    for number, power_mw in enumerate(powers_mw, 1):
        energy_uj += power_mw * TICK_NS // MS
        cpu_ns = int(number * cpus * TICK_NS)
        decisions.append(law.observe(start_ns + number * TICK_NS, energy_uj=energy_uj, cpu_time_ns=cpu_ns))
    return decisions


# Gaps, standing and falling counters, early and late readings, powers from nothing to far too much.
readings = st.lists(
    st.tuples(
        st.integers(-TICK_NS, 20 * TICK_NS),
        st.none() | st.integers(-(10**6), 10**9),
        st.none() | st.integers(-NANO_CPUS_PER_CPU, 20 * NANO_CPUS_PER_CPU),
    ),
    max_size=60,
)


@given(steps=readings, cap_mw=st.integers(1, 10**6), idle_mw=st.integers(0, 10**6), high_mw=st.integers(0, 10**6))
def test_the_quota_stays_within_its_bounds(steps: list[Reading], cap_mw: int, idle_mw: int, high_mw: int) -> None:
    law = governor(cap_mw=cap_mw, idle_mw=idle_mw, high_mw_per_cpu=high_mw)
    assert FLOOR_NANO <= law.quota_nano <= THREADS * NANO_CPUS_PER_CPU
    at_ns = energy_uj = cpu_ns = 0
    for step_ns, step_uj, step_cpu_ns in steps:
        at_ns += step_ns
        energy_uj += step_uj or 0
        cpu_ns += step_cpu_ns or 0
        decision = law.observe(
            at_ns,
            energy_uj=None if step_uj is None else energy_uj,
            cpu_time_ns=None if step_cpu_ns is None else cpu_ns,
        )
        assert FLOOR_NANO <= decision.quota_nano <= THREADS * NANO_CPUS_PER_CPU
        assert decision.quota_nano == law.quota_nano


@given(powers_mw=st.lists(st.integers(0, 100_000), max_size=40), cpus=st.floats(0, 2 * THREADS))
def test_over_the_limit_the_quota_is_never_raised(powers_mw: list[int], cpus: float) -> None:
    decisions = feed(governor(), powers_mw, cpus=cpus)
    for power_mw, (before, after) in zip(powers_mw, pairwise(decisions), strict=True):
        assert power_mw <= CAP_MW or after.quota_nano <= before.quota_nano


@given(
    price_mw=st.integers(500, 50_000),
    high_mw=st.integers(1_000, 20_000),
    refill=st.floats(0.9, 1.5),
    threads=st.integers(4, 64),
)
def test_the_power_settles_below_the_limit_at_any_cost_of_a_cpu(
    price_mw: int, high_mw: int, refill: float, threads: int
) -> None:
    law = governor(high_mw_per_cpu=high_mw, quota_max_nano=threads * NANO_CPUS_PER_CPU)
    execution = Execution(law, price_mw=price_mw, refill=refill)
    powers = execution.run(40, demand_cpus=threads)
    # Where a CPU costs more than was thought possible it begins over the limit. Where, besides, the kernel hands out
    # more than all threads can use, some steps down change nothing.
    assert max(powers[4:]) <= OVER_MW
    assert max(powers[14:]) <= CAP_MW
    # Less than the quota is used of it where the kernel hands out less; what is not used is not made up for.
    wanted_mw = min(threads * price_mw, TARGET_MW - IDLE_MW)
    assert min(powers[12:]) >= IDLE_MW + wanted_mw * min(1.0, refill) * 0.95
    assert execution.last.verdict == "keep"
    assert evidence_of(law).windows_over <= 6


def test_the_first_quota_is_a_part_of_what_the_highest_cpu_power_allows() -> None:
    assert governor().quota_nano == pytest.approx((TARGET_MW - IDLE_MW) / PRICE_MW * 0.6 * NANO_CPUS_PER_CPU, abs=1)
    assert governor(with_policy(start_percent=100)).quota_nano > governor().quota_nano
    assert governor(with_policy(target_percent=50)).quota_nano < governor().quota_nano


def test_a_limit_below_the_idle_power_leaves_the_lowest_setting() -> None:
    law = governor(idle_mw=CAP_MW + 1)
    assert {decision.quota_nano for decision in feed(law, [CAP_MW + 1] * 9)} == {FLOOR_NANO}


def test_fewer_cpus_than_the_floor_still_get_the_floor() -> None:
    assert governor(quota_max_nano=1).quota_nano == FLOOR_NANO


def test_waiting_does_not_make_cpus_look_cheap() -> None:
    law = governor()
    execution = Execution(law)
    execution.run(20)
    busy_nano = law.quota_nano
    execution.run(200, demand_cpus=0.1)
    assert law.quota_nano == pytest.approx(busy_nano, rel=0.03)
    assert max(execution.run(20)) <= CAP_MW


@given(idle_error_mw=st.integers(-2_000, 2_000))
def test_a_wrong_idle_power_is_not_learned_while_nothing_runs(idle_error_mw: int) -> None:
    waiting, blocked = governor(), governor()
    before_nano = waiting.quota_nano
    feed(waiting, [IDLE_MW + idle_error_mw] * 40, cpus=0.01)
    assert waiting.quota_nano == pytest.approx(before_nano, rel=0.05)
    feed(blocked, [IDLE_MW + idle_error_mw] * 400, cpus=0)
    assert blocked.quota_nano == before_nano


def test_time_that_the_kernel_hands_out_beyond_the_quota_is_counted_against_it() -> None:
    law = governor()
    Execution(law, refill=1.4).run(20)
    assert law.quota_nano * 1.4 == pytest.approx((TARGET_MW - IDLE_MW) / PRICE_MW * NANO_CPUS_PER_CPU, rel=0.04)


def test_an_excess_is_paid_back_in_the_next_interval() -> None:
    over_mw = 29_000
    kept = feed(governor(with_policy(payback_percent=0)), [over_mw], cpus=2.5)[-1].quota_nano
    paid = feed(governor(), [over_mw], cpus=2.5)[-1].quota_nano
    price_mw = (over_mw - IDLE_MW) / 2.5
    assert kept == pytest.approx((TARGET_MW - IDLE_MW) / price_mw * NANO_CPUS_PER_CPU, rel=0.001)
    assert paid == pytest.approx((TARGET_MW - IDLE_MW - (over_mw - CAP_MW)) / price_mw * NANO_CPUS_PER_CPU, rel=0.001)


def test_a_lower_cpu_power_is_adopted_gradually() -> None:
    slow = governor(with_policy(smoothing_percent=10))
    Execution(slow, price_mw=2_000).run(1)
    quick = governor()
    Execution(quick, price_mw=2_000).run(1)
    assert governor().quota_nano < slow.quota_nano < quick.quota_nano


def test_a_small_change_of_the_quota_is_skipped() -> None:
    cpus = 2.8
    # Two percent less than what the start was reckoned with, which was 4500 / 0.6.
    cheaper_mw = IDLE_MW + round(7_500 / 1.02 * cpus)
    for hold_percent, is_kept in ((3, True), (1, False)):
        law = governor(with_policy(hold_percent=hold_percent))
        before_nano = law.quota_nano
        assert (feed(law, [cheaper_mw], cpus=cpus)[-1].quota_nano == before_nano) is is_kept
        assert len(evidence_of(law).actions) == (1 if is_kept else 2)


def test_an_interval_without_cpu_time_over_the_limit_is_forgotten_again() -> None:
    law = governor()
    execution = Execution(law)
    execution.run(20)
    settled_nano = law.quota_nano
    execution.energy_uj += 2 * CAP_MW * TICK_NS / MS
    execution.run(1, demand_cpus=0)
    assert law.quota_nano == FLOOR_NANO
    execution.run(12)
    assert law.quota_nano == pytest.approx(settled_nano, rel=0.04)


def test_a_gap_leads_to_the_lowest_setting_and_a_reading_back() -> None:
    law = governor()
    execution = Execution(law)
    execution.run(20)
    settled_nano = law.quota_nano
    execution.run(1, readable=False)
    assert execution.last == Decision(FLOOR_NANO, "keep")
    execution.run(1)
    # What was granted before the gap and during it is told apart: the price is still known.
    assert law.quota_nano == pytest.approx(settled_nano, rel=0.04)


def test_after_a_gap_over_the_limit_the_lowest_setting_stays() -> None:
    law = governor()
    execution = Execution(law)
    execution.run(20)
    execution.run(1, readable=False)
    execution.price_mw *= 3
    execution.energy_uj += CAP_MW * TICK_NS / MS
    execution.run(1)
    assert law.quota_nano == FLOOR_NANO


@pytest.mark.parametrize("reading", [(None, 1), (1, None), (None, None)])
def test_a_reading_without_one_of_its_counters_is_a_gap(reading: tuple[int | None, int | None]) -> None:
    law = governor()
    law.observe(0, energy_uj=0, cpu_time_ns=0)
    assert law.observe(TICK_NS, energy_uj=reading[0], cpu_time_ns=reading[1]).quota_nano == FLOOR_NANO


def test_a_sensor_that_stays_lost_ends_the_execution_and_not_before() -> None:
    execution = Execution(governor())
    execution.run(4)
    ticks = POLICY.sensor_lost_ms // POLICY.interval_ms
    execution.run(ticks, readable=False)
    assert execution.last.verdict == "keep"
    execution.run(1, readable=False)
    assert execution.last == Decision(FLOOR_NANO, "sensor_lost")


def test_a_sensor_that_never_worked_ends_the_execution_as_well() -> None:
    law = governor()
    assert law.observe(-5 * MS, energy_uj=None, cpu_time_ns=None).verdict == "keep"
    assert law.observe(-5 * MS + 3_000 * MS, energy_uj=None, cpu_time_ns=None).verdict == "sensor_lost"
    assert [action.quota_nano_cpus for action in evidence_of(law).actions] == [governor().quota_nano, FLOOR_NANO]


def test_a_reading_between_two_gaps_restarts_the_wait() -> None:
    execution = Execution(governor())
    ticks = POLICY.sensor_lost_ms // POLICY.interval_ms
    for _ in range(3):
        execution.run(ticks, readable=False)
        assert execution.last.verdict == "keep"
        execution.run(1)


def over_since_ns(decisions: list[Decision]) -> int | None:
    return next((number * TICK_NS for number, one in enumerate(decisions) if one.verdict == "exceeded"), None)


def test_an_execution_is_stopped_only_after_the_grace() -> None:
    decisions = feed(governor(), [2 * CAP_MW] * 40)
    # The first window is judged after a second, and it may be over for five more.
    assert over_since_ns(decisions) == 1_000 * MS + POLICY.grace_ms * MS + TICK_NS


def test_power_within_the_tolerance_is_never_a_reason_to_stop() -> None:
    assert over_since_ns(feed(governor(), [OVER_MW] * 100)) is None
    assert over_since_ns(feed(governor(), [OVER_MW + 1] * 100)) is not None


def test_one_good_second_restarts_the_grace_period() -> None:
    bad, good = [2 * CAP_MW] * 20, [0] * 4
    assert over_since_ns(feed(governor(), (bad + good) * 5)) is None


def test_a_gap_does_not_restart_the_grace_period() -> None:
    law = governor()
    energy_uj = 0
    verdicts = []
    for number in range(40):
        energy_uj += 2 * CAP_MW * TICK_NS // MS
        reading = None if number % 4 == 3 else energy_uj
        verdicts.append(law.observe(number * TICK_NS, energy_uj=reading, cpu_time_ns=number).verdict)
    assert "exceeded" in verdicts


def test_a_reading_that_comes_too_early_is_skipped() -> None:
    law = governor(update_ns=100 * MS)
    assert law.interval_ns == 500 * MS
    assert governor().interval_ns == TICK_NS
    law.observe(0, energy_uj=0, cpu_time_ns=0)
    before_nano = law.quota_nano
    assert law.observe(249 * MS, energy_uj=10**8, cpu_time_ns=MS) == Decision(before_nano, "keep")
    assert law.observe(250 * MS, energy_uj=10**8, cpu_time_ns=MS).quota_nano < before_nano


def brute_windows(accepted: list[tuple[int, int]]) -> list[Fraction]:
    """The mean over every second that ends with a reading, by the energy's straight lines."""

    def energy_at(at_ns: int) -> Fraction:
        for (left_ns, left_uj), (right_ns, right_uj) in pairwise(accepted):
            if left_ns <= at_ns <= right_ns:
                return left_uj + Fraction(right_uj - left_uj) * (at_ns - left_ns) / (right_ns - left_ns)
        raise AssertionError

    first_ns = accepted[0][0]
    ends = [(at_ns, energy_uj) for at_ns, energy_uj in accepted if at_ns - NS_PER_S >= first_ns]
    return [(energy_uj - energy_at(at_ns - NS_PER_S)) / 1000 for at_ns, energy_uj in ends]


@given(
    steps=st.lists(
        st.tuples(st.integers(TICK_NS // 2, 8 * TICK_NS), st.none() | st.integers(0, 30_000_000)),
        min_size=1,
        max_size=50,
    )
)
def test_the_evidence_agrees_with_a_count_by_hand(steps: list[tuple[int, int | None]]) -> None:
    law = governor()
    law.observe(0, energy_uj=0, cpu_time_ns=0)
    accepted = [(0, 0)]
    at_ns = energy_uj = 0
    for step_ns, step_uj in steps:
        at_ns += step_ns
        law.observe(at_ns, energy_uj=None if step_uj is None else energy_uj + step_uj, cpu_time_ns=at_ns)
        if step_uj is not None:
            energy_uj += step_uj
            accepted.append((at_ns, energy_uj))
    windows = [mean_mw // 1 for mean_mw in brute_windows(accepted)]
    evidence = evidence_of(law)
    assert evidence.windows == len(windows)
    assert evidence.windows_over == sum(mean_mw > OVER_MW for mean_mw in windows)
    assert evidence.worst_window_mw == max(windows, default=None)


def test_no_window_is_complete_in_the_first_second() -> None:
    mean = RollingMean()
    assert mean.add(0, 0) is None
    assert mean.add(NS_PER_S - 1, 999) is None
    assert mean.add(NS_PER_S, 2_000_000) == 2_000


def test_a_falling_counter_is_not_negative_power() -> None:
    mean = RollingMean()
    mean.add(0, 5_000_000)
    assert mean.add(NS_PER_S, 0) == 0


def test_the_evidence_includes_the_facts_from_the_caller() -> None:
    facts = {"basis": "measured", "throttled_ns": 7, "throttled_periods": 3, "gpu_limit_mw": 60_000}
    evidence = evidence_of(governor(), **facts)
    assert evidence.model_dump(include=set(facts)) == facts
    assert (evidence.cap_mw, evidence.tolerance_percent, evidence.grace_ms) == (CAP_MW, 5, 5_000)
    assert (evidence.windows, evidence.windows_over, evidence.worst_window_mw) == (0, 0, None)
    assert evidence.actions == ()


def test_every_setting_is_in_the_evidence_with_what_was_observed() -> None:
    law = governor()
    start_nano = law.quota_nano
    decisions = feed(law, [20_000, 20_000, 40_000], cpus=2.8, start_ns=-300 * MS)
    actions = evidence_of(law).actions
    assert (actions[0].at_ns, actions[0].quota_nano_cpus, actions[0].power_mw) == (-300 * MS, start_nano, None)
    assert [action.quota_nano_cpus for action in actions[1:]] == [
        after.quota_nano for before, after in pairwise(decisions) if after != before
    ]
    assert (actions[-1].at_ns, actions[-1].power_mw) == (-300 * MS + 3 * TICK_NS, 40_000)


@pytest.mark.parametrize(
    "changes", [MAX_SAMPLES - 1, MAX_SAMPLES, MAX_SAMPLES + 1, 2 * MAX_SAMPLES, 5 * MAX_SAMPLES + 3]
)
def test_more_settings_than_a_record_holds_are_thinned_and_the_ends_stay(changes: int) -> None:
    execution = Execution(governor())
    start_nano = execution.law.quota_nano
    for number in range(changes):
        execution.run(1, readable=number % 2 == 1)
    actions = evidence_of(execution.law).actions
    assert MAX_SAMPLES // 2 <= len(actions) <= MAX_SAMPLES
    assert (actions[0].at_ns, actions[0].quota_nano_cpus) == (0, start_nano)
    assert (actions[-1].at_ns, actions[-1].quota_nano_cpus) == (execution.at_ns, execution.law.quota_nano)
    steps_ns = [later.at_ns - earlier.at_ns for earlier, later in pairwise(actions)]
    assert set(steps_ns[:-1]) == {steps_ns[0]}
    assert 0 < steps_ns[-1] <= steps_ns[0]


def test_a_power_above_the_records_maximum_is_recorded_as_the_maximum() -> None:
    law = governor()
    feed(law, [10**12] * 8)
    evidence = evidence_of(law)
    assert evidence.worst_window_mw == 10**9
    assert evidence.actions[-1].power_mw == 10**9
