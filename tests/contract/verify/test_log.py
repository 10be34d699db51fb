"""The export of a whole ledger: genuine ones are VALID, every attack gets its code."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.attacks.on_logs_by_their_owner  # noqa: F401 - adds its attacks
from contracts.verify.log import FINDINGS_MAX, LOG_CHECKS, verify_log
from contracts.verify.trust import TrustedKey
from supervisor.domain.records.recording import abort_conclusion
from tests.attacks.logs import DEVELOPMENT, LOG, TRUST, GenuineLog, execution_id, make_genuine
from tests.attacks.on_logs import ATTACKS
from tests.attacks.on_released_logs import RELEASED, ROOTED, vouched
from tests.factories import make_signer
from tests.fakes.ledger import make_log
from tests.releases import VERSION, make_revocation, sealed_revocation

GENUINE = make_genuine().lines()


def test_a_genuine_log_is_valid() -> None:
    report = verify_log(make_genuine().lines(), TRUST)
    assert (report.verdict, report.findings) == ("VALID", ())
    assert tuple(check.name for check in report.checks) == LOG_CHECKS
    assert report.checkpoint is not None
    summary = report.summary
    assert (summary.entries, summary.executions, summary.open) == (8, 4, 0)
    assert summary.outcomes == {"completed": 3, "aborted": 1}
    assert (summary.first_at, summary.last_at) == ("2026-01-31T12:00:00.123Z", "2026-01-31T12:00:02.123Z")


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_its_code(name: str) -> None:
    attack = ATTACKS[name]
    lines, trust = attack.make()
    report = verify_log(lines, trust)
    failed = next(check for check in report.checks if check.code != "OK")
    assert (report.verdict, failed.name) == (attack.code, attack.check), report.findings


def test_executions_under_way_are_allowed_where_that_is_asked_for() -> None:
    log = make_genuine()
    log.start(5)
    refused = verify_log(log.lines(), TRUST)
    assert refused.verdict == "MISSING_RESULT"
    assert execution_id(5) in refused.findings[0].message
    assert refused.summary.open == 1
    allowed = verify_log(log.lines(), TRUST, allow_open=True)
    assert allowed.verdict == "VALID"
    assert execution_id(5) in allowed.checks[-1].message


def test_one_that_the_export_does_not_name_is_missing_all_the_same() -> None:
    log = make_genuine()
    log.start(5)
    assert verify_log(log.lines(open=()), TRUST, allow_open=True).verdict == "MISSING_RESULT"


def test_an_empty_log_is_valid() -> None:
    report = verify_log(GenuineLog().lines(), TRUST)
    assert (report.verdict, report.summary.first_at) == ("VALID", None)


def test_a_longer_log_than_was_seen_is_valid() -> None:
    log = make_genuine()
    for size in range(1, 9):
        assert verify_log(log.lines(), TRUST.model_copy(update={"checkpoint": log.checkpoint(size)})).verdict == "VALID"


def test_a_checkpoint_of_another_log_says_nothing_of_this_one() -> None:
    log, other = make_genuine(), make_genuine(log=make_log("weos-engine/ledger/other"))
    logs = (LOG.verifier.encode(), other.log.verifier.encode())
    trust = TRUST.model_copy(update={"logs": logs, "checkpoint": other.checkpoint()})
    report = verify_log(log.lines(), trust)
    assert report.verdict == "VALID"
    assert any("another ledger" in check.message for check in report.checks)


def test_released_versions_are_trusted_through_their_manifests() -> None:
    report = verify_log(make_genuine(**RELEASED).lines(**vouched()), ROOTED)
    assert report.verdict == "VALID", report.findings
    assert "of none of them" not in {check.name: check.message for check in report.checks}["statements"]
    unused = verify_log(GenuineLog(**RELEASED).lines(**vouched()), ROOTED)
    assert unused.verdict == "VALID"
    assert (
        "1 of 1 manifests in the header are of none of them"
        in {check.name: check.message for check in unused.checks}["statements"]
    )
    before = sealed_revocation(make_revocation(from_index=8))
    assert verify_log(make_genuine(**RELEASED).lines(**vouched(revocations=(before,))), ROOTED).verdict == "VALID"


def test_a_version_may_record_what_another_left_unfinished() -> None:
    log = make_genuine(**RELEASED)
    log.start(5)
    GenuineLog(entries=log.entries).end(5, conclusion=abort_conclusion(), engine_version=VERSION)
    trust = ROOTED.model_copy(update={"keys": TRUST.keys})
    assert verify_log(log.lines(**vouched()), trust).verdict == "VALID"
    without_root = verify_log(log.lines(**vouched()), TRUST)
    assert without_root.verdict == "BAD_SIGNATURE"


def test_findings_are_bounded_and_counted() -> None:
    log = make_genuine()
    for number in range(5, 40):
        log.start(number)
    report = verify_log(log.lines(), TRUST)
    assert len(report.findings) == FINDINGS_MAX
    assert "and 34 more" in report.checks[-1].message


def test_no_more_is_read_than_the_checkpoint_tells_of() -> None:
    lines = make_genuine().lines()

    def endless() -> Iterator[bytes]:
        yield from lines
        while True:
            yield lines[-1]

    report = verify_log(endless(), TRUST)
    assert report.verdict == "INCONSISTENT"
    assert report.summary.entries == 9


def test_several_signers_are_told_apart() -> None:
    other = make_signer()
    version = "0.1.0+dev.eeeeeeeeeeee"
    log = make_genuine()
    later = GenuineLog(version=version, signer=other, entries=log.entries)
    later.start(5)
    later.end(5)
    log.start(6)
    key = TrustedKey(engine_version=version, public_key=other.public_key)
    trust = TRUST.model_copy(update={"keys": (key, *TRUST.keys)})
    report = verify_log(log.lines(), trust, allow_open=True)
    assert report.verdict == "VALID"
    assert report.summary.versions == {DEVELOPMENT: 9, version: 2}


@given(st.data())
def test_no_change_of_one_byte_is_valid(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(GENUINE) - 1))
    line = GENUINE[position]
    place, value = data.draw(st.integers(0, len(line) - 1)), data.draw(st.integers(0, 255))
    changed = line[:place] + bytes([value]) + line[place + 1 :]
    lines = [*GENUINE[:position], changed, *GENUINE[position + 1 :]]
    verdict = verify_log(lines, TRUST).verdict
    assert (verdict == "VALID") == (changed == line)


def test_executions_under_way_are_named_once_and_in_order() -> None:
    log = make_genuine()
    log.start(5)
    log.start(6)
    genuine = log.header().open
    another = genuine[0].model_copy(update={"plan": log.plan(seed=5)})
    assert verify_log(log.lines(open=genuine), TRUST, allow_open=True).verdict == "VALID"
    for named in ((*genuine, genuine[0]), (another, *genuine), genuine[::-1]):
        assert verify_log(log.lines(open=named), TRUST, allow_open=True).verdict == "INCONSISTENT"


def test_start_and_result_name_one_manifest() -> None:
    # Without a root nobody looks at the manifest; all the same a version has one.
    log = make_genuine(version="0.1.0", manifest="sha256:" + "1" * 64)
    key = TrustedKey(engine_version="0.1.0", public_key=log.signer.public_key)
    trust = TRUST.model_copy(update={"keys": (key,)})
    assert verify_log(log.lines(), trust).verdict == "VALID"
    log.start(5)
    log.manifest = "sha256:" + "2" * 64
    log.end(5)
    assert verify_log(log.lines(), trust).verdict == "ID_MISMATCH"
