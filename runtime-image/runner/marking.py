"""Which characters of a rendered chat come from the caller, and which from the template.

The caller's characters are marked before the template is rendered: a mark follows each of them. What carries no mark
afterwards was written by the template. White space is left unmarked, so that templates can trim it; it forms no token
that could begin a turn.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Span", "choose_mark", "find_sought", "mark_text", "strip_marks", "to_spans"]

# Noncharacters of Unicode: no text for interchange holds them.
MARKS = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))
_LITERAL = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
# A literal that is searched for in another text: the argument of a string's method, or the left side of `in`.
_SOUGHT = re.compile(
    rf"\.(?:split|rsplit|startswith|endswith|replace|find|index|count|strip|lstrip|rstrip)\(\s*({_LITERAL})"
    rf"|({_LITERAL})\s*\)?\s+(?:not\s+)?in\b",
    re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class Span(NamedTuple):
    """A stretch of a rendered chat."""

    text: str
    is_callers: bool


def choose_mark(texts: Sequence[str]) -> str | None:
    """Return a character that occurs in none of the texts, or None if there is none."""
    return next((mark for mark in MARKS if not any(mark in text for text in texts)), None)


def mark_text(text: str, mark: str, plain: Sequence[str] = ()) -> str:
    """Put a mark behind each character of a text that is no white space.

    Args:
        text: the caller's text.
        mark: a character that the text does not hold.
        plain: pieces of text that stay unmarked where they occur, the longest first.
    """
    if not plain:
        return re.sub(r"(\S)", rf"\1{mark}", text)
    pieces = re.split("(" + "|".join(re.escape(piece) for piece in plain) + ")", text)
    return "".join(piece if index % 2 else mark_text(piece, mark) for index, piece in enumerate(pieces))


def strip_marks(text: str, mark: str) -> str:
    """Return a rendered text without its marks."""
    return text.replace(mark, "")


def to_spans(rendered: str, mark: str) -> list[Span]:
    """Cut a rendered text where its origin changes; white space between the caller's characters counts as theirs."""
    pieces = re.split(f"((?:[^{mark}]{mark})(?:\\s*[^{mark}]{mark})*)", rendered)
    spans = (Span(strip_marks(piece, mark), bool(index % 2)) for index, piece in enumerate(pieces))
    return [span for span in spans if span.text]


def find_sought(template: str) -> list[str]:
    """Return the texts that a template looks for in other texts, the longest first; white space alone is left out."""
    literals = (match[1] or match[2] for match in _SOUGHT.finditer(template))
    found = {
        re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), literal[1:-1], flags=re.DOTALL)
        for literal in literals
    }
    return sorted((text for text in found if text.strip()), key=lambda text: (-len(text), text))
