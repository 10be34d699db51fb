"""Which container engine answers, and why executions cannot run with it, decided from its own answers. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ContainerEngineDescription", "describe_container_engine", "select_limit_warnings"]

# The component by which Podman's compatible API names itself in `GET /version`; Docker's is "Engine".
PODMAN_COMPONENT = "Podman Engine"
# Podman's own API of this version makes the containers; Podman 4 and 5 have it.
PODMAN_MAJOR_MIN = 4
# Podman starts each container with its own default runtime, whichever is asked for.
PODMAN_RUNTIME = "runc"
# A limit that is dropped is told in these words: "... or the cgroup is not mounted. Limitation discarded.", "Your
# kernel does not support swap limit capabilities ...".
LIMIT_WORDS = ("cgroup", "discarded", "not support")


@dataclass(frozen=True, slots=True)
class ContainerEngineDescription:
    """One container engine, as it describes itself."""

    name: str
    """`Docker` or `Podman`."""
    version: str
    cgroup_driver: str
    """How it names control groups: `cgroupfs` or `systemd`."""
    default_runtime: str
    is_rootless: bool
    cgroup_version: str

    @property
    def is_podman(self) -> bool:
        """Whether containers are made through Podman's own API."""
        return self.name == "Podman"

    @property
    def obstacle(self) -> str | None:
        """Why executions cannot run with it, and what to do; None where they can."""
        if self.is_rootless:
            return f"{self.name} {self.version} runs without root, {self._rootless_reason}. Use the socket of root's"
        if not self.is_podman:
            return None
        if not _is_major_at_least(self.version, PODMAN_MAJOR_MIN):
            return f"Podman {self.version} is older than version {PODMAN_MAJOR_MIN}. Install a newer version, or Docker"
        if self.default_runtime != PODMAN_RUNTIME:
            return (
                f"Podman starts every container with its own runtime, which is {self.default_runtime} here, and the "
                f'policies demand {PODMAN_RUNTIME}. Install it, write runtime = "{PODMAN_RUNTIME}" under '
                "[engine] in /etc/containers/containers.conf and restart Podman's service"
            )
        return None

    @property
    def _rootless_reason(self) -> str:
        if self.cgroup_version == "1":
            return "and on control groups version 1 it can then set no limit"
        return "and the sandbox's user is then another one on the host than the policies name"


def describe_container_engine(version: Mapping[str, Any], info: Mapping[str, Any]) -> ContainerEngineDescription:
    """Return the container engine that gave these answers.

    Args:
        version: its answer to `GET /version`.
        info: its answer to `GET /info`.
    """
    components = {str(each.get("Name")) for each in version.get("Components") or ()}
    return ContainerEngineDescription(
        name="Podman" if PODMAN_COMPONENT in components else "Docker",
        version=str(version.get("Version", "unknown")),
        cgroup_driver=str(info.get("CgroupDriver", "")),
        default_runtime=str(info.get("DefaultRuntime", "")),
        # Podman has a field of its own, Docker a security option.
        is_rootless=bool(info.get("Rootless")) or "name=rootless" in (info.get("SecurityOptions") or ()),
        cgroup_version=str(info.get("CgroupVersion", "unknown")),
    )


def select_limit_warnings(warnings: Iterable[str] | None) -> tuple[str, ...]:
    """Return the warnings by which a container engine says that it drops a limit; others are harmless.

    A limit that is dropped without a word is found too: every limit is read from the kernel before the job is sent.
    """
    return tuple(each for each in warnings or () if any(word in each.lower() for word in LIMIT_WORDS))


def _is_major_at_least(version: str, major: int) -> bool:
    first = version.partition(".")[0]
    return first.isdigit() and int(first) >= major
