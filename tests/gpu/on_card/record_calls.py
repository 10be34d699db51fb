"""Record every system call of the real runner on the card, in its phases."""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from tests.gpu.on_card.bench import Bench
from tests.gpu.on_card.filters import (
    ALLOWS_ALL,
    ASKS_ABOUT_ALL,
    END,
    ERRNO,
    decide,
    lock_one_rules,
    lock_two_rules,
)
from tests.gpu.on_card.runner_process import Job, RunnerFault
from tests.gpu.on_card.shape import Shape
from tests.gpu.on_card.watcher import Call, Watcher
from tests.places import REPOSITORY

__all__ = ["DRIVER_WORDS", "Recording", "needed_calls", "record"]

ALLOW = 0x7FFF0000
DRIVER_WORDS = ("nvidia", "cuda", "cublas")


class Recording:
    """The calls of one execution, its answer, and the driver's files that it mapped."""

    def __init__(self, calls: "Counter[Call]", tokens: tuple[int, ...], mapped: tuple[str, ...]) -> None:
        self.calls = calls
        self.tokens = tokens
        self.mapped = mapped
        self.fault: str | None = None
        self.ready_after_ms = 0


def record(bench: Bench, shape: Shape, job: Job, *, is_wide: bool) -> Recording:
    """Run one job with every call watched.

    Args:
        bench: where things are.
        shape: the process's; its filter is replaced.
        job: the job.
        is_wide: see `started`.
    """
    directory = bench.install(ALLOWS_ALL)
    asking = directory / "ask.bpf"
    asking.write_bytes(ASKS_ABOUT_ALL)
    shape = replace(shape, filter_file=str(asking), listens=True)
    first = lock_one_rules(bench.policies.seccomp)
    second = lock_two_rules(REPOSITORY / "policies" / "lockdown.json")

    def both(number: int, arguments: Sequence[int]) -> tuple[int, int]:
        return decide(first, ERRNO | 1, number, arguments), decide(second, END, number, arguments)

    watcher = Watcher(bench.model, both)
    recording = Recording(watcher.calls, (), ())
    try:
        with bench.loaded(directory, shape, job, is_wide=is_wide, watcher=watcher) as runner:
            recording.ready_after_ms = runner.ready_after_ns // 10**6
            recording.mapped = _driver_files(runner.pid)
            recording.tokens = runner.answer(job).tokens
            runner.end()
    except RunnerFault as error:
        recording.fault = str(error)
    recording.fault = recording.fault or watcher.fault
    return recording


def _driver_files(pid: int) -> tuple[str, ...]:
    lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) > 5}
    return tuple(sorted(path for path in paths if any(word in path for word in DRIVER_WORDS)))


def needed_calls(
    recording: Recording, lock: str, *, of_those: Container[int] | None = None
) -> dict[tuple[str, tuple[int, ...]], int]:
    """Return the calls that a CPU backend's lock would not let through, with how often each was made.

    Args:
        recording: what was recorded.
        lock: `one`, for all phases; `two`, from the second lock on.
        of_those: only calls with which the lock does this; None: all that it does not let through.
    """
    needed: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for call, count in recording.calls.items():
        if lock == "two" and call.phase not in {"job", "end"}:
            continue
        action = call.lock_one if lock == "one" else call.lock_two
        # The C library lives without clone3.
        is_allowed = action == ALLOW or (lock == "one" and call.name == "clone3")
        if not is_allowed and (of_those is None or action in of_those):
            needed[call.name, call.arguments] += count
    return dict(needed)
