import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.power.laws import IntegralLaw
from benchmarks.power.plant import STEP_NS, Phase, Plant, PlantSettings, Sensor, Trace, simulate
from benchmarks.power.scenarios import PRIORS, SCENARIOS, Scenario
from benchmarks.power.simulation import main, measure, summarize
from contracts.wire.units import NANO_CPUS_PER_CPU, NS_PER_S
from supervisor.adapters.policies import load_policies
from supervisor.domain.power.governor import Decision
from tests.places import REPOSITORY

POLICY = load_policies(REPOSITORY / "policies").power.governor
BUSY = Phase("busy", 10, 1, 1, 1)
SEEDS = 5


class Constant:
    interval_ns = NS_PER_S // 4

    def __init__(self, quota_nano: int) -> None:
        self.quota_nano = quota_nano
        self.seen: list[tuple[int, int | None, int | None]] = []

    def observe(self, at_ns: int, *, energy_uj: int | None, cpu_time_ns: int | None) -> Decision:
        self.seen.append((at_ns, energy_uj, cpu_time_ns))
        return Decision(self.quota_nano, "keep")


@pytest.mark.parametrize("prior", PRIORS)
def test_the_policys_governor_beats_the_page_on_a_steady_plant(prior: str) -> None:
    figures = summarize(POLICY, "steady", "governor", prior, SEEDS)
    # The page: 3 %, 2.3 s, 23.7 W of 25 W.
    assert figures.worst_over_percent < 3
    assert figures.settling_median_s is not None
    assert figures.settling_median_s < 2.3
    assert figures.mean_mw > 23_700
    assert figures.exceeded == 0


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("scenario", ["job", "job, 2 threads", "job, 32 threads"])
def test_the_policys_governor_stays_near_the_limit_through_every_phase(scenario: str, prior: str) -> None:
    governed = summarize(POLICY, scenario, "governor", prior, SEEDS)
    page = summarize(POLICY, scenario, "page", prior, SEEDS)
    assert governed.worst_over_percent < 8 < page.worst_over_percent
    assert governed.exceeded == 0
    assert governed.mean_mw > 0.95 * governed.cap_mw


@pytest.mark.parametrize("prior", PRIORS)
def test_by_the_model_no_second_is_over_the_limit(prior: str) -> None:
    assert summarize(POLICY, "job, meter is the model", "governor", prior, SEEDS).worst_over_percent <= 0


def test_a_run_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    settings = PlantSettings()
    runs = [simulate(Constant(4 * NANO_CPUS_PER_CPU), settings, (BUSY, BUSY), seed).power_mw for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) != len(runs[2])


def test_every_write_fills_the_pool_anew() -> None:
    plant = Plant(PlantSettings(period_ms=100), 4 * NANO_CPUS_PER_CPU)
    for _ in range(5):
        plant.step(BUSY)
    # 400 ms of CPU time, at eight threads: spent in the first half of the period.
    assert plant.step(BUSY)[1] == 0
    plant.write(4 * NANO_CPUS_PER_CPU)
    assert plant.step(BUSY)[1] == 8


def test_a_quota_is_held_on_average() -> None:
    trace = simulate(Constant(3 * NANO_CPUS_PER_CPU), PlantSettings(), (BUSY,), 0)
    assert sum(trace.tokens) == pytest.approx(3 * 10)


def test_the_counter_is_late_by_its_update_time() -> None:
    settings = PlantSettings(noise=0, update_ms=100)
    law = Constant(NANO_CPUS_PER_CPU)
    simulate(law, settings, (BUSY,), 0)
    in_steps = {at_ns % (100 * 1_000_000) for at_ns, _, _ in law.seen}
    assert len(in_steps) > 1
    assert len({energy_uj for _, energy_uj, _ in law.seen}) == len(law.seen)
    exact = Constant(NANO_CPUS_PER_CPU)
    simulate(exact, replace(settings, update_ms=1), (BUSY,), 0)
    assert all((late or 0) <= (now or 0) for (_, late, _), (_, now, _) in zip(law.seen, exact.seen, strict=True))


def test_the_model_is_read_without_noise() -> None:
    law = Constant(2 * NANO_CPUS_PER_CPU)
    simulate(law, PlantSettings(is_model=True), (BUSY,), 0)
    for at_ns, energy_uj, cpu_ns in law.seen:
        assert energy_uj == pytest.approx((3_000 * at_ns + 4_500 * (cpu_ns or 0)) / 1_000_000, abs=1)


def trace_of(power_mw: list[float]) -> Trace:
    return Trace(power_mw=power_mw, quota_cpus=[], tokens=[1.0], decisions=[])


def test_the_figures_of_a_known_course_are_known() -> None:
    # Two seconds at half, one second 20 % over, then the target.
    figures = measure(trace_of([12_500.0] * 200 + [30_000.0] * 100 + [24_250.0] * 6_000), 25_000, 24_250)
    assert figures.worst_over_percent == pytest.approx(20)
    # On its way back the mean is near the target 0.21 of a second before all of the peak is behind.
    assert figures.settling_s == pytest.approx(3.79, abs=0.03)
    assert figures.mean_mw == pytest.approx((200 * 12_500 + 100 * 30_000 + 5_700 * 24_250) / 6_000)
    assert not figures.exceeded


def test_a_course_that_never_stays_is_never_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure(trace_of([0.0] * 1_000), 25_000, 24_250).settling_s is None
    idle = Scenario(PlantSettings(), (Phase("waiting", 5, 0.1, 1, 1),), 25_000)
    monkeypatch.setitem(SCENARIOS, "waiting", idle)
    summary = summarize(POLICY, "waiting", "governor", "right", 3)
    assert (summary.settling_median_s, summary.settling_p95_s, summary.unsettled) == (None, None, 3)


def test_the_pages_law_ignores_a_gap() -> None:
    law = IntegralLaw(cap_mw=25_000, idle_mw=3_000, quota_max_nano=8 * NANO_CPUS_PER_CPU, high_mw_per_cpu=4_500)
    before_nano = law.quota_nano
    assert law.observe(0, energy_uj=0, cpu_time_ns=0).quota_nano == before_nano
    assert law.observe(NS_PER_S, energy_uj=None, cpu_time_ns=None).quota_nano == before_nano


def test_the_benchmark_writes_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "1", "--output", str(tmp_path / "out"), "--no-plot"]) == 0
    written = json.loads((tmp_path / "out" / "power.json").read_text())
    assert len(written["summaries"]) == len(SCENARIOS) * len(PRIORS) * 2
    assert written["policy"] == POLICY.model_dump()
    assert written["seeds"] == 1
    assert capsys.readouterr().out.count(" of ") >= len(written["summaries"])


def test_the_step_divides_what_the_plant_counts_in() -> None:
    assert NS_PER_S % STEP_NS == 0
    assert all(scenario.settings.period_ms * 1_000_000 % STEP_NS == 0 for scenario in SCENARIOS.values())


def test_the_sensor_keeps_its_last_value_between_two_updates() -> None:
    plant = Plant(PlantSettings(noise=0, update_ms=100), 8 * NANO_CPUS_PER_CPU)
    chance = random.Random(0)  # noqa: S311 - nothing depends on it: there is no noise
    sensor = Sensor(PlantSettings(noise=0, update_ms=100), chance)
    for _ in range(15):
        plant.step(BUSY)
        sensor.latch(plant)
    assert sensor.read() == pytest.approx(plant.energy_uj * 10 / 15, rel=0.01)
    assert sensor.read() == sensor.read()
