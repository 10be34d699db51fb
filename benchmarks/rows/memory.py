"""The row of memory: eight prepared executions of one model side by side, and the private memory of each."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from statistics import median
from typing import Any

import docker
import psutil

from benchmarks.measuring.machine import load_average
from benchmarks.measuring.results import Row, Target
from benchmarks.peers.containers import LABELS
from benchmarks.peers.engine import Engine, run_request
from benchmarks.rows.speed import Bench
from contracts.execution.run_request import Sampling
from contracts.execution.runner_protocol import ExitCommand, JobCommand, SetupCommand, encode_command
from contracts.wire.units import MIB
from supervisor.adapters.docker.attach import STDOUT, attach, read_frame
from supervisor.adapters.policies import load_policies
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.sandbox.hardening import model_path

__all__ = ["measure_memory", "private_and_file_bytes"]

AT_ONCE = 8
CONTEXT_TOKENS = 512
TOKENS = 32
RECEIVE_TIMEOUT_S = 60.0
POLL_S = 0.05


def private_and_file_bytes(pid: int, file: str) -> tuple[int, int]:
    """Return the private memory of a process outside a mapped file, and the resident part of that file."""
    maps = psutil.Process(pid).memory_maps(grouped=False)
    private = sum(each.private_clean + each.private_dirty for each in maps if each.path != file)
    return private, sum(each.rss for each in maps if each.path == file)


class _Prepared:
    """One container like those of executions, controlled directly."""

    def __init__(self, client: docker.APIClient, body: Mapping[str, Any]) -> None:
        self._client = client
        self.container_id = str(client.create_container_from_config(dict(body))["Id"])  # type: ignore[no-untyped-call]  # the SDK's
        self._socket = attach(client, self.container_id)
        self._socket.settimeout(RECEIVE_TIMEOUT_S)
        self._rest = b""
        client.start(self.container_id)
        self.pid = int(client.inspect_container(self.container_id)["State"]["Pid"])

    def send(self, line: bytes) -> None:
        self._socket.sendall(line)

    def receive(self) -> dict[str, Any]:
        while b"\n" not in self._rest:
            frame = read_frame(self._socket)
            if frame is None:
                message = "the container ended too early"
                raise RuntimeError(message)
            stream, content = frame
            if stream == STDOUT:
                self._rest += content
        line, _, self._rest = self._rest.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def await_event(self, kind: str) -> None:
        while (event := self.receive())["type"] != kind:
            if event["type"] == "error":
                message = f"the runner reported {event['code']}"
                raise RuntimeError(message)

    def remove(self) -> None:
        self._socket.close()
        self._client.remove_container(self.container_id, force=True, v=True)


def _container_body(engine: Engine, client: docker.APIClient, request: dict[str, Any]) -> dict[str, Any]:
    """Return the create body of a real execution's container, from the container engine while the execution runs."""
    accepted = engine.http.ask("POST", "/v1/runs", request, {"Prefer": "respond-async"}).document
    path = f"/v1/runs/{accepted['execution_id']}"
    try:
        while (view := engine.http.ask("GET", path).document)["container_id"] is None:
            time.sleep(POLL_S)
        details = client.inspect_container(view["container_id"])
    finally:
        engine.http.ask("DELETE", path)
    config = {name: value for name, value in details["Config"].items() if name not in {"Labels", "Volumes"}}
    return {**config, "Labels": LABELS, "NetworkDisabled": True, "HostConfig": details["HostConfig"]}


def measure_memory(bench: Bench) -> Row:
    """Prepare eight containers of one model, let each execute, and count the private memory of each."""
    load, engine = load_average(), bench.engine
    request = run_request(256, context_tokens=CONTEXT_TOKENS)
    scheduling = (engine.plan(request) or {})["scheduling"]
    path = model_path(load_policies(SOURCE_ROOT / "policies").sandbox)
    setup = SetupCommand(
        model_path=path,
        context_tokens=CONTEXT_TOKENS,
        threads=scheduling["threads"],
        batch_tokens=scheduling["batch_tokens"],
        repack=scheduling["repack"],
    )
    with ExitStack() as stack:
        client = docker.APIClient(base_url=engine.docker_host, version="auto")
        stack.callback(client.close)
        body = _container_body(engine, client, request)
        prepared = []
        for number in range(AT_ONCE):
            bench.step.update(number, AT_ONCE, f"container {number + 1} of {AT_ONCE}")
            prepared.append(_Prepared(client, body))
            stack.callback(prepared[-1].remove)
            prepared[-1].send(encode_command(setup))
            prepared[-1].await_event("ready")
        ready, done = _memory_before_and_after(prepared, path)
        shims = [_shim_bytes(each.pid) for each in prepared]
    weights = max(resident for _, resident in done)
    details = {
        "weights_once_bytes": weights,
        "private_when_ready_bytes": [private for private, _ in ready],
        "private_when_done_bytes": [private for private, _ in done],
        "container_engine_bytes": shims,
        "repack": scheduling["repack"],
    }
    notes = (
        f"the API leases whole cores, and there are {len(os.sched_getaffinity(0))}: so the benchmark itself prepared "
        f"{AT_ONCE} containers with the configuration of an execution's, and each made {TOKENS} tokens",
        f"weights, once: {weights / MIB:.0f} MiB; each when it was ready: "
        f"{median(private for private, _ in ready) / MIB:.0f} MiB; the container engine's process for each: "
        f"{median(shims) / MIB:.1f} MiB more",
    )
    what = f"memory of {AT_ONCE} concurrent executions of one model, each beside the weights (context {CONTEXT_TOKENS})"
    values = tuple(private / MIB for private, _ in done)
    target = Target(60, "at most", "MiB")
    return Row("memory", what, "MiB", target, values=values, load_average=load, notes=notes, details=details)


_Memory = list[tuple[int, int]]


def _memory_before_and_after(prepared: list[_Prepared], path: str) -> tuple[_Memory, _Memory]:
    def read() -> _Memory:
        return [private_and_file_bytes(each.pid, path) for each in prepared]

    ready = read()
    job = JobCommand(
        prompt="1, 2, 3,",
        messages=None,
        parse_special=True,
        grammar=None,
        max_tokens=TOKENS,
        seed=0,
        sampling=Sampling(),
        stop=(),
    )
    for each in prepared:
        each.send(encode_command(job))
    for each in prepared:
        each.await_event("done")
    done = read()
    for each in prepared:
        each.send(encode_command(ExitCommand()))
    return ready, done


def _shim_bytes(pid: int) -> int:
    # The first process's parent is the container engine's own for this container.
    return private_and_file_bytes(psutil.Process(pid).ppid(), "")[0]
