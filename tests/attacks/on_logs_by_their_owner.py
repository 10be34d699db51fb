"""Attacks by the ledger's owner, who can sign anything with its key."""

import base64
from dataclasses import replace

from contracts.execution.metrics_record import Statement
from contracts.verify.trust import Trust
from contracts.wire.envelope import Envelope
from tests.attacks.logs import TRUST, GenuineLog, execution_id, make_genuine
from tests.attacks.on_logs import Made, attack, make_genuine_twin, resealed
from tests.factories import in_container, make_conclusion, make_signer
from tests.fakes.ledger import make_log

__all__: list[str] = []


# An attacker with the log's key, who signs a checkpoint over leaves of his choice.


@attack("BAD_SIGNATURE", "statements")
def record_signed_by_a_stranger() -> Made:
    return resealed(make_genuine(), 3, make_signer()).lines()


@attack("BAD_SIGNATURE", "statements")
def started_statement_signed_by_a_stranger() -> Made:
    log = make_genuine()
    forged = GenuineLog(signer=make_signer())
    log.entries[0] = forged.start(1)
    return log.lines()


@attack("KEY_VERSION_MISMATCH", "statements")
def record_of_another_version() -> Made:
    log = make_genuine()
    version = "0.1.0+dev.ffffffffffff"
    log.entries[3] = GenuineLog(version=version).end(1)
    return log.lines()


@attack("KEY_VERSION_MISMATCH", "statements")
def started_statement_of_another_version() -> Made:
    log = make_genuine()
    log.entries[0] = GenuineLog(version="0.1.0+dev.ffffffffffff").start(1)
    return log.lines()


@attack("METRIC_INCONSISTENT", "statements")
def record_with_forged_ratios() -> Made:
    log = make_genuine()
    payload = base64.b64decode(Envelope.parse(log.entries[3].envelope).payload)
    metrics = Statement.parse(payload).predicate.metrics
    assert metrics is not None
    return resealed(log, 3, metrics=metrics.model_copy(update={"tokens_per_sec": 999.0})).lines()


@attack("UNSUPPORTED_TYPE", "statements")
def envelope_of_another_type() -> Made:
    log = make_genuine()
    envelope = Envelope.parse(log.entries[3].envelope).model_copy(update={"payloadType": "text/plain"})
    log.entries[3] = replace(log.entries[3], envelope=envelope.encode())
    return log.lines()


@attack("SCHEMA_VIOLATION", "statements")
def record_in_the_place_of_a_started_statement() -> Made:
    log = make_genuine()
    log.entries[0] = replace(log.entries[3], kind="started")
    return log.lines()


@attack("ID_MISMATCH", "identities")
def leaf_that_names_another_execution() -> Made:
    log = make_genuine()
    log.entries[3] = replace(log.entries[3], execution_id=execution_id(9))
    return log.lines()


@attack("ID_MISMATCH", "identities")
def record_of_another_plan_than_was_started() -> Made:
    log = make_genuine()
    log.entries.pop(3)
    log.entries.insert(3, log.end(1, seed=7))
    log.entries.pop()
    return log.lines()


@attack("ID_MISMATCH", "identities")
def record_with_another_number_than_was_started() -> Made:
    log = make_genuine()
    log.entries[3] = GenuineLog().end(1, seq=2)
    return log.lines()


@attack("DUPLICATE_ID", "identities")
def container_that_was_used_twice() -> Made:
    log = make_genuine()
    log.entries[3] = GenuineLog().end(1, conclusion=in_container(make_conclusion(), 2))
    return log.lines()


@attack("DUPLICATE_ID", "identities")
def execution_that_ended_twice() -> Made:
    log = make_genuine()
    log.end(4)
    return log.lines()


@attack("DUPLICATE_ID", "identities")
def execution_that_was_accepted_twice() -> Made:
    log = make_genuine()
    log.start(4, seq=5)
    return log.lines()


@attack("INCONSISTENT", "identities")
def record_without_a_started_statement() -> Made:
    log = make_genuine()
    log.end(5)
    return log.lines()


@attack("DUPLICATE_ID", "sequence")
def number_given_twice() -> Made:
    log = make_genuine()
    log.start(5, seq=4)
    log.end(5, seq=4)
    return log.lines()


@attack("MISSING_RESULT", "sequence")
def execution_left_out_altogether() -> Made:
    log = GenuineLog()
    for number in (1, 3):
        log.start(number)
        log.end(number)
    return log.lines()


@attack("MISSING_RESULT", "results")
def result_left_out() -> Made:
    log = make_genuine()
    log.entries.pop(5)
    return log.lines()


@attack("MISSING_RESULT", "results")
def result_left_out_and_not_named() -> Made:
    log = make_genuine()
    log.entries.pop(5)
    return log.lines(open=())


@attack("ID_MISMATCH", "results")
def execution_under_way_with_another_plan() -> Made:
    log = make_genuine()
    log.start(5, seed=7)
    return log.lines()


@attack("INCONSISTENT", "results")
def ended_execution_named_as_under_way() -> Made:
    log = make_genuine()
    before = make_genuine()
    before.entries.pop(5)
    return log.lines(open=before.header().open)


# An owner who shows different logs to different people, or at different times.


def seen(note: str) -> Trust:
    return TRUST.model_copy(update={"checkpoint": note})


@attack("ROLLBACK", "last seen")
def log_shorter_than_it_was() -> Made:
    log = make_genuine()
    longer = log.copy()
    longer.start(5)
    return log.lines(), seen(longer.checkpoint())


@attack("FORK", "last seen")
def another_log_of_the_same_size() -> Made:
    log = make_genuine()
    return log.lines(), seen(make_genuine_twin(log))


@attack("FORK", "last seen")
def past_rewritten_under_a_longer_log() -> Made:
    log = make_genuine()
    shorter = GenuineLog(entries=log.entries[:4])
    return log.lines(), seen(make_genuine_twin(shorter))


@attack("BAD_CHECKPOINT", "last seen")
def trust_with_a_checkpoint_of_a_stranger() -> Made:
    log = make_genuine()
    return log.lines(), seen(log.copy(log=make_log()).checkpoint())
