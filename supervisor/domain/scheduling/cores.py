"""Which physical cores an execution gets."""

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.execution.execution_plan import ExecutionPlan
from supervisor.domain.policies.policy import SchedulerPolicy
from supervisor.domain.scheduling.topology import Core

__all__ = ["Demand", "choose_cores", "demand_of", "wanted_cores"]


@dataclass(frozen=True, slots=True)
class Demand:
    """What a lease must have."""

    cores: int
    """Physical cores."""
    whole_cores: bool = False
    """Whether every logical CPU of them must be the lease's."""
    policy: str = "default"
    """The scheduler policy that it comes from."""
    model: str = ""
    """Digest of the model's file, whose pages all executions of it share."""
    model_bytes: int = 0
    """Its size."""
    private_bytes: int = 0
    """What the execution may take besides: context, repacked weights, buffers, the runner."""


def demand_of(plan: ExecutionPlan) -> Demand:
    """Return what the execution of a plan must be leased; all that its sandbox may take, not what it will."""
    return Demand(
        cores=plan.scheduling.cores,
        whole_cores=plan.scheduling.whole_cores,
        policy=plan.scheduling.policy,
        model=plan.model.sha256,
        model_bytes=plan.model.size_bytes,
        private_bytes=plan.limits.memory_bytes - plan.model.size_bytes,
    )


def wanted_cores(policy: SchedulerPolicy, cores: int) -> int:
    """Return how many cores the policy gives an execution on a machine that can lease so many.

    The machine is dealt out in equal shares of at most ``cores_max``, so that none is left over that is too small for
    the next execution: of 15 cores 7, not 8.
    """
    shares = -(-cores // policy.cores_max)
    return cores // shares


def choose_cores(free: Iterable[Core], demand: Demand) -> tuple[Core, ...] | None:
    """Return the cores for a lease, or None where too few are free.

    All on one NUMA node where there is one with room: the fullest that fits, so that the emptier ones stay open for
    large demands. Otherwise on as few nodes as can be. On a node those that are not wholly ours go first where that
    does not matter, and then the lowest.
    """
    fit = [core for core in free if core.is_whole or not demand.whole_cores]
    if len(fit) < demand.cores:
        return None
    by_node: dict[int, list[Core]] = {}
    for core in sorted(fit, key=lambda core: (core.is_whole, core.cpus)):
        by_node.setdefault(core.node, []).append(core)
    chosen: list[Core] = []
    while True:
        missing = demand.cores - len(chosen)
        enough = [node for node, cores in by_node.items() if len(cores) >= missing]
        if enough:
            last = min(enough, key=lambda node: (len(by_node[node]), node))
            return tuple(sorted([*chosen, *by_node[last][:missing]]))
        largest = max(by_node, key=lambda node: (len(by_node[node]), -node))
        chosen += by_node.pop(largest)
