"""Whether the next container would start, from how the newest one did."""

import pytest

from supervisor.domain.sandbox.starts import CURRENT_S, ENGINE_FAULTS, StartWatch


def test_nothing_is_known_before_the_first_start() -> None:
    assert StartWatch().obstacle(1e9) is None


@pytest.mark.parametrize("code", sorted(ENGINE_FAULTS))
def test_a_failed_start_counts_until_one_succeeds_or_it_is_long_ago(code: str) -> None:
    watch = StartWatch()
    watch.fail(code, "Requested CPUs are not available", 5.0)
    assert watch.obstacle(5.0 + CURRENT_S - 1) == "Requested CPUs are not available"
    assert watch.obstacle(5.0 + CURRENT_S) is None
    watch.succeed()
    assert watch.obstacle(5.0) is None


def test_a_fault_of_one_image_says_nothing_of_the_others() -> None:
    watch = StartWatch()
    watch.fail("image_missing", "gone", 5.0)
    assert watch.obstacle(5.0) is None
