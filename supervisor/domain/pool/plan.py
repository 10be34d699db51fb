"""Which sandboxes the pool should make and which it should let go of: pure, from what there is and what is wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.wire.units import NS_PER_S
from supervisor.domain.policies.policy import PoolPolicy

__all__ = ["DropReason", "PoolStep", "PooledSandbox", "Wanted", "plan_pool"]


DropReason = Literal["age", "unwanted", "budget", "unhealthy"]


@dataclass(frozen=True, slots=True)
class PooledSandbox:
    """One sandbox that is ready or being made."""

    number: int
    recipe: str
    """Digest of its recipe."""
    memory_bytes: int
    """The most that it can take."""
    ready_ns: int | None
    """Since when it has been ready, on the monotonic clock; None: it is being made."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many sandboxes of one recipe."""

    recipe: str
    memory_bytes: int
    count: int


@dataclass(frozen=True, slots=True)
class PoolStep:
    """What to do now."""

    make: tuple[str, ...]
    """Digests of recipes, the most wanted first; one that is to be made twice stands here twice."""
    drop: tuple[tuple[int, DropReason], ...]
    """Numbers of sandboxes."""


def plan_pool(
    there: Sequence[PooledSandbox], wanted: Sequence[Wanted], policy: PoolPolicy, *, budget_bytes: int, now_ns: int
) -> PoolStep:
    """Return the step from what there is to what is wanted.

    Args:
        there: every sandbox, the oldest first.
        wanted: the most wanted first; of two recipes the one that comes first gets the other's room.
        policy: `pool.toml`.
        budget_bytes: memory for all sandboxes together.
        now_ns: on the monotonic clock.
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
    """Return what may go for a recipe of this rank, the least wanted last."""
    less_wanted = (sandbox for sandbox in left if rank[sandbox.recipe] > position)
    return sorted(less_wanted, key=lambda sandbox: rank[sandbox.recipe])
