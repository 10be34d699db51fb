"""Leases of cores and memory together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.domain.errors import Refusal
from supervisor.domain.policies.policy import MemoryBudget
from supervisor.domain.scheduling.cores import Demand
from supervisor.domain.scheduling.leasing import LeaseBook, leasable_memory_bytes
from supervisor.domain.scheduling.topology import Core

CORES = tuple(Core((cpu,)) for cpu in range(4))


def demand(cores: int = 1, *, model: str = "m", model_bytes: int = 100, private_bytes: int = 10) -> Demand:
    return Demand(cores, model=model, model_bytes=model_bytes, private_bytes=private_bytes)


def test_reserved_and_set_aside_memory_is_not_leased() -> None:
    policy = MemoryBudget(base_bytes=1, buffers_percent=10, reserve_bytes=300)
    assert leasable_memory_bytes(1000, policy, set_aside_bytes=200) == 500
    assert leasable_memory_bytes(400, policy, set_aside_bytes=200) == 0


def test_a_models_pages_count_once_for_all_its_leases() -> None:
    book: LeaseBook[str] = LeaseBook(CORES, 10_000)
    assert book.take("one", demand())
    assert book.leased_memory_bytes == 110
    assert book.take("two", demand())
    assert book.leased_memory_bytes == 120
    assert book.take("other", demand(model="n"))
    assert book.leased_memory_bytes == 230
    book.give_back("one")
    assert book.leased_memory_bytes == 220
    book.give_back("two")
    book.give_back("other")
    assert book.leased_memory_bytes == 0


def test_a_lease_waits_for_memory_as_for_cores() -> None:
    book: LeaseBook[str] = LeaseBook(CORES, 215)
    assert book.take("one", demand())
    # Another model's pages do not fit beside; another execution of the same model does.
    assert book.take("other", demand(model="n")) is None
    assert book.take("two", demand())
    book.give_back("one")
    book.give_back("two")
    assert book.take("other", demand(model="n"))


def test_nothing_is_given_back_twice() -> None:
    book: LeaseBook[str] = LeaseBook(CORES, 1000)
    assert book.take("one", demand(4))
    assert book.give_back("one")
    assert book.give_back("one") is None
    assert book.free == frozenset(CORES)


@pytest.mark.parametrize(
    ("wanted", "code", "words"),
    [
        (demand(5), "insufficient_cores", "5 physical cores, but only 4 can be leased"),
        (Demand(1, whole_cores=True), "insufficient_cores", "1 whole physical cores, but only 0 can be leased"),
        (
            demand(model_bytes=990, private_bytes=11),
            "insufficient_memory",
            "1001 bytes of memory .990 for.*only 1000 bytes can be",
        ),
    ],
)
def test_a_demand_that_can_never_fit_is_refused_with_the_available_amount(
    wanted: Demand, code: str, words: str
) -> None:
    halves = tuple(Core((cpu,), is_whole=False) for cpu in range(4))
    book: LeaseBook[str] = LeaseBook(halves, 1000)
    with pytest.raises(Refusal, match=words) as caught:
        book.require_possible(wanted)
    assert caught.value.code == code


def test_a_demand_that_fits_the_empty_machine_is_possible_even_if_it_is_full() -> None:
    book: LeaseBook[str] = LeaseBook(CORES, 110)
    book.take("one", demand(4))
    book.require_possible(demand(4))


STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 4), st.sampled_from("mn"), st.integers(0, 300)), max_size=40
)


@given(STEPS)
def test_leases_never_exceed_the_machine(steps: list[tuple[int, int, str, int]]) -> None:
    book: LeaseBook[int] = LeaseBook(CORES, 500)
    for key, cores, model, private_bytes in steps:
        if book.give_back(key) is None:
            lease = book.take(key, demand(cores, model=model, private_bytes=private_bytes))
            assert lease is None or len(lease.cpus) == cores
        leased = [core for lease in book.leases.values() for core in lease.cores]
        assert len(leased) == len(set(leased))
        assert book.free == frozenset(CORES) - frozenset(leased)
        assert book.leased_memory_bytes <= 500
