"""Stand-ins for the outside world. Each implements a port of the domain; none is ever in the product."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.execution.execution_plan import PlannedModel
from contracts.execution.runner_protocol import DoneEvent, PromptEvent, ReadyEvent, TokenEvent
from contracts.ledger.merkle import hash_leaf, new_nodes, prove_consistency, prove_inclusion, root_of
from contracts.ledger.note import sign_note, verifier_of
from contracts.ledger.proof import Checkpoint, InclusionProof, Leaf, LeafKind, build_leaf
from contracts.ledger.range_proof import RangeProof, build_range_proof
from supervisor.adapters.identity.keys import FileSigner
from supervisor.adapters.ledger.log_identity import LogIdentity
from supervisor.adapters.policies import load_policies
from supervisor.domain.errors import ExecutionFault, Refusal, StorageError
from supervisor.domain.planning.installation import Backend, HostFacts, Installation, InstalledModel
from supervisor.domain.power.energy import select_power_model
from supervisor.domain.records.ports import FinalEntry, LedgerEntry, StartedEntry, StoredRun
from supervisor.domain.sandbox.gvisor import FilterCall, GuestFacts, GvisorFacts, HostProcess
from supervisor.domain.sandbox.isolation import RegisteredRuntime
from supervisor.domain.sandbox.locks import ThreadStatus
from supervisor.domain.sandbox.ports import ExitStatus, LocatedModel, Sandbox
from supervisor.domain.sandbox.receipt import FileFacts, ImageFacts, MountPoint, SandboxFacts
from supervisor.domain.scheduling.topology import Core
from tests.meters import make_metering
from tests.places import REPOSITORY

__all__ = [
    "IMAGE",
    "IMAGE_FACTS",
    "LOCKDOWN_POLICY",
    "MODEL_FILE",
    "READY",
    "FakeLedger",
    "FakeModels",
    "FakeSandbox",
    "FakeSandboxes",
    "HeldRunner",
    "Script",
    "answering",
    "event_line",
    "facts_as_asked",
    "fixed_installation",
    "gvisor_as_asked",
    "make_log",
    "saying",
    "spec_request",
    "thread_under",
]

IMAGE = "sha256:" + "a" * 64
MODEL_SHA256 = "sha256:" + "b" * 64
VERSION = "0.1.0+dev.0123456789ab"


def spec_request(**changes: Any) -> dict[str, Any]:
    """The specification's Run Request for the installed model; keyword arguments replace top-level fields."""
    request = {
        "model": "smollm2-135m-instruct",
        "prompt": "Explique inferência eficiente",
        "execution": {
            "backend": "cpu_avx2",
            "quantization": "q4_1",
            "scheduler_policy": "default",
            "limits": {"max_tokens": 8, "max_watts": 25},
        },
    }
    return request | changes


def fixed_installation(
    *,
    cpus: int = 2,
    processor: str = "AMD EPYC 7763",
    memory_bytes: int = 2**36,
    cores: tuple[Core, ...] | None = None,
) -> Installation:
    """An installation of known content on a machine of known size, with the repository's own policies."""
    policies = load_policies(REPOSITORY / "policies")
    return Installation(
        engine_version=VERSION,
        models=(
            InstalledModel(
                name="smollm2-135m-instruct",
                quantization="q4_1",
                architecture="llama",
                context_length=8192,
                kv_bytes_per_token=23_040,
                sha256=MODEL_SHA256,
                size_bytes=98_362_432,
            ),
        ),
        backends=(
            Backend("cpu_avx2", frozenset({"avx2", "fma"}), IMAGE),
            Backend("cpu_avx512", frozenset({"avx512f"}), IMAGE),
            Backend("cpu_x86_64", frozenset({"sse2"}), None),
        ),
        policies=policies,
        power=make_metering(model=select_power_model(processor, policies.power)).facts(),
        host=HostFacts(
            processor=processor,
            cores=cores or tuple(Core((cpu,)) for cpu in range(cpus)),
            cpu_flags=frozenset({"sse2", "avx2", "fma"}),
            memory_bytes=memory_bytes,
        ),
    )


def event_line(event: ReadyEvent | PromptEvent | TokenEvent | DoneEvent) -> bytes:
    """One event as the runner writes it, without the newline."""
    return event.model_dump_json().encode("ascii")


# A script plays the runner: it gets the sandbox and the index of the line that was sent to it.
Script = Callable[["FakeSandbox", int], Awaitable[None]]

LOCKDOWN_POLICY = load_policies(REPOSITORY / "policies").digests["lockdown.json"]
READY = {
    "type": "ready",
    "protocol": 1,
    "backend": "cpu_avx2",
    "cpu_features": ["AVX2", "FMA"],
    "llama_cpp_version": "0.3.36",
    "model": {"architecture": "llama", "context_length": 8192, "description": "llama 134M Q4_1"},
    "lockdown_policy": LOCKDOWN_POLICY,
}


def answering(texts: list[str], *, finish_reason: str = "eos", delay_s: float = 0.0) -> Script:
    """A well-behaved runner that generates these tokens."""

    async def script(sandbox: "FakeSandbox", line_index: int) -> None:
        if line_index == 0:
            sandbox.say(READY)
        elif line_index == 1:
            sandbox.say({"type": "prompt", "tokens": 5})
            for index, text in enumerate(texts):
                await asyncio.sleep(delay_s)
                sandbox.say({"type": "token", "index": index, "token_id": index, "text": text})
            sandbox.say({"type": "done", "finish_reason": finish_reason, "tokens": len(texts), "text": ""})

    return script


def saying(*events: dict[str, Any] | bytes, first: dict[str, Any] | bytes = READY) -> Script:
    """A runner that says one thing when it has its set-up and these when it has its job, whatever the protocol asks."""

    async def script(sandbox: "FakeSandbox", line_index: int) -> None:
        for event in ((first,), events)[line_index] if line_index < 2 else ():
            sandbox.say(event)

    return script


class HeldRunner:
    """A well-behaved runner that says one token and then waits until it is let go."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def __call__(self, sandbox: "FakeSandbox", line_index: int) -> None:
        """Play the script."""
        if line_index == 0:
            sandbox.say(READY)
        elif line_index == 1:
            sandbox.say({"type": "prompt", "tokens": 5})
            sandbox.say({"type": "token", "index": 0, "token_id": 0, "text": "first"})
            await self.gate.wait()
            sandbox.say({"type": "token", "index": 1, "token_id": 1, "text": " last"})
            sandbox.say({"type": "done", "finish_reason": "eos", "tokens": 2, "text": ""})


def thread_under(filters: int, **changes: Any) -> ThreadStatus:
    """A hardened thread under so many filters; keyword arguments replace fields."""
    none = "0" * 16
    hardened = ThreadStatus((65532,) * 4, (65532,) * 4, True, 2, filters, none, none, (none,) * 3, (0, 1))
    return replace(hardened, **changes)


MODEL_FILE = FileFacts(device=1, inode=2, size_bytes=98_362_432, modified_ns=3, changed_ns=4)
IMAGE_FACTS = ImageFacts(files={"/usr/bin/python3.11": "e" * 64}, ggml_features=frozenset({"AVX2", "FMA"}))


def facts_as_asked(config: Mapping[str, Any], threads: tuple[ThreadStatus, ...]) -> SandboxFacts:
    """What is seen of a container that is exactly what this create body asks for."""
    host = config["HostConfig"]
    cpus = tuple(map(int, host["CpusetCpus"].split(",")))
    read_only = frozenset({"ro"})
    return SandboxFacts(
        threads=tuple(replace(thread, cpus_allowed=cpus) for thread in threads),
        engine=host,
        control_group=f"{host['CgroupParent']}/0123",
        mounts=(
            MountPoint("/", "/", "overlay", read_only),
            MountPoint("/proc", "/", "proc", frozenset({"rw"})),
            MountPoint("/dev", "/", "tmpfs", frozenset({"rw"})),
            MountPoint("/proc/keys", "/null", "tmpfs", frozenset({"rw"})),
            MountPoint("/proc/1/net", "/", "tmpfs", read_only),
            MountPoint("/proc/sys", "/sys", "proc", read_only),
            MountPoint("/model", "/store", "ext4", frozenset({"ro", "nosuid", "nodev", "noexec", "relatime"})),
        ),
        present={"/proc/keys": "/proc/keys", "/proc/net": "/proc/1/net", "/proc/sys": "/proc/sys"},
        interfaces=("lo",),
        environment=("PATH=/usr/bin", "HOSTNAME=sandbox", *config["Env"]),
        limits={
            "Max core file size": (0, 0),
            "Max file size": (0, 0),
            "Max open files": (64, 64),
            "Max locked memory": (65_536, 65_536),
            "Max cpu time": (None, None),
        },
        oom_score_adj=host["OomScoreAdj"],
        memory_bytes=host["Memory"],
        memory_and_swap_bytes=host["MemorySwap"],
        pids_max=host["PidsLimit"],
        cpu_quota_nano=host["NanoCpus"],
        mapped_files=dict(IMAGE_FACTS.files),
        model=MODEL_FILE,
    )


def gvisor_as_asked(**changes: Any) -> GvisorFacts:
    """What both kernels say of a sandbox of gVisor's that is as it should be; keyword arguments replace fields."""
    kernel = thread_under(1, user_ids=(65534,) * 4, cap_effective="0000000000240000")
    server = thread_under(1, user_ids=(0,) * 4, cap_effective="000000000004001f")
    flags = ("--network=none", "--oci-seccomp=true")
    facts = GvisorFacts(
        processes=(
            HostProcess(("runsc-gofer", "--root=/x", *flags, "gofer"), False, True, (server,)),
            HostProcess(("runsc-sandbox", "--root=/x", "--log-fd=3", *flags, "boot", "id"), True, False, (kernel,) * 3),
            HostProcess((), False, False, (kernel,)),
        ),
        guest=GuestFacts((65532,) * 3, (65532,) * 3, ("PATH=/usr/bin",), (64, 64), frozenset()),
        filter_calls=(FilterCall(1, 1, 0, 0),),
    )
    return replace(facts, **changes)


class FakeSandbox:
    """One container; see ``ports.Sandbox``."""

    def __init__(self, container_id: str, image_id: str, script: Script, config: Mapping[str, Any]) -> None:
        self.config = config
        self.changed_facts: dict[str, Any] = {}
        self.guest_fault: ExecutionFault | None = None
        self.container_id = container_id
        self.image_id = image_id
        self.started_ns = time.monotonic_ns()
        self.placed: list[tuple[frozenset[int], bool]] = []
        self.spread_over: tuple[tuple[int, ...], ...] | None = None
        self.is_frozen = False
        self.cannot_be_placed = False
        self.allowed_bytes: int | None = None
        self.exit_status: ExitStatus | None = None
        self.lines: asyncio.Queue[tuple[bytes, int] | ExecutionFault] = asyncio.Queue()
        self.sent: list[bytes] = []
        self.cpu_ns: int | None = 0
        self.quotas: list[int] = []
        self.group_is_gone = False
        self.threads_before: tuple[ThreadStatus, ...] = (thread_under(1),)
        self.locked_later: tuple[ThreadStatus, ...] = ()
        self.threads_after: tuple[ThreadStatus, ...] = (thread_under(2), thread_under(2))
        self._script = script
        self._tasks: list[asyncio.Task[None]] = []

    def say(self, event: dict[str, Any] | bytes) -> None:
        """Write one line."""
        line = event if isinstance(event, bytes) else json.dumps(event).encode("ascii")
        if self.cpu_ns is not None:
            self.cpu_ns += 1_000_000
        self.lines.put_nowait((line, time.monotonic_ns()))

    def end(self, fault: ExecutionFault, status: ExitStatus | None = None) -> None:
        """End by itself."""
        self.exit_status = status
        self.lines.put_nowait(fault)

    async def send(self, line: bytes) -> None:
        """See ``ports.Sandbox``."""
        self.sent.append(line)
        self._tasks.append(asyncio.create_task(self._play(len(self.sent) - 1)))

    async def _play(self, line_index: int) -> None:
        await self._script(self, line_index)

    async def receive(self) -> tuple[bytes, int]:
        """See ``ports.Sandbox``."""
        line = await self.lines.get()
        if isinstance(line, ExecutionFault):
            raise line
        return line

    async def listen(self, take: Callable[[bytes, int], bool]) -> None:
        """See ``ports.Sandbox``."""
        while not take(*await self.receive()):
            pass

    def thread_statuses(self) -> tuple[ThreadStatus, ...]:
        """See ``ports.Sandbox``."""
        return self.threads_after if self.sent else self.threads_before

    def refresh(self, facts: SandboxFacts) -> SandboxFacts:
        """See ``ports.Sandbox``."""
        seen = self._facts()
        return replace(facts, threads=seen.threads, cpu_quota_nano=seen.cpu_quota_nano)

    def _facts(self) -> SandboxFacts:
        facts = facts_as_asked(self.config, self.thread_statuses())
        if self.placed:
            cpus = tuple(sorted(self.placed[-1][0]))
            facts = replace(facts, threads=tuple(replace(thread, cpus_allowed=cpus) for thread in facts.threads))
        return replace(facts, **self.changed_facts)

    def allow_output(self, output_bytes: int) -> None:
        """See ``ports.Sandbox``."""
        self.allowed_bytes = output_bytes

    def place(self, cpus: frozenset[int], *, in_background: bool) -> None:
        """See ``ports.Sandbox``."""
        self._require_placeable()
        self.placed.append((cpus, in_background))

    def spread(self, cores: tuple[tuple[int, ...], ...]) -> None:
        """See ``ports.Sandbox``."""
        self.spread_over = cores

    def freeze(self) -> None:
        """See ``ports.Sandbox``."""
        self._require_placeable()
        self.is_frozen = True

    def thaw(self) -> None:
        """See ``ports.Sandbox``."""
        self._require_placeable()
        self.is_frozen = False

    def _require_placeable(self) -> None:
        if self.cannot_be_placed:
            raise ExecutionFault("limit_unenforceable", "the control group's CPUs cannot be set")

    async def observe(self, model_path: str, watched: tuple[str, ...]) -> SandboxFacts:
        """See ``ports.Sandbox``."""
        del model_path, watched
        return self._facts()

    async def watch_guest(self) -> None:
        """See ``ports.Sandbox``."""
        if self.guest_fault is not None:
            raise self.guest_fault
        self.changed_facts = {"gvisor": gvisor_as_asked()} | self.changed_facts

    def cpu_time_ns(self) -> int | None:
        """See ``ports.Sandbox``."""
        return self.cpu_ns

    def set_cpu_quota(self, nano_cpus: int, period_us: int) -> bool:
        """See ``ports.Sandbox``."""
        assert period_us > 0
        self.quotas.append(nano_cpus)
        return not self.group_is_gone

    def throttling(self) -> tuple[int, int] | None:
        """See ``ports.Sandbox``."""
        return (0, 0) if self.cpu_ns is not None else None

    async def stop(self) -> None:
        """End the script."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class FakeSandboxes:
    """Makes containers that play a script; see ``ports.SandboxPort``."""

    def __init__(self, script: Script) -> None:
        self.cgroup_driver = "cgroupfs"
        self.script = script
        self.up = True
        self.up_for_open = True
        self.on_open: Callable[[FakeSandbox], None] | None = None
        self.image_there = True
        self.before_is_up: Callable[[], Awaitable[object]] | None = None
        self.before_require_image: Callable[[], Awaitable[object]] | None = None
        self.image_id = IMAGE
        self.registered = {"runc": RegisteredRuntime("runc", (), is_installed=True)}
        self.names: list[str] = []
        self.opened: list[FakeSandbox] = []
        self.configs: list[dict[str, Any]] = []
        self.destroyed: list[str] = []
        self.reaped = 0

    async def require_image(self, image_id: str) -> None:
        """See ``ports.SandboxPort``."""
        if self.before_require_image is not None:
            await self.before_require_image()
        if not self.up:
            raise Refusal("engine_unavailable", "the container engine does not answer")
        if not self.image_there:
            raise Refusal("image_missing", f"image {image_id} is not there")

    async def runtimes(self) -> Mapping[str, RegisteredRuntime]:
        """See ``ports.SandboxPort``."""
        if not self.up:
            raise Refusal("engine_unavailable", "the container engine does not answer")
        return self.registered

    async def is_up(self) -> bool:
        """See ``ports.SandboxPort``."""
        if self.before_is_up is not None:
            await self.before_is_up()
        return self.up

    async def reap(self) -> int:
        """See ``ports.SandboxPort``."""
        self.reaped += 1
        return 0

    @asynccontextmanager
    async def open(self, name: str, config: dict[str, Any], *, output_bytes: int) -> AsyncIterator[Sandbox]:
        """See ``ports.SandboxPort``."""
        assert name not in self.names
        assert output_bytes > 0
        self.names.append(name)
        if not self.up or not self.up_for_open:
            raise ExecutionFault("engine_unavailable", "the container engine does not answer")
        sandbox = FakeSandbox(f"{len(self.opened):064x}", self.image_id, self.script, config)
        if self.on_open is not None:
            self.on_open(sandbox)
        self.opened.append(sandbox)
        self.configs.append(config)
        try:
            yield sandbox
        finally:
            # The port promises a clean-up that outlives the cancellation which caused it.
            stopping = asyncio.ensure_future(sandbox.stop())
            while not stopping.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(stopping)
            self.destroyed.append(sandbox.container_id)


class FakeModels:
    """A model store; see ``ports.ModelStorePort``."""

    def __init__(self) -> None:
        self.fault: Refusal | None = None
        self.later_fault: Refusal | None = None

    def locate(self, model: PlannedModel) -> LocatedModel:
        """See ``ports.ModelStorePort``."""
        if self.fault is not None:
            raise self.fault
        self.fault = self.later_fault
        return LocatedModel(f"/models/{model.sha256}", MODEL_FILE)


def make_log(name: str = "weos-engine/ledger/test") -> LogIdentity:
    """A ledger's name and key, made for the test."""
    signer = FileSigner(Ed25519PrivateKey.generate())
    return LogIdentity(verifier_of(name, signer.key), signer, None)


class FakeLedger:
    """A store in memory that can be full; see ``ledger_port.LedgerPort``."""

    def __init__(self) -> None:
        self.started: dict[str, StartedEntry] = {}
        self.final: dict[str, FinalEntry] = {}
        self.full_for_started = False
        self.full_for_final = False
        self.broken_for_started = False
        self.broken_for_final = False
        self.unreadable = False
        self.before_append_started: Callable[[], Awaitable[object]] | None = None
        self.after_append_started: Callable[[], Awaitable[object]] | None = None
        self.before_append_final: Callable[[], Awaitable[object]] | None = None
        self.after_find_by_key: Callable[[], Awaitable[object]] | None = None
        self.misuse: list[str] = []
        self.log = make_log()
        self.entries_written: list[LedgerEntry] = []
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._started_envelopes: dict[str, bytes] = {}

    def _require_room(self, full: bool, broken: bool = False) -> None:
        if full:
            raise StorageError("storage_full", "the ledger cannot be used: disk full")
        if broken:
            message = "a fault that the port does not know"
            raise RuntimeError(message)

    async def append_started(self, entry: StartedEntry) -> int:
        """See ``ledger_port.LedgerPort``."""
        if self.before_append_started is not None:
            await self.before_append_started()
        self._require_room(self.full_for_started, self.broken_for_started)
        self.started[entry.execution_id] = entry
        seq = len(self.started)
        self._append_leaf("started", seq, entry.execution_id, entry.seal(seq))
        if self.after_append_started is not None:
            await self.after_append_started()
        return seq

    async def append_final(self, entry: FinalEntry) -> None:
        """See ``ledger_port.LedgerPort``."""
        if self.before_append_final is not None:
            await self.before_append_final()
        self._require_room(self.full_for_final, self.broken_for_final)
        if entry.execution_id in self.final or entry.execution_id not in self.started:
            self.misuse.append(entry.execution_id)
            message = "a second final record, or one of an execution that was never accepted"
            raise AssertionError(message)
        self.final[entry.execution_id] = entry
        self._append_leaf("final", self._seq(entry.execution_id), entry.execution_id, entry.envelope)

    def _seq(self, execution_id: str) -> int:
        return list(self.started).index(execution_id) + 1

    def _append_leaf(self, kind: LeafKind, seq: int, execution_id: str, envelope: bytes) -> None:
        leaf = build_leaf(kind, seq, execution_id, envelope, None).canonical()
        position = len(self.entries_written)
        self.entries_written.append(LedgerEntry(position, leaf, envelope))
        if kind == "started":
            self._started_envelopes[execution_id] = envelope
        for level, index, node_hash in new_nodes(position, hash_leaf(leaf), self._read):
            self._nodes[level, index] = node_hash

    def _read(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    async def checkpoint(self) -> str:
        """See ``ledger_port.LedgerPort``."""
        self._require_room(self.unreadable)
        size = len(self.entries_written)
        text = Checkpoint(self.log.verifier.name, size, root_of(size, self._read)).text
        return sign_note(text, self.log.verifier, self.log.signer)

    async def prove(self, execution_id: str, kind: LeafKind) -> InclusionProof:
        """See ``ledger_port.LedgerPort``."""
        self._require_room(self.unreadable)
        for entry in self.entries_written:
            leaf = Leaf.parse(entry.leaf)
            if (leaf.execution_id, leaf.kind) == (execution_id, kind):
                hashes = prove_inclusion(entry.position, len(self.entries_written), self._read)
                return InclusionProof(entry.position, tuple(hashes), await self.checkpoint())
        raise Refusal("ledger_entry_not_found", "the ledger has no such entry")

    async def prove_both(self, execution_id: str) -> tuple[InclusionProof, InclusionProof]:
        """See ``ledger_port.LedgerPort``."""
        return await self.prove(execution_id, "started"), await self.prove(execution_id, "final")

    async def prove_consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """See ``ledger_port.LedgerPort``."""
        self._require_room(self.unreadable)
        if not 0 < first <= second <= len(self.entries_written):
            raise Refusal("ledger_range_unknown", "the ledger is not so long")
        return tuple(prove_consistency(first, second, self._read))

    async def prove_range(self, first: int, second: int) -> RangeProof:
        """See ``ledger_port.LedgerPort``."""
        self._require_room(self.unreadable)
        size = len(self.entries_written)
        if not 0 <= first <= second <= size or second == 0:
            raise Refusal("ledger_range_unknown", "the ledger is not so long")

        def find_final(execution_id: str) -> tuple[int, bytes] | None:
            for entry in self.entries_written:
                leaf = Leaf.parse(entry.leaf)
                if (leaf.execution_id, leaf.kind) == (execution_id, "final"):
                    return entry.position, entry.leaf
            return None

        leaves = tuple(entry.leaf for entry in self.entries_written[first:second])
        return build_range_proof(first, leaves, self._read, find_final, note=await self.checkpoint(), size=size)

    async def entries(self, *, start: int, limit: int) -> tuple[LedgerEntry, ...]:
        """See ``ledger_port.LedgerPort``."""
        self._require_room(self.unreadable)
        return tuple(self.entries_written[start : start + limit])

    def _stored(self, entry: StartedEntry) -> StoredRun:
        final = self.final.get(entry.execution_id)
        return StoredRun(
            seq=self._seq(entry.execution_id),
            execution_id=entry.execution_id,
            plan=entry.plan,
            accepted_at=entry.accepted_at,
            request_digest=entry.request_digest,
            started_envelope=self._started_envelopes.get(entry.execution_id, b""),
            outcome=final.outcome if final else None,
            envelope=final.envelope if final else None,
            output=final.output if final else None,
        )

    async def find(self, execution_id: str) -> StoredRun | None:
        """See ``ledger_port.LedgerPort``."""
        self._require_room(self.unreadable)
        entry = self.started.get(execution_id)
        return self._stored(entry) if entry else None

    async def find_by_key(self, idempotency_key: str) -> StoredRun | None:
        """See ``ledger_port.LedgerPort``."""
        self._require_room(self.unreadable)
        found = [entry for entry in self.started.values() if entry.idempotency_key == idempotency_key]
        stored = self._stored(found[0]) if found else None
        if self.after_find_by_key is not None:
            await self.after_find_by_key()
        return stored

    async def page(self, *, before: str | None, limit: int) -> tuple[StoredRun, ...]:
        """See ``ledger_port.LedgerPort``."""
        self._require_room(self.unreadable)
        newest = [self._stored(entry) for entry in reversed(self.started.values())]
        if before is not None:
            ids = [stored.execution_id for stored in newest]
            newest = newest[ids.index(before) + 1 :] if before in ids else []
        return tuple(newest[:limit])

    async def unfinished(self) -> tuple[StoredRun, ...]:
        """See ``ledger_port.LedgerPort``."""
        return tuple(self._stored(e) for e in self.started.values() if e.execution_id not in self.final)
