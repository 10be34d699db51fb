"""The backend that is taken where nobody has chosen one."""

import itertools
import tomllib

import pytest

from supervisor.domain.planning.backends import BEST_FIRST, best_backend, choose_build
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


REQUIRED = {
    name: tuple(each["required_cpu_flags"])
    for name, each in tomllib.loads((REPOSITORY / "runtime-image" / "backends.toml").read_text(encoding="utf-8"))[
        "backends"
    ].items()
}
HASWELL = {"sse2", "sse4_2", "avx", "avx2", "fma", "f16c", "bmi2"}


@pytest.mark.parametrize("lacking", sorted(HASWELL - {"sse2"}))
def test_a_processor_without_one_instruction_set_of_avx2_gets_the_backend_that_it_runs(lacking: str) -> None:
    assert choose_build(REQUIRED, HASWELL) == "cpu_avx2"
    assert choose_build(REQUIRED, HASWELL - {lacking}) == "cpu_x86_64"


def test_set_up_builds_what_the_specification_names_where_a_better_one_would_run_too() -> None:
    assert choose_build(REQUIRED, HASWELL | set(REQUIRED["cpu_avx512"])) == "cpu_avx2"


def test_set_up_builds_nothing_that_the_processor_does_not_run_or_that_nobody_defines() -> None:
    assert choose_build(REQUIRED, {"neon"}) is None
    assert choose_build({"cuda": ()}, HASWELL) is None


def test_every_backend_has_its_rank_and_a_better_one_needs_all_that_a_worse_one_needs() -> None:
    defined = tomllib.loads((REPOSITORY / "runtime-image" / "backends.toml").read_text(encoding="utf-8"))["backends"]
    assert set(BEST_FIRST) == set(defined)
    # sse4_2 includes what the oldest backend needs.
    needed = [set(defined[name]["required_cpu_flags"]) - {"sse2"} for name in BEST_FIRST]
    assert all(worse < better for better, worse in itertools.pairwise(needed))
