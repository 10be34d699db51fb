"""The calibration of one machine: its idle power, and the power that a busy processor adds."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from contracts.execution.power_evidence import DomainName, PowerBaseline
from contracts.wire.document import Contract, Many
from contracts.wire.types import Count, Digest, EngineVersion, Timestamp

__all__ = ["Calibration", "CalibrationStep", "HostFingerprint"]

_Milliwatts = Annotated[int, Field(ge=0, le=10**9)]
_Cpus = Annotated[int, Field(ge=1, le=65_536)]


class HostFingerprint(Contract):
    """The properties that identify the calibrated machine.

    The kernel release is left out: kernel updates come weekly, and the age of a calibration is limited anyway. Memory
    is rounded to whole GiB, since the kernel's own number differs by some MiB from one start to the next.
    """

    processor: Annotated[str, StringConstraints(max_length=256)]
    """Name of the processor, as the kernel gives it; empty: the kernel gives none."""
    logical_cpus: _Cpus
    """Number of logical CPUs that are online."""
    sockets: _Cpus
    """Number of processor packages."""
    memory_gib: Count
    """Memory, rounded to whole GiB."""
    machine: Digest | None
    """Keyed digest of the machine's id, which distinguishes machines of the same kind; null: the machine has no id."""


class CalibrationStep(Contract):
    """Power with a certain number of busy CPUs."""

    busy_cpus: _Cpus
    """Number of logical CPUs that were kept busy."""
    power_mw: _Milliwatts
    """Median power of all domains together, in milliwatts."""


# The validator of `Calibration` as JSON Schema.
_EVIDENCE: JsonDict = {
    "if": {"properties": {"source": {"const": "model"}}},
    "then": {
        "properties": {"family": {"type": "string"}, "domains": {"maxItems": 0}, "samples": {"const": 0}},
    },
    "else": {
        "properties": {"family": {"type": "null"}, "domains": {"minItems": 1}, "samples": {"minimum": 1}},
    },
}


class Calibration(Contract):
    """Result of `weos-engine power calibrate`. Its digest is the id of the baseline derived from it."""

    model_config = ConfigDict(json_schema_extra=_EVIDENCE)

    MAX_BYTES: ClassVar[int] = 65_536

    schema_version: Literal["weos.calibration/1"]
    """Kind and version of this document."""
    engine_version: EngineVersion
    """The engine that measured."""
    measured_at: Timestamp
    """Time at which the measurement ended, UTC."""
    host: HostFingerprint
    """The calibrated machine."""
    source: Literal["rapl", "model"]
    """The meter. `model`: nothing was measured, and all numbers come from a row of `policies/power.toml`."""
    family: Annotated[str, StringConstraints(max_length=64)] | None
    """Name of that row; null: measured."""
    domains: Annotated[Many[DomainName], Field(max_length=64)]
    """Metered domains; every power below is that of all of them together. Empty: nothing was measured."""
    idle_mw: _Milliwatts
    """Median power of the idle machine, in milliwatts."""
    spread_mw: _Milliwatts
    """Interquartile range of the idle power, in milliwatts; 0 if nothing was measured."""
    busy_cpu_mw: _Milliwatts
    """Power that one busy logical CPU adds, in milliwatts: the highest value of all steps, so that power limits planned
    with it hold."""
    samples: Count
    """Number of intervals from which the median was computed; 0: nothing was measured."""
    duration_ms: Count
    """Total duration of those intervals, in milliseconds."""
    steps: Annotated[Many[CalibrationStep], Field(max_length=64)]
    """Measurements from which `busy_cpu_mw` was computed, fewest CPUs first; empty: nothing was measured."""

    @model_validator(mode="after")
    def _require_evidence(self) -> Self:
        is_measured = self.source != "model"
        if is_measured != (self.family is None) or not is_measured == bool(self.domains) == bool(self.samples):
            message = "a measured calibration needs domains and samples; one from the table needs the name of its row"
            raise ValueError(message)
        return self

    def baseline(self) -> PowerBaseline:
        """Return the idle baseline that records contain.

        Raises:
            ValueError: nothing was measured; the baseline then comes from the table's row.
        """
        if self.source == "model":
            message = "nothing was measured"
            raise ValueError(message)
        return PowerBaseline(
            id=self.canonical_digest(),
            source="measured",
            idle_mw=self.idle_mw,
            spread_mw=self.spread_mw,
            measured_at=self.measured_at,
        )
