"""The isolation receipt: what the supervisor observed of one sandbox from outside, field by field."""

from typing import Annotated

from pydantic import Field, StringConstraints

from contracts.wire.document import Contract, Many
from contracts.wire.types import Count, Digest, IsolationTier

__all__ = [
    "Difference",
    "GvisorObservation",
    "IsolationReceipt",
    "LocksObservation",
    "MappedObjects",
]


_CapabilitySet = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class LocksObservation(Contract):
    """The kernel's report on every thread of the container, read from outside before the job was sent.

    The job is sent only if every thread is under all locks and has no more rights than it should.
    """

    seccomp_mode: Annotated[int, Field(ge=0, le=2)]
    """Line `Seccomp` of /proc/PID/status; 2: system calls are filtered."""
    filters_before: Annotated[int, Field(ge=0, le=1024)]
    """System call filters before the model was loaded: the highest number on any thread (line `Seccomp_filters`)."""
    filters_after: Annotated[int, Field(ge=0, le=1024)]
    """System call filters once the runner was ready: the lowest number on any thread."""
    no_new_privs: bool
    """Line `NoNewPrivs`; true: no program can gain privileges."""
    cap_eff: _CapabilitySet
    """Line `CapEff`: the effective capabilities, as a hexadecimal bit mask."""
    cap_bnd: _CapabilitySet
    """Line `CapBnd`: the capabilities that could ever be gained, as a hexadecimal bit mask."""
    uid: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """User id of the threads on the host."""
    threads: Annotated[int, Field(ge=1, le=65_536)]
    """Number of threads examined, in all processes of the container."""
    programs: Annotated[Many[Digest], Field(min_length=1, max_length=64)] | None
    """SHA-256 of the program of each filter, the newest first, as the kernel handed it out; equal on every thread. The
    first is lock two's program, which the image's manifest lists. The last is lock one as the container engine compiled
    it: the supervisor ran it for every system call, and it answered as `seccomp.json` says.
    null: the kernel hands out no program to this supervisor, which lacks SYS_ADMIN on the host or is under a filter of
    its own; then the filters were counted only."""


class GvisorObservation(Contract):
    """gVisor as the host's kernel reports it, and the runner as gVisor's kernel reports it, before the job was sent.

    gVisor's kernel is a process of the host, and the runner's system calls end in it. The host's kernel can say what
    gVisor's processes may do; only gVisor's kernel can say what the runner may do. gVisor's kernel puts lock one on the
    runner before it starts (`--oci-seccomp`). It reports that lock to nobody, so no field shows it.
    """

    arguments: Annotated[Many[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=16)]
    """Arguments of gVisor's kernel process, without the paths of its own files."""
    processes: Annotated[int, Field(ge=1, le=65_536)]
    """Number of host processes that the sandbox consists of."""
    threads: Annotated[int, Field(ge=1, le=65_536)]
    """Number of threads in those processes; every one was examined."""
    host_filters: Annotated[int, Field(ge=1, le=1024)]
    """System call filters that gVisor puts on itself: the lowest number on any thread (line `Seccomp_filters`)."""
    no_new_privs: bool
    """Line `NoNewPrivs`; true: no thread can gain privileges."""
    kernel_uid: Annotated[int, Field(ge=1, le=2**32 - 1)]
    """User id of gVisor's kernel on the host; the process has a user namespace of its own."""
    file_server_cap_eff: _CapabilitySet
    """Effective capabilities, as a hexadecimal bit mask, of the process that opens files for gVisor's kernel. That
    process is root on the host, in a mount namespace that holds only the image and the model."""
    guest_uid: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """User id of the runner inside gVisor."""
    guest_filters: Annotated[int, Field(ge=1, le=1024)]
    """System call filters that the runner put on all its threads between set-up and `ready`: lock two. gVisor's kernel
    reports each of these calls and its success."""


class MappedObjects(Contract):
    """The files that the runner had mapped into memory, each compared with the image's manifest."""

    files: Annotated[int, Field(ge=0, le=65_536)]
    """Number of those files, without the model file."""
    digest: Digest
    """SHA-256 of the RFC 8785 form of an object that maps each path to the hexadecimal SHA-256 of the file's bytes. It
    is equal for every execution of one image."""


class Difference(Contract):
    """One setting of the sandbox that was not as requested."""

    field: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Name of the setting, the container engine's or ours."""
    requested: Annotated[str, StringConstraints(max_length=256)]
    """The requested value."""
    effective: Annotated[str, StringConstraints(max_length=256)]
    """The observed value; `not seen`: it could not be observed."""


class IsolationReceipt(Contract):
    """The sandbox as observed from outside, after the model was loaded and before the job was sent.

    In a warm start, threads, CPUs and their limit were observed when the sandbox was given to the execution. Everything
    else was observed earlier, when the sandbox became ready: its lock two lets it change nothing of that.
    """

    tier: IsolationTier
    """Isolation tier of the sandbox."""
    locks: LocksObservation | None
    """Observation of both locks in tier `hardened`; null: they were not found (the record's `reason` says so), or
    another tier."""
    gvisor: GvisorObservation | None
    """Observation of gVisor in tier `gvisor`; null: gVisor was not as it should be (the record's `reason` says so), or
    another tier."""
    mounts_digest: Digest | None
    """SHA-256 of the RFC 8785 form of the sorted list of mounts, each as `path type options`. It is equal for every
    execution on one installation. null: not observed."""
    network_interfaces: Many[Annotated[str, StringConstraints(max_length=64)]] | None
    """Network interfaces in the sandbox; null: not observed."""
    cpus_allowed: Many[Annotated[int, Field(ge=0, le=4095)]]
    """Numbers of the logical CPUs on which the sandbox's threads may run."""
    memory_limit_bytes: Count | None
    """Memory limit of the sandbox's control group, in bytes; null: not observed."""
    pids_limit: Count | None
    """Maximum number of processes and threads in the sandbox's control group; null: not observed."""
    mapped_objects: MappedObjects | None
    """The code that the runner executed; null: not observed."""
    unobserved: Annotated[Many[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=64)]
    """Names of requested settings that nothing outside the sandbox can show in this tier: only gVisor vouches for them.
    Empty in tier `hardened`, where every setting is observed."""
    escape_report: Digest | None
    """Digest of the escape report on exactly this image, policies, engine version, tier and kernel, if every attack in
    it was blocked; null: there is no such report."""
    escape_reason: Annotated[str, StringConstraints(max_length=256)] | None
    """Why there is no such report; null: there is one."""
    difference: Annotated[Many[Difference], Field(max_length=64)]
    """Settings that were not as requested. Unless it is empty, the job was not sent."""
