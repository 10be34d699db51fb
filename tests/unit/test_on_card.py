"""What the proofs on a card rest on, as far as it can be tried without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from build.lockdown_compiler import ALLOW
from supervisor.adapters.policies import load_policies
from supervisor.domain.policies.system_calls import NUMBERS
from supervisor.domain.power.meter import MissingMeter
from tests.gpu.on_card.card import find_card
from tests.gpu.on_card.compile import cuda_definitions
from tests.gpu.on_card.describe_calls import place
from tests.gpu.on_card.filters import END, ERRNO, compile_lock, decide, lock_one_rules, lock_two_rules, rule_for
from tests.gpu.on_card.ioctls import describe_ioctl, request_name
from tests.gpu.on_card.shape import Shape, sandbox_shape
from tests.places import REPOSITORY

RECORDED = REPOSITORY / "tests" / "gpu" / "recorded" / "nvidia-h200"
REFUSED = ERRNO | 1
TIOCGWINSZ = 0x5413
UVM_INITIALIZE = 0x30000001


def test_a_lock_does_with_a_call_what_its_policy_says() -> None:
    rules = lock_one_rules(load_policies(REPOSITORY / "policies").seccomp)
    assert decide(rules, REFUSED, NUMBERS["getpid"], [0] * 6) == ALLOW
    assert decide(rules, REFUSED, NUMBERS["clone3"], [0] * 6) == ERRNO | 38
    assert decide(rules, REFUSED, NUMBERS["socket"], [0] * 6) == REFUSED
    writable_and_executable = [0, 4096, 7, 0x22, 0, 0]
    assert decide(rules, REFUSED, NUMBERS["mmap"], writable_and_executable) == REFUSED


def test_a_recorded_call_widens_a_lock_by_itself_alone() -> None:
    rules = lock_two_rules(REPOSITORY / "policies" / "lockdown.json")
    widened = [rule_for("ioctl", (UVM_INITIALIZE,)), *rules]
    assert decide(rules, END, NUMBERS["ioctl"], [7, UVM_INITIALIZE, 0, 0, 0, 0]) == REFUSED
    assert decide(widened, END, NUMBERS["ioctl"], [7, UVM_INITIALIZE, 0, 0, 0, 0]) == ALLOW
    assert decide(widened, END, NUMBERS["ioctl"], [7, TIOCGWINSZ, 0, 0, 0, 0]) == REFUSED
    assert len(compile_lock(widened, END)) > len(compile_lock(rules, END))


def test_a_request_to_the_driver_is_told_with_what_it_carries() -> None:
    assert request_name("/dev/nvidia-uvm", UVM_INITIALIZE) == "UVM_INITIALIZE"
    carried = b"".join(value.to_bytes(4, "little") for value in (1, 2, 0x20800110, 0))
    arguments = [5, 0xC020462A, 0, 0, 0, 0]
    assert describe_ioctl("/dev/nvidiactl", arguments, lambda _size: carried) == "NV_ESC_RM_CONTROL 0x20800110"
    assert describe_ioctl("/dev/nvidiactl", arguments, lambda _size: b"") == "NV_ESC_RM_CONTROL"


def test_nothing_recorded_names_a_place_of_one_machine() -> None:
    assert place("/proc/self/task/123/comm") == "/proc/self/task/TID/comm"
    assert place("/opt/somewhere/libcuda.so.1") == "libcuda.so.1"
    assert place("/opt/somewhere/model.py") == "a file of the runner, the interpreter or the C library"
    texts = [path.read_text(encoding="utf-8") for path in RECORDED.glob("*.json")]
    assert texts
    assert [text for text in texts if any(word in text for word in ('"/root', '"/home', "/.local/", "on-card-"))] == []


def test_a_shape_without_a_rule_keeps_the_others(tmp_path: Path) -> None:
    whole = sandbox_shape({}, load_policies(REPOSITORY / "policies").sandbox, tmp_path)
    assert whole.uid == 65532
    assert "memlock" in whole.limits
    assert "memlock" not in whole.without("limits:memlock").limits
    assert "nofile" in whole.without("limits:memlock").limits
    assert whole.without("masked:/sys").masked == tuple(path for path in whole.masked if path != "/sys")
    assert whole.without("uid").uid is None
    assert json.loads(whole.encode())["read_only"] == list(whole.read_only or ())


@pytest.mark.skipif(os.geteuid() != 0, reason="a sandbox's shape is made by root")
def test_a_confined_program_is_unprivileged_and_limited() -> None:
    command = ("/bin/sh", "-c", "id -u; ulimit -n")
    shape = Shape(environment={}, uid=65532, limits={"nofile": 64}, command=command)
    program = REPOSITORY / "tests" / "gpu" / "on_card" / "confined.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), shape.encode()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["65532", "64"], done.stderr


def test_llama_cpp_is_compiled_for_a_card_with_the_flags_of_a_cpu_backend(tmp_path: Path) -> None:
    definitions = cuda_definitions(tmp_path, "90-real")
    assert definitions["GGML_NATIVE"] == "OFF"
    assert definitions["GGML_AVX2"] == "ON"
    assert definitions["GGML_CUDA_NO_VMM"] == "ON"


def test_without_a_card_nothing_is_proved_and_that_is_said(tmp_path: Path) -> None:
    if not isinstance(find_card(), MissingMeter):
        pytest.skip("there is a card")
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'runtime-image'}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.on_card", "--output", str(tmp_path), "--only", "none"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "There is no NVIDIA card here" in done.stdout
    assert json.loads((tmp_path / "summary.json").read_text())["outcome"] == "skipped"
