"""Hold what was observed of a sandbox against the plan, the outcome and itself. Pure.

The job is sent only to a sandbox that was found to be what was asked for. So where there is text, a token or an end of
the prompt, there is a receipt of such a sandbox, and whoever signs less contradicts himself.
"""

from collections.abc import Iterator

from contracts.execution.isolation_receipt import IsolationReceipt, LocksObservation
from contracts.execution.metrics_record import MetricsRecord, SandboxObservation
from contracts.verify.checks import CheckFailed

__all__ = ["check_sandbox", "was_sent"]

# linux/seccomp.h, SECCOMP_MODE_FILTER, as /proc/PID/status shows it.
FILTER_MODE = 2
# Nothing can be reached by it, and no sandbox has another.
INTERFACES = ("lo",)


def was_sent(record: MetricsRecord) -> bool:
    """Tell whether a record holds anything that only a job can have brought."""
    raw = record.measurements
    heard = raw is not None and (raw.prompt_done_ns is not None or len(raw.token_times_ns) > 0)
    return heard or record.output is not None or record.outcome == "completed"


def _lock_faults(locks: LocksObservation, pids_limit: int | None) -> Iterator[str]:
    if locks.seccomp_mode != FILTER_MODE or not 1 <= locks.filters_before < locks.filters_after:
        yield "one of its locks was not on, and the job was sent all the same"
    if not locks.no_new_privs or int(locks.cap_eff, 16) or int(locks.cap_bnd, 16):
        yield "it could do what is privileged, and the job was sent all the same"
    if pids_limit is not None and locks.threads > pids_limit:
        yield "it had more threads than it was allowed"


def _receipt_faults(record: MetricsRecord, sandbox: SandboxObservation, seen: IsolationReceipt) -> Iterator[str]:
    """Give what is wrong with a receipt that finds no difference."""
    if sorted(seen.cpus_allowed) != sorted(sandbox.cpus):
        yield "it could run on other CPUs than were leased to it"
    if seen.memory_limit_bytes != record.plan.limits.memory_bytes:
        yield "its memory limit is not the plan's"
    own, other = (seen.locks, seen.gvisor) if seen.tier == "hardened" else (seen.gvisor, seen.locks)
    if own is None or other is not None:
        yield "what was seen of it is not what is seen in its tier"
    if seen.locks is not None:
        yield from _lock_faults(seen.locks, seen.pids_limit)
    if seen.gvisor is not None and not seen.gvisor.no_new_privs:
        yield "gVisor's processes could gain privileges, and the job was sent all the same"
    if seen.network_interfaces != INTERFACES:
        yield "it had a network, or nobody looked"
    # The number of processes is a policy's, which the plan names by its digest.
    if None in {seen.mounts_digest, seen.pids_limit} or seen.mapped_objects is None or not seen.mapped_objects.files:
        yield "its files, its code or its limit of processes were not seen, and no difference is told of"
    if seen.tier == "hardened" and seen.unobserved:
        yield "something is said to be seen nowhere in a tier in which everything is seen"


def _isolation_faults(record: MetricsRecord, sandbox: SandboxObservation, seen: IsolationReceipt) -> Iterator[str]:
    if seen.tier != record.plan.isolation:
        yield "its isolation tier is not the plan's"
    if (seen.escape_report is None) == (seen.escape_reason is None):
        yield "a report of the escape suite and the reason why there is none exclude each other"
    if sandbox.cpu_features is None:
        yield "it was looked at before its runner was ready"
    if not seen.difference:
        yield from _receipt_faults(record, sandbox, seen)
    elif was_sent(record):
        yield "it was not what was asked for, and the job was sent all the same"


def _sandbox_faults(record: MetricsRecord, sandbox: SandboxObservation) -> Iterator[str]:
    # Nothing is said to a runner before its image is found to be the plan's.
    if sandbox.cpu_features is not None and sandbox.image != record.plan.runtime_image:
        yield "it was made of another image than the plan's"
    if (sandbox.cpu_features is None) != (sandbox.llama_cpp_version is None):
        yield "what a runner says when it is ready is there in part"
    if len(set(sandbox.cpus)) != len(sandbox.cpus):
        yield "one CPU was leased twice"
    # A core has one logical CPU or several, and all of them are leased with it.
    if len(sandbox.cpus) < record.plan.scheduling.cores:
        yield "it has fewer CPUs than the plan has cores"
    if (sandbox.start == "warm") != (sandbox.age_ms > 0):
        yield "its age is not that of its start"
    if sandbox.isolation is not None:
        yield from _isolation_faults(record, sandbox, sandbox.isolation)
    elif was_sent(record):
        yield "the job was sent, and nothing was seen of it"
    if record.outcome == "completed" and (sandbox.oom_killed or sandbox.exit_code):
        yield "its runner failed or was ended, and the execution completed"


def check_sandbox(record: MetricsRecord) -> None:
    """Require that the sandbox is the one that plan, outcome, text and tokens speak of.

    Raises:
        CheckFailed: ``ID_MISMATCH``.
    """
    if record.sandbox is None:
        if was_sent(record):
            raise CheckFailed("ID_MISMATCH", "there is what only a job can bring, and no sandbox that it was sent to")
        return
    for fault in _sandbox_faults(record, record.sandbox):
        raise CheckFailed("ID_MISMATCH", f"the sandbox: {fault}")
