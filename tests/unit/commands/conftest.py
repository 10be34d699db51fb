"""The command line in this process, against a stand-in of the supervisor."""

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from supervisor import cli
from supervisor.adapters.home import Home
from tests.supervisor_stand_in import StandIn, serving


class Input(io.TextIOWrapper):
    """Standard input, from a pipe or a terminal."""

    def __init__(self, data: bytes, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@dataclass(frozen=True)
class Called:
    """What a call of the command line did."""

    code: int
    out: str
    err: str


Call = Callable[..., Called]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    home = Home(tmp_path / "home")
    monkeypatch.setenv("WEOS_HOME", str(home.root))
    with serving(home, StandIn()) as served:
        yield served


@pytest.fixture
def weos(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str, stdin: bytes = b"", is_terminal: bool = False) -> Called:
        monkeypatch.setattr(sys, "argv", ["weos-engine", *arguments])
        monkeypatch.setattr(sys, "stdin", Input(stdin, is_terminal=is_terminal))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Called(int(ended.value.code or 0), said.out, said.err)

    return call
