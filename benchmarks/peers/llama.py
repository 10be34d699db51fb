"""Bare llama.cpp: llama-bench for single runs, and llama-server as a running process."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.http_peer import HttpPeer
from benchmarks.peers.peers import Peers

__all__ = ["bench_rate", "completion", "load_seconds", "serving_llama"]

START_TIMEOUT_S = 60.0
RUN_TIMEOUT_S = 300.0
POLL_S = 0.05
OK = 200


def _run(command: list[str]) -> bytes:
    # The caller's OMP_* variables must not decide how the peer waits.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(  # noqa: S603 - a program that we compiled
        command, capture_output=True, timeout=RUN_TIMEOUT_S, check=False, env=environment
    )
    if done.returncode != 0:
        message = (
            f"{Path(command[3]).name} ended with {done.returncode}: {done.stderr[-500:].decode('utf-8', 'replace')}"
        )
        raise RuntimeError(message)
    return done.stdout


def bench_rate(peers: Peers, model: Path, *, tokens: int, threads: int | None) -> float:
    """Return llama-bench's tokens per second of generation, after its own warm-up; ``threads`` None: its default."""
    command = [*peers.command("llama-bench"), "-m", str(model), "-p", "0", "-n", str(tokens), "-r", "1", "-o", "json"]
    document = json.loads(_run(command if threads is None else [*command, "-t", str(threads)]))
    return float(document[0]["avg_ts"])


def load_seconds(peers: Peers, model: Path, *, threads: int) -> float:
    """Return the seconds of a bare process that loads the model, generates one token and ends."""
    command = [*peers.command("llama-bench"), "-m", str(model), "-p", "0", "-n", "1", "-r", "1", "--no-warmup"]
    begun_s = time.perf_counter()
    _run([*command, "-t", str(threads)])
    return time.perf_counter() - begun_s


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving_llama(peers: Peers, model: Path, *, threads: int, context_tokens: int, log: Path) -> Iterator[HttpPeer]:
    """Run a llama-server while the block runs: no isolation, model loaded, one slot."""
    port = _free_port()
    command = [
        *(*peers.command("llama-server"), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("-c", str(context_tokens), "-np", "1", "-t", str(threads)),
    ]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)  # noqa: S603 - ours
    try:
        _await_health(port, process, log)
        with HttpPeer(port) as peer:
            yield peer
    finally:
        process.terminate()
        try:
            process.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_health(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with HttpPeer(port) as peer:
                if peer.ask("GET", "/health").status == OK:
                    return
        except OSError:
            pass
        time.sleep(POLL_S)
    message = f"llama-server did not start; its words are in {log}"
    raise RuntimeError(message)


def completion(server: HttpPeer, prompt: str, tokens: int) -> float:
    """Return the seconds of a completion; the prompt is computed each time, as for another caller's prompt."""
    request = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "cache_prompt": False}
    server.renew("/health")
    answer = server.ask("POST", "/completion", request)
    if answer.status != OK or answer.document["tokens_predicted"] != tokens:
        message = f"llama-server answered {answer.status}: {answer.body[:300].decode('utf-8', 'replace')}"
        raise RuntimeError(message)
    return answer.seconds
