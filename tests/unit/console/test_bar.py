"""The bar for long work: nothing for short work, a bar on a terminal, lines elsewhere."""

import io

import pytest

from supervisor.console.bar import show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(quiet_s: float, steps: int = 10) -> None:
    with show_progress("counting", steps, quiet_s) as bar:
        for _ in range(steps):
            bar.step()


def test_short_work_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    work(quiet_s=60)
    assert capsys.readouterr() == ("", "")


def test_long_work_tells_at_times_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    work(quiet_s=0)
    assert capsys.readouterr().err == "counting: 10% (1 of 10)\n"


def test_work_of_unknown_length_is_only_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("counting", quiet_s=0) as bar:
        bar.step(3)
    assert capsys.readouterr().err == "counting: 3\n"


def test_work_of_unknown_length_is_counted_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with show_progress("counting", quiet_s=0) as bar:
        bar.step(3)
    assert "3" in terminal.getvalue()
    assert "%" not in terminal.getvalue()


def test_long_work_moves_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    work(quiet_s=0)
    assert "counting" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
