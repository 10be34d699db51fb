"""The keywords of JSON Schema: which are known, which are expressed, and what their values must be."""

from pydantic import JsonValue

from supervisor.domain.planning.schema_places import Schema, refuse

__all__ = [
    "CONCERNING",
    "EXPRESSED",
    "NEWEST_DRAFT",
    "narrow",
    "read_draft",
    "read_keywords",
    "read_list",
    "read_types",
    "require_alone",
]

TYPES = ("object", "array", "string", "number", "boolean", "null")
_ANNOTATIONS = frozenset(
    {
        "$anchor",
        "$comment",
        "$defs",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "externalDocs",
        "readOnly",
        "title",
        "writeOnly",
        "xml",
    }
)
_OF_ANY_TYPE = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"})
# Keywords that concern one type: what is expressed, then what is not. Documents of other types are valid under them.
EXPRESSED = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}
CONCERNING = {
    **EXPRESSED,
    "object": EXPRESSED["object"]
    | frozenset(
        {
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
            "dependencies",
            "dependentRequired",
            "dependentSchemas",
            "unevaluatedProperties",
        }
    ),
    "array": EXPRESSED["array"] | frozenset({"contains", "minContains", "maxContains", "unevaluatedItems"}),
    "number": EXPRESSED["integer"],
}
_KNOWN = _OF_ANY_TYPE.union(*CONCERNING.values())
NEWEST_DRAFT = "json-schema.org/draft/2020-12/schema"
_DRAFTS = {
    *(f"json-schema.org/draft-0{number}/schema" for number in (4, 6, 7)),
    *(f"json-schema.org/draft/{year}/schema" for year in ("2019-09", "2020-12")),
}


def read_draft(root: Schema) -> str:
    """Return the draft that a schema says it is written in; without a word, the newest."""
    named = root.get("$schema", NEWEST_DRAFT)
    draft = str(named).removeprefix("https://").removeprefix("http://").removesuffix("#")
    if draft not in _DRAFTS:
        refuse("$schema", "", "the drafts that are known are 4, 6, 7, 2019-09 and 2020-12")
    return draft


def read_keywords(schema: Schema, at: str) -> set[str]:
    """Return the keywords that say which documents are valid."""
    ignored = _ANNOTATIONS | ({"$id", "id", "$schema"} if not at else frozenset())
    present = {keyword for keyword in schema if keyword not in ignored and not keyword.startswith("x-")}
    for keyword in sorted(present - _KNOWN):
        refuse(keyword, at, "it is not supported")
    return present


def require_alone(keyword: str, present: set[str], allowed: set[str], at: str) -> None:
    """Refuse every keyword beside one that the converter would pass over there."""
    for other in sorted(present - {keyword} - allowed):
        refuse(other, at, f"it stands beside {keyword}, which is expressed only alone")


def read_list(schema: Schema, keyword: str, at: str) -> list[JsonValue]:
    """Return the value of a keyword that needs a list."""
    value = schema[keyword]
    if not isinstance(value, list) or not value:
        refuse(keyword, at, "it needs a list that is not empty")
    return value


def read_types(schema: Schema, present: set[str], at: str) -> list[str]:
    """Return the types that a schema names, or that its keywords speak of, or all."""
    if "type" not in present:
        # A document of another type would be valid too; the types that the keywords speak of are meant.
        return [kind for kind in TYPES if present & CONCERNING.get(kind, frozenset())] or list(TYPES)
    named = schema["type"]
    types = [str(kind) for kind in (named if isinstance(named, list) else [named])]
    if not types or not set(types) <= {*TYPES, "integer"}:
        refuse("type", at, f"the types are {', '.join(TYPES)} and integer")
    return [kind for kind in dict.fromkeys(types) if kind != "integer" or "number" not in types]


def narrow(branch: JsonValue, schema: Schema, at: str) -> JsonValue:
    """Return a branch that accepts only documents of the type that stands beside the branches."""
    if "type" not in schema or (isinstance(branch, dict) and branch.get("type") == schema["type"]):
        return branch
    if branch is True:
        branch = {}
    if not isinstance(branch, dict) or {"type", "$ref", "anyOf", "oneOf", "allOf"} & branch.keys():
        refuse("type", at, "a schema beside it says its own type; put the type into each of the schemas")
    return {**branch, "type": schema["type"]}
