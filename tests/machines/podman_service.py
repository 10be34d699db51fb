"""A Podman service of a test's own: its own storage and socket, nothing of the machine's."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from supervisor.setup.host.container_engine import is_answering

__all__ = ["PodmanService", "podman_service"]

PATIENCE_S = 120
POLL_S = 0.05
# On a disk: a layer of overlayfs on a tmpfs takes the memory that sandboxes need.
STORAGE = Path("/var/tmp")


@dataclass(frozen=True, slots=True)
class PodmanService:
    """A running service."""

    url: str

    def copy_image(self, docker_host: str, image_id: str) -> None:
        """Take an image over from another container engine; it keeps its id."""
        theirs, ours = (docker.APIClient(base_url=url, timeout=PATIENCE_S) for url in (docker_host, self.url))
        try:
            archive = b"".join(theirs.get_image(image_id))
            for event in ours.load_image(archive):  # type: ignore[no-untyped-call] # stubs lack it
                assert "error" not in event, event
            ours.inspect_image(image_id)  # type: ignore[no-untyped-call] # stubs lack it
        finally:
            theirs.close()
            ours.close()


@contextmanager
def podman_service(runtime: str = "runc", prefix: Sequence[str] = ()) -> Iterator[PodmanService]:
    """Run a service, and remove everything of it at the end.

    Args:
        runtime: the runtime that it starts every container with.
        prefix: command that Podman is run by, such as one that changes its root.
    """
    # A Unix socket's path has room for about 100 bytes.
    running = Path(tempfile.mkdtemp(prefix="wp"))
    storage = Path(tempfile.mkdtemp(prefix="wp", dir=STORAGE))
    url = f"unix://{running}/s"
    command = [
        *(*prefix, "podman", "--root", str(storage), "--runroot", str(running / "r"), "--tmpdir", str(running / "t")),
        *("--cgroup-manager", "cgroupfs", "--runtime", runtime, "system", "service", "--time=0", url),
    ]
    log = running / "log"
    with log.open("wb") as output:
        # Its helper conmon writes a file `oom` where it is started.
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=running)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not is_answering(url):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(POLL_S)
        yield PodmanService(url)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        for directory in (storage, running):
            _unmount_below(directory)
            shutil.rmtree(directory)


def _unmount_below(directory: Path) -> None:
    # Podman mounts parts of its storage upon themselves and leaves them so.
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if point.startswith(f"{directory}/"):
            subprocess.run(["umount", point], check=True)
