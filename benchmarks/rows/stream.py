"""Rows of the supervisor's own work: its processor time while tokens arrive, and their delay to a client."""

import secrets
import threading
import time
from statistics import median
from typing import Any

from benchmarks.measuring.machine import load_average
from benchmarks.measuring.pairing import Pair, alternate, percentile
from benchmarks.measuring.results import Row, Target
from benchmarks.measuring.streaming import SLOW_BYTES, SLOW_PAUSE_S, Arrivals, delays_ns, read_slowly, read_stream
from benchmarks.measuring.supervisor_cost import cpu_ns, resident_bytes
from benchmarks.peers.engine import Engine, Executed, run_request
from benchmarks.rows.speed import COUNTING, SEED, Bench
from contracts.wire.units import NS_PER_MS, NS_PER_S

__all__ = ["measure_slow_reader", "measure_stream_delay", "measure_supervisor_cpu"]

TOKENS = 512
POLL_S = 0.02
LOOK_S = 0.1


def _request(tokens: int = TOKENS) -> dict[str, Any]:
    return run_request(tokens, prompt=COUNTING)


class _CpuOfWindow:
    """The supervisor's processor time at both ends of a generation, read by a thread of the benchmark."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pid = engine.pid
        self.looks: list[tuple[int, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "_CpuOfWindow":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            self.looks.append((time.monotonic_ns(), cpu_ns(self._pid)))

    def percent(self, first_ns: int, last_ns: int) -> float:
        """Return the part of one core between two moments."""
        inside = [look for look in self.looks if first_ns <= look[0] <= last_ns]
        (begun_ns, before), (ended_ns, after) = inside[0], inside[-1]
        return (after - before) / (ended_ns - begun_ns) * 100


def _share(engine: Engine, *, is_streamed: bool) -> tuple[float, float]:
    """Return the supervisor's percent of one core while it generates, and its microseconds per token."""
    request = _request()
    with _CpuOfWindow(engine) as cpu:
        begun_ns = time.monotonic_ns()
        if is_streamed:
            seen = read_stream(engine, request)
            record = engine.record(seen.execution_id)
            first_ns, last_ns = seen.token_ns[0], seen.token_ns[-1]
        else:
            executed: Executed = engine.execute(request)
            record = executed.record
            ended_ns = begun_ns + int(executed.seconds * NS_PER_S)
            times = record.measurements.token_times_ns if record.measurements else ()
            # The client knows the end best: the record is built and stored after the last token.
            first_ns, last_ns = ended_ns - (times[-1] - times[0]), ended_ns - int(LOOK_S * NS_PER_S)
    if record.measurements is None:
        message = f"{record.execution_id} has no measurements"
        raise RuntimeError(message)
    times = record.measurements.token_times_ns
    percent = cpu.percent(first_ns, last_ns)
    per_token_us = percent / 100 * (times[-1] - times[0]) / 1e3 / (len(times) - 1)
    return percent, per_token_us


def measure_supervisor_cpu(bench: Bench) -> list[Row]:
    """Measure the supervisor's processor time over long generations, streamed and not streamed."""
    rows = []
    repetitions = max(3, bench.pairs // 2)
    for name, is_streamed in (("not streamed", False), ("streamed", True)):
        load, shares, costs = load_average(), [], []
        for number in range(repetitions):
            bench.step.update(number, repetitions, name)
            share, cost = _share(bench.engine, is_streamed=is_streamed)
            shares.append(share)
            costs.append(cost)
        what = f"supervisor's processor time while an execution generates, {name}"
        notes = (f"{median(costs):.0f} us per token, all threads; {TOKENS} tokens",)
        row = Row(
            f"supervisor_cpu_{'streamed' if is_streamed else 'waiting'}",
            what,
            "% of one core",
            Target(1, "at most", "% of one core"),
            values=tuple(shares),
            load_average=load,
            notes=notes,
            details={"us_per_token": costs},
        )
        rows.append(row)
    return rows


def _delays_ms(engine: Engine, seen: Arrivals) -> list[float]:
    measurements = engine.record(seen.execution_id).measurements
    if measurements is None or len(measurements.token_times_ns) != len(seen.token_ns):
        message = f"the stream of {seen.execution_id} had {len(seen.token_ns)} tokens, its record has another number"
        raise RuntimeError(message)
    return [each / NS_PER_MS for each in delays_ns(list(measurements.token_times_ns), seen.token_ns)]


def measure_stream_delay(bench: Bench) -> Row:
    """Compare the time at which a token reached the client with that at which the supervisor had it."""
    load = load_average()
    delays: list[float] = []
    repetitions = max(3, bench.pairs // 2)
    for number in range(repetitions):
        bench.step.update(number, repetitions, "streamed executions")
        delays += _delays_ms(bench.engine, read_stream(bench.engine, _request(256)))
    trips = [bench.engine.http.ask("GET", "/v1/version").seconds * 1e3 for _ in range(50)]
    details = {
        "p50_ms": percentile(delays, 50),
        "p99_ms": percentile(delays, 99),
        "worst_ms": max(delays),
        "http_round_trip_p50_ms": percentile(trips, 50),
    }
    notes = (
        f"{len(delays)} tokens: p50 {details['p50_ms']:.2f} ms, p99 {details['p99_ms']:.2f} ms, worst "
        f"{details['worst_ms']:.2f} ms behind the fastest, whose own way is part of a round trip "
        f"({details['http_round_trip_p50_ms']:.1f} ms)",
    )
    what = "a token's way from the supervisor's reading it to the client's, behind the fastest"
    values = tuple(delays)
    return Row("stream_delay", what, "ms", None, values=values, load_average=load, notes=notes, details=details)


def _execute_beside_a_slow_reader(engine: Engine, request: dict[str, Any]) -> tuple[float, int]:
    """Return the decode rate of an execution that a fast and a slow client stream, and the growth of memory."""
    key = f"bench-{secrets.token_hex(8)}"
    before = resident_bytes(engine.pid)
    slow, _ = read_slowly(engine, request, key)
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(SLOW_PAUSE_S):
            slow.recv(SLOW_BYTES)

    reader = threading.Thread(target=trickle)
    reader.start()
    try:
        seen = read_stream(engine, request, {"Idempotency-Key": key})
        grown = resident_bytes(engine.pid) - before
    finally:
        over.set()
        reader.join()
        slow.close()
    return Executed(0, engine.record(seen.execution_id)).decode_rate, grown


def measure_slow_reader(bench: Bench) -> Row:
    """Compare executions that a slow and a fast reader stream with those that a fast one streams alone."""
    load, found, grown = load_average(), [], []
    request, engine = _request(256), bench.engine
    pairs = max(4, bench.pairs // 2)

    def beside() -> float:
        rate, more = _execute_beside_a_slow_reader(engine, request)
        grown.append(more)
        return rate

    def alone() -> float:
        return Executed(0, engine.record(read_stream(engine, request).execution_id)).decode_rate

    sides = (beside, alone)
    for number, is_first in enumerate(alternate(pairs, SEED)):
        bench.step.update(number, pairs, f"pair {number + 1} of {pairs}")
        results = [side() for side in (sides if is_first else reversed(sides))]
        found.append(Pair(*(results if is_first else reversed(results))))
    notes = (
        f"the slow one reads {SLOW_BYTES} bytes every {SLOW_PAUSE_S:g} s; the supervisor's memory grew by "
        f"{median(grown) / 2**10:.0f} KiB (median), {max(grown) / 2**10:.0f} KiB (most)",
    )
    what = "decode tokens/s of an execution streamed to a slow reader too, against one streamed to a fast one alone"
    details = {"grown_bytes": grown}
    pairs_found = tuple(found)
    return Row("slow_reader", what, "tokens/s", None, pairs_found, load_average=load, notes=notes, details=details)
