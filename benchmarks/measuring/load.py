"""A load test over HTTP: each client asks, waits for the answer and asks again; a refused one obeys Retry-After."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from benchmarks.measuring.pairing import percentile
from benchmarks.peers.engine import Engine, run_request
from contracts.verify.record import verify_record

__all__ = ["Load", "figures_of", "find_lost", "known_executions", "run_load"]

OK = 200
TOO_MANY = 429
ANSWER_TIMEOUT_S = 300.0
PAGE = 200
FINAL = {"completed", "failed", "cancelled", "aborted"}


@dataclass(slots=True)
class Load:
    """The answers that a number of clients got in a window."""

    clients: int
    seconds: float = 0.0
    """From the first request to the last answer."""
    completed: dict[str, float] = field(default_factory=dict)
    """Executions, with the seconds from the accepted request to its answer."""
    rejected: int = 0
    failed: list[str] = field(default_factory=list)
    """Answers that were neither a result nor a 429."""


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """A load test in numbers."""

    clients: int
    executions: int
    executions_per_s: float
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    rejected: int
    failed: int
    lost: int


def figures_of(load: Load, lost: int) -> LoadFigures:
    """Return the figures; percentiles are None where nothing completed."""
    took = list(load.completed.values())
    p50, p95, p99 = (percentile(took, each) if took else None for each in (50, 95, 99))
    rate = len(took) / load.seconds
    return LoadFigures(load.clients, len(took), rate, p50, p95, p99, load.rejected, len(load.failed), lost)


async def _client(
    session: aiohttp.ClientSession, url: str, policy: str, load: Load, is_over: Callable[[], bool]
) -> None:
    request = run_request(1, policy=policy)
    while not is_over():
        begun_s = time.perf_counter()
        async with session.post(url, json=request) as response:
            body = await response.json(content_type=None)
            if response.status == OK:
                load.completed[body["execution_id"]] = time.perf_counter() - begun_s
            elif response.status == TOO_MANY:
                load.rejected += 1
                await asyncio.sleep(float(response.headers["Retry-After"]))
            else:
                load.failed.append(f"{response.status}: {body.get('code')}")


async def run_load(engine: Engine, clients: int, seconds: float, policy: str) -> Load:
    """Let clients ask for a time, each on a persistent connection of its own."""
    load = Load(clients)
    begun_s = time.perf_counter()
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {engine.home.token()}"},
        connector=aiohttp.TCPConnector(limit=clients),
        timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S),
    ) as session:
        url = f"http://127.0.0.1:{engine.port}/v1/runs"
        works = [
            _client(session, url, policy, load, lambda: time.perf_counter() - begun_s > seconds) for _ in range(clients)
        ]
        await asyncio.gather(*works)
    load.seconds = time.perf_counter() - begun_s
    return load


def _listed(engine: Engine) -> dict[str, str]:
    """Return every execution that the engine knows, with its status."""
    found: dict[str, str] = {}
    path = f"/v1/runs?limit={PAGE}"
    while True:
        page = engine.http.ask("GET", path).document
        found.update({run["execution_id"]: run["status"] for run in page["runs"]})
        if page["next"] is None:
            return found
        path = f"/v1/runs?limit={PAGE}&before={page['next']}"


def find_lost(engine: Engine, load: Load, known_before: frozenset[str]) -> list[str]:
    """Return the executions without an end in the ledger, without an answer to a client, or with an invalid record.

    Args:
        engine: that executed them.
        load: what the clients saw.
        known_before: executions older than the load.
    """
    listed = {each: status for each, status in _listed(engine).items() if each not in known_before}
    lost = {each for each, status in listed.items() if status not in FINAL}
    if not load.failed:
        # A client that got a failure did not learn the id of its execution; the ledger has it.
        lost |= set(listed) ^ set(load.completed)
    for each in set(listed) & set(load.completed):
        envelope = engine.http.ask("GET", f"/v1/runs/{each}/record").body
        report = verify_record(envelope, engine.trust)
        if report.verdict != "VALID" or report.record is None or report.record.execution_id != each:
            lost.add(each)
    return sorted(lost)


def known_executions(engine: Engine) -> frozenset[str]:
    """Return every execution that the ledger has."""
    return frozenset(_listed(engine))
