"""The choice of physical cores for an execution."""

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.execution.execution_plan import ExecutionPlan
from supervisor.domain.policies.policy import SchedulerPolicy
from supervisor.domain.scheduling.topology import Core

__all__ = ["Demand", "choose_cores", "demand_of", "wanted_cores"]


@dataclass(frozen=True, slots=True)
class Demand:
    """The resources that a lease must provide."""

    cores: int
    """Physical cores."""
    whole_cores: bool = False
    """Whether the lease must include every logical CPU of its cores."""
    policy: str = "default"
    """Name of the scheduler policy that the demand comes from."""
    model: str = ""
    """Digest of the model file; all executions of a model share its pages."""
    model_bytes: int = 0
    """Size of the model file."""
    private_bytes: int = 0
    """Memory that the execution may use besides the model file: context, repacked weights, buffers, the runner."""


def demand_of(plan: ExecutionPlan) -> Demand:
    """Return the demand of a plan's execution: the most that its sandbox may use, not what it will use."""
    return Demand(
        cores=plan.scheduling.cores,
        whole_cores=plan.scheduling.whole_cores,
        policy=plan.scheduling.policy,
        model=plan.model.sha256,
        model_bytes=plan.model.size_bytes,
        private_bytes=plan.limits.memory_bytes - plan.model.size_bytes,
    )


def wanted_cores(policy: SchedulerPolicy, cores: int) -> int:
    """Return how many cores the policy gives an execution on a machine with this number of leasable cores.

    The machine is divided into equal shares of at most ``cores_max``, so that no remainder is too small for the next
    execution. Of 15 cores an execution gets 7, not 8.
    """
    shares = -(-cores // policy.cores_max)
    return cores // shares


def choose_cores(free: Iterable[Core], demand: Demand) -> tuple[Core, ...] | None:
    """Return the cores for a lease, or None if too few are free.

    The cores lie on one NUMA node if a node has room. Of these nodes, the node with the fewest free cores is used, so
    that emptier nodes stay free for large demands. Otherwise the cores lie on as few nodes as possible. Within a node,
    partial cores are used first if the demand accepts them, then the lowest cores.
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
