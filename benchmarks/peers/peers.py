"""The peers of the comparison: llama-bench and llama-server, compiled from the pinned source archive."""

import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from supervisor.adapters.files import build_lock, cache_key
from supervisor.adapters.installation.backends import BackendDefinition, default_source_root, require_backend
from supervisor.console.steps import Progress
from supervisor.setup.images.base_image import ensure_base_image
from supervisor.setup.images.llama_build import Compilation, compile_llama
from supervisor.setup.images.runtime_image import SOURCE_NAME
from supervisor.setup.images.sources import fetch_archive, parse_archives, unpack_source
from supervisor.setup.images.toolchain import ensure_toolchain
from supervisor.setup.images.unpacking import unpack_files

__all__ = ["Peers", "ensure_peers", "peer_definition"]

SCRIPT = Path(__file__).with_name("compile_peers.sh")
# Added to the backend's own settings, to build the two programs.
PROGRAMS = {
    "LLAMA_BUILD_COMMON": "ON",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    # Its web pages would be downloaded; the server's API works without them.
    "LLAMA_USE_PREBUILT_UI": "OFF",
}


@dataclass(frozen=True, slots=True)
class Peers:
    """The two programs, with the libraries that they are linked to."""

    directory: Path
    toolchain_id: str

    def command(self, program: str) -> list[str]:
        """Return the command of a program, by the loader of its own C library, since the host's may be older."""
        library = self.directory / "lib"
        loader = str(library / "ld-linux-x86-64.so.2")
        return [loader, "--library-path", str(library), str(self.directory / program)]


def peer_definition(backend: BackendDefinition) -> BackendDefinition:
    """Return the backend's settings with the two programs switched on; settings that affect the code stay."""
    return backend.model_copy(update={"cmake": {**backend.cmake, **PROGRAMS}})


def ensure_peers(home: Path, backend: str, progress: Progress, docker_host: str) -> Peers:
    """Return the peers of a backend, compiled if their source, settings or compiler changed.

    Raises:
        SetupError: a step failed; the message says how to fix it.
    """
    root = default_source_root()
    definition = peer_definition(require_backend(root, backend))
    archive = parse_archives((root / "runtime-image" / "sources.txt").read_text(encoding="utf-8"))[SOURCE_NAME]
    with build_lock(home):
        toolchain_id = ensure_toolchain(
            home, ensure_base_image(home, progress, docker_host), root, progress, docker_host
        )
        key = cache_key(
            [archive.sha256, sorted(definition.cmake.items()), toolchain_id, SCRIPT.read_text(encoding="utf-8")]
        )
        directory = home / "benchmarks" / "peers" / key
        if directory.exists():
            progress.unchanged(f"llama-bench and llama-server for {backend}")
            return Peers(directory, toolchain_id)
        file = fetch_archive(home, archive, "llama.cpp, the peer of the benchmarks", progress)
        compilation = Compilation(
            name=f"peers-{backend}",
            title=f"Compiling llama-bench and llama-server for {backend}",
            key=key,
            source_dir=unpack_source(home, archive, file, progress),
            script=SCRIPT,
            arguments=definition.cmake_arguments(),
            toolchain_id=toolchain_id,
            output="/out/peers",
        )
        _keep(home, compilation, directory, progress, docker_host)
    return Peers(directory, toolchain_id)


def _keep(home: Path, compilation: Compilation, directory: Path, progress: Progress, docker_host: str) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        artifact = Path(name) / "peers.tar"
        compile_llama(home, compilation, artifact, progress, docker_host)
        with tarfile.open(artifact) as tar:
            unpack_files(tar, Path(name) / "unpacked")
        # Whole or not at all: it gets its name only when it is complete.
        shutil.move(Path(name) / "unpacked" / "peers", directory)
