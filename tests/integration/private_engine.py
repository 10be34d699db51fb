"""A container engine of a test's own: a real dockerd that can be stopped, killed and started again."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker

from supervisor.setup.host.container_engine import is_answering

__all__ = ["PrivateEngine", "private_engine"]

PATIENCE_S = 120
POLL_S = 0.05


class PrivateEngine:
    """Has nothing to do with the machine's own but its images, where they are copied."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._root}/s"

    def start(self) -> None:
        """Start it and wait until it answers."""
        # What one that was killed left: another process may have the number by now.
        (self._root / "e" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        command = [
            # In a network namespace of its own: with `--bridge none` it would delete the machine's own docker0.
            *(
                "unshare",
                "--net",
                "--",
                "dockerd",
                "--host",
                self.url,
                "--config-file",
                str(self._root / "daemon.json"),
            ),
            *("--data-root", str(self._root / "d"), "--exec-root", str(self._root / "e")),
            *("--pidfile", str(self._root / "p"), "--bridge", "none", "--iptables=false", "--shutdown-timeout", "1"),
        ]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while not is_answering(self.url):
            assert self._process.poll() is None, (self._root / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Tell it to end, which ends its containers."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End it with signal 9; its containers live on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def copy_image(self, docker_host: str, image_id: str) -> None:
        """Take an image over from another engine."""
        theirs, ours = (docker.APIClient(base_url=url, timeout=PATIENCE_S) for url in (docker_host, self.url))
        ours.load_image(b"".join(theirs.get_image(image_id)))  # type: ignore[no-untyped-call] # stubs lack it
        theirs.close()
        ours.close()

    def left(self) -> list[str]:
        """The ids of all containers and the names of all volumes."""
        client = docker.APIClient(base_url=self.url, timeout=PATIENCE_S)
        try:
            volumes = client.volumes()["Volumes"] or []
            return [*(each["Id"] for each in client.containers(all=True)), *(each["Name"] for each in volumes)]
        finally:
            client.close()


@contextmanager
def private_engine() -> Iterator[PrivateEngine]:
    """Give one that runs, and remove everything of it at the end."""
    # A Unix socket's path has room for about 100 bytes.
    root = Path(tempfile.mkdtemp(prefix="wd"))
    (root / "daemon.json").write_text("{}")
    engine = PrivateEngine(root)
    try:
        engine.start()
        yield engine
    finally:
        with suppress(AssertionError):
            engine.stop()
        # dockerd mounts its directory upon itself and leaves it so.
        subprocess.run(["umount", "--recursive", str(root / "d")], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(root)
        assert os.path.ismount(root / "d") is False
