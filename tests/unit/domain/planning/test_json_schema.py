import json
from typing import Any

import pytest

from supervisor.domain.errors import Refusal
from supervisor.domain.planning.json_schema import MAX_PARTS, MAX_PROPERTIES, express_schema

ANY = [{"type": kind} for kind in ("object", "array", "string", "number", "boolean", "null")]


def expressed(schema: dict[str, Any]) -> Any:
    """Return the rewritten schema with its references followed."""
    document = json.loads(express_schema(schema))
    assert document.keys() == {"anyOf", "$defs"}

    def follow(part: Any) -> Any:
        if isinstance(part, list):
            return [follow(each) for each in part]
        if isinstance(part, dict):
            if "$ref" in part:
                assert part.keys() == {"$ref"}
                return follow(document["$defs"][part["$ref"].removeprefix("#/$defs/")])
            return {key: follow(value) for key, value in part.items()}
        return part

    return follow(document["anyOf"][0])


def refusal_of(schema: dict[str, Any]) -> str:
    with pytest.raises(Refusal) as caught:
        express_schema(schema)
    assert caught.value.code == "json_schema_unsupported"
    assert caught.value.errors[0].field == "/execution/json_schema"
    return caught.value.detail


def an_object(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


@pytest.mark.parametrize(
    ("schema", "result"),
    [
        ({}, {"anyOf": ANY}),
        ({"title": "T", "description": "D", "default": 1, "x-order": 3, "$comment": "c"}, {"anyOf": ANY}),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://a.example/b"}, {"anyOf": ANY}),
        ({"type": "string"}, {"type": "string"}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": ["integer", "number", "integer"]}, {"type": "number"}),
        ({"type": "string", "minimum": 3, "maxItems": 1}, {"type": "string"}),
        ({"type": "integer", "format": "int32"}, {"type": "integer"}),
        # Enumerations, and the keywords beside them.
        ({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}),
        ({"const": {"a": [1]}}, {"enum": [{"a": [1]}]}),
        ({"enum": ["a", 1, 2.0, True], "type": "integer"}, {"enum": [1]}),
        ({"enum": ["a", 1, None, {}, []], "type": ["string", "null", "object"]}, {"enum": ["a", None, {}]}),
        ({"enum": [1.0, True, [2], {"a": 1}], "const": 1}, {"enum": [1.0]}),
        ({"enum": [[1, {"a": 2}], [1, {"a": 3}], [1], {"a": 1}], "const": [1, {"a": 2}]}, {"enum": [[1, {"a": 2}]]}),
        # Strings.
        ({"type": "string", "minLength": 2, "maxLength": 3.0}, {"type": "string", "minLength": 2, "maxLength": 3}),
        ({"minLength": 1}, {"type": "string", "minLength": 1}),
        ({"format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "pattern": "^[a-z]$"}, {"type": "string", "pattern": "^([a-z])$"}),
        # Integers with two ends.
        ({"type": "integer", "minimum": 0.5, "maximum": 3}, {"enum": [1, 2, 3]}),
        ({"type": "integer", "exclusiveMinimum": -2, "exclusiveMaximum": 0.5}, {"enum": [-1, 0]}),
        ({"type": "integer", "minimum": -3, "maximum": 9, "multipleOf": 4}, {"enum": [0, 4, 8]}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": 1, "maximum": 2}, {"enum": [2]}),
        # Objects.
        ({"type": "object"}, {"type": "object"}),
        ({"properties": {"a": {}, "b": False}}, an_object(a={"anyOf": ANY})),
        ({"properties": {}, "additionalProperties": False}, an_object()),
        ({"properties": {"a": {"type": "null"}}, "additionalProperties": True}, an_object(a={"type": "null"})),
        (
            {"properties": {"b": {"type": "null"}, "a": {"type": "null"}}, "required": ["a"]},
            an_object(["a"], b={"type": "null"}, a={"type": "null"}),
        ),
        ({"required": ["a"]}, an_object(["a"], a={"anyOf": ANY})),
        (
            {"required": ["a"], "additionalProperties": {"type": "null"}},
            an_object(["a"], a={"type": "null"}),
        ),
        (
            {"additionalProperties": {"type": "null"}},
            {"type": "object", "additionalProperties": {"type": "null"}},
        ),
        # Arrays.
        ({"type": "array"}, {"type": "array"}),
        ({"items": {"type": "null"}}, {"type": "array", "items": {"type": "null"}, "minItems": 0}),
        (
            {"type": "array", "items": True, "minItems": 1, "maxItems": 2, "uniqueItems": False},
            {"type": "array", "items": {"anyOf": ANY}, "minItems": 1, "maxItems": 2},
        ),
        ({"items": False}, {"type": "array", "items": {"anyOf": ANY}, "minItems": 0, "maxItems": 0}),
        (
            {"prefixItems": [{"type": "null"}, {"type": "string"}], "items": False},
            {"type": "array", "prefixItems": [{"type": "null"}, {"type": "string"}]},
        ),
        (
            {"prefixItems": [{"type": "null"}, False], "maxItems": 1, "uniqueItems": True},
            {"type": "array", "prefixItems": [{"type": "null"}]},
        ),
        (
            {"prefixItems": [{"type": "null"}], "maxItems": 0},
            {"type": "array", "items": {"anyOf": ANY}, "minItems": 0, "maxItems": 0},
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema",
                "items": [{"type": "null"}],
                "additionalItems": False,
            },
            {"type": "array", "prefixItems": [{"type": "null"}]},
        ),
        # A list of types with keywords for some of them.
        (
            {"type": ["string", "null"], "maxLength": 3},
            {"anyOf": [{"type": "string", "minLength": 0, "maxLength": 3}, {"type": "null"}]},
        ),
        (
            {"maxLength": 3, "items": {"type": "null"}},
            {
                "anyOf": [
                    {"type": "array", "items": {"type": "null"}, "minItems": 0},
                    {"type": "string", "minLength": 0, "maxLength": 3},
                ]
            },
        ),
        # Alternatives.
        ({"anyOf": [{"type": "null"}, False]}, {"anyOf": [{"type": "null"}]}),
        (
            {"type": "string", "anyOf": [{"maxLength": 1}, {"type": "string"}, True, {"enum": [1, "a"]}]},
            {
                "anyOf": [
                    {"type": "string", "minLength": 0, "maxLength": 1},
                    {"type": "string"},
                    {"type": "string"},
                    {"enum": ["a"]},
                ]
            },
        ),
        # All of several.
        ({"allOf": [{"type": "null"}]}, {"type": "null"}),
        (
            {
                "properties": {"a": {"type": "null"}},
                "required": ["a"],
                "allOf": [{"$ref": "#/$defs/b"}, {"required": ["b", "c"]}],
                "$defs": {"b": {"type": "object", "properties": {"b": {"type": "null"}}}},
            },
            an_object(["a", "b", "c"], a={"type": "null"}, b={"type": "null"}, c={"anyOf": ANY}),
        ),
        # References.
        ({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "null"}}}, {"type": "null"}),
        ({"$ref": "#/$defs/t/prefixItems/0", "$defs": {"t": {"prefixItems": [{"type": "null"}]}}}, {"type": "null"}),
        ({"$ref": "#/$defs/yes", "$defs": {"yes": True}, "title": "T"}, {"anyOf": ANY}),
    ],
)
def test_what_a_grammar_can_enforce_is_rewritten(schema: dict[str, Any], result: Any) -> None:
    assert expressed(schema) == result


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        # Keywords that are not expressed.
        ({"not": {}}, "the keyword not at /not"),
        ({"if": {}, "then": {}}, "the keyword if at /if"),
        ({"$dynamicRef": "#a"}, "the keyword $dynamicRef at /$dynamicRef"),
        ({"nullable": True}, "the keyword nullable at /nullable"),
        ({"properties": {"a/b": {"patternProperties": {}}}}, "at /properties/a~1b/patternProperties"),
        ({"type": "object", "propertyNames": {}}, "not supported for the type object"),
        ({"type": "object", "minProperties": 1}, "the keyword minProperties"),
        ({"dependentRequired": {"a": ["b"]}}, "the keyword dependentRequired"),
        ({"unevaluatedProperties": False}, "the keyword unevaluatedProperties"),
        ({"contains": {}}, "the keyword contains"),
        ({"type": "array", "uniqueItems": True}, "cannot compare items"),
        ({"uniqueItems": True, "maxItems": 2}, "cannot compare items"),
        ({"type": "number", "minimum": 0}, "not supported for the type number"),
        ({"maximum": 0}, "not supported for the type number"),
        # Values that are no values of the keyword.
        ({"$schema": "https://example.org/mine"}, "the keyword $schema at /$schema"),
        ({"type": "strng"}, "the keyword type at /type"),
        ({"type": []}, "the keyword type at /type"),
        ({"type": {"a": 1}}, "the keyword type at /type"),
        ({"enum": "a"}, "needs a list"),
        ({"enum": []}, "needs a list"),
        ({"anyOf": {}}, "needs a list"),
        ({"anyOf": [3]}, "the schema at /anyOf/0 cannot be enforced: it is no schema"),
        ({"properties": []}, "needs an object of schemas"),
        ({"properties": {}, "required": "a"}, "needs a list of names"),
        ({"prefixItems": {}}, "needs a list of schemas"),
        ({"items": [{}]}, "the schema at /items"),
        ({"minLength": -1}, "not negative"),
        ({"minLength": True}, "not negative"),
        ({"maxLength": 1.5}, "not negative"),
        ({"pattern": 1}, "needs a regular expression"),
        ({"type": "integer", "minimum": "0"}, "needs a number"),
        ({"type": "integer", "minimum": 0, "maximum": 9, "multipleOf": 0.5}, "whole number above zero"),
        # Bounds.
        ({"maxItems": 1_000_000_000}, "counts to 900"),
        ({"minLength": 901}, "counts to 900"),
        ({"minLength": 3, "maxLength": 2}, "less than minLength"),
        ({"minItems": 2, "maxItems": 1}, "less than minItems"),
        ({"prefixItems": [{}], "minItems": 2}, "more items than are described"),
        ({"items": False, "minItems": 1}, "more items than are described"),
        ({"type": "integer", "minimum": 0}, "two ends"),
        ({"type": "integer", "maximum": 0}, "two ends"),
        ({"type": "integer", "minimum": 0, "maximum": 1e300}, "more than 256 integers"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "holds no integer"),
        # What stands beside.
        ({"$ref": "#", "type": "null"}, "the keyword type at /type cannot be enforced: it stands beside $ref"),
        ({"enum": ["a"], "minLength": 3}, "it stands beside enum"),
        ({"const": "a", "minLength": 3}, "it stands beside const"),
        ({"anyOf": [{}], "minLength": 3}, "it stands beside anyOf"),
        ({"anyOf": [{}], "oneOf": [{}]}, "it stands beside anyOf"),
        (
            {"pattern": "^a$", "maxLength": 3},
            "the keyword maxLength at /maxLength cannot be enforced: it stands beside",
        ),
        ({"pattern": "^a$", "format": "date"}, "it stands beside pattern"),
        ({"format": "date", "minLength": 3}, "it stands beside format"),
        ({"type": "string", "anyOf": [{"type": "null"}]}, "put the type into each"),
        ({"type": "string", "anyOf": [3]}, "put the type into each"),
        ({"format": "email"}, "the formats that are enforced are date, date-time, time, uuid"),
        ({"pattern": "^(?=a)$"}, "the keyword pattern at /pattern"),
        # What no document satisfies.
        ({"properties": {"a": False}, "required": ["a"]}, "the schema at /properties/a cannot be enforced: `false`"),
        ({"required": ["a"], "additionalProperties": False}, "the schema at /additionalProperties"),
        ({"anyOf": [False]}, "it accepts no document"),
        ({"enum": ["a"], "type": "null"}, "leave no value"),
        ({"enum": ["a"], "const": "b"}, "leave no value"),
        # Names with a meaning of their own in the converter.
        ({"properties": {"$ref": {}}}, "the names $ref and *"),
        ({"required": ["*"]}, "the names $ref and *"),
        ({"const": {"a": [{"$ref": "b"}]}}, "a property named $ref"),
        # allOf beyond objects with properties of their own.
        ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, "the keyword allOf at /allOf"),
        ({"allOf": [{}, {}]}, "the keyword allOf at /allOf"),
        ({"allOf": [True, {"properties": {"a": {}}}]}, "the keyword allOf at /allOf"),
        ({"allOf": [{"properties": []}, {}]}, "the keyword allOf at /allOf"),
        ({"allOf": [{"properties": {"a": {}}}, {"properties": {"a": {}}}]}, "the keyword allOf at /allOf"),
        (
            {"allOf": [{"properties": {"a": {}}}, {"additionalProperties": False}]},
            "the keyword additionalProperties at /allOf/1/additionalProperties",
        ),
        # References that lead nowhere, elsewhere or round.
        ({"$ref": 3}, "the keyword $ref at /$ref"),
        ({"$ref": "other.json"}, "the keyword $ref at /$ref"),
        ({"$ref": "https://example.org/a"}, "the keyword $ref at /$ref"),
        ({"$ref": "#anchor"}, "the keyword $ref at /$ref"),
        ({"$ref": "#/$defs/missing"}, "the keyword $ref at /$ref"),
        ({"prefixItems": [{"$ref": "#/prefixItems/1"}]}, "the keyword $ref at /prefixItems/0/$ref"),
        (
            {"$ref": "#/$defs/a/$defs/b", "$defs": {"a": {"$id": "https://a.example", "$defs": {"b": {}}}}},
            "the keyword $ref at /$ref",
        ),
        ({"items": {"$id": "https://a.example"}}, "the keyword $id at /items/$id"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "leads back to itself"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "no finite document"),
        ({"items": {"$ref": "#"}, "minItems": 1}, "no finite document"),
        ({"prefixItems": [{"$ref": "#"}]}, "no finite document"),
        ({"type": "array", "items": {"anyOf": [{"prefixItems": [{"$ref": "#/items"}]}]}}, "no finite document"),
    ],
)
def test_what_a_grammar_cannot_enforce_is_refused_by_name(schema: dict[str, Any], words: str) -> None:
    assert words in refusal_of(schema)


def _tagged(kind: str, **more: Any) -> dict[str, Any]:
    return {"properties": {"kind": {"const": kind}, "a": {}}, "required": ["kind"], **more}


@pytest.mark.parametrize(
    "branches",
    [
        [{"type": "string"}, {"type": "integer"}, {"type": ["null", "boolean"]}],
        [{"enum": ["a", 1]}, {"enum": ["b", True]}],
        [{"const": "a"}, {"type": "null"}],
        [_tagged("one", type="object"), _tagged("two")],
        [_tagged("one", type="object"), {"type": "null"}],
        [{"type": "string"}, {"anyOf": [{"type": "null"}, {"type": "boolean"}]}],
        [{"type": "string"}, {"oneOf": [{"type": "null"}, {"type": "boolean"}]}],
        [
            {"type": "object", "properties": {"a": {}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {}}, "additionalProperties": False},
        ],
        [
            {"type": "object", "properties": {"b": {}}, "additionalProperties": False},
            {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        ],
        [{"$ref": "#/$defs/s"}, {"type": "null"}],
        [{"type": "string"}, False],
    ],
)
def test_alternatives_that_exclude_each_other_are_expressed(branches: list[Any]) -> None:
    assert "anyOf" in expressed({"oneOf": branches, "$defs": {"s": {"type": "string"}}})


@pytest.mark.parametrize(
    "branches",
    [
        [{"type": "integer"}, {"type": "number"}],
        [{}, {"type": "null"}],
        [True, {"type": "null"}],
        [{"enum": [1]}, {"const": 1.0}],
        [{"enum": ["a"]}, {"type": "string"}],
        [{"type": "string", "maxLength": 2}, {"type": "string", "minLength": 3}],
        [_tagged("one"), _tagged("two")],
        [{"type": "object", "properties": {"a": {"const": 1}}}, {"type": "object", "properties": {"a": {"const": 2}}}],
        [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}],
        [
            {"type": "object", "required": ["a"]},
            {"type": "object", "additionalProperties": False, "patternProperties": {"a": {}}},
        ],
        [{"type": "object", "properties": [], "required": "a"}, {"type": "object"}],
        [{"$ref": "other.json"}, {"type": "null"}],
        [{"$ref": "#/oneOf/1"}, {"$ref": "#/oneOf/0"}],
        [{"$ref": "#/oneOf/0"}, {"type": "null"}],
        [{"anyOf": [{"$ref": "#/oneOf/0"}]}, {"type": "null"}],
    ],
)
def test_alternatives_that_a_document_could_satisfy_together_are_refused(branches: list[Any]) -> None:
    assert "the keyword oneOf at /oneOf" in refusal_of({"oneOf": branches})


def test_the_comparison_of_alternatives_is_bounded() -> None:
    same = {"type": "object", "properties": {"a": {"$ref": "#/$defs/s"}}, "required": ["a"]}
    assert "the keyword oneOf" in refusal_of({"oneOf": [same, same], "$defs": {"s": same}})
    wide = {"enum": list(range(300))}
    assert "the keyword oneOf" in refusal_of({"oneOf": [wide, {"enum": list(range(300, 600))}]})


def test_a_schema_may_lead_back_to_itself_where_its_documents_end() -> None:
    document = json.loads(express_schema({"properties": {"child": {"$ref": "#"}}}))
    top = document["anyOf"][0]["$ref"].rpartition("/")[2]
    (tree,) = (schema for schema in document["$defs"].values() if "properties" in schema)
    assert document["$defs"][top] == {"$ref": next(f"#/$defs/{n}" for n, s in document["$defs"].items() if s is tree)}
    assert tree["properties"] == {"child": {"$ref": f"#/$defs/{top}"}}
    assert express_schema({"items": {"$ref": "#"}})
    assert express_schema({"anyOf": [{"type": "null"}, {"prefixItems": [{"$ref": "#"}]}]})


def test_the_size_of_the_grammar_is_bounded() -> None:
    assert f"more than {MAX_PARTS} parts" in refusal_of({"enum": list(range(MAX_PARTS))})
    assert f"more than {MAX_PARTS} parts" in refusal_of({"pattern": "^((a?){80}){80}$"})
    assert "parts" in refusal_of({"prefixItems": [{"maxLength": 800 + index} for index in range(6)]})
    many: dict[str, Any] = {f"p{index}": {} for index in range(MAX_PROPERTIES + 1)}
    assert f"more than {MAX_PROPERTIES} properties" in refusal_of({"properties": many})
    doubling = {f"a{index}": {"anyOf": [{"$ref": f"#/$defs/a{index + 1}"}] * 9} for index in range(9)}
    assert "in more than" in refusal_of({"$ref": "#/$defs/a0", "$defs": {**doubling, "a9": {"type": "null"}}})
    assert "too long" in refusal_of({"pattern": f"^{'.' * 3000}$"})


def test_long_keywords_and_places_are_cut_in_the_refusal() -> None:
    assert len(refusal_of({"k" * 5000: 1})) < 500
