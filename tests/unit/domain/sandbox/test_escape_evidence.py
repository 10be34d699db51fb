from contracts.execution.escape_report import EscapeAttempt, EscapeReport
from contracts.execution.execution_plan import ExecutionPlan
from supervisor.domain.sandbox.escape_evidence import find_evidence
from tests.factories import make_escape_report, make_plan

PLAN = make_plan()
KERNEL = "6.18.0"


def reason_for(report: EscapeReport | None, plan: ExecutionPlan = PLAN, kernel: str = KERNEL) -> str:
    evidence = find_evidence(report, plan, kernel=kernel)
    assert evidence.digest is None
    assert evidence.reason is not None
    assert "doctor --escape" in evidence.reason
    return evidence.reason


def test_a_report_on_the_same_sandbox_covers_an_execution() -> None:
    report = make_escape_report()
    evidence = find_evidence(report, PLAN, kernel=KERNEL)
    assert (evidence.digest, evidence.reason) == (report.canonical_digest(), None)


def test_without_a_report_there_is_a_reason() -> None:
    assert "has not been run" in reason_for(None)


def test_a_report_on_another_sandbox_does_not_cover_an_execution() -> None:
    report = make_escape_report()
    others = {
        "runtime image": PLAN.model_copy(update={"runtime_image": "sha256:" + "f" * 64}),
        "engine version": PLAN.model_copy(update={"engine_version": "0.2.0"}),
        "set of policies": PLAN.model_copy(update={"policies": PLAN.policies | {"seccomp.json": "sha256:" + "f" * 64}}),
        "isolation tier": PLAN.model_copy(update={"isolation": "gvisor"}),
    }
    for what, plan in others.items():
        assert f"another {what};" in reason_for(report, plan)
    assert "another kernel;" in reason_for(report, kernel="6.19.0")


def test_a_report_with_an_escape_does_not_cover_an_execution() -> None:
    attempt = make_escape_report().attempts[0]
    escaped = EscapeAttempt(**(attempt.model_dump() | {"observed": "allowed", "verdict": "allowed"}))
    report = make_escape_report(attempts=(attempt, escaped))
    assert reason_for(report).startswith("1 attack(s)")
