"""Builds the engine's parts from ports: scheduler, sandbox pool, execution service and run book."""

from dataclasses import dataclass

from supervisor.domain.planning.installation import HostFacts
from supervisor.domain.planning.ports import InstallationPort
from supervisor.domain.policies.policy import Policies
from supervisor.domain.pool.survey import survey_installation
from supervisor.domain.power.metering import MeteringPort
from supervisor.domain.records.ports import LedgerPort
from supervisor.domain.sandbox.ports import ModelStorePort, SandboxPort
from supervisor.domain.scheduling.leasing import leasable_memory_bytes
from supervisor.domain.scheduling.topology import split_housekeeping
from supervisor.execution.pool import RETRY_S, SandboxPool
from supervisor.execution.preparation import Preparer
from supervisor.execution.recorder import Recorder
from supervisor.execution.run_book import RunBook
from supervisor.execution.scheduler import Scheduler
from supervisor.execution.service import STORE_RETRY_S, ExecutionService

__all__ = ["Assembly", "Ports", "assemble"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports through which the engine reaches the outside world."""

    sandboxes: SandboxPort
    models: ModelStorePort
    ledger: LedgerPort
    metering: MeteringPort
    installation: InstallationPort
    recorder: Recorder


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of one running engine."""

    scheduler: Scheduler
    pool: SandboxPool
    service: ExecutionService
    book: RunBook
    housekeeping_cpus: frozenset[int]
    """Logical CPUs that are kept for the supervisor and never leased."""


def assemble(
    ports: Ports,
    policies: Policies,
    host: HostFacts,
    *,
    unplaceable: str | None,
    pool_retry_s: float = RETRY_S,
    store_retry_s: float = STORE_RETRY_S,
) -> Assembly:
    """Build the parts and connect them, without starting anything.

    Args:
        ports: the ports to the outside world.
        policies: all policies in force.
        host: the machine whose cores and memory are leased.
        unplaceable: why containers cannot be moved and frozen on this machine; None means that they can.
        pool_retry_s: seconds before a sandbox that could not be prepared is tried again.
        store_retry_s: seconds before a record that could not be stored is tried again.
    """
    leasable, kept = split_housekeeping(host.cores, policies.housekeeping)
    housekeeping_cpus = frozenset(cpu for core in kept for cpu in core.cpus)
    pool_bytes = host.memory_bytes * policies.pool.memory_percent // 100 if policies.pool.size_max else 0
    scheduler = Scheduler(
        leasable,
        leasable_memory_bytes(host.memory_bytes, policies.admission.memory, set_aside_bytes=pool_bytes),
        policies.admission.queue,
        housekeeping=housekeeping_cpus,
    )
    preparer = Preparer(ports.sandboxes, ports.models, ports.installation, policies)
    pool = SandboxPool(
        preparer,
        scheduler,
        policies.pool,
        budget_bytes=pool_bytes,
        survey=lambda: survey_installation(ports.installation.read()),
        unplaceable=unplaceable,
        retry_s=pool_retry_s,
    )
    service = ExecutionService(
        preparer=preparer,
        pool=pool,
        ledger=ports.ledger,
        recorder=ports.recorder,
        policies=policies,
        metering=ports.metering,
        store_retry_s=store_retry_s,
    )
    book = RunBook(
        service=service,
        recorder=ports.recorder,
        installation=ports.installation,
        sandboxes=ports.sandboxes,
        models=ports.models,
        ledger=ports.ledger,
        scheduler=scheduler,
        gvisor=policies.sandbox.isolation.gvisor,
    )
    return Assembly(scheduler, pool, service, book, housekeeping_cpus)
