"""Who is to come again, and whose turn it then is."""

import pytest

from supervisor.domain.scheduling.return_times import ReturnTimes, place_of_own


def test_what_was_told_counts_until_its_time_or_until_the_caller_comes() -> None:
    returns = ReturnTimes(per_caller_max=8)
    returns.tell("a", 10.0)
    returns.tell("a", 5.0)
    returns.tell("b", 7.0)
    assert (returns.count(), returns.count_of("a"), returns.count_of("c")) == (3, 2, 0)
    returns.come("c", 1.0)
    assert returns.count() == 3
    returns.come("a", 2.0)
    assert (returns.count_of("a"), returns.count_of("b")) == (1, 1), "it is taken for the one that was to come first"
    returns.come("c", 7.5)
    assert (returns.count_of("a"), returns.count_of("b")) == (1, 0), "its time has passed"
    returns.come("a", 8.0)
    assert returns.count() == 0


def test_one_caller_counts_for_others_within_its_bound() -> None:
    returns = ReturnTimes(per_caller_max=2)
    for at_s in range(5):
        returns.tell("a", float(at_s))
    returns.tell("b", 1.0)
    assert (returns.count(), returns.count_of("a")) == (3, 5)


@pytest.mark.parametrize(
    ("order", "ahead", "place"),
    [("abab", 0, 1), ("abab", 1, 3), ("baba", 0, 2), ("abab", 2, 5), ("abab", 3, 7), ("a", 2, 3)],
)
def test_a_place_of_ones_own_becomes_free_when_one_of_ones_own_has_its_cores(
    order: str, ahead: int, place: int
) -> None:
    assert place_of_own(list(order), "a", ahead) == place
