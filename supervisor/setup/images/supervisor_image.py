"""The supervisor's own image: the top-level Dockerfile over wheels that the host fetched by hash."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from supervisor.adapters.files import build_lock, cache_key, digest_of_file, read_record, write_record
from supervisor.adapters.identity.engine_version import source_digest
from supervisor.adapters.installation.backends import default_source_root
from supervisor.console.steps import Progress
from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_api import (
    BUILD_SILENCE_TIMEOUT_S,
    build_image,
    find_image,
    opened_container_engine,
)
from supervisor.setup.images.base_image import ensure_base_image

__all__ = ["TAG", "build_supervisor_image"]

TAG = "weos-supervisor:latest"
LOCK_FILE = Path("supervisor") / "requirements-server.lock"
ENGINE_PARTS = ("contracts", "policies", "runtime-image", "supervisor")
FETCH_TIMEOUT_S = 900


def build_supervisor_image(home: Path, progress: Progress, docker_host: str) -> str:
    """Build the image where its inputs changed or the container engine lost it; return its id.

    Raises:
        SetupError: source_fetch_failed, image_build_failed, engine_unreachable or engine_failed.
    """
    root = default_source_root()
    record_path = home / "images" / "supervisor.json"
    with build_lock(home), opened_container_engine(docker_host, BUILD_SILENCE_TIMEOUT_S) as client:
        base = ensure_base_image(home, progress, docker_host)
        files = {name: digest_of_file(root / name) for name in ("Dockerfile", "pyproject.toml", str(LOCK_FILE))}
        key = cache_key([base.image_id, source_digest(root), files])
        record = read_record(record_path)
        if record is not None and record.get("key") == key and find_image(client, str(record.get("image_id"))):
            progress.unchanged("Supervisor image")
            return str(record["image_id"])
        wheels = _fetch_wheels(home, root, progress)
        reason = "the supervisor, to be run in a container of its own"
        with progress.step("Building the supervisor image", reason) as step, tempfile.TemporaryDirectory() as context:
            _fill_context(Path(context), root, wheels)
            image_id = build_image(client, Path(context), "Dockerfile", {"BASE": base.image_id}, TAG, step)
        write_record(record_path, {"key": key, "image_id": image_id})
    return image_id


def _fetch_wheels(home: Path, root: Path, progress: Progress) -> Path:
    digest = digest_of_file(root / LOCK_FILE).removeprefix("sha256:")
    wheels = home / "cache" / "wheels" / digest[:12]
    complete = wheels.with_suffix(".complete")
    if complete.exists():
        return wheels
    command = [
        *(sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"),
        *("--require-hashes", "--no-deps", "--only-binary=:all:", "--dest", str(wheels)),
        # For Debian 12's interpreter; another one may run here.
        *("--python-version", "3.11", "--implementation", "cp", "-r", str(root / LOCK_FILE)),
    ]
    with progress.step("Fetching the supervisor's packages", "by hash, on the host, so that the build needs no index"):
        fetched = subprocess.run(  # noqa: S603 - our own interpreter, fixed arguments
            command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    if fetched.returncode != 0:
        message = (
            f"pip could not fetch the supervisor's packages:\n  {fetched.stderr[-2000:]}\n"
            f"Check that a package index is reachable: {sys.executable} -m pip download --no-deps click"
        )
        raise SetupError("source_fetch_failed", message)
    # The image's build checks the hashes again; this only spares asking the index.
    complete.touch()
    return wheels


def _fill_context(context: Path, root: Path, wheels: Path) -> None:
    shutil.copyfile(root / "Dockerfile", context / "Dockerfile")
    shutil.copytree(wheels, context / "wheels")
    for part in ENGINE_PARTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / part, context / "engine" / part, ignore=ignored)
    shutil.copyfile(root / "pyproject.toml", context / "engine" / "pyproject.toml")
