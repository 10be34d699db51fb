"""The meter in force: what planning, records and the governor get from it."""

from dataclasses import replace

import pytest

from contracts.execution.power_evidence import PowerBaseline
from supervisor.adapters.policies import load_policies
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.power.metering import Metering
from tests.meters import POWER_MODEL, FakeMeter, make_metering

POLICY = load_policies(SOURCE_ROOT / "policies").power.governor
MEASURED = replace(
    make_metering(FakeMeter("rapl", ("package-0",))),
    baseline=PowerBaseline(
        id="sha256:" + "a" * 64,
        source="measured",
        idle_mw=8000,
        spread_mw=100,
        measured_at="2026-01-31T12:00:00.000Z",
    ),
    measured_cpu_mw=5000,
)


def test_with_a_model_a_cpu_draws_the_power_in_the_table() -> None:
    facts = make_metering().facts()
    assert (facts.source, facts.busy_cpu_mw, facts.fault) == ("model", 1870, None)
    assert POWER_MODEL.family in facts.basis


def test_with_a_sensor_a_cpu_draws_the_measured_power_and_its_idle_share() -> None:
    facts = MEASURED.facts()
    assert (facts.source, facts.busy_cpu_mw, facts.basis) == ("rapl", 7000, "rapl, as calibrated")
    assert facts.idle_cpu_mw == 2000


@pytest.mark.parametrize(("metering", "fault"), [(make_metering(), None), (MEASURED, "read-only")])
def test_cpu_time_must_be_settable_only_with_a_sensor(metering: Metering, fault: str | None) -> None:
    assert replace(metering, quota_fault="read-only").facts().fault == fault


def test_with_a_model_the_threads_alone_enforce_the_limit() -> None:
    governor = make_metering().build_governor(POLICY, max_watts=2 * 1.87 / 0.95, cores=2, reserved_cpus=2)
    assert governor.quota_nano == 2_000_000_000


def test_with_a_sensor_the_governor_starts_carefully() -> None:
    governor = MEASURED.build_governor(POLICY, max_watts=15, cores=2, reserved_cpus=2)
    assert POLICY.quota_floor_percent * 10_000_000 < governor.quota_nano < 2_000_000_000


def test_a_record_contains_everything_that_its_watts_depend_on() -> None:
    template = MEASURED.template(reserved_cpus=3)
    assert (template.source, template.domains, template.reserved_cpus) == ("rapl", ("package-0",), 3)
    assert (template.baseline.idle_mw, template.host_cpus, template.samples) == (8000, 4, ())
