from supervisor.domain.models.cache_shape import CacheShape
from supervisor.domain.planning.memory import PAGE_BYTES, choose_batch, size_memory
from tests.fakes.installation import fixed_installation

POLICIES = fixed_installation().policies
BUDGET = POLICIES.admission.memory
SCHEDULER = POLICIES.scheduling["default"].model_copy(update={"repack": False})
CACHE = CacheShape(token_bytes=1024, window_token_bytes=0, window_tokens=0, state_bytes=0)


def test_a_batch_is_no_longer_than_the_context() -> None:
    assert choose_batch(SCHEDULER, 10) == 10
    assert choose_batch(SCHEDULER, 10**6) == SCHEDULER.batch_tokens


def test_memory_is_file_buffers_cache_and_a_fixed_part_in_whole_pages() -> None:
    needed = size_memory(10**9, CACHE, 2048, SCHEDULER, BUDGET)
    parts = BUDGET.base_bytes + 10**9 * (100 + BUDGET.buffers_percent) // 100 + 2048 * 1024
    assert 0 <= needed - parts < PAGE_BYTES
    assert needed % PAGE_BYTES == 0


def test_repacked_weights_are_there_twice() -> None:
    repacking = SCHEDULER.model_copy(update={"repack": True})
    once, twice = (size_memory(PAGE_BYTES * 1000, CACHE, 2048, each, BUDGET) for each in (SCHEDULER, repacking))
    assert twice - once == PAGE_BYTES * 1000
