"""The NVML meter and limit by the real nvidia-ml-py, against a library that stands in for the driver's."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.nvml_stand_in import LEASE, StandIn, build_stand_in

UUID = "GPU-00000000-1111-2222-3333-444444444444"
OPEN = """
from supervisor.adapters.power.model_meter import ModelMeter
from supervisor.adapters.power.nvml import NvmlMeter, open_nvml
from supervisor.domain.power.meter import MissingMeter
meter = open_nvml(ModelMeter(), belongs_to_execution=lambda pid, container_id: pid == 42)
if isinstance(meter, MissingMeter):
    tell([meter.reason, meter.is_there])
    sys.exit()
"""
LIMIT = """
from supervisor.adapters.power.nvml_limit import open_limit, restore_left_limit
from supervisor.domain.errors import EngineError
from supervisor.domain.power.meter import MissingMeter
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


def test_a_driver_that_hangs_is_a_gap_until_it_is_back(gpu: StandIn) -> None:
    read = """
import time
state = Path(sys.argv[1])
text = state.read_text()
state.write_text(text + "hang nvmlDeviceGetTotalEnergyConsumption 1\\n")
faults = [meter.read().faults[0], meter.read().faults[0]]
state.write_text(text)
while (after := meter.read()).faults:
    time.sleep(0.01)
tell([faults, after.energy_uj["gpu-0"] > 0])
"""
    (first, second), is_read_again = gpu.run(OPEN + read, gpu.state)
    assert "nvmlDeviceGetTotalEnergyConsumption: the driver did not answer within 0.5 s" in first
    assert "nvmlDeviceGetMigMode: the driver has not come back from an earlier call" in second
    assert is_read_again


def test_a_driver_that_hangs_does_not_hold_up_the_end(gpu: StandIn) -> None:
    read = """
state = Path(sys.argv[1])
state.write_text(state.read_text() + "hang nvmlDeviceGetTotalEnergyConsumption 1\\n")
tell(meter.read().faults)
meter.close()
"""
    assert "did not answer" in gpu.run(OPEN + read, gpu.state)[0]


def test_an_execution_on_the_card_has_its_energy_and_its_limit(gpu: StandIn, tmp_path: Path) -> None:
    script = """
state = Path(sys.argv[2])
def during(metering):
    first, then = metering.port.read(), metering.port.read()
    return [metering.port.source, metering.gpu_limit_mw, state.read_text(), home.gpu_limit.exists(), then.faults]
facts = meters.facts().on_gpu
told = lease(during)
meters.close()
tell([facts.source, facts.gpu.minimum_mw, facts.gpu.maximum_mw, facts.fault, *told])
"""
    gpu.set(mig=None)
    told = gpu.run(LEASE + script, tmp_path, gpu.state)
    source, minimum_mw, maximum_mw, fault, metered_by, given_mw, state, is_kept, faults = told
    assert (source, minimum_mw, maximum_mw) == ("nvml", 100_000, 700_000)
    assert fault is None
    assert (metered_by, is_kept, faults) == ("nvml", True, [])
    assert 150_000 < given_mw < 190_000
    assert f"limit_mw {given_mw}\n" in state
    assert gpu.get("limit_mw") == "300000"
    assert not (tmp_path / "gpu-limit.json").exists()


def test_where_no_backend_computes_on_a_gpu_the_driver_is_not_asked(gpu: StandIn, tmp_path: Path) -> None:
    gpu.set(error="nvmlInit 999")
    script = "tell([open_gpu(home.calibration, home.gpu_limit, power, ['cpu_avx2']), gpu.limit.reason])"
    assert gpu.run(LEASE + script, tmp_path) == [None, "nvmlInit: Unknown Error"]


def test_an_execution_that_is_killed_leaves_its_limit_for_the_next_start_to_put_back(
    gpu: StandIn, tmp_path: Path
) -> None:
    gpu.run(LEASE + "lease(lambda _metering: os.kill(os.getpid(), signal.SIGKILL))", tmp_path, status=-9)
    given_mw = gpu.get("limit_mw")
    assert given_mw != "300000"
    # The same home, opened by the next supervisor as it starts.
    start = """
import logging
logging.basicConfig(format="%(message)s", stream=sys.stdout)
from supervisor.composition import _open_meters
_open_meters(home, power).close()
tell(home.gpu_limit.exists())
"""
    gpu.set(error="nvmlDeviceSetPowerManagementLimit 4")
    assert gpu.run(LEASE + start, tmp_path) is True
    assert gpu.get("limit_mw") == given_mw
    gpu.set(error=None)
    assert gpu.run(LEASE + start, tmp_path) is False
    assert gpu.get("limit_mw") == "300000"


def test_the_tests_for_a_real_card_pass_on_the_stand_in(gpu: StandIn) -> None:
    environment = {**gpu.environment(), "WEOS_GPU_LIMIT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "skipped" not in ran.stdout, ran.stdout
    assert gpu.get("limit_mw") == "300000"
