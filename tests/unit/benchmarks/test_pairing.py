import json
from dataclasses import replace

import pytest

from benchmarks.measuring.pairing import Pair, alternate, percentile, ratios, spread_of
from benchmarks.measuring.results import Row, Target, document_of, is_reached, show_table
from benchmarks.peers.peers import PROGRAMS, peer_definition
from supervisor.adapters.installation.backends import default_source_root, load_backends

WARM = Row("warm", "one token", "s", Target(1.1, "at most"), (Pair(2.0, 4.0), Pair(3.0, 4.0), Pair(4.0, 4.0)))


@pytest.mark.parametrize("seed", range(20))
def test_each_side_goes_first_equally_often(seed: int) -> None:
    order = list(alternate(10, seed))
    assert order.count(True) == order.count(False) == 5


def test_an_odd_number_of_pairs_is_kept_to() -> None:
    assert len(list(alternate(7, 0))) == 7


def test_the_order_is_not_the_same_for_every_seed() -> None:
    assert len({tuple(alternate(8, seed)) for seed in range(20)}) > 1


def test_ratios_are_taken_pair_by_pair() -> None:
    # The ratio of the medians would be 1.
    assert ratios([Pair(1, 2), Pair(2, 1), Pair(3, 1.5)]) == (0.5, 2, 2)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 5), (51, 6), (95, 10), (99, 10), (100, 10)])
def test_percentiles_are_by_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(10, 0, -1)), percent) == expected


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 50)


def test_the_interval_lies_around_the_median_and_inside_the_values() -> None:
    spread = spread_of([1.0, 1.1, 0.9, 1.05, 0.95, 5.0])
    assert 0.9 <= spread.interval_low <= spread.median <= spread.interval_high <= 5
    assert spread.median == pytest.approx(1.025)
    assert (spread.quartile_low, spread.quartile_high) == (0.95, 1.1)


def test_equal_values_have_no_spread() -> None:
    spread = spread_of([2.0] * 5)
    assert {spread.median, spread.interval_low, spread.interval_high} == {2.0}


@pytest.mark.parametrize(
    ("kind", "bound", "expected"),
    [("at most", 0.75, True), ("at most", 0.74, False), ("at least", 0.75, True), ("at least", 0.76, False)],
)
def test_a_target_is_held_against_the_median_ratio(kind: str, bound: float, expected: bool) -> None:
    row = replace(WARM, target=Target(bound, kind))  # type: ignore[arg-type]  # the parameter is one of the two
    assert is_reached(row) is expected


def test_what_was_not_measured_is_no_success_and_no_failure() -> None:
    row = replace(WARM, pairs=(), notes=("no warm start happened",))
    assert is_reached(row) is None
    assert "not measured" in show_table([row])


def test_a_figure_without_a_target_is_shown_and_not_judged() -> None:
    row = replace(WARM, target=None)
    assert is_reached(row) is None
    assert "| 0.75 (0.5 to 1.00) |" in show_table([row])


def test_the_table_tells_target_ratio_quartiles_sides_and_number_of_pairs() -> None:
    line = show_table([replace(WARM, load_average=0.25)]).splitlines()[2]
    assert line == "| one token | at most 1.1 | **0.75 (0.5 to 1.00)** | 3.00 / 4.00 s | 3 | 0.2 |"


def test_a_row_that_falls_short_is_not_bold() -> None:
    assert "**" not in show_table([replace(WARM, target=Target(0.5, "at most"))])


def test_values_without_a_peer_carry_their_unit() -> None:
    row = Row("append", "records", "records/s", Target(2000, "at least", "records/s"), values=(3210.0,))
    assert "| at least 2,000 records/s | **3,210 records/s** |  | 1 |" in show_table([row])


def test_the_document_keeps_every_raw_pair() -> None:
    document = json.loads(json.dumps(document_of([WARM], {"kernel": "6.1"})))
    assert document["machine"] == {"kernel": "6.1"}
    assert document["rows"][0]["pairs"] == [{"ours": 2, "peer": 4}, {"ours": 3, "peer": 4}, {"ours": 4, "peer": 4}]
    assert document["rows"][0]["ratios"] == [0.5, 0.75, 1]
    assert document["rows"][0]["reached"] is True


@pytest.mark.parametrize("name", ["cpu_x86_64", "cpu_avx2", "cpu_avx512"])
def test_a_peer_is_compiled_with_the_backends_own_settings(name: str) -> None:
    backend = load_backends(default_source_root())[name]
    ours, peer = dict(backend.cmake), dict(peer_definition(backend).cmake)
    assert {key: peer[key] for key in ours if key not in PROGRAMS} == {
        key: value for key, value in ours.items() if key not in PROGRAMS
    }
    assert set(peer) - set(ours) <= set(PROGRAMS)
    assert not any(key.startswith(("GGML_", "CMAKE_")) for key in PROGRAMS)
