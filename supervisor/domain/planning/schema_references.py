"""References inside a JSON Schema: which part they name, and whether following them ends."""

import json
import re
from collections import deque
from graphlib import CycleError, TopologicalSorter
from urllib.parse import unquote

from pydantic import JsonValue

from supervisor.domain.planning.schema_places import Schema, join_pointer, refuse, split_pointer

__all__ = ["check_endings", "find_part", "find_target"]

# llama.cpp follows every way to begin a rule, and does not notice where it has been.
MAX_WAYS = 100_000
_REFERENCE = re.compile(r'"\$ref": "#/\$defs/(d[0-9]+)"')


def _walk(root: Schema, pointer: str) -> tuple[JsonValue] | None:
    part: JsonValue = root
    for step in split_pointer(pointer):
        if isinstance(part, dict) and step in part and (part is root or not _is_resource(part)):
            part = part[step]
        elif isinstance(part, list) and step.isdecimal() and int(step) < len(part):
            part = part[int(step)]
        else:
            return None
    return (part,)


def _is_resource(part: Schema) -> bool:
    """Return whether references inside a part start from the part, not from the whole schema."""
    return isinstance(part.get("$id"), str) or isinstance(part.get("id"), str)


def find_part(root: Schema, pointer: str) -> JsonValue:
    """Return the part of a schema at a pointer that `find_target` has returned."""
    found = _walk(root, pointer)
    return None if found is None else found[0]


def find_target(root: Schema, reference: JsonValue) -> str | None:
    """Return the pointer, in its one spelling, that a `$ref` names; None: it names no part of this schema."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    pointer = ""
    for step in split_pointer(unquote(reference[1:])):
        pointer = join_pointer(pointer, step)
    return None if _walk(root, pointer) is None else pointer


def _schemas_in(schema: Schema, keyword: str) -> list[Schema]:
    value = schema.get(keyword)
    parts = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return [part for part in parts if isinstance(part, dict)]


def _name_in(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _ends(schema: Schema, ending: set[str]) -> bool:
    """Return whether some document of a schema is finite, where the definitions named so far have one."""
    if "$ref" in schema:
        return _name_in(schema) in ending
    if "anyOf" in schema:
        return any(_ends(branch, ending) for branch in _schemas_in(schema, "anyOf"))
    items = schema.get("items")
    if isinstance(items, dict):
        return not schema["minItems"] or _ends(items, ending)
    needed, properties = schema.get("required"), schema.get("properties")
    if isinstance(needed, list) and isinstance(properties, dict):
        chosen = {name: value for name, value in properties.items() if name in needed}
        return all(_ends(value, ending) for value in _schemas_in({"chosen": chosen}, "chosen"))
    return all(_ends(entry, ending) for entry in _schemas_in(schema, "prefixItems"))


def _begins_with(schema: Schema) -> list[str]:
    """Return the definitions that a document of a schema can be, before any character of its own."""
    if "$ref" in schema:
        return [_name_in(schema)]
    return [name for branch in _schemas_in(schema, "anyOf") for name in _begins_with(branch)]


def _find_ending(definitions: dict[str, Schema]) -> set[str]:
    """Return the definitions that some finite document satisfies."""
    waiting: dict[str, list[str]] = {name: [] for name in definitions}
    for name, schema in definitions.items():
        for other in _REFERENCE.findall(json.dumps(schema)):
            waiting[other].append(name)
    ending: set[str] = set()
    todo = deque(definitions)
    while todo:
        name = todo.popleft()
        if name not in ending and _ends(definitions[name], ending):
            ending.add(name)
            todo.extend(waiting[name])
    return ending


def check_endings(definitions: dict[str, Schema], places: dict[str, str]) -> None:
    """Refuse definitions that lead back to themselves before a document begins, or that no finite document satisfies.

    Args:
        definitions: the rewritten schemas, by name.
        places: where the definitions that are referred to stand in the caller's schema, by name.

    Raises:
        Refusal: ``json_schema_unsupported``.
    """
    begins = {name: _begins_with(schema) for name, schema in definitions.items()}
    try:
        order = list(TopologicalSorter(begins).static_order())
    except CycleError as error:
        at = next((places[name] for name in error.args[1] if name in places), "")
        refuse("$ref", at, "it leads back to itself before a document begins")
    ways: dict[str, int] = {}
    for name in order:
        ways[name] = 1 + sum(ways[other] for other in begins[name])
        if ways[name] > MAX_WAYS:
            refuse("anyOf", places.get(name, ""), f"a document can begin in more than {MAX_WAYS} ways")
    for name in sorted(definitions.keys() - _find_ending(definitions)):
        refuse("$ref", places.get(name, ""), "no finite document satisfies what leads back here")
