"""Whether both locks of a sandbox are on, decided from the kernel's view of its threads, seen from outside."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.execution.isolation_receipt import LocksObservation
from contracts.execution.runner_protocol import ReadyEvent
from supervisor.domain.errors import ExecutionFault

__all__ = ["ThreadStatus", "judge_locks", "require_compiled_lock", "require_first_lock", "under_filter"]

# SECCOMP_MODE_FILTER of linux/seccomp.h, as /proc/PID/status shows it.
FILTER_MODE = 2


@dataclass(frozen=True, slots=True)
class ThreadStatus:
    """One thread of the sandbox, from its /proc/PID/task/TID/status."""

    user_ids: tuple[int, ...]
    group_ids: tuple[int, ...]
    no_new_privileges: bool
    seccomp_mode: int
    seccomp_filters: int
    cap_effective: str
    cap_bounding: str
    other_capabilities: tuple[str, ...]
    cpus_allowed: tuple[int, ...]


def under_filter(threads: Sequence[ThreadStatus]) -> bool:
    """Return whether there are threads and each of them has a filter."""
    return bool(threads) and all(thread.seccomp_mode == FILTER_MODE for thread in threads)


def require_first_lock(threads: Sequence[ThreadStatus]) -> None:
    """Raise if a thread that is seen runs without a filter; where none is seen, the runner's end tells why.

    Raises:
        ExecutionFault: ``lock_missing``.
    """
    if threads and not under_filter(threads):
        raise _missing("the container's start-up code did not put on the first lock in time")


def require_compiled_lock(ready: ReadyEvent, policy_digest: str) -> None:
    """Raise unless the image's second lock was compiled from the policy in force.

    Raises:
        ExecutionFault: ``lock_missing``.
    """
    if ready.lockdown_policy != policy_digest:
        raise _missing("the image was not built with the lockdown.json in force; run: make setup")


def judge_locks(before: Sequence[ThreadStatus], after: Sequence[ThreadStatus], *, user: str) -> LocksObservation:
    """Return the observation if every thread is under both locks and has no privileges.

    Args:
        before: every thread of the sandbox after its start, under lock one.
        after: every thread once the runner has reported that it is ready, under both locks.
        user: ``UID:GID`` that each thread must run as.

    Raises:
        ExecutionFault: ``lock_missing``; the job must not be sent.
    """
    if not before or not after:
        raise _missing("the supervisor sees no process of the sandbox; it must have access to the host's /proc")
    for thread in (*before, *after):
        _require_hardened(thread, user)
    filters_before = max(thread.seccomp_filters for thread in before)
    filters_after = min(thread.seccomp_filters for thread in after)
    if filters_before < 1 or filters_after <= filters_before:
        raise _missing(f"a thread has {filters_after} filters, and had {filters_before} before the second lock")
    first = after[0]
    return LocksObservation(
        seccomp_mode=first.seccomp_mode,
        filters_before=filters_before,
        filters_after=filters_after,
        no_new_privs=first.no_new_privileges,
        cap_eff=first.cap_effective,
        cap_bnd=first.cap_bounding,
        uid=first.user_ids[0],
        threads=len(after),
    )


def _require_hardened(thread: ThreadStatus, user: str) -> None:
    user_id, group_id = map(int, user.split(":"))
    if thread.seccomp_mode != FILTER_MODE:
        raise _missing(f"a thread runs in seccomp mode {thread.seccomp_mode}")
    if not thread.no_new_privileges:
        raise _missing("a thread could gain privileges")
    if any(int(mask, 16) for mask in (thread.cap_effective, thread.cap_bounding, *thread.other_capabilities)):
        raise _missing("a thread has capabilities")
    if set(thread.user_ids) != {user_id} or set(thread.group_ids) != {group_id}:
        raise _missing("a thread runs as another user than the policy sets")


def _missing(what: str) -> ExecutionFault:
    return ExecutionFault("lock_missing", f"the job was not sent: {what}")
