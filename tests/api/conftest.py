"""The real HTTP API over a real socket, with fakes where the outside world begins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.responses import VersionView
from contracts.trust import Trust, TrustedKey
from supervisor.adapters.keys import FileSigner
from supervisor.cpu_pool import CpuPool
from supervisor.domain.installation import Installation
from supervisor.http_api import ApiContext, build_app
from supervisor.run_book import RunBook
from supervisor.service import ExecutionService
from tests.fakes import FakeLedger, FakeModels, FakeSandboxes, Script, answering, fixed_installation

if TYPE_CHECKING:
    from aiohttp import web

TOKEN = "t" * 32


@dataclass
class FakeInstallation:
    """See ``ports.InstallationPort``."""

    value: Installation = field(default_factory=fixed_installation)

    def read(self) -> Installation:
        return self.value


class Engine:
    """One supervisor with fakes, and a client that is authorized."""

    def __init__(self, script: Script) -> None:
        self.signer = FileSigner(Ed25519PrivateKey.generate())
        self.sandboxes = FakeSandboxes(script)
        self.models = FakeModels()
        self.ledger = FakeLedger()
        self.installation = FakeInstallation()
        fixed = self.installation.value
        self.service = ExecutionService(
            sandboxes=self.sandboxes,
            models=self.models,
            ledger=self.ledger,
            signer=self.signer,
            policies=fixed.policies,
            host=fixed.host,
        )
        self.book = RunBook(
            service=self.service,
            installation=self.installation,
            sandboxes=self.sandboxes,
            models=self.models,
            ledger=self.ledger,
            cpus=CpuPool(fixed.host.logical_cpus, fixed.policies.admission.queue),
        )
        self.version = VersionView(
            engine_version=fixed.engine_version,
            public_key=self.signer.public_key,
            policies=dict(fixed.policies.digests),
        )
        self.client: TestClient[web.Request, web.Application]

    @property
    def trust(self) -> Trust:
        key = TrustedKey(engine_version=self.version.engine_version, public_key=self.signer.public_key)
        return Trust(schema_version="weos.trust/1", keys=(key,))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Engine"]:
        context = ApiContext(
            token=TOKEN,
            version=self.version,
            book=self.book,
            service=self.service,
            sandboxes=self.sandboxes,
            installation=self.installation,
        )
        server = TestServer(build_app(context), handler_cancellation=True)
        async with TestClient(server, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            self.client = client
            yield self
            await self.book.close(drain_s=0.1)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine(answering(["Olá", ", ", "mundo"])).serving() as serving:
        yield serving
