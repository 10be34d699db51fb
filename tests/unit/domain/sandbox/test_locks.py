import json

import pytest

from contracts.execution.runner_protocol import ReadyEvent
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.locks import (
    ThreadStatus,
    judge_locks,
    require_compiled_lock,
    require_first_lock,
    under_filter,
)
from tests.fakes.runner_scripts import LOCKDOWN_POLICY, READY
from tests.fakes.sandbox_facts import thread_under

USER = "65532:65532"
PROGRAMS = ("sha256:" + "5" * 64, "sha256:" + "6" * 64)
NONE = "0" * 16
SOME = "0000000000000400"


def missing(before: list[ThreadStatus], after: list[ThreadStatus]) -> str:
    with pytest.raises(ExecutionFault) as caught:
        judge_locks(before, after, programs=PROGRAMS, user=USER)
    assert caught.value.code == "lock_missing"
    return caught.value.detail


def test_the_observation_of_both_locks_is_returned() -> None:
    seen = judge_locks([thread_under(1)], [thread_under(2)] * 3, programs=PROGRAMS, user=USER)
    assert seen.model_dump() == {
        "seccomp_mode": 2,
        "filters_before": 1,
        "filters_after": 2,
        "no_new_privs": True,
        "cap_eff": NONE,
        "cap_bnd": NONE,
        "uid": 65532,
        "threads": 3,
        "programs": PROGRAMS,
    }


@pytest.mark.parametrize(
    "flawed",
    [
        thread_under(2, seccomp_mode=0),
        thread_under(2, seccomp_mode=1),
        thread_under(2, no_new_privileges=False),
        thread_under(2, cap_effective=SOME),
        thread_under(2, cap_bounding=SOME),
        thread_under(2, other_capabilities=(NONE, SOME, NONE)),
        thread_under(2, user_ids=(65532, 0, 65532, 65532)),
        thread_under(2, group_ids=(0, 0, 0, 0)),
        thread_under(1),
        thread_under(0),
    ],
)
def test_one_privileged_thread_is_enough_to_refuse(flawed: ThreadStatus) -> None:
    missing([thread_under(1)], [thread_under(2), flawed, thread_under(2)])


def test_programs_that_cannot_be_read_are_told_as_such() -> None:
    assert judge_locks([thread_under(1)], [thread_under(2)], programs=None, user=USER).programs is None


def test_a_thread_with_more_filters_than_were_read_is_refused() -> None:
    assert "the 2 whose programs were read" in missing([thread_under(1)], [thread_under(2), thread_under(3)])


def test_a_sandbox_that_began_without_its_first_lock_is_refused() -> None:
    assert "and had 0 before" in missing([thread_under(0)], [thread_under(2)])
    missing([thread_under(1, seccomp_mode=0)], [thread_under(2)])


def test_a_sandbox_without_visible_threads_is_refused() -> None:
    assert "cannot" not in missing([], [thread_under(2)])
    missing([thread_under(1)], [])


def test_a_lock_from_another_policy_is_refused() -> None:
    ready = ReadyEvent.model_validate_json(json.dumps(READY))
    require_compiled_lock(ready, LOCKDOWN_POLICY)
    with pytest.raises(ExecutionFault, match="make setup") as caught:
        require_compiled_lock(ready, "sha256:" + "0" * 64)
    assert caught.value.code == "lock_missing"


@pytest.mark.parametrize(
    ("threads", "under"),
    [([], False), ([thread_under(1)], True), ([thread_under(1), thread_under(1, seccomp_mode=0)], False)],
)
def test_every_thread_must_have_a_filter(threads: list[ThreadStatus], under: bool) -> None:
    assert under_filter(threads) is under


def test_a_thread_that_is_seen_without_its_first_lock_is_refused() -> None:
    require_first_lock([thread_under(1)])
    require_first_lock([])
    with pytest.raises(ExecutionFault, match="first lock in time") as caught:
        require_first_lock([thread_under(1), thread_under(0, seccomp_mode=0)])
    assert caught.value.code == "lock_missing"
