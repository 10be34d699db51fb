"""Documents made from a published JSON Schema: valid ones, and valid ones with something changed."""

import copy
import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

__all__ = ["changed", "json_values", "valid"]

Schema = dict[str, Any]
SAFE = 2**53 - 1
# JSON Schema counts 1.0 as an integer and our parsers do not, so no fraction is whole here; one test says so apart.
_FRACTIONS = st.integers(-(10**6), 10**6).map(lambda n: n + 0.25) | st.sampled_from([0.004, 0.01, 1e-300, 5e-324])
_SCALARS = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | _FRACTIONS | st.text(max_size=20)


def json_values() -> st.SearchStrategy[Any]:
    """Any JSON value, small."""
    return st.recursive(
        _SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    )


def valid(schema: Schema, definitions: dict[str, Schema] | None = None) -> st.SearchStrategy[Any]:
    """Values that the schema allows, as far as its types say; conditions (`if`) are left to whoever validates."""
    known = definitions if definitions is not None else schema.get("$defs", {})
    if "$ref" in schema:
        return valid(known[schema["$ref"].rpartition("/")[2]], known)
    for fixed in ("const", "enum"):
        if fixed in schema:
            return st.sampled_from(schema[fixed] if fixed == "enum" else [schema[fixed]])
    if "anyOf" in schema:
        # What stands beside the choices (a title, a default, a range) is narrowed by them, or narrows them.
        rest = {name: value for name, value in schema.items() if name != "anyOf"}
        return st.one_of([valid({**rest, **choice}, known) for choice in schema["anyOf"]])
    make = _VALUES.get(schema.get("type", ""))
    return json_values() if make is None else make(schema, known)


def _text(schema: Schema, _: dict[str, Schema]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        longest = schema.get("maxLength", SAFE)
        pattern: str = schema["pattern"]
        return st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) <= longest)
    low, high = schema.get("minLength", 0), schema.get("maxLength", 40)
    edges = [count for count in (low, high) if count <= 5000]
    return st.text(min_size=low, max_size=min(high, low + 40)) | st.sampled_from(edges).map(
        lambda count: "\u20ac" * count
    )


def _integer(schema: Schema, _: dict[str, Schema]) -> st.SearchStrategy[int]:
    low, high = schema.get("minimum", -SAFE), schema.get("maximum", SAFE)
    return st.integers(low, high) | st.sampled_from([low, high])


def _number(schema: Schema, _: dict[str, Schema]) -> st.SearchStrategy[float]:
    low: Any = schema.get("minimum", schema.get("exclusiveMinimum", -1e9))
    high: Any = schema.get("maximum", schema.get("exclusiveMaximum", 1e9))
    inner = st.floats(low, high, exclude_min="exclusiveMinimum" in schema, exclude_max="exclusiveMaximum" in schema)
    whole = st.integers(math.ceil(low), math.floor(high))
    return inner.map(lambda number: int(number) if number.is_integer() else number) | whole


def _array(schema: Schema, known: dict[str, Schema]) -> st.SearchStrategy[list[Any]]:
    if "prefixItems" in schema:
        return st.tuples(*(valid(item, known) for item in schema["prefixItems"])).map(list)
    low, high = schema.get("minItems", 0), schema.get("maxItems", 4)
    return st.lists(valid(schema["items"], known), min_size=low, max_size=min(high, low + 4))


def _object(schema: Schema, known: dict[str, Schema]) -> st.SearchStrategy[dict[str, Any]]:
    if "patternProperties" in schema:
        kinds = [
            st.dictionaries(valid({"type": "string", "pattern": pattern}, known), valid(value, known), max_size=3)
            for pattern, value in schema["patternProperties"].items()
        ]
        return st.one_of(kinds)
    if "properties" not in schema:
        names = valid(schema.get("propertyNames", {"type": "string", "maxLength": 8}), known)
        extra = schema.get("additionalProperties", True)
        return st.dictionaries(names, json_values() if extra is True else valid(extra, known), max_size=3)
    if "if" in schema:
        plain = {name: value for name, value in schema.items() if name not in {"if", "then"}}
        return st.one_of(_object(plain, known), _object({**plain, "properties": _condition_met(schema)}, known))
    fields = {name: valid(value, known) for name, value in schema["properties"].items()}
    required = schema.get("required", ())
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


def _condition_met(schema: Schema) -> dict[str, Schema]:
    met = dict(schema["properties"])
    for condition in (schema["if"], schema["then"]):
        for name, narrowed in condition["properties"].items():
            met[name] = {**met[name], **narrowed}
    return met


_VALUES: dict[str, Callable[[Schema, dict[str, Schema]], st.SearchStrategy[Any]]] = {
    "array": _array,
    "boolean": lambda *_: st.booleans(),
    "integer": _integer,
    "null": lambda *_: st.none(),
    "number": _number,
    "object": _object,
    "string": _text,
}


def _places(value: Any, way: tuple[int | str, ...] = ()) -> list[tuple[int | str, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, item in inner for place in _places(item, (*way, key)))]


def _neighbours(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, bool) or value is None:
        return json_values()
    if isinstance(value, int):
        return st.sampled_from([value + 1, value - 1, -value, value % 1000 + 0.25, 0, SAFE, str(value)])
    if isinstance(value, float):
        return st.sampled_from([-value, value % 1000 // 1 + 0.25, 0, 0.009, 0.25, 1])
    if isinstance(value, str):
        return st.sampled_from(
            [value + "\n", value + "\u0663", value[:-1], value.upper(), "", "\0" + value, value * 70]
        )
    if isinstance(value, list):
        return st.sampled_from([value * 2, value * 20, [*value, None], value[1:], {}])
    return st.sampled_from([{**value, "": 1}, [value], {**value, "extra": None}])


@st.composite
def changed(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """A document with one to three of its values replaced by near ones or by others, or taken away."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = ("document", *draw(st.sampled_from(_places(document))))
        whole: dict[Any, Any] = {"document": document}
        holder: Any = whole
        for key in way:
            holder = holder[key]
        if draw(st.integers(0, 4)) == 0 and isinstance(holder, dict) and holder is not whole:
            del holder[last]
        else:
            holder[last] = draw(_neighbours(holder[last]) | json_values())
        document = whole["document"]
    return document
