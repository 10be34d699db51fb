"""llama-cpp-python in an ordinary process: the runtime image's Python, bindings and libraries without its container."""

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.setup.host.container_engine_api import opened_container_engine, removed_at_end
from supervisor.setup.images.unpacking import unpack_files

__all__ = ["loop_environment", "unpack_image"]

LOOP = Path(__file__).with_name("greedy_loop.py")
RUN_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class InProcess:
    """The unpacked image."""

    root: Path

    def rate(self, plan: Mapping[str, Any], model: Path, prompt: str, *, tokens: int, cpus: Sequence[int]) -> float:
        """Return the tokens per second of a greedy answer, computed as a plan says and on these CPUs."""
        scheduling = plan["scheduling"]
        job = {
            **{name: scheduling[name] for name in ("threads", "batch_tokens", "repack")},
            "context_tokens": plan["context_tokens"],
            **{"model": str(model), "prompt": prompt, "tokens": tokens, "cpus": list(cpus)},
        }
        # By the loader of its own C library, since the host's may be older; -I -S -B as in the image.
        usr = self.root / "usr"
        command = [
            *(str(usr / "lib64" / "ld-linux-x86-64.so.2"), "--library-path", str(usr / "lib" / "x86_64-linux-gnu")),
            *(str(usr / "bin" / "python3.11"), "-I", "-S", "-B", str(LOOP)),
            *(str(self.root / "opt" / "weos" / "lib"), json.dumps(job)),
        ]
        done = subprocess.run(  # noqa: S603 - the interpreter of our own image, a script of ours
            command, capture_output=True, timeout=RUN_TIMEOUT_S, check=False, env=loop_environment(scheduling)
        )
        if done.returncode != 0:
            message = (
                f"the in-process loop ended with {done.returncode}: {done.stderr[-500:].decode('utf-8', 'replace')}"
            )
            raise RuntimeError(message)
        return float(json.loads(done.stdout))


def loop_environment(scheduling: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment in which threads wait as a plan says, without the caller's own variables."""
    environment = {
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(scheduling["threads"]),
        "OMP_WAIT_POLICY": scheduling["omp_wait_policy"],
    }
    if scheduling.get("spin_count") is not None:
        environment["GOMP_SPINCOUNT"] = str(scheduling["spin_count"])
    return environment


def unpack_image(place: Path, image_id: str, docker_host: str) -> InProcess:
    """Return an image's files, unpacked once; no container is started.

    Raises:
        SetupError: the container engine does not have it.
    """
    root = place / image_id.removeprefix("sha256:")
    if not root.exists():
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as name, opened_container_engine(docker_host) as client:
            container_id = client.api.create_container(image_id, network_disabled=True)["Id"]
            with removed_at_end(client, container_id):
                content = io.BytesIO(b"".join(client.api.export(container_id)))
            with tarfile.open(fileobj=content) as tar:
                unpack_files(tar, Path(name) / "root")
            # Whole or not at all: it gets its name only when it is complete.
            shutil.move(Path(name) / "root", root)
    return InProcess(root)
