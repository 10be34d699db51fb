"""Where a container engine may listen, and what its socket says to this user. Needs only the standard library.

The socket is tried before the SDK is used, which leaves its own open when a connection fails; Python then warns.
`python -m supervisor.setup.host.container_engine_address` says, before anything is installed, what set-up cannot help.
"""

import grp
import os
import pwd
import socket
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

__all__ = ["DOCKER_SOCKET", "Reach", "explain_denied", "is_listening", "judge_access", "reach", "usual_addresses"]

DOCKER_SOCKET = Path("/var/run/docker.sock")
PODMAN_SOCKET = Path("/run/podman/podman.sock")
# Below XDG_RUNTIME_DIR: the sockets of container engines that run without root.
ROOTLESS_SOCKETS = (Path("docker.sock"), Path("podman") / "podman.sock")
CONNECT_TIMEOUT_S = 5.0
UNIX_SCHEME = "unix://"


class Reach(Enum):
    """What the address of a container engine says to this user."""

    LISTENING = "listening"
    DENIED = "denied"
    SILENT = "silent"


def reach(docker_host: str) -> Reach:
    """Return whether a Unix socket takes this user's connections; other addresses are left to the SDK."""
    if not docker_host.startswith(UNIX_SCHEME):
        return Reach.LISTENING
    path = Path(docker_host.removeprefix(UNIX_SCHEME))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except PermissionError:
            # In a directory that is closed to this user, as root's Podman has, there may be no socket at all.
            return Reach.DENIED if _group_of(path) else Reach.SILENT
        except OSError:
            return Reach.SILENT
    return Reach.LISTENING


def is_listening(docker_host: str) -> bool:
    """Return whether a Unix socket takes this user's connections; other addresses are left to the SDK."""
    return reach(docker_host) is Reach.LISTENING


def usual_addresses(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return where container engines listen, those that are this user's own before root's Podman."""
    runtime_dir = environment.get("XDG_RUNTIME_DIR")
    own = tuple(Path(runtime_dir) / each for each in ROOTLESS_SOCKETS) if runtime_dir else ()
    return tuple(f"{UNIX_SCHEME}{each}" for each in (DOCKER_SOCKET, *own, PODMAN_SOCKET))


def explain_denied(docker_host: str) -> str:
    """Return why this user may not use a socket, and what to do."""
    path = Path(docker_host.removeprefix(UNIX_SCHEME))
    group, user = _group_of(path), _user_name()
    found = f"a container engine listens at {path}, but this user may not use it"
    if group in {"", "root"}:
        return f"{found}: it is root's alone. Run the command as root, or give the socket a group and join that"
    if user in _members_of(group):
        return f"{found} yet: the membership in group {group} is newer than this login. Run: newgrp {group}"
    return (
        f"{found}: that takes group {group}. Join it: sudo usermod -aG {group} {user}, and then: newgrp {group} "
        "(or log in again)"
    )


def judge_access(environment: Mapping[str, str], user_id: int) -> str:
    """Return why this user cannot have a container engine here, an empty text where that is still open.

    Root can install and start what is missing; every other user needs a container engine that answers.
    """
    if user_id == 0:
        return ""
    named = environment.get("DOCKER_HOST")
    if named and not named.startswith(UNIX_SCHEME):
        return (
            "this user is not root, so the supervisor needs the socket of this machine's container engine, and "
            f"{named}, which DOCKER_HOST names, is none. Unset DOCKER_HOST, or run as root"
        )
    addresses = (named,) if named else usual_addresses(environment)
    reached = {address: reach(address) for address in addresses}
    if Reach.LISTENING in reached.values():
        return ""
    denied = next((address for address, found in reached.items() if found is Reach.DENIED), None)
    if denied:
        return explain_denied(denied)
    if named:
        return f"no container engine answers at {named}, which DOCKER_HOST names. Start it there, or unset DOCKER_HOST"
    return (
        "no container engine answers here, and this user is not root, who could install and start it. As root: "
        f"apt-get install docker.io (or systemctl start docker), usermod -aG docker {_user_name()}; then: newgrp docker"
    )


def _group_of(path: Path) -> str:
    try:
        number = path.stat().st_gid
    except OSError:
        return ""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _members_of(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "$USER"


if __name__ == "__main__":
    obstacle = judge_access(os.environ, os.geteuid())
    sys.exit(f"Set-up stopped: {obstacle}." if obstacle else 0)
