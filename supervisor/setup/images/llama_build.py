"""Compile llama.cpp for one backend, in a container without a network; the result is kept as a tar."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from supervisor.adapters.docker.making import find_processes_max
from supervisor.adapters.files import PUBLIC, cache_key, replaced
from supervisor.adapters.installation.backends import BackendDefinition
from supervisor.adapters.installation.image_inputs import SCRIPT
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_api import (
    BUILD_SILENCE_TIMEOUT_S,
    SETUP_LABELS,
    opened_container_engine,
    remove_if_there,
    removed_at_end,
)
from supervisor.setup.images.sources import Archive

__all__ = [
    "Compilation",
    "build_key",
    "compile_llama",
    "ensure_build",
]

COMPILE_TIMEOUT_S = 5400.0
OPEN_FILES_MAX = 1024
LINES_SHOWN = 15
# ninja: "[12/78] Building CXX object ...".
_NINJA_LINE = re.compile(r"\[(\d+)/(\d+)\] (.*)")


@dataclass(frozen=True)
class Compilation:
    """What is compiled, and how."""

    name: str
    """In the log file's name."""
    title: str
    key: str
    """Equal key, equal result."""
    source_dir: Path
    """The unpacked source archive, `/src` to the script."""
    script: Path
    arguments: Sequence[str]
    toolchain_id: str
    output: str
    """The directory in the container that is kept."""


def build_key(archive: Archive, backend: BackendDefinition, toolchain_id: str, source_root: Path) -> str:
    """Return the key of a compilation: equal key, equal libraries."""
    script = (source_root / "runtime-image" / SCRIPT).read_text(encoding="utf-8")
    return cache_key([archive.sha256, sorted(backend.cmake.items()), toolchain_id, script])


def ensure_build(
    home: Path,
    key: str,
    source_dir: Path,
    backend: BackendDefinition,
    toolchain_id: str,
    source_root: Path,
    progress: Progress,
    docker_host: str,
) -> Path:
    """Return the tar of the compiled libraries (its root is `lib/`).

    Raises:
        SetupError: compile_failed, engine_unreachable or engine_failed.
    """
    artifact = home / "cache" / "builds" / f"{key}.tar"
    if artifact.exists():
        progress.unchanged(f"Compiled llama.cpp for {backend.name}")
        return artifact
    compilation = Compilation(
        name=backend.name,
        title=f"Compiling llama.cpp for {backend.name}",
        key=key,
        source_dir=source_dir,
        script=source_root / "runtime-image" / SCRIPT,
        arguments=backend.cmake_arguments(),
        toolchain_id=toolchain_id,
        output="/out/lib",
    )
    compile_llama(home, compilation, artifact, progress, docker_host)
    return artifact


def compile_llama(home: Path, compilation: Compilation, artifact: Path, progress: Progress, docker_host: str) -> None:
    """Run a script in the toolchain container and keep what it wrote as a tar.

    Raises:
        SetupError: compile_failed, engine_unreachable or engine_failed.
    """
    ccache = home / "cache" / "ccache"
    ccache.mkdir(parents=True, exist_ok=True)
    script = compilation.script
    reason = f"once per source and flags, on {os.cpu_count()} cores; GGML_NATIVE=OFF, the flags say all"
    with (
        progress.step(compilation.title, reason) as step,
        opened_container_engine(docker_host, BUILD_SILENCE_TIMEOUT_S) as client,
    ):
        container_name = f"weos-compile-{cache_key([str(home), compilation.key])[:12]}"
        # What a killed set-up left behind; the home's lock is ours, so it can be nothing else.
        remove_if_there(client, container_name)
        container_id = client.api.create_container(
            compilation.toolchain_id,
            ["sh", f"/script/{script.name}", *compilation.arguments],
            name=container_name,
            labels=SETUP_LABELS,
            network_disabled=True,
            host_config=client.api.create_host_config(
                network_mode="none",
                # Podman would set higher bounds, which a machine without CAP_SYS_RESOURCE may refuse.
                ulimits=[_bound("nofile", OPEN_FILES_MAX), _bound("nproc", find_processes_max())],
                binds=[f"{compilation.source_dir}:/src:ro", f"{script.parent}:/script:ro", f"{ccache}:/ccache"],
            ),
        )["Id"]
        with removed_at_end(client, container_id, COMPILE_TIMEOUT_S):
            _run(client, container_id, home / "log" / f"compile-{compilation.name}.log", step)
            with replaced(artifact, PUBLIC) as temporary, temporary.open("wb") as file:
                for chunk in client.api.get_archive(container_id, compilation.output)[0]:
                    file.write(chunk)


def _bound(name: str, value: int) -> docker.types.Ulimit:
    return docker.types.Ulimit(name=name, soft=value, hard=value)


def _run(client: docker.DockerClient, container_id: str, log: Path, step: Step) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    client.api.start(container_id)
    last: list[str] = []
    with log.open("w", encoding="utf-8") as file:
        for line in _lines(client.api.logs(container_id, stream=True, follow=True)):
            file.write(line + "\n")
            last = [*last[-(LINES_SHOWN - 1) :], line]
            match = _NINJA_LINE.match(line)
            if match:
                step.update(int(match[1]), int(match[2]), match[3].rpartition("/")[2])
    status = client.api.wait(container_id)["StatusCode"]
    if status != 0:
        tail = "\n  ".join(last)
        message = f"compiling ended with status {status}; the whole log is {log}, its last lines:\n  {tail}"
        raise SetupError("compile_failed", message)


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    pending = b""
    for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if pending:
        yield pending.decode("utf-8", "replace")
