import io

import pytest
from rich.console import Console

from supervisor.console import steps as progress_module
from supervisor.console.steps import ConsoleProgress


def shown(*, is_terminal: bool) -> tuple[ConsoleProgress, io.StringIO]:
    buffer = io.StringIO()
    return ConsoleProgress(Console(file=buffer, force_terminal=is_terminal, width=100)), buffer


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_step_tells_what_why_and_how_long(is_terminal: bool) -> None:
    progress, buffer = shown(is_terminal=is_terminal)
    with progress.step("Doing [it]", "because of that") as step:
        step.update(1, 2, "x" * 100)
        step.note("a [note]")
    output = buffer.getvalue()
    assert "Doing [it]" in output
    assert "because of that" in output
    assert "a [note]" in output
    assert "done in" in output


def test_a_failed_step_is_not_called_done() -> None:
    progress, buffer = shown(is_terminal=False)
    with pytest.raises(RuntimeError), progress.step("Doing", "why"):
        raise RuntimeError
    assert "failed after" in buffer.getvalue()
    assert "done in" not in buffer.getvalue()


def test_without_a_terminal_a_plain_bar_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, buffer = shown(is_terminal=False)
    with progress.step("Doing", "why") as step:
        step.update(1, 4, "too soon")
        monkeypatch.setattr(progress_module, "PLAIN_INTERVAL_S", 0.0)
        step.update(1, 4, "a quarter")
        step.update(1, 0, "of nothing")
    assert "too soon" not in buffer.getvalue()
    assert "[######..................]  25% a quarter" in buffer.getvalue()
    assert "\x1b" not in buffer.getvalue()


def test_what_is_unchanged_is_said_to_be() -> None:
    progress, buffer = shown(is_terminal=False)
    progress.unchanged("Base image")
    assert "Base image: unchanged" in buffer.getvalue()
