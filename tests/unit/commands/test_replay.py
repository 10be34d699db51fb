"""Replays, judged from records; the repetition itself is tried in tests/integration/test_replay.py."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.execution.determinism import classify_determinism
from contracts.execution.execution_plan import PlannedGrammar, PlannedPrompt
from contracts.execution.metrics_record import MetricsRecord, Reason
from contracts.execution.run_request import GrammarKind
from contracts.verify.replay import ReplayInput, build_request, find_differences, judge_replay, refuse_record
from contracts.wire.document import sha256_digest
from supervisor.domain.records.recording import Conclusion, build_record
from tests.factories import EXECUTION_ID, WHEN, make_conclusion, make_plan

TEXT = "Paris is the capital."
PROMPT = b"The capital of France is"
GIVEN = ReplayInput(PROMPT)


def record_of(conclusion: Conclusion, plan_changes: dict[str, object] | None = None) -> MetricsRecord:
    plan = make_plan().model_copy(update=plan_changes or {})
    return build_record(
        EXECUTION_ID,
        plan,
        conclusion,
        seq=1,
        engine_version=plan.engine_version,
        manifest=None,
        accepted_at=WHEN,
        finished_at=WHEN,
    )


def record(output: str = TEXT) -> MetricsRecord:
    return record_of(make_conclusion(output=output))


def test_equal_bytes_are_reproduced() -> None:
    verdict = judge_replay(record(), record(), pieces=[TEXT], original_output=None)
    assert verdict.code == "REPRODUCED"


@pytest.mark.parametrize(
    ("pieces", "token"),
    [
        (["Rome"], 0),
        (["Paris", " was"], 1),
        (["Paris", " is", " the", " town."], 3),
        (["Paris", " is"], 2),
        (["Paris is the capital.", " Yes"], 1),
        ([], 0),
    ],
)
def test_a_difference_is_told_by_its_token(pieces: list[str], token: int) -> None:
    replayed = record("".join(pieces))
    verdict = judge_replay(record(), replayed, pieces=pieces, original_output=TEXT)
    assert (verdict.code, verdict.token) == ("DIVERGED", token)


@given(st.text(max_size=20), st.lists(st.text(max_size=4), max_size=8))
def test_before_the_token_that_is_told_both_are_the_same(original: str, pieces: list[str]) -> None:
    verdict = judge_replay(record(original), record("".join(pieces)), pieces=pieces, original_output=original)
    if verdict.code == "REPRODUCED":
        assert original == "".join(pieces)
        return
    assert verdict.token is not None
    same = "".join(pieces[: verdict.token])
    assert original.startswith(same)
    assert not original.startswith("".join(pieces[: verdict.token + 1])) or verdict.token == len(pieces)


def test_without_the_original_text_a_difference_has_no_token() -> None:
    verdict = judge_replay(record(), record("Rome"), pieces=["Rome"], original_output=None)
    assert (verdict.code, verdict.token) == ("DIVERGED", None)


def test_another_processor_accuses_nobody() -> None:
    sandbox = make_conclusion().sandbox
    assert sandbox is not None
    other = replace(make_conclusion(output="Rome"), sandbox=sandbox.model_copy(update={"cpu_features": ("AVX512",)}))
    verdict = judge_replay(record(), record_of(other), pieces=["Rome"], original_output=TEXT)
    assert verdict.code == "NOT_REPLAYABLE"
    assert "determinism class" in verdict.message


@pytest.mark.parametrize("reason", [None, Reason(code="time_limit_exceeded", message="too slow")])
def test_a_repetition_that_does_not_end_says_why(reason: Reason | None) -> None:
    replayed = record_of(make_conclusion(outcome="failed", reason=reason))
    verdict = judge_replay(record(), replayed, pieces=[], original_output=None)
    assert verdict.code == "NOT_REPLAYABLE"
    assert reason is None or reason.code in verdict.message


def test_what_did_not_complete_cannot_be_repeated() -> None:
    failed = record_of(make_conclusion(outcome="cancelled", reason=Reason(code="cancelled", message="")))
    refused = refuse_record(failed, GIVEN)
    assert refused is not None
    assert "did not complete" in refused


def test_only_the_prompt_of_the_record_is_repeated() -> None:
    plan = make_plan()
    artifact = plan.prompt.model_copy(update={"sha256": sha256_digest(PROMPT)})
    original = record_of(make_conclusion(), {"prompt": artifact})
    assert refuse_record(original, GIVEN) is None
    refused = refuse_record(original, ReplayInput(PROMPT + b" "))
    assert refused is not None
    assert "prompt" in refused


def test_the_request_asks_for_everything_that_the_plan_says() -> None:
    plan = make_plan()
    request = build_request(plan, ReplayInput(b"x"))
    execution = request.execution
    assert (request.model, execution.backend, execution.quantization) == (
        plan.model.name,
        plan.backend,
        plan.model.quantization,
    )
    assert (execution.context_tokens, execution.seed, execution.sampling, execution.stop, execution.isolation) == (
        plan.context_tokens,
        plan.seed,
        plan.sampling,
        plan.stop,
        plan.isolation,
    )
    limits = execution.limits
    assert (limits.max_tokens, limits.max_watts, limits.timeout_s) == (
        plan.limits.max_tokens,
        plan.limits.max_watts,
        plan.limits.timeout_s,
    )


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"runtime_image": "sha256:" + "9" * 64}, "runtime_image"),
        ({"seed": 7}, "seed"),
        ({"context_tokens": 77}, "context_tokens"),
        ({"backend": "cpu_avx512"}, "backend"),
        ({"stop": ("x" * 64,) * 8}, "stop"),
        ({"scheduling": make_plan().scheduling.model_copy(update={"threads": 9})}, "scheduling.threads"),
        ({"limits": make_plan().limits.model_copy(update={"max_tokens": 9})}, "limits.max_tokens"),
    ],
)
def test_other_artifacts_are_named(change: dict[str, object], where: str) -> None:
    (difference,) = find_differences(make_plan(), make_plan().model_copy(update=change))
    assert difference.startswith(f"{where}: ")


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "a"},
        {"engine_version": "9.9.9"},
        {"policies": {}},
        {"isolation": "gvisor"},
        {"role": "observer"},
        {"caller": "watcher"},
        {"scheduling": make_plan().scheduling.model_copy(update={"cores": 1, "policy": "other"})},
        {"limits": make_plan().limits.model_copy(update={"timeout_s": 9})},
    ],
)
def test_what_cannot_change_the_output_is_no_difference(change: dict[str, object]) -> None:
    assert find_differences(make_plan(), make_plan().model_copy(update=change)) == ()


def test_drawing_with_a_seed_is_a_class_of_its_own() -> None:
    plan = make_plan()
    warm = plan.model_copy(update={"sampling": plan.sampling.model_copy(update={"temperature": 1.0})})
    greedy, seeded = (classify_determinism(each, ("B", "A", "A")) for each in (plan, warm))
    assert greedy is not None
    assert seeded is not None
    assert (greedy.sampling, seeded.sampling, greedy.cpu_features) == ("greedy", "seeded", ("A", "B"))
    assert classify_determinism(plan, None) is None


CHAT = b'[{"role": "user", "content": "Hi"}]'
SCHEMA = b'{"type":"object"}'


def chat_record(*, grammar: bytes | None = None, kind: GrammarKind = "gbnf") -> MetricsRecord:
    canonical = b'[{"content":"Hi","role":"user"}]'
    prompt = PlannedPrompt(form="messages", sha256=sha256_digest(canonical), size_bytes=len(canonical))
    planned = None
    if grammar is not None:
        planned = PlannedGrammar(kind=kind, sha256=sha256_digest(grammar), size_bytes=len(grammar))
    changes = {"prompt": prompt, "prompt_format": "chat", "parse_special": False, "grammar": planned}
    return record_of(make_conclusion(), changes)


def test_a_conversation_is_repeated_in_any_spelling_of_its_json() -> None:
    original = chat_record()
    assert refuse_record(original, ReplayInput(CHAT)) is None
    request = build_request(original.plan, ReplayInput(CHAT))
    assert (request.prompt, request.execution.prompt_format, request.execution.parse_special) == (None, "chat", None)
    assert [message.content for message in request.conversation] == ["Hi"]


@pytest.mark.parametrize("prompt", [b"Hi", b"[]", b"\xff", b'[{"role": "user"}]', b'[{"role":"user","content":"Ho"}]'])
def test_another_conversation_is_not_repeated(prompt: bytes) -> None:
    assert refuse_record(chat_record(), ReplayInput(prompt)) is not None


def test_a_prompt_that_is_no_text_is_not_repeated() -> None:
    assert refuse_record(record(), ReplayInput(b"\xff")) is not None


@pytest.mark.parametrize(("grammar", "kind"), [(b'root ::= "a"', "gbnf"), (SCHEMA, "json_schema")])
def test_a_grammar_is_repeated_with_its_text(grammar: bytes, kind: GrammarKind) -> None:
    original = chat_record(grammar=grammar, kind=kind)
    assert refuse_record(original, ReplayInput(CHAT, grammar)) is None
    wanted = build_request(original.plan, ReplayInput(CHAT, grammar)).execution.output_grammar
    assert wanted == (kind, grammar.decode())


def test_a_grammar_is_needed_where_there_was_one_and_nowhere_else() -> None:
    refused = refuse_record(chat_record(grammar=SCHEMA, kind="json_schema"), ReplayInput(CHAT))
    assert refused is not None
    assert "grammar" in refused
    assert refuse_record(chat_record(), ReplayInput(CHAT, SCHEMA)) is not None
    other = refuse_record(chat_record(grammar=SCHEMA, kind="json_schema"), ReplayInput(CHAT, b"{}"))
    assert other is not None
    assert "grammar" in other


def test_a_raw_prompt_is_repeated_with_its_special_tokens() -> None:
    plan = make_plan().model_copy(update={"prompt_format": "raw", "parse_special": False})
    request = build_request(plan, GIVEN)
    assert (request.execution.prompt_format, request.execution.parse_special) == ("raw", False)
