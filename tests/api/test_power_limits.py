"""Power limits by a meter: kept by the container's CPU time, and by its end where that does not help."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.power_evidence import PowerBaseline
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.power.meter import MeterReading
from supervisor.domain.power.metering import Metering
from supervisor.domain.sandbox.ports import ExitStatus
from tests.api.harness import Engine, problem_of
from tests.fakes.installation import fixed_installation
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import HeldRunner
from tests.fakes.sandboxes import FakeSandbox
from tests.meters import FakeMeter, make_metering

CAP_W = 20
# 10 mW of idle machine, and 5 W for a busy CPU, as it was calibrated.
BASELINE = PowerBaseline(
    id="sha256:" + "a" * 64,
    source="measured",
    idle_mw=10,
    spread_mw=0,
    measured_at="2026-01-31T12:00:00.000Z",
)


class HungryMeter(FakeMeter):
    """Counts so many watts, all of them the execution's, until it cannot be read any more."""

    def __init__(self, watts: float) -> None:
        super().__init__("rapl", ("package-0",))
        self.watts = watts
        self.is_lost = False
        self._first_ns: int | None = None

    def read(self) -> MeterReading:
        reading = super().read()
        if self._first_ns is None:
            self._first_ns = reading.at_ns
        energy_uj = int((reading.at_ns - self._first_ns) * self.watts / 1000)
        if self.is_lost:
            return replace(reading, energy_uj={"package-0": None}, faults=("package-0: gone",))
        return replace(reading, energy_uj={"package-0": energy_uj}, busy_ns=0)


def metered(meter: FakeMeter, **changes: Any) -> Metering:
    return replace(make_metering(meter, host_cpus=2), baseline=BASELINE, measured_cpu_mw=5000, **changes)


@asynccontextmanager
async def governed(metering: Metering, runner: HeldRunner) -> AsyncIterator[Engine]:
    fixed = fixed_installation()
    governor = fixed.policies.power.governor.model_copy(update={"interval_ms": 100, "grace_ms": 1, "sensor_lost_ms": 1})
    power = fixed.policies.power.model_copy(update={"governor": governor})
    installation = replace(fixed, policies=replace(fixed.policies, power=power), power=metering.facts())
    async with Engine(runner, installation, metering).serving() as engine:
        engine.sandboxes.on_open = _keep_busy
        yield engine


def _keep_busy(sandbox: FakeSandbox) -> None:
    # One CPU, always.
    sandbox.cpu_time_ns = time.monotonic_ns  # type: ignore[method-assign] # this one's own


def request() -> dict[str, Any]:
    document = spec_request()
    document["execution"]["limits"]["max_watts"] = CAP_W
    return document


async def recorded(engine: Engine, code: str, status: int) -> MetricsRecord:
    answer = await engine.post(request())
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (status, code)
    assert problem.execution_id is not None
    record = await engine.record(problem.execution_id)
    assert record.outcome == "failed"
    assert record.reason is not None
    assert record.reason.code == code
    return record


async def test_what_stays_over_its_limit_is_stopped_with_the_evidence() -> None:
    async with governed(metered(HungryMeter(2 * CAP_W)), HeldRunner()) as engine:
        record = await recorded(engine, "power_limit_exceeded", 422)
        sandbox = engine.sandboxes.opened[0]
        assert record.measurements is not None
        assert len(record.measurements.token_times_ns) == 1
        assert record.power is not None
        limit = record.power.limit
        assert limit is not None
        assert (limit.cap_mw, limit.basis) == (CAP_W * 1000, "measured")
        assert 0 < limit.windows_over <= limit.windows
        assert limit.worst_window_mw is not None
        assert limit.worst_window_mw > CAP_W * 1050
        assert (limit.throttled_ns, limit.throttled_periods) == (0, 0)
        # It was given less and less before it was stopped.
        assert sandbox.quotas == sorted(sandbox.quotas, reverse=True)
        assert sandbox.quotas[0] < 2_000_000_000
        assert [each.quota_nano_cpus for each in limit.actions] == sandbox.quotas


async def test_what_stays_under_its_limit_is_left_alone() -> None:
    runner = HeldRunner()
    async with governed(metered(HungryMeter(CAP_W / 10)), runner) as engine:
        asked = asyncio.create_task(engine.post(request()))
        await asyncio.sleep(1.5)
        runner.gate.set()
        answer = await asked
        assert answer.status == 200
        document = await answer.json()
        record = await engine.record(document["execution_id"])
        assert record.metrics is not None
        assert record.metrics.watts_source == "rapl"
        assert record.metrics.watts_avg is not None
        assert record.metrics.watts_avg <= CAP_W / 10 * 1.001
        assert record.power is not None
        assert record.power.limit is not None
        assert record.power.limit.windows_over == 0
        assert record.power.limit.windows > 0


async def test_a_lost_sensor_ends_what_it_can_not_keep() -> None:
    meter = HungryMeter(CAP_W / 10)
    async with governed(metered(meter), HeldRunner()) as engine:
        meter.is_lost = True
        record = await recorded(engine, "power_sensor_lost", 503)
        assert record.metrics is not None
        assert record.metrics.watts_avg is None
        floor = engine.installation.value.policies.power.governor.quota_floor_percent
        assert engine.sandboxes.opened[0].quotas[-1] == floor * 10_000_000


async def test_where_cpu_time_cannot_be_set_a_measured_limit_is_refused() -> None:
    metering = metered(HungryMeter(1), quota_fault="/sys/fs/cgroup may not be written")
    async with governed(metering, HeldRunner()) as engine:
        answer = await engine.post(request())
        problem = await problem_of(answer)
        assert (answer.status, problem.code) == (422, "power_limit_unenforceable")
        assert "may not be written" in problem.detail


async def test_by_the_model_the_number_of_threads_keeps_the_limit_and_nothing_is_held_back() -> None:
    runner = HeldRunner()
    async with governed(make_metering(host_cpus=2), runner) as engine:
        runner.gate.set()
        answer = await engine.post(request())
        assert answer.status == 200
        record = await engine.record((await answer.json())["execution_id"])
        assert record.power is not None
        assert record.power.limit is not None
        assert record.power.limit.basis == "model"
        assert engine.sandboxes.opened[0].quotas == []


@pytest.mark.parametrize("watts", [0.5, 1.0])
async def test_less_than_one_cpu_needs_is_refused_with_what_would_do(watts: float) -> None:
    document = request()
    document["execution"]["limits"]["max_watts"] = watts
    async with governed(metered(HungryMeter(1)), HeldRunner()) as engine:
        problem = await problem_of(await engine.post(document))
        assert problem.code == "power_limit_unenforceable"
        assert "rapl, as calibrated" in problem.detail
        lowest = float(problem.detail.split()[-2])
        document["execution"]["limits"]["max_watts"] = lowest
        async with engine.client.post("/v1/plans", json=document) as answer:
            assert answer.status == 200
            assert (await answer.json())["plan"]["power_source"] == "rapl"


async def test_where_a_policy_wants_a_sensor_nothing_runs_without() -> None:
    fixed = fixed_installation()
    power = replace(make_metering(), sensor_fault="policies/power.toml sets require_sensor").facts()
    async with Engine(HeldRunner(), replace(fixed, power=power)).serving() as engine:
        for path in ("/v1/runs", "/v1/plans"):
            answer = await engine.client.post(path, json=request())
            assert (await problem_of(answer)).code == "power_sensor_required"
        assert engine.sandboxes.opened == []


async def test_a_container_that_has_ended_is_not_blamed_on_its_limit() -> None:
    runner = HeldRunner()
    async with governed(metered(HungryMeter(CAP_W / 10)), runner) as engine:

        def end_soon(sandbox: FakeSandbox) -> None:
            sandbox.group_is_gone = True
            sandbox.cpu_ns = None
            loop = asyncio.get_running_loop()
            fault = ExecutionFault("runner_failed", "the runner ended too early, with exit status 3")
            loop.call_later(0.5, sandbox.end, fault, ExitStatus(3, oom_killed=False))

        engine.sandboxes.on_open = end_soon
        await recorded(engine, "runner_failed", 500)


async def test_what_was_lost_in_one_execution_is_measured_again_in_the_next() -> None:
    meters = [HungryMeter(CAP_W / 10), HungryMeter(CAP_W / 10)]
    metering = metered(meters[0])
    runner = HeldRunner()
    runner.gate.set()
    async with governed(metering, runner) as engine:
        opened = iter([metered(meters[1])])
        engine.metering._open_cpu = lambda: next(opened)
        document = request()
        document["execution"]["limits"]["max_watts"] = None
        engine.sandboxes.on_open = lambda _sandbox: setattr(meters[0], "is_lost", True)
        for is_measured in (False, True):
            answer = await engine.post(document)
            assert answer.status == 200
            record = await engine.record((await answer.json())["execution_id"])
            assert record.metrics is not None
            assert (record.metrics.watts_avg is not None) is is_measured
            assert record.power is not None
            assert record.power.fallback_reason == (None if is_measured else "package-0: gone")
            assert record.power.samples[0].mark == "start"
