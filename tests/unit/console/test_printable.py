"""Text of a model on a terminal."""

import pytest

from supervisor.console.printable import printable


@pytest.mark.parametrize("text", ["Olá\n\tπ 漢字 é 😀", "a\u00a0b\u202fc"])
def test_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\b\x00", "a\\x0db\\x08\\x00"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),
        ("\u202e\u2066\u200b\u2028\ud800", "\\x202e\\x2066\\x200b\\x2028\\xd800"),
    ],
)
def test_what_a_terminal_obeys_is_written_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
