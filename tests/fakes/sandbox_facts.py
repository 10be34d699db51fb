"""What `Sandbox.observe` returns of a container that is as it should be."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from supervisor.domain.sandbox.gvisor import FilterCall, GuestFacts, GvisorFacts, HostProcess
from supervisor.domain.sandbox.locks import ThreadStatus
from supervisor.domain.sandbox.receipt import FileFacts, ImageFacts, MountPoint, SandboxFacts
from tests.fakes.filters import LOCK_TWO

__all__ = ["IMAGE_FACTS", "MODEL_FILE", "facts_as_asked", "gvisor_as_asked", "thread_under"]

MODEL_FILE = FileFacts(device=1, inode=2, size_bytes=98_362_432, modified_ns=3, changed_ns=4)
MAPPED_FILES = {"/usr/bin/python3.11": "e" * 64}
IMAGE_FACTS = ImageFacts(
    files={**MAPPED_FILES, "/opt/weos/lockdown-kill_process.bpf": hashlib.sha256(LOCK_TWO).hexdigest()},
    ggml_features=frozenset({"AVX2", "FMA"}),
)


def thread_under(filters: int, **changes: Any) -> ThreadStatus:
    """A hardened thread under this many filters; keyword arguments replace fields."""
    none = "0" * 16
    hardened = ThreadStatus((65532,) * 4, (65532,) * 4, True, 2, filters, none, none, (none,) * 3, (0, 1))
    return replace(hardened, **changes)


def facts_as_asked(config: Mapping[str, Any], threads: tuple[ThreadStatus, ...]) -> SandboxFacts:
    """Return the facts observed of a container that is exactly what this create body asks for."""
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
            "Max stack size": (67_108_864, 67_108_864),
            "Max cpu time": (None, None),
        },
        oom_score_adj=host["OomScoreAdj"],
        memory_bytes=host["Memory"],
        memory_and_swap_bytes=host["MemorySwap"],
        pids_max=host["PidsLimit"],
        cpu_quota_nano=host["NanoCpus"],
        mapped_files=dict(MAPPED_FILES),
        model=MODEL_FILE,
    )


def gvisor_as_asked(**changes: Any) -> GvisorFacts:
    """Return what both kernels say of a correct gVisor sandbox; keyword arguments replace fields."""
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
