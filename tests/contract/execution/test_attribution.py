"""Attribution of energy: by hand, and what must hold whatever the counters say."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.execution.attribution import attribute_energy, describe_gap, interval_energy_uj, uncertainty_ppm
from contracts.execution.power_evidence import DomainName, PowerBaseline, PowerEvidence, PowerSample, SampleMark
from tests.meters import FakeMeter, make_metering, make_power

SECOND = 1_000_000_000
IDLE_MW = 10_000
BASELINE = PowerBaseline(
    id="sha256:" + "a" * 64,
    source="measured",
    idle_mw=IDLE_MW,
    spread_mw=500,
    measured_at="2026-01-31T12:00:00.000Z",
)
MARKS: tuple[SampleMark, ...] = ("start", "job", "prefill", "end")


def sample(
    at_s: float,
    mark: SampleMark,
    cpu_s: float | None,
    busy_s: float | None,
    **joules: float | None,
) -> PowerSample:
    def scaled(value: float | None, unit: int) -> int | None:
        return None if value is None else int(value * unit)

    energy: dict[DomainName, int | None] = {
        name.replace("_", "-"): scaled(value, 1_000_000) for name, value in joules.items()
    }
    return PowerSample(
        at_ns=int(at_s * SECOND),
        mark=mark,
        cpu_time_ns=scaled(cpu_s, SECOND),
        busy_ns=scaled(busy_s, SECOND),
        energy_uj=energy,
    )


def metered(*samples: PowerSample, domains: tuple[DomainName, ...] = ("package-0",), **changes: Any) -> PowerEvidence:
    meter = FakeMeter("rapl", domains)
    template = make_metering(meter, host_cpus=4).template(reserved_cpus=2)
    return template.model_copy(update={"baseline": BASELINE, "samples": samples, **changes})


RUN = (
    sample(-1, "start", 0, 0, package_0=0),
    sample(0, "job", 0.5, 1, package_0=20),
    sample(1, "prefill", 2.5, 3, package_0=50),
    sample(3, "end", 6.5, 11, package_0=110),
)


def test_a_metered_run_by_hand() -> None:
    power = metered(*RUN)
    load, prefill, decode = (attribute_energy(power, phase) for phase in ("load", "prefill", "decode"))
    assert load is not None
    assert prefill is not None
    assert decode is not None
    # 20 J in 1 s, of which 10 J idle: half of the rest by CPU time, and two of four CPUs' share of the idle.
    assert load.total_uj == (0.5 * 10 + 0.5 * 10) * 1_000_000
    assert prefill.total_uj == (1 * 20 + 0.5 * 10) * 1_000_000
    assert decode.total_uj == (0.5 * 40 + 0.5 * 20) * 1_000_000
    whole = attribute_energy(power, "job")
    assert whole is not None
    assert whole.duration_ns == 3 * SECOND
    assert whole.host_uj == 90_000_000
    assert whole.share == Fraction(6, 10)


def test_the_phases_add_up() -> None:
    power = metered(*RUN)
    prefill, decode, job = (attribute_energy(power, phase) for phase in ("prefill", "decode", "job"))
    assert prefill is not None
    assert decode is not None
    assert job is not None
    assert prefill.total_uj + decode.total_uj == job.total_uj


def test_an_exclusive_host_is_the_executions_whole() -> None:
    whole = attribute_energy(metered(*RUN, exclusive=True), "job")
    assert whole is not None
    assert whole.total_uj == 90_000_000
    assert whole.share == 1


def test_a_device_is_the_executions_whole_and_the_cpus_are_the_models() -> None:
    run = (
        sample(-1, "start", 0, None, gpu_0=0),
        sample(0, "job", 0, None, gpu_0=50),
        sample(1, "prefill", 1, None, gpu_0=250),
        sample(2, "end", 2, None, gpu_0=450),
    )
    power = metered(*run, domains=("gpu-0",))
    energy = attribute_energy(power, "job")
    assert energy is not None
    assert energy.gpu_uj == 400_000_000
    # 2 s at 1.87 - 0.45 W and two CPUs for 2 s at 0.45 W.
    assert energy.cpu_uj == (2 * 1420 + 2 * 2 * 450) * 1000
    assert energy.host_uj is None


def test_a_gap_inside_is_bridged() -> None:
    run = (*RUN[:3], sample(2, "tick", 4, 7, package_0=None), RUN[3])
    assert attribute_energy(metered(*run), "job") == attribute_energy(metered(*RUN), "job")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ((RUN[0], RUN[1], RUN[2]), "were not read at its edge (end)"),
        ((*RUN[:3], sample(3, "end", 6.5, 11, package_0=None)), "could not be read at its edge (end)"),
        ((*RUN[:3], sample(3, "end", None, 11, package_0=110)), "could not be read at its edge (end)"),
        ((*RUN[:3], sample(3, "end", 6.5, None, package_0=110)), "could not be read at its edge (end)"),
        ((*RUN[:3], sample(3, "end", 6.5, 11)), "could not be read at its edge (end)"),
    ],
)
def test_a_gap_at_an_edge_is_a_reason_never_a_zero(changed: tuple[PowerSample, ...], why: str) -> None:
    power = metered(*changed)
    assert attribute_energy(power, "job") is None
    assert why in (describe_gap(power, "job") or "")


def test_between_two_samples_a_gap_has_no_energy() -> None:
    power = metered()
    assert interval_energy_uj(power, RUN[0], RUN[1]) == 10_000_000
    assert interval_energy_uj(power, RUN[0], sample(0, "job", 0.5, 1, package_0=None)) is None


def test_what_belongs_to_others_makes_it_uncertain() -> None:
    alone, shared = metered(*RUN, exclusive=True), metered(*RUN)
    one, other = attribute_energy(alone, "job"), attribute_energy(shared, "job")
    assert one is not None
    assert other is not None
    assert 50_000 <= uncertainty_ppm(alone, one) < uncertainty_ppm(shared, other)
    # Half of the 40 % that others used, and 5 % of the sensor, in quadrature.
    assert 205_000 < uncertainty_ppm(shared, other) < 215_000


def test_a_host_counter_that_stands_still_is_no_division_by_zero() -> None:
    run = (RUN[0], RUN[1], RUN[2], sample(3, "end", 6.5, 3, package_0=110))
    energy = attribute_energy(metered(*run), "decode")
    assert energy is not None
    assert energy.share == 1


COUNTS = st.integers(0, 10**7)


@st.composite
def runs(draw: st.DrawFn) -> PowerEvidence:
    """Evidence whose counters grow as they like, with ticks and gaps in between."""
    marks: list[SampleMark] = []
    for mark in MARKS:
        marks.append(mark)
        marks.extend("tick" for _ in range(draw(st.integers(0, 2))))
    values = {"at": 0, "cpu": 0, "busy": 0, "package": 0, "dram": 0}
    samples = []
    for mark in marks[: marks.index("end") + 1]:
        values = {name: value + draw(COUNTS) for name, value in values.items()}
        gap = mark == "tick" and draw(st.booleans())
        samples.append(
            PowerSample(
                at_ns=values["at"],
                mark=mark,
                cpu_time_ns=values["cpu"],
                busy_ns=values["busy"],
                energy_uj={"package-0": None if gap else values["package"], "dram-0": values["dram"]},
            )
        )
    return metered(*samples, domains=("package-0", "dram-0"), exclusive=draw(st.booleans()))


@given(runs())
def test_energy_is_never_negative_and_never_more_than_the_host_used(power: PowerEvidence) -> None:
    for phase in ("load", "prefill", "decode", "job"):
        energy = attribute_energy(power, phase)
        assert energy is not None
        assert energy.host_uj is not None
        assert 0 <= energy.cpu_uj <= energy.host_uj
        assert 0 <= energy.share <= 1


@given(runs())
def test_energy_is_additive_over_intervals(power: PowerEvidence) -> None:
    parts = [attribute_energy(power, phase) for phase in ("load", "prefill", "decode")]
    readable = [each for each in power.samples if None not in each.energy_uj.values()]
    steps = [interval_energy_uj(power, *pair) for pair in pairwise(readable)]
    assert sum(each.total_uj for each in parts if each is not None) == sum(step for step in steps if step is not None)


@given(runs(), st.integers(1, 10**6), st.integers(0, 10**6))
def test_executions_side_by_side_share_what_the_host_used(power: PowerEvidence, one: int, other: int) -> None:
    # Both together are all that is busy, and together they have two of the four CPUs.
    def with_cpu(part: Fraction) -> PowerEvidence:
        samples = tuple(
            each.model_copy(update={"cpu_time_ns": int((each.busy_ns or 0) * part)}) for each in power.samples
        )
        return power.model_copy(update={"samples": samples, "exclusive": False, "reserved_cpus": 1})

    share = Fraction(one, one + other)
    first, second = (attribute_energy(with_cpu(part), "job") for part in (share, 1 - share))
    assert first is not None
    assert second is not None
    assert first.host_uj is not None
    # A nanosecond here and there is lost where CPU times are rounded.
    assert first.cpu_uj + second.cpu_uj <= first.host_uj * (1 + Fraction(1, 10**3)) + 1000


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 64))
def test_by_the_model_energy_is_what_cpu_time_and_reservation_cost(cpu_ns: int, window_ns: int, cpus: int) -> None:
    power = make_power(cpu_ns, window_ns, prefill_ns=window_ns // 3, reserved_cpus=cpus)
    energy = attribute_energy(power, "job")
    assert energy is not None
    model = power.model
    expected = cpu_ns * (model.busy_mw - model.idle_mw) + cpus * model.idle_mw * window_ns
    assert energy.total_uj == Fraction(expected, 1_000_000)
