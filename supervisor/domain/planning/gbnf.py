"""GBNF, llama.cpp's notation for grammars, read before llama.cpp sees it.

llama.cpp refuses a syntax error, but some grammars of correct syntax make it use up time or memory, or end its process:
a recursion on the left that it does not see, a repetition whose maximum is below its minimum, too many ways to begin.
Those are refused here, and so is what llama.cpp would read in another way than it is written.
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple, NoReturn

from supervisor.domain.errors import Refusal

__all__ = ["Characters", "Item", "Rules", "read_grammar"]

ROOT = "root"
# llama.cpp's own bound (MAX_REPETITION_THRESHOLD); it reads a larger maximum as none.
MAX_REPETITIONS = 2000
# Every open group is a call inside a call in llama.cpp's parser; 14,000 were tried on a stack of 8 MiB.
MAX_DEPTH = 1000
# llama.cpp repeats a literal that is repeated, character by character.
MAX_CHARACTERS = 200_000
# llama.cpp follows every way to begin a rule: 16 million of them take 0.8 s, and each takes memory.
MAX_WAYS = 100_000
NAME_CHARS_SHOWN = 64

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t]+|\#[^\r\n]*)
    | (?P<newline>\r\n?|\n)
    | (?P<define>::=)
    | (?P<name>[A-Za-z0-9-]+)
    | "(?P<literal>(?:[^"\\]|\\.)*)"
    | \[(?P<inverse>\^?)(?P<set>(?:[^\]\\]|\\.)*)\]
    | (?P<token>!?<[^>]*>)
    | (?P<any>\.)
    | (?P<sign>[*+?])
    | \{\s*(?P<low>[0-9]{1,9})\s*(?P<comma>,?)\s*(?P<high>[0-9]{0,9})\s*\}
    | (?P<bar>\|)
    | (?P<open>\()
    | (?P<close>\))
    """,
    re.VERBOSE | re.DOTALL,
)
_CHARACTER = re.compile(
    r'\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([tnr\\"\[\]-]))|([^\\])', re.DOTALL
)
_CONTROLS = {"t": 0x09, "n": 0x0A, "r": 0x0D}
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class Characters(NamedTuple):
    """One character out of ranges of code points, or one outside of them."""

    ranges: tuple[tuple[int, int], ...]
    inverse: bool


class Item(NamedTuple):
    """A part of a sequence: a literal, or the name of another rule, `low` to `high` times; `high` None: no bound.

    A token of the model's vocabulary is a literal of no known characters: `literal` is None, and so is `rule`.
    """

    literal: tuple[Characters, ...] | None = None
    rule: str | None = None
    low: int = 1
    high: int | None = 1


# The alternatives of every rule. A group in parentheses is a rule too; its name has an underscore, which no other has.
Rules = dict[str, list[list[Item]]]


def _refuse(reason: str) -> NoReturn:
    raise Refusal("grammar_invalid", reason, field="/execution/grammar")


def _code_points(text: str) -> Iterator[tuple[int, bool]]:
    """Yield each character's code point, and whether the character is a bare hyphen."""
    position = 0
    while position < len(text):
        found = _CHARACTER.match(text, position)
        if found is None:
            _refuse(f"an escape in the grammar is unknown: {text[position : position + 2]}")
        position = found.end()
        two, four, eight, sign, plain = found.groups()
        if sign is not None:
            yield _CONTROLS.get(sign, ord(sign)), False
        elif plain is not None:
            yield ord(plain), plain == "-"
        else:
            yield int(two or four or eight, 16), False


def _read_set(text: str, *, inverse: bool) -> Characters:
    points = list(_code_points(text))
    ranges: list[tuple[int, int]] = []
    while points:
        low, _ = points.pop(0)
        high = low
        if len(points) > 1 and points[0][1]:
            points.pop(0)
            high, _ = points.pop(0)
        if high < low:
            _refuse("a range of characters in the grammar ends before it begins")
        ranges.append((low, high))
    if not ranges:
        _refuse("a set of characters in the grammar is empty")
    return Characters(tuple(ranges), inverse)


class _Reader:
    """Reads one grammar from left to right; open groups wait on a stack."""

    def __init__(self) -> None:
        self.rules: Rules = {}
        self._open: list[str] = []
        self._rule = ""
        self._characters = 0
        # Whether the next item can be repeated, and whether a line may end here.
        self._repeatable = False
        self._continues = False

    def read(self, text: str) -> Rules:
        position, name = 0, ""
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                line = text.count("\n", 0, position) + 1
                _refuse(f"line {line} of the grammar cannot be read from its character {text[position]!r} on")
            position = found.end()
            kind = str(found.lastgroup)
            if name:
                if kind == "define":
                    self._begin(name)
                    name = ""
                elif kind != "space":
                    _refuse(f"`::=` must follow the name {name[:NAME_CHARS_SHOWN]} in the grammar")
            elif not self._rule and kind == "name":
                name = found["name"]
            elif kind not in {"space", "newline"} and not self._rule:
                _refuse("a line of the grammar does not begin with the name of a rule")
            else:
                self._take(kind, found)
        if name or self._open:
            _refuse("the grammar ends inside a rule")
        return self.rules

    def _begin(self, name: str) -> None:
        if name in self.rules:
            _refuse(f"the grammar defines the rule {name[:NAME_CHARS_SHOWN]} twice")
        self._rule = name
        self.rules[name] = [[]]
        self._repeatable, self._continues = False, True

    def _take(self, kind: str, found: re.Match[str]) -> None:
        if kind == "space":
            return
        if kind == "newline":
            if not self._open and not self._continues:
                self._rule = ""
            return
        self._continues = False
        alternatives = self.rules[self._open[-1] if self._open else self._rule]
        if kind in {"sign", "high"}:
            self._repeat(kind, found, alternatives[-1])
        elif kind == "bar":
            alternatives.append([])
            self._repeatable, self._continues = False, True
        elif kind == "open":
            if len(self._open) >= MAX_DEPTH:
                _refuse(f"the grammar nests more than {MAX_DEPTH} groups")
            group = f"{self._rule}_{len(self.rules)}"
            self.rules[group] = [[]]
            alternatives[-1].append(Item(rule=group))
            self._open.append(group)
            self._repeatable = False
        elif kind == "close":
            if not self._open:
                _refuse("the grammar closes a group that is not open")
            self._open.pop()
            self._repeatable = True
        elif kind == "define":
            _refuse("`::=` stands in the middle of a rule of the grammar")
        else:
            self._add(kind, found, alternatives[-1])

    def _add(self, kind: str, found: re.Match[str], sequence: list[Item]) -> None:
        self._repeatable = True
        if kind == "name":
            sequence.append(Item(rule=found["name"]))
        elif kind == "token":
            sequence.append(Item())
        elif kind == "any":
            sequence.append(Item(literal=(Characters((), inverse=True),)))
        elif kind == "set":
            sequence.append(Item(literal=(_read_set(found["set"], inverse=bool(found["inverse"])),)))
        else:
            points = _code_points(found["literal"])
            sequence.append(Item(literal=tuple(Characters(((point, point),), inverse=False) for point, _ in points)))
            self._repeatable = bool(sequence[-1].literal)

    def _repeat(self, kind: str, found: re.Match[str], sequence: list[Item]) -> None:
        if not self._repeatable:
            _refuse("a repetition in the grammar has nothing to repeat")
        if kind == "sign":
            low, high = _SIGNS[found["sign"]]
        else:
            low = int(found["low"])
            high = int(found["high"]) if found["high"] else None if found["comma"] else low
        if max(low, high or 0) > MAX_REPETITIONS:
            _refuse(f"the grammar repeats more than {MAX_REPETITIONS} times; without a maximum there is no such bound")
        if high is not None and high < low:
            _refuse("a repetition in the grammar has a maximum below its minimum")
        self._characters += len(sequence[-1].literal or "x") * max(low, high or 1)
        if self._characters > MAX_CHARACTERS:
            _refuse(f"the repetitions of the grammar come to more than {MAX_CHARACTERS} characters")
        sequence[-1] = sequence[-1]._replace(low=low, high=high)
        # A second sign after the first would repeat the repetition; a group says so plainly.
        self._repeatable = False


def _find_empty(rules: Rules) -> set[str]:
    """Return the rules that may match nothing."""
    waiting: dict[str, list[tuple[str, int]]] = defaultdict(list)
    missing: dict[tuple[str, int], int] = {}
    empty: set[str] = set()
    new: deque[str] = deque()
    for name, alternatives in rules.items():
        for index, sequence in enumerate(alternatives):
            needed = [item for item in sequence if item.low and item.literal != ()]
            missing[name, index] = len(needed)
            for item in needed:
                waiting[item.rule or ""].append((name, index))
            if not needed:
                new.append(name)
    while new:
        name = new.popleft()
        if name in empty:
            continue
        empty.add(name)
        for place in waiting[name]:
            missing[place] -= 1
            if not missing[place]:
                new.append(place[0])
    return empty


def _count_ways(rules: Rules) -> None:
    """Refuse what begins with itself, and what begins in too many ways."""
    empty = _find_empty(rules)
    begins: dict[str, list[tuple[str, int]]] = {name: [] for name in rules}
    for name, alternatives in rules.items():
        for sequence in alternatives:
            for item in sequence:
                is_empty = item.low == 0 or item.rule in empty or item.literal == ()
                if item.rule is not None:
                    begins[name].append((item.rule, (item.high or item.low + 1) if item.rule in empty else 1))
                if not is_empty:
                    break
    try:
        order = list(TopologicalSorter({name: [rule for rule, _ in begins[name]] for name in rules}).static_order())
    except CycleError as error:
        names = [name.split("_")[0] for name in error.args[1]]
        _refuse(f"the rule {names[0][:NAME_CHARS_SHOWN]} of the grammar begins with itself (left recursion)")
    ways: dict[str, int] = {}
    for name in order:
        ways[name] = len(rules[name]) + sum(ways[rule] * times for rule, times in begins[name])
        if ways[name] > MAX_WAYS:
            shown = name.split("_")[0][:NAME_CHARS_SHOWN]
            _refuse(f"the rule {shown} of the grammar begins in more than {MAX_WAYS} ways")


def read_grammar(text: str) -> Rules:
    """Read a grammar in GBNF.

    Raises:
        Refusal: ``grammar_invalid``; llama.cpp cannot follow the grammar, or could not follow it within bounds.
    """
    if "\0" in text:
        _refuse("the grammar has a character U+0000")
    rules = _Reader().read(text)
    if ROOT not in rules:
        _refuse(f"the grammar has no rule named `{ROOT}`")
    for alternatives in rules.values():
        for item in (item for sequence in alternatives for item in sequence):
            if item.rule is not None and item.rule not in rules:
                _refuse(f"the grammar uses the rule {item.rule[:NAME_CHARS_SHOWN]} and does not define it")
    _count_ways(rules)
    return rules
