"""Requests made from the OpenAPI document, valid ones and others, against a served API.

schemathesis runs as the program that it is: examples, the document's edges, random values, and sequences of calls along
its links. Its checks: no 5xx, every status, content type, header and body as documented, what the document forbids is
refused and what it allows is not, other methods are answered with 405 and Allow, and nothing works without the token.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from contracts.api.openapi import OPERATIONS, build_openapi
from supervisor.api.context import CONTEXT
from supervisor.api.routes import HANDLERS
from supervisor.domain.errors import Refusal
from tests.api.harness import TOKEN, Engine
from tests.conftest import FUZZ_DEPTH
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import answering
from tests.fakes.sandboxes import FakeSandbox
from tests.fuzz.served import Served, served
from tests.places import REPOSITORY

# `positive_data_acceptance` has its place taken by `tests.fuzz.api_checks`. The two others know only collections whose
# members are there at once and gone when deleted: DELETE cancels, and what was executed is kept and can be looked at;
# a record is there when its execution has ended.
LEFT_OUT = ("positive_data_acceptance", "use_after_free", "ensure_resource_availability")
# How what the document forbids is refused: by itself, by where it leads, or by its size.
REFUSALS = (400, 403, 404, 405, 409, 413, 415, 422)
# The document allows any text as a grammar and any JSON Schema; what cannot be enforced is refused.
ENFORCEABLE = {"enum": [{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}]}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
EXAMPLES = 40
# What of the document this installation has; for the rest of it a sound request is refused, and rightly so.
INSTALLED: dict[tuple[str, str], dict[str, Any]] = {
    ("RunRequest", "model"): {"enum": ["smollm2-135m-instruct"]},
    ("RunRequest", "engine_version"): {"const": None},
    ("ExecutionRequest", "backend"): {"enum": ["cpu_avx2"]},
    ("ExecutionRequest", "isolation"): {"enum": ["hardened", None]},
    ("ExecutionRequest", "quantization"): {"enum": ["q4_1"]},
    ("ExecutionRequest", "scheduler_policy"): {"enum": ["default"]},
    ("ExecutionRequest", "context_tokens"): {
        "anyOf": [{"type": "null"}, {"type": "integer", "minimum": 16, "maximum": 8192}]
    },
    ("ExecutionRequest", "grammar"): {"enum": ['root ::= "a"', None]},
    ("ExecutionRequest", "json_schema"): {"anyOf": [{"type": "null"}, ENFORCEABLE]},
    ("JsonSchemaFormat", "schema"): ENFORCEABLE,
    ("ChatCompletionRequest", "model"): {"enum": ["smollm2-135m-instruct", "smollm2-135m-instruct:q4_1"]},
    ("CompletionRequest", "model"): {"enum": ["smollm2-135m-instruct", "smollm2-135m-instruct:q4_1"]},
    ("LimitsRequest", "max_tokens"): {"type": "integer", "minimum": 1, "maximum": 8192},
    ("LimitsRequest", "timeout_s"): {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 1, "maximum": 3600}]},
}


def execute_one(api: Served) -> str:
    """Execute the specification's request and return the execution, so that there is one to be looked at."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{api.url}/v1/runs", json.dumps(spec_request()).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
        return str(json.load(answer)["execution_id"])


def installed_document(execution_id: str | None = None) -> dict[str, Any]:
    """What this installation serves; an execution that is named is the example of every call about one."""
    document = build_openapi()
    for calls in document["paths"].values():
        for call in calls.values():
            for parameter in call.get("parameters", ()):
                if execution_id is not None and parameter.get("name") == "execution_id":
                    parameter["example"] = execution_id
    for (model, field), schema in INSTALLED.items():
        document["components"]["schemas"][model]["properties"][field] = schema
    return document


async def obedient(sandbox: FakeSandbox, line_index: int) -> None:
    """A runner that says as many tokens as it is asked for, three at most."""
    count = min(3, json.loads(sandbox.sent[1])["max_tokens"]) if line_index == 1 else 0
    await answering(["Olá", ", ", "mundo"][:count], finish_reason="eos")(sandbox, line_index)


def explore(
    api: Served, directory: Path, *options: str, execution_id: str | None = None
) -> subprocess.CompletedProcess[str]:
    document = directory / "openapi.json"
    document.write_text(json.dumps(installed_document(execution_id)))
    settings = directory / "schemathesis.toml"
    settings.write_text(f"[checks.negative_data_rejection]\nexpected-statuses = {list(REFUSALS)}\n")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(settings),
        "run",
        str(document),
        "--url",
        api.url,
    ]
    command += ["--header", f"Authorization: Bearer {TOKEN}", "--checks", "all", "--no-color", "--continue-on-failure"]
    command += ["--exclude-checks", ",".join(LEFT_OUT), "--max-examples", str(EXAMPLES * FUZZ_DEPTH)]
    command += ["--generation-deterministic"] if FUZZ_DEPTH == 1 else ["--generation-database", "none"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment |= {
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'runtime-image'}",
        "SCHEMATHESIS_HOOKS": "tests.fuzz.api_checks",
    }
    return subprocess.run(
        [*command, *options], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_the_served_api_is_the_documented_one(tmp_path: Path) -> None:
    with served(Engine(obedient)) as api:
        explored = explore(api, tmp_path, execution_id=execute_one(api))
    assert explored.returncode == 0, explored.stdout + explored.stderr
    assert f"{len(OPERATIONS)} selected / {len(OPERATIONS)} total" in explored.stdout
    # OPTIONS is answered everywhere and is no operation.
    succeeded = {name for name, status in api.answers if status < 300 and (name, status) != ("none", 204)}
    # What is to be cancelled has mostly ended by then, which is its other right answer.
    succeeded |= {name for name, status in api.answers if (name, status) == ("cancelRun", 409)}
    assert succeeded == {operation.operation_id for operation in OPERATIONS}
    assert not [answer for answer in api.answers if answer[1] >= 500]


async def answer_more(request: web.Request) -> web.StreamResponse:
    return web.json_response({**request.app[CONTEXT].version.model_dump(mode="json"), "more": 1})


async def accept_anything(request: web.Request) -> web.StreamResponse:
    del request
    return web.json_response({})


async def fail(request: web.Request) -> web.StreamResponse:
    raise RuntimeError(request.path)


async def refuse_with_another_code(request: web.Request) -> web.StreamResponse:
    raise Refusal("not_found", request.path)


async def refuse_everything(request: web.Request) -> web.StreamResponse:
    raise Refusal("invalid_request", request.path, field="/model")


PLANTED: dict[str, tuple[Handler, str]] = {
    "getVersion": (answer_more, "Response violates schema"),
    "listModels": (fail, "Server error"),
    "createPlan": (accept_anything, "Schema-violating request accepted"),
    "createRun": (refuse_everything, "sound_requests_are_taken"),
    "getRun": (refuse_with_another_code, "errors_are_documented_problems"),
}


def test_planted_faults_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (handler, _) in PLANTED.items():
        monkeypatch.setitem(HANDLERS, name, handler)
    monkeypatch.setattr("supervisor.api.guard.find_caller", lambda _header, callers: callers.find(TOKEN.encode()))
    chosen = [option for name in PLANTED for option in ("--include-operation-id", name)]
    with served(Engine(obedient)) as api:
        explored = explore(api, tmp_path, "--phases", "coverage", *chosen)
    assert explored.returncode == 1, explored.stdout + explored.stderr
    # One section for each operation, headed by its method and path.
    sections = re.split(r"\n_{3,} ([A-Z]+ \S+) _{3,}\n", explored.stdout)
    said = dict(zip(sections[1::2], sections[2::2], strict=True))
    for operation in OPERATIONS:
        if operation.operation_id in PLANTED:
            assert PLANTED[operation.operation_id][1] in said[f"{operation.method} {operation.path}"]
    assert "authentication" in said["GET /v1/version"], "a door left open is found"
