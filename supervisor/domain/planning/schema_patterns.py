r"""Regular expressions of JSON Schema, rewritten so that every character stands in a set of characters.

The converter in the runner copies most of a pattern into the grammar as it stands. In the copy, escapes such as `\d`
are unknown, an alternative tears the quotes of the string apart, and a negated set holds the quote that ends the
string. A pattern of sets, groups, bars and repetitions alone has none of these faults. Where engines differ (`\s`,
`\W`), the set holds what all of them allow: the answer then matches in each.
"""

import re
from typing import NamedTuple

__all__ = ["Pattern", "PatternError", "rewrite_pattern"]

# llama.cpp refuses a repetition whose nested groups come to 2,000 rules, two for each time.
MAX_REPETITIONS = 900

_Ranges = list[tuple[int, int]]

_TOKEN = re.compile(
    r"""
      \[(?P<inverse>\^?)(?P<set>(?:[^\]\\]|\\.)*)\]
    | \\(?P<escape>x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)
    | (?P<repeat>(?:[*+?]|\{(?P<low>[0-9]{1,9})(?P<comma>,?)(?P<high>[0-9]{0,9})\})\??)
    | (?P<open>\((?:\?:)?(?!\?))
    | (?P<close>\))
    | (?P<bar>\|)
    | (?P<any>\.)
    | (?P<plain>[^\[\]{}()*+?|\\^$])
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_SET = re.compile(r"\\(?P<escape>x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)|(?P<plain>[^\\])", re.DOTALL)
_CLASSES: dict[str, _Ranges] = {
    "d": [(0x30, 0x39)],
    "w": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "s": [(0x20, 0x20)],
    # Printable ASCII: beyond it, engines do not agree on what a digit, a letter or a space is.
    "D": [(0x20, 0x2F), (0x3A, 0x7E)],
    "W": [(0x20, 0x2F), (0x3A, 0x40), (0x5B, 0x5E), (0x60, 0x60), (0x7B, 0x7E)],
    "S": [(0x21, 0x7E)],
}
# What cannot stand in a JSON string as it is, what is no character of UTF-8, and the line ends that `.` leaves out.
_FORBIDDEN: _Ranges = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x9F), (0xD800, 0xDFFF)]
_LINE_ENDS: _Ranges = [(0x2028, 0x2029)]
_LAST = 0x10FFFF


class PatternError(ValueError):
    """The pattern cannot be expressed; the message says why."""


class Pattern(NamedTuple):
    """A pattern in the converter's notation, and how many sets its repetitions come to."""

    text: str
    parts: int


def _subtract(ranges: _Ranges, holes: _Ranges) -> _Ranges:
    """Return the code points of some ranges that are in none of the others."""
    rest = ranges
    for low, high in holes:
        cut: _Ranges = []
        for first, last in rest:
            cut += [(first, min(last, low - 1))] if first < low else []
            cut += [(max(first, high + 1), last)] if last > high else []
        rest = cut
    return rest


def _character(point: int) -> str:
    text = chr(point)
    if text.isascii() and text.isalnum():
        return text
    # The converter copies the escape into the grammar.
    return f"\\U{point:08X}"


def _set_of(ranges: _Ranges) -> str:
    allowed = _subtract(ranges, _FORBIDDEN)
    if not allowed:
        message = "it asks for a character that a JSON string holds only as an escape"
        raise PatternError(message)
    written = (f"{_character(low)}-{_character(high)}" if high > low else _character(low) for low, high in allowed)
    return f"[{''.join(written)}]"


def _escaped(escape: str) -> _Ranges:
    if escape in _CLASSES:
        return _CLASSES[escape]
    if len(escape) > 1:
        point = int(escape[1:], 16)
        return [(point, point)]
    if escape.isalnum():
        message = f"the escape \\{escape} is not supported"
        raise PatternError(message)
    return [(ord(escape), ord(escape))]


def _ranges_of(text: str, *, inverse: bool) -> _Ranges:
    parts = [(found["escape"], found["plain"]) for found in _IN_SET.finditer(text)]
    ranges: _Ranges = []
    index = 0
    while index < len(parts):
        escape, plain = parts[index]
        first = _escaped(escape) if escape is not None else [(ord(plain), ord(plain))]
        if index + 2 < len(parts) and parts[index + 1][1] == "-":
            escape, plain = parts[index + 2]
            last = _escaped(escape) if escape is not None else [(ord(plain), ord(plain))]
            if max(len({*each}) for each in (*first, *last)) > 1 or first > last:
                message = "a range in a set is out of order"
                raise PatternError(message)
            ranges.append((first[0][0], last[0][1]))
            index += 3
        else:
            ranges += first
            index += 1
    if not ranges:
        message = "a set is empty"
        raise PatternError(message)
    return _subtract([(0, _LAST)], ranges) if inverse else ranges


class _Rewriter:
    """Rewrites one pattern without its anchors, from left to right."""

    def __init__(self) -> None:
        self._text: list[str] = []
        # How many sets the whole comes to, and each open group; a repetition counts as often as it may repeat.
        self._sizes = [0]
        self._last_size = 0
        self._repeatable = False
        self.has_bar = False

    @property
    def parts(self) -> int:
        return self._sizes[0]

    def rewrite(self, pattern: str) -> str:
        position = 0
        while position < len(pattern):
            found = _TOKEN.match(pattern, position)
            if found is None:
                message = f"it cannot be read from its character {pattern[position]!r} on"
                raise PatternError(message)
            position = found.end()
            self._take(str(found.lastgroup), found)
        if len(self._sizes) > 1:
            message = "a group is not closed"
            raise PatternError(message)
        return "".join(self._text)

    def _take(self, kind: str, found: re.Match[str]) -> None:
        if kind == "repeat":
            self._repeat(found)
            return
        self._repeatable = kind not in {"open", "bar"}
        if kind == "open":
            self._sizes.append(0)
            self._text.append("(")
        elif kind == "close":
            if len(self._sizes) == 1:
                message = "a group is closed that is not open"
                raise PatternError(message)
            self._last_size = self._sizes.pop()
            self._sizes[-1] += self._last_size
            self._text.append(")")
        elif kind == "bar":
            self.has_bar = self.has_bar or len(self._sizes) == 1
            self._text.append("|")
        else:
            self._last_size = 1
            self._sizes[-1] += 1
            self._text.append(_set_of(self._ranges(kind, found)))

    def _ranges(self, kind: str, found: re.Match[str]) -> _Ranges:
        if kind == "any":
            return _subtract([(0, _LAST)], _LINE_ENDS)
        if kind == "set":
            return _ranges_of(found["set"], inverse=bool(found["inverse"]))
        if kind == "escape":
            return _escaped(found["escape"])
        return [(ord(found["plain"]), ord(found["plain"]))]

    def _repeat(self, found: re.Match[str]) -> None:
        if not self._repeatable:
            message = "a repetition has nothing to repeat"
            raise PatternError(message)
        self._repeatable = False
        # A repetition that prefers less (`*?`) matches the same texts.
        sign = found["repeat"].removesuffix("?") or "?"
        self._text.append(sign)
        if found["low"] is None:
            return
        low = int(found["low"])
        # Without a maximum, the last repetition is without end.
        high = int(found["high"]) if found["high"] else low + bool(found["comma"])
        if high < low:
            message = "a repetition has a maximum below its minimum"
            raise PatternError(message)
        self._sizes[-1] += self._last_size * max(high - 1, 0)
        if high > MAX_REPETITIONS:
            message = f"it repeats more than {MAX_REPETITIONS} times"
            raise PatternError(message)


def rewrite_pattern(pattern: str) -> Pattern:
    """Return a pattern of sets, groups, bars and repetitions that matches only what the given pattern matches.

    Raises:
        PatternError: the pattern cannot be rewritten.
    """
    body = pattern.removeprefix("^")
    begins = len(body) < len(pattern)
    rest = body.removesuffix("$")
    slashes = len(rest) - len(rest.rstrip("\\"))
    ends = len(rest) < len(body) and slashes % 2 == 0
    rewriter = _Rewriter()
    text = rewriter.rewrite(rest if ends else body)
    if rewriter.has_bar and (begins or ends):
        message = "an anchor belongs to one alternative; put the alternatives in a group"
        raise PatternError(message)
    free = f"{_set_of(_subtract([(0, _LAST)], _LINE_ENDS))}*"
    whole = f"{'' if begins else free}({text}){'' if ends else free}"
    return Pattern(f"^{whole}$", rewriter.parts)
