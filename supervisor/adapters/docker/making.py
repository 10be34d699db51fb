"""Making containers: Docker is asked through its API, Podman through its own, since its compatible API drops fields."""

import hashlib
import logging
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
import requests
from docker.errors import create_api_error_from_http_exception

from supervisor.adapters.files import write_public
from supervisor.adapters.kernel.namespaces import has_own_namespace
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.container_engine import ContainerEngineDescription, select_limit_warnings
from supervisor.domain.sandbox.podman import SECCOMP_OPTION, build_podman_spec, describe_podman_settings

__all__ = ["ContainerMaker", "find_processes_max"]

_log = logging.getLogger(__name__)

# Podman 4 and 5 answer under this version.
PODMAN_API = "/v4.0.0/libpod"
# RLIMIT_NPROC counts the threads of all sandboxes together, since they have one user: this is room for 512.
# The service of Podman 4.3 has this bound itself where it may not have a higher one.
PROCESSES_MAX = 32_768
WARNINGS_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ContainerMaker:
    """Makes containers on one container engine, and reads their settings back."""

    client: docker.APIClient
    engine: ContainerEngineDescription
    profiles: Path
    """Directory for system call filters, which Podman reads from files."""

    def create(self, config: Mapping[str, Any], name: str | None = None) -> str:
        """Create a container without starting it, and return its id.

        Args:
            config: the body of Docker's create call.
            name: its name, None to let the container engine choose it.

        Raises:
            ExecutionFault: ``limit_unenforceable`` if the container engine drops a limit and only warns about it,
                ``isolation_unavailable`` if it cannot make such a container.
            docker.errors.APIError: the container engine refuses.
        """
        created = (
            self._create_by_podman(config, name) if self.engine.is_podman else self._create_by_docker(config, name)
        )
        dropped = select_limit_warnings(created.get("Warnings"))
        if dropped:
            self.client.remove_container(created["Id"], force=True, v=True)
            detail = f"the container engine warns: {'; '.join(dropped)[:WARNINGS_CHARACTERS]}"
            raise ExecutionFault("limit_unenforceable", detail)
        return str(created["Id"])

    def read_settings(self, container_id: str, inspected: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the settings (`HostConfig`) of a running container, in Docker's words.

        Args:
            container_id: the container.
            inspected: the container engine's answer to `GET /containers/ID/json`.
        """
        if not self.engine.is_podman:
            return cast("Mapping[str, Any]", inspected["HostConfig"])
        pid = int(inspected["State"]["Pid"])
        return describe_podman_settings(
            _answer(self.client.get(f"{self.client.base_url}{PODMAN_API}/containers/{container_id}/json")),
            has_own_cgroup_namespace=has_own_namespace(pid, "cgroup"),
            has_own_ipc=has_own_namespace(pid, "ipc"),
        )

    def _create_by_docker(self, config: Mapping[str, Any], name: str | None) -> dict[str, Any]:
        created = self.client.create_container_from_config(config, name)  # type: ignore[no-untyped-call] # stubs lack it
        return cast("dict[str, Any]", created)

    def _create_by_podman(self, config: Mapping[str, Any], name: str | None) -> dict[str, Any]:
        try:
            spec = build_podman_spec(
                config,
                name,
                runtime=self.engine.default_runtime,
                seccomp_file=str(self._write_profile(config["HostConfig"]["SecurityOpt"])),
                processes_max=find_processes_max(),
            )
        except (KeyError, ValueError) as error:
            raise ExecutionFault("isolation_unavailable", f"Podman cannot make this sandbox: {error}") from error
        return _answer(self.client.post(f"{self.client.base_url}{PODMAN_API}/containers/create", json=spec))

    def _write_profile(self, options: list[str]) -> Path:
        profile = next(each for each in options if each.startswith(SECCOMP_OPTION)).removeprefix(SECCOMP_OPTION)
        data = profile.encode("ascii")
        file = self.profiles / f"seccomp-{hashlib.sha256(data).hexdigest()}.json"
        # Read each time: a file that somebody changed would be the filter of the next sandbox.
        if not file.exists() or file.read_bytes() != data:
            write_public(file, data)
        return file


def find_processes_max() -> int:
    """Return a bound on processes (RLIMIT_NPROC) that Podman's service may set as well."""
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    return PROCESSES_MAX if hard == resource.RLIM_INFINITY else min(hard, PROCESSES_MAX)


def _answer(response: requests.Response) -> dict[str, Any]:
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        raise create_api_error_from_http_exception(error) from error
    return cast("dict[str, Any]", response.json())
