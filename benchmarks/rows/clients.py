"""Rows of the load test: 1, 8 and 64 clients, and the number of lost executions."""

import asyncio
import time
from dataclasses import asdict

from benchmarks.measuring.load import figures_of, find_lost, known_executions, run_load
from benchmarks.measuring.machine import load_average
from benchmarks.measuring.results import Row, Target
from benchmarks.rows.speed import Bench

__all__ = ["measure_clients"]

CLIENTS = (1, 8, 64)
REST_S = 2.0


def measure_clients(bench: Bench) -> list[Row]:
    """Load the engine with more and more clients."""
    policy = bench.engine.policy("throughput")
    rows, lost_in_all, executed_in_all = [], 0, 0
    for number, clients in enumerate(CLIENTS):
        time.sleep(REST_S)
        bench.step.update(number, len(CLIENTS), f"{clients} clients for {bench.window_s:.0f} s")
        average, before = load_average(), known_executions(bench.engine)
        load = asyncio.run(run_load(bench.engine, clients, bench.window_s, policy))
        lost = find_lost(bench.engine, load, before)
        figures = figures_of(load, len(lost))
        lost_in_all, executed_in_all = lost_in_all + len(lost), executed_in_all + figures.executions
        times = [figures.p50_s, figures.p95_s, figures.p99_s]
        told = ", ".join(
            f"{name} {'none' if value is None else f'{value:.3f} s'}"
            for name, value in zip(("p50", "p95", "p99"), times, strict=True)
        )
        notes = (
            f"{clients} clients, policy `{policy}`: {figures.executions} executions, {told}, "
            f"{figures.rejected} rejected, {figures.failed} failed, {figures.lost} lost",
            *(f"failed: {each}" for each in sorted(set(load.failed))),
        )
        row = Row(
            f"clients_{clients}",
            f"executions/s of one-token jobs for {clients} client{'s' if clients > 1 else ''} over HTTP; {told}; "
            f"{figures.rejected} rejected",
            "/s",
            None,
            values=(figures.executions_per_s,),
            load_average=average,
            notes=notes,
            details={**asdict(figures), "lost_executions": lost, "seconds": list(load.completed.values())},
        )
        rows.append(row)
    what = f"executions lost, of {executed_in_all}: without exactly one record that verifies, or without an answer"
    return [*rows, Row("lost", what, "", Target(0, "at most"), values=(float(lost_in_all),))]
