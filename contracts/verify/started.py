"""Verify the statement that an execution was accepted, by itself or against the execution's record. Pure."""

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.started_record import StartedRecord, StartedStatement
from contracts.verify.checks import CheckFailed, Checks, Verified, read_payload, run_checks
from contracts.verify.record import SIGNED_CHECKS, open_signed, require_key_version
from contracts.verify.speaker import Speaker, check_plan, find_revocation

__all__ = ["STARTED_CHECKS", "check_started", "verify_lone_started"]

STARTED_CHECKS = (*SIGNED_CHECKS, "statement", "key version", "identity", "release")


def _check_identity(statement: StartedStatement, record: MetricsRecord) -> None:
    started = statement.predicate
    expected = {
        "execution_id": (started.execution_id, record.execution_id),
        "seq": (started.seq, record.seq),
        "engine_version": (started.engine_version, record.plan.engine_version),
        "plan_digest": (started.plan_digest, record.plan_digest),
        "nonce": (started.nonce, record.plan.nonce),
        "accepted_at": (started.accepted_at, record.accepted_at),
    }
    if started.engine_version == record.engine_version:
        expected["manifest"] = (started.manifest, record.manifest)
    differing = [name for name, (said, recorded) in expected.items() if said != recorded]
    if differing:
        raise CheckFailed("ID_MISMATCH", f"the statement and the record differ in {', '.join(differing)}")
    _check_subject(statement)


def _check_subject(statement: StartedStatement) -> None:
    started, subject = statement.predicate, statement.subject[0]
    if (subject.name, f"sha256:{subject.digest.get('sha256')}") != ("plan", started.plan_digest):
        raise CheckFailed("ID_MISMATCH", "the statement's subject is not the plan")


def _check_release(started: StartedRecord, plan: ExecutionPlan | None, speaker: Speaker, ledger_index: int) -> str:
    if speaker.release is None:
        return "no manifest: your trust file names the key itself"
    manifest, version = speaker.release.manifest, started.engine_version
    if started.manifest != speaker.release.digest:
        raise CheckFailed("ID_MISMATCH", f"the statement does not name this manifest of {version}")
    if started.accepted_at < manifest.created_at:
        detail = f"it was accepted at {started.accepted_at}, before {version} was made at {manifest.created_at}"
        raise CheckFailed("OUT_OF_VALIDITY", detail)
    if plan is not None:
        check_plan(plan, speaker.release)
    revoked = find_revocation(version, speaker.revocations, ledger_index)
    if revoked is not None:
        raise CheckFailed("REVOKED", revoked)
    return f"accepted by {version}" if plan is None else f"planned by {version} with its own policies and images"


def _open_statement(checks: Checks, data: bytes, speaker: Speaker) -> StartedStatement:
    payload, versions = open_signed(checks, data, speaker.trust)
    checks.begin("statement")
    statement = read_payload(StartedStatement, payload)
    checks.hold(f"{statement.predicateType}, in RFC 8785 form")
    checks.begin("key version")
    checks.hold(require_key_version("statement", statement.predicate.engine_version, versions))
    return statement


def _check_lone(checks: Checks, data: bytes, speaker: Speaker, ledger_index: int) -> StartedRecord:
    statement = _open_statement(checks, data, speaker)
    checks.begin("identity")
    _check_subject(statement)
    checks.hold("the subject is the plan")
    checks.begin("release")
    checks.hold(_check_release(statement.predicate, None, speaker, ledger_index))
    return statement.predicate


def verify_lone_started(data: bytes, speaker: Speaker, *, ledger_index: int) -> Verified[StartedRecord]:
    """Verify the statement by itself, if its execution has not ended or its record is verified elsewhere.

    Args:
        data: the envelope.
        speaker: the keys that may sign for the version that accepted the execution.
        ledger_index: index of the statement's leaf.
    """
    return run_checks(_check_lone, data, speaker, ledger_index)


def check_started(
    checks: Checks, data: bytes, record: MetricsRecord, speaker: Speaker, ledger_index: int
) -> StartedRecord:
    """Make the ``STARTED_CHECKS``.

    Args:
        checks: takes the results.
        data: the envelope.
        record: the verified record of the execution.
        speaker: the keys that may sign for the version that planned it.
        ledger_index: index of the statement's leaf; the caller verifies it.
    """
    statement = _open_statement(checks, data, speaker)
    checks.begin("identity")
    _check_identity(statement, record)
    checks.hold("execution, number, plan, nonce and time equal the record's")
    checks.begin("release")
    checks.hold(_check_release(statement.predicate, record.plan, speaker, ledger_index))
    return statement.predicate
