"""A document that holds nothing but faults must not cost many times its size to refuse."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.api.responses import BackendList, ModelList, RunList
from contracts.generate import PUBLISHED
from contracts.wire.document import Contract

PARSED: dict[str, type[Contract]] = {
    **PUBLISHED,
    "run-list": RunList,
    "model-list": ModelList,
    "backend-list": BackendList,
}
Path = tuple[str, ...]


def lists_in(schema: dict[str, Any], definitions: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    """Where a document of this schema may hold a list of any length, as the names on the way to it."""
    if "$ref" in schema:
        yield from lists_in(definitions[schema["$ref"].rpartition("/")[2]], definitions, path)
    for choice in schema.get("anyOf", ()):
        yield from lists_in(choice, definitions, path)
    if schema.get("type") == "array" and "prefixItems" not in schema:
        yield path
    for name, value in schema.get("properties", {}).items():
        yield from lists_in(value, definitions, (*path, name))


def all_lists() -> list[Any]:
    found = []
    for name, model in PARSED.items():
        schema = model.model_json_schema()
        for path in lists_in(schema, schema.get("$defs", {})):
            found.append(pytest.param(model, path, id=f"{name} {'/'.join(path)}"))
    return found


@pytest.mark.parametrize(("model", "path"), all_lists())
def test_a_list_is_judged_up_to_its_first_fault(model: type[Contract], path: Path) -> None:
    document: Any = [None, None, None]
    for name in reversed(path):
        document = {name: document}
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(document))
    within = [fault["loc"] for fault in caught.value.errors() if fault["loc"][: len(path)] == path != fault["loc"]]
    assert within == [(*path, 0)]
