"""Changes to JSON that leave it JSON, for a fuzzer whose own changes to bytes mostly end at the first bracket."""

import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["mutate_json_lines"]

_ODD_VALUES: tuple[Any, ...] = (
    0,
    -1,
    1,
    2**31,
    2**53 - 1,
    2**53,
    1e300,
    -0.0,
    "",
    "\ud800",
    "\0",
    "\N{EURO SIGN}" * 2000,
    None,
    True,
    [],
    {},
)
_Bytes = Callable[[bytes, int], bytes]


def mutate_json_lines(data: bytes, max_size: int, seed: int, mutate_bytes: _Bytes) -> bytes:
    """Change one value of one of the lines, or, where none of them is JSON and in every eighth case, some bytes."""
    choose = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    lines = data.split(b"\n")
    at = choose.randrange(len(lines))
    # In front of a line may stand the header of a frame.
    begin = max(0, lines[at].find(b"{"))
    if choose.randrange(8) == 0:
        return mutate_bytes(data, max_size)
    try:
        document = [json.loads(lines[at][begin:])]
    except (ValueError, RecursionError):
        return mutate_bytes(data, max_size)
    _change(document, choose, mutate_bytes)
    lines[at] = lines[at][:begin] + json.dumps(document[0], ensure_ascii=choose.random() < 0.5).encode(
        "utf-8", "replace"
    )
    return b"\n".join(lines)[:max_size]


def _change(document: list[Any], choose: random.Random, mutate_bytes: _Bytes) -> None:
    holder: Any = document
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and choose.random() < 0.9:
        holder = holder[key]
        key = choose.choice(list(holder)) if isinstance(holder, dict) else choose.randrange(len(holder))
    value = holder[key]
    action = choose.randrange(6)
    if action == 0 and holder is not document:
        del holder[key]
    elif action == 1:
        holder[key] = choose.choice(_ODD_VALUES)
    elif action == 2 and isinstance(holder, dict):
        holder[choose.choice(("", "type", "extra", key + "\n"))] = value
    elif isinstance(value, str):
        holder[key] = mutate_bytes(value.encode("utf-8", "surrogatepass"), len(value) + 8).decode("utf-8", "replace")
    elif isinstance(value, int):
        holder[key] = value + choose.choice((-1, 1, choose.randrange(-(2**16), 2**16)))
    else:
        holder[key] = [value]
