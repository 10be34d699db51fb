"""Attacks that look for things to see, read or open in the container beyond what an execution needs."""

import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.escape.inside.tools import ALLOWED, NOTHING, Tools, found, unanimous

__all__ = ["Sights"]

# Mounts that are not read-only; nobody in the container has the right to write there. All others must be read-only.
WRITABLE_MOUNTS = {"/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys/fs/cgroup"}
DEVICES = {
    "/dev/full",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts/ptmx",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
}
# Files of /proc that say nothing about the machine's load or its other users.
PLAIN_FACTS = {"/proc/filesystems", "/proc/version"}
# Files among the kernel's settings that are not settings: counts of the whole machine, and the identity of this boot.
COUNTS = (
    "/proc/sys/fs/dentry-state",
    "/proc/sys/fs/file-nr",
    "/proc/sys/fs/inode-nr",
    "/proc/sys/kernel/random/boot_id",
)
SENSOR = re.compile(r"(energy_uj|(temp|power|energy|curr|in|fan)\d+_(input|average)|temp|(scaling|cpuinfo)_cur_freq)")
OWN_DEPTH = 4
READ_BYTES = 64
NO_EXEC = {"ro", "nosuid", "nodev", "noexec"}
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
RLIMIT_FSIZE, RLIMIT_CORE = 1, 4  # asm-generic/resource.h


class Entry(NamedTuple):
    """One path and its status."""

    path: str
    status: os.stat_result


class Mount(NamedTuple):
    """One line of mountinfo."""

    point: str
    options: frozenset[str]


def _tree(root: str) -> Iterator[Entry]:
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(directory, name)  # noqa: PTH118 - faster, for a hundred thousand paths
            try:
                yield Entry(path, os.lstat(path))
            except OSError:
                continue
        if directory == "/proc":
            # Skips the processes; this process's own directory is examined separately.
            directories[:] = [name for name in directories if not name.isdigit()]


def _readable(path: str) -> bool:
    # Returns whether there is anything to read: a masked path is an empty device or an empty directory.
    try:
        if os.path.isdir(path):  # noqa: PTH112 - faster, for a hundred paths
            return bool(os.listdir(path))  # noqa: PTH208 - likewise
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return bool(os.read(descriptor, READ_BYTES))
    except OSError:
        return False
    finally:
        os.close(descriptor)


class Sights:
    """Names for the expressions of attacks."""

    def __init__(self, facts: dict[str, Any], descriptors: list[str], tools: Tools) -> None:
        self._facts = facts
        self._descriptors = descriptors
        self._tools = tools
        self._entries: list[Entry] = []
        status = Path("/proc/self/status").read_text()
        self._status = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)

    def _everything(self) -> list[Entry]:
        if not self._entries:
            own = f"/proc/{os.getpid()}"
            # In the process's own directory, only the files and the entries of its directories are examined: those of
            # its threads say the same.
            self._entries = [*_tree("/"), *(each for each in _tree(own) if each.path.count("/") <= OWN_DEPTH)]
        return self._entries

    def _files_outside_kernel(self) -> Iterator[Entry]:
        return (each for each in self._everything() if not each.path.startswith(("/proc/", "/sys/", "/dev/")))

    def create_everywhere(self) -> str:
        """Create a file in every directory: as a binary, to fill the disk, or as a message to a later execution."""
        directories = [each.path for each in self._everything() if stat.S_ISDIR(each.status.st_mode)]
        call, here = self._tools.call, Tools.HERE
        return unanimous(
            (path, call("openat", here, os.fsencode(path) + b"/planted", CREATE, 0o700)) for path in ["/", *directories]
        )

    def write_anywhere(self) -> str:
        """Open every file to write, in the way that lock one allows.

        Devices are left out, because they store nothing. The kernel's files about this process are also left out,
        because they end with it.
        """
        own = f"/proc/{os.getpid()}/"
        opened = []
        for entry in self._everything():
            if not stat.S_ISREG(entry.status.st_mode) or entry.path.startswith(own):
                continue
            try:
                os.close(os.open(entry.path, os.O_WRONLY))
            except OSError:
                continue
            opened.append(entry.path)
        return found(opened)

    def writable_mounts(self) -> str:
        """Name mounts that are writable without need."""
        known = WRITABLE_MOUNTS | set(self._facts["masked"])
        return found({each.point for each in self._mounts() if "rw" in each.options and each.point not in known})

    def model_mount(self) -> str:
        """Name the restrictions that the model's mount lacks."""
        where = os.path.dirname(self._facts["model"])  # noqa: PTH120 - a single string
        options = next((each.options for each in self._mounts() if each.point == where), frozenset())
        return found(NO_EXEC - options)

    @staticmethod
    def _mounts() -> list[Mount]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        # proc(5): the fifth field is the mount point, the sixth its options. /proc/net links into this process's own
        # directory.
        fields = [line.split(" ") for line in lines]
        return [Mount(re.sub(r"^/proc/\d+/", "/proc/", each[4]), frozenset(each[5].split(","))) for each in fields]

    def devices(self) -> str:
        """Name device nodes that not every container gets."""
        nodes = (
            each.path
            for each in self._everything()
            if stat.S_ISCHR(each.status.st_mode) or stat.S_ISBLK(each.status.st_mode)
        )
        return found(set(nodes) - DEVICES - set(self._facts["masked"]))

    def privileged_files(self) -> str:
        """Name files that run as another user or group."""
        bits = stat.S_ISUID | stat.S_ISGID
        return found(
            each.path
            for each in self._files_outside_kernel()
            if stat.S_ISREG(each.status.st_mode) and each.status.st_mode & bits
        )

    def changeable_files(self) -> str:
        """Name paths that this user owns or that everybody can write."""
        user = os.getuid()
        return found(
            each.path
            for each in self._files_outside_kernel()
            if not stat.S_ISLNK(each.status.st_mode)
            # The empty directory that hides another is read-only, although everybody has the right to write.
            and each.path not in self._facts["masked"]
            and (each.status.st_uid == user or each.status.st_mode & stat.S_IWOTH)
        )

    def masked_paths(self) -> str:
        """Name paths that should be hidden and are not."""
        return found(path for path in self._facts["masked"] if _readable(path))

    def machine_facts(self) -> str:
        """Name files of /proc that describe the whole machine, including its load and its other users."""
        names = (f"/proc/{name}" for name in os.listdir("/proc") if not name.isdigit())  # noqa: PTH208 - one listing
        # A link there leads to facts about this process only.
        files = [path for path in names if stat.S_ISREG(os.lstat(path).st_mode)]
        return found(path for path in [*files, *COUNTS] if path not in PLAIN_FACTS and _readable(path))

    def sensors(self) -> str:
        """Name counters of energy, heat and clock rate, which are a side channel to everything else that runs."""
        return found(
            each.path
            for each in self._everything()
            if each.path.startswith("/sys/") and SENSOR.fullmatch(each.path.rpartition("/")[2]) and _readable(each.path)
        )

    def control_groups(self) -> str:
        """Open every file of the control groups to write."""
        files = [each.path for each in self._everything() if each.path.startswith("/sys/fs/cgroup/")]
        opened = []
        for path in files:
            try:
                os.close(os.open(path, os.O_WRONLY))
            except OSError:
                continue
            opened.append(path)
        return found(opened)

    def other_processes(self) -> str:
        """Name processes beside this one."""
        listed = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - one listing
        return found(each for each in listed if each != os.getpid())

    def environment(self) -> str:
        """Name variables that the policy does not set, or that have another value."""
        text = Path("/proc/self/environ").read_bytes().decode("utf-8", "replace")
        return found({pair.partition("=")[0] for pair in set(text.split("\0")) - {"", *self._facts["environment"]}})

    def descriptors(self) -> str:
        """Name descriptors that were open at the start, beyond the standard three."""
        return found(name for name in self._descriptors if int(name) > 2)  # noqa: PLR2004 - standard error

    def interfaces(self) -> str:
        """Name network interfaces other than loopback, found in both ways that need no socket."""
        listed = set(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else set()  # noqa: PTH112, PTH208
        try:
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
        except OSError:
            lines = []
        return found((listed | {line.partition(":")[0].strip() for line in lines}) - {"lo"})

    def capabilities(self) -> str:
        """Name sets of capabilities that are not empty."""
        names = [name for name in self._status if name.startswith("Cap")]
        return found(name for name in names if int(self._status[name], 16)) if names else "untold"

    def identity(self) -> str:
        """Name users and groups of this process that the policy does not set."""
        user, _, group = self._facts["user"].partition(":")
        users = set(self._status["Uid"].split()) - {user}
        groups = {*self._status["Gid"].split(), *self._status["Groups"].split()} - {group}
        return found([*(f"user {each}" for each in users), *(f"group {each}" for each in groups)])

    def new_privileges(self) -> str:
        """Return `nothing` if a program cannot gain privileges."""
        told = self._status.get("NoNewPrivs")
        if told is None:
            return "untold"
        return NOTHING if told.strip() == "1" else ALLOWED

    def file_sizes(self) -> str:
        """Name what this process's limits allow to write: files or core dumps."""
        limits = {}
        for name, resource in (("files", RLIMIT_FSIZE), ("cores", RLIMIT_CORE)):
            self._tools.call("prlimit64", 0, resource, 0, self._tools.there)
            limits[name] = struct.unpack_from("<QQ", self._tools.buffer())
        return found(name for name, values in limits.items() if any(values))

    def machine_name(self) -> str:
        """Name the host name if it differs from the policy's."""
        return found({os.uname().nodename} - {self._facts["hostname"]})
