"""debootstrap for a user who is not root: the host's own program, run by root in a container of the host's files."""

import io
import json
import os
import shlex
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import docker

from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_api import SETUP_LABELS, removed_at_end

__all__ = ["bootstrap_in_container"]

# What a program of the host's needs; the links among them are followed.
HOST_DIRECTORIES = ("/bin", "/etc", "/lib", "/lib64", "/sbin", "/usr")
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
TARGET = "/target"
OUTPUT = "/output"
LINES_SHOWN = 10


def bootstrap_in_container(
    client: docker.DockerClient,
    command: Sequence[str],
    archive: Path,
    *,
    left_out: Sequence[str],
    deadline_s: float,
    on_line: Callable[[str], None],
) -> None:
    """Write the root filesystem that debootstrap makes, as an archive.

    Args:
        client: the container engine.
        command: debootstrap, its options and the release.
        archive: file to write; its directory must exist.
        left_out: patterns of paths, from `./`, that the archive does not get.
        deadline_s: the longest that it may take.
        on_line: gets each line of output.

    Raises:
        SetupError: base_image_failed.
    """
    excludes = [f"--exclude={pattern}" for pattern in left_out]
    pack = ["tar", "-C", TARGET, *excludes, "-cf", f"{OUTPUT}/{archive.name}", "."]
    script = f"{shlex.join([*command, TARGET])} && exec {shlex.join(pack)}"
    image_id = _import_nothing(client)
    try:
        config = _config(image_id, script, archive.parent)
        made = client.api.create_container_from_config(config)  # type: ignore[no-untyped-call] # the SDK's
        with removed_at_end(client, made["Id"], deadline_s):
            client.api.start(made["Id"])
            tail: list[str] = []
            for line in _lines(client.api.logs(made["Id"], stream=True, follow=True)):
                tail = [*tail[-(LINES_SHOWN - 1) :], line]
                on_line(line)
            status = client.api.wait(made["Id"])["StatusCode"]
    finally:
        client.api.remove_image(image_id, force=True)
    if status != 0:
        shown = "\n  ".join(tail)
        message = f"debootstrap in a container ended with status {status}. Its last lines:\n  {shown}"
        raise SetupError("base_image_failed", message)


def _config(image_id: str, script: str, output: Path) -> dict[str, Any]:
    there = [path for path in HOST_DIRECTORIES if Path(path).is_dir()]
    return {
        "Image": image_id,
        "Cmd": ["/bin/sh", "-c", script],
        "Env": [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            *(f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ),
        ],
        "Labels": SETUP_LABELS,
        "Tty": False,
        "HostConfig": {
            # debootstrap mounts /proc in what it makes.
            "CapAdd": ["SYS_ADMIN"],
            "SecurityOpt": ["apparmor=unconfined", "seccomp=unconfined", "label=disable"],
            "NetworkMode": "host",
            "LogConfig": {"Type": "json-file", "Config": {}},
            "Mounts": [
                *({"Type": "bind", "Source": path, "Target": path, "ReadOnly": True} for path in there),
                {"Type": "bind", "Source": str(output), "Target": OUTPUT},
            ],
        },
    }


def _import_nothing(client: docker.DockerClient) -> str:
    """Return the id of an image without a file."""
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w"):
        pass
    answer = client.api.import_image_from_data(empty.getvalue())
    return str(json.loads(answer.splitlines()[-1])["status"])


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")
