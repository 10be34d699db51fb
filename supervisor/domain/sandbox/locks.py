"""Whether both locks of a sandbox are on, decided from the kernel's view of its threads, seen from outside."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.execution.isolation_receipt import LocksObservation
from contracts.execution.runner_protocol import ReadyEvent
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.policies.seccomp_profile import SeccompProfile
from supervisor.domain.sandbox.lock_content import FilterChain, find_deviation, shared_chain

__all__ = [
    "ThreadStatus",
    "judge_filters",
    "judge_locks",
    "require_compiled_lock",
    "require_first_lock",
    "under_filter",
]

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


def judge_filters(
    chains: Sequence[FilterChain], *, image_files: Mapping[str, str], program_path: str, profile: SeccompProfile
) -> tuple[str, ...]:
    """Return the digests of the filters, the newest first, if they are lock two and then lock one.

    Args:
        chains: the filter programs of every thread.
        image_files: SHA-256 of every file of the runtime image, in hexadecimal.
        program_path: the path of lock two's program in the image.
        profile: lock one.

    Raises:
        ExecutionFault: ``lock_missing``; the job must not be sent.
    """
    programs = shared_chain(chains)
    if programs is None or len(programs) < len(("lock two", "lock one")):
        raise _missing("its threads are not under the same two filters")
    digests = tuple(hashlib.sha256(program).hexdigest() for program in programs)
    if digests[0] != image_files.get(program_path):
        raise _missing("the newest filter of its threads is not the program of lock two")
    try:
        deviation = find_deviation(programs[1:], profile)
    except ValueError as error:
        raise _missing(str(error)) from error
    if deviation is not None:
        raise _missing(f"lock one does not answer as seccomp.json says: {deviation}")
    return tuple(f"sha256:{digest}" for digest in digests)


def judge_locks(
    before: Sequence[ThreadStatus], after: Sequence[ThreadStatus], *, programs: tuple[str, ...] | None, user: str
) -> LocksObservation:
    """Return the observation if every thread is under both locks and has no privileges.

    Args:
        before: every thread of the sandbox after its start, under lock one.
        after: every thread once the runner has reported that it is ready, under both locks.
        programs: what `judge_filters` has returned; None: the programs of filters cannot be read.
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
    if programs is not None and any(thread.seccomp_filters != len(programs) for thread in after):
        raise _missing(f"a thread has other filters than the {len(programs)} whose programs were read")
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
        programs=programs,
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
