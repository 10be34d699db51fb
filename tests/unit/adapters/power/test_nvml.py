"""What meter and limit make of a device; test_nvml_library has the driver's library, tests/gpu a card."""

from pathlib import Path

import pytest

from supervisor.adapters.power.model_meter import ModelMeter
from supervisor.adapters.power.nvml import GapMeter, NvmlMeter
from supervisor.adapters.power.nvml_limit import NvmlLimit, restore_left_limit
from supervisor.adapters.power.rapl import RaplMeter, open_rapl
from supervisor.domain.errors import EngineError
from tests.gpu_device import OURS, FakeDevice
from tests.powercap import Clock, PowercapHost

CONTAINER = "f" * 64


def belongs_to_execution(pid: int, container_id: str | None) -> bool:
    return pid == OURS and container_id == CONTAINER


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


def opened(device: FakeDevice) -> NvmlMeter:
    meter = NvmlMeter(device, ModelMeter(), belongs_to_execution)
    meter.follow(CONTAINER)
    return meter


def test_a_device_and_processors_are_read_together(device: FakeDevice, tmp_path: Path) -> None:
    host, clock = PowercapHost(tmp_path), Clock()
    host.add_zone("intel-rapl:0", "package-0", 5)
    rapl = open_rapl(tmp_path, clock=clock)
    assert isinstance(rapl, RaplMeter)
    meter = NvmlMeter(device, rapl, belongs_to_execution)
    meter.follow(CONTAINER)
    assert (meter.source, meter.domains) == ("nvml", ("package-0", "gpu-1"))
    host.set_energy("intel-rapl:0", 25)
    device.counter_uj += 1000
    reading = meter.read()
    assert reading.energy_uj == {"package-0": 20, "gpu-1": 1000}
    assert reading.busy_ns == 0
    host.set_energy("intel-rapl:0", "gone")
    assert meter.read().energy_uj == {"package-0": None, "gpu-1": 1000}


def test_a_stranger_on_the_device_makes_a_gap_that_stays(device: FakeDevice) -> None:
    meter = opened(device)
    device.pids = frozenset({OURS, 4711})
    assert meter.read().energy_uj == {"gpu-1": None}
    device.pids = frozenset({OURS})
    reading = meter.read()
    assert reading.energy_uj == {"gpu-1": None}
    assert "another process (4711)" in reading.faults[0]


def test_a_process_is_a_strangers_until_the_container_is_known_and_in_every_other_one(device: FakeDevice) -> None:
    for container_id in (None, "e" * 64):
        device.pids = frozenset({OURS})
        meter = NvmlMeter(device, ModelMeter(), belongs_to_execution)
        if container_id is not None:
            meter.follow(container_id)
        assert "another process (42)" in meter.read().faults[0]


def test_a_driver_that_was_loaded_again_is_not_negative_energy(device: FakeDevice) -> None:
    meter = opened(device)
    device.counter_uj = 3
    reading = meter.read()
    assert reading.energy_uj == {"gpu-1": None}
    assert "loaded again" in reading.faults[0]
    device.counter_uj = 8_000_000
    assert meter.read().energy_uj == {"gpu-1": None}


def test_an_error_of_the_driver_is_a_gap_that_closes(device: FakeDevice) -> None:
    meter = opened(device)
    device.fault = "busy"
    assert meter.read().faults == ("gpu-1: busy",)
    device.fault = None
    device.counter_uj += 5
    assert meter.read().energy_uj == {"gpu-1": 5}
    meter.close()
    assert device.is_closed


def test_a_device_without_a_counter_is_a_gap_with_its_reason_at_every_reading() -> None:
    meter = GapMeter(0, ModelMeter(), "it is partitioned")
    reading = meter.read()
    assert (meter.source, meter.domains) == ("nvml", ("gpu-0",))
    assert reading.energy_uj == {"gpu-0": None}
    assert reading.faults == ("NVML: it is partitioned",)
    meter.follow(CONTAINER)
    meter.close()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "run" / "limit.json"


def code_of(error: pytest.ExceptionInfo[EngineError]) -> str:
    return error.value.code


def test_the_devices_own_limit_is_kept_before_another_is_set(device: FakeDevice, kept: Path) -> None:
    limit = NvmlLimit(device, kept)
    assert limit.set(200_000) == 200_000
    assert limit.set(150_000) == 150_000
    assert kept.read_bytes() == b'{"limit_mw":300000,"uuid":"GPU-fake"}'
    assert device.limit_in_force_mw == 150_000
    limit.restore()
    assert device.limit_in_force_mw == 300_000
    assert not kept.exists()
    limit.restore()
    limit.close()
    assert device.is_closed


def test_a_limit_that_whoever_runs_the_machine_has_set_is_never_raised(device: FakeDevice, kept: Path) -> None:
    limit = NvmlLimit(device, kept)
    assert limit.set(350_000) == 300_000
    assert device.limit_in_force_mw == 300_000
    limit.set(150_000)
    assert limit.set(350_000) == 300_000


def test_no_limit_is_set_where_the_own_one_cannot_be_kept(device: FakeDevice, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(EngineError) as caught:
        NvmlLimit(device, tmp_path / "run" / "limit.json").set(200_000)
    assert caught.value.code in {"power_limit_unenforceable", "power_limit_not_restored"}
    assert device.limit_in_force_mw == 300_000


def test_the_kept_limit_of_another_device_is_not_lost(device: FakeDevice, kept: Path) -> None:
    kept.parent.mkdir()
    kept.write_bytes(b'{"limit_mw":250000,"uuid":"GPU-other"}')
    limit = NvmlLimit(device, kept)
    with pytest.raises(EngineError) as caught:
        limit.set(200_000)
    assert code_of(caught) == "power_limit_unenforceable"
    with pytest.raises(EngineError) as caught:
        limit.restore()
    assert code_of(caught) == "power_limit_not_restored"
    assert kept.exists()
    assert device.limit_in_force_mw == 300_000


@pytest.mark.parametrize("text", [b"", b"{}", b'{"limit_mw":0,"uuid":"GPU-fake"}'])
def test_a_damaged_file_is_not_taken_for_none(device: FakeDevice, kept: Path, text: bytes) -> None:
    kept.parent.mkdir()
    kept.write_bytes(text)
    with pytest.raises(EngineError) as caught:
        NvmlLimit(device, kept).set(200_000)
    assert code_of(caught) == "power_limit_not_restored"
    with pytest.raises(EngineError) as caught:
        restore_left_limit(kept)
    assert code_of(caught) == "power_limit_not_restored"
    assert device.limit_in_force_mw == 300_000


def test_without_a_kept_limit_the_start_has_nothing_to_do(kept: Path) -> None:
    assert restore_left_limit(kept) is None


def test_a_limit_that_cannot_be_put_back_tells_how_by_hand(device: FakeDevice, kept: Path) -> None:
    limit = NvmlLimit(device, kept)
    limit.set(200_000)
    device.fault = "lost"
    with pytest.raises(EngineError, match="nvidia-smi -i GPU-fake -pl 300"):
        limit.restore()
    assert kept.exists()
