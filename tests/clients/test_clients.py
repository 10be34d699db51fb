"""OpenAI's own client, LangChain's and LiteLLM's against the API: what users' programs get."""

import asyncio
import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import PATIENCE_S, TOKEN, Engine
from tests.fakes.runner_scripts import READY
from tests.fakes.sandboxes import FakeSandbox
from tests.fuzz.served import Served, served
from tests.pages import read_page

PROGRAM = Path(__file__).with_name("program.py")
MODEL = "smollm2-135m-instruct:q4_1"
TEXT = "Olá\u2028, mundo"
CITY = {"name": "Paris", "population": 2}
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
Outcomes = dict[str, Any]


async def runner(sandbox: FakeSandbox, line_index: int) -> None:
    """A runner that does what the last message says."""
    if line_index == 0:
        sandbox.say(READY)
    if line_index != 1:
        return
    job = json.loads(sandbox.sent[1])
    asked = job["prompt"] if job["messages"] is None else job["messages"][-1]["content"]
    if "OVERFLOW" in asked:
        sandbox.say({"type": "error", "code": "context_overflow", "message": "", "prompt_tokens": 9000})
        return
    texts = ["Olá", "\u2028", ", mundo"] if job["grammar"] is None else ['{"name": "Paris"', ', "population"', ": 2}"]
    sandbox.say({"type": "prompt", "tokens": 5})
    for index, text in enumerate(texts[: job["max_tokens"]]):
        sandbox.say({"type": "token", "index": index, "token_id": index, "text": text})
        if "HOLD" in asked:
            await asyncio.Event().wait()
    if "BREAK" in asked:
        sandbox.say(b"garbage")
        return
    reason = "length" if job["max_tokens"] <= len(texts) else "eos"
    sandbox.say({"type": "done", "finish_reason": reason, "tokens": min(len(texts), job["max_tokens"]), "text": ""})


@pytest.fixture(scope="module")
def clients(weos_home: Path) -> Path:
    """Where the clients are installed. Their absence is a failure, not a skip."""
    directory = weos_home / "clients"
    if not (directory / "openai").is_dir():
        pytest.fail("the clients are not installed; run: make clients")
    return directory


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(runner)


@pytest.fixture(scope="module")
def api(engine: Engine) -> Iterator[Served]:
    with served(engine) as serving:
        yield serving


def run(clients: Path, *arguments: str) -> str:
    inherited = ("PATH", "HOME", "LANG", "TMPDIR")
    environment = {name: os.environ[name] for name in inherited if name in os.environ}
    # LiteLLM fetches a table of prices from the network otherwise.
    environment |= {"PYTHONPATH": str(clients), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    ended = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def steps_of(client: str, api: Served, clients: Path) -> Outcomes:
    outcomes: Outcomes = json.loads(run(clients, str(PROGRAM), client, api.url, TOKEN).splitlines()[-1])
    return outcomes


@pytest.fixture(scope="module")
def by_openai(api: Served, clients: Path) -> Outcomes:
    return steps_of("openai", api, clients)


@pytest.fixture(scope="module")
def by_langchain(api: Served, clients: Path) -> Outcomes:
    return steps_of("langchain", api, clients)


@pytest.fixture(scope="module")
def by_litellm(api: Served, clients: Path) -> Outcomes:
    return steps_of("litellm", api, clients)


def fault(outcome: Any) -> tuple[str, int, str | None, str | None]:
    assert isinstance(outcome, dict), outcome
    return outcome["error"], outcome["status_code"], outcome["code"], outcome["param"]


def test_openais_client_gets_its_answers(by_openai: Outcomes) -> None:
    chat = by_openai["chat"]
    assert (chat["object"], chat["model"], chat["usage"]) == ("chat.completion", MODEL, USAGE)
    assert (chat["choices"][0]["message"]["content"], chat["choices"][0]["finish_reason"]) == (TEXT, "stop")
    assert by_openai["every_field"] == "length"
    assert by_openai["conversation"] == TEXT
    assert by_openai["completion"] == TEXT
    assert by_openai["parsed"] == CITY
    assert (by_openai["models"], by_openai["model"]) == ([MODEL], MODEL)


def test_openais_client_gets_its_streams(by_openai: Outcomes) -> None:
    chunks = by_openai["stream"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert (deltas[0]["role"], deltas[-1]) == ("assistant", {})
    assert "".join(delta.get("content", "") for delta in deltas) == TEXT
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert {name: by_openai["stream_with_usage"][name] for name in USAGE} == USAGE
    for step in ("final_of_stream", "asynchronous_stream", "completion_stream"):
        assert by_openai[step] == TEXT


def test_an_answer_names_its_execution_and_its_record(by_openai: Outcomes) -> None:
    answer, execution, link = by_openai["headers"]
    assert answer == execution
    assert link.startswith(f"</v1/runs/{execution}/record>; ")


def test_a_key_never_executes_twice(by_openai: Outcomes) -> None:
    first, second = by_openai["repeated"]
    assert first == second


def test_a_client_that_leaves_a_stream_cancels_its_execution(by_openai: Outcomes, api: Served) -> None:
    url = f"{api.url}/v1/runs/{by_openai['left_early']}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310 - our own server
    until = time.monotonic() + PATIENCE_S
    status = "running"
    while status == "running" and time.monotonic() < until:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - likewise
            status = json.load(answer)["status"]
    assert status == "cancelled"


def test_openais_client_raises_its_own_exceptions(by_openai: Outcomes) -> None:
    expected = {
        "broken": ("InternalServerError", 500, "runner_failed", None),
        "too_long": ("BadRequestError", 400, "context_length_exceeded", None),
        "unknown_model": ("NotFoundError", 404, "model_not_found", "model"),
        "unknown_model_to_retrieve": ("NotFoundError", 404, "model_not_found", "model"),
        "wrong_key": ("AuthenticationError", 401, "invalid_api_key", None),
        "tools": ("BadRequestError", 400, "unsupported_parameter", "tools"),
        "two_answers": ("BadRequestError", 400, "unsupported_parameter", "n"),
        "unknown_path": ("NotFoundError", 404, "not_found", None),
    }
    assert {step: fault(by_openai[step]) for step in expected} == expected
    assert by_openai["broken_stream"] == [TEXT, "APIError", "runner_failed"]


def test_a_failed_execution_is_not_repeated_by_the_client(by_openai: Outcomes, engine: Engine) -> None:
    assert by_openai["broken"]["error"] == "InternalServerError"
    prompts = [entry.prompt for entry in engine.ledger.started.values()]
    assert len([prompt for prompt in prompts if "BREAK ONCE" in prompt]) == 1


def test_langchain_gets_its_answers(by_langchain: Outcomes) -> None:
    for step in ("invoke", "conversation", "stream", "completion"):
        assert by_langchain[step] == TEXT, step
    assert by_langchain["batch"] == [TEXT] * 3
    assert by_langchain["described"] == [MODEL, "stop", 8]
    assert by_langchain["every_field"] == "length"
    assert by_langchain["stream_with_usage"] == [8]
    assert by_langchain["json_schema"] == by_langchain["json_mode"] == CITY


def test_langchain_raises_its_own_exceptions(by_langchain: Outcomes) -> None:
    kinds = {step: by_langchain[step]["kinds"] for step in ("too_long", "unknown_model", "tools")}
    assert "ContextOverflowError" in kinds["too_long"]
    assert "NotFoundError" in kinds["unknown_model"]
    assert "BadRequestError" in kinds["tools"]
    assert by_langchain["tools"]["param"] == "tools"


def test_litellm_gets_its_answers(by_litellm: Outcomes) -> None:
    assert by_litellm["chat"] == [TEXT, 8]
    assert by_litellm["every_field"] == "length"
    assert by_litellm["stream"] == by_litellm["completion"] == TEXT
    assert by_litellm["stream_with_usage"] == 8
    assert by_litellm["parsed"] == CITY


def test_litellm_raises_its_own_exceptions(by_litellm: Outcomes) -> None:
    raised = {name: each["error"] for name, each in by_litellm.items() if isinstance(each, dict) and "error" in each}
    assert raised == {
        "too_long": "ContextWindowExceededError",
        "broken_stream": "MidStreamFallbackError",
        "unknown_model": "NotFoundError",
        "wrong_key": "AuthenticationError",
        "two_answers": "BadRequestError",
    }


def test_the_example_of_the_page_is_answered(api: Served, clients: Path, tmp_path: Path) -> None:
    (example,) = [block.text for block in read_page("docs/api.md").blocks if block.language == "python"]
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "run").mkdir()
    assert example.count("~/.local/share/weos") == 1
    example = example.replace("~/.local/share/weos", str(tmp_path))
    with passed_on(tmp_path / "run" / "engine.sock", api.url):
        assert re.fullmatch(rf"{TEXT} exec_[0-9a-f]{{32}}\n", run(clients, "-c", example))


@contextmanager
def passed_on(path: Path, url: str) -> Iterator[None]:
    """A Unix socket whose connections lead to the served API."""
    host, port = url.removeprefix("http://").split(":")

    class PassOn(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, int(port))) as behind:
                back = threading.Thread(target=copy, args=(behind, self.request))
                back.start()
                copy(self.request, behind)
                back.join()

    def copy(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65536):
            target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingUnixStreamServer(str(path), PassOn) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield
        server.shutdown()
        serving.join()
