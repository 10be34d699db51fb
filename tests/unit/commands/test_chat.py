"""`weos-engine chat`: through a pipe in this process, and at a terminal of its own in another."""

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from contracts.execution.run_request import MAX_PROMPT_BYTES, RunRequest
from supervisor.adapters.home import Home
from supervisor.client.asking import DEFAULT_SYSTEM
from tests.places import REPOSITORY
from tests.supervisor_stand_in import Refused, StandIn, model_view, said, serving
from tests.unit.commands.conftest import Call

WAIT_S = 30
# Opened by the first process of a session, a terminal becomes its controlling one, which turns Ctrl-C into a signal.
# A shell's background job ignores that signal, and its children would inherit this.
AT_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
terminal = os.open(sys.argv[1], os.O_RDWR)
for each in (0, 1, 2):
    os.dup2(terminal, each)
os.execv(sys.executable, [sys.executable, "-m", "supervisor", *sys.argv[2:]])
"""
CTRL_C, CTRL_D = "\x03", "\x04"


def turns_of(stand_in: StandIn) -> list[list[str]]:
    """The contents of each request's messages, without the default instruction."""
    for request in stand_in.requests:
        RunRequest.parse(json.dumps(request).encode())
    return [
        [each["content"] for each in request["messages"] if each["content"] != DEFAULT_SYSTEM]
        for request in stand_in.requests
    ]


def numbered(request: dict[str, Any]) -> Iterator[Any]:
    """Answer each question with the number of its turn."""
    return said("answer ", str(sum(each["role"] != "system" for each in request["messages"])))(request)


def test_each_line_of_a_pipe_is_a_turn_with_the_whole_history(stand_in: StandIn, weos: Call) -> None:
    stand_in.script = numbered
    called = weos("chat", "--system", "Be short.", "--max-tokens", "7", stdin=b"one\n\n  two  \nthree")
    assert (called.code, called.out) == (0, "answer 1\nanswer 3\nanswer 5\n")
    assert turns_of(stand_in) == [
        ["Be short.", "one"],
        ["Be short.", "one", "answer 1", "two"],
        ["Be short.", "one", "answer 1", "two", "answer 3", "three"],
    ]
    roles = [each["role"] for each in stand_in.requests[2]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert {request["execution"]["limits"]["max_tokens"] for request in stand_in.requests} == {7}
    assert called.err.count("exec_") == 3


def test_a_line_of_a_pipe_is_never_a_command(stand_in: StandIn, weos: Call, tmp_path: Path) -> None:
    line = f"/save {tmp_path / 'written'}"
    assert weos("chat", stdin=line.encode()).code == 0
    assert turns_of(stand_in) == [[line]]
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"x" * (MAX_PROMPT_BYTES + 1), f"line 2 has more than {MAX_PROMPT_BYTES} bytes"),
        (b"x\xff", "line 2 is not UTF-8 at byte 1"),
    ],
)
def test_a_line_that_is_no_question_ends_the_conversation(
    stand_in: StandIn, weos: Call, line: bytes, told: str
) -> None:
    called = weos("chat", stdin=b"one\n" + line + b"\nthree\n")
    assert (called.code, told in called.err) == (1, True)
    assert turns_of(stand_in) == [["one"]]


def overflowing(_request: dict[str, Any]) -> Iterator[Any]:
    raise Refused("context_overflow", "prompt and max_tokens together do not fit the context.")


def test_a_history_that_outgrows_the_context_is_told_and_nothing_is_left_out(stand_in: StandIn, weos: Call) -> None:
    stand_in.script = lambda request: (numbered if len(request["messages"]) < 4 else overflowing)(request)
    called = weos("chat", stdin=b"one\ntwo\nthree\n")
    assert (called.code, called.out) == (1, "answer 1\n")
    assert "context_overflow: " in called.err
    assert "The whole conversation goes to the model" in called.err
    assert turns_of(stand_in) == [["one"], ["one", "answer 1", "two"]]


def test_another_refusal_ends_a_pipe_too(stand_in: StandIn, weos: Call) -> None:
    def full(_request: dict[str, Any]) -> Iterator[Any]:
        raise Refused("queue_full", "come again")

    stand_in.script = full
    called = weos("chat", stdin=b"one\ntwo\n")
    assert (called.code, called.err) == (1, "queue_full: come again\n")
    assert len(stand_in.requests) == 1


def test_a_model_without_a_template_is_told_at_the_start(stand_in: StandIn, weos: Call) -> None:
    stand_in.models = [model_view("plain", chat_template=None)]
    called = weos("chat", stdin=b"one\n")
    assert (called.code, stand_in.requests) == (1, [])
    assert called.err.startswith("chat_template_missing: the file of plain carries no chat template")


def test_an_empty_answer_explains_itself_and_is_no_turn(stand_in: StandIn, weos: Call) -> None:
    def first_empty(request: dict[str, Any]) -> Iterator[Any]:
        return said()(request) if len(stand_in.requests) == 1 else numbered(request)

    stand_in.script = first_empty
    called = weos("chat", stdin=b"one\ntwo\n")
    assert "The answer is empty" in called.err
    assert turns_of(stand_in) == [["one"], ["two"]]


def test_an_answer_that_was_cut_off_says_so(stand_in: StandIn, weos: Call) -> None:
    stand_in.script = said("a", finish_reason="length")
    assert "cut off by --max-tokens" in weos("chat", stdin=b"one\n").err


def without_system(request: dict[str, Any]) -> Iterator[Any]:
    """Answer as an engine whose model's template takes no system message."""
    if request["messages"][0]["role"] == "system":
        raise Refused("template_refused", "no system message")
    return numbered(request)


def test_the_default_instruction_is_dropped_where_the_template_takes_none(stand_in: StandIn, weos: Call) -> None:
    stand_in.script = without_system
    called = weos("chat", stdin=b"one\ntwo\n")
    assert (called.code, called.out) == (0, "answer 1\nanswer 3\n")
    assert called.err.count("takes no system message") == 1
    roles = [[each["role"] for each in request["messages"]] for request in stand_in.requests]
    assert roles == [["system", "user"], ["user"], ["user", "assistant", "user"]]


def test_an_instruction_of_a_person_is_never_dropped(stand_in: StandIn, weos: Call) -> None:
    stand_in.script = without_system
    called = weos("chat", "--system", "Be short.", stdin=b"one\n")
    assert (called.code, called.err) == (1, "template_refused: no system message\n")


def test_a_conversation_without_an_instruction_is_possible(stand_in: StandIn, weos: Call) -> None:
    assert weos("chat", "--system", "", stdin=b"one\n").code == 0
    assert [each["role"] for each in stand_in.requests[0]["messages"]] == ["user"]


class Screen(io.StringIO):
    """Standard output on a terminal."""

    def isatty(self) -> bool:
        return True


def test_at_the_prompt_ctrl_c_gives_up_the_line_and_bad_text_is_told(
    stand_in: StandIn, weos: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    typed: Iterator[str | BaseException] = iter(
        [KeyboardInterrupt(), bad, "x" * (MAX_PROMPT_BYTES + 1), "  ", " one ", EOFError()]
    )

    def read(_prompt: str) -> str:
        line = next(typed)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("sys.stdout", Screen())
    called = weos("chat", is_terminal=True)
    assert called.code == 0
    assert "the line is not UTF-8" in called.err
    assert f"more than {MAX_PROMPT_BYTES} bytes" in called.err
    assert turns_of(stand_in) == [["one"]]


class Terminal:
    """`weos-engine chat` at a terminal."""

    def __init__(self, home: Home, *arguments: str) -> None:
        # Ours stays open, because reading fails while nobody has opened the other side.
        self._master, self._slave = pty.openpty()
        command = [sys.executable, "-c", AT_TERMINAL, os.ttyname(self._slave), "chat", *arguments]
        environment = {
            **os.environ,
            **{"WEOS_HOME": str(home.root), "TERM": "dumb", "INPUTRC": "/dev/null", "PYTHONPATH": str(REPOSITORY)},
        }
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, cwd=home.root)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, text: str) -> str:
        """Return what is shown up to a text."""
        deadline_s = time.monotonic() + WAIT_S
        while text not in self._seen:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, self._seen
            assert select.select([self._master], [], [], left_s)[0], self._seen
            self._seen += os.read(self._master, 65536).decode()
        before, _, self._seen = self._seen.partition(text)
        return before + text

    def end(self) -> int:
        """End the conversation with Ctrl-D, and return the exit status."""
        # A terminal keeps Ctrl-D only for a program that waits at its prompt, as after this.
        self.type("/help\n")
        self.until("a space before it.")
        self.until("> ")
        self.type(CTRL_D)
        return self.code()

    def code(self) -> int:
        """Return the exit status."""
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    return home


@pytest.fixture
def terminal(home: Home) -> Iterator[tuple[Terminal, StandIn]]:
    with serving(home, StandIn(script=numbered)) as stand_in, closing(Terminal(home)) as opened:
        opened.until("> ")
        yield opened, stand_in


def test_a_person_holds_a_conversation(terminal: tuple[Terminal, StandIn], home: Home) -> None:
    person, stand_in = terminal
    person.type("one\n")
    person.until("answer 1")
    assert stand_in.execution_id() in person.until("> ")
    person.type(" /two\n")
    person.until("answer 3")
    person.until("> ")
    person.type("/save talk.json\n")
    person.until("talk.json is written")
    person.type("/save talk.json\n")
    person.until("File exists")
    person.type("/record proof.json\n")
    person.until("proof.json is written")
    person.type("/system Be short.\n")
    person.until("from the next question on")
    person.type("/reset\n")
    person.until("is forgotten")
    person.type("/nonsense\n")
    person.until("there is no command /nonsense")
    person.type("/help\n")
    person.until("/quit")
    person.type("three\n")
    person.until("answer 1")
    person.until("> ")
    person.type("/quit\n")
    assert person.code() == 0
    assert turns_of(stand_in) == [["one"], ["one", "answer 1", "/two"], ["Be short.", "three"]]
    saved = json.loads((home.root / "talk.json").read_bytes())
    assert [each["content"] for each in saved] == [DEFAULT_SYSTEM, "one", "answer 1", "/two", "answer 3"]
    assert json.loads((home.root / "proof.json").read_bytes()) == stand_in.document_at("/record")


def test_a_control_character_of_the_model_is_shown_and_not_obeyed(terminal: tuple[Terminal, StandIn]) -> None:
    person, stand_in = terminal
    stand_in.script = said("a\x1b]0;title\x07b\u00a0c\n", rest="\u202ed")
    person.type("one\n")
    shown = person.until("\\x202ed")
    assert "a\\x1b]0;title\\x07b\u00a0c\r\n" in shown
    assert person.end() == 0


def test_ctrl_c_cancels_the_answer_and_the_conversation_goes_on(terminal: tuple[Terminal, StandIn]) -> None:
    person, stand_in = terminal

    def endless(request: dict[str, Any]) -> Iterator[Any]:
        yield "token", {"index": 0, "text": "for ever"}
        stand_in.released.wait(WAIT_S)

    person.type("one\n")
    person.until("answer 1")
    person.until("> ")
    stand_in.script = endless
    person.type("two\n")
    person.until("for ever")
    running = stand_in.execution_id()
    person.type(CTRL_C)
    person.until("cancelled, its record is kept")
    person.until("> ")
    assert stand_in.cancelled == [running]
    person.type("/record\n")
    person.until(f"/v1/runs/{running}/record")
    stand_in.script = numbered
    person.type("three\n")
    person.until("answer 3")
    person.until("> ")
    assert person.end() == 0
    assert turns_of(stand_in) == [["one"], ["one", "answer 1", "two"], ["one", "answer 1", "three"]]


def test_a_refused_turn_leaves_the_conversation_as_it_was(terminal: tuple[Terminal, StandIn]) -> None:
    person, stand_in = terminal
    person.type("/record\n/save x\n")
    person.until("nothing was executed yet")
    person.until("nothing to save yet")
    stand_in.script = overflowing
    person.type("one\n")
    person.until("context_overflow: ")
    person.until("/reset")
    person.until("> ")
    stand_in.script = numbered
    person.type("two\n")
    person.until("answer 1")
    person.until("> ")
    person.type("/save\n/system\n")
    person.until("name a file")
    person.until("has no instruction")
    assert person.end() == 0
    assert turns_of(stand_in) == [["one"], ["two"]]


def test_what_is_waited_for_is_shown_until_the_answer_comes(terminal: tuple[Terminal, StandIn]) -> None:
    person, stand_in = terminal

    def queued(request: dict[str, Any]) -> Iterator[Any]:
        yield "started", {"execution_id": stand_in.execution_id()}
        stand_in.released.wait(WAIT_S)
        yield from numbered(request)

    stand_in.script = queued
    person.type("one\n")
    person.until("place 3 in the queue")
    stand_in.released.set()
    shown = person.until("answer 1")
    assert "\r\x1b[K" in shown
    assert person.end() == 0
