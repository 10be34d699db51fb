"""Which calls both locks must let through on a card, and a job under locks that let through nothing more."""

import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from build.lockdown_compiler import Rule
from tests.gpu.on_card.bench import Bench
from tests.gpu.on_card.describe_calls import describe_recording
from tests.gpu.on_card.filters import (
    ALLOWS_ALL,
    END,
    ERRNO,
    SIGNIFICANT,
    compile_lock,
    lock_one_rules,
    lock_two_rules,
    rule_for,
    without_call,
)
from tests.gpu.on_card.record_calls import Recording, needed_calls, record
from tests.gpu.on_card.runner_process import Job, RunnerFault
from tests.gpu.on_card.shape import Shape
from tests.places import REPOSITORY

__all__ = ["describe_all", "prove_closed", "prove_locks", "record_confined", "record_plain"]

REFUSED = ERRNO | 1
ON_CARD = "done on the card"
LOCK_TWO = REPOSITORY / "policies" / "lockdown.json"
STORY = "Once upon a time, in a small village by the sea, there lived an old fisherman who"
# Not the job that was recorded: other lengths of prompt have other kernels.
LENGTHS = (1, 5, 20, 60, 110, 200, 400)
EAGER = {"CUDA_MODULE_LOADING": "EAGER"}
RECORDED_TOKENS = 48
Call = tuple[str, tuple[int, ...]]


def _job(words: int, tokens: int = RECORDED_TOKENS) -> Job:
    story = STORY.split()
    return Job(" ".join(story[index % len(story)] for index in range(words)), tokens)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One variant of the start, and what was recorded of it."""

    name: str
    environment: dict[str, str]
    is_wide: bool
    recording: Recording


def record_plain(bench: Bench) -> Recorded:
    """Record the runner as it is, unconfined."""
    recording = record(bench, bench.plain(), _job(150), is_wide=False)
    return Recorded("as it is, unconfined", {}, is_wide=False, recording=recording)


def record_confined(bench: Bench) -> list[Recorded]:
    """Record the runner in the sandbox's shape: as it is, and as a backend for a card may start it."""
    variants: tuple[tuple[str, dict[str, str], bool], ...] = (
        ("as it is", {}, False),
        ("wide warm-up", {}, True),
        ("wide warm-up, kernels loaded at start", EAGER, True),
        ("wide warm-up, without graphs", {"GGML_CUDA_DISABLE_GRAPHS": "1"}, True),
    )
    recorded = []
    for name, environment, is_wide in variants:
        recording = record(bench, bench.sandbox(**environment), _job(150), is_wide=is_wide)
        recorded.append(Recorded(name, environment, is_wide, recording))
    return recorded


def _try(bench: Bench, shape: Shape, first: bytes, second: bytes, jobs: Iterable[Job], *, is_wide: bool) -> list[str]:
    """Return what became of each job in a process of its own: `done`, or why not."""
    directory = bench.install(second)
    (directory / "lock-one.bpf").write_bytes(first)
    shape = replace(shape, filter_file=str(directory / "lock-one.bpf"))
    said = []
    for job in jobs:
        try:
            answer = bench.run(directory, shape, job, is_wide=is_wide)
            where = ON_CARD if answer.on_card else "done, but by the processor"
            said.append(f"{where}: {answer.prompt_tokens} prompt tokens, {len(answer.tokens)} tokens")
        except RunnerFault as error:
            said.append(f"failed: {error}")
    return said


def _widened(rules: list[Rule], needed: Iterable[Call]) -> list[Rule]:
    # First, since the first rule that fits decides, and the policy refuses some of these calls by name.
    return [*(rule_for(name, arguments) for name, arguments in sorted(needed)), *rules]


def _merged(
    recordings: Iterable[Recording], lock: str, *, of_those: Container[int] | None = None
) -> Mapping[Call, int]:
    merged: dict[Call, int] = {}
    for recording in recordings:
        for call, count in needed_calls(recording, lock, of_those=of_those).items():
            merged[call] = merged.get(call, 0) + count
    return merged


def _show(call: Call) -> str:
    name, arguments = call
    shown = " ".join(f"{index}={value:#x}" for index, value in zip(SIGNIFICANT.get(name, ()), arguments, strict=True))
    return f"{name} {shown}".strip()


def prove_locks(bench: Bench, recorded: list[Recorded], deadline: float) -> dict[str, object]:
    """Run jobs under both locks, closed to what was recorded; then leave out one call after the other.

    Args:
        bench: where things are.
        recorded: of `record_plain` and `record_confined`.
        deadline: monotonic time in s after which no call is left out any more.
    """
    policy_one = lock_one_rules(bench.policies.seccomp)
    policy_two = lock_two_rules(LOCK_TWO)
    result: dict[str, object] = {
        "unchanged_locks": _try(
            bench,
            bench.sandbox(),
            compile_lock(policy_one, REFUSED),
            compile_lock(policy_two, END),
            [_job(20)],
            is_wide=False,
        )
    }
    wide = [each for each in recorded if each.is_wide and not each.environment]
    eager = [each.recording for each in recorded if each.environment == EAGER]
    confined = [each.recording for each in recorded if each.recording.fault is None]
    needed_one = _merged(confined, "one")
    # What the start needs besides: the recording itself ran without the first lock.
    first = _widened(policy_one, needed_one)
    for name, environment, is_wide, recordings in (
        ("as it is", {}, False, [each.recording for each in recorded if not each.is_wide]),
        ("wide warm-up", {}, True, [each.recording for each in wide]),
        ("wide warm-up, kernels loaded at start", EAGER, True, eager),
    ):
        needed_two = _merged(recordings, "two")
        result[name] = {
            "beyond_lock_two": [_show(call) for call in sorted(needed_two)],
            "jobs": _try(
                bench,
                bench.sandbox(**environment),
                compile_lock(first, REFUSED),
                compile_lock(_widened(policy_two, needed_two), END),
                map(_job, LENGTHS[:2] if bench.is_rehearsal else LENGTHS),
                is_wide=is_wide,
            ),
        }
    result["beyond_lock_one"] = _leave_out(bench, policy_one, needed_one, deadline)
    return result


def _leave_out(
    bench: Bench, policy: list[Rule], needed: Mapping[Call, int], deadline: float
) -> dict[str, dict[str, object]]:
    """Return for each call whether a job is done where lock one refuses that call alone."""
    first = _widened(policy, needed)
    shown: dict[str, dict[str, object]] = {}
    # Device requests are the second lock's matter; lock one is asked about the rest first.
    for call in sorted(needed, key=lambda each: (each[0] == "ioctl", each)):
        entry: dict[str, object] = {"count": needed[call], "without_it": "not tried: no time was left"}
        if time.monotonic() < deadline:
            refusing = compile_lock(without_call(first, rule_for(*call)), REFUSED)
            entry["without_it"] = _try(bench, bench.sandbox(), refusing, ALLOWS_ALL, [_job(20, 8)], is_wide=False)[0]
        shown[_show(call)] = entry
    return shown


def prove_closed(
    bench: Bench, recorded: list[Recorded], tried: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """Run jobs under both locks at their narrowest.

    Lock one lets through only those calls without which no job was done on the card; lock two only those that would
    have ended the process, so that what it refuses to a CPU backend stays refused.

    Args:
        bench: where things are.
        recorded: as for `prove_locks`.
        tried: `beyond_lock_one` of its result.
    """
    needed_one = _merged((each.recording for each in recorded if each.recording.fault is None), "one")
    kept = [call for call in needed_one if not str(tried[_show(call)]["without_it"]).startswith(ON_CARD)]
    first = compile_lock(_widened(lock_one_rules(bench.policies.seccomp), kept), REFUSED)
    result: dict[str, object] = {"beyond_lock_one": sorted(map(_show, kept))}
    for name, is_wide in (("wide warm-up", True), ("as it is", False)):
        chosen = (each.recording for each in recorded if each.is_wide == is_wide and not each.environment)
        needed_two = _merged(chosen, "two", of_those={END})
        second = compile_lock(_widened(lock_two_rules(LOCK_TWO), needed_two), END)
        result[name] = {
            "beyond_lock_two": sorted(map(_show, needed_two)),
            "jobs": _try(bench, bench.sandbox(), first, second, map(_job, LENGTHS), is_wide=is_wide),
        }
    return result


def describe_all(recorded: list[Recorded]) -> dict[str, object]:
    """Return all recordings for the results."""
    return {each.name: describe_recording(each.recording) for each in recorded}
