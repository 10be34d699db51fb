"""The conditions of a figure: the machine, the versions, the source tree and the load."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import docker
import psutil

__all__ = ["describe_machine", "load_average", "physical_cores"]

PACKAGES = ("aiohttp", "cryptography", "docker", "pydantic", "pydantic-core")
GIT_TIMEOUT_S = 10


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def physical_cores() -> int:
    """Return the number of cores, SMT siblings counted once: llama.cpp's own default for threads."""
    return psutil.cpu_count(logical=False) or len(os.sched_getaffinity(0))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"


def _git(tree: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(tree), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True)  # noqa: S603 - fixed arguments
    except (OSError, subprocess.SubprocessError):
        # An unpacked archive has no commit.
        return None
    return done.stdout.strip()


def describe_machine(tree: Path, docker_host: str, *, quick: bool) -> dict[str, Any]:
    """Return the conditions that the results must be read with."""
    client = docker.DockerClient(base_url=docker_host)
    try:
        engine = client.info()
    finally:
        client.close()
    status = _git(tree, "status", "--porcelain")
    return {
        "processor": _processor(),
        "logical_cpus": len(os.sched_getaffinity(0)),
        "physical_cores": physical_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "container_engine": engine["ServerVersion"],
        "runc": engine.get("RuncCommit", {}).get("ID"),
        "cgroup": {"driver": engine.get("CgroupDriver"), "version": engine.get("CgroupVersion")},
        "storage_driver": engine.get("Driver"),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _git(tree, "rev-parse", "HEAD"),
        "changed_files": None if status is None else len(status.splitlines()),
        "load_average_at_start": load_average(),
        "quick": quick,
    }
