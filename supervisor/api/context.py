"""Everything that the routes use, and what the guard found out about a request."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client.registry import Collector

from contracts.api.responses import VersionView
from supervisor.domain.access.caller import Caller
from supervisor.domain.access.limits import RequestRates
from supervisor.domain.access.ports import CallersPort
from supervisor.domain.planning.ports import InstallationPort, ReleasesPort
from supervisor.domain.records.ports import LedgerPort
from supervisor.domain.sandbox.ports import SandboxPort
from supervisor.execution.recorder import Recorder
from supervisor.execution.run_book import RunBook
from supervisor.execution.service import ExecutionService

__all__ = ["CALLER", "CONTEXT", "ApiContext"]

# Some proxies and clients cut a silent connection after 30 to 60 s.
KEEP_ALIVE_S = 15
# A body that trickles in occupies a connection; 1 MiB normally arrives in milliseconds on loopback.
BODY_TIMEOUT_S = 30
# A container engine that hangs counts as down; a ping of a healthy one took a few milliseconds.
HEALTH_TIMEOUT_S = 5
CALLER: web.RequestKey[Caller] = web.RequestKey("caller")
CONTEXT: web.AppKey["ApiContext"] = web.AppKey("context")


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Everything that the routes use."""

    callers: CallersPort
    version: VersionView
    book: RunBook
    ledger: LedgerPort
    service: ExecutionService
    sandboxes: SandboxPort
    installation: InstallationPort
    releases: ReleasesPort
    metrics: tuple[Collector, ...]
    recorder: Recorder
    keep_alive_s: float = KEEP_ALIVE_S
    body_timeout_s: float = BODY_TIMEOUT_S
    health_timeout_s: float = HEALTH_TIMEOUT_S
    rates: RequestRates = field(default_factory=RequestRates)
    clock_ns: Callable[[], int] = time.monotonic_ns
