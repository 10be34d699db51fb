"""Leases of the machine's physical cores and memory; the pages of a model count once for all its executions."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from supervisor.domain.errors import Refusal
from supervisor.domain.policies.policy import MemoryBudget
from supervisor.domain.scheduling.cores import Demand, choose_cores
from supervisor.domain.scheduling.topology import Core

__all__ = ["Lease", "LeaseBook", "leasable_memory_bytes"]

_K = TypeVar("_K", bound=Hashable)


def leasable_memory_bytes(host_bytes: int, policy: MemoryBudget, *, set_aside_bytes: int) -> int:
    """Return the memory that can be leased to executions.

    Args:
        host_bytes: memory of the machine.
        policy: the memory policy, which names the reserve for everything else on the machine.
        set_aside_bytes: memory that sandboxes waiting for an execution may use.
    """
    return max(0, host_bytes - policy.reserve_bytes - set_aside_bytes)


@dataclass(frozen=True, slots=True)
class Lease:
    """The resources that one execution holds."""

    demand: Demand
    cores: tuple[Core, ...]

    @property
    def cpus(self) -> tuple[int, ...]:
        """Every logical CPU of its cores, ascending."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))


class LeaseBook(Generic[_K]):
    """The machine's cores and memory, and the leases on them by holder."""

    def __init__(self, cores: tuple[Core, ...], memory_bytes: int) -> None:
        self._cores = cores
        self.free = frozenset(cores)
        self.memory_bytes = memory_bytes
        self.leases: dict[_K, Lease] = {}

    @property
    def leased_memory_bytes(self) -> int:
        """Leased memory. Executions of one model map the same pages of its file, so these count once."""
        demands = [lease.demand for lease in self.leases.values()]
        models = {demand.model: demand.model_bytes for demand in demands}
        return sum(demand.private_bytes for demand in demands) + sum(models.values())

    def require_possible(self, demand: Demand) -> None:
        """Raise if the demand exceeds the whole machine, so that it could never be leased.

        Raises:
            Refusal: ``insufficient_cores`` or ``insufficient_memory``.
        """
        if choose_cores(self._cores, demand) is None:
            kind = "whole physical cores" if demand.whole_cores else "physical cores"
            fit = sum(core.is_whole or not demand.whole_cores for core in self._cores)
            detail = f"the execution needs {demand.cores} {kind}, but only {fit} can be leased on this machine"
            raise Refusal("insufficient_cores", detail, field="/execution/scheduler_policy")
        wanted = demand.model_bytes + demand.private_bytes
        if wanted > self.memory_bytes:
            detail = (
                f"the execution needs {wanted} bytes of memory ({demand.model_bytes} for the model, "
                f"{demand.private_bytes} for its context and the runner), but only {self.memory_bytes} bytes can be "
                "leased on this machine"
            )
            raise Refusal("insufficient_memory", detail, field="/model")

    def take(self, key: _K, demand: Demand) -> Lease | None:
        """Return a lease, or None if too little is free at the moment."""
        held = any(lease.demand.model == demand.model for lease in self.leases.values())
        wanted = demand.private_bytes + (0 if held else demand.model_bytes)
        cores = choose_cores(self.free, demand)
        if cores is None or self.leased_memory_bytes + wanted > self.memory_bytes:
            return None
        self.free -= frozenset(cores)
        self.leases[key] = lease = Lease(demand, cores)
        return lease

    def give_back(self, key: _K) -> Lease | None:
        """Remove a lease and return it, or None if the holder has none."""
        lease = self.leases.pop(key, None)
        if lease is not None:
            self.free |= frozenset(lease.cores)
        return lease
