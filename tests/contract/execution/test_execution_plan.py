"""The digest of a plan covers every field of it."""

import functools
import json

import pytest

from contracts.execution.execution_plan import ExecutionPlan
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import sha256_digest
from contracts.wire.errors import ContractError
from supervisor.composition import SOURCE_ROOT

EXAMPLES = SOURCE_ROOT / "contracts" / "examples" / "valid"


@pytest.mark.parametrize(
    ("example", "spin_count", "whole_cores"),
    [("specification-request", None, False), ("bounded-waiting-on-whole-cores", 1000, True)],
)
def test_waiting_and_whole_cores_are_in_the_digest(example: str, spin_count: int | None, whole_cores: bool) -> None:
    document = (EXAMPLES / f"execution-plan.{example}.json").read_bytes()
    plan = ExecutionPlan.parse(document)
    assert (plan.scheduling.spin_count, plan.scheduling.whole_cores) == (spin_count, whole_cores)
    assert plan.canonical_digest() == sha256_digest(canonical_bytes(json.loads(document)))


@pytest.mark.parametrize("path", [("role",), ("scheduling", "spin_count"), ("scheduling", "whole_cores")])
def test_no_field_has_a_default(path: tuple[str, ...]) -> None:
    document = json.loads((EXAMPLES / "execution-plan.specification-request.json").read_bytes())
    *parents, name = path
    del functools.reduce(dict.__getitem__, parents, document)[name]
    with pytest.raises(ContractError):
        ExecutionPlan.parse(json.dumps(document).encode())
