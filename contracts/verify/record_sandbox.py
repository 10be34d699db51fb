"""Compare the observations of a sandbox with the plan, the outcome and each other. Pure.

The engine sends the job only after it has observed that the sandbox is as planned. So a record with output, a token or
the end of a prompt must have the isolation receipt of such a sandbox; without it the record contradicts itself.
"""

from collections.abc import Iterator

from contracts.execution.isolation_receipt import IsolationReceipt, LocksObservation
from contracts.execution.metrics_record import MetricsRecord, SandboxObservation
from contracts.verify.checks import CheckFailed

__all__ = ["check_sandbox", "was_sent"]

# linux/seccomp.h, SECCOMP_MODE_FILTER, as /proc/PID/status shows it.
FILTER_MODE = 2
# The loopback interface reaches nothing, and a sandbox has no other interface.
INTERFACES = ("lo",)


def was_sent(record: MetricsRecord) -> bool:
    """Return whether a record has anything that exists only if the job was sent."""
    raw = record.measurements
    heard = raw is not None and (raw.prompt_done_ns is not None or len(raw.token_times_ns) > 0)
    return heard or record.output is not None or record.outcome == "completed"


def _lock_faults(locks: LocksObservation, pids_limit: int | None) -> Iterator[str]:
    if locks.seccomp_mode != FILTER_MODE or not 1 <= locks.filters_before < locks.filters_after:
        yield "the job was sent although a lock was not active"
    if locks.programs is not None and len(locks.programs) != locks.filters_after:
        yield "it had other filters than those whose programs were read"
    if not locks.no_new_privs or int(locks.cap_eff, 16) or int(locks.cap_bnd, 16):
        yield "the job was sent although the sandbox had privileges"
    if pids_limit is not None and locks.threads > pids_limit:
        yield "it had more threads than allowed"


def _receipt_faults(record: MetricsRecord, sandbox: SandboxObservation, seen: IsolationReceipt) -> Iterator[str]:
    """Yield the faults of a receipt that reports no difference."""
    if sorted(seen.cpus_allowed) != sorted(sandbox.cpus):
        yield "it could run on other CPUs than those leased to it"
    if seen.memory_limit_bytes != record.plan.limits.memory_bytes:
        yield "its memory limit is not the plan's"
    own, other = (seen.locks, seen.gvisor) if seen.tier == "hardened" else (seen.gvisor, seen.locks)
    if own is None or other is not None:
        yield "its observations are not those of its isolation tier"
    if seen.locks is not None:
        yield from _lock_faults(seen.locks, seen.pids_limit)
    if seen.gvisor is not None and not seen.gvisor.no_new_privs:
        yield "the job was sent although gVisor's processes could gain privileges"
    if seen.network_interfaces != INTERFACES:
        yield "it had a network, or its network was not observed"
    # The limit of processes is in a policy, which the plan names by its digest.
    if None in {seen.mounts_digest, seen.pids_limit} or seen.mapped_objects is None or not seen.mapped_objects.files:
        yield "its files, code or process limit were not observed, but no difference is reported"
    if seen.tier == "hardened" and seen.unobserved:
        yield "it names unobserved properties in a tier where all of them are observed"


def _isolation_faults(record: MetricsRecord, sandbox: SandboxObservation, seen: IsolationReceipt) -> Iterator[str]:
    if seen.tier != record.plan.isolation:
        yield "its isolation tier is not the plan's"
    if (seen.escape_report is None) == (seen.escape_reason is None):
        yield "it needs either an escape report or the reason why there is none"
    if sandbox.cpu_features is None:
        yield "it was observed before its runner was ready"
    if not seen.difference:
        yield from _receipt_faults(record, sandbox, seen)
    elif was_sent(record):
        yield "the job was sent although the sandbox was not as planned"


def _sandbox_faults(record: MetricsRecord, sandbox: SandboxObservation) -> Iterator[str]:
    # The engine speaks to a runner only after it has observed that its image is the plan's.
    if sandbox.cpu_features is not None and sandbox.image != record.plan.runtime_image:
        yield "it was made from another image than the plan's"
    if (sandbox.cpu_features is None) != (sandbox.llama_cpp_version is None):
        yield "only a part of the runner's ready message is recorded"
    if len(set(sandbox.cpus)) != len(sandbox.cpus):
        yield "one CPU was leased twice"
    # A core has one or more logical CPUs, and all of them are leased with it.
    if len(sandbox.cpus) < record.plan.scheduling.cores:
        yield "it has fewer CPUs than the plan has cores"
    if (sandbox.start == "warm") != (sandbox.age_ms > 0):
        yield "its age does not fit its start: cold or warm"
    if sandbox.isolation is not None:
        yield from _isolation_faults(record, sandbox, sandbox.isolation)
    elif was_sent(record):
        yield "the job was sent, but its isolation was not observed"
    if record.outcome == "completed" and (sandbox.oom_killed or sandbox.exit_code):
        yield "the execution completed, but its runner failed or was stopped"


def check_sandbox(record: MetricsRecord) -> None:
    """Require that the sandbox agrees with the plan, the outcome, the output and the tokens.

    Raises:
        CheckFailed: ``ID_MISMATCH``.
    """
    if record.sandbox is None:
        if was_sent(record):
            raise CheckFailed("ID_MISMATCH", "the job was sent, but the record has no sandbox")
        return
    for fault in _sandbox_faults(record, record.sandbox):
        raise CheckFailed("ID_MISMATCH", f"the sandbox: {fault}")
