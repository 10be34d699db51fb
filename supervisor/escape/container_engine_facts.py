"""The versions that a report names: kernel, container engine and runtime."""

import subprocess
from dataclasses import dataclass

import docker

from supervisor.domain.errors import EngineError

__all__ = ["ContainerEngineFacts", "read_container_engine_facts"]

VERSION_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class ContainerEngineFacts:
    """Versions, as each program reports its own."""

    kernel: str
    container_engine: str
    runtime: str


def read_container_engine_facts(client: docker.APIClient, runtime: str, program: str) -> ContainerEngineFacts:
    """Return the versions, from the container engine or, if it does not know a runtime's version, from the runtime.

    Args:
        client: the client of the container engine.
        runtime: the name under which the containers' runtime is registered.
        program: the runtime's program.

    Raises:
        EngineError: ``escape_failed`` if the runtime does not report its version.
    """
    version = client.version()
    components: dict[str, str] = {each["Name"]: each["Version"] for each in version.get("Components") or ()}
    return ContainerEngineFacts(
        kernel=version["KernelVersion"],
        container_engine=f"{next(iter(components), 'Engine')} {version['Version']}",
        runtime=f"{runtime} {components.get(runtime) or _ask_version(program)}",
    )


def _ask_version(program: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - the program that the container engine itself starts
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True
        )
        return answer.stdout.splitlines()[0].strip()
    except (IndexError, OSError, subprocess.SubprocessError) as error:
        raise EngineError("escape_failed", f"the runtime {program} does not report its version: {error!r}") from error
