from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.execution.calibration import CalibrationStep
from supervisor.adapters.files import write_private
from supervisor.adapters.kernel.host import read_fingerprint
from supervisor.adapters.policies import load_policies
from supervisor.domain.errors import Refusal
from supervisor.domain.policies.policy import PowerPolicy
from supervisor.domain.power.calibration import Interval, measure_calibration
from supervisor.domain.power.meter import MeterChoice, MissingMeter, choose_meter
from supervisor.power.meters import open_meter
from tests.places import REPOSITORY
from tests.powercap import PowercapHost

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NO_ZONE = MissingMeter("no zone", is_there=False)
DENIED = MissingMeter("permission denied: needs root", is_there=True)
NO_LIBRARY = MissingMeter("no library", is_there=False)
MIG = MissingMeter("the device is partitioned (MIG)", is_there=True)
STALE = "the calibration is not valid: it is 91 days old"


def choose(
    *,
    needs_gpu: bool = False,
    rapl: MissingMeter | None = None,
    gpu: MissingMeter | None = None,
    calibration_fault: str | None = None,
    require_sensor: bool = False,
) -> MeterChoice:
    return choose_meter(
        needs_gpu=needs_gpu,
        rapl=rapl,
        gpu=gpu,
        calibration_fault=calibration_fault,
        require_sensor=require_sensor,
    )


def test_processors_with_a_sensor_and_a_calibration_are_measured() -> None:
    assert choose(require_sensor=True) == MeterChoice("rapl", with_rapl=True, fallback_reason=None)


@pytest.mark.parametrize(
    ("rapl", "calibration_fault", "reason"),
    [
        (NO_ZONE, STALE, None),
        (DENIED, STALE, "RAPL: permission denied: needs root"),
        (None, STALE, STALE),
    ],
)
def test_unmeasurable_energy_is_modelled_with_the_reason(
    rapl: MissingMeter | None, calibration_fault: str, reason: str | None
) -> None:
    chosen = choose(rapl=rapl, calibration_fault=calibration_fault)
    assert chosen == MeterChoice("model", with_rapl=False, fallback_reason=reason)


@pytest.mark.parametrize(
    ("rapl", "calibration_fault", "reason"),
    [(NO_ZONE, None, "no energy counter"), (DENIED, None, "needs root"), (None, STALE, "91 days")],
)
def test_a_policy_that_requires_a_sensor_refuses_the_model(
    rapl: MissingMeter | None, calibration_fault: str | None, reason: str
) -> None:
    with pytest.raises(Refusal, match=reason) as caught:
        choose(rapl=rapl, calibration_fault=calibration_fault, require_sensor=True)
    assert caught.value.code == "power_sensor_required"


def test_a_gpu_is_measured_with_or_without_its_processors() -> None:
    assert choose(needs_gpu=True) == MeterChoice("nvml", with_rapl=True, fallback_reason=None)
    stale = choose(needs_gpu=True, calibration_fault=STALE, require_sensor=True)
    assert stale == MeterChoice("nvml", with_rapl=False, fallback_reason=STALE)


def test_a_reason_is_shortened_to_fit_a_record() -> None:
    reason = choose(calibration_fault="x" * 5000).fallback_reason
    assert reason == "x" * 253 + "..."


@pytest.mark.parametrize("gpu", [NO_LIBRARY, MIG])
def test_a_gpu_is_never_modelled(gpu: MissingMeter) -> None:
    assert choose(needs_gpu=True, gpu=gpu) == MeterChoice("nvml", True, f"NVML: {gpu.reason}")
    with pytest.raises(Refusal, match=gpu.reason.partition("(")[0]):
        choose(needs_gpu=True, gpu=gpu, require_sensor=True)


def policy(*, require_sensor: bool = False) -> PowerPolicy:
    power = load_policies(REPOSITORY / "policies").power
    meter = power.meter.model_copy(update={"require_sensor": require_sensor, "calibration_max_age_days": 90})
    return power.model_copy(update={"meter": meter})


@pytest.fixture
def host(tmp_path: Path) -> PowercapHost:
    host = PowercapHost(tmp_path / "host")
    host.add_zone("intel-rapl:0", "package-0")
    host.add_zone("intel-rapl:0:0", "dram")
    return host


@pytest.fixture
def calibration_file(tmp_path: Path, host: PowercapHost) -> Path:
    found = measure_calibration(
        [Interval(10**9, 5_000_000, 0)] * 3,
        [CalibrationStep(busy_cpus=1, power_mw=9000)],
        domains=("package-0", "dram-0"),
        host=read_fingerprint(host.root),
        engine_version="0.1.0",
        now=NOW,
    )
    path = tmp_path / "home" / "calibration.json"
    write_private(path, found.canonical())
    return path


def test_a_host_with_a_sensor_and_a_calibration_is_metered(host: PowercapHost, calibration_file: Path) -> None:
    in_force = open_meter(calibration_file, policy(require_sensor=True), now=NOW, root=host.root)
    assert in_force.meter.source == "rapl"
    assert in_force.meter.domains == ("package-0", "dram-0")
    assert in_force.fallback_reason is None
    assert (in_force.baseline.source, in_force.baseline.idle_mw) == ("measured", 5000)
    assert in_force.calibration is not None
    assert in_force.baseline.id == in_force.calibration.canonical_digest()


def test_a_host_without_a_calibration_is_modelled_and_says_why(host: PowercapHost, tmp_path: Path) -> None:
    in_force = open_meter(tmp_path / "none", policy(), now=NOW, root=host.root)
    assert in_force.meter.source == "model"
    assert in_force.fallback_reason == "there is no calibration; run: weos-engine power calibrate"
    assert in_force.calibration is None
    model = in_force.model
    assert model.family == "unknown"
    assert (in_force.baseline.id, in_force.baseline.idle_mw) == (model.canonical_digest(), 4 * model.idle_mw)


@pytest.mark.parametrize("text", [b"", b"{}"])
def test_a_damaged_calibration_is_not_valid(host: PowercapHost, calibration_file: Path, text: bytes) -> None:
    calibration_file.write_bytes(text)
    in_force = open_meter(calibration_file, policy(), now=NOW, root=host.root)
    assert in_force.meter.source == "model"
    assert "cannot be read" in str(in_force.fallback_reason)


def test_a_calibration_of_another_machine_is_not_valid(host: PowercapHost, calibration_file: Path) -> None:
    (host.root / "etc" / "machine-id").write_text("ffffffffffffffffffffffffffffffff\n")
    in_force = open_meter(calibration_file, policy(), now=NOW, root=host.root)
    assert in_force.meter.source == "model"
    assert "another machine" in str(in_force.fallback_reason)
    with pytest.raises(Refusal):
        open_meter(calibration_file, policy(require_sensor=True), now=NOW, root=host.root)


def test_a_missing_gpu_is_a_gap_and_the_processors_are_still_metered(
    host: PowercapHost, calibration_file: Path
) -> None:
    in_force = open_meter(calibration_file, policy(), now=NOW, gpu_index=99, root=host.root)
    assert in_force.meter.source == "nvml"
    assert in_force.meter.domains == ("package-0", "dram-0", "gpu-99")
    assert str(in_force.fallback_reason).startswith("NVML: ")
    assert in_force.meter.read().energy_uj == {"package-0": 0, "dram-0": 0, "gpu-99": None}
    in_force.meter.close()
