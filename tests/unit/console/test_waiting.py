"""The line that says what is being waited for."""

import io
from threading import Event

import pytest

from supervisor.console.waiting import ERASE_LINE, show_waiting

WAIT_S = 30


class Terminal(io.StringIO):
    """Standard error that says when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = Event()

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        self.written.set()


def test_a_terminal_shows_it_and_the_end_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with show_waiting(lambda: "waiting", quiet_s=0) as end:
        assert terminal.written.wait(WAIT_S)
        assert "waiting" in terminal.getvalue()
        end()
        assert terminal.getvalue().endswith(ERASE_LINE)
        shown = terminal.getvalue()
        end()
    assert terminal.getvalue() == shown


def test_what_is_described_after_the_end_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    asked, go_on, answered = Event(), Event(), Event()

    def describe() -> str:
        asked.set()
        go_on.wait(WAIT_S)
        answered.set()
        return "too late"

    with show_waiting(describe, quiet_s=0):
        assert asked.wait(WAIT_S)
    go_on.set()
    assert answered.wait(WAIT_S)
    assert terminal.getvalue() == ""


def test_a_short_wait_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with show_waiting(lambda: pytest.fail("asked"), quiet_s=WAIT_S):
        pass
    assert terminal.getvalue() == ""


def test_where_there_is_no_terminal_nothing_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with show_waiting(lambda: pytest.fail("asked"), quiet_s=0) as end:
        end()
    assert capsys.readouterr() == ("", "")
