"""The container of a supervisor whose user is not root, as the body of the container engine's create call. Pure.

What is observed of a sandbox takes capabilities on the host that only a container can give such a user. The process in
it is that user's all the same, so that every file in the home stays the user's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.domain.errors import EngineError

__all__ = ["HOST_ROOT", "STOP_TIMEOUT_S", "Placing", "User", "build_supervisor_container", "require_socket"]

SUPERVISOR_LABEL = "org.weos.supervisor"
UNIX_SCHEME = "unix://"
# Where the host's /sys, /proc and /etc lie in the container: the container engine hides sensors at their own place.
HOST_ROOT = "/host"
# To write control groups, to end a sandbox, to be told the content of its locks, to place its threads, to look at it.
KEPT = ("DAC_OVERRIDE", "KILL", "SYS_ADMIN", "SYS_NICE", "SYS_PTRACE")
# To become the user; given up by that.
BECOMING = ("SETGID", "SETPCAP", "SETUID")
STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class User:
    """Who the supervisor works for, and in which groups; the first of them is that of new files."""

    user_id: int
    group_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placing:
    """Whose supervisor it is, and where it lies.

    Attributes:
        home: The installation, at the same path in the container: the container engine mounts models by the host's.
        docker_host: The container engine's address.
        user: The home's owner.
        engine_options: The container engine's `SecurityOptions`.
        host_files: The host's files that exist of those that a meter reads.
    """

    home: Path
    docker_host: str
    user: User
    engine_options: frozenset[str]
    host_files: tuple[str, ...] = ("/etc/machine-id",)


def require_socket(docker_host: str) -> Path:
    """Return the container engine's socket, which the container gets.

    Raises:
        EngineError: ``supervisor_unplaceable``, there is none on this machine.
    """
    if not docker_host.startswith(UNIX_SCHEME):
        detail = (
            "this user is not root, so the supervisor runs as a container, which needs the socket of this machine's "
            f"container engine; {docker_host} is none. Unset DOCKER_HOST, or run as root"
        )
        raise EngineError("supervisor_unplaceable", detail)
    return Path(docker_host.removeprefix(UNIX_SCHEME))


def build_supervisor_container(image_id: str, arguments: Sequence[str], placing: Placing) -> dict[str, Any]:
    """Return the body of the create call (Docker Engine API 1.41) for a command of the command line.

    Raises:
        EngineError: ``supervisor_unplaceable``.
    """
    require_socket(placing.docker_host)
    return {
        "Image": image_id,
        "Entrypoint": [*_becoming(placing), "python3", "-m", "supervisor", *arguments],
        "Cmd": [],
        "Env": [
            f"WEOS_HOME={placing.home}",
            f"DOCKER_HOST={placing.docker_host}",
            f"WEOS_HOST_ROOT={HOST_ROOT}",
            "HOME=/tmp",
        ],
        "Labels": {SUPERVISOR_LABEL: str(placing.home)},
        "StopTimeout": STOP_TIMEOUT_S,
        "HostConfig": {
            # Sandboxes are looked at by the host's process numbers and control groups, and the API listens on the
            # host's loopback.
            "PidMode": "host",
            "CgroupnsMode": "host",
            "NetworkMode": "host",
            **({"UsernsMode": "host"} if "name=userns" in placing.engine_options else {}),
            "CapDrop": ["ALL"],
            "CapAdd": [*BECOMING, *KEPT],
            # AppArmor's and SELinux's rules for containers forbid to look at others. The kernel tells the content of a
            # filter only to a process that is under none.
            "SecurityOpt": ["no-new-privileges", "apparmor=unconfined", "label=disable", "seccomp=unconfined"],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": ""},  # noqa: S108 - the container's own
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
            "Mounts": _mounts(placing),
        },
    }


def _becoming(placing: Placing) -> list[str]:
    if any(option.startswith("name=rootless") for option in placing.engine_options):
        # There root in the container is this user outside.
        return []
    # setpriv(1): ambient capabilities survive the change of user and the start of the program.
    kept = ",".join(f"+{name.lower()}" for name in KEPT)
    return [
        "setpriv",
        f"--reuid={placing.user.user_id}",
        f"--regid={placing.user.group_ids[0]}",
        f"--groups={','.join(map(str, placing.user.group_ids))}",
        f"--inh-caps=-all,{kept}",
        f"--ambient-caps=-all,{kept}",
        f"--bounding-set=-all,{kept}",
        "--no-new-privs",
    ]


def _mounts(placing: Placing) -> list[dict[str, Any]]:
    # Bind mounts that are named so must exist, where a volume would be made.
    same = (str(placing.home), str(require_socket(placing.docker_host)), "/sys/fs/cgroup")
    host = ("/sys", "/proc", *placing.host_files)
    return [
        *({"Type": "bind", "Source": path, "Target": path} for path in same),
        *({"Type": "bind", "Source": path, "Target": f"{HOST_ROOT}{path}", "ReadOnly": True} for path in host),
    ]
