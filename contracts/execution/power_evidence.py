"""The raw data from which the power and energy of an execution are computed.

Units: mW * ns = pJ. Energies are whole microjoules, times are nanoseconds of the engine's monotonic clock.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.document import Contract, Many
from contracts.wire.types import Count, Digest, Nanoseconds, Timestamp

__all__ = [
    "MAX_SAMPLES",
    "DomainName",
    "Phase",
    "PowerAction",
    "PowerBaseline",
    "PowerEvidence",
    "PowerLimitEvidence",
    "PowerModel",
    "PowerSample",
    "PowerSource",
    "SampleMark",
]

# A record has room for this many samples; a longer execution is sampled more coarsely.
MAX_SAMPLES = 4096

PowerSource = Literal["model", "rapl", "nvml"]
DomainName = Annotated[str, StringConstraints(pattern=r"^(package|dram|gpu)-[0-9]{1,4}$")]
SampleMark = Literal["start", "job", "tick", "prefill", "end"]
Phase = Literal["load", "prefill", "decode", "job"]
Milliwatts = Annotated[int, Field(ge=0, le=10**9)]


class PowerModel(Contract):
    """The row of `policies/power.toml` for this processor: the electric power of one logical CPU."""

    family: Annotated[str, Field(max_length=64)]
    """Name of the row."""
    idle_mw: Annotated[int, Field(ge=0, le=1_000_000)]
    """Power of one reserved but idle logical CPU, in milliwatts."""
    busy_mw: Annotated[int, Field(ge=1, le=1_000_000)]
    """Power of one fully busy logical CPU, its idle power included, in milliwatts."""
    low_percent: Annotated[int, Field(ge=0, le=100)]
    """Lower bound of the true power, in percent of the estimate."""
    high_percent: Annotated[int, Field(ge=100, le=1000)]
    """Upper bound of the true power, in percent of the estimate."""


class PowerBaseline(Contract):
    """The power of the idle machine: measured by `weos-engine power calibrate`, or declared."""

    id: Digest
    """SHA-256 of the RFC 8785 form of the calibration (`measured`) or of the table's row (`declared`)."""
    source: Literal["measured", "declared"]
    """`measured`: the median of a sensor on the idle machine. `declared`: a row of `policies/power.toml`."""
    idle_mw: Milliwatts
    """Idle power in milliwatts: of all CPU domains together (`measured`), or of all logical CPUs by the table
    (`declared`)."""
    spread_mw: Milliwatts
    """Interquartile range of the measurement, in milliwatts; 0 if nothing was measured."""
    measured_at: Timestamp | None
    """Time of the measurement, UTC; null: declared, not measured."""


class PowerSample(Contract):
    """The counters at one moment, relative to the first sample. `null`: the counter could not be read."""

    at_ns: Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
    """Time in nanoseconds since the first byte of the job was written; negative while the model is loaded."""
    mark: SampleMark
    """`start`: the container has started. `job`: just before the first byte of the job. `prefill`: the prompt has been
    computed. `end`: after the last token. `tick`: any time in between."""
    cpu_time_ns: Nanoseconds | None
    """CPU time of the execution's control group, in ns; null: it could not be read."""
    busy_ns: Nanoseconds | None
    """CPU time of everything on the host, in ns; null: it could not be read, or no sensor requires it."""
    energy_uj: Annotated[dict[DomainName, Count | None], Field(json_schema_extra={"additionalProperties": False})]
    """Energy of each domain in microjoules, corrected for counters that wrapped around; null: the counter could not be
    read."""


class PowerAction(Contract):
    """One setting made by the governor, which keeps the execution under its power limit."""

    at_ns: Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
    """Time in nanoseconds since the first byte of the job was written."""
    quota_nano_cpus: Count
    """CPU time that the control group may use in each second, in nanoseconds."""
    power_mw: Milliwatts | None
    """Power observed over the interval before, in milliwatts; null: no observation yet, or the counters could not be
    read."""


class PowerLimitEvidence(Contract):
    """How the limit `max_watts` was kept or exceeded."""

    cap_mw: Annotated[int, Field(ge=1, le=10**9)]
    """The limit, in milliwatts."""
    basis: Literal["measured", "model"]
    """Origin of the observed power. `measured`: a sensor's energy, attributed to the execution. `model`: estimated from
    the table."""
    tolerance_percent: Annotated[int, Field(ge=0, le=100)]
    """Power up to this many percent above the limit does not count as over it."""
    grace_ms: Count
    """Time that the execution may be over the limit before it is stopped, in milliseconds."""
    windows: Count
    """Number of rolling one-second windows whose power was compared with the limit."""
    windows_over: Count
    """Number of those windows whose power was over limit and tolerance."""
    worst_window_mw: Milliwatts | None
    """Highest power of any window, in milliwatts; null: no window was complete."""
    throttled_ns: Nanoseconds | None
    """Time for which the kernel held the control group back, in ns; null: it could not be read."""
    throttled_periods: Count | None
    """Number of scheduler periods in which the kernel held it back; null: it could not be read."""
    gpu_limit_mw: Milliwatts | None
    """Power limit set on the GPU, in milliwatts; null: no GPU, or the GPU kept its own limit."""
    actions: Annotated[Many[PowerAction], Field(max_length=MAX_SAMPLES)]
    """Settings made by the governor; the first is the setting at the start."""


class PowerEvidence(Contract):
    """The raw data from which the power and energy of an execution were computed."""

    source: PowerSource
    """The meter. `model`: CPU time and a declared table; no electrical quantity was measured. `rapl`: the processor's
    energy counters. `nvml`: a GPU's energy counter; `domains` shows whether the CPUs were metered by `rapl` or
    estimated by `model`."""
    attribution: Literal["weos.attribution/2"]
    """Version of the arithmetic, which is `attribute_energy` in `contracts/execution/attribution.py`."""
    domains: Annotated[Many[DomainName], Field(max_length=64)]
    """Metered domains. The energy of `package-N` and `dram-N` is divided by CPU time; that of `gpu-N` belongs to the
    execution alone. Without any `package-N` the energy of the CPUs is estimated by `model`."""
    exclusive: bool
    """Whether nothing else ran on the host, so that all energy of the CPU domains belongs to the execution. No engine
    can know that yet; a record that says true is refused."""
    interval_ms: Annotated[int, Field(ge=1, le=86_400_000)]
    """Time between two samples marked `tick`, in milliseconds."""
    update_ns: Nanoseconds
    """Time between two updates of the slowest counter, in ns. The energy of shorter times cannot be told apart."""
    model: PowerModel
    """The row of the declared table for this processor."""
    baseline: PowerBaseline
    """Power of the idle machine."""
    fallback_reason: Annotated[str, StringConstraints(max_length=256)] | None
    """Why a better meter was not used, or why this one has gaps; null: there is no better meter, and no gap."""
    host_cpus: Annotated[int, Field(ge=1, le=65_536)]
    """Number of logical CPUs of the host."""
    reserved_cpus: Annotated[int, Field(ge=1, le=4096)]
    """Number of logical CPUs reserved for the execution."""
    samples: Annotated[Many[PowerSample], Field(max_length=MAX_SAMPLES)]
    """Counters over time, in order; at most one sample of each mark except `tick`."""
    limit: PowerLimitEvidence | None
    """How `max_watts` was kept; null: no limit was requested."""

    @property
    def cpu_domains(self) -> tuple[str, ...]:
        """The domains whose energy is divided by CPU time."""
        return tuple(name for name in self.domains if not name.startswith("gpu-"))

    @property
    def gpu_domains(self) -> tuple[str, ...]:
        """The domains whose energy belongs to the execution alone."""
        return tuple(name for name in self.domains if name.startswith("gpu-"))
