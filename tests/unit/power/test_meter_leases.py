"""The meter of each execution: a lost meter is reopened for the next execution, on a host that is a directory."""

import asyncio
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.execution.calibration import CalibrationStep
from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.power_evidence import PowerSource
from contracts.execution.run_request import RunRequest
from supervisor.adapters.files import write_private
from supervisor.adapters.kernel.host import read_fingerprint
from supervisor.domain.errors import EngineError, ExecutionFault
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.policies.policy import PowerPolicy
from supervisor.domain.power.calibration import Interval, measure_calibration
from supervisor.domain.power.meter import MeterReading
from supervisor.power.meter_leases import GpuAccess, MeterLeases
from supervisor.power.meters import open_metering
from tests.factories import make_gpu_plan
from tests.fakes.installation import fixed_installation
from tests.fakes.run_requests import spec_request
from tests.meters import FakeMeter, make_metering
from tests.powercap import RANGE_UJ, PowercapHost

ZONE = "intel-rapl:0"
# Keeps a broken one from hanging.
PATIENCE_S = 60
POWER = fixed_installation().policies.power
PLAN = plan_execution(RunRequest.model_validate(spec_request()), fixed_installation())


def plan(source: PowerSource = "rapl") -> ExecutionPlan:
    return PLAN.model_copy(update={"power_source": source})


@pytest.fixture
def host(tmp_path: Path) -> PowercapHost:
    host = PowercapHost(tmp_path / "host")
    host.add_zone(ZONE, "package-0", 1_000_000)
    return host


@pytest.fixture
def calibration_file(tmp_path: Path, host: PowercapHost) -> Path:
    found = measure_calibration(
        [Interval(10**9, 5_000_000, 0)] * 3,
        [CalibrationStep(busy_cpus=1, power_mw=9000)],
        domains=("package-0",),
        host=read_fingerprint(host.root),
        engine_version="0.1.0",
        now=datetime.now(UTC),
    )
    write_private(tmp_path / "calibration.json", found.canonical())
    return tmp_path / "calibration.json"


def leases(host: PowercapHost, calibration_file: Path, policy: PowerPolicy = POWER) -> MeterLeases:
    return MeterLeases(lambda: open_metering(calibration_file, policy, root=host.root), policy)


async def read_in_lease(meters: MeterLeases, source: PowerSource = "rapl") -> MeterReading:
    async with meters.metering_for(plan(source)) as metering:
        assert metering.port.source == source
        return metering.port.read()


def miss_a_wrap(host: PowercapHost) -> None:
    # More than anything can have drawn since: where the counter began and how often it wrapped cannot be told.
    host.set_energy(ZONE, RANGE_UJ // 2)


def vanish(host: PowercapHost) -> None:
    shutil.move(host.powercap / ZONE, host.root / "away")


def come_back(host: PowercapHost) -> None:
    shutil.move(host.root / "away", host.powercap / ZONE)


async def test_what_was_lost_is_read_again_by_the_next_execution(host: PowercapHost, calibration_file: Path) -> None:
    meters = leases(host, calibration_file)
    assert (await read_in_lease(meters)).energy_uj == {"package-0": 0}
    async with meters.metering_for(plan()) as during:
        miss_a_wrap(host)
        lost = during.port.read()
        assert lost.energy_uj == {"package-0": None}
        # Not for this one: what went uncounted is missing from it for good.
        assert during.port.read().faults == lost.faults
        assert (await read_in_lease(meters)).energy_uj == {"package-0": 0}
        assert during.port.read().energy_uj == {"package-0": None}
    assert meters.facts().source == "rapl"
    assert (await read_in_lease(meters)).energy_uj == {"package-0": 0}


async def test_what_was_lost_between_executions_is_no_gap_of_the_next(
    host: PowercapHost, calibration_file: Path
) -> None:
    meters = leases(host, calibration_file)
    miss_a_wrap(host)
    meters.read()
    host.set_energy(ZONE, 1)
    async with meters.metering_for(plan()) as metering:
        assert metering.port.read().energy_uj == {"package-0": 0}
        host.set_energy(ZONE, 9)
        assert metering.port.read().energy_uj == {"package-0": 8}
    meters.close()


async def test_a_sensor_that_stays_away_falls_back_with_the_reason_and_may_return(
    host: PowercapHost, calibration_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meters = leases(host, calibration_file)
    (host.powercap / ZONE / "energy_uj").rename(host.root / "away")
    assert meters.facts().source == "model"
    assert meters.facts().source == "model"
    async with meters.metering_for(plan("model")) as metering:
        assert metering.fallback_reason == "RAPL: cannot be read (No such file or directory)"
        assert metering.template(reserved_cpus=1).baseline.source == "declared"
    assert [each.message for each in caplog.records] == [
        "energy is modelled until the energy counters can be read again: "
        "RAPL: cannot be read (No such file or directory)"
    ]
    (host.root / "away").rename(host.powercap / ZONE / "energy_uj")
    assert meters.facts().source == "rapl"
    assert (await read_in_lease(meters)).faults == ()
    assert "have been reopened" in caplog.records[-1].message
    assert len(caplog.records) == 2


@pytest.mark.parametrize("away", [vanish, lambda host: host.set_energy(ZONE, "denied")])
async def test_an_execution_is_metered_as_planned_or_not_at_all(
    host: PowercapHost, calibration_file: Path, away: Callable[[PowercapHost], None]
) -> None:
    meters = leases(host, calibration_file)
    away(host)
    assert (await read_in_lease(meters)).energy_uj == {"package-0": None}
    assert meters.facts().source == "model"
    async with meters.metering_for(plan("model")) as metering:
        assert "RAPL" in str(metering.fallback_reason)
    if away is vanish:
        come_back(host)
    host.set_energy(ZONE, 1_000_000)
    assert (await read_in_lease(meters, "model")).energy_uj == {}
    assert (await read_in_lease(meters)).energy_uj == {"package-0": 0}


async def test_busy_time_that_cannot_be_read_is_a_gap_too(host: PowercapHost, calibration_file: Path) -> None:
    meters = leases(host, calibration_file)
    text = (host.root / "proc" / "stat").read_text()
    (host.root / "proc" / "stat").write_text("")
    assert (await read_in_lease(meters)).busy_ns is None
    (host.root / "proc" / "stat").write_text(text)
    assert (await read_in_lease(meters)).busy_ns == 0


async def test_where_a_policy_wants_a_sensor_each_execution_is_refused_while_it_is_away(
    host: PowercapHost, calibration_file: Path
) -> None:
    policy = POWER.model_copy(update={"meter": POWER.meter.model_copy(update={"require_sensor": True})})
    meters = leases(host, calibration_file, policy)
    assert meters.facts().sensor_fault is None
    vanish(host)
    for _ in range(2):
        assert "require_sensor" in str(meters.facts().sensor_fault)
        # Accepted before, and waiting until now.
        with pytest.raises(ExecutionFault) as caught:
            await read_in_lease(meters)
        assert caught.value.code == "power_sensor_required"
    come_back(host)
    assert meters.facts().sensor_fault is None
    assert (await read_in_lease(meters)).energy_uj == {"package-0": 0}


async def test_a_sensor_that_was_not_there_at_start_is_not_looked_for(
    host: PowercapHost, calibration_file: Path
) -> None:
    vanish(host)
    meters = leases(host, calibration_file)
    come_back(host)
    assert meters.facts().source == "model"
    assert (await read_in_lease(meters, "model")).energy_uj == {}


class SlowLimit:
    """A limit that takes until it is let go to be set; see ``meter.GpuLimitPort``."""

    minimum_mw, maximum_mw = 100_000, 400_000

    def __init__(self, fault: EngineError | None = None) -> None:
        self.asked, self.gate = threading.Event(), threading.Event()
        self.in_force_mw = self.own_mw = 300_000
        self.is_closed = False
        self._fault = fault

    def set(self, limit_mw: int) -> int:
        self.asked.set()
        assert self.gate.wait(PATIENCE_S)
        if self._fault is not None:
            raise self._fault
        self.in_force_mw = limit_mw
        return limit_mw

    def restore(self) -> None:
        self.in_force_mw = self.own_mw

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("fault", [None, EngineError("power_limit_unenforceable", "the driver refuses")])
async def test_a_limit_that_is_being_set_when_its_execution_is_cancelled_is_put_back(
    fault: EngineError | None, caplog: pytest.LogCaptureFixture
) -> None:
    limit = SlowLimit(fault)
    card = FakeMeter("nvml", ("gpu-0",))
    meters = MeterLeases(make_metering, POWER, GpuAccess(lambda: make_metering(card), limit))
    card.closed = False

    async def be_metered() -> None:
        async with meters.metering_for(make_gpu_plan(200)):
            raise AssertionError

    task = asyncio.create_task(be_metered())
    assert await asyncio.to_thread(limit.asked.wait, PATIENCE_S)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    limit.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert limit.in_force_mw == limit.own_mw
    assert card.closed
    assert ("the driver refuses" in caplog.text) is (fault is not None)
    meters.close()
    assert limit.is_closed
