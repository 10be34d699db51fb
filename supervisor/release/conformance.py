"""The conformance suite: fixed requests to a running engine, each with a property that must hold.

No property depends on the speed of the machine.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.run_request import Message, canonical_messages
from contracts.releases.reports import ConformanceResult
from contracts.wire.document import sha256_digest
from contracts.wire.units import NS_PER_S
from supervisor.release.subject import Broken, Executed, Subject

__all__ = ["PROPERTIES", "TIER_PROPERTIES", "Property", "try_properties"]

PROMPT = "The capital of France is"
OTHER_PROMPT = "Explique inferência eficiente"
CONVERSATION = (
    Message(role="user", content="What is the capital of France?"),
    Message(role="assistant", content="The capital of France is Paris."),
    Message(role="user", content="What is the capital of Germany?"),
)
LONG_TOKENS = 1500
POLL_S = 0.02
ERROR_STATUS = 400
END_S = 300.0
# Section 6 of the integration specification.
SPECIFIED = ("tokens_total", "tokens_per_sec", "latency_p95_ms", "watts_avg", "tokens_per_watt")
MAX_WORDS = 512

Property = Callable[[Subject], str]


def _answer_has_its_shape(subject: Subject) -> str:
    answer = subject.post(subject.request(PROMPT))
    view = subject.view_of(answer)
    metrics = answer.document["metrics"]
    missing = [name for name in SPECIFIED if not isinstance(metrics.get(name), int | float)]
    if missing:
        raise Broken(f"not measured: {', '.join(missing)}")
    if view.engine_version != subject.version.engine_version:
        raise Broken(f"the answer comes from version {view.engine_version}")
    subject.completed(answer)
    return f"the answer has execution_id, engine_version and {len(SPECIFIED)} metrics, as the contract requires"


def _greedy_repeats(subject: Subject) -> str:
    first = subject.execute(PROMPT)
    between = subject.execute(OTHER_PROMPT)
    again = [subject.execute(PROMPT) for _ in range(2)]
    if any(each.output != first.output for each in again):
        raise Broken("the same greedy request gave different texts")
    if any(each.record.plan_digest != first.record.plan_digest for each in again):
        raise Broken("the same request gave different plans")
    if between.record.plan_digest == first.record.plan_digest:
        raise Broken("another prompt gave the same plan")
    return "the same request gave the same text and plan three times, with another request in between"


def _seeded_repeats(subject: Subject) -> str:
    warm: dict[str, Any] = {"sampling": {"temperature": 1.0, "top_k": 40}}
    one, two = (subject.execute(PROMPT, seed=7, **warm) for _ in range(2))
    if one.output != two.output:
        raise Broken("the same seed gave different texts")
    return "the same request gave the same text twice, with temperature 1 and seed 7"


def _token_limit_is_kept(subject: Subject) -> str:
    for most in (1, 5):
        executed = subject.execute(PROMPT, limits={"max_tokens": most})
        tokens = 0 if executed.record.metrics is None else executed.record.metrics.tokens_total
        if tokens > most:
            raise Broken(f"the execution has {tokens} tokens, but its limit was {most}")
    return "executions with limits of 1 and 5 tokens kept them"


def _time_limit_is_kept(subject: Subject) -> str:
    answer = subject.post(subject.request(PROMPT, limits={"max_tokens": LONG_TOKENS, "timeout_s": 1}))
    if answer.status < ERROR_STATUS:
        record = subject.completed(answer).record
        times = () if record.measurements is None else record.measurements.token_times_ns
        if times and times[-1] > NS_PER_S:
            raise Broken(f"the execution took {times[-1]} ns, but its limit was 1 s")
        return "the execution ended within its limit of 1 s"
    subject.require_refused(answer, "time_limit_exceeded")
    record, _ = subject.verified(answer.document["execution_id"])
    _require(record, "failed", "time_limit_exceeded")
    return "the execution was ended after its limit of 1 s, and its record says so"


def _require(record: MetricsRecord, outcome: str, code: str) -> None:
    found = None if record.reason is None else record.reason.code
    if (record.outcome, found) != (outcome, code):
        raise Broken(f"the record says {record.outcome} ({found}), but {outcome} ({code}) is true")


def _power_limit_is_kept(subject: Subject) -> str:
    subject.require_refused(
        subject.post(subject.request(PROMPT, limits={"max_watts": 0.001})), "power_limit_unenforceable"
    )
    executed = subject.execute(PROMPT)
    watts = None if executed.record.metrics is None else executed.record.metrics.watts_avg
    return f"an unenforceable limit is refused; an execution without a limit used {watts} W"


def _refusals(subject: Subject) -> Iterable[tuple[bytes, str]]:
    good = subject.request(PROMPT)

    def changed(**changes: object) -> bytes:
        return json.dumps(good | changes).encode("utf-8")

    execution = good["execution"]
    yield changed(model="no-such-model"), "unknown_model"
    yield changed(execution=execution | {"backend": "no_such_backend"}), "unknown_backend"
    yield changed(execution=execution | {"quantization": "q0"}), "unknown_quantization"
    yield changed(execution=execution | {"scheduler_policy": "none"}), "unknown_scheduler_policy"
    yield changed(execution=execution | {"limits": {"max_tokens": 1_000_000}}), "limit_out_of_range"
    yield changed(execution=execution | {"limits": {"max_tokens": "16"}}), "invalid_request"
    yield changed(execution=execution | {"isolation": "none"}), "invalid_request"
    yield changed(surprise=1), "invalid_request"
    yield changed(prompt=""), "invalid_request"
    yield changed(engine_version="999.0.0"), "engine_version_mismatch"
    yield b'{"model": "a", "model": "b"}', "malformed_json"
    yield b"{", "malformed_json"


def _bad_requests_are_refused(subject: Subject) -> str:
    before = subject.api.ask("GET", "/v1/runs?limit=1").body
    count = 0
    for body, code in _refusals(subject):
        subject.require_refused(subject.post(body), code)
        count += 1
    stranger = subject.post(subject.request(PROMPT), Authorization="Bearer stranger")
    subject.require_refused(stranger, "unauthorized")
    if subject.api.ask("GET", "/v1/runs?limit=1").body != before:
        raise Broken("a refused request was executed")
    return f"{count + 1} bad requests were refused with the right codes, and none was executed"


def _cancelled_is_recorded(subject: Subject) -> str:
    accepted = subject.post(subject.request(PROMPT, limits={"max_tokens": LONG_TOKENS}), Prefer="respond-async")
    execution_id = subject.view_of(accepted).execution_id
    subject.view_of(subject.api.ask("DELETE", f"/v1/runs/{execution_id}"))
    deadline_s = time.monotonic() + END_S
    while subject.api.ask("GET", f"/v1/runs/{execution_id}/record").status >= ERROR_STATUS:
        if time.monotonic() > deadline_s:
            raise Broken("a cancelled execution does not end")
        time.sleep(POLL_S)
    record, _ = subject.verified(execution_id)
    _require(record, "cancelled", "cancelled")
    return "the cancelled execution ended with a record that says so"


def _a_key_never_executes_twice(subject: Subject) -> str:
    document = subject.request(PROMPT)
    one, two = (subject.view_of(subject.post(document, Idempotency_Key="conformance")) for _ in range(2))
    if (one.execution_id, one.output) != (two.execution_id, two.output):
        raise Broken("one Idempotency-Key led to two executions")
    subject.verified(one.execution_id)
    other = subject.post(subject.request(OTHER_PROMPT), Idempotency_Key="conformance")
    subject.require_refused(other, "idempotency_key_reused")
    return "one key led to one execution; another request with the same key is refused"


def _stream_is_the_answer(subject: Subject) -> str:
    whole = subject.execute(PROMPT)
    text, ended = "", None
    for event in subject.api.stream_run(subject.request(PROMPT)):
        if event.name == "token":
            text += event.document["text"]
        elif event.name == "done":
            ended = event.document["execution_id"]
    if ended is None or text != whole.output:
        raise Broken("the streamed text differs from that of the answer")
    subject.verified(ended)
    return "the streamed text equals that of the answer"


def _plan_is_what_is_executed(subject: Subject) -> str:
    document = subject.request(PROMPT) | {"nonce": "conformance-1"}
    planned = subject.post(document, path="/v1/plans").document
    executed: Executed = subject.completed(subject.post(document))
    plan = executed.record.plan
    if planned["plan_digest"] != executed.record.plan_digest:
        raise Broken("the executed plan differs from the plan that was shown")
    prompt = hashlib.sha256(PROMPT.encode("utf-8")).hexdigest()
    if plan.nonce != "conformance-1" or plan.prompt.sha256 != f"sha256:{prompt}":
        raise Broken("the nonce or the prompt of the request is not in the plan")
    if executed.record.output is None or executed.record.output.sha256 != sha256_digest(executed.output.encode()):
        raise Broken("the record's output differs from the text of the answer")
    if plan.policies != subject.version.policies:
        raise Broken("the plan names other policies than the engine")
    return "shown plan, executed plan, nonce, prompt, policies and output agree"


def _conversation_goes_through_the_template(subject: Subject) -> str:
    document = subject.request(PROMPT, prompt_format="auto")
    del document["prompt"]
    answer = subject.post(document | {"messages": [message.model_dump() for message in CONVERSATION]})
    if answer.status >= ERROR_STATUS:
        subject.require_refused(answer, "chat_template_missing")
        return "a conversation is refused, because the model has no chat template"
    plan = subject.completed(answer).record.plan
    if (plan.prompt_format, plan.prompt.form) != ("chat", "messages") or plan.model.chat_template is None:
        raise Broken("the plan of a conversation does not name the chat template")
    if plan.prompt.sha256 != sha256_digest(canonical_messages(CONVERSATION)):
        raise Broken("the plan names another conversation")
    return "a conversation is answered through the model's chat template, and the plan names both"


# Tried in this order. The record of every execution is verified.
PROPERTIES: tuple[tuple[str, Property], ...] = (
    ("answer_has_its_shape", _answer_has_its_shape),
    ("greedy_repeats", _greedy_repeats),
    ("seeded_repeats", _seeded_repeats),
    ("token_limit_is_kept", _token_limit_is_kept),
    ("time_limit_is_kept", _time_limit_is_kept),
    ("power_limit_is_kept", _power_limit_is_kept),
    ("bad_requests_are_refused", _bad_requests_are_refused),
    ("cancelled_is_recorded", _cancelled_is_recorded),
    ("a_key_never_executes_twice", _a_key_never_executes_twice),
    ("stream_is_the_answer", _stream_is_the_answer),
    ("plan_is_what_is_executed", _plan_is_what_is_executed),
    ("conversation_goes_through_the_template", _conversation_goes_through_the_template),
)
# Properties that depend on the sandbox. All are tried in one tier; for every other tier these are enough.
TIER_PROPERTIES = tuple(each for each in PROPERTIES if each[0] in {"greedy_repeats", "token_limit_is_kept"})


def try_properties(
    subject: Subject, properties: Iterable[tuple[str, Property]], tell: Callable[[str], None]
) -> list[ConformanceResult]:
    """Try properties one after another; a property that does not hold does not stop the others.

    Raises:
        EngineError: the engine does not answer.
    """
    results = []
    for name, holds in properties:
        tell(name)
        try:
            observed, good = holds(subject), True
        except Broken as broken:
            observed, good = str(broken), False
        results.append(
            ConformanceResult(
                name=name,
                backend=subject.backend,
                isolation=subject.isolation,
                holds=good,
                observed=observed[:MAX_WORDS],
            )
        )
    return results
