"""What one supervisor can carry, on paper: queue, pool and supervisor simulated at 1, 16 and 256 cores.

Usage: ``python -m benchmarks.scale [--measured build/bench/results.json] [--output DIRECTORY] [--no-plot]``; part of
``make bench``. A discrete-event simulation with closed callers: each asks again as soon as it has its answer. Where a
resource of the supervisor's is busy all the time it is the bottleneck, and no more cores help.
"""

import argparse
import heapq
import json
import random
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measuring.results import Outcome

__all__ = [
    "CORES",
    "JOBS",
    "Costs",
    "Job",
    "Plant",
    "Resource",
    "costs_from",
    "main",
    "simulate",
    "sweep",
]
CORES = (1, 16, 256)
CALLERS_PER_CORE = 3
SEED = 1
# So many executions end before counting begins, and so many are counted, per core and at least.
WARM_UP, COUNTED, COUNTED_MIN = 20, 60, 400
# A resource is the bottleneck from this part of the time on.
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
    """What the container engine does for a container one at a time (create)."""
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


class Resource:
    """So many equal servers with one queue, first come first served; urgent work goes before work ahead."""

    def __init__(self, plant: "Plant", servers: int) -> None:
        self._plant = plant
        self._free = self.servers = servers
        self._waiting: tuple[deque[Callable[[], None]], deque[Callable[[], None]]] = (deque(), deque())
        self.busy_s = 0.0

    def request(self, granted: Callable[[], None], *, is_urgent: bool = True) -> None:
        """Call ``granted`` once a server is free; it must be given back by `release`."""
        if self._free:
            self._free -= 1
            granted()
        else:
            self._waiting[0 if is_urgent else 1].append(granted)

    def release(self, used_s: float) -> None:
        """Give a server back that was used for so long."""
        self.busy_s += used_s
        for waiting in self._waiting:
            if waiting:
                waiting.popleft()()
                return
        self._free += 1


# What a process of the simulation asks for: a resource, for how long, and whether somebody waits for it.
Step = tuple[str, float, bool]
Process = Generator[Step, None, None]


class Plant:
    """The clock, the resources and the events to come."""

    def __init__(self, costs: Costs, cores: int, pool_size: int, seed: int) -> None:
        self.costs = costs
        self.now_s = 0.0
        self.resources = {
            "cores": Resource(self, cores),
            "supervisor": Resource(self, 1),
            "ledger": Resource(self, 1),
            "container engine": Resource(self, 1),
        }
        self.ready = pool_size
        self.warm = self.started = 0
        self.ended: list[float] = []
        self._draw = random.Random(seed)  # noqa: S311 - service times, no secret
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something later."""
        self._numbers += 1
        heapq.heappush(self._events, (self.now_s + delay_s, self._numbers, act))

    def run(self, process: Process, done: Callable[[], None] = lambda: None) -> None:
        """Take a process from resource to resource; each is held for about as long as asked, a quarter more or less."""
        try:
            name, seconds, is_urgent = next(process)
        except StopIteration:
            done()
            return
        resource = self.resources[name]
        took_s = seconds * self._draw.uniform(0.75, 1.25)

        def release() -> None:
            resource.release(took_s)
            self.run(process, done)

        resource.request(lambda: self.after(took_s, release), is_urgent=is_urgent)

    def advance(self, until: Callable[[], bool]) -> None:
        """Let events happen until something holds, or nothing more can happen."""
        while self._events and not until():
            self.now_s, _, act = heapq.heappop(self._events)
            act()


def _make_sandbox(costs: Costs, *, is_urgent: bool) -> Process:
    yield "container engine", costs.engine_call_s, is_urgent
    yield "cores", costs.container_cpu_s + costs.prepare_cpu_s, is_urgent


def _execute(plant: Plant, job: Job) -> Process:
    costs = plant.costs
    yield "supervisor", costs.supervisor_execution_s / 2, True
    yield "ledger", costs.ledger_entry_s, True
    plant.started += 1
    if plant.ready:
        plant.ready -= 1
        plant.warm += 1
        # Replaced at low priority: on cores that nobody waits for.
        plant.run(_make_sandbox(costs, is_urgent=False), lambda: _refill(plant))
    else:
        yield from _make_sandbox(costs, is_urgent=True)
    yield "cores", costs.prompt_s + job.tokens * costs.token_s, True
    yield "supervisor", costs.supervisor_execution_s / 2 + job.tokens * costs.supervisor_token_s, True
    yield "ledger", costs.ledger_entry_s, True


def _refill(plant: Plant) -> None:
    plant.ready += 1


def simulate(costs: Costs, job: Job, *, cores: int, seed: int = SEED) -> Outcome:
    """Let callers ask, three for each core, and count what ends once the start is over."""
    plant = Plant(costs, cores, pool_size=cores, seed=seed)

    def call() -> None:
        begun_s = plant.now_s

        def answered() -> None:
            plant.ended.append(plant.now_s - begun_s)
            call()

        plant.run(_execute(plant, job), answered)

    for _ in range(CALLERS_PER_CORE * cores):
        plant.after(0, call)
    plant.advance(lambda: len(plant.ended) >= WARM_UP * cores)
    begun_s, busy = plant.now_s, {name: each.busy_s for name, each in plant.resources.items()}
    skipped, warm, started = len(plant.ended), plant.warm, plant.started
    plant.advance(lambda: len(plant.ended) - skipped >= max(COUNTED_MIN, COUNTED * cores))
    took_s = plant.now_s - begun_s
    utilization = {name: (each.busy_s - busy[name]) / took_s / each.servers for name, each in plant.resources.items()}
    counted = sorted(plant.ended[skipped:])
    most = max(utilization, key=lambda name: utilization[name])
    return Outcome(
        cores=cores,
        job=job.name,
        executions_per_s=len(counted) / took_s,
        p50_s=counted[len(counted) // 2],
        p99_s=counted[len(counted) * 99 // 100],
        warm_part=(plant.warm - warm) / max(1, plant.started - started),
        utilization=utilization,
        bottleneck=most if utilization[most] >= SATURATED else "none",
    )


def sweep(costs: Costs, cores: Sequence[int] = CORES, jobs: Sequence[Job] = JOBS) -> list[Outcome]:
    """Simulate every job at every number of cores."""
    return [simulate(costs, job, cores=count) for job in jobs for count in cores]


def costs_from(document: dict[str, Any], costs: Costs) -> Costs:
    """Return the costs with those that a run of the benchmarks measured."""
    rows = {row["name"]: row for row in document["rows"] if row["spread"] is not None}
    found: dict[str, float] = {}
    if "append" in rows:
        found["ledger_entry_s"] = 1 / rows["append"]["spread"]["median"]
    if "supervisor_cpu_waiting" in rows:
        told = sorted(rows["supervisor_cpu_waiting"]["details"]["us_per_token"])
        found["supervisor_token_s"] = told[len(told) // 2] / 1e6
    if "execution_cost" in rows:
        found["supervisor_execution_s"] = rows["execution_cost"]["spread"]["median"] / 1e3
    if "rate_8" in rows:
        # With eight callers every core is busy with containers.
        rates = sorted(pair["peer"] for pair in rows["rate_8"]["pairs"])
        found["container_cpu_s"] = document["machine"]["logical_cpus"] / rates[len(rates) // 2]
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
    """Simulate, print the table and write everything down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, help="results.json of a run, whose figures take the defaults' place")
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
        # Only here, so that the figures can be had without a plotting library.
        from benchmarks.plots import draw_scale  # noqa: PLC0415

        sys.stdout.write(f"written: {draw_scale(outcomes, options.output / 'scale.png')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
