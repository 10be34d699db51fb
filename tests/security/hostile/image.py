"""The test image: the installed one with another runner in it, made in the container engine and removed again."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.security.hostile.table import Misbehaviour

__all__ = ["ABSENT_PROGRAM", "hostile_images"]

RUNNER = Path(__file__).with_name("runner.py")
CHANNELS = Path(__file__).with_name("channels.py")
# The name of the image whose program is not there.
ABSENT_PROGRAM = "has no program"
DIRECTORY = "/opt/weos"
ENTRY_POINT = ["/usr/bin/python3.11", "-I", "-S", "-B", f"{DIRECTORY}/{RUNNER.name}"]


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o444
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@contextmanager
def hostile_images(client: docker.APIClient, base: str, rows: Mapping[int, Misbehaviour]) -> Iterator[dict[str, str]]:
    """Give image ids: under the empty name the one that plays what the set-up says, under others what they name."""
    table = {size: {"name": row.name, "step": row.step, "code": row.code} for size, row in rows.items()}
    files = {file.name: file.read_bytes() for file in (RUNNER, CHANNELS)}
    files["misbehaviours.json"] = json.dumps(table).encode()
    commands = {"": ENTRY_POINT, ABSENT_PROGRAM: [f"{DIRECTORY}/absent"]}
    commands |= {row.name: [*ENTRY_POINT, row.name] for row in rows.values() if row.step == "start"}
    images: dict[str, str] = {}
    container_id = client.create_container(base, labels={"weos.test": "hostile"})["Id"]
    try:
        assert client.put_archive(container_id, DIRECTORY, _archive(files))
        for name, command in commands.items():
            changes = [f"ENTRYPOINT {json.dumps(command)}", "LABEL weos.test=hostile"]
            images[name] = str(client.commit(container_id, changes=changes)["Id"])
        yield images
    finally:
        client.remove_container(container_id, force=True)
        for image_id in images.values():
            client.remove_image(image_id, force=True, noprune=True)
