"""What can be seen of a sandbox of the tier `gvisor`: its processes in the host's /proc, the runner by gVisor's word.

The runner's files are what gVisor's file server, the gofer, has mounted: the image and the model, nothing else. So
mounts, the model and the digests of mapped files are the host's kernel's answers about that process; which files are
mapped, the environment and the limit on open files are gVisor's.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from supervisor.adapters.kernel.cgroup import read_limits
from supervisor.adapters.kernel.container_facts import read_file, read_interfaces, read_mounts, read_oom_score_adj
from supervisor.adapters.kernel.gvisor_trace import Runsc
from supervisor.adapters.kernel.mapped_files import MappedFileReader
from supervisor.adapters.kernel.proc_status import read_group, read_threads
from supervisor.domain.sandbox.gvisor import GuestFacts, GvisorFacts, HostProcess
from supervisor.domain.sandbox.receipt import SandboxFacts

__all__ = ["GvisorGuest", "parse_guest"]

PROCESSES = Path("/proc")
OPEN_FILES = "RLIMIT_NOFILE"
# The name that the same limit has in /proc/PID/limits.
OPEN_FILES_LINE = "Max open files"


class GvisorGuest:
    """One sandbox of gVisor's, whose kernel reports from now on what is asked for in `facts`."""

    def __init__(self, pid: int, container_id: str) -> None:
        """Begin to watch.

        Args:
            pid: the sandbox's first process, which is gVisor's kernel.
            container_id: by which gVisor knows the sandbox.

        Raises:
            ValueError: it is no sandbox of gVisor's.
            OSError: gVisor's kernel cannot be asked.
        """
        self._pid = pid
        self._runsc = Runsc(pid, container_id)
        self._watch = self._runsc.watch_filters()

    def facts(
        self, *, image_id: str, model_path: str, engine: Mapping[str, Any], mapped: MappedFileReader
    ) -> SandboxFacts:
        """Look at the sandbox.

        Args:
            image_id: what it was made from.
            model_path: where it has the model.
            engine: what the container engine says of its `HostConfig`.
            mapped: reads and remembers the digests of mapped files.

        Raises:
            ValueError: a kernel's words cannot be understood.
            OSError: gVisor's kernel cannot be asked.
        """
        processes = dict(_processes(self._pid))
        guest = parse_guest(self._runsc.describe())
        servers = [number for number, process in processes.items() if process.is_in_hosts_user_namespace]
        if len(servers) != 1:
            message = f"gVisor has {len(servers)} processes that open files for it"
            raise ValueError(message)
        kernel, server = PROCESSES / str(self._pid), PROCESSES / str(servers[0])
        limits = read_limits(self._pid)
        return SandboxFacts(
            threads=tuple(thread for process in processes.values() for thread in process.threads),
            engine=engine,
            control_group=limits.path,
            mounts=read_mounts(server),
            present={},
            interfaces=read_interfaces(kernel),
            environment=guest.environment,
            limits={OPEN_FILES_LINE: guest.open_files},
            oom_score_adj=read_oom_score_adj(kernel),
            memory_bytes=limits.memory_bytes,
            memory_and_swap_bytes=limits.memory_and_swap_bytes,
            pids_max=limits.pids_max,
            cpu_quota_nano=limits.cpu_quota_nano,
            mapped_files=mapped.digests(server / "root", guest.mapped_paths - {model_path}, image_id),
            model=read_file(server, model_path),
            gvisor=GvisorFacts(tuple(processes.values()), guest, self._watch.calls()),
        )

    def close(self) -> None:
        """Watch no more."""
        self._watch.close()


def parse_guest(answer: bytes) -> GuestFacts:
    """Return the one process that gVisor's kernel describes.

    Raises:
        ValueError: there are several, or the description is not understood.
    """
    # A line for a person, then one JSON document for each process.
    documents = [line for line in answer.decode("utf-8", "replace").splitlines() if line.startswith(("{", "["))]
    try:
        (document,) = documents
        found = json.loads(document)
        (process,) = found if isinstance(found, list) else [found]
        users, groups = process["status"]["uid"], process["status"]["gid"]
        limit = process["limits"][OPEN_FILES]
        return GuestFacts(
            user_ids=tuple(int(users[name]) for name in ("real", "effective", "saved")),
            group_ids=tuple(int(groups[name]) for name in ("real", "effective", "saved")),
            environment=tuple(map(str, process["env"])),
            open_files=(int(limit["cur"]), int(limit["max"])),
            mapped_paths=frozenset(_paths(process["maps"])),
        )
    except (AttributeError, KeyError, TypeError) as error:
        message = f"gVisor's description of the runner is another than expected ({error})"
        raise ValueError(message) from error


def _paths(maps: list[dict[str, Any]]) -> Iterator[str]:
    for each in maps:
        path = str(each.get("pathname") or "")
        # gVisor's kernel's own have a name in brackets.
        if path and not (path.startswith("[") and path.endswith("]")):
            yield path


def _processes(pid: int) -> Iterator[tuple[int, HostProcess]]:
    own = (PROCESSES / "self" / "ns" / "user").readlink()
    for number in read_group(pid):
        process = PROCESSES / str(number)
        try:
            arguments = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            is_in_hosts_user_namespace = (process / "ns" / "user").readlink() == own
        except FileNotFoundError:
            continue  # It has ended.
        threads = read_threads(number)
        yield number, HostProcess(tuple(arguments), number == pid, is_in_hosts_user_namespace, threads)
