"""Whether a sandbox of the tier `gvisor` is what it should be: decided from what two kernels say of it. Pure.

gVisor's kernel is a process of the host's, and the runner's system calls end in it. So the host's kernel says what
gVisor's own processes can do, and only gVisor's kernel can say what the runner can: which user it is, and that the
call with which it put on lock two succeeded. That lock one stands over the runner is nowhere to be read; what is seen
is that gVisor's kernel runs with the argument by which it puts it on.
"""

from dataclasses import dataclass

from contracts.execution.isolation_receipt import GvisorObservation
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.policies.policy import GvisorTier
from supervisor.domain.sandbox.locks import FILTER_MODE, ThreadStatus

__all__ = ["FilterCall", "GuestFacts", "GvisorFacts", "HostProcess", "judge_gvisor"]

# linux/seccomp.h: SECCOMP_SET_MODE_FILTER, and SECCOMP_FILTER_FLAG_TSYNC, which takes every thread along.
SET_MODE_FILTER = 1
ALL_THREADS = 1
# Where runsc keeps its files, which is not the same for two executions.
PLACES = frozenset({"--root", "--log", "--log-fd", "--log-format", "--systemd-cgroup"})
# runsc does not repeat to its own process what is its default anyway (0.0~20221219).
DEFAULTS = frozenset({"--platform=ptrace"})
# What runsc tells its own process to be.
KERNEL_COMMAND = "boot"


@dataclass(frozen=True, slots=True)
class HostProcess:
    """One process of the sandbox, as the host's kernel shows it."""

    arguments: tuple[str, ...]
    is_first: bool
    is_in_hosts_user_namespace: bool
    threads: tuple[ThreadStatus, ...]


@dataclass(frozen=True, slots=True)
class FilterCall:
    """A call of seccomp(2) inside, as gVisor's kernel reported it when it returned."""

    operation: int
    flags: int
    result: int
    error: int


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """The runner, as gVisor's kernel describes it."""

    user_ids: tuple[int, ...]
    group_ids: tuple[int, ...]
    environment: tuple[str, ...]
    open_files: tuple[int, int]
    mapped_paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class GvisorFacts:
    """What both kernels say.

    Attributes:
        processes: All of them, by the host's kernel.
        guest: The runner, by gVisor's kernel.
        filter_calls: Every seccomp(2) inside since before the set-up; None: reports were lost.
    """

    processes: tuple[HostProcess, ...]
    guest: GuestFacts
    filter_calls: tuple[FilterCall, ...] | None


def judge_gvisor(facts: GvisorFacts | None, tier: GvisorTier, *, user: str) -> GvisorObservation:
    """Return what was seen, where gVisor's processes are confined and the runner has put on lock two.

    Args:
        facts: what was seen; None: nothing could be.
        tier: how gVisor should be run.
        user: ``UID:GID`` of the runner.

    Raises:
        ExecutionFault: ``lock_missing``; the job must not be sent.
    """
    if facts is None:
        raise _missing("gVisor's kernel was not asked what happens in it")
    kernel = [process for process in facts.processes if process.is_first]
    servers = [process for process in facts.processes if process.is_in_hosts_user_namespace]
    if len(kernel) != 1 or len(servers) != 1 or kernel == servers:
        raise _missing(
            "gVisor's kernel is not in a user namespace of its own beside one process that opens files for it"
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
        raise _missing("a thread of gVisor's is under no filter")
    if not thread.no_new_privileges:
        raise _missing("a thread of gVisor's could gain privileges")


def _capabilities_within(server: HostProcess, allowed: str) -> str:
    for thread in server.threads:
        sets = (thread.cap_effective, thread.cap_bounding, *thread.other_capabilities)
        if any(int(mask, 16) & ~int(allowed, 16) for mask in sets):
            raise _missing("the process that opens files for gVisor's kernel has more capabilities than the policy's")
    return server.threads[0].cap_effective


def _require_arguments(kernel: HostProcess, tier: GvisorTier) -> tuple[str, ...]:
    words = kernel.arguments[1:]
    if KERNEL_COMMAND not in words:
        raise _missing("the sandbox's first process is not gVisor's kernel")
    given = words[: words.index(KERNEL_COMMAND)]
    seen = tuple(sorted(word for word in given if word.split("=", 1)[0] not in PLACES))
    if not set(tier.arguments) - DEFAULTS <= set(seen) <= set(tier.arguments):
        raise _missing("gVisor's kernel runs with other arguments than the policy's")
    return seen


def _require_user(guest: GuestFacts, user: str) -> None:
    user_id, group_id = map(int, user.split(":"))
    if set(guest.user_ids) != {user_id} or set(guest.group_ids) != {group_id}:
        raise _missing("the runner is another user than the policy's, by gVisor's word")


def _require_second_lock(calls: tuple[FilterCall, ...] | None) -> int:
    if calls is None:
        raise _missing("gVisor's kernel lost reports of what the runner did")
    if not calls or any(call != FilterCall(SET_MODE_FILTER, ALL_THREADS, 0, 0) for call in calls):
        raise _missing("gVisor's kernel did not report filters, the second lock, put on all of the runner's threads")
    return len(calls)


def _missing(what: str) -> ExecutionFault:
    return ExecutionFault("lock_missing", f"the job was not sent: {what}")
