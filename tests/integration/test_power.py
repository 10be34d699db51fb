"""Watts of real executions in real containers; a directory stands in for the sensor, and follows what they use."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from contracts.execution.attribution import attribute_energy
from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.power_evidence import Phase, PowerBaseline
from contracts.verify.record import verify_record
from supervisor.adapters.home import Home
from supervisor.adapters.kernel.proc_stat import read_busy_ns
from supervisor.adapters.policies import load_policies
from supervisor.adapters.power.rapl import RaplMeter, open_rapl
from supervisor.composition import SOURCE_ROOT, Adapters
from supervisor.power.meter_leases import MeterLeases
from supervisor.power.meters import open_metering
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, serving

pytestmark = pytest.mark.docker

POWER = load_policies(SOURCE_ROOT / "policies").power
IDLE_MW = 2000
CALIBRATED_MW = 5000
TICK_S = 0.02
# What the calibration says, and what a CPU of this machine really draws.
HOT_FACTOR = 3


def busy_ns() -> int:
    found = read_busy_ns(Path("/"))
    assert found is not None
    return found


class Plant:
    """A processor that draws so much while idle, and so much for each busy CPU, whoever keeps it busy."""

    def __init__(self, root: Path, busy_mw: int) -> None:
        self._zone = root / "sys" / "class" / "powercap" / "intel-rapl:0"
        self._zone.mkdir(parents=True)
        (root / "sys" / "class" / "powercap" / "intel-rapl").mkdir()
        (self._zone / "name").write_text("package-0\n")
        (self._zone / "max_energy_range_uj").write_text("262143328850\n")
        (root / "proc").mkdir()
        (root / "proc" / "stat").symlink_to("/proc/stat")
        self._busy_mw = busy_mw
        self._energy_uj = 0
        self._write()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        # As the kernel does: who reads sees the whole number.
        new = self._zone / "energy_uj.new"
        new.write_text(f"{self._energy_uj}\n")
        new.replace(self._zone / "energy_uj")

    def _run(self) -> None:
        used_ns, at_ns = busy_ns(), time.monotonic_ns()
        while not self._over.wait(TICK_S):
            now_used_ns, now_ns = busy_ns(), time.monotonic_ns()
            self._energy_uj += ((now_used_ns - used_ns) * self._busy_mw + (now_ns - at_ns) * IDLE_MW) // 1_000_000
            used_ns, at_ns = now_used_ns, now_ns
            self._write()


@pytest.fixture
def metered(own_home: Home, docker_host: str, tmp_path: Path) -> Callable[[int], Any]:
    """Serve on a processor whose busy CPUs draw so many milliwatts."""

    @asynccontextmanager
    async def serve_metered(busy_mw: int) -> AsyncIterator[Api]:
        with Plant(tmp_path / "machine", busy_mw):
            meter = open_rapl(tmp_path / "machine")
            assert isinstance(meter, RaplMeter)
            baseline = PowerBaseline(
                id="sha256:" + "a" * 64,
                source="measured",
                idle_mw=IDLE_MW,
                spread_mw=0,
                measured_at="2026-01-31T12:00:00.000Z",
            )

            def with_sensor(adapters: Adapters) -> Adapters:
                found = open_metering(own_home.calibration, POWER)
                metering = replace(found, port=meter, baseline=baseline, measured_cpu_mw=CALIBRATED_MW)
                return replace(adapters, metering=MeterLeases(lambda: metering, POWER))

            async with serving(own_home, docker_host, wrap_adapters=with_sensor) as api:
                yield api

    return serve_metered


def long_request(max_watts: float | None, max_tokens: int = 200) -> dict[str, Any]:
    request = spec_request(prompt="Once upon a time")
    request["execution"] |= {
        "limits": {"max_tokens": max_tokens, "max_watts": max_watts},
        "context_tokens": 1024,
        "prompt_format": "raw",
    }
    return request


async def executed(api: Api, request: dict[str, Any]) -> MetricsRecord:
    status, body = await api.post_run(request)
    assert status == 200, body
    report = verify_record(await api.get_bytes(body["record"]), api.trust)
    assert report.verdict == "VALID", report.checks[-1]
    assert report.record is not None
    return report.record


async def test_a_processor_that_draws_more_than_calibrated_is_held_back(metered: Callable[[int], Any]) -> None:
    cap_w = 2 * CALIBRATED_MW / 1000 + IDLE_MW / 1000 + 1
    async with metered(HOT_FACTOR * CALIBRATED_MW) as api:
        free = await executed(api, long_request(None))
        held = await executed(api, long_request(cap_w))
    assert free.metrics is not None
    assert held.metrics is not None
    assert held.power is not None
    limit = held.power.limit
    assert limit is not None
    print(  # noqa: T201 - figures for people
        f"\nfree {free.metrics.tokens_per_sec} /s at {free.metrics.watts_avg} W, under {cap_w} W: "
        f"{held.metrics.tokens_per_sec} /s at {held.metrics.watts_avg} W, worst second {limit.worst_window_mw} mW, "
        f"throttled {limit.throttled_ns} ns in {limit.throttled_periods} periods, "
        f"{len(limit.actions)} settings, {limit.windows_over} of {limit.windows} windows over"
    )
    assert held.metrics.watts_source == free.metrics.watts_source == "rapl"
    assert held.metrics.watts_avg is not None
    assert held.metrics.watts_avg <= cap_w * (1 + limit.tolerance_percent / 100)
    assert (limit.basis, limit.cap_mw) == ("measured", int(cap_w * 1000))
    assert limit.throttled_ns
    assert limit.throttled_periods
    assert min(each.quota_nano_cpus for each in limit.actions) < held.plan.scheduling.cores * 10**9


def attributed(record: MetricsRecord) -> tuple[Fraction, int]:
    """All the energy that an execution was given, loading included, in microjoules; and its CPU time in ns."""
    assert record.power is not None
    energy_uj = Fraction(0)
    phases: tuple[Phase, ...] = ("load", "job")
    for phase in phases:
        energy = attribute_energy(record.power, phase)
        assert energy is not None
        assert energy.host_uj is not None
        assert 0 < energy.cpu_uj < energy.host_uj
        # The residual is what ran beside it and the idle machine.
        assert energy.share < 1
        energy_uj += energy.cpu_uj
    cpu_time_ns = record.power.samples[-1].cpu_time_ns
    assert cpu_time_ns is not None
    return energy_uj, cpu_time_ns


async def test_executions_side_by_side_get_shares_that_add_up_to_what_they_used(
    metered: Callable[[int], Any], tmp_path: Path
) -> None:
    counter = tmp_path / "machine" / "sys" / "class" / "powercap" / "intel-rapl:0" / "energy_uj"
    async with metered(CALIBRATED_MW) as api:
        one_cpu_w = await api.least_watts()
        before_uj = int(counter.read_text())
        records = await asyncio.gather(*(executed(api, long_request(one_cpu_w * 1.2, 100)) for _ in range(2)))
        counted_uj = int(counter.read_text()) - before_uj
    assert [record.plan.scheduling.cores for record in records] == [1, 1]
    shares = [attributed(record) for record in records]
    attributed_uj = sum(energy_uj for energy_uj, _ in shares)
    assert attributed_uj < counted_uj
    # This processor draws so much for every second that a CPU is busy: that is theirs, and a part of the idle power.
    dynamic_uj = sum(cpu_time_ns for _, cpu_time_ns in shares) * CALIBRATED_MW / 1_000_000
    idle_uj = sum(
        IDLE_MW * (power.samples[-1].at_ns - power.samples[0].at_ns) * power.reserved_cpus / power.host_cpus / 1_000_000
        for power in (record.power for record in records)
        if power is not None
    )
    # The host's busy time moves in ticks of 10 ms, and a part of the host's may be another machine's (steal).
    assert abs(attributed_uj - dynamic_uj - idle_uj) < 0.35 * (dynamic_uj + idle_uj)


async def test_without_a_sensor_the_specifications_limit_works_and_says_what_it_rests_on(
    own_home: Home, docker_host: str
) -> None:
    async with serving(own_home, docker_host) as api:
        record = await executed(api, spec_request())
    assert record.plan.limits.max_watts == 25
    assert record.power is not None
    assert record.power.limit is not None
    assert (record.power.limit.basis, record.power.source) == ("model", "model")
    assert record.metrics is not None
    assert record.metrics.watts_avg is not None
    assert record.metrics.watts_avg <= 25
    assert record.power.limit.throttled_ns is not None
