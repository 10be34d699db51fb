"""The backend that is taken where nobody has chosen one."""

import itertools
import tomllib

import pytest

from supervisor.domain.planning.backends import BEST_FIRST, best_backend
from tests.places import REPOSITORY


@pytest.mark.parametrize("usable", [each for n in (1, 2, 3) for each in itertools.permutations(BEST_FIRST, n)])
def test_the_best_is_taken_in_every_order(usable: tuple[str, ...]) -> None:
    best = best_backend(usable)
    assert best in usable
    assert BEST_FIRST.index(best) == min(BEST_FIRST.index(each) for each in usable)


def test_a_backend_without_a_rank_comes_last() -> None:
    assert best_backend(["aaa", "cpu_x86_64"]) == "cpu_x86_64"
    assert best_backend(["b", "a"]) == "a"


def test_without_backends_there_is_no_best() -> None:
    assert best_backend([]) is None


def test_every_backend_has_its_rank_and_a_better_one_needs_all_that_a_worse_one_needs() -> None:
    defined = tomllib.loads((REPOSITORY / "runtime-image" / "backends.toml").read_text(encoding="utf-8"))["backends"]
    assert set(BEST_FIRST) == set(defined)
    # sse4_2 includes what the oldest backend needs.
    needed = [set(defined[name]["required_cpu_flags"]) - {"sse2"} for name in BEST_FIRST]
    assert all(worse < better for better, worse in itertools.pairwise(needed))
