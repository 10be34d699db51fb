"""The fixed workload with which versions are compared."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from contracts.releases.reports import CaseFigures, ExecutionFigures
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import Envelope, decode_base64
from contracts.wire.types import Digest
from supervisor.domain.records.version_comparison import build_case
from supervisor.release.subject import Broken, Executed, Subject

__all__ = ["WORKLOAD", "Case", "Workload", "run_workload"]


@dataclass(frozen=True, slots=True)
class Case:
    """One request, executed several times."""

    name: str
    prompt: str
    max_tokens: int
    prompt_format: Literal["auto", "chat", "raw"]


@dataclass(frozen=True, slots=True)
class Workload:
    """Cases, and the number of executions of each."""

    cases: tuple[Case, ...]
    repeats: int

    @property
    def digest(self) -> Digest:
        """Digest that identifies this workload; figures of different workloads are not compared."""
        return sha256_digest(canonical_bytes(asdict(self)))


# A change here makes the next version incomparable with the one before, because the digest is in the reports.
WORKLOAD = Workload(
    cases=(
        Case("short_answer", "The capital of France is", 16, "raw"),
        Case("long_answer", "Once upon a time, in a village by the sea,", 128, "raw"),
        Case("long_prompt", "The quick brown fox jumps over the lazy dog. " * 40, 16, "raw"),
        Case("question", "What is the capital of France?", 64, "auto"),
    ),
    repeats=5,
)


def run_workload(
    subject: Subject, workload: Workload, tell: Callable[[str], None]
) -> tuple[list[CaseFigures], dict[str, bytes]]:
    """Execute the workload, and return its figures and the signed records by execution.

    The cases take turns, so that a temporary load of the machine affects all of them.

    Raises:
        Broken: an execution did not complete.
        EngineError: the engine does not answer.
    """
    figures: dict[str, list[ExecutionFigures]] = {case.name: [] for case in workload.cases}
    envelopes: dict[str, bytes] = {}
    for _ in range(workload.repeats):
        for case in workload.cases:
            tell(case.name)
            limits = {"max_tokens": case.max_tokens}
            executed = subject.execute(case.prompt, limits=limits, prompt_format=case.prompt_format)
            figures[case.name].append(_figures_of(executed))
            envelopes[executed.record.execution_id] = executed.envelope
    return [build_case(name, subject.backend, executions) for name, executions in figures.items()], envelopes


def _figures_of(executed: Executed) -> ExecutionFigures:
    record = executed.record
    if record.metrics is None or record.output is None:
        raise Broken("a completed execution has no metrics")
    payload = decode_base64(Envelope.parse(executed.envelope).payload)
    return ExecutionFigures(
        execution_id=record.execution_id,
        record=sha256_digest(payload),
        output=record.output.sha256,
        tokens_total=record.metrics.tokens_total,
        tokens_per_sec=record.metrics.tokens_per_sec,
        latency_p95_ms=record.metrics.latency_p95_ms,
        watts_avg=record.metrics.watts_avg,
        tokens_per_watt=record.metrics.tokens_per_watt,
        watts_source=record.metrics.watts_source,
    )
