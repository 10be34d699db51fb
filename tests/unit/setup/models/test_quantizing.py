from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.adapters.home import Home
from supervisor.domain.errors import EngineError, ExecutionFault
from supervisor.domain.models.quantizing import QuantizationNeeds
from supervisor.domain.sandbox.ports import ExitStatus
from supervisor.setup.models.quantizing import Order, _judge_end, _require_own_file, quantize_model
from tests.fakes.installation import fixed_installation

NEEDS = QuantizationNeeds(memory_bytes=2_000_000_000, output_bytes=3_000_000_000)
FAULT = ExecutionFault("runner_failed", "the runner ended too early")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (ExitStatus(137, oom_killed=True), r"needed more than 2\.0 GB of memory"),
        (ExitStatus(153, oom_killed=False), r"wrote more than 3\.0 GB"),
        (ExitStatus(1, oom_killed=False), r"gave up \(exit status 1\); nothing was installed; its last words: bad"),
    ],
)
def test_each_end_of_the_quantizer_has_its_reason(status: ExitStatus, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        _judge_end(status, b"bad \x1b\xff", FAULT, NEEDS)
    assert caught.value.code == "quantization_failed"


def test_an_unknown_end_is_the_fault_itself() -> None:
    with pytest.raises(ExecutionFault):
        _judge_end(None, b"", FAULT, NEEDS)


def test_an_end_without_words_has_none() -> None:
    with pytest.raises(EngineError, match=r"nothing was installed$"):
        _judge_end(ExitStatus(1, oom_killed=False), b"", FAULT, NEEDS)


def test_a_good_end_is_no_fault() -> None:
    _judge_end(ExitStatus(0, oom_killed=False), b"[ 1/ 1] done", FAULT, NEEDS)


def test_a_result_that_is_a_link_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    _require_own_file(file)
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(EngineError, match="no file of its own"):
        _require_own_file(link)
    (tmp_path / "second").hardlink_to(file)
    with pytest.raises(EngineError, match="no file of its own"):
        _require_own_file(file)


@pytest.mark.parametrize(
    ("target", "name", "code"),
    [
        ("iq1_s", "tiny", "quantization_refused"),
        ("q8_0", "No Name", "model_refused"),
        ("q8_0", "taken", "quantization_refused"),
    ],
)
def test_an_order_that_cannot_be_carried_out_starts_nothing(tmp_path: Path, target: str, name: str, code: str) -> None:
    found = fixed_installation()
    source = found.models[0]
    installation = replace(found, models=(source, replace(source, name="taken", quantization="q8_0")))
    with pytest.raises(EngineError) as caught:
        quantize_model(
            Home(tmp_path), "unix:///nowhere", installation, Order(source, target, name, "cpu_avx2"), lambda *_: None
        )
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []
