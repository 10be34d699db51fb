import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.utils.socket import STDERR, STDOUT, frames_iter

from supervisor.adapters.home import Home
from supervisor.adapters.installation.image_record import record_path, stored_image
from supervisor.setup.images.runtime_image import BuiltImage, build_runtime_image
from supervisor.setup.models.catalogue import SMOLLM2_135M_INSTRUCT
from supervisor.setup.models.installing import ensure_model
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

BACKEND = "cpu_avx2"
RUN_TIMEOUT_S = 120
PROMPT = "The capital of France is"
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
# What the supervisor's sandbox has at least; the image must work under it.
RESTRICTIONS: dict[str, Any] = {
    "network_mode": "none",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "pids_limit": 64,
    "ulimits": [
        docker.types.Ulimit(name=name, soft=value, hard=value)
        for name, value in (("nofile", 64), ("fsize", 0), ("core", 0))
    ],
}

PYTHON = ["/usr/bin/python3.11", "-I", "-S", "-B"]
SETUP: dict[str, Any] = {
    "type": "setup",
    "protocol": 1,
    "model_path": "/model/model.gguf",
    "context_tokens": 512,
    "threads": 2,
    "batch_tokens": 512,
    "repack": True,
}
JOB: dict[str, Any] = {
    "type": "job",
    "prompt": PROMPT,
    "messages": None,
    "parse_special": True,
    "grammar": None,
    "max_tokens": 16,
    "seed": 0,
    "sampling": GREEDY,
    "stop": [],
}

Start = Callable[..., tuple[bytes, bytes, int]]
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def image(weos_home: Path, docker_host: str) -> BuiltImage:
    return build_runtime_image(weos_home, BACKEND, SilentProgress(), docker_host)


@pytest.fixture(scope="module")
def model(weos_home: Path) -> Path:
    installed = ensure_model(Home(weos_home), SMOLLM2_135M_INSTRUCT.name, SilentProgress())
    return weos_home / "models" / installed.sha256.removeprefix("sha256:") / "model.gguf"


def exchange(client: docker.APIClient, container_id: str, data: bytes) -> tuple[bytes, bytes, int]:
    """Start a container, give it all its input and the end of it; return both outputs and the status."""
    attached = client.attach_socket(container_id, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    connection = attached._sock
    outputs = {STDOUT: b"", STDERR: b""}
    try:
        client.start(container_id)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        for stream, part in frames_iter(attached, tty=False):  # type: ignore[no-untyped-call] # the SDK's
            outputs[stream] += part
    finally:
        attached.close()
        connection.close()
    return outputs[STDOUT], outputs[STDERR], client.wait(container_id)["StatusCode"]


@pytest.fixture(scope="module")
def start(image: BuiltImage, model: Path, docker_host: str) -> Iterator[Start]:
    """Give both outputs of one container, which gets all its lines at once and then the end of input."""
    client = docker.APIClient(base_url=docker_host, timeout=RUN_TIMEOUT_S)

    def start_once(data: bytes, **options: Any) -> tuple[bytes, bytes, int]:
        host_config = client.create_host_config(binds=[f"{model.parent}:/model:ro"], **RESTRICTIONS)
        container_id = client.create_container(
            image.image_id,
            stdin_open=True,
            host_config=host_config,
            environment={"LOCKDOWN_END": "kill_process"},
            **options,
        )["Id"]
        try:
            return exchange(client, container_id, data)
        finally:
            client.remove_container(container_id, force=True)

    yield start_once
    client.close()


@pytest.fixture(scope="module")
def run(start: Start) -> Run:
    """Give the events of one job."""

    def run_job(job: dict[str, Any] | None = None, **setup: Any) -> list[dict[str, Any]]:
        lines = [SETUP | setup, JOB | (job or {}), {"type": "exit"}]
        output, errors, status = start(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        assert (errors, status) == (b"", 0)
        return [json.loads(line) for line in output.splitlines()]

    return run_job


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] in {"token", "done"})


def token_ids(events: list[dict[str, Any]]) -> list[int]:
    return [event["token_id"] for event in events if event["type"] == "token"]


def test_the_image_is_recorded_and_needs_nothing_the_second_time(
    image: BuiltImage, weos_home: Path, docker_host: str
) -> None:
    assert stored_image(weos_home, BACKEND) == image
    assert build_runtime_image(weos_home, BACKEND, SilentProgress(), docker_host) == image
    assert image.llama_cpp_commit is not None


def test_a_record_that_cannot_be_read_is_replaced_by_building_again(
    image: BuiltImage, weos_home: Path, docker_host: str
) -> None:
    record = record_path(weos_home, BACKEND)
    kept = record.read_bytes()
    record.write_bytes(kept.replace(b'"inputs_key"', b'"inputs_key_of_another_version"'))
    try:
        rebuilt = build_runtime_image(weos_home, BACKEND, SilentProgress(), docker_host)
    finally:
        record.write_bytes(kept)
    assert rebuilt.inputs_key == image.inputs_key
    assert rebuilt.manifest_sha256 == image.manifest_sha256


def test_the_image_starts_the_runner_unprivileged_and_isolated(image: BuiltImage, docker_host: str) -> None:
    client = docker.APIClient(base_url=docker_host)
    config = client.inspect_image(image.image_id)["Config"]  # type: ignore[no-untyped-call] # the SDK's
    client.close()
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/usr/bin/python3.11", "-I", "-S", "-B", "/opt/weos/start.pyc"]
    assert not config["Cmd"]
    assert sorted(config["Env"]) == ["HOME=/nonexistent", "LANG=C.UTF-8", "PATH=/usr/bin"]


def test_a_job_runs_from_ready_to_done(run: Run) -> None:
    ready, prompt, *tokens, done = run()
    assert ready["backend"] == BACKEND
    assert {"AVX2", "FMA", "F16C"} <= set(ready["cpu_features"])
    assert not any(feature.startswith(("AVX512", "AMX")) for feature in ready["cpu_features"])
    assert ready["model"]["architecture"] == "llama"
    assert ready["model"]["context_length"] == 8192
    assert prompt == {"type": "prompt", "tokens": 5}
    assert [event["index"] for event in tokens] == list(range(16))
    assert done == {"type": "done", "finish_reason": "length", "tokens": 16, "text": ""}
    assert text_of([*tokens, done]).startswith(" Paris")


def test_the_same_job_gives_the_same_tokens_however_it_is_computed(run: Run) -> None:
    expected = token_ids(run())
    assert token_ids(run()) == expected
    assert token_ids(run(threads=1, repack=False)) == expected


def test_a_prompt_longer_than_a_batch_is_computed_in_several(run: Run) -> None:
    job = {"prompt": PROMPT * 10, "max_tokens": 8}
    assert token_ids(run(job, batch_tokens=7)) == token_ids(run(job))


def test_a_sampled_answer_depends_on_the_seed_and_on_nothing_else(run: Run) -> None:
    sampling = {"temperature": 1.5, "top_k": 50, "top_p": 0.95, "min_p": 0.01, "repeat_penalty": 1.1}
    one, again, other = (token_ids(run({"sampling": sampling, "seed": seed})) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_repeat_penalty_counts_in_greedy_choice_too(run: Run) -> None:
    job = {"prompt": "one one one one one one", "max_tokens": 8}
    penalised = token_ids(run(job | {"sampling": GREEDY | {"repeat_penalty": 2.0}}))
    assert penalised != token_ids(run(job))


def test_a_stop_sequence_ends_the_answer_before_it(run: Run) -> None:
    whole = text_of(run())
    stop = whole[6:9]
    events = run({"stop": ["never said", stop]})
    assert events[-1]["finish_reason"] == "stop"
    assert text_of(events) == whole[: whole.index(stop)]


def test_the_model_ends_its_own_answer(run: Run) -> None:
    prompt = "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n"
    events = run({"prompt": prompt, "max_tokens": 200})
    assert events[-1]["finish_reason"] == "eos"
    assert events[-1]["tokens"] == len(token_ids(events))
    assert "<|im_end|>" not in text_of(events)


def test_characters_of_several_bytes_come_whole(run: Run) -> None:
    prompt = "Repeat: \u4f60\u597d\u4e16\u754c \u4f60\u597d\u4e16\u754c \u4f60\u597d\u4e16\u754c \u4f60\u597d"
    events = run({"prompt": prompt, "max_tokens": 12})
    assert not text_of(events).isascii()
    assert "\ufffd" not in text_of(events)
    assert "" in [event["text"] for event in events if event["type"] == "token"]


def test_what_does_not_fit_the_context_is_refused_with_its_size(run: Run) -> None:
    (ready, error) = run({"prompt": "word " * 600})
    assert (ready["type"], error["code"]) == ("ready", "context_overflow")
    assert error["prompt_tokens"] > 600
    assert run({"max_tokens": 512})[-1]["prompt_tokens"] == 5


@pytest.mark.parametrize("path", ["/model/absent.gguf", "/etc/passwd", "/model"])
def test_a_file_that_is_no_model_is_refused(start: Start, path: str) -> None:
    output, _errors, status = start(json.dumps(SETUP | {"model_path": path}).encode() + b"\n")
    assert [json.loads(line)["code"] for line in output.splitlines()] == ["model_load_failed"]
    assert status == 0


def test_garbage_is_answered_with_one_event_and_nothing_else(start: Start) -> None:
    output, errors, status = start(b"\xff\x00garbage\n" * 3)
    assert [json.loads(line)["code"] for line in output.splitlines()] == ["protocol_error"]
    assert (errors, status) == (b"", 0)


def test_no_input_ends_quietly(start: Start) -> None:
    assert start(b"") == (b"", b"", 0)


def test_what_anything_prints_never_reaches_the_events(start: Start) -> None:
    script = (
        "import os, sys; sys.path.insert(0, '/opt/weos/lib')\n"
        "from runner import main\n"
        "main._load_llama = lambda setup: [print('noise'), os.write(1, b'noise'), sys.exit(9)]\n"
        "main.main()\n"
    )
    output, errors, status = start(json.dumps(SETUP).encode() + b"\n", entrypoint=[*PYTHON, "-c", script])
    assert (output, status) == (b"", 9)
    assert errors.count(b"noise") == 2


def test_warming_up_leaves_no_trace_in_the_answer(start: Start) -> None:
    script = (
        "import sys; sys.path.insert(0, '/opt/weos/lib')\n"
        "from runner import main, model\n"
        "model.LlamaModel.warm_up = lambda self: None\n"
        # Warming up starts the threads; under the second lock nothing starts one any more.
        "main.lock_down = lambda program: None\n"
        "main.main()\n"
    )
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in (SETUP, JOB))
    cold = start(lines, entrypoint=[*PYTHON, "-c", script])
    assert cold[2] == 0
    assert cold[0] == start(lines)[0]
