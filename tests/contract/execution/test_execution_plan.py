"""Plans from before a field was there: what they mean, and that they keep their digest."""

import json

from contracts.execution.execution_plan import ExecutionPlan
from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import sha256_digest
from supervisor.composition import SOURCE_ROOT

EXAMPLES = SOURCE_ROOT / "contracts" / "examples" / "valid"


def test_a_plan_from_before_there_were_waiting_modes_keeps_its_digest_and_its_meaning() -> None:
    document = (EXAMPLES / "execution-plan.specification-request.json").read_bytes()
    plan = ExecutionPlan.parse(document)
    assert (plan.scheduling.spin_count, plan.scheduling.whole_cores) == (None, False)
    written = json.loads(document)["scheduling"]
    assert plan.scheduling.model_dump(mode="json") == written


def test_what_a_newer_plan_says_of_them_is_in_its_digest() -> None:
    document = (EXAMPLES / "execution-plan.bounded-waiting-on-whole-cores.json").read_bytes()
    plan = ExecutionPlan.parse(document)
    assert (plan.scheduling.spin_count, plan.scheduling.whole_cores) == (1000, True)
    assert ExecutionPlan.parse(plan.canonical()) == plan
    scheduling = json.loads(document)["scheduling"]
    assert sha256_digest(plan.scheduling.canonical()) == sha256_digest(canonical_bytes(scheduling))
