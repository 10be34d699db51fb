"""Which container engine answers, and why executions cannot run with it, decided from its own answers. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ContainerEngineDescription", "describe_container_engine"]

# The component by which Podman's compatible API names itself in `GET /version`; Docker's is "Engine".
PODMAN_COMPONENT = "Podman Engine"
INSTEAD = "Use Docker: name its socket with DOCKER_HOST, or stop Podman's socket and let make setup install Docker"


@dataclass(frozen=True, slots=True)
class ContainerEngineDescription:
    """One container engine, as it describes itself."""

    name: str
    """`Docker` or `Podman`."""
    version: str
    cgroup_driver: str
    """How it names control groups: `cgroupfs` or `systemd`."""

    @property
    def obstacle(self) -> str | None:
        """Why executions cannot run with it, and what to do; None where they can."""
        if self.name == "Podman":
            return f"executions cannot run with Podman {self.version} yet. {INSTEAD}"
        return None


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
    )
