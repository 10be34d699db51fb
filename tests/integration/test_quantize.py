"""Quantizing a real model in a real container, and what the container cannot do."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from supervisor.adapters.docker.sandboxes import DockerSandboxes
from supervisor.adapters.files import locked
from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.commands.escape import read_installation
from supervisor.domain.errors import EngineError, ExecutionFault
from supervisor.domain.models.quantizing import QuantizationNeeds
from supervisor.domain.planning.installation import InstalledModel
from supervisor.domain.sandbox.quantization import build_quantization_config
from supervisor.domain.sandbox.recipe import recipe_of
from supervisor.escape.target import plan_of_target
from supervisor.setup.images.runtime_image import build_runtime_image
from supervisor.setup.models.catalogue import SMOLLM2_135M_INSTRUCT
from supervisor.setup.models.installing import ensure_model
from supervisor.setup.models.quantizing import Order, quantize_model
from tests.fakes.run_requests import spec_request
from tests.gguf_files import sound_keys, sound_tensors, write_gguf
from tests.integration.conftest import serving
from tests.places import REPOSITORY
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

BACKEND = "cpu_avx2"
NAME = SMOLLM2_135M_INSTRUCT.name
WAIT_S = 60
OUTPUT_BYTES = 1_000_000


@pytest.fixture(scope="module")
def source(weos_home: Path, docker_host: str) -> Path:
    """The file of an installed model, beside a current image."""
    build_runtime_image(weos_home, BACKEND, SilentProgress(), docker_host)
    installed = ensure_model(Home(weos_home), NAME, SilentProgress())
    return weos_home / "models" / installed.sha256.removeprefix("sha256:") / "model.gguf"


@pytest.fixture
def home(tmp_path: Path, weos_home: Path, source: Path, docker_host: str) -> Iterator[Home]:
    """A home with the installed images and models of its own."""
    root = tmp_path / "home"
    root.mkdir(mode=0o700)
    (root / "images").symlink_to(weos_home / "images")
    home = Home(root)
    ModelStore(home.models).add(NAME, source, progress=lambda _: None)
    yield home
    assert containers(home, docker_host) == []


def containers(home: Home, docker_host: str) -> list[dict[str, Any]]:
    client = docker.APIClient(base_url=docker_host)
    try:
        label = f"weos.instance={home.instance_id()}-quantize"
        found: list[dict[str, Any]] = client.containers(all=True, filters={"label": label})
        return found
    finally:
        client.close()


def quantize(home: Home, docker_host: str, target: str, name: str = NAME) -> tuple[InstalledModel, list[Any]]:
    installation = read_installation(home)
    shown: list[Any] = []
    order = Order(installation.models[0], target, name, BACKEND)
    made = quantize_model(home, docker_host, installation, order, lambda *each: shown.append(each))
    return made, shown


def left_in(home: Home) -> list[str]:
    return sorted(path.name for path in home.models.iterdir() if path.name.startswith("incoming"))


def test_a_variant_names_its_parent_and_answers(home: Home, docker_host: str) -> None:
    made, shown = quantize(home, docker_host, "q8_0")
    assert (made.name, made.quantization, made.architecture) == (NAME, "q8_0", "llama")
    parent = next(each for each in ModelStore(home.models).list() if each.quantization == "q4_1")
    assert made.parent == parent.sha256
    assert shown[-1] == (272, 272)
    assert [each for each, _ in shown] == sorted(each for each, _ in shown)
    assert left_in(home) == []

    async def ask() -> tuple[int, dict[str, Any]]:
        async with serving(home, docker_host) as api:
            request = spec_request(prompt="What is the capital of France?")
            request["execution"] |= {
                "quantization": "q8_0",
                "limits": {"max_tokens": 16},
            }
            return await api.post_run(request)

    status, body = asyncio.run(ask())
    assert status == 200, body
    assert body["output"]
    assert body["metrics"]["tokens_total"] > 0
    with pytest.raises(EngineError, match="is installed already"):
        quantize(home, docker_host, "q8_0")


def test_a_model_that_the_quantizer_refuses_leaves_nothing(home: Home, docker_host: str, tmp_path: Path) -> None:
    # Sound for the engine, which does not know the weights of each architecture: llama.cpp misses some.
    hollow = write_gguf(tmp_path / "hollow.gguf", sound_keys(), sound_tensors())
    ModelStore(home.models).add("a-hollow", hollow, progress=lambda _: None)
    installed = [(each.name, each.quantization) for each in ModelStore(home.models).list()]
    with pytest.raises(EngineError, match="its last words: ") as caught:
        quantize(home, docker_host, "q8_0")
    assert caught.value.code == "quantization_failed"
    assert [(each.name, each.quantization) for each in ModelStore(home.models).list()] == installed
    assert left_in(home) == []


def test_two_at_a_time_are_refused(home: Home, docker_host: str) -> None:
    with locked(home.models / "quantize.lock"), pytest.raises(EngineError) as caught:
        quantize(home, docker_host, "q8_0")
    assert caught.value.code == "home_taken"


def run_attack(home: Home, docker_host: str, code: str, output: Path, *, output_bytes: int = OUTPUT_BYTES) -> list[str]:
    """Run Python in the quantizer's container in place of the quantizer, and return its lines."""
    installation = read_installation(home)
    plan = plan_of_target(installation, BACKEND, "hardened")

    async def run() -> list[str]:
        sandboxes = await DockerSandboxes.connect(docker_host, f"{home.instance_id()}-quantize", home.root)
        config = build_quantization_config(
            recipe_of(plan),
            installation.policies,
            QuantizationNeeds(memory_bytes=256 << 20, output_bytes=output_bytes),
            file_type=7,
            model_source=ModelStore(home.models).locate(plan.model).directory,
            output_source=str(output),
            cpus=tuple(installation.host.logical_cpus),
            cgroup_driver=sandboxes.cgroup_driver,
        )
        config["Entrypoint"] = ["/usr/bin/python3.11", "-I", "-S", "-B", "-c", textwrap.dedent(code)]
        lines: list[str] = []

        def take(line: bytes, at_ns: int) -> bool:
            del at_ns
            lines.append(line.decode())
            return False

        try:
            name = f"attack-{os.urandom(4).hex()}"
            async with sandboxes.open(name, config, model="x", output_bytes=65536) as sandbox:
                with pytest.raises(ExecutionFault):
                    await sandbox.listen(take)
                assert sandbox.exit_status is not None
                lines.append(f"status {sandbox.exit_status.exit_code}")
        finally:
            await sandboxes.close()
        return lines

    return asyncio.run(run())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    workspace = tmp_path / "workspace"
    workspace.mkdir(mode=0o700)
    file = workspace / "model.gguf"
    file.touch()
    file.chmod(0o666)
    return file


def test_nothing_but_its_file_can_be_written(home: Home, docker_host: str, output: Path) -> None:
    lines = run_attack(
        home,
        docker_host,
        """
        import posix
        WRITE = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC
        for path in ("/output.gguf", "/other.gguf", "/model/other", "/model/model.gguf", "/tmp/x", "/dev/shm/x",
                     "/dev/x", "/opt/weos/start.pyc", "/etc/passwd", "/proc/sys/kernel/core_pattern"):
            for flags in (WRITE, posix.O_RDWR, posix.O_WRONLY | posix.O_APPEND, posix.O_RDWR | posix.O_CREAT):
                try:
                    descriptor = posix.open(path, flags, 0o666)
                    posix.write(descriptor, b"written")
                    print(path, flags == WRITE, "written", flush=True)
                except OSError as error:
                    pass
        for attempt in (lambda: posix.unlink("/output.gguf"), lambda: posix.rename("/output.gguf", "/x"),
                        lambda: posix.mkdir("/x"), lambda: posix.symlink("/etc/passwd", "/x"),
                        lambda: posix.link("/output.gguf", "/x"), lambda: posix.chmod("/output.gguf", 0o777)):
            try:
                attempt()
                print("changed", flush=True)
            except OSError:
                pass
        print("end", flush=True)
        """,
        output,
    )
    # os.open sets O_CLOEXEC, which is not the one spelling that lock one lets through.
    assert lines == ["end", "status 0"]


def test_its_file_is_written_by_one_spelling_and_no_larger_than_it_may(
    home: Home, docker_host: str, output: Path
) -> None:
    lines = run_attack(
        home,
        docker_host,
        """
        import ctypes, posix
        libc = ctypes.CDLL(None, use_errno=True)
        for path in (b"/other.gguf", b"/model/model.gguf", b"/tmp/x", b"/dev/shm/x", b"/opt/weos/start.pyc",
                     b"/etc/passwd"):
            print(path.decode(), libc.open(path, 577, 0o666) >= 0, flush=True)
        descriptor = libc.open(b"/output.gguf", 577, 0o666)
        print("output", descriptor >= 0, flush=True)
        block = bytes(100_000)
        while posix.write(descriptor, block):
            pass
        """,
        output,
    )
    # Python ignores the signal that a write beyond the limit sends, so the write fails.
    assert lines[:7] == [
        "/other.gguf False",
        "/model/model.gguf False",
        "/tmp/x False",
        "/dev/shm/x False",
        "/opt/weos/start.pyc False",
        "/etc/passwd False",
        "output True",
    ]
    assert output.stat().st_size == OUTPUT_BYTES


def test_it_sees_no_network_and_no_other_model(home: Home, docker_host: str, output: Path) -> None:
    lines = run_attack(
        home,
        docker_host,
        """
        import posix
        print(posix.listdir("/model"), flush=True)
        found = []
        pending = ["/"]
        while pending:
            directory = pending.pop()
            try:
                names = posix.listdir(directory)
            except OSError:
                continue
            for name in names:
                path = directory.rstrip("/") + "/" + name
                if name.endswith(".gguf"):
                    found.append(path)
                if not path.startswith("/proc"):
                    pending.append(path)
        print(sorted(found), flush=True)
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        for family in (1, 2, 10, 16, 40):
            if libc.socket(family, 1, 0) >= 0:
                print("socket", family, flush=True)
        try:
            print(posix.fork(), flush=True)
        except OSError:
            pass
        """,
        output,
    )
    assert lines == ["['model.gguf']", "['/model/model.gguf', '/output.gguf']", "status 0"]


def test_a_killed_command_ends_its_container_and_the_next_one_removes_what_is_left(
    home: Home, docker_host: str
) -> None:
    environment = {**os.environ, "WEOS_HOME": str(home.root), "PYTHONPATH": str(REPOSITORY)}
    command = [
        sys.executable,
        "-c",
        "from supervisor.cli import main; main()",
        "models",
        "quantize",
        NAME,
        "--to",
        "q6_k",
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + WAIT_S
    while not any(each["State"] == "running" for each in containers(home, docker_host)):
        assert process.poll() is None
        assert time.monotonic() < deadline_s
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(each["State"] == "running" for each in containers(home, docker_host)):
        assert time.monotonic() < deadline_s
    assert len(left_in(home)) == 1
    made, _ = quantize(home, docker_host, "q8_0")
    assert made.quantization == "q8_0"
    assert left_in(home) == []
