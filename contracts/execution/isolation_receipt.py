"""The isolation receipt: what was observed of one sandbox from outside, field by field."""

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
    """What the kernel said of every thread of the container before the job was sent, read from outside.

    Where one thread had been under fewer locks, or able to do more, the job would not have been sent.
    """

    seccomp_mode: Annotated[int, Field(ge=0, le=2)]
    """Line `Seccomp` of /proc/PID/status; 2: system calls pass through filters."""
    filters_before: Annotated[int, Field(ge=0, le=1024)]
    """Filters before the model was read, the most on any thread; line `Seccomp_filters`."""
    filters_after: Annotated[int, Field(ge=0, le=1024)]
    """Filters when the runner was ready, the fewest on any thread."""
    no_new_privs: bool
    """Line `NoNewPrivs`: no program can gain privileges."""
    cap_eff: _CapabilitySet
    """Line `CapEff`: capabilities in force."""
    cap_bnd: _CapabilitySet
    """Line `CapBnd`: capabilities that could ever be had."""
    uid: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """User, as the host counts them."""
    threads: Annotated[int, Field(ge=1, le=65_536)]
    """Threads that were looked at, of all processes in the container."""


class GvisorObservation(Contract):
    """gVisor as the host's kernel showed it, and the runner as gVisor's kernel told of it, before the job was sent.

    gVisor's kernel is a process of the host's, and the runner's calls end in it. So the host's kernel says what
    gVisor's processes can do, and only gVisor's kernel can say what the runner can. Lock one is put on by gVisor's
    kernel before the runner starts (`--oci-seccomp`); it shows that lock to nobody, so there is no number of it here.
    """

    arguments: Annotated[Many[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=16)]
    """How gVisor's kernel was started, without the places where it keeps its files; read from its process."""
    processes: Annotated[int, Field(ge=1, le=65_536)]
    """Processes of the host's that the sandbox consists of."""
    threads: Annotated[int, Field(ge=1, le=65_536)]
    """Their threads, each of which was looked at."""
    host_filters: Annotated[int, Field(ge=1, le=1024)]
    """System call filters of gVisor's own, the fewest on any thread; line `Seccomp_filters`."""
    no_new_privs: bool
    """Line `NoNewPrivs`, of all threads."""
    kernel_uid: Annotated[int, Field(ge=1, le=2**32 - 1)]
    """User of gVisor's kernel, as the host counts them; it is in a user namespace of its own."""
    file_server_cap_eff: _CapabilitySet
    """Capabilities of the process that opens files for gVisor's kernel; it is the host's root, in a mount namespace
    with the image and the model alone."""
    guest_uid: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """User of the runner, as gVisor's kernel counts them."""
    guest_filters: Annotated[int, Field(ge=1, le=1024)]
    """Filters that the runner put on all its threads between its set-up and `ready`, by gVisor's kernel's report of
    each such call and its success: lock two."""


class MappedObjects(Contract):
    """The files that the running runner had mapped, each held against the image's manifest."""

    files: Annotated[int, Field(ge=0, le=65_536)]
    """Their number, without the model's."""
    digest: Digest
    """SHA-256 over the RFC 8785 form of an object: path to hexadecimal SHA-256 of the file's bytes. Equal for every
    execution of one image."""


class Difference(Contract):
    """One thing that was not as it was asked for."""

    field: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """The container engine's name for it, or ours."""
    requested: Annotated[str, StringConstraints(max_length=256)]
    """What was asked for."""
    effective: Annotated[str, StringConstraints(max_length=256)]
    """What was observed; `not seen` where it could not be observed."""


class IsolationReceipt(Contract):
    """The sandbox as it was observed from outside, after the model was loaded and before the job was sent.

    In a warm start threads, CPUs and their limit were looked at when it was leased, everything else when it had become
    ready: its second lock lets it change nothing of that.
    """

    tier: IsolationTier
    """Isolation tier."""
    locks: LocksObservation | None
    """Both locks, in tier `hardened`; null: they were not found, and the record's reason says so."""
    gvisor: GvisorObservation | None
    """What was seen of gVisor, in tier `gvisor`; null: another tier, or not what it should be (see the reason)."""
    mounts_digest: Digest | None
    """SHA-256 over the RFC 8785 form of the sorted list of mounts: `path type options`. Equal for every execution on
    one installation. null: not seen."""
    network_interfaces: Many[Annotated[str, StringConstraints(max_length=64)]] | None
    """Interfaces of its network namespace; null: not seen."""
    cpus_allowed: Many[Annotated[int, Field(ge=0, le=4095)]]
    """Logical CPUs that its threads could run on."""
    memory_limit_bytes: Count | None
    """Limit of its control group; null: not seen."""
    pids_limit: Count | None
    """Processes and threads that its control group allowed; null: not seen."""
    mapped_objects: MappedObjects | None
    """Code that ran; null: not seen."""
    unobserved: Annotated[Many[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=64)]
    """What was asked for and can be seen from outside nowhere in this tier: gVisor alone vouches for it. Empty in tier
    `hardened`, where everything is seen."""
    escape_report: Digest | None
    """Digest of the escape suite's report on this very image, policies, engine version, tier and kernel, in which every
    attack was blocked; null: there is none."""
    escape_reason: Annotated[str, StringConstraints(max_length=256)] | None
    """Why there is none."""
    difference: Annotated[Many[Difference], Field(max_length=64)]
    """What was not as asked for. Where it is not empty the job was not sent."""
