"""Why nothing can be executed on a machine, told before anything is fetched or compiled. Pure, standard library only.

`supervisor.bootstrap` asks before any package is installed. Each answer is a sentence that says what to do.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "ContainerEngineFacts",
    "MachineFacts",
    "find_engine_obstacle",
    "find_lacking_limits",
    "find_machine_obstacle",
]

GB = 10**9
# Measured with `du` after `make test` in 2026-11: 0.5 GB environment, 0.4 GB sources and libraries, 0.4 GB clients of
# the tests, 0.1 GB model. The container engine held 0.8 GB of images, and the compilation needs room beside them.
HOME_BYTES = 2 * GB
REST_OF_HOME_BYTES = 1 * GB
IMAGES_BYTES = 2 * GB
# What a path may consist of. A space splits the words of scripts, a colon those of mounts, and names beyond ASCII are
# spelled differently by the kernel, the container engine and the programs in between.
PATH_CHARACTERS = frozenset(string.ascii_letters + string.digits + "/._-+@~=")
PROCESSORS = {"x86_64", "amd64"}
SNAP_DATA = "/var/snap/"
# Limits of an execution, and the container engine's field that says whether its kernel supports them.
LIMIT_SUPPORT = {
    "memory": "MemoryLimit",
    "swap": "SwapLimit",
    "processes": "PidsLimit",
    "CPU set": "CPUSet",
    "CPU time": "CpuCfsQuota",
}
DELEGATION = (
    "delegate the controllers to your user: write '[Service]' and 'Delegate=cpu cpuset io memory pids' into "
    "/etc/systemd/system/user@.service.d/delegate.conf, then systemctl daemon-reload and log in again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What is known of a machine before anything is installed."""

    system: str
    """As `uname -s` says it: `Linux`."""
    processor: str
    """As `uname -m` says it: `x86_64`."""
    home: str
    """WEOS_HOME."""
    checkout: str
    is_read_only: bool
    """Whether the file system of the home takes no files."""
    is_writable: bool
    """Whether this user may write there."""
    runs_programs: bool
    """Whether the file system of the home lets programs run: it is not mounted noexec."""
    free_bytes: int
    """Room on the disk of the home."""
    needed_bytes: int
    """Room that set-up will still need there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEngineFacts:
    """What is known of a container engine before anything is built with it."""

    home: str
    """WEOS_HOME."""
    root_directory: str
    """Where it keeps its images."""
    lacking_limits: tuple[str, ...]
    """Limits of an execution that its kernel does not support."""
    cgroup_version: str
    is_rootless: bool
    is_lxc: bool
    """Whether the machine is itself an LXC container."""
    free_bytes: int | None
    """Room on the disk of its images; None: its images are on another machine, or built already."""


def find_machine_obstacle(facts: MachineFacts) -> str | None:
    """Return why set-up cannot work here, and what to do; None where nothing stands in the way."""
    if facts.system != "Linux" or facts.processor not in PROCESSORS:
        return (
            f"this is {facts.system} on {facts.processor or 'an unnamed processor'}, and the runtime images contain "
            "Linux programs for 64-bit x86; use a Linux machine with such a processor"
        )
    for what, path, how in (
        ("WEOS_HOME", facts.home, "choose another one: export WEOS_HOME=/var/lib/weos"),
        ("the checkout", facts.checkout, "move it to another place"),
    ):
        strange = sorted(set(path) - PATH_CHARACTERS)
        if strange:
            named = " ".join("a space" if each == " " else repr(each) for each in strange)
            return f"the path of {what}, {path!r}, contains {named}: scripts and mounts would misread it; {how}"
    return _find_home_obstacle(facts)


def _find_home_obstacle(facts: MachineFacts) -> str | None:
    how = "choose another place: export WEOS_HOME=/path"
    if facts.is_read_only:
        return f"the file system of {facts.home} is read-only, and everything of the installation goes there; {how}"
    if not facts.is_writable:
        return f"this user may not write to {facts.home}, and everything of the installation goes there; {how}"
    if not facts.runs_programs:
        return f"the file system of {facts.home} is mounted noexec, so no program runs from there; {how}"
    if facts.free_bytes < facts.needed_bytes:
        return f"{_too_full(facts.home, facts.free_bytes, facts.needed_bytes)}; make room, or {how}"
    return None


def find_lacking_limits(info: Mapping[str, object]) -> tuple[str, ...]:
    """Return the limits of an execution that a container engine does not support, from its answer to `GET /info`."""
    return tuple(name for name, field in LIMIT_SUPPORT.items() if not info.get(field))


def find_engine_obstacle(facts: ContainerEngineFacts) -> str | None:
    """Return why no execution can work with a container engine, and what to do; None where nothing is in the way."""
    if facts.root_directory.startswith(SNAP_DATA) and not _is_seen_by_snap(facts.home):
        return (
            f"this Docker is a snap, which sees neither hidden folders nor folders outside /home, so it cannot mount "
            f"{facts.home}; export WEOS_HOME=/home/$USER/weos, or replace the snap by the distribution's docker.io"
        )
    if facts.lacking_limits:
        lacking = ", ".join(facts.lacking_limits)
        return f"the container engine cannot limit {lacking}, so executions would be refused; {_remedy(facts)}"
    if facts.free_bytes is not None and facts.free_bytes < IMAGES_BYTES:
        full = _too_full(facts.root_directory, facts.free_bytes, IMAGES_BYTES)
        return f"{full} for images; make room (docker system prune), or move the container engine's data-root"
    return None


def _too_full(place: str, free_bytes: int, needed_bytes: int) -> str:
    return f"the disk of {place} has {free_bytes / GB:.1f} GB left, and set-up needs {needed_bytes / GB:.1f} GB there"


def _is_seen_by_snap(path: str) -> bool:
    _, top, *rest = path.split("/")
    return top == "home" and not any(name.startswith(".") for name in rest)


def _remedy(facts: ContainerEngineFacts) -> str:
    if facts.is_lxc:
        return (
            "this machine is an LXC container: let it have control groups of its own (LXD: security.nesting=true, "
            "Proxmox: features nesting=1), or use a virtual machine"
        )
    if facts.is_rootless:
        return DELEGATION
    if facts.cgroup_version == "1" and set(facts.lacking_limits) <= {"memory", "swap"}:
        return "add cgroup_enable=memory swapaccount=1 to the kernel's command line (GRUB_CMDLINE_LINUX) and restart"
    return "use a kernel with the controllers memory, pids, cpu and cpuset; docker info names what is missing"
