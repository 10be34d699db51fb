"""Texts that a grammar in GBNF allows, chosen at random: the grammar alone decides, no model does."""

from collections.abc import Iterator
from random import Random

from supervisor.domain.planning.gbnf import Characters, Item, Rules

__all__ = ["walk_grammar"]

# Deeper, the shortest alternative is taken and nothing is repeated in excess; a walk that is still too long is dropped.
DEEP = 12
MAX_STEPS = 3000
MORE_TIMES = 3
# ASCII, control characters, Latin and an emoji: what strings, patterns and inverse sets treat in different ways.
RANGES = ((0x20, 0x7E), (0x00, 0x1F), (0x7F, 0x24F), (0x2028, 0x2029), (0x1F600, 0x1F600))


def walk_grammar(rules: Rules, wanted: int, seed: int = 0) -> list[str]:
    """Return `wanted` texts of the rule `root`, or fewer; they are the same for the same seed."""
    random = Random(seed)  # noqa: S311 - a choice of tests
    walks = (_walk(rules, random) for _ in range(wanted * 8))
    return [text for text, _ in zip((text for text in walks if text is not None), range(wanted), strict=False)]


def _walk(rules: Rules, random: Random) -> str | None:
    text: list[str] = []
    waiting: list[tuple[Item, int]] = [(Item(rule="root"), 0)]
    for _ in range(MAX_STEPS):
        if not waiting:
            return "".join(text)
        item, depth = waiting.pop()
        if item.rule is None:
            text.extend(_character(each, random) for each in item.literal or ())
            continue
        alternatives = rules[item.rule]
        chosen = random.choice(alternatives) if depth < DEEP else min(alternatives, key=len)
        waiting += reversed(list(_repeated(chosen, depth, random)))
    return None


def _repeated(sequence: list[Item], depth: int, random: Random) -> Iterator[tuple[Item, int]]:
    for item in sequence:
        most = item.low + MORE_TIMES if item.high is None else item.high
        times = random.randint(item.low, most) if depth < DEEP else item.low
        yield from [(item._replace(low=1, high=1), depth + 1)] * times


def _character(characters: Characters, random: Random) -> str:
    if not characters.inverse:
        return chr(random.randint(*random.choice(characters.ranges)))
    while True:
        point = random.randint(*random.choice(RANGES))
        if not any(low <= point <= high for low, high in characters.ranges):
            return chr(point)
