"""What a report says of the ground it stands on: kernel, container engine and runtime."""

import subprocess
from dataclasses import dataclass

import docker

from supervisor.domain.errors import EngineError

__all__ = ["ContainerEngineFacts", "read_container_engine_facts"]

VERSION_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class ContainerEngineFacts:
    """Versions, in their own words."""

    kernel: str
    container_engine: str
    runtime: str


def read_container_engine_facts(client: docker.APIClient, runtime: str, program: str) -> ContainerEngineFacts:
    """Ask the container engine, and a runtime that it has no word about itself.

    Args:
        client: the engine.
        runtime: the name under which the containers' runtime is registered.
        program: the runtime's program.

    Raises:
        EngineError: ``escape_failed``, the runtime does not say its version.
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
        answer = subprocess.run(  # noqa: S603 - the program that the engine itself starts
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True
        )
        return answer.stdout.splitlines()[0].strip()
    except (IndexError, OSError, subprocess.SubprocessError) as error:
        raise EngineError("escape_failed", f"the runtime {program} does not say its version: {error!r}") from error
