"""Replay: whether an execution that is repeated gives the same output. Pure; who repeats it is elsewhere.

REPRODUCED: the same output bytes. DIVERGED: another output, although everything that decides it was the same, with the
first token that differs where the original text is at hand. NOT_REPLAYABLE: it cannot be repeated here, and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.run_request import ExecutionRequest, LimitsRequest, RunRequest
from contracts.wire.document import sha256_digest

__all__ = ["ReplayVerdict", "build_request", "find_differences", "judge_replay", "refuse_record"]

Verdict = Literal["REPRODUCED", "DIVERGED", "NOT_REPLAYABLE"]
# What a plan says that cannot change the output: names, limits in time and space, who asked and how it was kept apart.
_WITHOUT_EFFECT = frozenset(
    {"schema_version", "engine_version", "policies", "isolation", "power_source", "role", "nonce", "limits"}
)
# Cores and the kind of waiting change how fast it goes, the policy is the name of all of it.
_SCHEDULING_WITHOUT_EFFECT = frozenset({"policy", "cores", "whole_cores", "omp_wait_policy", "spin_count"})


@dataclass(frozen=True, slots=True)
class ReplayVerdict:
    """The outcome of a replay."""

    code: Verdict
    message: str
    token: int | None = None
    """With DIVERGED: the first generated token, from 0, whose text differs; None where that cannot be told."""


def refuse_record(record: MetricsRecord, prompt: bytes) -> str | None:
    """Return why an execution cannot be repeated by anyone, None where it can."""
    if record.outcome != "completed" or record.output is None:
        return f"the execution did not complete ({record.outcome}), so where its output ends says nothing"
    if sha256_digest(prompt) != record.plan.prompt.sha256:
        return f"the prompt at hand is not the one of the record ({record.plan.prompt.sha256})"
    return None


def build_request(plan: ExecutionPlan, prompt: str) -> RunRequest:
    """Return the request that asks for the same execution again."""
    return RunRequest(
        model=plan.model.name,
        prompt=prompt,
        execution=ExecutionRequest(
            backend=plan.backend,
            quantization=plan.model.quantization,
            scheduler_policy=plan.scheduling.policy,
            limits=LimitsRequest(
                max_tokens=plan.limits.max_tokens,
                max_watts=plan.limits.max_watts,
                timeout_s=plan.limits.timeout_s,
            ),
            context_tokens=plan.context_tokens,
            seed=plan.seed,
            sampling=plan.sampling,
            stop=plan.stop,
            isolation=plan.isolation,
        ),
    )


def find_differences(original: ExecutionPlan, planned: ExecutionPlan) -> tuple[str, ...]:
    """Return where two plans differ in what decides the output, as ``field: original, now planned``."""
    pairs = [
        (name, getattr(original, name), getattr(planned, name))
        for name in ExecutionPlan.model_fields
        if name not in _WITHOUT_EFFECT | {"scheduling"}
    ]
    pairs += [
        (f"scheduling.{name}", getattr(original.scheduling, name), getattr(planned.scheduling, name))
        for name in type(original.scheduling).model_fields
        if name not in _SCHEDULING_WITHOUT_EFFECT
    ]
    pairs.append(("limits.max_tokens", original.limits.max_tokens, planned.limits.max_tokens))
    return tuple(f"{name}: {_short(old)}, here {_short(new)}" for name, old, new in pairs if old != new)


def judge_replay(
    original: MetricsRecord, replayed: MetricsRecord, *, pieces: Sequence[str], original_output: str | None
) -> ReplayVerdict:
    """Compare an execution with its repetition.

    Args:
        original: a verified record that `refuse_record` accepts.
        replayed: the record of the repetition, with the same plan as far as it decides the output.
        pieces: text of each generated token of the repetition, in order.
        original_output: the text that the original is about, where it is at hand.
    """
    if replayed.outcome != "completed" or replayed.output is None:
        why = "" if replayed.reason is None else f": {replayed.reason.code}, {replayed.reason.message}"
        return ReplayVerdict("NOT_REPLAYABLE", f"the repetition did not complete ({replayed.outcome}{why})")
    if original.output == replayed.output:
        return ReplayVerdict("REPRODUCED", f"the same {replayed.output.size_bytes} bytes, {replayed.output.sha256}")
    if original.determinism != replayed.determinism:
        return ReplayVerdict(
            "NOT_REPLAYABLE",
            "another output, which says nothing: this processor is of another determinism class "
            f"({_short(original.determinism)}, here {_short(replayed.determinism)})",
        )
    if original_output is None:
        return ReplayVerdict("DIVERGED", "another output; with the original text the token could be told")
    token = _first_difference(original_output, pieces)
    return ReplayVerdict("DIVERGED", f"at token {token}", token)


def _first_difference(original: str, pieces: Sequence[str]) -> int:
    position = 0
    for token, piece in enumerate(pieces):
        if original[position : position + len(piece)] != piece:
            return token
        position += len(piece)
    # All that it wrote is the beginning of the original: it ended where the original went on.
    return len(pieces)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"  # noqa: PLR2004 - one line for a person
