"""One supervisor over fakes behind a real socket, and what every answer and every ended execution must satisfy."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout, TraceConfig, TraceRequestEndParams
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.api.openai.errors import OpenAiError, OpenAiErrorAnswer
from contracts.api.openapi import build_openapi
from contracts.api.problem import PROBLEM_CODES, Problem
from contracts.api.responses import VersionView
from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.record import verify_record
from contracts.verify.trust import Trust, TrustedKey
from supervisor.adapters.identity.keys import FileSigner
from supervisor.api.connection import HEAD_S, STALL_S
from supervisor.api.context import ApiContext
from supervisor.api.routes import build_app
from supervisor.api.server import CONNECTIONS_MAX, ApiRunner
from supervisor.domain.planning.installation import Installation
from supervisor.domain.policies.policy import PoolPolicy
from supervisor.domain.power.metering import Metering
from supervisor.execution.assembly import Ports, assemble
from supervisor.execution.recorder import Recorder
from supervisor.power.meter_leases import GpuAccess, MeterLeases
from tests.fakes.callers import FakeCallers
from tests.fakes.installation import FakeInstallation, fixed_installation
from tests.fakes.ledger import FakeLedger
from tests.fakes.models import FakeModels
from tests.fakes.releases import FakeReleases
from tests.fakes.run_requests import spec_request
from tests.fakes.runner_scripts import answering
from tests.fakes.sandboxes import FakeSandboxes, Script
from tests.meters import make_metering

if TYPE_CHECKING:
    from aiohttp import web

TOKEN = "token-" + "t" * 32
EXPERIMENTER_TOKEN = "token-" + "e" * 32
SECOND_EXPERIMENTER_TOKEN = "token-" + "s" * 32
# No bound here is part of what a test shows; each only keeps a broken one from hanging.
PATIENCE_S = 20.0
SECRETS = (TOKEN, EXPERIMENTER_TOKEN, str(spec_request()["prompt"]))
_WITHOUT_OPERATION = {
    "not_found",
    "method_not_allowed",
    "unauthorized",
    "host_not_allowed",
    "bad_header",
    "not_implemented",
    "limit_reached",
}
_PATHS = build_openapi()["paths"]


def check_problem(method: str, path: str, status: int, media_type: str, body: bytes) -> Problem:
    """Every error is a problem document, listed for its operation, and quotes neither prompt nor token."""
    assert media_type == "application/problem+json", body
    problem = Problem.parse(body)
    assert problem.status == status
    assert (problem.status, problem.title) == PROBLEM_CODES[problem.code]
    assert problem.type == f"urn:weos:problem:{problem.code}"
    assert problem.detail
    assert not any(secret in body.decode() for secret in SECRETS)
    operation = _operation(method, path)
    if operation is None:
        assert problem.code in _WITHOUT_OPERATION
    else:
        assert f"`{problem.code}`" in operation["responses"][str(status)]["description"]
    return problem


def check_openai_error(method: str, path: str, status: int, media_type: str, body: bytes) -> OpenAiError:
    """Every error has OpenAI's shape, is listed for its operation, and quotes neither prompt nor token."""
    assert media_type == "application/json", body
    error = OpenAiErrorAnswer.parse(body).error
    assert error.message
    assert not any(secret in body.decode() for secret in SECRETS)
    operation = _operation(method, path)
    if operation is None:
        assert error.code in _WITHOUT_OPERATION | {"invalid_api_key"}
    else:
        assert f"`{error.code}`" in operation["responses"][str(status)]["description"]
    return error


def check_error(method: str, path: str, status: int, media_type: str, body: bytes) -> None:
    """Every error has the shape of its path."""
    check = check_openai_error if path.startswith("/openai/") else check_problem
    check(method, path, status, media_type, body)


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in _PATHS.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None


async def _check_answer(session: ClientSession, context: Any, params: TraceRequestEndParams) -> None:
    del session, context
    response = params.response
    is_health = params.url.path in {"/healthz", "/readyz"} and response.content_type == "application/json"
    if response.status >= 400 and params.method != "HEAD" and not is_health:
        check_error(params.method, params.url.path, response.status, response.content_type, await response.read())


def _checking() -> TraceConfig:
    trace = TraceConfig()
    trace.on_request_end.append(_check_answer)
    return trace


class ApiServer(TestServer):
    """The product's own server on a port of its own."""

    bounds: Mapping[str, Any] = {}

    async def _make_runner(self, **kwargs: Any) -> ApiRunner:
        del kwargs
        return ApiRunner(self.app, shutdown_timeout_s=1.0, **self.bounds)


# Every sandbox is made for its execution, so that a test can say which one is whose.
NO_POOL = fixed_installation().policies.pool.model_copy(update={"size_max": 0})


class Engine:
    """One supervisor with fakes, and a client that is authorized."""

    def __init__(
        self,
        script: Script,
        installation: Installation | None = None,
        metering: Metering | None = None,
        pool: PoolPolicy | None = None,
        unplaceable: str | None = None,
        gpu: GpuAccess | None = None,
    ) -> None:
        self.signer = FileSigner(Ed25519PrivateKey.generate())
        self.sandboxes = FakeSandboxes(script)
        self.models = FakeModels()
        self.ledger = FakeLedger()
        self.releases = FakeReleases()
        self.installation = FakeInstallation(installation or fixed_installation())
        fixed = self.installation.value
        self.callers = FakeCallers(fixed.policies.roles)
        self.callers.add(TOKEN, "operator", "operator")
        self.callers.add(EXPERIMENTER_TOKEN, "experimenter", "experimenter")
        self.callers.add(SECOND_EXPERIMENTER_TOKEN, "experimenter", "second")
        self.keep_alive_s = 15.0
        self.body_timeout_s = 30.0
        self.health_timeout_s = 5.0
        self.drain_s = 0.05
        self.clock_ns: Callable[[], int] = time.monotonic_ns
        self.connections_max = CONNECTIONS_MAX
        self.stall_s = STALL_S
        self.head_s = HEAD_S
        self.every_execution_has_its_record = True
        self.on_response: list[Callable[[web.Request, web.StreamResponse], Awaitable[None]]] = []
        self.metering = MeterLeases(
            lambda: metering or make_metering(host_cpus=len(fixed.host.logical_cpus)), fixed.policies.power, gpu
        )
        self.recorder = Recorder(fixed.engine_version, None, self.signer)
        ports = Ports(
            sandboxes=self.sandboxes,
            models=self.models,
            ledger=self.ledger,
            metering=self.metering,
            installation=self.installation,
            recorder=self.recorder,
        )
        policies = replace(fixed.policies, pool=pool or NO_POOL)
        self.parts = assemble(
            ports, policies, fixed.host, unplaceable=unplaceable, pool_retry_s=0.01, store_retry_s=0.01
        )
        self.scheduler, self.pool = self.parts.scheduler, self.parts.pool
        self.service, self.book = self.parts.service, self.parts.book
        self.version = VersionView(
            engine_version=fixed.engine_version,
            manifest=None,
            public_key=self.signer.public_key,
            policies=dict(fixed.policies.digests),
        )
        self.client: TestClient[web.Request, web.Application]

    @property
    def trust(self) -> Trust:
        key = TrustedKey(engine_version=self.version.engine_version, public_key=self.signer.public_key)
        return Trust(schema_version="weos.trust/1", keys=(key,))

    @property
    def connections(self) -> list[Any]:
        """The connections that the server holds."""
        runner = self.client.server.runner
        assert runner is not None
        assert runner.server is not None
        return runner.server.connections

    @property
    def free_cpus(self) -> int:
        """How many CPUs no execution has."""
        return len(self.scheduler.idle_cpus)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Engine"]:
        context = ApiContext(
            callers=self.callers,
            version=self.version,
            book=self.book,
            ledger=self.ledger,
            service=self.service,
            sandboxes=self.sandboxes,
            installation=self.installation,
            releases=self.releases,
            metrics=(self.scheduler, self.pool),
            recorder=self.recorder,
            keep_alive_s=self.keep_alive_s,
            body_timeout_s=self.body_timeout_s,
            health_timeout_s=self.health_timeout_s,
            clock_ns=self.clock_ns,
        )
        app = build_app(context)
        app.on_response_prepare.extend(self.on_response)
        server = ApiServer(app)
        server.bounds = {
            "connections_max": self.connections_max,
            "stall_s": self.stall_s,
            "head_s": self.head_s,
        }
        client = TestClient(
            server,
            headers={"Authorization": f"Bearer {TOKEN}"},
            trace_configs=[_checking()],
            timeout=ClientTimeout(total=PATIENCE_S),
        )
        async with client, self.pool.tended():
            self.client = client
            yield self
            await self.book.close(drain_s=self.drain_s)
        self._check_end()

    def _check_end(self) -> None:
        assert self.ledger.misuse == []
        opened = [sandbox.container_id for sandbox in self.sandboxes.opened]
        assert sorted(self.sandboxes.destroyed) == sorted(opened), "every sandbox is destroyed, once"
        if self.every_execution_has_its_record:
            assert set(self.ledger.final) == set(self.ledger.started)

    async def post(
        self, request: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> ClientResponse:
        """Send a Run Request."""
        return await self.client.post("/v1/runs", json=request or spec_request(), headers=headers)

    async def start(self, request: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> str:
        """Begin an execution that outlives its caller and return its id."""
        answer = await self.post(request, {"Prefer": "respond-async", **(headers or {})})
        assert answer.status == 202, await answer.text()
        execution_id: str = (await answer.json())["execution_id"]
        return execution_id

    async def view(self, execution_id: str) -> dict[str, Any]:
        view: dict[str, Any] = await (await self.client.get(f"/v1/runs/{execution_id}")).json()
        return view

    async def ended(self, execution_id: str) -> dict[str, Any]:
        """Ask until the execution has ended; return its view."""
        await eventually(lambda: execution_id in self.ledger.final)
        await eventually(lambda: execution_id not in self.book._active)
        return await self.view(execution_id)

    async def said(self, execution_id: str, text: str) -> None:
        """Wait until an execution has generated this text."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.view(execution_id))["output"] != text:  # noqa: ASYNC110 - it is asked over HTTP
                await asyncio.sleep(0.002)

    async def record(self, execution_id: str) -> MetricsRecord:
        """Return the record of an ended execution, which must verify."""
        await self.ended(execution_id)
        answer = await self.client.get(f"/v1/runs/{execution_id}/record")
        assert answer.content_type == "application/vnd.in-toto+json"
        report = verify_record(await answer.read(), self.trust)
        assert report.verdict == "VALID", report.checks[-1]
        assert report.record is not None
        assert report.record.execution_id == execution_id
        return report.record

    async def is_well(self) -> None:
        """The service still takes and completes an execution."""
        self.sandboxes.script = answering(["ok"])
        answer = await self.post()
        assert answer.status == 200, await answer.text()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition that must come true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for does not know of us
            await asyncio.sleep(0.002)


async def problem_of(answer: ClientResponse) -> Problem:
    return Problem.parse(await answer.read())
