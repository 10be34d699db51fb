"""What a runtime image is made of: the files and settings whose digest is the key of the image."""

from pathlib import Path

from contracts.wire.types import Digest
from supervisor.adapters.files import cache_key, digest_of_file
from supervisor.adapters.installation.backends import BackendDefinition

__all__ = [
    "ASSEMBLER",
    "BASE_REFERENCE",
    "COPIED_PACKAGES",
    "DOCKERFILE",
    "LOCKDOWN_COMPILER",
    "LOCKDOWN_POLICY",
    "SCRIPT",
    "START_FILE",
    "TOOLCHAIN_DOCKERFILE",
    "inputs_key",
]

# debian:bookworm-slim as two independent public Dockerfiles pin it.
BASE_REFERENCE = "debian@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171"
TOOLCHAIN_DOCKERFILE = "toolchain.Dockerfile"
DOCKERFILE = "Dockerfile"
ASSEMBLER = Path("build") / "assemble.py"
LOCKDOWN_COMPILER = Path("build") / "lockdown_compiler.py"
LOCKDOWN_POLICY = Path("policies") / "lockdown.json"
START_FILE = "start.py"
COPIED_PACKAGES = ("runner", "shims")
SCRIPT = Path("build") / "compile.sh"


def inputs_key(source_root: Path, backend: BackendDefinition) -> Digest:
    """Return a digest over all that lies in the repository and goes into a backend's image."""
    definitions = source_root / "runtime-image"
    names = [
        *(
            Path(TOOLCHAIN_DOCKERFILE),
            Path(DOCKERFILE),
            Path("sources.txt"),
            SCRIPT,
            ASSEMBLER,
            LOCKDOWN_COMPILER,
            Path(START_FILE),
        ),
        *sorted(
            path.relative_to(definitions)
            for package in COPIED_PACKAGES
            for path in (definitions / package).glob("*.py")
        ),
    ]
    contents = {str(name): digest_of_file(definitions / name) for name in names}
    lockdown = digest_of_file(source_root / LOCKDOWN_POLICY)
    backend_inputs = [backend.name, sorted(backend.cmake.items()), backend.required_cpu_flags]
    return f"sha256:{cache_key([BASE_REFERENCE, *backend_inputs, contents, lockdown])}"
