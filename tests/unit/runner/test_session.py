import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from runner.channel import EventWriter, LineReader
from runner.events import Event, ModelInfo
from runner.generation import Model
from runner.protocol import RunnerError, Setup
from runner.session import BuildInfo, LoadedModel, serve
from runner.system_info import parse_cpu_features

SETUP = (
    b'{"type":"setup","protocol":1,"model_path":"/m","context_tokens":64,"threads":1,"batch_tokens":8,"repack":false}\n'
)
JOB = (
    b'{"type":"job","prompt":"secret words","messages":null,"parse_special":true,"grammar":null,'
    b'"max_tokens":4,"seed":0,"stop":[],"sampling":'
    b'{"temperature":0,"top_k":0,"top_p":1,"min_p":0,"repeat_penalty":1}}\n'
)
EXIT = b'{"type":"exit"}\n'


def run(lines: bytes, model: Model | RunnerError, lock_fault: RunnerError | None = None) -> list[dict[str, Any]]:
    def load(_setup: Setup) -> LoadedModel:
        if isinstance(model, RunnerError):
            raise model
        return LoadedModel(model, ModelInfo("llama", 8192, "tiny", has_chat_template=False), ["AVX2"])

    def lock() -> None:
        if lock_fault is not None:
            raise lock_fault

    input_fd, feed_fd = os.pipe()
    os.write(feed_fd, lines)
    os.close(feed_fd)
    events_fd, output_fd = os.pipe()
    build = BuildInfo("cpu_avx2", "0.3.36", "sha256:abc")
    serve(LineReader(input_fd), EventWriter(output_fd), build, load, lock)
    os.close(output_fd)
    with os.fdopen(events_fd, "rb") as pipe:
        return [json.loads(line) for line in pipe]


def test_one_job_is_set_up_run_and_let_go(scripted: Callable[..., Model]) -> None:
    events = run(SETUP + JOB + EXIT, scripted([b"a", b"b"]))
    assert [event["type"] for event in events] == ["ready", "prompt", "token", "token", "done"]
    assert events[0]["backend"] == "cpu_avx2"
    assert events[0]["lockdown_policy"] == "sha256:abc"


def test_without_its_second_lock_the_runner_is_never_ready(scripted: Callable[..., Model]) -> None:
    events = run(SETUP + JOB, scripted([b"a"]), RunnerError("lockdown_failed", "no"))
    assert events == [{"type": "error", "code": "lockdown_failed", "message": "no"}]


def test_no_byte_of_the_job_is_read_before_the_lock(scripted: Callable[..., Model]) -> None:
    input_fd, feed_fd = os.pipe()
    os.write(feed_fd, SETUP)
    order: list[str] = []

    def load(_setup: Setup) -> LoadedModel:
        order.append("load")
        return LoadedModel(scripted([]), ModelInfo("llama", 8192, "tiny", has_chat_template=False), [])

    def lock() -> None:
        order.append("lock")
        os.write(feed_fd, JOB)
        os.close(feed_fd)

    class Recorder(EventWriter):
        def send(self, event: Event) -> None:
            order.append(str(event["type"]))

    serve(LineReader(input_fd), Recorder(-1), BuildInfo("cpu_avx2", "0.3.36", ""), load, lock)
    assert order == ["load", "lock", "ready", "prompt", "done"]


def test_an_interpreter_without_memory_says_so(scripted: Callable[..., Model]) -> None:
    class Hungry(type(scripted([]))):  # type: ignore[misc] # the fixture's class has no name here
        def prefill(self, tokens: object) -> None:
            raise MemoryError

    (_ready, error) = run(SETUP + JOB, Hungry([b"a"]))
    assert error["code"] == "out_of_memory"


def test_a_second_job_is_never_run(scripted: Callable[..., Model]) -> None:
    events = run(SETUP + JOB + JOB, scripted([b"a"]))
    assert [event["type"] for event in events].count("done") == 1
    assert events[-1]["type"] == "done"


@pytest.mark.parametrize(("lines", "types"), [(b"", []), (SETUP, ["ready"])])
def test_input_that_ends_before_the_job_ends_quietly(
    lines: bytes, types: list[str], scripted: Callable[..., Model]
) -> None:
    assert [event["type"] for event in run(lines, scripted([]))] == types


@pytest.mark.parametrize("lines", [JOB, b"{}\n", b"x\n", SETUP + SETUP, SETUP + EXIT, b"half a line"])
def test_a_line_out_of_turn_is_a_protocol_error(lines: bytes, scripted: Callable[..., Model]) -> None:
    assert run(lines, scripted([]))[-1]["code"] == "protocol_error"


def test_a_model_that_cannot_be_loaded_is_told_with_its_code() -> None:
    events = run(SETUP, RunnerError("model_load_failed", "no"))
    assert events == [{"type": "error", "code": "model_load_failed", "message": "no"}]


def test_garbage_after_the_job_is_ignored_until_the_input_ends(scripted: Callable[..., Model]) -> None:
    events = run(SETUP + JOB + b"garbage\n" + b"unfinished", scripted([]))
    assert events[-1]["type"] == "done"


def test_only_features_that_are_on_are_named_and_sorted() -> None:
    info = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | OPENMP = 1 | "
    assert parse_cpu_features(info) == ["AVX2", "OPENMP", "SSE3"]
    assert parse_cpu_features("") == []
