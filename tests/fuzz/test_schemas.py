"""The published JSON Schemas and the parsers accept the same documents."""

import json
from collections import Counter
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.execution.run_request import MAX_PROMPT_BYTES, RunRequest
from contracts.generate import DIRECTORY, PUBLISHED
from contracts.wire.document import Contract
from contracts.wire.errors import ContractError
from tests.conftest import FUZZ_DEPTH
from tests.fakes.run_requests import spec_request
from tests.fuzz.documents import changed, valid

SCHEMAS: dict[str, dict[str, Any]] = {
    name: json.loads((DIRECTORY / "schemas" / f"{name}.json").read_text(encoding="utf-8")) for name in PUBLISHED
}


def accepts(model: type[Contract], document: Any) -> bool:
    try:
        parsed = model.parse(json.dumps(document).encode())
    except ContractError:
        return False
    assert model.parse(parsed.model_dump_json(by_alias=True).encode()) == parsed, "what was read can be said again"
    return True


@pytest.mark.parametrize("name", PUBLISHED)
def test_schema_and_parser_accept_the_same_documents(name: str) -> None:
    validator = jsonschema_rs.Draft202012Validator(SCHEMAS[name])
    seen: Counter[bool] = Counter()
    documents = valid(SCHEMAS[name])
    # Where a schema has conditions few of those that its types allow are valid; the committed examples always are.
    examples = (DIRECTORY / "examples" / "valid").glob(f"{name}.*.json")
    genuine = st.sampled_from([json.loads(path.read_bytes()) for path in sorted(examples)] or [{}])

    @settings(max_examples=60 * FUZZ_DEPTH)
    @given(documents | changed(documents) | genuine | changed(genuine))
    def check(document: Any) -> None:
        allowed = validator.is_valid(document)
        seen[allowed] += 1
        assert accepts(PUBLISHED[name], document) == allowed, [str(error) for error in validator.iter_errors(document)]

    check()
    assert min(seen[True], seen[False]) >= 1, f"neither kind may be missing: {seen}"


def test_only_these_rules_are_beyond_the_schema() -> None:
    """What JSON Schema has no words for: the size of a text in bytes; and in what the engine writes, `1.0` for `1`."""
    validator = jsonschema_rs.Draft202012Validator(SCHEMAS["run-request"])
    long = spec_request(prompt="\N{EURO SIGN}" * (MAX_PROMPT_BYTES // 2))
    assert validator.is_valid(long)
    assert not accepts(RunRequest, long)
    path = next((DIRECTORY / "examples" / "valid").glob("execution-plan.*.json"))
    plan = json.loads(path.read_bytes())
    plan["sampling"]["top_k"] = float(plan["sampling"]["top_k"])
    assert jsonschema_rs.Draft202012Validator(SCHEMAS["execution-plan"]).is_valid(plan)
    assert not accepts(PUBLISHED["execution-plan"], plan)


def test_whole_floats_are_integers_in_a_request() -> None:
    spelled = spec_request()
    spelled["execution"] |= {"seed": 1.0, "context_tokens": 2048.0, "limits": {"max_tokens": 8.0, "timeout_s": 60.0}}
    assert jsonschema_rs.Draft202012Validator(SCHEMAS["run-request"]).is_valid(spelled)
    assert accepts(RunRequest, spelled)


@given(st.data(), st.sampled_from(sorted((DIRECTORY / "examples" / "valid").iterdir())))
@settings(max_examples=300 * FUZZ_DEPTH)
def test_bytes_changed_in_an_example_are_parsed_or_refused(data: st.DataObject, path: Any) -> None:
    mutated = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(mutated)))
        end = min(len(mutated), begin + data.draw(st.integers(0, 3)))
        mutated[begin:end] = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"{", b"]", b"\\ud800"]))
    model = PUBLISHED[path.name.split(".")[0]]
    try:
        model.parse(bytes(mutated))
    except ContractError as error:
        assert error.errors  # noqa: PT017 - either way is right
        assert str(error).isprintable()  # noqa: PT017
