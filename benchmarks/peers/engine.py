"""The engine under measurement: a supervisor with a ledger of its own, spoken to over HTTP only."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.peers.http_peer import Answer, HttpPeer
from contracts.execution.metrics_record import MetricsRecord, Statement
from contracts.verify.trust import Trust
from contracts.wire.envelope import Envelope, decode_base64
from supervisor.adapters.home import Home
from supervisor.adapters.kernel.host import read_host_facts
from supervisor.client.child_supervisor import child_supervisor
from supervisor.client.engine_client import EngineClient
from supervisor.commands.setup import DEMO_MODEL, DEMO_QUANTIZATION
from supervisor.domain.errors import EngineError
from supervisor.setup.images.build_choice import backend_of_machine

__all__ = ["PROMPT", "Engine", "Executed", "backend_name", "prepare_home", "run_request", "serving"]

PROMPT = "Explique inferência eficiente"
# Results of set-up that a ledger does not touch; the rest of the home is the benchmarks' own.
SHARED = ("cache", "engine", "escape", "images", "models")
FIRST_PAUSE_S = 1.5
LONGEST_PAUSE_S = 12.0
OK = 200


@cache
def backend_name() -> str:
    """Return the backend that set-up built for this processor."""
    return backend_of_machine(read_host_facts())


def run_request(
    max_tokens: int, *, policy: str = "default", prompt: str = PROMPT, **execution: object
) -> dict[str, Any]:
    """Return a Run Request for the demonstration model, which continues the prompt up to its limit."""
    return {
        "model": DEMO_MODEL,
        "prompt": prompt,
        "execution": {
            "backend": backend_name(),
            "quantization": DEMO_QUANTIZATION,
            "scheduler_policy": policy,
            "limits": {"max_tokens": max_tokens},
            # The peers know no chat template, and an answer would end where the model likes.
            "prompt_format": "raw",
            **execution,
        },
    }


@dataclass(frozen=True, slots=True)
class Executed:
    """One execution as its caller saw it, and its record."""

    seconds: float
    record: MetricsRecord

    @property
    def start(self) -> str:
        """`warm` or `cold`."""
        return "unknown" if self.record.sandbox is None else str(self.record.sandbox.start)

    @property
    def decode_rate(self) -> float:
        """Tokens per second from the first generated token to the last, without prompt processing."""
        if self.record.measurements is None:
            message = f"{self.record.execution_id} has no measurements"
            raise RuntimeError(message)
        times = self.record.measurements.token_times_ns
        return (len(times) - 1) / ((times[-1] - times[0]) / 1e9)


class Engine:
    """A running supervisor."""

    def __init__(self, home: Home, docker_host: str) -> None:
        self.home = home
        self.docker_host = docker_host
        address = json.loads(home.address_file.read_bytes())
        self.port = int(address["url"].rpartition(":")[2])
        self.engine_version = str(address["engine_version"])
        self.http = HttpPeer(self.port, home.token())
        self.trust = Trust.parse(home.trust_file.read_bytes())
        self._pause_s = FIRST_PAUSE_S

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        return int((self.home.root / "run" / "supervisor.lock").read_text(encoding="ascii"))

    def plan(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Return the plan that a request would get; None means that it would be refused."""
        answer = self.http.ask("POST", "/v1/plans", request)
        return answer.document["plan"] if answer.status == OK else None

    def policy(self, *wanted: str) -> str:
        """Return the first of these scheduler policies that the engine has."""
        return next(name for name in (*wanted, "default") if self.plan(run_request(1, policy=name)) is not None)

    def execute(self, request: dict[str, Any]) -> Executed:
        """Execute a request and wait for the answer; the record is fetched after the clock has stopped.

        Raises:
            RuntimeError: it did not complete.
        """
        # An idle connection is cut, and the peer may have taken long.
        self.http.renew("/v1/version")
        answer = self.http.ask("POST", "/v1/runs", request)
        self._require(answer)
        return Executed(answer.seconds, self.record(answer.document["execution_id"]))

    def record(self, execution_id: str) -> MetricsRecord:
        """Return the record of an execution that has ended."""
        answer = self.http.ask("GET", f"/v1/runs/{execution_id}/record")
        self._require(answer)
        return Statement.parse(decode_base64(Envelope.parse(answer.body).payload)).predicate

    def execute_warm(self, request: dict[str, Any]) -> Executed:
        """Execute once the pool has had time to refill and the machine is at rest.

        How long that takes is learned from the starts that came cold.
        """
        time.sleep(self._pause_s)
        executed = self.execute(request)
        if executed.start != "warm":
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        return executed

    @staticmethod
    def _require(answer: Answer) -> None:
        if answer.status != OK:
            message = f"the engine answered {answer.status}: {answer.body[:500].decode('utf-8', 'replace')}"
            raise RuntimeError(message)


def prepare_home(home: Home) -> Home:
    """Return a home with a ledger of its own that uses the images and models of `home`.

    A ledger only ever grows, so what is measured does not go into the one that is in use.
    """
    own = home.root / "benchmarks" / "home"
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in SHARED:
        place = own / name
        if (home.root / name).exists() and not place.exists():
            place.symlink_to(home.root / name)
    return Home(own)


@contextmanager
def serving(home: Home, docker_host: str, environment: dict[str, str]) -> Iterator[Engine]:
    """Serve a home while the block runs.

    Raises:
        EngineError: ``home_taken``, another one serves it; ``engine_unavailable``, the supervisor did not start.
    """
    client = EngineClient(home)
    if client.is_serving():
        raise EngineError("home_taken", f"another supervisor serves {home.root}: another benchmark? Wait for its end")
    log = home.root / "log" / "supervisor.log"
    child = {**environment, "WEOS_HOME": str(home.root), "DOCKER_HOST": docker_host}
    with child_supervisor(client, log, child):
        engine = Engine(home, docker_host)
        try:
            yield engine
        finally:
            engine.http.close()
