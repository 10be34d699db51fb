"""What the supervisor logs: JSON lines, and equal warnings ever more rarely."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from supervisor.console import repeats
from supervisor.console.log import configure_logging
from supervisor.console.repeats import FORGOTTEN_AFTER_S, REMEMBERED_MAX, RepeatFilter


@pytest.fixture
def restored() -> Iterator[None]:
    """The root logger as pytest has set it up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_equal_warnings_are_written_ever_more_rarely_with_their_count(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(logging.INFO)
    log = logging.getLogger("test")
    for _ in range(9):
        log.warning("the disk of %s is full", "x")
        log.info("as usual")
    log.warning("the disk of %s is full", "y")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    full = [each.get("repeated", 1) for each in lines if each["message"] == "the disk of x is full"]
    assert full == [1, 2, 4, 8]
    assert sum(each["message"] == "as usual" for each in lines) == 9
    assert lines[-1]["message"] == "the disk of y is full"
    assert "repeated" not in lines[-1]


def warning(text: str, execution_id: str | None = None) -> logging.LogRecord:
    record = logging.LogRecord("test", logging.WARNING, "", 0, text, None, None)
    if execution_id is not None:
        record.execution_id = execution_id
    return record


def passes(now_s: Callable[[], float], *records: logging.LogRecord) -> list[bool]:
    counted = RepeatFilter(now_s)
    return [bool(counted.filter(record)) for record in records]


def test_each_execution_has_its_own_warnings() -> None:
    same = [warning("a", "exec_1"), warning("a", "exec_2"), warning("a", "exec_1"), warning("a", "exec_1")]
    assert passes(lambda: 0.0, *same) == [True, True, True, False]


def test_a_warning_that_was_silent_for_long_is_news_again() -> None:
    times = iter([0.0, 1.0, 2.0, 3.0 + FORGOTTEN_AFTER_S])
    assert passes(lambda: next(times), *(warning("a") for _ in range(4))) == [True, True, False, True]


def test_only_the_newest_warnings_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert REMEMBERED_MAX > 2
    monkeypatch.setattr(repeats, "REMEMBERED_MAX", 2)
    texts = ("a", "a", "a", "b", "c", "a")
    assert passes(lambda: 0.0, *map(warning, texts)) == [True, True, False, True, True, True]
