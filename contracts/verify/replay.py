"""Replay: decide whether a repeated execution gave the same output. Pure; `supervisor.commands.replay` repeats it.

REPRODUCED: the output bytes are the same. DIVERGED: the output differs, although everything that decides it was the
same; if the original text is at hand, the first different token is named. NOT_REPLAYABLE: it cannot be repeated here;
the message says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.run_request import ExecutionRequest, LimitsRequest, Message, RunRequest
from contracts.wire.document import Many, sha256_digest
from contracts.wire.errors import ContractError
from contracts.wire.strict_json import decode_json

__all__ = ["ReplayInput", "ReplayVerdict", "build_request", "find_differences", "judge_replay", "refuse_record"]

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(Many[Message])
_SCHEMA: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
Verdict = Literal["REPRODUCED", "DIVERGED", "NOT_REPLAYABLE"]
# Fields of a plan that cannot change the output: names, limits, the caller and its role, and the isolation.
_WITHOUT_EFFECT = frozenset(
    {"schema_version", "engine_version", "policies", "isolation", "power_source", "role", "caller", "nonce", "limits"}
)
# Cores and the waiting mode change the speed only; the policy is the name of all of them.
_SCHEDULING_WITHOUT_EFFECT = frozenset({"policy", "cores", "whole_cores", "omp_wait_policy", "spin_count"})


@dataclass(frozen=True, slots=True)
class ReplayInput:
    """The texts that a record names by digest only."""

    prompt: bytes
    """The prompt in UTF-8, or the messages as a JSON array."""
    grammar: bytes | None = None
    """The grammar in UTF-8, or the JSON Schema; None: there was none."""


@dataclass(frozen=True, slots=True)
class ReplayVerdict:
    """The outcome of a replay."""

    code: Verdict
    message: str
    token: int | None = None
    """With DIVERGED: index of the first generated token whose text differs; None if it is not known."""


def refuse_record(record: MetricsRecord, given: ReplayInput) -> str | None:
    """Return why nobody can repeat an execution, or None if it can be repeated."""
    if record.outcome != "completed" or record.output is None:
        return f"the execution did not complete ({record.outcome}), so the end of its output cannot be compared"
    plan = record.plan
    if (plan.grammar is None) != (given.grammar is None):
        return "the record's plan has a grammar: give it too" if plan.grammar else "the record's plan has no grammar"
    try:
        request = build_request(plan, given)
    except (ContractError, ValueError):
        return "the given prompt or grammar is not of the form that the record's plan names"
    if sha256_digest(request.prompt_bytes) != plan.prompt.sha256:
        return f"the given prompt is not the record's prompt ({plan.prompt.sha256})"
    grammar = request.execution.output_grammar
    if plan.grammar is not None and (
        grammar is None or sha256_digest(grammar.text.encode("utf-8")) != plan.grammar.sha256
    ):
        return f"the given grammar is not the record's grammar ({plan.grammar.sha256})"
    return None


def build_request(plan: ExecutionPlan, given: ReplayInput) -> RunRequest:
    """Return the request that asks for the same execution again.

    Raises:
        ContractError, ValueError: a given text has not the form that the plan names.
    """
    messages = _read_messages(given.prompt) if plan.prompt.form == "messages" else None
    gbnf, schema = _read_grammar(plan, given.grammar)
    return RunRequest(
        model=plan.model.name,
        prompt=given.prompt.decode("utf-8") if messages is None else None,
        messages=messages,
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
            prompt_format=plan.prompt_format,
            parse_special=plan.parse_special if plan.prompt_format == "raw" else None,
            grammar=gbnf,
            json_schema=schema,
            isolation=plan.isolation,
        ),
    )


def _read_messages(data: bytes) -> tuple[Message, ...]:
    decode_json(data, max_bytes=RunRequest.MAX_BYTES)
    return _MESSAGES.validate_json(data)


def _read_grammar(plan: ExecutionPlan, grammar: bytes | None) -> tuple[str | None, dict[str, JsonValue] | None]:
    if plan.grammar is None or grammar is None:
        return None, None
    if plan.grammar.kind == "gbnf":
        return grammar.decode("utf-8"), None
    decode_json(grammar, max_bytes=RunRequest.MAX_BYTES)
    return None, _SCHEMA.validate_json(grammar)


def find_differences(original: ExecutionPlan, planned: ExecutionPlan) -> tuple[str, ...]:
    """Return the fields that decide the output and differ in two plans, as ``field: original, here planned``."""
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
        replayed: the record of the repetition; its plan equals the original's in all fields that decide the output.
        pieces: text of each generated token of the repetition, in order.
        original_output: the original's output text; None if it is not at hand.
    """
    if replayed.outcome != "completed" or replayed.output is None:
        why = "" if replayed.reason is None else f": {replayed.reason.code}, {replayed.reason.message}"
        return ReplayVerdict("NOT_REPLAYABLE", f"the repetition did not complete ({replayed.outcome}{why})")
    if original.output == replayed.output:
        return ReplayVerdict("REPRODUCED", f"the same {replayed.output.size_bytes} bytes, {replayed.output.sha256}")
    if original.determinism != replayed.determinism:
        return ReplayVerdict(
            "NOT_REPLAYABLE",
            "the output differs, but this processor has another determinism class "
            f"({_short(original.determinism)}, here {_short(replayed.determinism)})",
        )
    if original_output is None:
        return ReplayVerdict("DIVERGED", "the output differs; give the original text to find the token")
    token = _first_difference(original_output, pieces)
    return ReplayVerdict("DIVERGED", f"at token {token}", token)


def _first_difference(original: str, pieces: Sequence[str]) -> int:
    position = 0
    for token, piece in enumerate(pieces):
        if original[position : position + len(piece)] != piece:
            return token
        position += len(piece)
    # The repetition ended early: its whole output is the beginning of the original's.
    return len(pieces)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"  # noqa: PLR2004 - one line for a person
