"""The committed examples are what their names say, for the models and for the published JSON Schemas alike."""

import calendar
import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import TypeAdapter, ValidationError

from contracts.generate import DIRECTORY, PUBLISHED, build_documents, main
from contracts.wire.document import Contract
from contracts.wire.errors import ContractError
from contracts.wire.types import Timestamp

EXAMPLES = DIRECTORY / "examples"
# What JSON Schema cannot say: bytes that are not one JSON text.
BEYOND_SCHEMA = {
    "run-request.repeated-key",
    "run-request.not-a-number",
    "run-request.infinite",
    "run-request.lone-surrogate",
    "run-request.not-utf-8",
    "run-request.byte-order-mark",
    "run-request.two-documents",
}


def examples(kind: str) -> list[Path]:
    return sorted((EXAMPLES / kind).glob("*.json"))


def model_of(path: Path) -> type[Contract]:
    return PUBLISHED[path.name.split(".")[0]]


def schema_of(path: Path) -> object:
    return json.loads((DIRECTORY / "schemas" / f"{path.name.split('.')[0]}.json").read_text())


@pytest.mark.parametrize("path", examples("valid"), ids=lambda path: path.stem)
def test_a_valid_example_parses(path: Path) -> None:
    model_of(path).parse(path.read_bytes())
    jsonschema.validate(json.loads(path.read_bytes()), schema_of(path))


@pytest.mark.parametrize("path", examples("invalid"), ids=lambda path: path.stem)
def test_an_invalid_example_is_refused(path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        model_of(path).parse(path.read_bytes())
    assert caught.value.errors
    if path.stem not in BEYOND_SCHEMA:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(path.read_bytes()), schema_of(path))


def test_the_published_documents_are_current() -> None:
    assert main(["--check"]) == 0


def test_a_stale_document_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contracts.generate.DIRECTORY", tmp_path)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "schemas" / "unknown.json").write_text("{}")
    assert main(["--check"]) == 1


def test_every_published_schema_is_a_schema() -> None:
    for text in build_documents().values():
        document = json.loads(text)
        if "$schema" in document:
            jsonschema.Draft202012Validator.check_schema(document)


def test_every_published_field_is_described() -> None:
    for name, model in PUBLISHED.items():
        for field, info in model.model_fields.items():
            if field not in {"type", "protocol"}:
                assert info.description, f"{name}.{field}"


DAYS = [(year, month, day) for year in (1900, 1999, 2000, 2024, 2026, 2100) for month in range(14) for day in range(33)]


def is_timestamp(text: str) -> bool:
    try:
        TypeAdapter(Timestamp).validate_python(text)
    except ValidationError:
        return False
    return True


def is_a_day(year: int, month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]


def test_days_that_there_are_not_are_no_times() -> None:
    judged = [is_timestamp(f"{year}-{month:02}-{day:02}T12:00:00.000Z") for year, month, day in DAYS]
    assert judged == [is_a_day(*day) for day in DAYS]


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T24:00:00.000Z",
        "2026-01-31T25:00:00.000Z",
        "2026-01-31T12:60:00.000Z",
        "2026-06-30T23:59:60.000Z",
        "0000-01-01T00:00:00.000Z",
        "2026-01-31T12:00:00.000",
        "2026-01-31T12:00:00Z",
    ],
)
def test_hours_that_there_are_not_are_no_times(text: str) -> None:
    assert is_timestamp("2026-01-31T23:59:59.999Z")
    assert not is_timestamp(text)
