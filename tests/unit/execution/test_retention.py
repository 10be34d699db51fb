import logging
from datetime import timedelta

import pytest

from supervisor.domain.access.usage import NOTHING
from supervisor.domain.policies.policy import TextsPolicy
from supervisor.domain.records.ports import FinalEntry, StartedEntry
from supervisor.execution.retention import erase_old_texts
from tests.factories import WHEN, make_envelope, make_plan, make_signer, make_started
from tests.fakes.ledger import FakeLedger

DAY = timedelta(days=1)
EXECUTION = f"exec_{1:032x}"
DIGEST = "sha256:" + "0" * 64


async def ledger_with_one() -> FakeLedger:
    ledger = FakeLedger()
    signer = make_signer()

    def seal(seq: int) -> bytes:
        return make_started(signer, EXECUTION, seq=seq)

    await ledger.append_started(StartedEntry(EXECUTION, make_plan(), "prompt", WHEN, None, DIGEST, seal))
    await ledger.append_final(FinalEntry(EXECUTION, "completed", make_envelope(signer), "text", "2026-01-31", NOTHING))
    return ledger


@pytest.mark.parametrize(
    ("keep_days", "age", "is_erased"),
    [(1, DAY, False), (1, DAY + timedelta(seconds=1), True), (30, 29 * DAY, False), (None, 9999 * DAY, False)],
)
async def test_a_text_is_erased_when_it_is_older_than_the_policy_keeps_it(
    keep_days: int | None, age: timedelta, is_erased: bool
) -> None:
    ledger = await ledger_with_one()
    await erase_old_texts(ledger, TextsPolicy(keep_days=keep_days), lambda: WHEN + age)
    assert ledger.erased == ({EXECUTION} if is_erased else set())


async def test_a_ledger_that_cannot_be_written_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    ledger = await ledger_with_one()
    caplog.set_level(logging.INFO)
    ledger.full_for_final = True
    await erase_old_texts(ledger, TextsPolicy(keep_days=1), lambda: WHEN + 2 * DAY)
    assert "texts could not be erased: storage_full" in caplog.text
    ledger.full_for_final = False
    await erase_old_texts(ledger, TextsPolicy(keep_days=1), lambda: WHEN + 2 * DAY)
    assert "texts of 1 executions older than 1 days were erased" in caplog.text
