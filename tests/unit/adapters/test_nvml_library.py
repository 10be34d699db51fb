"""The NVML meter and limit by the real nvidia-ml-py, against a library that stands in for the driver's."""

from pathlib import Path

import pytest

from tests.nvml_stand_in import StandIn, build_stand_in

UUID = "GPU-00000000-1111-2222-3333-444444444444"
OPEN = """
from supervisor.adapters.model_meter import ModelMeter
from supervisor.adapters.nvml import NvmlMeter, open_nvml
from supervisor.domain.meter import MissingMeter
meter = open_nvml(ModelMeter(), is_ours=lambda pid, container_id: pid == 42)
if isinstance(meter, MissingMeter):
    tell([meter.reason, meter.is_there])
    sys.exit()
"""
LIMIT = """
from supervisor.adapters.nvml_limit import open_limit, restore_left_limit
from supervisor.domain.errors import EngineError
from supervisor.domain.meter import MissingMeter
kept = Path(sys.argv[1])
def code_of(call):
    try:
        return call()
    except EngineError as error:
        return error.code
limit = open_limit(kept)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stand_in(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def gpu(library: Path, tmp_path: Path) -> StandIn:
    return StandIn(library, tmp_path / "device")


def test_the_energy_of_a_device_of_our_own_is_counted(gpu: StandIn) -> None:
    gpu.set(energy_mj="5000", compute="42")
    read = """
first = meter.read()
state = Path(sys.argv[1])
state.write_text(state.read_text().replace("energy_mj 5000", "energy_mj 5250"))
second = meter.read()
meter.close()
tell([meter.source, meter.domains, meter.update_ns, first.energy_uj, second.energy_uj, second.faults])
"""
    told = gpu.run(OPEN + read, gpu.state)
    assert told == ["nvml", ["gpu-0"], 100_000_000, {"gpu-0": 0}, {"gpu-0": 250_000}, []]


def test_the_counter_moves_with_time(gpu: StandIn) -> None:
    read = "import time\nfirst = meter.read().energy_uj['gpu-0']\ntime.sleep(0.1)\n"
    first, second = gpu.run(OPEN + read + "tell([first, meter.read().energy_uj['gpu-0']])")
    assert second - first >= 10_000_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mig": "1"}, "partitioned (MIG)"),
        ({"compute": "4711"}, "another process (4711)"),
        ({"graphics": "4712"}, "another process (4712)"),
        ({"power_mw": None}, "nvmlDeviceGetTotalEnergyConsumption: Not Supported"),
        ({"error": "nvmlDeviceGetComputeRunningProcesses 4"}, "Insufficient Permissions"),
        ({"error": "nvmlDeviceGetGraphicsRunningProcesses 15"}, "GPU is lost"),
        ({"error": "nvmlDeviceGetMigMode 999"}, "Unknown Error"),
        ({"error": "nvmlDeviceGetUUID 15"}, "GPU is lost"),
        ({"error": "nvmlInit 18"}, "version mismatch"),
    ],
)
def test_a_counter_that_is_not_ours_alone_is_not_used(gpu: StandIn, change: dict[str, str | None], reason: str) -> None:
    gpu.set(**change)
    told, is_there = gpu.run(OPEN + "tell(['opened', False])")
    assert reason in told
    assert is_there


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"devices": "0"}, "has 0 devices"), ({"error": "nvmlInit 9"}, "nvmlInit: Driver Not Loaded")],
)
def test_a_machine_without_a_device_says_so(gpu: StandIn, change: dict[str, str], reason: str) -> None:
    gpu.set(**change)
    told, is_there = gpu.run(OPEN + "tell(['opened', True])")
    assert reason in told
    assert not is_there


@pytest.mark.parametrize("change", [{"mig": None}, {"error": "nvmlDeviceGetGraphicsRunningProcesses 3"}])
def test_a_device_without_that_mode_can_be_metered(gpu: StandIn, change: dict[str, str | None]) -> None:
    gpu.set(**change)
    assert gpu.run(OPEN + "tell(meter.domains)") == ["gpu-0"]


def test_a_device_that_falls_off_the_bus_is_a_gap(gpu: StandIn) -> None:
    read = """
state = Path(sys.argv[1])
state.write_text(state.read_text() + "error nvmlDeviceGetTotalEnergyConsumption 15\\n")
reading = meter.read()
tell([reading.energy_uj, reading.faults])
"""
    energy_uj, faults = gpu.run(OPEN + read, gpu.state)
    assert energy_uj == {"gpu-0": None}
    assert faults == ["gpu-0: nvmlDeviceGetTotalEnergyConsumption: GPU is lost"]


def test_without_the_library_there_is_no_meter(tmp_path: Path) -> None:
    bare = StandIn(tmp_path, tmp_path / "device")
    assert bare.run(OPEN + "tell('opened')") == ["nvmlInit: NVML Shared Library Not Found", False]


def test_the_limit_is_set_and_put_back(gpu: StandIn, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    script = """
limit.set(250000)
during = [Path(sys.argv[2]).read_text(), kept.read_text()]
limit.set(200000)
limit.restore()
limit.restore()
limit.close()
tell([limit.minimum_mw, limit.maximum_mw, during, kept.exists()])
"""
    minimum, maximum, (state, text), is_kept = gpu.run(LIMIT + script, kept, gpu.state)
    assert (minimum, maximum) == (100_000, 700_000)
    assert "limit_mw 250000" in state
    assert text == f'{{"limit_mw":300000,"uuid":"{UUID}"}}'
    assert not is_kept
    assert gpu.get("limit_mw") == "300000"


def test_a_limit_that_a_crash_left_is_put_back_at_the_next_start(gpu: StandIn, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    gpu.run(LIMIT + "import os, signal\nlimit.set(150000)\nos.kill(os.getpid(), signal.SIGKILL)", kept, status=-9)
    assert gpu.get("limit_mw") == "150000"
    told = gpu.run(LIMIT + "tell([restore_left_limit(kept), restore_left_limit(kept)])", kept)
    assert told == ["put back the power limit of Stand-in Graphics 1 (300 W) that a supervisor left behind", None]
    assert gpu.get("limit_mw") == "300000"
    assert not kept.exists()


@pytest.mark.parametrize("wanted_mw", [99_999, 700_001])
def test_a_limit_that_the_device_does_not_take_is_refused(gpu: StandIn, tmp_path: Path, wanted_mw: int) -> None:
    kept = tmp_path / "kept.json"
    told = gpu.run(LIMIT + f"tell(code_of(lambda: limit.set({wanted_mw})))", kept)
    assert told == "power_limit_unenforceable"
    assert not kept.exists()
    assert gpu.get("limit_mw") == "300000"


@pytest.mark.parametrize(
    "change",
    ["error nvmlDeviceSetPowerManagementLimit 4", "error nvmlDeviceGetPowerManagementLimit 15", "stubborn 1"],
)
def test_a_limit_that_is_not_in_force_is_refused(gpu: StandIn, tmp_path: Path, change: str) -> None:
    kept = tmp_path / "kept.json"
    script = """
state = Path(sys.argv[2])
state.write_text(state.read_text() + sys.argv[3] + "\\n")
tell(code_of(lambda: limit.set(150000)))
"""
    assert gpu.run(LIMIT + script, kept, gpu.state, change) == "power_limit_unenforceable"
    assert not kept.exists()


@pytest.mark.parametrize("function", ["Set", "Get"])
def test_a_limit_that_this_user_may_not_set_is_none(gpu: StandIn, tmp_path: Path, function: str) -> None:
    gpu.set(error=f"nvmlDevice{function}PowerManagementLimit 4")
    reason, is_there = gpu.run(LIMIT + "tell([limit.reason, limit.is_there])", tmp_path / "kept.json")
    assert "Insufficient Permissions" in reason
    assert is_there


def test_what_cannot_be_put_back_stays_kept(gpu: StandIn, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    gpu.run(LIMIT + "limit.set(150000)\nlimit.close()", kept)
    refuse = "Path(sys.argv[2]).open('a').write('error nvmlDeviceSetPowerManagementLimit 4\\n')\n"
    told = gpu.run(LIMIT + refuse + "tell(code_of(limit.restore))", kept, gpu.state)
    assert told == "power_limit_not_restored"
    assert gpu.run(LIMIT + "tell(code_of(lambda: restore_left_limit(kept)))", kept) == "power_limit_not_restored"
    gpu.set(error="nvmlDeviceGetHandleByUUID 15")
    assert gpu.run(LIMIT + "tell(code_of(lambda: restore_left_limit(kept)))", kept) == "power_limit_not_restored"
    assert kept.exists()


def test_a_device_without_a_limit_says_so(gpu: StandIn, tmp_path: Path) -> None:
    gpu.set(range_mw=None)
    told = gpu.run(LIMIT + "tell([limit.reason, limit.is_there])", tmp_path / "kept.json")
    assert told == ["nvmlDeviceGetPowerManagementLimitConstraints: Not Supported", True]
