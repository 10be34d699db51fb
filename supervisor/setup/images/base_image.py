"""The base root filesystem: Debian's official slim image by digest, else the same release by debootstrap."""

import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import docker
import requests

from supervisor.adapters.files import cache_key, read_record, write_record
from supervisor.adapters.installation.image_inputs import BASE_REFERENCE
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_api import (
    BUILD_SILENCE_TIMEOUT_S,
    SETUP_LABELS,
    find_image,
    inspect_image,
    opened_container_engine,
)
from supervisor.setup.host.programs import find_program, run_command
from supervisor.setup.images.contained_debootstrap import bootstrap_in_container

__all__ = ["BaseImage", "ensure_base_image", "read_import"]
RELEASE = "bookworm"
# Without --force-check-gpg, debootstrap goes on unchecked where Debian's keys are missing.
BOOTSTRAP_OPTIONS = ("--variant=minbase", "--force-check-gpg")
BOOTSTRAP_PACKAGES = ("debootstrap", "debian-archive-keyring", "gpgv")
LOCAL_REPOSITORY = "weos-base"
# A registry that exists answers at once; this is its longest silence.
PULL_SILENCE_TIMEOUT_S = 30
BOOTSTRAP_TIMEOUT_S = 1200
INSTALL_TIMEOUT_S = 600
# debootstrap --variant=minbase printed this many lines for bookworm.
BOOTSTRAP_LINES = 459
PATH_SETTING = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The host's own, or of no use in an image.
LEFT_OUT = ("dev/", "proc/", "sys/", "var/cache/apt/", "var/lib/apt/lists/", "var/log/")
LEFT_OUT_FILES = ("etc/resolv.conf", "etc/hostname", "etc/hosts", "etc/machine-id")


@dataclass(frozen=True)
class BaseImage:
    """The base image and where it came from: `registry` or `debootstrap`."""

    image_id: str
    origin: str
    reference: str
    release: str


def ensure_base_image(home: Path, progress: Progress, docker_host: str) -> BaseImage:
    """Return the base image, pulled or made if it is not there.

    Raises:
        SetupError: base_image_failed, engine_unreachable or engine_failed.
    """
    record_path = home / "images" / "base.json"
    key = cache_key([BASE_REFERENCE, RELEASE])
    record = read_record(record_path)
    with opened_container_engine(docker_host, BUILD_SILENCE_TIMEOUT_S) as client:
        if record is not None and record.get("key") == key and find_image(client, str(record.get("image_id"))):
            progress.unchanged("Base image")
            return BaseImage(
                str(record["image_id"]),
                str(record["origin"]),
                str(record["reference"]),
                str(record["release"]),
            )
        base = _pull(client, docker_host, progress) or _bootstrap(home, client, progress)
    write_record(record_path, {"key": key, **asdict(base)})
    return base


def _pull(client: docker.DockerClient, docker_host: str, progress: Progress) -> BaseImage | None:
    reason = "Debian 12, of which the runtime image takes python3 and its libraries"
    with progress.step("Pulling the official Debian 12 slim image", reason) as step:
        hurried = docker.APIClient(base_url=docker_host, timeout=PULL_SILENCE_TIMEOUT_S)
        try:
            for event in hurried.pull(BASE_REFERENCE, stream=True, decode=True):
                _show_pull(event, step)
            image_id = str(inspect_image(client, BASE_REFERENCE)["Id"])
        except (docker.errors.DockerException, requests.RequestException, _PullError) as error:
            step.note(f"no registry has it ({_first_line(error)}); using Debian's packages")
            return None
        finally:
            hurried.close()
    return BaseImage(image_id, "registry", BASE_REFERENCE, _release_of(client, image_id))


class _PullError(Exception):
    """The registry's refusal, which comes as an event of a successful answer."""


def _show_pull(event: dict[str, object], step: Step) -> None:
    if "error" in event:
        raise _PullError(str(event["error"]))
    detail = event.get("progressDetail")
    if isinstance(detail, dict) and detail.get("total"):
        step.update(float(detail.get("current", 0)), float(detail["total"]), str(event.get("status", "")))


def _first_line(error: Exception) -> str:
    # The container engine's own words, if it answered; the SDK puts the whole request before them.
    text = str(getattr(error, "explanation", None) or error)
    return text.splitlines()[0] if text else type(error).__name__


def _bootstrap(home: Path, client: docker.DockerClient, progress: Progress) -> BaseImage:
    _require_debootstrap(progress)
    work_root = home / "cache"
    # A home's own: set-up in another one takes no name from an image that is in use here.
    tag = f"{RELEASE}-{cache_key(str(home))[:12]}"
    work_root.mkdir(parents=True, exist_ok=True)
    with (
        progress.step(
            "Making the base image with debootstrap", f"the same release, {RELEASE}, from its packages"
        ) as step,
        tempfile.TemporaryDirectory(dir=work_root) as name,
    ):
        lines = 0

        def count_line(line: str) -> None:
            nonlocal lines
            lines += 1
            step.update(lines, BOOTSTRAP_LINES, line)

        archive = Path(name) / "root.tar"
        command = (find_program("debootstrap") or "debootstrap", *BOOTSTRAP_OPTIONS, RELEASE)
        if os.geteuid() == 0:
            _bootstrap_here(command, archive, count_line)
        else:
            left_out = [*(f"./{name}*" for name in LEFT_OUT), *(f"./{name}" for name in LEFT_OUT_FILES)]
            bootstrap_in_container(
                client, command, archive, left_out=left_out, deadline_s=BOOTSTRAP_TIMEOUT_S, on_line=count_line
            )
        image_id = _import_archive(client, archive, tag)
        return BaseImage(image_id, "debootstrap", f"debootstrap:{RELEASE}:minbase", _debian_version(archive))


def _bootstrap_here(command: Sequence[str], archive: Path, count_line: Callable[[str], None]) -> None:
    root = archive.with_name("root")
    run_command(
        (*command, str(root)),
        timeout_s=BOOTSTRAP_TIMEOUT_S,
        code="base_image_failed",
        purpose="make Debian's root filesystem (it needs root and Debian's packages)",
        on_line=count_line,
    )
    with tarfile.open(archive, "w") as tar:
        tar.add(root, arcname=".", filter=_kept)


def _require_debootstrap(progress: Progress) -> None:
    why = "no registry has the Debian image, so it is made from Debian's packages"
    if find_program("debootstrap") is not None:
        return
    how_to_fix = "apt-get update && apt-get install --no-install-recommends " + " ".join(BOOTSTRAP_PACKAGES)
    if os.geteuid() != 0 or os.environ.get("WEOS_NO_INSTALL") == "1" or find_program("apt-get") is None:
        message = f"{why}, with debootstrap, which is not installed here. Install it as root: {how_to_fix}"
        raise SetupError("base_image_failed", message)
    with progress.step("Installing Debian's debootstrap", why):
        for command in (
            ("apt-get", "update", "-q"),
            ("apt-get", "install", "-qy", "--no-install-recommends", *BOOTSTRAP_PACKAGES),
        ):
            run_command(command, timeout_s=INSTALL_TIMEOUT_S, code="base_image_failed", purpose="install debootstrap")


def _import_archive(client: docker.DockerClient, archive: Path, tag: str) -> str:
    answer = client.api.import_image_from_file(
        str(archive), repository=LOCAL_REPOSITORY, tag=tag, changes=[PATH_SETTING]
    )
    image_id = read_import(answer)
    # Podman 4.3 ignores the tag of an import. Without a name the image could be pruned.
    client.api.tag(image_id, LOCAL_REPOSITORY, tag)
    return str(inspect_image(client, image_id)["Id"])


def read_import(answer: str) -> str:
    """Return the id of an imported image from the container engine's answer, a JSON document a line.

    Raises:
        SetupError: base_image_failed.
    """
    status = ""
    for line in answer.splitlines():
        document = json.loads(line)
        status = str(document.get("error") or document.get("status"))
    if not status.startswith("sha256:"):
        raise SetupError("base_image_failed", f"the container engine did not import the base image: {status}")
    return status


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = member.name.removeprefix("./")
    return None if name.startswith(LEFT_OUT) or name in LEFT_OUT_FILES else member


def _debian_version(archive: Path) -> str:
    with tarfile.open(archive) as tar:
        file = tar.extractfile("./etc/debian_version")
        return file.read().decode("ascii").strip() if file else "unknown"


def _release_of(client: docker.DockerClient, image_id: str) -> str:
    output = client.containers.run(
        image_id,
        ["cat", "/etc/debian_version"],
        network_mode="none",
        remove=True,
        labels=SETUP_LABELS,
    )
    return bytes(output).decode("ascii", "replace").strip()
