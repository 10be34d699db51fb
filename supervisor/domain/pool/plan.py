"""Which sandboxes the pool should create and drop, from those that exist and those that are wanted. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.wire.units import NS_PER_S
from supervisor.domain.policies.policy import PoolPolicy

__all__ = ["DropReason", "PoolStep", "PooledSandbox", "Wanted", "plan_pool"]


DropReason = Literal["age", "unwanted", "budget", "unhealthy"]


@dataclass(frozen=True, slots=True)
class PooledSandbox:
    """One sandbox that is ready or being created."""

    number: int
    recipe: str
    """Digest of its recipe."""
    memory_bytes: int
    """Maximum memory that it can use."""
    ready_ns: int | None
    """Monotonic time at which it became ready; None means that it is still being created."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many sandboxes of one recipe are wanted."""

    recipe: str
    memory_bytes: int
    count: int


@dataclass(frozen=True, slots=True)
class PoolStep:
    """The sandboxes to create and to drop now."""

    make: tuple[str, ...]
    """Digests of recipes, the most wanted first. A recipe is listed once for each sandbox to create."""
    drop: tuple[tuple[int, DropReason], ...]
    """Number of each sandbox to drop, with the reason."""


def plan_pool(
    there: Sequence[PooledSandbox], wanted: Sequence[Wanted], policy: PoolPolicy, *, budget_bytes: int, now_ns: int
) -> PoolStep:
    """Return the step from the existing sandboxes to the wanted ones.

    Args:
        there: every existing sandbox, the oldest first.
        wanted: recipes, the most wanted first. A recipe may displace sandboxes of the recipes after it.
        policy: `pool.toml`.
        budget_bytes: memory for all sandboxes together.
        now_ns: monotonic time.
    """
    rank = {each.recipe: position for position, each in enumerate(wanted)}
    dropped: dict[int, DropReason] = {}
    for sandbox in there:
        if sandbox.ready_ns is not None and now_ns - sandbox.ready_ns > policy.max_age_s * NS_PER_S:
            dropped[sandbox.number] = "age"
        elif sandbox.recipe not in rank:
            dropped[sandbox.number] = "unwanted"
    left = [sandbox for sandbox in there if sandbox.number not in dropped]
    make: list[str] = []
    used_bytes = sum(sandbox.memory_bytes for sandbox in left)
    for position, each in enumerate(wanted):
        for _ in range(each.count - sum(sandbox.recipe == each.recipe for sandbox in left)):
            victims = _victims(left, rank, position)
            while len(left) + len(make) >= policy.size_max or used_bytes + each.memory_bytes > budget_bytes:
                if not victims:
                    break
                victim = victims.pop()
                left.remove(victim)
                used_bytes -= victim.memory_bytes
                dropped[victim.number] = "budget"
            else:
                make.append(each.recipe)
                used_bytes += each.memory_bytes
    return PoolStep(tuple(make), tuple(dropped.items()))


def _victims(left: Sequence[PooledSandbox], rank: Mapping[str, int], position: int) -> list[PooledSandbox]:
    """Return the sandboxes that a recipe of this rank may displace, the least wanted last."""
    less_wanted = (sandbox for sandbox in left if rank[sandbox.recipe] > position)
    return sorted(less_wanted, key=lambda sandbox: rank[sandbox.recipe])
