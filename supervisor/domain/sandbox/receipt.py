"""The isolation receipt: the observed sandbox compared with the requested one. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.execution.isolation_receipt import (
    Difference,
    GvisorObservation,
    IsolationReceipt,
    LocksObservation,
    MappedObjects,
)
from contracts.wire.canonical import MAX_SAFE_INTEGER, canonical_bytes
from contracts.wire.document import sha256_digest
from contracts.wire.types import IsolationTier
from supervisor.domain.policies.policy import SandboxPolicy
from supervisor.domain.sandbox.escape_evidence import EscapeEvidence
from supervisor.domain.sandbox.gvisor import GvisorFacts
from supervisor.domain.sandbox.locks import ThreadStatus

__all__ = [
    "Expectation",
    "FileFacts",
    "ImageFacts",
    "MountPoint",
    "SandboxFacts",
    "build_receipt",
    "describe_difference",
]

TEXT_MAX = 256
NOT_SEEN = "not seen"
# Read from the control group's files; everything else is read from the process.
GROUP_FIELDS = {"Memory", "MemorySwap", "NanoCpus", "PidsLimit", "control group"}
GROUPS_UNSEEN = (
    "its control group is not to be seen: a supervisor in a container needs the host's control groups "
    "(--cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup)"
)
PROCESS_UNSEEN = "to see everything, the supervisor must be root on the host or have CAP_SYS_PTRACE there"
# Variables that the container engine sets; every other variable comes from the policy or the plan.
ENGINE_VARIABLES = {"PATH", "HOSTNAME"}
# File systems of the kernel, in which no file can be stored. /dev is a tmpfs of the container engine, owned by root and
# closed to the sandbox's user; /dev/null is mounted over single masked files.
KERNEL_FILE_SYSTEMS = {"proc", "devpts", "mqueue", "sysfs", "cgroup", "cgroup2"}
ENGINE_TMPFS = {"/dev", "/sys/fs/cgroup"}
MASK_ROOT = "/null"
# Names of limits in sandbox.toml, and in /proc/PID/limits.
LIMIT_LINES = {
    "core": "Max core file size",
    "fsize": "Max file size",
    "memlock": "Max locked memory",
    "nofile": "Max open files",
    "stack": "Max stack size",
}
# gVisor has its own /proc and /dev, without the host's files, and does not report what it hides of its own. Of a
# process's limits it reports only the one on open files. That the container engine's files (ENGINE_FILES) are only read
# is left to the code of gVisor's file server.
UNOBSERVED: dict[IsolationTier, tuple[str, ...]] = {
    "hardened": (),
    "gvisor": (
        *("MaskedPaths", "ReadonlyPaths", "no shared memory", "lock one", "lock two's program"),
        *("ulimit core", "ulimit fsize", "ulimit memlock", "ulimit stack"),
    ),
}
ENGINE_FILES = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
# Scalars of the container engine that the kernel does not show, or shows under another name.
ENGINE_FIELDS = ("AutoRemove", "CgroupParent", "CgroupnsMode", "IpcMode", "NetworkMode", "Runtime")


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One line of /proc/PID/mountinfo."""

    path: str
    root: str
    file_system: str
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The file system's facts about a file; any write changes them."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """The facts about a sandbox that can be seen from outside; None means that a fact cannot be seen.

    Attributes:
        threads: Every thread of every process.
        engine: The container engine's own view of the container's `HostConfig`.
        control_group: Path of the control group.
        mounts: The file systems.
        present: Watched paths that exist on this kernel, each with the name that a mount there would have.
        interfaces: Names of the network interfaces.
        environment: `NAME=value` lines of the first process.
        limits: Soft and hard limit by the name in /proc/PID/limits; None as a limit means unlimited.
        oom_score_adj: How early the kernel ends the sandbox when memory runs out.
        memory_bytes: Limit on memory.
        memory_and_swap_bytes: Limit on memory and swap together.
        pids_max: Limit on processes and threads.
        cpu_quota_nano: Limit on CPU time, in billionths of a CPU.
        mapped_files: SHA-256, in hexadecimal, of every mapped file except the model; None means not readable.
        model: The model's file as the sandbox sees it.
        gvisor: The reports of both kernels on a gVisor sandbox; None means another tier, or that there are no reports.
    """

    threads: tuple[ThreadStatus, ...]
    engine: Mapping[str, Any]
    control_group: str | None
    mounts: tuple[MountPoint, ...] | None
    present: Mapping[str, str]
    interfaces: tuple[str, ...] | None
    environment: tuple[str, ...] | None
    limits: Mapping[str, tuple[int | None, int | None]] | None
    oom_score_adj: int | None
    memory_bytes: int | None
    memory_and_swap_bytes: int | None
    pids_max: int | None
    cpu_quota_nano: int | None
    mapped_files: Mapping[str, str | None] | None
    model: FileFacts | None
    gvisor: GvisorFacts | None = None


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The contents of a runtime image: SHA-256 of every file, in hexadecimal, and the CPU features it is built for."""

    files: Mapping[str, str]
    ggml_features: frozenset[str]


@dataclass(frozen=True, slots=True)
class Expectation:
    """The sandbox as it should be."""

    config: Mapping[str, Any]
    policy: SandboxPolicy
    image: ImageFacts
    model: FileFacts


def build_receipt(
    facts: SandboxFacts,
    expected: Expectation,
    *,
    tier: IsolationTier,
    locks: LocksObservation | None = None,
    gvisor: GvisorObservation | None = None,
    ggml_features: Iterable[str],
    escape: EscapeEvidence,
) -> IsolationReceipt:
    """Return the observations and every difference from the expectation; the caller refuses if there is any."""
    unobserved = UNOBSERVED[tier]
    reported = ("ggml features", tuple(sorted(expected.image.ggml_features)), tuple(sorted(ggml_features)))
    spared = ENGINE_FILES if tier == "gvisor" else frozenset[str]()
    rows = (*_settings(facts, expected), *_file_systems(facts, expected, spared), *_code(facts, expected), reported)
    mounts = None if facts.mounts is None else sorted(map(_mount_text, facts.mounts))
    mapped = facts.mapped_files
    return IsolationReceipt(
        tier=tier,
        locks=locks,
        gvisor=gvisor,
        mounts_digest=None if mounts is None else sha256_digest(canonical_bytes(mounts)),
        network_interfaces=facts.interfaces,
        cpus_allowed=tuple(sorted({cpu for thread in facts.threads for cpu in thread.cpus_allowed})),
        memory_limit_bytes=None if facts.memory_bytes is None else min(facts.memory_bytes, MAX_SAFE_INTEGER),
        pids_limit=facts.pids_max,
        mapped_objects=None
        if mapped is None
        else MappedObjects(files=len(mapped), digest=sha256_digest(canonical_bytes(dict(mapped)))),
        unobserved=unobserved,
        escape_report=escape.digest,
        escape_reason=escape.reason,
        difference=tuple(
            Difference(field=field, requested=_text(requested), effective=NOT_SEEN if seen is None else _text(seen))
            for field, requested, seen in rows
            if field not in unobserved and (seen is None or seen != requested)
        ),
    )


def describe_difference(receipt: IsolationReceipt) -> str:
    """Return a message that names the differing fields, without their values, which could be long."""
    fields = ", ".join(sorted({each.field for each in receipt.difference}))
    unseen = {each.field for each in receipt.difference if each.effective == NOT_SEEN}
    hints = (
        *([GROUPS_UNSEEN] if unseen & GROUP_FIELDS else []),
        *([PROCESS_UNSEEN] if unseen - GROUP_FIELDS else []),
    )
    return "; ".join((f"the sandbox differs from what was requested: {fields}", *hints))


_Row = tuple[str, Any, Any]


def _settings(facts: SandboxFacts, expected: Expectation) -> Iterator[_Row]:
    host = expected.config["HostConfig"]
    for field in ENGINE_FIELDS:
        yield field, host[field], facts.engine.get(field)
    cpus = sorted({cpu for thread in facts.threads for cpu in thread.cpus_allowed})
    yield "CpusetCpus", host["CpusetCpus"], ",".join(map(str, cpus)) or None
    yield "Memory", host["Memory"], facts.memory_bytes
    yield "MemorySwap", host["MemorySwap"], facts.memory_and_swap_bytes
    yield "PidsLimit", host["PidsLimit"], facts.pids_max
    yield "NanoCpus", host["NanoCpus"], facts.cpu_quota_nano
    yield "OomScoreAdj", host["OomScoreAdj"], facts.oom_score_adj
    yield "network interfaces", ("lo",), facts.interfaces
    yield "control group", True, _is_within(facts.control_group, host["CgroupParent"])
    for limit in host["Ulimits"]:
        seen = None if facts.limits is None else facts.limits.get(LIMIT_LINES[limit["Name"]])
        yield f"ulimit {limit['Name']}", (limit["Soft"], limit["Hard"]), seen
    yield "Env", tuple(sorted(expected.config["Env"])), _own_variables(facts.environment)


def _is_within(path: str | None, parent: str) -> bool | None:
    return None if path is None else parent.strip("/") in path.split("/")[:-1]


def _own_variables(environment: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if environment is None:
        return None
    return tuple(sorted(line for line in environment if line.split("=", 1)[0] not in ENGINE_VARIABLES))


def _file_systems(facts: SandboxFacts, expected: Expectation, spared: frozenset[str]) -> Iterator[_Row]:
    if facts.mounts is None:
        yield "mounts", "seen", None
        return
    policy = expected.policy
    by_path = {mount.path: mount for mount in facts.mounts}
    writable = {mount.path for mount in facts.mounts if _is_writable(mount)}
    yield "writable mounts", (), tuple(sorted(writable - spared))
    model = by_path.get(policy.model_directory)
    wanted = frozenset(policy.model_mount_options)
    yield "model mount", tuple(sorted(wanted)), None if model is None else tuple(sorted(wanted & model.options))
    masked = [path for path in policy.paths.masked if path in facts.present]
    yield "MaskedPaths", tuple(masked), tuple(path for path in masked if facts.present[path] in by_path)
    read_only = [path for path in policy.paths.read_only if path in facts.present]
    covered = (path for path in read_only if "ro" in _options(by_path.get(facts.present[path])))
    yield "ReadonlyPaths", tuple(read_only), tuple(covered)
    yield "no shared memory", True, "/dev/shm" not in by_path  # noqa: S108 - looked for, not used


def _options(mount: MountPoint | None) -> frozenset[str]:
    return frozenset() if mount is None else mount.options


def _is_writable(mount: MountPoint) -> bool:
    if "ro" in mount.options or mount.file_system in KERNEL_FILE_SYSTEMS:
        return False
    return not (mount.file_system == "tmpfs" and (mount.path in ENGINE_TMPFS or mount.root == MASK_ROOT))


def _code(facts: SandboxFacts, expected: Expectation) -> Iterator[_Row]:
    yield "model file", expected.model, facts.model
    if facts.mapped_files is None:
        yield "mapped files", "those of the image", None
        return
    files = expected.image.files
    strange = (path for path, digest in facts.mapped_files.items() if digest is None or files.get(path) != digest)
    yield "mapped files", (), tuple(sorted(strange))


def _mount_text(mount: MountPoint) -> str:
    return f"{mount.path} {mount.file_system} {','.join(sorted(mount.options))}"


def _text(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text[:TEXT_MAX]
