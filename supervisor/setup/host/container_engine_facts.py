"""Observes what decides whether executions can work with a container engine, before anything is built with it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.domain.preflight import ContainerEngineFacts, find_engine_obstacle, find_lacking_limits
from supervisor.setup.host.container_engine_api import opened_container_engine
from supervisor.setup.host.machine_facts import is_lxc

__all__ = ["find_container_engine_obstacle", "read_container_engine_facts"]

UNIX_SCHEME = "unix://"


def find_container_engine_obstacle(docker_host: str, home: Path) -> str | None:
    """Return why no execution can work with the container engine at an address; None where nothing stands in the way.

    Raises:
        SetupError: engine_unreachable or engine_failed.
    """
    with opened_container_engine(docker_host) as client:
        info = client.info()
    return find_engine_obstacle(read_container_engine_facts(info, home, is_local=docker_host.startswith(UNIX_SCHEME)))


def read_container_engine_facts(info: Mapping[str, Any], home: Path, *, is_local: bool) -> ContainerEngineFacts:
    """Return the facts.

    Args:
        info: its answer to `GET /info`.
        home: WEOS_HOME.
        is_local: whether its disk is one of this machine.
    """
    root = Path(str(info.get("DockerRootDir") or ""))
    is_built = any((home / "images").glob("cpu_*.json"))
    return ContainerEngineFacts(
        home=str(home),
        root_directory=str(root),
        lacking_limits=find_lacking_limits(info),
        cgroup_version=str(info.get("CgroupVersion") or "1"),
        is_rootless="name=rootless" in (info.get("SecurityOptions") or ()),
        is_lxc=is_lxc(),
        free_bytes=shutil.disk_usage(root).free if is_local and not is_built and root.is_dir() else None,
    )
