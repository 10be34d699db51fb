"""Executions on a GPU: its energy beside the processors', and its power limit, set for one execution and put back."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.execution.attribution import attribute_energy
from contracts.execution.metrics_record import MetricsRecord
from supervisor.adapters.power.nvml import GapMeter, NvmlMeter
from supervisor.adapters.power.nvml_limit import NvmlLimit
from supervisor.domain.planning.installation import Backend, Installation
from supervisor.domain.power.meter import MeterPort, MissingMeter
from supervisor.domain.power.metering import Metering
from supervisor.power.meter_leases import GpuAccess
from tests.api.harness import Engine, eventually, problem_of
from tests.fakes.installation import IMAGE, fixed_installation
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import READY, HeldRunner
from tests.fakes.sandboxes import FakeSandbox
from tests.gpu_device import OURS, FakeDevice
from tests.meters import FakeMeter, make_metering

GPU_MIN_W = 100
BUSY_CPU_W = 1.87
MARGIN = 0.95
ENERGY_UJ = 40_000_000


class Card:
    """The device, and what the engine has of it."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self.device = FakeDevice()
        self.limit: NvmlLimit | MissingMeter = NvmlLimit(self.device, kept)
        self.cpu = FakeMeter()
        self.missing: str | None = None
        self.sensor_fault: str | None = None
        self.container: str | None = None
        self.opened: list[MeterPort] = []

    def open(self) -> Metering:
        port: MeterPort
        if self.missing is not None:
            port = GapMeter(self.device.index, self.cpu, self.missing)
        else:
            port = NvmlMeter(self.device, self.cpu, self._belongs_to_execution)
        self.opened.append(port)
        fallback = None if self.missing is None else f"NVML: {self.missing}"
        fixed = make_metering(self.cpu, host_cpus=2)
        return replace(fixed, port=port, fallback_reason=fallback, sensor_fault=self.sensor_fault)

    def _belongs_to_execution(self, pid: int, container_id: str | None) -> bool:
        self.container = container_id
        return pid == OURS and container_id is not None


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return Card(tmp_path / "gpu-limit.json")


class GpuRunner(HeldRunner):
    """Uses the card from its set-up on, and draws while it generates."""

    def __init__(self, device: FakeDevice) -> None:
        super().__init__()
        self._device = device
        self.limits: list[int] = []

    async def __call__(self, sandbox: FakeSandbox, line_index: int) -> None:
        if line_index == 0:
            self._device.pids |= {OURS}
            sandbox.say({**READY, "backend": "cuda"})
        if line_index != 1:
            return
        self.limits.append(self._device.limit_in_force_mw)
        self._device.counter_uj += ENERGY_UJ
        await super().__call__(sandbox, line_index)


def with_gpu(engine_power: Any) -> Installation:
    fixed = fixed_installation()
    return replace(fixed, backends=(*fixed.backends, Backend("cuda", frozenset(), IMAGE)), power=engine_power)


@asynccontextmanager
async def serving(card: Card, runner: GpuRunner) -> AsyncIterator[Engine]:
    engine = Engine(runner, fixed_installation(), gpu=GpuAccess(card.open, card.limit))
    engine.installation.value = with_gpu(engine.metering.facts())
    async with engine.serving():
        yield engine


def request(max_watts: float | None = None, backend: str = "cuda") -> dict[str, Any]:
    document = spec_request()
    document["execution"] |= {"backend": backend, "limits": {"max_tokens": 8, "max_watts": max_watts}}
    return document


async def executed(engine: Engine, document: dict[str, Any]) -> MetricsRecord:
    answer = await engine.post(document)
    assert answer.status == 200, await answer.text()
    return await engine.record((await answer.json())["execution_id"])


async def failed(engine: Engine, document: dict[str, Any], code: str, status: int) -> MetricsRecord:
    answer = await engine.post(document)
    problem = await problem_of(answer)
    assert (answer.status, problem.code) == (status, code)
    assert problem.execution_id is not None
    return await engine.record(problem.execution_id)


@pytest.fixture
def runner(card: Card) -> GpuRunner:
    runner = GpuRunner(card.device)
    runner.gate.set()
    return runner


async def test_the_cards_energy_is_added_whole_to_the_processors(card: Card, runner: GpuRunner) -> None:
    async with serving(card, runner) as engine:
        record = await executed(engine, request())
    assert record.power is not None
    assert (record.power.source, record.power.domains, record.plan.power_source) == ("nvml", ("gpu-1",), "nvml")
    energy = attribute_energy(record.power, "job")
    assert energy is not None
    assert energy.gpu_uj == ENERGY_UJ
    assert energy.cpu_uj > 0
    assert energy.total_uj == energy.gpu_uj + energy.cpu_uj
    assert record.metrics is not None
    assert record.metrics.watts_source == "nvml"
    assert record.power.fallback_reason is None
    assert record.sandbox is not None
    assert card.container == record.sandbox.container_id
    assert card.device.limits_set == []


async def test_with_a_sensor_for_the_processors_too_both_are_metered(card: Card, runner: GpuRunner) -> None:
    card.cpu = FakeMeter("rapl", ("package-0",))
    async with serving(card, runner) as engine:
        record = await executed(engine, request())
    assert record.power is not None
    assert record.power.domains == ("package-0", "gpu-1")
    assert record.power.cpu_domains == ("package-0",)


async def test_a_stranger_on_the_card_is_a_null_with_the_reason(card: Card, runner: GpuRunner) -> None:
    async with serving(card, runner) as engine:
        card.device.pids = frozenset({4711})
        record = await executed(engine, request())
        assert record.metrics is not None
        assert record.metrics.watts_avg is None
        assert "could not be read" in record.metrics.unmeasured["watts_avg"]
        assert record.power is not None
        assert "another process (4711) uses the device" in str(record.power.fallback_reason)
        # It has gone, and the next execution opens its own meter.
        card.device.pids = frozenset()
        again = await executed(engine, request())
        assert again.metrics is not None
        assert again.metrics.watts_avg is not None
        assert again.power is not None
        assert again.power.fallback_reason is None


async def test_a_card_that_cannot_be_metered_is_said_once(card: Card, runner: GpuRunner) -> None:
    card.missing = "the device is partitioned (MIG)"
    async with serving(card, runner) as engine:
        record = await executed(engine, request())
    assert record.power is not None
    assert record.power.source == "nvml"
    assert record.power.fallback_reason == "NVML: the device is partitioned (MIG)"
    assert record.metrics is not None
    assert record.metrics.watts_avg is None


async def test_a_limit_is_set_before_the_job_and_put_back_after_it(card: Card, runner: GpuRunner) -> None:
    async with serving(card, runner) as engine:
        record = await executed(engine, request(200))
        threads = record.plan.scheduling.threads
        given_mw = int(200_000 * MARGIN - threads * BUSY_CPU_W * 1000)
        assert runner.limits == [given_mw]
        assert card.device.limit_in_force_mw == 300_000
        assert not card.kept.exists()
        assert record.power is not None
        assert record.power.limit is not None
        assert (record.power.limit.gpu_limit_mw, record.power.limit.basis) == (given_mw, "measured")
        free = await executed(engine, request())
        assert free.power is not None
        assert free.power.limit is None
        assert runner.limits == [given_mw, 300_000]


async def test_more_than_the_card_may_draw_leaves_it_its_own_limit(card: Card, runner: GpuRunner) -> None:
    async with serving(card, runner) as engine:
        record = await executed(engine, request(5000))
    assert record.power is not None
    assert record.power.limit is not None
    assert record.power.limit.gpu_limit_mw == 300_000


async def test_less_than_the_card_takes_is_refused_with_what_would_do(card: Card, runner: GpuRunner) -> None:
    async with serving(card, runner) as engine:
        problem = await problem_of(await engine.post(request(GPU_MIN_W)))
        assert problem.code == "power_limit_unenforceable"
        assert "no limit below 100 W" in problem.detail
        lowest = float(problem.detail.split()[-2])
        assert lowest == pytest.approx((GPU_MIN_W + BUSY_CPU_W) / MARGIN, abs=0.02)
        assert card.device.limits_set == []
        record = await executed(engine, request(lowest))
        assert record.plan.scheduling.threads == 1
        assert GPU_MIN_W * 1000 <= runner.limits[0] < GPU_MIN_W * 1000 + 20
        # On processors alone it is plenty.
        assert (await problem_of(await engine.post(request(1.0, "cpu_avx2")))).detail.split()[-2] == "1.97"


async def test_a_card_whose_limit_cannot_be_set_takes_no_limited_execution(card: Card, runner: GpuRunner) -> None:
    card.limit = MissingMeter("Insufficient Permissions", is_there=True)
    async with serving(card, runner) as engine:
        problem = await problem_of(await engine.post(request(200)))
        assert problem.code == "power_limit_unenforceable"
        assert "Insufficient Permissions" in problem.detail
        assert (await executed(engine, request())).outcome == "completed"
        # One that was planned all the same.
        engine.installation.value = with_gpu(replace(engine.metering.facts(), on_gpu=None, source="nvml"))
        record = await failed(engine, request(200), "power_limit_unenforceable", 422)
        assert record.power is None


async def test_a_limit_that_is_not_taken_fails_the_execution_before_anything_ran(card: Card, runner: GpuRunner) -> None:
    async with serving(card, runner) as engine:
        card.device.limit_fault = "Insufficient Permissions"
        record = await failed(engine, request(200), "power_limit_unenforceable", 422)
        assert engine.sandboxes.opened == []
        assert record.sandbox is None
        assert card.device.limit_in_force_mw == 300_000
        card.device.limit_fault = None
        await executed(engine, request(200))


async def test_while_a_limit_cannot_be_put_back_nothing_runs_under_it_unsaid(
    card: Card, runner: GpuRunner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.gate.clear()
    async with serving(card, runner) as engine:
        execution_id = await engine.start(request(200))
        await engine.said(execution_id, "first")
        card.device.limit_fault = "GPU is lost"
        runner.gate.set()
        await engine.ended(execution_id)
        assert (await engine.record(execution_id)).outcome == "completed"
        warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        assert any("power_limit_not_restored" in each and "nvidia-smi -i GPU-fake -pl 300" in each for each in warnings)
        await failed(engine, request(), "power_limit_not_restored", 503)
        card.device.limit_fault = None
        await executed(engine, request())
        assert runner.limits[-1] == 300_000
        assert not card.kept.exists()


@pytest.mark.parametrize("moment", ["while it runs", "while it waits for the card"])
async def test_a_cancelled_execution_leaves_the_card_as_it_was(card: Card, runner: GpuRunner, moment: str) -> None:
    runner.gate.clear()
    async with serving(card, runner) as engine:
        first = await engine.start(request(120))
        await engine.said(first, "first")
        second = await engine.start(request(150))
        await eventually(lambda: engine.book._active[second].started or engine.free_cpus == 0)
        cancelled, other = (first, second) if moment == "while it runs" else (second, first)
        assert (await engine.client.delete(f"/v1/runs/{cancelled}")).status == 200
        assert (await engine.record(cancelled)).outcome == "cancelled"
        runner.gate.set()
        assert (await engine.record(other)).outcome == "completed"
    assert card.device.limit_in_force_mw == 300_000
    assert not card.kept.exists()


async def test_two_executions_are_on_the_card_one_after_the_other(card: Card, runner: GpuRunner) -> None:
    runner.gate.clear()
    async with serving(card, runner) as engine:
        # Each gets one of two CPUs, so that only the card keeps them apart.
        lowest = (GPU_MIN_W + BUSY_CPU_W) / MARGIN + 0.1
        first = await engine.start(request(lowest))
        await engine.said(first, "first")
        second = await engine.start(request(lowest + 0.5))
        await eventually(lambda: engine.book._active[second].started)
        await asyncio.sleep(0.05)
        assert len(engine.sandboxes.opened) == 1
        assert len(runner.limits) == 1
        runner.gate.set()
        records = [await engine.record(each) for each in (first, second)]
        for record in records:
            assert record.power is not None
            energy = attribute_energy(record.power, "job")
            assert energy is not None
            assert energy.gpu_uj == ENERGY_UJ
        assert len(runner.limits) == 2
        assert card.device.limit_in_force_mw == 300_000


async def test_where_a_policy_wants_a_sensor_a_card_without_one_executes_nothing(card: Card, runner: GpuRunner) -> None:
    card.missing, card.sensor_fault = (
        "shared",
        "policies/power.toml sets require_sensor, but no sensor can be used: NVML: shared",
    )
    async with serving(card, runner) as engine:
        await failed(engine, request(200), "power_sensor_required", 503)
        assert engine.sandboxes.opened == []
        card.missing = card.sensor_fault = None
        await executed(engine, request(200))


async def test_executions_on_processors_leave_the_card_alone(card: Card, runner: GpuRunner) -> None:
    async with serving(card, runner) as engine:
        opened = len(card.opened)
        await engine.is_well()
        record = await executed(engine, request(25, "cpu_avx2"))
        assert record.power is not None
        assert record.power.source == "model"
        assert record.power.limit is not None
        assert record.power.limit.gpu_limit_mw is None
        assert len(card.opened) == opened
        assert card.device.limits_set == []


async def test_no_sandbox_waits_on_the_card_beside_an_execution(card: Card, runner: GpuRunner) -> None:
    async with serving(card, runner) as engine:
        await executed(engine, request())
        assert not any(recipe.backend == "cuda" for recipe, _ in engine.pool._demand.wanted().values())
        await engine.is_well()
        assert any(recipe.backend == "cpu_avx2" for recipe, _ in engine.pool._demand.wanted().values())
