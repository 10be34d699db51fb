"""How a runner ended, and the code that its record gives: the same for the same cause, in every tier."""

import pytest

from contracts.api.problem import PROBLEM_CODES
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.ending import FAILURES_OF_LLAMA_CPP, fault_of_end, printable
from supervisor.domain.sandbox.ports import ExitStatus

ASSERTION = b"/src/llama-vocab.cpp:3422: GGML_ASSERT(tokenizer) failed\n"
EXCEPTION = b"terminate called after throwing an instance of 'std::out_of_range'\n  what():  unordered_map::at\n"
NO_MEMORY = b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"


def fault_after(code: int, errors: bytes = b"", *, oom_killed: bool = False, before_job: bool = True) -> ExecutionFault:
    return fault_of_end(ExitStatus(code, oom_killed), errors, model="tiny", before_job=before_job)


@pytest.mark.parametrize("before_job", [True, False])
@pytest.mark.parametrize(
    ("status", "errors", "code"),
    [
        # The runner's own handler, and gVisor's kernel before it is set.
        (6, ASSERTION, "model_assertion_failed"),
        (134, ASSERTION, "model_assertion_failed"),
        (6, b"", "model_assertion_failed"),
        (6, b"free(): invalid pointer\n", "model_assertion_failed"),
        (6, EXCEPTION, "model_exception"),
        (134, EXCEPTION, "model_exception"),
        (6, b"terminate called without an active exception\n", "model_exception"),
        (6, NO_MEMORY, "memory_limit_exceeded"),
        (6, ASSERTION + b"  what():  terminate called, std::bad_alloc\n", "model_assertion_failed"),
        (132, b"", "model_crashed"),
        (133, b"", "model_crashed"),
        (135, b"", "model_crashed"),
        (136, b"", "model_crashed"),
        (139, b"", "model_crashed"),
        # Its words decide nothing where it was not ended by an abort.
        (139, ASSERTION + NO_MEMORY, "model_crashed"),
        (159, EXCEPTION, "lock_violated"),
        (137, b"", "runner_failed"),
        (0, b"", "runner_failed"),
        (1, EXCEPTION, "runner_failed"),
        (70, b"runner fault: ValueError\n", "runner_failed"),
        (255, b"", "runner_failed"),
    ],
)
def test_each_cause_has_its_code(status: int, errors: bytes, code: str, before_job: bool) -> None:
    fault = fault_after(status, errors, before_job=before_job)
    assert fault.code == code
    assert f"exit status {status}" in fault.detail


@pytest.mark.parametrize("status", [6, 137, 139])
def test_a_runner_that_the_kernel_ended_for_want_of_memory_is_told_so(status: int) -> None:
    assert fault_after(status, ASSERTION, oom_killed=True).code == "memory_limit_exceeded"


@pytest.mark.parametrize("status", [6, 139])
def test_the_reason_names_the_model(status: int) -> None:
    assert "'tiny'" in fault_after(status, ASSERTION).detail


def test_a_crash_is_named_by_its_signal() -> None:
    assert "SIGFPE" in fault_after(136).detail


def test_the_last_words_are_told_before_the_job() -> None:
    said = fault_after(6, b"first\n\n" + EXCEPTION).detail
    assert said.endswith("instance of 'std::out_of_range'; what():  unordered_map::at")
    assert "first" not in said


@pytest.mark.parametrize("status", [0, 6, 70, 134, 137, 139, 159])
def test_no_word_of_the_runners_is_told_after_the_job(status: int) -> None:
    secret = b"terminate called after throwing 'the prompt'\n  what():  the prompt\n"
    assert "the prompt'" not in fault_after(status, secret, before_job=False).detail
    assert "terminate" not in fault_after(status, secret, before_job=False).detail


def test_a_silent_runner_has_no_last_words() -> None:
    assert "words" not in fault_after(139, b" \n\n").detail


def test_words_are_short_and_control_nothing() -> None:
    said = fault_after(6, b"\x1b[2Jred\x00\xff\n" + "\u202eturned\n".encode() + b"x" * 4000).detail
    assert said.isprintable()
    assert len(said) < 600
    assert printable("a\nb\x1b[0m\u202e" + "c" * 1000) == "ab[0m" + "c" * 395


def test_failures_of_llama_cpp_are_faults_of_the_engine() -> None:
    assert {PROBLEM_CODES[code][0] for code in FAILURES_OF_LLAMA_CPP} == {500}
