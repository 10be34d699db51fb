"""The composition root: the only place that wires adapters to the service and serves the API."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import web
from prometheus_client.registry import Collector

from contracts.api.responses import VersionView
from contracts.wire.canonical import canonical_bytes
from contracts.wire.envelope import Signer
from supervisor.adapters.docker.sandboxes import DockerSandboxes
from supervisor.adapters.files import write_private
from supervisor.adapters.home import LOG_KEY, Home
from supervisor.adapters.identity.engine_identity import EngineIdentity, load_identity
from supervisor.adapters.identity.keys import FileSigner, key_path, load_signer
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.identity.tokens import TokenFileCallers
from supervisor.adapters.identity.trust_file import publish_log
from supervisor.adapters.installation.backends import load_backends
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.adapters.installation.reader import InstallationReader
from supervisor.adapters.kernel.cgroup import judge_quotas
from supervisor.adapters.kernel.host import host_root, pinned, read_host_facts
from supervisor.adapters.ledger.log_identity import LogIdentity, identify_log
from supervisor.adapters.ledger.store import SqliteLedger
from supervisor.adapters.policies import load_policies
from supervisor.adapters.power.nvml_limit import restore_left_limit
from supervisor.adapters.power.rapl import READ_AT_LEAST_EVERY_S
from supervisor.adapters.unix_socket import listen_unix
from supervisor.api.context import ApiContext
from supervisor.api.routes import build_app
from supervisor.api.server import BACKLOG, ApiRunner
from supervisor.domain.errors import EngineError
from supervisor.domain.policies.policy import Policies, PowerPolicy
from supervisor.domain.records.ports import LedgerPort
from supervisor.domain.sandbox.ports import ModelStorePort, SandboxPort
from supervisor.execution.assembly import Assembly, Ports, assemble
from supervisor.execution.recorder import Recorder
from supervisor.execution.retention import ERASE_EVERY_S, erase_old_texts
from supervisor.power.meter_leases import MeterLeases
from supervisor.power.meters import open_gpu, open_metering
from supervisor.tasks import repeating

__all__ = ["DEFAULT_PORT", "Adapters", "Listening", "serve", "serve_until_told"]

_log = logging.getLogger(__name__)

SOURCE_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 8642
LOOPBACK = "127.0.0.1"
# Seconds that executions get to finish when the supervisor shuts down, and then the seconds for their clean-up.
DRAIN_S = 10.0
# Containers can be left over after the search at start: an earlier supervisor's request may complete late, or the
# container engine may have been unavailable.
REAP_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a supervisor can be reached; without a TCP port `url` is for requests over the socket."""

    url: str
    socket: Path
    engine_version: str
    recovered: int


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters that the engine is given."""

    sandboxes: SandboxPort
    models: ModelStorePort
    ledger: LedgerPort
    signer: Signer
    metering: MeterLeases


WrapAdapters = Callable[[Adapters], Adapters]


def _load_log_signer(home: Home) -> FileSigner:
    path = key_path(home.keys, LOG_KEY)
    if home.checkpoint_copy.exists() and not path.exists():
        detail = f"appending to the ledger of {home.root} needs its log key, which is missing; put the key at {path}"
        raise EngineError("key_missing", detail)
    return load_signer(home.keys, LOG_KEY)


def _open_meters(home: Home, power: PowerPolicy) -> MeterLeases:
    # No execution needs the limit that an earlier supervisor left set. A GPU fault must not stop CPU executions.
    try:
        restored = restore_left_limit(home.gpu_limit)
        if restored is not None:
            _log.warning("%s", restored)
    except EngineError as error:
        _log.warning("%s: %s", error.code, error.detail)
    root = host_root()
    gpu = open_gpu(home.calibration, home.gpu_limit, power, load_backends(SOURCE_ROOT), root=root)
    return MeterLeases(partial(open_metering, home.calibration, power, root=root), power, gpu)


@dataclass(frozen=True, slots=True)
class _Opened:
    adapters: Adapters
    installed: ModelStore
    identity: EngineIdentity
    policies: Policies
    metrics: Collector
    """What the container engine's adapter tells Prometheus."""


@asynccontextmanager
async def _opened(
    home: Home, docker_host: str, wrap_adapters: WrapAdapters, policy_directory: Path
) -> AsyncIterator[_Opened]:
    policies = load_policies(policy_directory)
    identity = load_identity(home, SOURCE_ROOT, policies.digests)
    log_signer = _load_log_signer(home)
    log = identify_log(log_signer.key)
    publish_log(home.trust_file, log.encode())
    ledger = SqliteLedger(home.ledger, LogIdentity(log, log_signer, identity.manifest_digest), home.checkpoint_copy)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(ledger.close)
        sandboxes = await DockerSandboxes.connect(docker_host, home.instance_id(), home.seccomp_profiles)
        stack.push_async_callback(sandboxes.close)
        metering = await asyncio.to_thread(_open_meters, home, policies.power)
        stack.callback(metering.close)
        await ledger.open()
        models = ModelStore(home.models)
        left_bytes = await asyncio.to_thread(models.remove_leftovers)
        if left_bytes:
            _log.warning("%d bytes of model files that killed imports or sandboxes left were removed", left_bytes)
        adapters = Adapters(sandboxes, models, ledger, identity.signer, metering)
        yield _Opened(wrap_adapters(adapters), models, identity, policies, sandboxes.metrics)


def _build_context(home: Home, opened: _Opened) -> tuple[ApiContext, Assembly]:
    adapters, identity, policies = opened.adapters, opened.identity, opened.policies
    host = read_host_facts()
    installation = InstallationReader(
        home.root,
        SOURCE_ROOT,
        engine_version=identity.engine_version,
        images=identity.images,
        models=opened.installed,
        policies=policies,
        host=host,
        power=adapters.metering.facts,
    )
    ports = Ports(
        sandboxes=adapters.sandboxes,
        models=adapters.models,
        ledger=adapters.ledger,
        metering=adapters.metering,
        installation=installation,
        recorder=Recorder(identity.engine_version, identity.manifest_digest, adapters.signer),
    )
    parts = assemble(ports, policies, host, unplaceable=judge_quotas())
    context = ApiContext(
        callers=TokenFileCallers(home, policies.roles),
        version=VersionView(
            engine_version=identity.engine_version,
            manifest=identity.manifest_digest,
            public_key=identity.signer.public_key,
            policies=dict(policies.digests),
        ),
        book=parts.book,
        ledger=adapters.ledger,
        service=parts.service,
        sandboxes=adapters.sandboxes,
        installation=installation,
        releases=ReleaseStore(home.root),
        metrics=(parts.scheduler, parts.pool, opened.metrics),
        recorder=ports.recorder,
    )
    return context, parts


@asynccontextmanager
async def _running(
    home: Home, docker_host: str, wrap_adapters: WrapAdapters, policy_directory: Path
) -> AsyncIterator[tuple[ApiContext, int]]:
    async with _opened(home, docker_host, wrap_adapters, policy_directory) as opened:
        context, parts = _build_context(home, opened)
        read_meters = partial(asyncio.to_thread, opened.adapters.metering.read)
        with pinned(parts.housekeeping_cpus):
            erase = partial(erase_old_texts, opened.adapters.ledger, opened.policies.admission.texts)
            await erase()
            async with (
                repeating(read_meters, READ_AT_LEAST_EVERY_S, "meter"),
                repeating(erase, ERASE_EVERY_S, "texts"),
                parts.pool.tended(),
            ):
                yield context, await parts.book.recover()


@asynccontextmanager
async def serve(
    home: Home,
    docker_host: str,
    *,
    port: int | None = DEFAULT_PORT,
    wrap_adapters: WrapAdapters = lambda adapters: adapters,
    reap_every_s: float = REAP_EVERY_S,
    policy_directory: Path = SOURCE_ROOT / "policies",
    enough: asyncio.Event | None = None,
) -> AsyncIterator[Listening]:
    """Lock the home, serve the API on a Unix socket and on loopback, and drain executions at the end.

    Args:
        home: the installation; only one supervisor can use it at a time.
        docker_host: URL of the container engine.
        port: TCP port on loopback; 0 takes a free one, None opens none.
        wrap_adapters: replaces the adapters before the engine gets them; tests inject faults with it.
        reap_every_s: seconds between two searches for containers that belong to no running execution.
        policy_directory: `policies/`, or a directory with the same files; every record names the policies by digest.
        enough: event that ends the drain early; the remaining executions are then ended.

    Raises:
        EngineError: the home or the port is in use, a policy or key is invalid, or the ledger cannot be used.
    """
    with home.take():
        # A killed supervisor leaves this file. Another process may own the port by now and would receive the token.
        home.address_file.unlink(missing_ok=True)
        async with (
            _running(home, docker_host, wrap_adapters, policy_directory) as (context, recovered),
            repeating(context.sandboxes.reap, reap_every_s, "reap"),
        ):
            runner = ApiRunner(build_app(context), shutdown_timeout_s=2 * DRAIN_S)
            await runner.setup()
            try:
                await web.SockSite(runner, listen_unix(home.socket), backlog=BACKLOG).start()
                url = "http://localhost" if port is None else await _listen_on_loopback(runner, port)
                address = {"url": url, "engine_version": context.version.engine_version}
                write_private(home.address_file, canonical_bytes(address))
                yield Listening(url, home.socket, context.version.engine_version, recovered)
            finally:
                await context.book.close(DRAIN_S, enough=enough)
                home.address_file.unlink(missing_ok=True)
                await runner.cleanup()
                home.socket.unlink(missing_ok=True)


async def _listen_on_loopback(runner: ApiRunner, port: int) -> str:
    site = web.TCPSite(runner, LOOPBACK, port, backlog=BACKLOG)
    try:
        await site.start()
    except OSError as error:
        detail = f"cannot listen on port {port} ({error.strerror}); choose another port with --port"
        raise EngineError("address_in_use", detail) from error
    return f"http://{LOOPBACK}:{runner.addresses[-1][1]}"


async def serve_until_told(
    home: Home, docker_host: str, *, port: int | None, ready: "asyncio.Future[Listening]"
) -> None:
    """Serve until SIGINT or SIGTERM, then drain executions; a second signal ends them at once."""
    told, enough = asyncio.Event(), asyncio.Event()

    def tell() -> None:
        (enough if told.is_set() else told).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tell)
    async with serve(home, docker_host, port=port, enough=enough) as listening:
        _log.info("serving as process %d", os.getpid())
        with contextlib.suppress(asyncio.InvalidStateError):
            ready.set_result(listening)
        await told.wait()
