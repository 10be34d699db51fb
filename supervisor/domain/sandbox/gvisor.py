"""Whether a sandbox of the tier `gvisor` is confined as it should be, decided from what two kernels report. Pure.

gVisor's kernel is a process on the host, and the runner's system calls end in it. The host's kernel therefore reports
what gVisor's own processes may do. Only gVisor's kernel can report what the runner may do: its user, and whether the
call that put on lock two succeeded. Lock one on the runner cannot be read anywhere. Instead, the arguments of gVisor's
kernel are checked, which include the argument that makes it put lock one on.
"""

from dataclasses import dataclass

from contracts.execution.isolation_receipt import GvisorObservation
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.policies.policy import GvisorTier
from supervisor.domain.sandbox.locks import FILTER_MODE, ThreadStatus

__all__ = ["FilterCall", "GuestFacts", "GvisorFacts", "HostProcess", "judge_gvisor"]

# linux/seccomp.h: SECCOMP_SET_MODE_FILTER, and SECCOMP_FILTER_FLAG_TSYNC, which includes every thread.
SET_MODE_FILTER = 1
ALL_THREADS = 1
# Arguments that say where runsc keeps its files; they differ between executions.
PLACES = frozenset({"--root", "--log", "--log-fd", "--log-format", "--systemd-cgroup"})
# runsc does not pass its default arguments on to its own process (0.0~20221219).
DEFAULTS = frozenset({"--platform=ptrace"})
# The command with which runsc starts its own process as gVisor's kernel.
KERNEL_COMMAND = "boot"


@dataclass(frozen=True, slots=True)
class HostProcess:
    """One process of the sandbox, as the host's kernel reports it."""

    arguments: tuple[str, ...]
    is_first: bool
    is_in_hosts_user_namespace: bool
    threads: tuple[ThreadStatus, ...]


@dataclass(frozen=True, slots=True)
class FilterCall:
    """A call of seccomp(2) inside the sandbox, as gVisor's kernel reported it when the call returned."""

    operation: int
    flags: int
    result: int
    error: int


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """The runner, as gVisor's kernel reports it."""

    user_ids: tuple[int, ...]
    group_ids: tuple[int, ...]
    environment: tuple[str, ...]
    open_files: tuple[int, int]
    mapped_paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class GvisorFacts:
    """The reports of both kernels.

    Attributes:
        processes: All processes of the sandbox, reported by the host's kernel.
        guest: The runner, reported by gVisor's kernel.
        filter_calls: Every seccomp(2) call inside since before the set-up; None means that reports were lost.
    """

    processes: tuple[HostProcess, ...]
    guest: GuestFacts
    filter_calls: tuple[FilterCall, ...] | None


def judge_gvisor(facts: GvisorFacts | None, tier: GvisorTier, *, user: str) -> GvisorObservation:
    """Return the observation if gVisor's processes are confined and the runner has put on lock two.

    Args:
        facts: the reports of both kernels; None means that there are none.
        tier: how gVisor should be run.
        user: ``UID:GID`` of the runner.

    Raises:
        ExecutionFault: ``lock_missing``; the job must not be sent.
    """
    if facts is None:
        raise _missing("gVisor's kernel was not asked to report on the sandbox")
    kernel = [process for process in facts.processes if process.is_first]
    servers = [process for process in facts.processes if process.is_in_hosts_user_namespace]
    if len(kernel) != 1 or len(servers) != 1 or kernel == servers:
        raise _missing(
            "gVisor does not consist of a kernel in its own user namespace and one process that opens files for it"
        )
    threads = [thread for process in facts.processes for thread in process.threads]
    for thread in threads:
        _require_confined(thread)
    confined = [thread for process in facts.processes if process not in servers for thread in process.threads]
    if not confined or any(0 in thread.user_ids for thread in confined):
        raise _missing("gVisor's kernel runs as the host's root")
    capabilities = _capabilities_within(servers[0], tier.file_server_capabilities)
    arguments = _require_arguments(kernel[0], tier)
    _require_user(facts.guest, user)
    return GvisorObservation(
        arguments=arguments,
        processes=len(facts.processes),
        threads=len(threads),
        host_filters=min(thread.seccomp_filters for thread in threads),
        no_new_privs=all(thread.no_new_privileges for thread in threads),
        kernel_uid=confined[0].user_ids[0],
        file_server_cap_eff=capabilities,
        guest_uid=facts.guest.user_ids[0],
        guest_filters=_require_second_lock(facts.filter_calls),
    )


def _require_confined(thread: ThreadStatus) -> None:
    if thread.seccomp_mode != FILTER_MODE or thread.seccomp_filters < 1:
        raise _missing("a thread of gVisor has no system call filter")
    if not thread.no_new_privileges:
        raise _missing("a thread of gVisor could gain privileges")


def _capabilities_within(server: HostProcess, allowed: str) -> str:
    for thread in server.threads:
        sets = (thread.cap_effective, thread.cap_bounding, *thread.other_capabilities)
        if any(int(mask, 16) & ~int(allowed, 16) for mask in sets):
            raise _missing("the process that opens files for gVisor has more capabilities than the policy allows")
    return server.threads[0].cap_effective


def _require_arguments(kernel: HostProcess, tier: GvisorTier) -> tuple[str, ...]:
    words = kernel.arguments[1:]
    if KERNEL_COMMAND not in words:
        raise _missing("the sandbox's first process is not gVisor's kernel")
    given = words[: words.index(KERNEL_COMMAND)]
    seen = tuple(sorted(word for word in given if word.split("=", 1)[0] not in PLACES))
    if not set(tier.arguments) - DEFAULTS <= set(seen) <= set(tier.arguments):
        raise _missing("gVisor's kernel runs with other arguments than the policy sets")
    return seen


def _require_user(guest: GuestFacts, user: str) -> None:
    user_id, group_id = map(int, user.split(":"))
    if set(guest.user_ids) != {user_id} or set(guest.group_ids) != {group_id}:
        raise _missing("gVisor reports that the runner runs as another user than the policy sets")


def _require_second_lock(calls: tuple[FilterCall, ...] | None) -> int:
    if calls is None:
        raise _missing("gVisor's kernel lost reports about the runner's system calls")
    if not calls or any(call != FilterCall(SET_MODE_FILTER, ALL_THREADS, 0, 0) for call in calls):
        raise _missing("gVisor's kernel did not report the second lock (filters) on all threads of the runner")
    return len(calls)


def _missing(what: str) -> ExecutionFault:
    return ExecutionFault("lock_missing", f"the job was not sent: {what}")
