"""Rows of many executions: the sustained rate, compared with the container engine's own."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.measuring.machine import load_average
from benchmarks.measuring.pairing import Pair, alternate
from benchmarks.measuring.results import Row, Target
from benchmarks.measuring.supervisor_cost import cpu_ns
from benchmarks.peers.containers import NoOp, count_rate
from benchmarks.peers.engine import Engine, run_request
from benchmarks.rows.speed import SEED, Bench
from contracts.wire.units import NS_PER_MS

__all__ = ["measure_rate"]

CALLERS = (1, 2, 8)
REST_S = 1.0
RETRY_S = 0.05
COST_ROUNDS = 3
OK = 200
TOO_MANY = 429


def measure_rate(bench: Bench, no_op: NoOp, *, pairs: int, window_s: float) -> list[Row]:
    """Compare executions per second with the rate at which the container engine runs containers that do nothing."""
    policy = bench.engine.policy("throughput")
    rows = []
    for number, callers in enumerate(CALLERS):
        load, found, executed = load_average(), [], list[str]()
        for order, ours_first in enumerate(alternate(pairs, SEED)):
            bench.step.update(number * pairs + order, len(CALLERS) * pairs, f"{callers} callers")
            mine = _our_rate(bench.engine, policy, callers, window_s, executed) if ours_first else None
            theirs = _rested(lambda: count_rate(callers, window_s, lambda: no_op))  # noqa: B023 - called at once
            if mine is None:
                mine = _our_rate(bench.engine, policy, callers, window_s, executed)
            found.append(Pair(mine, theirs))
        what = f"sustained one-token executions/s, {callers} callers, against create-start-wait-remove of no-ops"
        warm = sum(_is_warm(bench.engine, each) for each in executed)
        notes = (f"policy `{policy}`, {window_s:.0f} s windows; {warm} of {len(executed)} executions started warm",)
        target = Target(0.8, "at least")
        rows.append(Row(f"rate_{callers}", what, "/s", target, tuple(found), load_average=load, notes=notes))
    return [*rows, _execution_cost(bench, policy)]


def _execution_cost(bench: Bench, policy: str) -> Row:
    load, costs = load_average(), []
    for _ in range(COST_ROUNDS):
        executed: list[str] = []
        before = cpu_ns(bench.engine.pid)
        _our_rate(bench.engine, policy, 1, bench.window_s / 2, executed)
        costs.append((cpu_ns(bench.engine.pid) - before) / len(executed) / NS_PER_MS)
    what = "supervisor's processor time for a one-token execution, all threads"
    return Row("execution_cost", what, "ms", None, values=tuple(costs), load_average=load)


def _rested(measure: Callable[[], float]) -> float:
    time.sleep(REST_S)
    return measure()


def _is_warm(engine: Engine, execution_id: str) -> bool:
    sandbox = engine.record(execution_id).sandbox
    return sandbox is not None and str(sandbox.start) == "warm"


def _our_rate(engine: Engine, policy: str, callers: int, window_s: float, executed: list[str]) -> float:
    request = run_request(1, policy=policy)
    return _rested(lambda: count_rate(callers, window_s, lambda: _caller(engine, request, executed)))


def _caller(engine: Engine, request: dict[str, Any], executed: list[str]) -> Callable[[], None]:
    client = engine.http.another()

    def execute() -> None:
        answer = client.ask("POST", "/v1/runs", request)
        while answer.status == TOO_MANY:
            time.sleep(RETRY_S)
            answer = client.ask("POST", "/v1/runs", request)
        if answer.status != OK:
            message = f"the engine answered {answer.status}: {answer.body[:300].decode('utf-8', 'replace')}"
            raise RuntimeError(message)
        # Records are fetched after the clock has stopped: fetching is not part of an execution.
        executed.append(answer.document["execution_id"])

    return execute
