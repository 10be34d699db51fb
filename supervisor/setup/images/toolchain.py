"""The toolchain image: the base and Debian's compiler, cmake, ninja, ccache and python3."""

import shutil
import tempfile
from pathlib import Path

from supervisor.adapters.files import cache_key, read_record, write_record
from supervisor.adapters.installation.image_inputs import TOOLCHAIN_DOCKERFILE
from supervisor.console.steps import Progress
from supervisor.setup.host.container_engine_api import (
    BUILD_SILENCE_TIMEOUT_S,
    build_image,
    find_image,
    opened_container_engine,
)
from supervisor.setup.images.base_image import BaseImage

__all__ = ["ensure_toolchain"]


def ensure_toolchain(home: Path, base: BaseImage, source_root: Path, progress: Progress, docker_host: str) -> str:
    """Return the toolchain image's id, built if its inputs changed or the container engine lost it.

    Raises:
        SetupError: image_build_failed, engine_unreachable or engine_failed.
    """
    definition = source_root / "runtime-image" / TOOLCHAIN_DOCKERFILE
    record_path = home / "images" / "toolchain.json"
    key = cache_key([base.image_id, definition.read_text(encoding="utf-8")])
    record = read_record(record_path)
    with opened_container_engine(docker_host, BUILD_SILENCE_TIMEOUT_S) as client:
        if record is not None and record.get("key") == key and find_image(client, str(record.get("image_id"))):
            progress.unchanged("Toolchain image")
            return str(record["image_id"])
        reason = "compiles llama.cpp in a container, so that the host needs no compiler"
        with (
            progress.step("Building the toolchain image", reason) as step,
            tempfile.TemporaryDirectory() as context,
        ):
            shutil.copyfile(definition, Path(context) / TOOLCHAIN_DOCKERFILE)
            arguments = {"BASE": base.image_id}
            image_id = build_image(
                client, Path(context), TOOLCHAIN_DOCKERFILE, arguments, f"weos-toolchain:{key[:12]}", step
            )
    write_record(record_path, {"key": key, "image_id": image_id, "base_image_id": base.image_id})
    return image_id
