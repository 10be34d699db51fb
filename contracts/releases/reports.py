"""The reports that an engine version is released with: its validation, and its comparison with the one before."""

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
    """The machine that the figures are from."""

    processor: Annotated[str, StringConstraints(max_length=256)]
    """Its name as the kernel has it; empty: the kernel has none."""
    logical_cpus: Positive
    """Logical CPUs that the engine could use."""
    memory_bytes: Positive
    """Main memory."""


class Candidate(Contract):
    """What was tried: the version to be, and how it was run before its manifest was there."""

    engine_version: ReleaseVersion
    """The version to be."""
    source: Digest
    """Digest of its source, as the manifest has it."""
    executed_as: EngineVersion
    """The development version of the very same source, as which it ran: nothing runs as a version that has no manifest
    yet."""
    public_key: Annotated[str, StringConstraints(max_length=256)]
    """Key that signed the records of these executions: Ed25519 SubjectPublicKeyInfo (DER) in base64."""
    host: HostDescription
    """Where."""


class ConformanceResult(Contract):
    """One property of the engine, tried through its API."""

    name: _CaseName
    """The property."""
    backend: BackendName
    """The backend that executed."""
    isolation: IsolationTier
    """Isolation tier of the executions."""
    holds: bool
    """Whether the engine has it."""
    observed: _Words
    """What was seen."""


class EscapeResult(Contract):
    """The escape suite on one sandbox; its whole report lies beside this one."""

    backend: BackendName
    """The backend whose image it was."""
    isolation: IsolationTier
    """Isolation tier."""
    report: Digest
    """SHA-256 over the RFC 8785 form of the escape report."""
    attempts: Positive
    """Attacks tried."""
    as_expected: Count
    """Attacks that came to what was expected of them."""


class UntriedTier(Contract):
    """A tier that this validation says nothing of."""

    isolation: IsolationTier
    """Isolation tier."""
    reason: _Words
    """Why it was not tried."""


class ValidationReport(Contract):
    """What was tried before the version was released. A version is released only where everything holds."""

    schema_version: Literal["weos.validation-report/1"]
    """Kind and version of this document."""
    candidate: Candidate
    """What was tried."""
    model: "ComparedModel"
    """The model that was executed."""
    conformance: Annotated[Many[ConformanceResult], Field(min_length=1, max_length=1024)]
    """Properties of the engine."""
    escape: Annotated[Many[EscapeResult], Field(min_length=1, max_length=256)]
    """Attacks from inside the sandbox."""
    untried: Annotated[Many[UntriedTier], Field(max_length=16)]
    """Tiers that are not installed here."""
    created_at: Timestamp
    """When it was made, UTC."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What did not hold, in words."""
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
    """Name under which it was installed."""
    quantization: QuantizationName
    """Its quantization."""
    sha256: Digest
    """Digest of its file."""


class Figures(Contract):
    """The specification's numbers. Null: not measured in any of the executions."""

    tokens_per_sec: float | None
    """Generated tokens per second."""
    latency_p95_ms: float | None
    """95th percentile of the time per token, in ms."""
    watts_avg: float | None
    """Average power attributed to the execution, in W."""
    tokens_per_watt: float | None
    """`tokens_per_sec / watts_avg`, that is tokens per joule."""


class ExecutionFigures(Figures):
    """One execution of the workload."""

    execution_id: ExecutionId
    """The execution."""
    record: Digest
    """Digest of the signed payload of its record, which lies beside this report."""
    output: Digest
    """Digest of its text."""
    tokens_total: Count
    """Generated tokens."""
    watts_source: PowerSource
    """Where the watts come from; `model` is an estimate."""


class CaseFigures(Contract):
    """One case of the fixed workload."""

    case: _CaseName
    """The case."""
    backend: BackendName
    """The backend."""
    executions: Annotated[Many[ExecutionFigures], Field(min_length=1, max_length=64)]
    """Every repeat, in order."""
    median: Figures
    """Median of each figure over the executions that have it; of an even number, the lower of the middle two."""


class CaseComparison(Contract):
    """One case beside the predecessor's."""

    case: _CaseName
    """The case."""
    backend: BackendName
    """The backend."""
    predecessor: Figures
    """The predecessor's medians."""
    tokens_per_sec_ratio: _Ratio | None
    """This version's median over the predecessor's, rounded to 4 decimals; more is better. Null: see
    `PredecessorFigures.incomparable`, or one of the two was not measured."""
    latency_p95_ratio: _Ratio | None
    """Likewise; less is better."""
    watts_avg_ratio: _Ratio | None
    """Likewise; less is better at equal speed."""
    tokens_per_watt_ratio: _Ratio | None
    """Likewise; more is better."""
    same_output: bool
    """Whether both versions wrote the same text."""


class PredecessorFigures(Contract):
    """The version before this one, from its own signed comparison report."""

    engine_version: ReleaseVersion
    """The version."""
    comparison: Digest
    """Digest of the signed payload of its report."""
    host: HostDescription
    """The machine its figures are from."""
    incomparable: Annotated[Many[_Words], Field(max_length=16)]
    """Why its figures cannot be held against this version's; empty: they can, and there are ratios."""
    cases: Annotated[Many[CaseComparison], Field(max_length=256)]
    """Cases that both have."""


class ComparisonReport(Contract):
    """A fixed workload on this version, beside the same workload on the version before.

    Figures of one workload on one machine at one time: the load of a shared machine is in them, and nothing follows
    for other work or other machines.
    """

    MAX_BYTES: ClassVar[int] = 4_194_304

    schema_version: Literal["weos.comparison-report/1"]
    """Kind and version of this document."""
    candidate: Candidate
    """What was measured."""
    model: ComparedModel
    """The model that was executed."""
    workload: Digest
    """Digest over the RFC 8785 form of the workload: its cases with prompts, limits and repeats."""
    cases: Annotated[Many[CaseFigures], Field(min_length=1, max_length=256)]
    """The figures."""
    predecessor: PredecessorFigures | None
    """The version before; null: see `predecessor_reason`."""
    predecessor_reason: _Words | None
    """Why there is no predecessor; null where there is one."""
    created_at: Timestamp
    """When it was made, UTC."""
