"""How much memory a sandbox gets. Pure."""

from supervisor.domain.models.cache_shape import CacheShape
from supervisor.domain.policies.policy import MemoryBudget, SchedulerPolicy

__all__ = ["choose_batch", "size_memory"]

PAGE_BYTES = 4096


def choose_batch(scheduler: SchedulerPolicy, context_tokens: int) -> int:
    """Return the number of prompt tokens that are computed in one batch."""
    return min(scheduler.batch_tokens, context_tokens)


def size_memory(
    size_bytes: int, cache: CacheShape, context_tokens: int, scheduler: SchedulerPolicy, budget: MemoryBudget
) -> int:
    """Return the memory of a sandbox in bytes.

    Args:
        size_bytes: size of the model file.
        cache: the model's cache.
        context_tokens: maximum number of tokens of prompt and answer together.
        scheduler: the scheduler policy.
        budget: `admission.toml`, `memory`.
    """
    copies = 2 if scheduler.repack else 1
    memory_bytes = (
        budget.base_bytes
        + size_bytes * budget.buffers_percent // 100
        + copies * size_bytes
        + cache.cache_bytes(context_tokens, choose_batch(scheduler, context_tokens))
    )
    # The kernel rounds a memory limit to pages, so only a multiple of the page size is enforced exactly.
    return -(-memory_bytes // PAGE_BYTES) * PAGE_BYTES
