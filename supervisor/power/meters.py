"""The meter in force on this host: opens the meters, reads the calibration, and lets the domain choose."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from contracts.execution.calibration import Calibration, HostFingerprint
from contracts.execution.power_evidence import DomainName, PowerBaseline, PowerModel
from contracts.wire.errors import ContractError
from supervisor.adapters.kernel.cgroup import is_in_container, judge_quotas
from supervisor.adapters.kernel.host import read_fingerprint
from supervisor.adapters.power.model_meter import ModelMeter
from supervisor.adapters.power.nvml import BelongsToExecution, GapMeter, open_nvml
from supervisor.adapters.power.nvml_limit import open_limit
from supervisor.adapters.power.rapl import open_rapl
from supervisor.domain.errors import Refusal
from supervisor.domain.policies.policy import PowerPolicy
from supervisor.domain.power.calibration import derive_baseline, judge_calibration
from supervisor.domain.power.energy import select_power_model
from supervisor.domain.power.facts import GPU_BACKENDS, PowerFacts
from supervisor.domain.power.meter import MeterPort, MissingMeter, choose_meter
from supervisor.domain.power.metering import Metering
from supervisor.power.meter_leases import GpuAccess

__all__ = ["FoundCalibration", "find_calibration", "open_gpu", "open_meter", "open_metering", "read_power_facts"]

# An execution's container gets one device.
GPU_INDEX = 0
HOW_TO_FIX = "run: weos-engine power calibrate"


@dataclass(frozen=True, slots=True)
class FoundCalibration:
    """The stored calibration."""

    calibration: Calibration | None
    """None means that there is no readable calibration."""
    fault: str | None
    """Why it is not valid; None means that it is valid."""


@dataclass(frozen=True, slots=True)
class MeterInForce:
    """The meter of an execution, and the facts about it in the record."""

    meter: MeterPort
    """The open meter; its holder must close it."""
    baseline: PowerBaseline
    model: PowerModel
    """The table's row for this processor."""
    calibration: Calibration | None
    """The valid calibration; None means that there is none."""
    fallback_reason: str | None
    """Why a better meter is not used; None means that this machine has no better meter."""
    host: HostFingerprint


def find_calibration(
    path: Path, host: HostFingerprint, now: datetime, max_age_days: int, *, domains: tuple[DomainName, ...]
) -> FoundCalibration:
    """Read the stored calibration and check whether it is valid.

    Args:
        path: its file.
        host: this machine.
        now: current time, UTC.
        max_age_days: maximum age that the policy allows.
        domains: the domains that can be metered now.
    """
    try:
        calibration = Calibration.parse(path.read_bytes())
    except FileNotFoundError:
        return FoundCalibration(None, f"there is no calibration; {HOW_TO_FIX}")
    except (OSError, ContractError) as error:
        return FoundCalibration(None, f"the calibration cannot be read ({error}); {HOW_TO_FIX}")
    fault = judge_calibration(calibration, host, now, max_age_days, domains=domains)
    return FoundCalibration(
        calibration, None if fault is None else f"the calibration is not valid: {fault}; {HOW_TO_FIX}"
    )


def open_meter(
    calibration_file: Path,
    policy: PowerPolicy,
    *,
    now: datetime,
    gpu_index: int | None = None,
    root: Path = Path("/"),
) -> MeterInForce:
    """Open the best meter that can be used.

    Args:
        calibration_file: file of the calibration.
        policy: `power.toml`.
        now: current time, UTC.
        gpu_index: number of the GPU in use; None means that no GPU is used.
        root: directory that contains the host's /sys, /proc and /etc.

    Raises:
        Refusal: ``power_sensor_required``.
    """
    host = read_fingerprint(root)
    model = select_power_model(host.processor, policy)
    rapl = open_rapl(root)
    rapl_fault = rapl if isinstance(rapl, MissingMeter) else None
    found = find_calibration(
        calibration_file,
        host,
        now,
        policy.meter.calibration_max_age_days,
        domains=() if isinstance(rapl, MissingMeter) else rapl.domains,
    )
    counts = found.calibration if found.fault is None else None
    cpu: MeterPort = ModelMeter() if isinstance(rapl, MissingMeter) or counts is None else rapl
    meter: MeterPort = cpu
    gpu_fault = None
    if gpu_index is not None:
        belongs_to_execution: BelongsToExecution = partial(is_in_container, root=root)
        gpu = open_nvml(cpu, index=gpu_index, belongs_to_execution=belongs_to_execution)
        if isinstance(gpu, MissingMeter):
            gpu_fault, meter = gpu, GapMeter(gpu_index, cpu, gpu.reason)
        else:
            meter = gpu
    try:
        choice = choose_meter(
            needs_gpu=gpu_index is not None,
            rapl=rapl_fault,
            gpu=gpu_fault,
            calibration_fault=found.fault,
            require_sensor=policy.meter.require_sensor,
        )
    except Refusal:
        meter.close()
        raise
    baseline = derive_baseline(counts if choice.with_rapl else None, model, host.logical_cpus)
    return MeterInForce(meter, baseline, model, counts, choice.fallback_reason, host)


def open_metering(
    calibration_file: Path, policy: PowerPolicy, *, root: Path = Path("/"), gpu_index: int | None = None
) -> Metering:
    """Open the meter of executions on CPUs, or on a GPU.

    If a policy requires a sensor and none is in force, each execution is refused, but the engine still starts: it must
    be able to serve earlier records and to say why it refuses.

    Args:
        calibration_file: file of the calibration.
        policy: `power.toml`.
        root: directory that contains the host's /sys, /proc and /etc.
        gpu_index: number of the GPU; None means that no GPU is used.
    """
    sensor_fault = None
    try:
        found = open_meter(calibration_file, policy, now=datetime.now(UTC), gpu_index=gpu_index, root=root)
    except Refusal as refusal:
        sensor_fault = refusal.detail
        lenient = policy.meter.model_copy(update={"require_sensor": False})
        policy = policy.model_copy(update={"meter": lenient})
        found = open_meter(calibration_file, policy, now=datetime.now(UTC), gpu_index=gpu_index, root=root)
    calibration = found.calibration
    return Metering(
        port=found.meter,
        model=found.model,
        baseline=found.baseline,
        fallback_reason=found.fallback_reason,
        host_cpus=found.host.logical_cpus,
        interval_ms=policy.meter.interval_ms,
        quota_fault=judge_quotas(),
        sensor_fault=sensor_fault,
        measured_cpu_mw=calibration.busy_cpu_mw if calibration is not None and calibration.domains else None,
    )


def open_gpu(
    calibration_file: Path, kept_limit: Path, policy: PowerPolicy, backends: Collection[str], *, root: Path = Path("/")
) -> GpuAccess | None:
    """Open the first GPU, or return None if no backend uses one.

    Args:
        calibration_file: file of the calibration.
        kept_limit: file that keeps the card's own power limit while an execution has set another.
        policy: `power.toml`.
        backends: names of the defined backends.
        root: directory that contains the host's /sys, /proc and /etc.
    """
    if GPU_BACKENDS.isdisjoint(backends):
        return None
    opening = partial(open_metering, calibration_file, policy, root=root, gpu_index=GPU_INDEX)
    return GpuAccess(opening, open_limit(kept_limit, GPU_INDEX))


def read_power_facts(calibration_file: Path, policy: PowerPolicy, *, root: Path = Path("/")) -> PowerFacts:
    """Return the facts about the meter of executions on CPUs that planning needs, without keeping it open."""
    metering = open_metering(calibration_file, policy, root=root)
    metering.port.close()
    return metering.facts()
