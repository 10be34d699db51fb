"""The capacity of one supervisor, simulated: queue, pool and supervisor at 1, 16 and 256 cores.

Usage: ``python -m benchmarks.scale [--measured build/bench/results.json] [--output DIRECTORY] [--no-plot]``; part of
``make bench``. A discrete-event simulation with closed callers: each asks again as soon as it has its answer. Where a
resource of the supervisor is busy all the time, it is the bottleneck, and more cores do not help.
"""

import argparse
import json
import random
import sys
from bisect import insort
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median_low
from typing import Any

import simpy
from simpy.resources.resource import SortedQueue

from benchmarks.measuring.results import Outcome

__all__ = ["Costs", "Job", "costs_from", "main", "show", "simulate", "sweep"]

CORES = (1, 16, 256)
CALLERS_PER_CORE = 3
SEED = 1
# Executions that end before counting begins, and that are counted: per core, and at least.
WARM_UP, COUNTED, COUNTED_MIN = 20, 60, 400
# A resource that is busy for this part of the time is the bottleneck.
SATURATED = 0.9


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of each resource that an execution takes; the defaults were measured on two cores."""

    supervisor_execution_s: float = 0.012
    """Processor time of the supervisor's one thread for an execution without tokens: HTTP, plan, checks, record."""
    supervisor_token_s: float = 0.00018
    """The same for each token."""
    ledger_entry_s: float = 1 / 2400
    """Time of the ledger's one writer for each of the two entries, in groups."""
    engine_call_s: float = 0.016
    """Time of the container engine's serial part for a container (create)."""
    container_cpu_s: float = 0.17
    """Processor time of making and removing a container, on whichever core is free."""
    prepare_cpu_s: float = 0.18
    """Processor time of the runner's start and of loading the model, on one core."""
    token_s: float = 1 / 50
    """One token on one core."""
    prompt_s: float = 0.025
    """The prompt, on one core."""


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of execution."""

    name: str
    tokens: int


JOBS = (Job("1 token", 1), Job("64 tokens", 64), Job("512 tokens", 512))


class _Queue(SortedQueue):
    """Inserts where simpy sorts the whole queue: with hundreds of callers waiting that took twelve times as long."""

    def append(self, item: Any) -> None:  # noqa: ANN401 - simpy's
        insort(self, item, key=lambda each: each.key)


class _Servers(simpy.PriorityResource):
    """Equal servers with one queue: urgent work first, and among equals the first come first."""

    PutQueue = _Queue


# What a process of the simulation waits for.
Waits = Generator[simpy.Event, None, None]


class Plant:
    """The clock, and the resources that executions share."""

    def __init__(self, costs: Costs, cores: int, pool_size: int, seed: int) -> None:
        self.costs = costs
        self.environment = simpy.Environment()
        counts = {"cores": cores, "supervisor": 1, "ledger": 1, "container engine": 1}
        self.resources = {name: _Servers(self.environment, count) for name, count in counts.items()}
        self.busy_s = dict.fromkeys(counts, 0.0)
        self.ready = pool_size
        self.warm = self.started = 0
        self.ended: list[float] = []
        self._draw = random.Random(seed)  # noqa: S311 - service times, no secret

    def hold(self, name: str, seconds: float, *, is_urgent: bool = True) -> Waits:
        """Wait for a server and hold it for about as long as asked, a quarter more or less.

        Args:
            name: of the resource.
            seconds: how long it is held on average.
            is_urgent: goes before work that nobody waits for; among equals the first come is served first.
        """
        took_s = seconds * self._draw.uniform(0.75, 1.25)
        with self.resources[name].request(priority=0 if is_urgent else 1) as granted:
            yield granted
            yield self.environment.timeout(took_s)
        self.busy_s[name] += took_s

    def run_until_ended(self, executions: int) -> None:
        """Let events happen until this number of executions has ended."""
        while len(self.ended) < executions:
            self.environment.step()


def _make_sandbox(plant: Plant, *, is_urgent: bool) -> Waits:
    costs = plant.costs
    yield from plant.hold("container engine", costs.engine_call_s, is_urgent=is_urgent)
    yield from plant.hold("cores", costs.container_cpu_s + costs.prepare_cpu_s, is_urgent=is_urgent)


def _replace_sandbox(plant: Plant) -> Waits:
    # At low priority: on cores that nobody waits for.
    yield from _make_sandbox(plant, is_urgent=False)
    plant.ready += 1


def _execute(plant: Plant, job: Job) -> Waits:
    costs = plant.costs
    yield from plant.hold("supervisor", costs.supervisor_execution_s / 2)
    yield from plant.hold("ledger", costs.ledger_entry_s)
    plant.started += 1
    if plant.ready:
        plant.ready -= 1
        plant.warm += 1
        plant.environment.process(_replace_sandbox(plant))
    else:
        yield from _make_sandbox(plant, is_urgent=True)
    yield from plant.hold("cores", costs.prompt_s + job.tokens * costs.token_s)
    yield from plant.hold("supervisor", costs.supervisor_execution_s / 2 + job.tokens * costs.supervisor_token_s)
    yield from plant.hold("ledger", costs.ledger_entry_s)


def _call_again_and_again(plant: Plant, job: Job) -> Waits:
    while True:
        begun_s = plant.environment.now
        yield from _execute(plant, job)
        plant.ended.append(plant.environment.now - begun_s)


def simulate(costs: Costs, job: Job, *, cores: int, seed: int = SEED) -> Outcome:
    """Let callers ask, three for each core, and count executions that end after the warm-up."""
    plant = Plant(costs, cores, pool_size=cores, seed=seed)
    for _ in range(CALLERS_PER_CORE * cores):
        plant.environment.process(_call_again_and_again(plant, job))
    plant.run_until_ended(WARM_UP * cores)
    begun_s, busy_s = plant.environment.now, dict(plant.busy_s)
    skipped, warm, started = len(plant.ended), plant.warm, plant.started
    plant.run_until_ended(skipped + max(COUNTED_MIN, COUNTED * cores))
    took_s = plant.environment.now - begun_s
    utilization = {
        name: (plant.busy_s[name] - busy_s[name]) / took_s / each.capacity for name, each in plant.resources.items()
    }
    counted = sorted(plant.ended[skipped:])
    most = max(utilization, key=lambda name: utilization[name])
    return Outcome(
        cores=cores,
        job=job.name,
        executions_per_s=len(counted) / took_s,
        p50_s=median_low(counted),
        p99_s=counted[len(counted) * 99 // 100],
        warm_part=(plant.warm - warm) / max(1, plant.started - started),
        utilization=utilization,
        bottleneck=most if utilization[most] >= SATURATED else "none",
    )


def sweep(costs: Costs, cores: Sequence[int] = CORES, jobs: Sequence[Job] = JOBS) -> list[Outcome]:
    """Simulate every job at every number of cores."""
    return [simulate(costs, job, cores=count) for job in jobs for count in cores]


def costs_from(document: dict[str, Any], costs: Costs) -> Costs:
    """Return the costs, updated with those that a run of the benchmarks measured."""
    rows = {row["name"]: row for row in document["rows"] if row["spread"] is not None}
    found: dict[str, float] = {}
    if "append" in rows:
        found["ledger_entry_s"] = 1 / rows["append"]["spread"]["median"]
    if "supervisor_cpu_waiting" in rows:
        found["supervisor_token_s"] = median_low(rows["supervisor_cpu_waiting"]["details"]["us_per_token"]) / 1e6
    if "execution_cost" in rows:
        found["supervisor_execution_s"] = rows["execution_cost"]["spread"]["median"] / 1e3
    if "rate_8" in rows:
        # With eight callers every core is busy with containers.
        rate = median_low(pair["peer"] for pair in rows["rate_8"]["pairs"])
        found["container_cpu_s"] = document["machine"]["logical_cpus"] / rate
    return replace(costs, **found)


def show(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table."""
    lines = [
        "| job | cores | executions/s | p50 s | p99 s | warm | cores busy | supervisor | ledger | engine | limit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in outcomes:
        busy = " | ".join(f"{part:.0%}" for part in each.utilization.values())
        lines.append(
            f"| {each.job} | {each.cores} | {each.executions_per_s:.1f} | {each.p50_s:.2f} | {each.p99_s:.2f} "
            f"| {each.warm_part:.0%} | {busy} | {each.bottleneck} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, help="results.json of a run, whose figures replace the defaults")
    parser.add_argument("--output", type=Path, default=Path("build/bench"))
    parser.add_argument("--no-plot", action="store_true")
    options = parser.parse_args(arguments)
    costs = Costs()
    if options.measured is not None:
        costs = costs_from(json.loads(options.measured.read_bytes()), costs)
    outcomes = sweep(costs)
    options.output.mkdir(parents=True, exist_ok=True)
    document = {"costs": asdict(costs), "outcomes": [asdict(each) for each in outcomes]}
    (options.output / "scale.json").write_text(json.dumps(document, indent=2) + "\n")
    sys.stdout.write(show(outcomes))
    if not options.no_plot:
        # Imported here, so that the figures need no plotting library.
        from benchmarks.plots import draw_scale  # noqa: PLC0415

        sys.stdout.write(f"written: {draw_scale(outcomes, options.output / 'scale.png')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
