"""Rows of one execution at a time: warm and cold latency, and decoding on a quiet and on a busy machine."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring.machine import load_average, physical_cores
from benchmarks.measuring.pairing import Pair, alternate
from benchmarks.measuring.results import Row, Target
from benchmarks.peers.containers import NoOp
from benchmarks.peers.engine import PROMPT, Engine, Executed, run_request
from benchmarks.peers.inprocess import unpack_image
from benchmarks.peers.llama import bench_rate, completion, load_seconds, serving_llama
from benchmarks.peers.neighbours import busy_neighbours
from benchmarks.peers.peers import Peers
from supervisor.console.steps import Step

__all__ = [
    "Bench",
    "measure_cold",
    "measure_decode",
    "measure_decode_beside_neighbours",
    "measure_decode_in_process",
    "measure_warm",
]

SEED = 20_240_229
# Contexts from here on are each requested once, so the pool never has a sandbox for them.
ODD_CONTEXT = 517
DECODED_TOKENS = 128
# A short prompt that the model continues up to its limit.
COUNTING = "1, 2, 3, 4, 5, 6, 7, 8,"
# Beside neighbours the peer makes some 4 tokens/s.
DECODED_TOKENS_BUSY = 48
# Pause before each side: by then the other side's background work (replacing a sandbox) has ended.
REST_S = 2.5
PROBES = 4


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that the rows are measured with."""

    engine: Engine
    peers: Peers
    model: Path
    pairs: int
    window_s: float
    """Length of the window in which a rate is counted."""
    step: Step


def _pair(bench: Bench, pairs: int, ours: Callable[[], float | None], peer: Callable[[], float]) -> tuple[Pair, ...]:
    """Measure both sides, one right after the other; a pair does not count if ours returns None."""
    found: list[Pair] = []
    for number, ours_first in enumerate(alternate(pairs, SEED)):
        before = None if ours_first else peer()
        mine = ours()
        theirs = peer() if before is None else before
        bench.step.update(number + 1, pairs, f"pair {number + 1} of {pairs}")
        if mine is not None:
            found.append(Pair(mine, theirs))
    return tuple(found)


def measure_warm(bench: Bench) -> Row:
    """Compare a one-token request to a sandbox started ahead with one to llama-server."""
    load, engine = load_average(), bench.engine
    request = run_request(1)
    plan = engine.plan(request)
    if plan is None:
        message = "the demonstration request is refused"
        raise RuntimeError(message)
    threads, context = plan["scheduling"]["threads"], plan["context_tokens"]
    colds: list[Executed] = []

    def ours() -> float | None:
        executed = engine.execute_warm(request)
        if executed.start == "warm":
            return executed.seconds
        colds.append(executed)
        return None

    def peer() -> float:
        # Wait until the next sandbox is ready: creating it slows the peer's spinning threads down.
        time.sleep(REST_S)
        return completion(server, PROMPT, 1)

    log = engine.home.root / "log" / "llama-server.log"
    with serving_llama(bench.peers, bench.model, threads=threads, context_tokens=context, log=log) as server:
        completion(server, PROMPT, 1)
        # Only an engine that starts sandboxes ahead needs the wait.
        is_warm = any(ours() for _ in range(PROBES))
        colds.clear()
        found = _pair(bench, bench.pairs * 2, ours, peer) if is_warm else ()
    notes = [f"{threads} threads, context {context}; llama-server computes the prompt each time, as ours does"]
    if colds:
        told = ", ".join(f"{each.seconds:.3f}" for each in colds[:5])
        notes.append(f"{len(colds)} of ours started cold and do not count (seconds: {told})")
    if not found:
        notes.append(f"no warm start happened in {PROBES} tries, so there is no figure")
    what = "warm execution end to end through HTTP, against llama-server's, same prompt, 1 token"
    return Row("warm", what, "s", Target(1.10, "at most"), found, load_average=load, notes=tuple(notes))


def measure_cold(bench: Bench, no_op: NoOp) -> Row:
    """Compare a cold execution with an idle container plus a bare process that loads the model."""
    load, engine = load_average(), bench.engine
    plan = engine.plan(run_request(1, context_tokens=ODD_CONTEXT)) or {}
    threads = plan["scheduling"]["threads"]
    warms: list[Executed] = []
    contexts = itertools.count(ODD_CONTEXT)

    def ours() -> float | None:
        time.sleep(REST_S)
        executed = engine.execute(run_request(1, context_tokens=next(contexts)))
        if executed.start == "cold":
            return executed.seconds
        warms.append(executed)
        return None

    def peer() -> float:
        time.sleep(REST_S)
        return no_op() + load_seconds(bench.peers, bench.model, threads=threads)

    peer()
    ours()
    found = _pair(bench, bench.pairs, ours, peer)
    notes = (
        "the peer: create, start, wait, remove by the Engine API; then llama-bench from its start to its end, 1 token",
        *((f"{len(warms)} of ours started warm and do not count",) if warms else ()),
    )
    what = "cold execution, against `docker run` of a no-op plus the bare process's load time"
    return Row("cold", what, "s", Target(1.3, "at most"), found, load_average=load, notes=notes)


def _counting(policy: str, tokens: int) -> dict[str, Any]:
    # One token more than is timed: the first one's time is that of the prompt.
    return run_request(tokens + 1, policy=policy, prompt=COUNTING, context_tokens=ODD_CONTEXT)


def _decode(bench: Bench, policy: str, tokens: int, rate: Callable[[], float]) -> tuple[Pair, ...]:
    request = _counting(policy, tokens)
    ended: list[str] = []

    def ours() -> float | None:
        time.sleep(REST_S)
        executed = bench.engine.execute(request)
        if executed.record.measurements and executed.record.measurements.finish_reason == "length":
            return executed.decode_rate
        ended.append(executed.record.execution_id)
        return None

    def peer() -> float:
        time.sleep(REST_S)
        return rate()

    peer()
    found = _pair(bench, bench.pairs, ours, peer)
    if ended:
        message = f"the model ended its answer early, so that nothing can be compared: {ended[0]}"
        raise RuntimeError(message)
    return found


def measure_decode(bench: Bench) -> Row:
    """Compare tokens per second with llama-bench's at the same number of threads."""
    load = load_average()
    policy = bench.engine.policy("exclusive")
    plan = bench.engine.plan(run_request(1, policy=policy)) or {}
    threads = plan["scheduling"]["threads"]
    notes = [f"policy `{policy}`, {threads} threads, {DECODED_TOKENS} tokens"]
    if policy != "exclusive":
        notes.append("this engine has no policy `exclusive`")
    what = "decode tokens/s, against llama-bench, same threads, quiet"
    rate = partial(bench_rate, bench.peers, bench.model, tokens=DECODED_TOKENS, threads=threads)
    found = _decode(bench, policy, DECODED_TOKENS, rate)
    target = Target(0.99, "at least")
    return Row("decode", what, "tokens/s", target, found, load_average=load, notes=tuple(notes))


def measure_decode_in_process(bench: Bench) -> Row:
    """Compare tokens per second with a bare loop's: same libraries, CPUs, threads, batch, waiting and prompt."""
    load, engine = load_average(), bench.engine
    policy = engine.policy("exclusive")
    request = _counting(policy, DECODED_TOKENS)
    plan = engine.plan(request) or {}
    sandbox = engine.execute(request).record.sandbox
    if sandbox is None:
        message = "the record does not say on which CPUs it ran"
        raise RuntimeError(message)
    bare = unpack_image(engine.home.root / "inprocess", plan["runtime_image"], engine.docker_host)
    rate = partial(bare.rate, plan, bench.model, COUNTING, tokens=DECODED_TOKENS + 1, cpus=sandbox.cpus)
    found = _decode(bench, policy, DECODED_TOKENS, rate)
    scheduling = plan["scheduling"]
    notes = (
        f"policy `{policy}`, {scheduling['threads']} threads on CPUs {', '.join(map(str, sandbox.cpus))}, "
        f"{DECODED_TOKENS} tokens; the peer: the runtime image's Python and libraries, a greedy loop, no container",
    )
    what = "decode tokens/s, against llama-cpp-python in one process, same libraries, CPUs and threads, quiet"
    return Row("decode_inprocess", what, "tokens/s", Target(0.99, "at least"), found, load_average=load, notes=notes)


def measure_decode_beside_neighbours(bench: Bench) -> list[Row]:
    """Compare tokens per second with those of an unconfigured llama-bench, each beside one busy process per CPU.

    Once as executions come, and once with the policy of one thread, which waits for no other.
    """
    rate = partial(bench_rate, bench.peers, bench.model, tokens=DECODED_TOKENS_BUSY, threads=None)
    rows = []
    for name, policy in (("decode_busy", "default"), ("decode_busy_one_thread", "throughput")):
        load = load_average()
        with busy_neighbours():
            found = _decode(bench, policy, DECODED_TOKENS_BUSY, rate)
        peer = f"llama-bench with its own {physical_cores()} threads, {DECODED_TOKENS_BUSY} tokens"
        what = f"decode tokens/s, policy `{policy}`, against llama-bench's default, one busy neighbour per core"
        target = Target(2.0, "at least")
        rows.append(Row(name, what, "tokens/s", target, found, load_average=load, notes=(peer,)))
    return rows
