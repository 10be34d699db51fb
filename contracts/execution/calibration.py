"""The calibration of one machine: what it draws when it does nothing, and what a busy processor adds."""

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
    """What makes a calibration that of one machine.

    The kernel is not part of it: its updates come weekly and the age of a calibration is bounded anyway. Memory is
    counted in whole GiB, since the kernel's own count differs by some MiB from one start to the next.
    """

    processor: Annotated[str, StringConstraints(max_length=256)]
    """Its name, as the kernel gives it; empty where it gives none."""
    logical_cpus: _Cpus
    """Logical CPUs that are online."""
    sockets: _Cpus
    """Processor packages."""
    memory_gib: Count
    """Memory, rounded to whole GiB."""
    machine: Digest | None
    """Keyed digest of the machine's id, so that a calibration of another machine of the same kind is told apart; null:
    the machine has no id."""


class CalibrationStep(Contract):
    """Power with some busy processors."""

    busy_cpus: _Cpus
    """Logical CPUs that were kept busy."""
    power_mw: _Milliwatts
    """Median milliwatts of all domains together."""


# The validator of `Calibration` in the words of JSON Schema.
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
    """What `weos-engine power calibrate` found; its digest is the id of the baseline made from it."""

    model_config = ConfigDict(json_schema_extra=_EVIDENCE)

    MAX_BYTES: ClassVar[int] = 65_536

    schema_version: Literal["weos.calibration/1"]
    """Kind and version of this document."""
    engine_version: EngineVersion
    """The engine that measured."""
    measured_at: Timestamp
    """When it ended, UTC."""
    host: HostFingerprint
    """The machine."""
    source: Literal["rapl", "model"]
    """The meter. `model`: nothing was measured, the numbers are those of a row of `policies/power.toml`."""
    family: Annotated[str, StringConstraints(max_length=64)] | None
    """Name of that row; null: measured."""
    domains: Annotated[Many[DomainName], Field(max_length=64)]
    """What was metered, all together in every number below; empty: nothing."""
    idle_mw: _Milliwatts
    """Milliwatts of the idle machine: the median."""
    spread_mw: _Milliwatts
    """Its interquartile range; 0 where nothing was measured."""
    busy_cpu_mw: _Milliwatts
    """Milliwatts that one busy logical CPU adds: the highest of the steps, since what is planned with it must hold."""
    samples: Count
    """Intervals that the median is of; 0: nothing was measured."""
    duration_ms: Count
    """Time that they cover together."""
    steps: Annotated[Many[CalibrationStep], Field(max_length=64)]
    """What `busy_cpu_mw` is the highest of, fewest CPUs first; empty: nothing was measured."""

    @model_validator(mode="after")
    def _require_evidence(self) -> Self:
        is_measured = self.source != "model"
        if is_measured != (self.family is None) or not is_measured == bool(self.domains) == bool(self.samples):
            message = "domains and samples where it was measured, the row's name where it was not"
            raise ValueError(message)
        return self

    def baseline(self) -> PowerBaseline:
        """Return the idle baseline as it stands in records; of a declared one the table's row tells instead.

        Raises:
            ValueError: nothing was measured.
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
