from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.execution.calibration import Calibration, CalibrationStep, HostFingerprint
from contracts.execution.power_evidence import DomainName, PowerModel, PowerSource
from contracts.wire.units import NS_PER_S
from supervisor.domain.errors import EngineError
from supervisor.domain.power.calibration import (
    Interval,
    busy_counts,
    declare_calibration,
    derive_baseline,
    interval_between,
    judge_calibration,
    judge_quiet,
    measure_calibration,
)
from supervisor.domain.power.meter import MeterReading
from supervisor.power.calibrator import Calibrator
from tests.silent_progress import SilentProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOMAINS: tuple[DomainName, ...] = ("package-0", "dram-0")
HOST = HostFingerprint(
    processor="Test processor", logical_cpus=4, sockets=1, memory_gib=16, machine="sha256:" + "c" * 64
)
ROW = PowerModel(family="row", idle_mw=500, busy_mw=3000, low_percent=50, high_percent=200)


def measured(now: datetime = NOW) -> Calibration:
    watts = (5, 6, 5, 7, 5, 9, 5, 6)
    return measure_calibration(
        [Interval(NS_PER_S, watt * 1_000_000, 0) for watt in watts],
        [CalibrationStep(busy_cpus=1, power_mw=9500), CalibrationStep(busy_cpus=4, power_mw=17_500)],
        domains=DOMAINS,
        host=HOST,
        engine_version="0.1.0",
        now=now,
    )


def declared(now: datetime = NOW) -> Calibration:
    return declare_calibration(ROW, host=HOST, engine_version="0.1.0", now=now)


def test_idle_is_the_median_and_its_spread_the_quartiles() -> None:
    found = measured()
    assert (found.idle_mw, found.spread_mw, found.samples, found.duration_ms) == (5500, 1250, 8, 8000)


def test_a_busy_cpu_is_planned_with_the_highest_that_one_added() -> None:
    assert measured().busy_cpu_mw == 4000


def test_a_busy_machine_that_draws_less_than_the_idle_one_adds_nothing() -> None:
    step = CalibrationStep(busy_cpus=1, power_mw=1)
    found = measure_calibration(
        [Interval(NS_PER_S, 5_000_000, 0)] * 2, [step], domains=DOMAINS, host=HOST, engine_version="0.1.0", now=NOW
    )
    assert found.busy_cpu_mw == 0


def test_without_a_sensor_the_tables_row_is_taken_and_said_to_be() -> None:
    found = declared()
    assert (found.source, found.family, found.domains, found.samples) == ("model", "row", (), 0)
    assert (found.idle_mw, found.busy_cpu_mw) == (4 * 500, 2500)


@pytest.mark.parametrize(
    "change",
    [
        {"domains": ()},
        {"samples": 0},
        {"family": "row"},
        {"source": "model"},
        {"source": "model", "family": "row"},
        {"source": "model", "family": "row", "domains": ()},
    ],
)
def test_a_calibration_that_was_neither_measured_nor_declared_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="a measured calibration needs domains and samples"):
        Calibration.model_validate(measured().model_dump() | change)


def test_a_calibration_survives_its_file() -> None:
    found = measured()
    assert Calibration.parse(found.canonical()) == found


def test_the_baseline_is_known_by_the_calibrations_digest() -> None:
    found = measured()
    baseline = derive_baseline(found, ROW, 4)
    assert (baseline.id, baseline.source) == (found.canonical_digest(), "measured")
    assert (baseline.idle_mw, baseline.spread_mw) == (5500, 1250)
    assert baseline.measured_at == "2026-05-01T12:00:00.000Z"


@pytest.mark.parametrize("calibration", [None, declared()])
def test_without_a_measurement_the_baseline_is_the_row(calibration: Calibration | None) -> None:
    baseline = derive_baseline(calibration, ROW, 8)
    assert (baseline.id, baseline.source, baseline.measured_at) == (ROW.canonical_digest(), "declared", None)
    assert (baseline.idle_mw, baseline.spread_mw) == (4000, 0)


def test_a_declared_calibration_has_no_baseline_of_its_own() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        declared().baseline()


def test_a_calibration_counts_on_its_machine_until_it_is_too_old() -> None:
    for age in (timedelta(0), timedelta(days=90), timedelta(hours=-23)):
        assert judge_calibration(measured(), HOST, NOW + age, 90, domains=DOMAINS) is None
    stale = judge_calibration(measured(), HOST, NOW + timedelta(days=90, seconds=1), 90, domains=DOMAINS)
    assert stale == "it is 90 days old, but the policy allows at most 90 days"
    future = judge_calibration(measured(), HOST, NOW - timedelta(days=2), 90, domains=DOMAINS)
    assert "in the future" in str(future)


@pytest.mark.parametrize(
    "change",
    [
        {"processor": "Other"},
        {"logical_cpus": 8},
        {"sockets": 2},
        {"memory_gib": 32},
        {"machine": "sha256:" + "d" * 64},
        {"machine": None},
    ],
)
def test_a_calibration_of_another_machine_is_foreign(change: dict[str, object]) -> None:
    here = HOST.model_copy(update=change)
    reason = judge_calibration(measured(), here, NOW, 90, domains=DOMAINS)
    assert reason == f"it was made on another machine: {next(iter(change))} differ"


@pytest.mark.parametrize(
    ("calibration", "domains", "reason"),
    [
        (measured(), ("package-0",), "it measured package-0, dram-0, but now package-0 can be measured"),
        (measured(), (), "it measured package-0, dram-0, but now nothing can be measured"),
        (declared(), DOMAINS, "it measured nothing, but now package-0, dram-0 can be measured"),
    ],
)
def test_a_calibration_of_other_domains_does_not_count(
    calibration: Calibration, domains: tuple[DomainName, ...], reason: str
) -> None:
    assert judge_calibration(calibration, HOST, NOW, 90, domains=domains) == reason


@pytest.mark.parametrize(("cpus", "counts"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (16, (1, 2, 4, 8, 16))])
def test_steps_double_up_to_all_cpus(cpus: int, counts: tuple[int, ...]) -> None:
    assert busy_counts(cpus) == counts


def busy(cpus: float) -> list[Interval]:
    return [Interval(NS_PER_S, 1, int(cpus * NS_PER_S))] * 3


def test_a_host_is_quiet_while_next_to_nothing_runs() -> None:
    assert judge_quiet(busy(0.1), 4) is None
    assert judge_quiet(busy(1.2), 64) is None
    assert judge_quiet(busy(4.1), 4, own_cpus=4) is None
    assert "keep 0.50 of its 4 CPUs busy" in str(judge_quiet(busy(0.5), 4))
    assert "keep 0.60 of its 4 CPUs busy" in str(judge_quiet(busy(1.6), 4, own_cpus=1))


def test_cpus_that_were_not_given_to_this_machine_do_not_count_as_busy() -> None:
    assert "only 2.00 were" in str(judge_quiet(busy(2), 4, own_cpus=4))


def reading(at_ns: int, energy_uj: int | None, busy_ns: int | None = 0) -> MeterReading:
    return MeterReading(at_ns, {"package-0": energy_uj, "dram-0": energy_uj}, busy_ns)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (reading(0, 1), reading(0, 2)),
        (reading(0, None), reading(1, 2)),
        (reading(0, 1), reading(1, None)),
        (reading(0, 1, None), reading(1, 2)),
        (reading(0, 1), reading(1, 2, None)),
    ],
)
def test_an_interval_with_a_gap_is_none(before: MeterReading, after: MeterReading) -> None:
    assert interval_between(before, after) is None


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 10**12))
def test_domains_are_added(first_uj: int, step_uj: int, duration_ns: int) -> None:
    interval = interval_between(reading(5, first_uj), reading(5 + duration_ns, first_uj + step_uj, 9))
    assert interval == Interval(duration_ns, 2 * step_uj, 9)
    assert interval.power_mw == 2 * step_uj * 1_000_000 // duration_ns


class Plant:
    """A machine that draws 4 W and 3 W more for each busy CPU; a meter, a load and the time in one."""

    source: PowerSource = "rapl"
    domains: tuple[DomainName, ...] = ("package-0",)
    update_ns = 1_000_000

    def __init__(self, noise_cpus: float = 0.0, gaps: bool = False) -> None:
        self.load_cpus = 0
        self.most_cpus = 0
        self.noise_cpus = noise_cpus
        self.gaps = gaps
        self.at_ns = self.energy_uj = self.busy_ns = 0

    def read(self) -> MeterReading:
        if self.gaps:
            return MeterReading(self.at_ns, {"package-0": None}, self.busy_ns, ("package-0: gone",))
        return MeterReading(self.at_ns, {"package-0": self.energy_uj}, self.busy_ns)

    def follow(self, container_id: str) -> None:
        pass

    def close(self) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        duration_ns = int(seconds * NS_PER_S)
        cpus = self.load_cpus + self.noise_cpus
        self.at_ns += duration_ns
        self.energy_uj += int((4000 + 3000 * cpus) * duration_ns // 1_000_000)
        self.busy_ns += int(cpus * duration_ns)

    @contextmanager
    def load(self, count: int, limit_s: float) -> "Iterator[None]":
        assert limit_s > 0
        self.load_cpus = count
        self.most_cpus = max(self.most_cpus, count)
        yield
        self.load_cpus = 0


def calibrator(plant: Plant) -> Calibrator:
    return Calibrator(plant, HOST, "0.1.0", SilentProgress(), load=plant.load, sleep=plant.sleep, usable_cpus=4)


def test_a_machine_is_measured_idle_and_with_one_to_all_cpus_busy() -> None:
    plant = Plant()
    found = calibrator(plant).calibrate(30)
    assert (found.idle_mw, found.spread_mw, found.busy_cpu_mw, found.samples) == (4000, 0, 3000, 30)
    assert [(step.busy_cpus, step.power_mw) for step in found.steps] == [(1, 7000), (2, 10_000), (4, 16_000)]
    assert plant.most_cpus == 4
    assert found.host == HOST


def test_a_host_that_is_not_quiet_is_not_calibrated() -> None:
    plant = Plant(noise_cpus=0.5)
    with pytest.raises(EngineError, match=r"keep 0\.50 of its 4 CPUs busy") as caught:
        calibrator(plant).calibrate(30)
    assert caught.value.code == "host_not_quiet"
    assert plant.at_ns == 3 * NS_PER_S


def test_a_meter_with_too_many_gaps_is_said() -> None:
    with pytest.raises(EngineError, match=r"0 of 30 intervals \(package-0: gone\)") as caught:
        calibrator(Plant(gaps=True)).calibrate(30)
    assert caught.value.code == "meter_unreadable"
