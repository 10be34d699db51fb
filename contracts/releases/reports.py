"""The reports that each engine version is released with: its validation, and its comparison with its predecessor."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from contracts.execution.power_evidence import PowerSource
from contracts.wire.document import Contract, Many
from contracts.wire.types import (
    BackendName,
    Count,
    Digest,
    EngineVersion,
    ExecutionId,
    IsolationTier,
    ModelName,
    Positive,
    QuantizationName,
    ReleaseVersion,
    Timestamp,
)

__all__ = [
    "Candidate",
    "CaseComparison",
    "CaseFigures",
    "ComparedModel",
    "ComparisonReport",
    "ConformanceResult",
    "EscapeResult",
    "ExecutionFigures",
    "Figures",
    "HostDescription",
    "PredecessorFigures",
    "UntriedTier",
    "ValidationReport",
]

_Words = Annotated[str, StringConstraints(min_length=1, max_length=512)]
_CaseName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Ratio = Annotated[float, Field(ge=0)]


class HostDescription(Contract):
    """The machine on which the figures were measured."""

    processor: Annotated[str, StringConstraints(max_length=256)]
    """Name of the processor, as the kernel gives it; empty: the kernel gives none."""
    logical_cpus: Positive
    """Number of logical CPUs that the engine could use."""
    memory_bytes: Positive
    """Main memory in bytes."""


class Candidate(Contract):
    """The version that was tested, and how it was run before it had a manifest."""

    engine_version: ReleaseVersion
    """The version to be released."""
    source: Digest
    """Digest of its source, as in the manifest (`source.digest`)."""
    executed_as: EngineVersion
    """The development version with exactly the same source, under which the tests ran: nothing runs as a version that
    has no manifest yet."""
    public_key: Annotated[str, StringConstraints(max_length=256)]
    """Key that signed the records of these executions: Ed25519 SubjectPublicKeyInfo (DER) in base64."""
    host: HostDescription
    """The machine on which the tests ran."""


class ConformanceResult(Contract):
    """One property of the engine, tested through its API."""

    name: _CaseName
    """Name of the property."""
    backend: BackendName
    """The backend that executed."""
    isolation: IsolationTier
    """Isolation tier of the executions."""
    holds: bool
    """Whether the engine has the property."""
    observed: _Words
    """The observation, in words."""


class EscapeResult(Contract):
    """Result of the escape suite on one sandbox; the complete report is stored beside this report."""

    backend: BackendName
    """The backend whose image was attacked."""
    isolation: IsolationTier
    """Isolation tier of the sandbox."""
    report: Digest
    """SHA-256 of the RFC 8785 form of the escape report."""
    attempts: Positive
    """Number of attacks."""
    as_expected: Count
    """Number of attacks with the expected result."""


class UntriedTier(Contract):
    """An isolation tier that this validation did not test."""

    isolation: IsolationTier
    """Isolation tier."""
    reason: _Words
    """Why the tier was not tested."""


class ValidationReport(Contract):
    """The tests of a version before its release. A version is released only if every test succeeds."""

    schema_version: Literal["weos.validation-report/1"]
    """Kind and version of this document."""
    candidate: Candidate
    """The tested version."""
    model: "ComparedModel"
    """The model that was executed."""
    conformance: Annotated[Many[ConformanceResult], Field(min_length=1, max_length=1024)]
    """Tested properties of the engine."""
    escape: Annotated[Many[EscapeResult], Field(min_length=1, max_length=256)]
    """Results of the escape suite: attacks from inside the sandbox."""
    untried: Annotated[Many[UntriedTier], Field(max_length=16)]
    """Isolation tiers that were not tested."""
    created_at: Timestamp
    """Time at which the report was created, UTC."""

    @property
    def failures(self) -> tuple[str, ...]:
        """The tests that failed, in words."""
        broken = [f"{each.name} on {each.backend}: {each.observed}" for each in self.conformance if not each.holds]
        escaped = [
            f"escape suite on {each.backend} ({each.isolation}): "
            f"{each.attempts - each.as_expected} of {each.attempts} attacks not as expected"
            for each in self.escape
            if each.as_expected != each.attempts
        ]
        return (*broken, *escaped)


class ComparedModel(Contract):
    """The model that was executed."""

    name: ModelName
    """Name under which the model was installed."""
    quantization: QuantizationName
    """Quantization of the model file."""
    sha256: Digest
    """SHA-256 of the model file."""


class Figures(Contract):
    """The metrics of the specification. `null` means that no execution gave the figure."""

    tokens_per_sec: float | None
    """Generated tokens per second."""
    latency_p95_ms: float | None
    """95th percentile of the time per generated token, in ms."""
    watts_avg: float | None
    """Average power attributed to the execution, in W."""
    tokens_per_watt: float | None
    """`tokens_per_sec / watts_avg`, which is tokens per joule."""


class ExecutionFigures(Figures):
    """One execution of the workload."""

    execution_id: ExecutionId
    """Identifier of the execution."""
    record: Digest
    """SHA-256 of the signed payload of the execution's record, which is stored beside this report."""
    output: Digest
    """SHA-256 of the generated text."""
    tokens_total: Count
    """Number of generated tokens."""
    watts_source: PowerSource
    """The meter; `model` is an estimate from CPU time, not a measurement."""


class CaseFigures(Contract):
    """One case of the fixed workload."""

    case: _CaseName
    """Name of the case."""
    backend: BackendName
    """The backend that executed."""
    executions: Annotated[Many[ExecutionFigures], Field(min_length=1, max_length=64)]
    """All repetitions, in order."""
    median: Figures
    """Median of each figure over the executions that have it; of an even number, the lower of the middle two."""


class CaseComparison(Contract):
    """One case of this version, compared with the same case of its predecessor."""

    case: _CaseName
    """Name of the case."""
    backend: BackendName
    """The backend that executed."""
    predecessor: Figures
    """Medians of the predecessor."""
    tokens_per_sec_ratio: _Ratio | None
    """Median of this version divided by the median of the predecessor, rounded to 4 decimals; higher is better. null:
    the figures cannot be compared (see `incomparable`), or one of them was not measured."""
    latency_p95_ratio: _Ratio | None
    """The same ratio for `latency_p95_ms`; lower is better. null: as above."""
    watts_avg_ratio: _Ratio | None
    """The same ratio for `watts_avg`; lower is better at equal speed. null: as above."""
    tokens_per_watt_ratio: _Ratio | None
    """The same ratio for `tokens_per_watt`; higher is better. null: as above."""
    same_output: bool
    """Whether both versions generated the same text."""


class PredecessorFigures(Contract):
    """The predecessor of this version, with figures from its own signed comparison report."""

    engine_version: ReleaseVersion
    """The preceding version."""
    comparison: Digest
    """SHA-256 of the signed payload of its comparison report."""
    host: HostDescription
    """The machine on which its figures were measured."""
    incomparable: Annotated[Many[_Words], Field(max_length=16)]
    """Why its figures cannot be compared with those of this version; empty: they can, and there are ratios."""
    cases: Annotated[Many[CaseComparison], Field(max_length=256)]
    """Cases that both versions have."""


class ComparisonReport(Contract):
    """A fixed workload on this version, compared with the same workload on its predecessor.

    The figures are those of one workload on one machine at one time. They include the load of a shared machine, and say
    nothing about other work or other machines.
    """

    MAX_BYTES: ClassVar[int] = 4_194_304

    schema_version: Literal["weos.comparison-report/1"]
    """Kind and version of this document."""
    candidate: Candidate
    """The measured version."""
    model: ComparedModel
    """The model that was executed."""
    workload: Digest
    """SHA-256 of the RFC 8785 form of the workload: its cases with their prompts, limits and repetitions."""
    cases: Annotated[Many[CaseFigures], Field(min_length=1, max_length=256)]
    """Figures of every case."""
    predecessor: PredecessorFigures | None
    """The preceding version; null: there is none to compare with, `predecessor_reason` says why."""
    predecessor_reason: _Words | None
    """Why there is no predecessor; null: there is one."""
    created_at: Timestamp
    """Time at which the report was created, UTC."""
