"""The metrics are computed in integers. They are the exact fractions' all the same, to the last bit."""

from typing import get_args

from hypothesis import example, given
from hypothesis import strategies as st

from contracts.execution.attribution import attribute_energy, interval_energy_uj
from contracts.execution.metrics import Measurements, derive_metrics
from contracts.execution.power_evidence import (
    DomainName,
    Phase,
    PowerBaseline,
    PowerEvidence,
    PowerModel,
    PowerSample,
    PowerSource,
    SampleMark,
)
from tests.meters import make_power
from tests.plain_arithmetic import cpu_uj, derived_values, energies_uj, share

METERS: dict[PowerSource, tuple[DomainName, ...]] = {
    "model": (),
    "rapl": ("package-0", "dram-0"),
    "nvml": ("package-0", "gpu-0"),
}
DEVICE: tuple[DomainName, ...] = ("gpu-0", "gpu-1")
STEPS = st.integers(0, 3) | st.integers(0, 10**6) | st.integers(10**6, 10**11)
PERCENTS = st.integers(0, 100)


@st.composite
def samples(draw: st.DrawFn, domains: tuple[DomainName, ...]) -> tuple[PowerSample, ...]:
    """Counters that grow as they like, or now and then do not, with ticks and gaps, and an edge that may be missing."""
    marks: list[SampleMark] = []
    for mark in ("start", "job", "prefill", "end"):
        if draw(st.integers(0, 9)):
            marks.append(mark)
        marks.extend("tick" for _ in range(draw(st.integers(0, 2))))
    at_ns, cpu_ns, busy_ns = -draw(STEPS), 0, 0
    energy_uj = dict.fromkeys(domains, 0)
    found = []
    for mark in marks:
        at_ns += draw(STEPS)
        cpu_ns += draw(STEPS)
        busy_ns += draw(STEPS)
        energy_uj = {name: value + draw(STEPS) for name, value in energy_uj.items()}
        gap = draw(st.integers(0, 30))
        found.append(
            PowerSample(
                at_ns=at_ns,
                mark=mark,
                cpu_time_ns=None if gap == 1 else cpu_ns,
                busy_ns=None if gap == 2 else busy_ns,
                energy_uj={name: None if gap == 3 else value for name, value in energy_uj.items()},
            )
        )
    return tuple(found)


@st.composite
def evidence(draw: st.DrawFn) -> PowerEvidence:
    """Evidence of any meter."""
    source = draw(st.sampled_from(get_args(PowerSource)))
    domains = draw(st.sampled_from((METERS[source], DEVICE))) if source == "nvml" else METERS[source]
    host_cpus = draw(st.integers(1, 128))
    idle_mw = draw(st.integers(0, 20_000))
    changes = {
        "source": source,
        "domains": domains,
        "exclusive": draw(st.booleans()),
        "update_ns": draw(STEPS),
        "host_cpus": host_cpus,
        "reserved_cpus": draw(st.integers(1, host_cpus)),
        "samples": draw(samples(domains)),
        "model": PowerModel(
            family="any",
            idle_mw=idle_mw,
            busy_mw=draw(st.integers(1, 20_000)),
            low_percent=draw(PERCENTS),
            high_percent=100 + draw(PERCENTS),
        ),
        "baseline": PowerBaseline(
            id="sha256:" + "a" * 64,
            source="declared",
            idle_mw=draw(STEPS.filter(lambda power_mw: power_mw <= 10**9)),
            spread_mw=draw(st.integers(0, 10**6)),
            measured_at=None,
        ),
    }
    return make_power(1, 1).model_copy(update=changes)


@st.composite
def measurements(draw: st.DrawFn) -> Measurements:
    """What a runner may have said; its times need not even be in order."""
    times, now = [], draw(STEPS)
    for _ in range(draw(st.integers(0, 30))):
        times.append(now)
        now = max(0, now + draw(STEPS) - draw(st.integers(0, 2)))
    return Measurements(
        tokens_prompt=draw(st.none() | st.integers(0, 10**6)),
        prompt_done_ns=draw(st.none() | STEPS),
        token_times_ns=tuple(times),
        finish_reason="eos",
    )


@given(evidence())
def test_attributed_energy_is_the_exact_sum_of_its_intervals(power: PowerEvidence) -> None:
    for phase in get_args(Phase):
        energy, expected = attribute_energy(power, phase), energies_uj(power, phase)
        assert (None if energy is None else (energy.cpu_uj, energy.gpu_uj)) == expected


@given(evidence())
def test_the_share_is_the_exact_part_of_the_hosts_busy_time(power: PowerEvidence) -> None:
    by_mark = {sample.mark: sample for sample in power.samples}
    energy = attribute_energy(power, "job")
    if energy is not None:
        is_shared = bool(power.cpu_domains) and not power.exclusive
        assert energy.share == (share(by_mark["job"], by_mark["end"]) if is_shared else 1)


@given(evidence())
def test_the_energy_of_one_interval_is_exact(power: PowerEvidence) -> None:
    by_mark = {sample.mark: sample for sample in power.samples}
    if energies_uj(power, "job") is not None and not power.gpu_domains:
        first, last = by_mark["job"], by_mark["end"]
        assert interval_energy_uj(power, first, last) == cpu_uj(power, first, last)


@given(measurements(), evidence())
@example(Measurements(tokens_prompt=1, prompt_done_ns=9, token_times_ns=(5,), finish_reason="eos"), make_power(1, 1))
@example(
    # A half is rounded to the even digit: 0.0005 J down, 0.0015 J and 0.0025 J both to 0.002.
    Measurements(tokens_prompt=1, prompt_done_ns=2, token_times_ns=(2, 2_000_000_000), finish_reason="eos"),
    make_power(1, 1).model_copy(
        update={
            "update_ns": 0,
            "model": PowerModel(family="any", idle_mw=0, busy_mw=1, low_percent=50, high_percent=150),
            "samples": (
                PowerSample(at_ns=-(10**9), mark="start", cpu_time_ns=0, busy_ns=None, energy_uj={}),
                PowerSample(at_ns=0, mark="job", cpu_time_ns=500_000_000, busy_ns=None, energy_uj={}),
                PowerSample(at_ns=10**9, mark="prefill", cpu_time_ns=2_000_000_000, busy_ns=None, energy_uj={}),
                PowerSample(at_ns=2 * 10**9, mark="end", cpu_time_ns=4_500_000_000, busy_ns=None, energy_uj={}),
            ),
        }
    ),
)
def test_every_metric_is_the_exact_fraction_rounded_once(raw: Measurements, power: PowerEvidence) -> None:
    metrics = derive_metrics(raw, power)
    for name, value in derived_values(raw, power).items():
        found = getattr(metrics, name)
        assert (found, type(found)) == (value, type(value)), name
        assert (found is None) == (name in metrics.unmeasured)
