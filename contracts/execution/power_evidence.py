"""What the watts of an execution are computed from, and the arithmetic: pure, exact, the same for engine and auditor.

Units: mW * ns = pJ. Energies are counted in whole microjoules, times in nanoseconds of the engine's monotonic clock.
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
]  # A record has room for as many; a longer execution is sampled more coarsely.
MAX_SAMPLES = 4096

PowerSource = Literal["model", "rapl", "nvml"]
DomainName = Annotated[str, StringConstraints(pattern=r"^(package|dram|gpu)-[0-9]{1,4}$")]
SampleMark = Literal["start", "job", "tick", "prefill", "end"]
Phase = Literal["load", "prefill", "decode", "job"]
Milliwatts = Annotated[int, Field(ge=0, le=10**9)]


class PowerModel(Contract):
    """The row of `policies/power.toml` that speaks of this processor: electric power of one logical CPU."""

    family: Annotated[str, Field(max_length=64)]
    """Name of the row."""
    idle_mw: Annotated[int, Field(ge=0, le=1_000_000)]
    """Milliwatts of one reserved logical CPU that does nothing."""
    busy_mw: Annotated[int, Field(ge=1, le=1_000_000)]
    """Milliwatts of one logical CPU fully busy, idle share included."""
    low_percent: Annotated[int, Field(ge=0, le=100)]
    """Lower bound of the truth, in percent of the estimate."""
    high_percent: Annotated[int, Field(ge=100, le=1000)]
    """Upper bound of the truth, in percent of the estimate."""


class PowerBaseline(Contract):
    """What the machine draws when it does nothing: measured by `weos-engine power calibrate`, or declared."""

    id: Digest
    """SHA-256 over the RFC 8785 form of the calibration, or of the table's row."""
    source: Literal["measured", "declared"]
    """`measured`: the median of an idle machine's sensor. `declared`: the table's row."""
    idle_mw: Milliwatts
    """Milliwatts of all CPU domains together (`measured`), or of all logical CPUs by the row (`declared`)."""
    spread_mw: Milliwatts
    """Interquartile range of the measurement, in milliwatts; 0 where nothing was measured."""
    measured_at: Timestamp | None
    """When, UTC; null: declared."""


class PowerSample(Contract):
    """Counters at one moment, as they stood beyond the first sample's. Null: not to be read then."""

    at_ns: Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
    """Nanoseconds since the first byte of the job was written; negative while the model loads."""
    mark: SampleMark
    """`start`: the container runs. `job`: before the first byte. `prefill`: the prompt is computed. `end`: after the
    last token. `tick`: in between."""
    cpu_time_ns: Nanoseconds | None
    """CPU time of the execution's control group."""
    busy_ns: Nanoseconds | None
    """CPU time of everything on the host; null also where no sensor needs it."""
    energy_uj: Annotated[dict[DomainName, Count | None], Field(json_schema_extra={"additionalProperties": False})]
    """Microjoules by domain, wrap-around undone; null: a gap."""


class PowerAction(Contract):
    """One setting of the governor's."""

    at_ns: Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
    """When, as in samples."""
    quota_nano_cpus: Count
    """CPU time per second that the control group is given, in nanoseconds."""
    power_mw: Milliwatts | None
    """What was observed over the interval before; null: nothing yet, or a gap."""


class PowerLimitEvidence(Contract):
    """How `max_watts` was kept, or was not."""

    cap_mw: Annotated[int, Field(ge=1, le=10**9)]
    """The limit."""
    basis: Literal["measured", "model"]
    """What the observed power is: a sensor's, attributed, or the table's."""
    tolerance_percent: Annotated[int, Field(ge=0, le=100)]
    """So much above the limit is not over it."""
    grace_ms: Count
    """So long it may be over the limit before it is stopped."""
    windows: Count
    """Rolling windows of one second that were judged."""
    windows_over: Count
    """Those over limit and tolerance."""
    worst_window_mw: Milliwatts | None
    """The highest; null: no window was complete."""
    throttled_ns: Nanoseconds | None
    """Time for which the kernel held the control group back; null: not to be read."""
    throttled_periods: Count | None
    """Periods in which it did; null: not to be read."""
    gpu_limit_mw: Milliwatts | None
    """Power limit that the device was given; null: no device, or its own."""
    actions: Annotated[Many[PowerAction], Field(max_length=MAX_SAMPLES)]
    """What the governor set; the first is the setting at the start."""


class PowerEvidence(Contract):
    """What the watts were computed from."""

    source: PowerSource
    """The meter. `model`: CPU time and a declared table; nothing electrical was measured. `rapl`: the processor's
    energy counters. `nvml`: a GPU's energy counter, and for the CPUs whichever of the others the domains show."""
    attribution: Literal["weos.attribution/2"]
    """Version of the arithmetic, see `attribute_energy`."""
    domains: Annotated[Many[DomainName], Field(max_length=64)]
    """What is metered. `package-N` and `dram-N` are shared by CPU time, `gpu-N` is the execution's whole. Without a
    `package-N` the CPUs' part is the model's."""
    exclusive: bool
    """Whether nothing else ran on the host, so that the CPU domains are the execution's whole. No engine knows that
    yet, and a record that says so is refused."""
    interval_ms: Annotated[int, Field(ge=1, le=86_400_000)]
    """Time between two ticks."""
    update_ns: Nanoseconds
    """How often the slowest counter moves: shorter times cannot be told apart."""
    model: PowerModel
    """The table's row."""
    baseline: PowerBaseline
    """What an idle machine draws."""
    fallback_reason: Annotated[str, StringConstraints(max_length=256)] | None
    """Why a better meter was not used, and why this one has gaps; null: there is no better one, and it has none."""
    host_cpus: Annotated[int, Field(ge=1, le=65_536)]
    """Logical CPUs of the host."""
    reserved_cpus: Annotated[int, Field(ge=1, le=4096)]
    """Logical CPUs leased to the execution."""
    samples: Annotated[Many[PowerSample], Field(max_length=MAX_SAMPLES)]
    """Counters over time, in order; at most one of each mark but `tick`."""
    limit: PowerLimitEvidence | None
    """How `max_watts` was kept; null: none was asked for."""

    @property
    def cpu_domains(self) -> tuple[str, ...]:
        """Domains that are shared by CPU time."""
        return tuple(name for name in self.domains if not name.startswith("gpu-"))

    @property
    def gpu_domains(self) -> tuple[str, ...]:
        """Domains that belong to the execution alone."""
        return tuple(name for name in self.domains if name.startswith("gpu-"))
