"""JSON Schemas that a grammar can enforce, rewritten so that the runner's converter gets them right.

The converter passes over keywords that it does not know, and over most keywords beside `$ref`, `enum`, `anyOf` or a
list of types; its rules for two properties or definitions can get one name. So every keyword is either rewritten here
into a form without these faults, or refused by name. The promise is one way: every document that the grammar produces
is valid under the schema. Objects get the properties that the schema names, and no others; required ones come first.
"""

import json

from pydantic import JsonValue

from contracts.execution.run_request import MAX_GRAMMAR_BYTES
from supervisor.domain.planning.schema_keywords import (
    CONCERNING,
    EXPRESSED,
    NEWEST_DRAFT,
    narrow,
    read_draft,
    read_keywords,
    read_list,
    read_types,
    require_alone,
)
from supervisor.domain.planning.schema_overlap import Overlaps, is_equal, type_fits
from supervisor.domain.planning.schema_places import Schema, join_pointer, refuse
from supervisor.domain.planning.schema_references import check_endings, find_part, find_target
from supervisor.domain.planning.schema_scalars import express_integer, express_string, read_bounds

__all__ = ["express_schema"]

# A part is a schema, a value of an enumeration or a repetition. Where an answer can go on with any of 1,000 values, one
# token takes 0.6 s.
MAX_PARTS = 4000
# The converter calls itself once for every optional property of an object.
MAX_PROPERTIES = 256
# Prompt and schema share a line to the runner; this much is left for a grammar of the largest size, escaped.
MAX_LINE_CHARS = 6 * MAX_GRAMMAR_BYTES


class _Rewriter:
    """Rewrites one schema; every part that is not a plain type becomes a definition with a name of its own.

    The converter names the rule of a property after the path to it, and that of a definition after the definition. In
    definitions, every path begins with `d` and a number; nothing else does.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._draft = read_draft(root)
        self._overlaps = Overlaps(root)
        self._definitions: dict[str, Schema] = {}
        self._names: dict[str, str] = {}
        self._defined: dict[str, str] = {}
        self._waiting: list[str] = []
        self._parts = 0

    def rewrite(self) -> Schema:
        top = self._refer_to("")
        while self._waiting:
            at = self._waiting.pop()
            self._definitions[self._names[at]] = self._rewrite(find_part(self._root, at), at)
        check_endings(self._definitions, {name: at for at, name in self._names.items()})
        # The converter does not look for references beside a reference.
        return {"anyOf": [top], "$defs": dict(self._definitions)}

    def _refer_to(self, at: str) -> Schema:
        if at not in self._names:
            self._names[at] = self._new_name()
            self._waiting.append(at)
        return {"$ref": f"#/$defs/{self._names[at]}"}

    def _define(self, schema: Schema) -> Schema:
        """Return a reference to a definition of this schema; equal ones share it."""
        text = json.dumps(schema)
        if text not in self._defined:
            self._defined[text] = self._new_name()
            self._definitions[self._defined[text]] = schema
        return {"$ref": f"#/$defs/{self._defined[text]}"}

    def _new_name(self) -> str:
        name = f"d{len(self._definitions)}"
        # Reserves the number; a reference is rewritten later.
        self._definitions[name] = {}
        return name

    def _spend(self, parts: int, keyword: str, at: str) -> None:
        self._parts += parts
        if self._parts > MAX_PARTS:
            refuse(keyword, at, f"here, the schema comes to more than {MAX_PARTS} parts of a grammar")

    def _rewrite(self, schema: JsonValue, at: str) -> Schema:
        self._spend(1, "", at)
        if schema is True:
            schema = {}
        if not isinstance(schema, dict):
            refuse("", at, "`false` accepts no document" if schema is False else "it is no schema")
        present = read_keywords(schema, at)
        if "$ref" in present:
            require_alone("$ref", present, set(), at)
            return self._refer_to(self._target(schema, at))
        if present & {"enum", "const"}:
            return self._express_values(schema, present, at)
        for keyword in ("anyOf", "oneOf"):
            if keyword in present:
                require_alone(keyword, present, {"type"}, at)
                return self._express_branches(keyword, schema, at)
        if "allOf" in present:
            return self._express_all_of(schema, present, at)
        types = read_types(schema, present, at)
        branches = [self._express_type(kind, schema, present, at) for kind in types]
        return branches[0] if len(branches) == 1 else self._define({"anyOf": [*branches]})

    def _resolved(self, part: JsonValue, at: str) -> tuple[JsonValue, str]:
        """Return a part of `allOf` and its place; where the part only refers to another, return that other."""
        if not isinstance(part, dict) or read_keywords(part, at) != {"$ref"}:
            return part, at
        target = self._target(part, at)
        return find_part(self._root, target), target

    def _target(self, schema: Schema, at: str) -> str:
        target = find_target(self._root, schema["$ref"])
        if target is None:
            refuse("$ref", at, "references are followed to parts of the schema that have no $id, such as #/$defs/name")
        return target

    def _express_type(self, kind: str, schema: Schema, present: set[str], at: str) -> Schema:
        concerning = present & CONCERNING.get(kind, frozenset())
        for keyword in sorted(concerning - EXPRESSED.get(kind, frozenset())):
            refuse(keyword, at, f"it is not supported for the type {kind}")
        if not concerning:
            return {"type": kind}
        if kind == "object":
            return self._express_object([(schema, at)])
        if kind == "array":
            return self._express_array(schema, at)
        rewritten, parts = (express_string if kind == "string" else express_integer)(schema, at)
        self._spend(parts, min(concerning), at)
        return self._define(rewritten)

    def _express_values(self, schema: Schema, present: set[str], at: str) -> Schema:
        keyword = "enum" if "enum" in present else "const"
        require_alone(keyword, present, {"type", "const"}, at)
        values = read_list(schema, "enum", at) if "enum" in present else [schema["const"]]
        if "const" in present:
            values = [value for value in values if is_equal(value, schema["const"])]
        if "type" in present:
            types = read_types(schema, present, at)
            values = [value for value in values if any(type_fits(value, kind) for kind in types)]
        if not values:
            refuse(keyword, at, "the keywords beside it leave no value")
        if '"$ref":' in json.dumps(values):
            refuse(keyword, at, "a value has a property named $ref")
        self._spend(len(values), keyword, at)
        return self._define({"enum": values})

    def _express_branches(self, keyword: str, schema: Schema, at: str) -> Schema:
        branches = read_list(schema, keyword, at)
        if keyword == "oneOf":
            for index, branch in enumerate(branches):
                if not all(self._overlaps.are_disjoint(branch, other) for other in branches[:index]):
                    reason = f"a document could be valid under number {index} of its schemas and one before"
                    refuse(keyword, at, reason)
        rewritten: list[JsonValue] = [
            self._rewrite(narrow(branch, schema, at), join_pointer(join_pointer(at, keyword), index))
            for index, branch in enumerate(branches)
            if branch is not False
        ]
        if not rewritten:
            refuse(keyword, at, "it accepts no document")
        return self._define({"anyOf": rewritten})

    def _express_all_of(self, schema: Schema, present: set[str], at: str) -> Schema:
        place = join_pointer(at, "allOf")
        parts = [(part, join_pointer(place, index)) for index, part in enumerate(read_list(schema, "allOf", at))]
        if len(parts) == 1 and present == {"allOf"}:
            return self._rewrite(*parts[0])
        own: Schema = {keyword: value for keyword, value in schema.items() if keyword != "allOf"}
        merged: list[tuple[Schema, str]] = []
        named: list[str] = []
        for part, where in [(own, at), *(self._resolved(part, where) for part, where in parts)]:
            properties = part.get("properties", {}) if isinstance(part, dict) else None
            if not isinstance(part, dict) or not isinstance(properties, dict) or part.get("type", "object") != "object":
                break
            named += properties
            merged.append((part, where))
        plain = {"type", "properties", "required"}
        if len(merged) <= len(parts) or not named or len(named) != len(set(named)):
            refuse(
                "allOf", at, "it is expressed for objects, each with properties of its own, and for one schema alone"
            )
        for part, where in merged:
            require_alone("allOf", read_keywords(part, where), plain, where)
        return self._express_object(merged)

    def _express_object(self, parts: list[tuple[Schema, str]]) -> Schema:
        own, at = parts[0]
        others = own.get("additionalProperties", True)
        sources: dict[str, tuple[JsonValue, str]] = {}
        required: list[str] = []
        for schema, where in parts:
            properties, names = schema.get("properties", {}), schema.get("required", [])
            if not isinstance(properties, dict):
                refuse("properties", where, "it needs an object of schemas")
            if not isinstance(names, list):
                refuse("required", where, "it needs a list of names")
            place = join_pointer(where, "properties")
            sources |= {name: (value, join_pointer(place, name)) for name, value in properties.items()}
            required += [str(name) for name in names]
        for name in required:
            sources.setdefault(name, (others, join_pointer(at, "additionalProperties")))
        if not sources and others is not False:
            value = self._rewrite(others, join_pointer(at, "additionalProperties"))
            return self._define({"type": "object", "additionalProperties": value})
        if len(sources) > MAX_PROPERTIES:
            refuse("properties", at, f"an object has more than {MAX_PROPERTIES} properties")
        if not {"$ref", "*"}.isdisjoint(sources):
            refuse("properties", at, "the converter gives the names $ref and * another meaning")
        chosen: Schema = {
            name: self._rewrite(schema, where)
            for name, (schema, where) in sources.items()
            if schema is not False or name in required
        }
        needed: list[JsonValue] = [name for name in chosen if name in required]
        return self._define({"type": "object", "properties": chosen, "required": needed})

    def _express_array(self, schema: Schema, at: str) -> Schema:
        low, high = read_bounds(schema, "minItems", "maxItems", at)
        items, prefix, place = schema.get("items", True), schema.get("prefixItems", []), "prefixItems"
        if isinstance(items, list) and self._draft != NEWEST_DRAFT:
            items, prefix, place = schema.get("additionalItems", True), items, "items"
        if not isinstance(prefix, list):
            refuse(place, at, "it needs a list of schemas")
        if schema.get("uniqueItems", False) is not False and (high is None or high > 1):
            refuse("uniqueItems", at, "a grammar cannot compare items")
        if items is False and not prefix:
            items, high = True, 0
        if prefix and high != 0:
            high = len(prefix) if high is None else min(high, len(prefix))
        if high is not None and high < low:
            refuse("minItems", at, "it asks for more items than are described")
        if prefix and high:
            shown = enumerate(prefix[:high])
            entries: list[JsonValue] = [
                self._rewrite(each, join_pointer(join_pointer(at, place), index)) for index, each in shown
            ]
            return self._define({"type": "array", "prefixItems": entries})
        self._spend(max(low, high or 0), "maxItems" if high else "minItems", at)
        item = self._rewrite(items, join_pointer(at, "items"))
        upper: Schema = {} if high is None else {"maxItems": high}
        return self._define({"type": "array", "items": item, "minItems": low, **upper})


def express_schema(schema: Schema) -> str:
    """Return the schema in the form that the runner converts: JSON without white space.

    Raises:
        Refusal: ``json_schema_unsupported``; the detail names the keyword, where it stands and why it is refused.
    """
    text = json.dumps(_Rewriter(schema).rewrite(), ensure_ascii=False, separators=(",", ":"))
    if len(json.dumps(text)) > MAX_LINE_CHARS:
        refuse("", "", "written out for the converter, it is too long")
    return text
