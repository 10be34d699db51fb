from pathlib import Path

import pytest

from runner.lockdown import load_program, lock_down, program_file
from runner.protocol import RunnerError


def test_the_program_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(bytes(16))
    assert load_program(tmp_path / "program") == bytes(16)


def test_the_supervisor_names_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKDOWN_END", "trap")
    assert program_file() == Path("/opt/weos/lockdown-trap.bpf")


def test_where_it_names_none_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCKDOWN_END", raising=False)
    with pytest.raises(RunnerError, match="no program"):
        load_program()


@pytest.mark.parametrize("content", [None, b"", bytes(7), bytes(8 * 4097)])
def test_what_can_be_no_program_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "program").write_bytes(content)
    with pytest.raises(RunnerError) as caught:
        load_program(tmp_path / "program")
    assert caught.value.code == "lockdown_failed"


def test_a_program_that_the_kernel_refuses_is_told() -> None:
    # An instruction of no known kind: refused whoever asks, so nothing is installed here.
    with pytest.raises(RunnerError, match="the kernel refused") as caught:
        lock_down(b"\xff" * 8)
    assert caught.value.code == "lockdown_failed"
