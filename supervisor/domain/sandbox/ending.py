"""From the end of a runner to the reason in the record: the same code for the same cause, in every tier."""

import signal

from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.ports import ExitStatus

__all__ = ["FAILURES_OF_LLAMA_CPP", "fault_of_end", "printable"]

FAILURES_OF_LLAMA_CPP = frozenset({"model_load_failed", "model_assertion_failed", "model_exception", "model_crashed"})
# The container engine's convention for a process that a signal ended.
_SIGNALLED = 128
_KILLED = _SIGNALLED + signal.SIGKILL
_KILLED_BY_LOCK = _SIGNALLED + signal.SIGSYS
# The runner's own handler ends it with the signal's number (runner/ending.py); before it is set, gVisor's kernel with
# the other.
_ABORTED = {int(signal.SIGABRT), _SIGNALLED + signal.SIGABRT}
_CRASHES = {
    _SIGNALLED + number: number.name
    for number in (signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
}
# What the C++ library writes before it aborts because of an exception that nothing caught. It may be preceded by
# nothing but words of the same kind: llama.cpp's log is silent.
_UNCAUGHT = b"terminate called"
_NO_MEMORY = b"std::bad_alloc"
_WORDS_CHARS_MAX = 400
_LINES = 2


def printable(words: str) -> str:
    """Return a runner's words, short and without characters that control what shows them."""
    return "".join(filter(str.isprintable, words))[:_WORDS_CHARS_MAX]


def fault_of_end(status: ExitStatus, errors: bytes, *, model: str, before_job: bool) -> ExecutionFault:
    """Return why a runner has ended that should not have.

    Args:
        status: how its container ended.
        errors: the end of what it wrote to standard error. After the job was sent it chooses between codes, and
            nothing of it is passed on, because it could hold the prompt.
        model: name of the model.
        before_job: whether no job had been sent to it.
    """
    code, detail = _judge(status, errors, model)
    said = f"the runner ended too early, with exit status {status.exit_code}{detail}"
    if not before_job:
        return ExecutionFault(code, f"{said}; its words are left out, because they could hold the prompt")
    words = _last_words(errors)
    return ExecutionFault(code, f"{said}; its last words: {words}" if words else said)


def _judge(status: ExitStatus, errors: bytes, model: str) -> tuple[str, str]:
    if status.oom_killed:
        return "memory_limit_exceeded", ": the kernel ended it for want of memory"
    if status.exit_code == _KILLED_BY_LOCK:
        return "lock_violated", ": it made a system call that its locks do not allow"
    if status.exit_code in _CRASHES:
        name = _CRASHES[status.exit_code]
        return "model_crashed", f": llama.cpp crashed ({name}) with the model '{model}'"
    if status.exit_code in _ABORTED:
        return _judge_abort(errors, model)
    if status.exit_code == _KILLED:
        # Its control group has gone by now, and the container engine sometimes does not report it.
        why = ": killed from outside, or by the kernel for want of memory without the container engine's notice"
        return "runner_failed", why
    return "runner_failed", ""


def _judge_abort(errors: bytes, model: str) -> tuple[str, str]:
    uncaught = [line for line in errors.splitlines() if line.startswith(_UNCAUGHT)]
    if any(_NO_MEMORY in line for line in uncaught):
        return "memory_limit_exceeded", f": llama.cpp got no memory for the model '{model}'"
    if uncaught:
        return "model_exception", f": llama.cpp threw an exception that nothing caught, with the model '{model}'"
    return "model_assertion_failed", f": an assertion of llama.cpp failed with the model '{model}'"


def _last_words(errors: bytes) -> str:
    lines = (printable(line).strip() for line in errors.decode("utf-8", "replace").splitlines())
    return printable("; ".join([line for line in lines if line][-_LINES:]))
