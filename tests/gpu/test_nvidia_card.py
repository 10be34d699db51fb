"""The NVML meter and limit on a real NVIDIA card: `make test-gpu`.

Nothing of the card is set, but by the tests of its power limit. They have to be asked for with WEOS_GPU_LIMIT=1, since
a machine may be shared or lent: two set the limit in force again, and one lowers it for a moment.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from contracts.execution.attribution import attribute_energy, uncertainty_ppm
from supervisor.adapters.policies import load_policies
from supervisor.adapters.power.model_meter import ModelMeter
from supervisor.adapters.power.nvml import open_nvml
from supervisor.adapters.power.nvml_device import NvmlDevice, open_device
from supervisor.adapters.power.nvml_limit import NvmlLimit, open_limit, restore_left_limit
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.errors import EngineError
from supervisor.domain.power.meter import MissingMeter
from supervisor.domain.power.power_log import PowerLog
from supervisor.power.meters import open_metering

pytestmark = pytest.mark.gpu

# Twenty steps of the counter.
WATCHED_S = 2.0
STEP_S = 0.25
MAY_LIMIT = os.environ.get("WEOS_GPU_LIMIT") == "1"
KILLED = """
import os, signal, sys
from pathlib import Path
from supervisor.adapters.power.nvml_limit import open_limit
open_limit(Path(sys.argv[1])).set(int(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def card() -> Iterator[NvmlDevice]:
    device = open_device()
    if isinstance(device, MissingMeter):
        pytest.skip(f"no NVIDIA card can be used here: {device.reason}")
    yield device
    device.close()


@pytest.fixture
def limit(card: NvmlDevice, tmp_path: Path) -> Iterator[NvmlLimit]:
    if not MAY_LIMIT:
        pytest.skip("it sets the card's power limit, to what it is; allow it with WEOS_GPU_LIMIT=1")
    limit = open_limit(tmp_path / "kept.json")
    if isinstance(limit, MissingMeter):
        pytest.skip(f"{card.name} has no power limit that can be set here: {limit.reason}")
    yield limit
    limit.close()


def test_the_card_tells_who_it_is(card: NvmlDevice) -> None:
    assert card.name
    assert card.uuid.startswith("GPU-")
    assert card.index == 0


def test_the_counter_moves_as_that_of_a_card(card: NvmlDevice) -> None:
    # Whose processes they are does not matter here, so all of them are taken for the engine's.
    meter = open_nvml(ModelMeter(), belongs_to_execution=lambda _pid, _container_id: True)
    if isinstance(meter, MissingMeter):
        pytest.skip(f"the energy of {card.name} is not its own: {meter.reason}")
    before = meter.read()
    time.sleep(WATCHED_S)
    after = meter.read()
    meter.close()
    start_uj, end_uj = before.energy_uj["gpu-0"], after.energy_uj["gpu-0"]
    assert start_uj is not None
    assert end_uj is not None
    power_mw = (end_uj - start_uj) * 1_000_000 / (after.at_ns - before.at_ns)
    _lowest_mw, highest_mw = card.limit_range_mw()
    assert 1000 < power_mw < 2 * highest_mw


def test_an_idle_cards_watts_are_those_that_it_says_itself(card: NvmlDevice, tmp_path: Path) -> None:
    # As an execution's are, from its meter to its record's arithmetic; only that nothing is executed.
    power = load_policies(SOURCE_ROOT / "policies").power
    metering = open_metering(tmp_path / "none", power, gpu_index=card.index)
    log = PowerLog(metering.template(reserved_cpus=1, interval_ms=int(STEP_S * 1000)))
    log.add("start", metering.port.read(), 0)
    said_mw = []
    log.add("job", metering.port.read(), 0)
    log.begin_job(time.monotonic_ns())
    for _ in range(int(WATCHED_S / STEP_S)):
        time.sleep(STEP_S)
        said_mw.append(pynvml.nvmlDeviceGetPowerUsage(pynvml.nvmlDeviceGetHandleByIndex(card.index)))
        log.add("tick", metering.port.read(), 0)
    log.add("end", metering.port.read(), 0)
    metering.port.close()
    evidence = log.evidence(None)
    assert evidence.source == "nvml"
    if card.is_partitioned() or card.processes():
        assert attribute_energy(evidence, "job") is None
        assert evidence.fallback_reason
        pytest.skip(f"{card.name} is not ours alone, and the record says so: {evidence.fallback_reason}")
    energy = attribute_energy(evidence, "job")
    assert energy is not None
    assert uncertainty_ppm(evidence, energy) < 500_000
    power_mw = float(energy.gpu_uj) * 1_000_000 / energy.duration_ns
    print(f"\n{card.name}: {power_mw:.0f} mW by its counter, {min(said_mw)} to {max(said_mw)} mW by its word")  # noqa: T201 - figures for people
    # Its word is a mean of the last second, and moves while it falls asleep or wakes.
    assert 0.5 * min(said_mw) < power_mw < 2 * max(said_mw)


def test_a_reading_is_cheap_enough_for_every_tick(card: NvmlDevice) -> None:
    meter = open_nvml(ModelMeter(), belongs_to_execution=lambda _pid, _container_id: True)
    if isinstance(meter, MissingMeter):
        pytest.skip(f"the energy of {card.name} is not its own: {meter.reason}")
    cpu_ns, began_ns = time.process_time_ns(), time.monotonic_ns()
    readings = [meter.read() for _ in range(100)]
    cpu_us, wall_us = (time.process_time_ns() - cpu_ns) / 1e5, (time.monotonic_ns() - began_ns) / 1e5
    meter.close()
    print(f"\n{card.name}: a reading takes {cpu_us:.0f} us of CPU time, {wall_us:.0f} us in all")  # noqa: T201 - as above
    assert [each.faults for each in readings] == [()] * 100


def test_a_card_with_a_process_on_it_is_not_ours(card: NvmlDevice) -> None:
    meter = open_nvml(ModelMeter())
    if isinstance(meter, MissingMeter):
        assert card.is_partitioned() or card.processes(), meter.reason
    else:
        assert meter.read().faults == ()
        meter.close()


def test_the_limit_in_force_can_be_set_again(card: NvmlDevice, limit: NvmlLimit) -> None:
    own_mw = card.limit_mw()
    assert limit.minimum_mw <= own_mw <= limit.maximum_mw
    assert limit.set(own_mw) == own_mw
    limit.restore()
    assert card.limit_mw() == own_mw


def test_a_limit_under_the_lowest_is_refused(limit: NvmlLimit) -> None:
    with pytest.raises(EngineError, match="takes limits from"):
        limit.set(limit.minimum_mw - 1)


@pytest.mark.skipif(
    not MAY_LIMIT, reason="it lowers the card's power limit for a moment; allow it with WEOS_GPU_LIMIT=1"
)
def test_a_lower_limit_is_in_force_until_it_is_put_back_also_after_a_kill(card: NvmlDevice, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    limit = open_limit(kept)
    if isinstance(limit, MissingMeter):
        pytest.skip(f"the limit of {card.name} cannot be set here: {limit.reason}")
    own_mw = card.limit_mw()
    lower_mw = (limit.minimum_mw + own_mw) // 2
    try:
        assert limit.set(lower_mw) <= lower_mw
        assert card.limit_mw() <= lower_mw
        limit.restore()
        assert card.limit_mw() == own_mw
        ran = subprocess.run([sys.executable, "-c", KILLED, str(kept), str(lower_mw)], check=False, timeout=120)
        assert ran.returncode == -9
        assert card.limit_mw() <= lower_mw
        assert "put back" in str(restore_left_limit(kept))
        assert card.limit_mw() == own_mw
    finally:
        limit.restore()
        limit.close()
