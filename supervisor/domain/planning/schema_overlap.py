"""Whether two JSON Schemas can accept one document: what `oneOf` needs to be expressed as alternatives."""

from pydantic import JsonValue

from supervisor.domain.planning.schema_places import Schema
from supervisor.domain.planning.schema_references import find_part, find_target

__all__ = ["Overlaps", "is_equal", "type_fits"]

# Enough for 40 alternatives told apart by one property; a schema that leads back to itself ends here.
MAX_STEPS = 20_000
MAX_REFERENCES = 8
MAX_DEPTH = 16
_ALL = frozenset({"object", "array", "string", "number", "boolean", "null"})
_TYPE_OF = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "boolean"}


def _type_of(value: JsonValue) -> str:
    return _TYPE_OF.get(type(value), "null")


def type_fits(value: JsonValue, kind: str) -> bool:
    """Return whether a value has a type; 1.0 counts as no integer, as in draft 4."""
    return type(value) is int if kind == "integer" else _type_of(value) == kind


def is_equal(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two JSON values are equal: 1 equals 1.0, and true does not equal 1."""
    if _type_of(one) != _type_of(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return one == other


def _values(schema: Schema) -> list[JsonValue] | None:
    """Return at least every value that the schema accepts; None: any."""
    if "const" in schema:
        return [schema["const"]]
    named = schema.get("enum")
    return named if isinstance(named, list) else None


def _properties(schema: Schema) -> Schema:
    named = schema.get("properties")
    return named if isinstance(named, dict) else {}


def _required(schema: Schema) -> set[str]:
    named = schema.get("required")
    return {name for name in named if isinstance(name, str)} if isinstance(named, list) else set()


def _forbids_one(schema: Schema, other: Schema) -> bool:
    """Return whether the schema forbids a property that the other requires."""
    if schema.get("additionalProperties") is not False or "patternProperties" in schema:
        return False
    return bool(_required(other) - _properties(schema).keys())


class Overlaps:
    """Compares the parts of one schema, as its author wrote them, for a bounded number of steps."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._steps = MAX_STEPS

    def are_disjoint(self, one: JsonValue, other: JsonValue, depth: int = 0) -> bool:
        """Return whether it is sure that no document is valid under both schemas; `depth` counts properties."""
        one, other = self._resolved(one), self._resolved(other)
        types = self._types(one) & self._types(other)
        if not types:
            return True
        if depth > MAX_DEPTH or not isinstance(one, dict) or not isinstance(other, dict):
            return False
        values, others = _values(one), _values(other)
        if values is not None and others is not None:
            self._steps -= len(values) * len(others)
            return self._steps > 0 and not any(is_equal(value, each) for value in values for each in others)
        if types != {"object"}:
            return False
        if _forbids_one(one, other) or _forbids_one(other, one):
            return True
        shared = _properties(one).keys() & _properties(other).keys() & (_required(one) | _required(other))
        ones, theirs = _properties(one), _properties(other)
        return any(self.are_disjoint(ones[name], theirs[name], depth + 1) for name in sorted(shared))

    def _resolved(self, schema: JsonValue) -> JsonValue:
        for _ in range(MAX_REFERENCES):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            target = find_target(self._root, schema["$ref"])
            schema = True if target is None else find_part(self._root, target)
        return True

    def _types(self, schema: JsonValue, depth: int = 0) -> frozenset[str]:
        """Return at least every type of which the schema accepts a document."""
        schema = self._resolved(schema)
        self._steps -= 1
        if schema is False:
            return frozenset()
        if self._steps <= 0 or depth > MAX_DEPTH or not isinstance(schema, dict):
            return _ALL
        types = _ALL
        if "type" in schema:
            named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            types &= {"number" if kind == "integer" else str(kind) for kind in named}
        values = _values(schema)
        if values is not None:
            types &= {_type_of(value) for value in values}
        for keyword in ("anyOf", "oneOf"):
            branches = schema.get(keyword)
            if isinstance(branches, list):
                types &= frozenset[str]().union(*(self._types(branch, depth + 1) for branch in branches))
        return types
