import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale import Costs, Job, costs_from, main, show, simulate, sweep

# Nothing but the job takes time.
FREE = Costs(
    supervisor_execution_s=0,
    supervisor_token_s=0,
    ledger_entry_s=0,
    engine_call_s=0,
    container_cpu_s=0,
    prepare_cpu_s=0,
    token_s=1,
    prompt_s=0,
)
JOB = Job("one", 1)


@pytest.mark.parametrize("cores", [1, 4, 32])
def test_where_nothing_else_takes_time_the_cores_are_the_limit(cores: int) -> None:
    outcome = simulate(FREE, JOB, cores=cores)
    assert outcome.executions_per_s == pytest.approx(cores, rel=0.03)
    assert outcome.utilization["cores"] == pytest.approx(1, abs=0.01)
    assert outcome.bottleneck == "cores"
    # Little's law: three callers for each core.
    assert outcome.p50_s == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(
    ("changed", "limit", "rate"),
    [
        ({"supervisor_execution_s": 0.5}, "supervisor", 2),
        ({"supervisor_token_s": 0.5}, "supervisor", 2),
        ({"ledger_entry_s": 0.25}, "ledger", 2),
        ({"engine_call_s": 0.5}, "container engine", 2),
    ],
)
def test_what_there_is_one_of_is_the_limit_however_many_cores(
    changed: dict[str, float], limit: str, rate: float
) -> None:
    outcome = simulate(replace(FREE, **changed), JOB, cores=32)
    assert outcome.bottleneck == limit
    assert outcome.executions_per_s == pytest.approx(rate, rel=0.05)


def test_making_containers_takes_cores_from_executions() -> None:
    outcome = simulate(replace(FREE, container_cpu_s=0.5, prepare_cpu_s=0.5), JOB, cores=8)
    assert outcome.executions_per_s == pytest.approx(4, rel=0.05)
    assert outcome.bottleneck == "cores"


def test_sandboxes_are_replaced_where_cores_are_left_for_it() -> None:
    # The supervisor lets one through every half second, and cores have time for what is ahead.
    outcome = simulate(replace(FREE, supervisor_execution_s=0.5, prepare_cpu_s=0.5), JOB, cores=32)
    assert outcome.warm_part == 1


def test_nothing_is_a_bottleneck_where_nothing_is_full() -> None:
    # Of three callers two are always at one of the supervisor's two turns, the ledger's two or the core.
    costs = replace(FREE, supervisor_execution_s=1, ledger_entry_s=0.5, token_s=1)
    assert simulate(costs, JOB, cores=1).bottleneck == "none"


def test_a_seed_gives_the_same_outcome_again() -> None:
    costs = Costs()
    assert simulate(costs, JOB, cores=4, seed=3) == simulate(costs, JOB, cores=4, seed=3)
    assert simulate(costs, JOB, cores=4, seed=3) != simulate(costs, JOB, cores=4, seed=4)


def test_every_job_is_simulated_at_every_size() -> None:
    outcomes = sweep(FREE, (1, 2), (JOB, Job("two", 2)))
    assert [(each.job, each.cores) for each in outcomes] == [("one", 1), ("one", 2), ("two", 1), ("two", 2)]
    assert show(outcomes).count("\n") == 2 + len(outcomes)


def test_measured_figures_take_the_defaults_place() -> None:
    document = {
        "machine": {"logical_cpus": 2},
        "rows": [
            {"name": "append", "spread": {"median": 4000}},
            {"name": "supervisor_cpu_waiting", "spread": {"median": 1}, "details": {"us_per_token": [300, 100, 200]}},
            {"name": "execution_cost", "spread": {"median": 8}},
            {"name": "rate_8", "spread": {"median": 1}, "pairs": [{"peer": 8}, {"peer": 10}, {"peer": 12}]},
        ],
    }
    costs = costs_from(document, Costs())
    assert (costs.ledger_entry_s, costs.supervisor_token_s) == (1 / 4000, 0.0002)
    assert (costs.supervisor_execution_s, costs.container_cpu_s) == (0.008, 0.2)


def test_what_was_not_measured_keeps_the_default() -> None:
    assert costs_from({"rows": [{"name": "append", "spread": None}]}, Costs()) == Costs()


def test_the_command_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The figures are not looked at; counted in full, 256 cores take seconds.
    monkeypatch.setattr(scale, "WARM_UP", 1)
    monkeypatch.setattr(scale, "COUNTED", 2)
    measured = tmp_path / "results.json"
    measured.write_text(json.dumps({"rows": [{"name": "execution_cost", "spread": {"median": 5.0}}]}))
    assert main(["--no-plot", "--measured", str(measured), "--output", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "scale.json").read_text())
    assert document["costs"]["supervisor_execution_s"] == 0.005
    assert len(document["outcomes"]) == 9
    assert "| 512 tokens | 256 |" in capsys.readouterr().out
