import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from supervisor.adapters.ledger import store
from supervisor.adapters.ledger.store import SqliteLedger
from supervisor.domain.access.usage import NOTHING, Usage
from supervisor.domain.errors import StorageError
from supervisor.domain.records.ports import FinalEntry, StartedEntry
from tests.factories import WHEN, make_envelope, make_plan, make_signer, make_started
from tests.fakes.ledger import make_log

SIGNER = make_signer()
ENVELOPE = make_envelope(SIGNER)
LOG = make_log()
DAY = timedelta(days=1)


def started(number: int, key: str | None = None, caller: str = "operator") -> StartedEntry:
    execution_id = f"exec_{number:032x}"
    plan = make_plan().model_copy(update={"caller": caller})

    def seal(seq: int) -> bytes:
        return make_started(SIGNER, execution_id, seq=seq)

    return StartedEntry(execution_id, plan, "prompt\x00é", WHEN, key, "sha256:" + "0" * 64, seal)


def final(number: int, day: str = "2026-01-31", usage: Usage = NOTHING) -> FinalEntry:
    return FinalEntry(f"exec_{number:032x}", "completed", ENVELOPE, "out\x00put", day, usage)


def ledger_at(path: Path) -> SqliteLedger:
    return SqliteLedger(path, LOG, path.with_name("checkpoint.note"))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    opened = ledger_at(tmp_path / "ledger" / "ledger.sqlite3")
    await opened.open()
    yield opened
    await opened.close()


async def test_what_was_appended_is_found_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    first = ledger_at(path)
    await first.open()
    await first.append_started(started(1, "key"))
    await first.append_final(final(1))
    await first.close()
    second = ledger_at(path)
    await second.open()
    stored = await second.find_by_key("operator", "key")
    await second.close()
    assert stored is not None
    assert (stored.outcome, stored.envelope, stored.output) == ("completed", ENVELOPE, "out\x00put")
    assert stored.plan == make_plan()
    assert stored.accepted_at == WHEN


async def test_the_file_is_readable_by_its_owner_only(ledger: SqliteLedger, tmp_path: Path) -> None:
    await ledger.append_started(started(1))
    for path in (tmp_path / "ledger").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE executions SET plan = ''",
        "DELETE FROM executions",
        "UPDATE records SET outcome = 'completed'",
        "DELETE FROM records",
        "INSERT OR REPLACE INTO records VALUES ('exec_00000000000000000000000000000001', 'failed', x'00')",
        "INSERT OR REPLACE INTO executions SELECT seq, execution_id, '', '', caller, NULL, '', x'00' FROM executions",
        "UPDATE leaves SET leaf = x'00'",
        "DELETE FROM leaves",
        "INSERT OR REPLACE INTO leaves SELECT position, execution_id, kind, x'00' FROM leaves",
        "UPDATE nodes SET hash = x'00'",
        "DELETE FROM nodes",
        "INSERT OR REPLACE INTO nodes SELECT level, position, x'00' FROM nodes",
        "UPDATE OR REPLACE records SET envelope = x'00'",
    ],
)
async def test_rows_can_neither_be_changed_nor_deleted(ledger: SqliteLedger, tmp_path: Path, statement: str) -> None:
    await ledger.append_started(started(1))
    await ledger.append_final(final(1))
    other = sqlite3.connect(tmp_path / "ledger" / "ledger.sqlite3")
    try:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    finally:
        other.close()
    stored = await ledger.find(started(1).execution_id)
    assert stored is not None
    assert stored.envelope == ENVELOPE


async def test_an_execution_has_one_final_record(ledger: SqliteLedger) -> None:
    await ledger.append_started(started(1))
    await ledger.append_final(final(1))
    with pytest.raises(StorageError):
        await ledger.append_final(replace(final(1), outcome="failed"))


async def test_a_record_without_its_execution_is_refused(ledger: SqliteLedger) -> None:
    with pytest.raises(StorageError):
        await ledger.append_final(final(7))


async def test_a_key_brings_one_execution(ledger: SqliteLedger) -> None:
    await ledger.append_started(started(1, "key"))
    with pytest.raises(StorageError):
        await ledger.append_started(started(2, "key"))
    assert await ledger.find(started(2).execution_id) is None


async def test_unfinished_executions_are_found_in_order(ledger: SqliteLedger) -> None:
    for number in (3, 1, 2):
        await ledger.append_started(started(number))
    await ledger.append_final(final(1))
    assert [run.execution_id[-1] for run in await ledger.unfinished()] == ["3", "2"]


async def test_pages_go_from_new_to_old(ledger: SqliteLedger) -> None:
    for number in range(5):
        await ledger.append_started(started(number))
    newest = await ledger.page(before=None, limit=2, caller=None)
    assert [run.execution_id[-1] for run in newest] == ["4", "3"]
    rest = await ledger.page(before=newest[-1].execution_id, limit=10, caller=None)
    assert [run.execution_id[-1] for run in rest] == ["2", "1", "0"]
    assert await ledger.page(before="exec_" + "f" * 32, limit=2, caller=None) == ()


async def test_a_page_can_be_of_one_caller(ledger: SqliteLedger) -> None:
    for number in range(6):
        await ledger.append_started(started(number, caller="odd" if number % 2 else "even"))
    newest = await ledger.page(before=None, limit=2, caller="odd")
    assert [run.execution_id[-1] for run in newest] == ["5", "3"]
    rest = await ledger.page(before=newest[-1].execution_id, limit=10, caller="odd")
    assert [run.execution_id[-1] for run in rest] == ["1"]


async def test_a_key_is_one_of_its_caller(ledger: SqliteLedger) -> None:
    await ledger.append_started(started(1, "key", "one"))
    await ledger.append_started(started(2, "key", "two"))
    found = [await ledger.find_by_key(caller, "key") for caller in ("one", "two", "three")]
    assert [None if run is None else run.execution_id[-1] for run in found] == ["1", "2", None]
    with pytest.raises(StorageError):
        await ledger.append_started(started(3, "key", "two"))


async def test_a_days_usage_is_summed_by_caller_and_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    first = ledger_at(path)
    await first.open()
    for number, (caller, day) in enumerate([("one", "1"), ("two", "2"), ("one", "2"), ("one", "2")], 1):
        await first.append_started(started(number, caller=caller))
        await first.append_final(final(number, f"2026-01-0{day}", Usage(number, 10**15 * number)))
    await first.close()
    second = ledger_at(path)
    await second.open()
    days = [await second.usage_on(f"2026-01-0{day}") for day in (1, 2, 3)]
    await second.close()
    assert days == [{"one": Usage(1, 10**15)}, {"one": Usage(7, 7 * 10**15), "two": Usage(2, 2 * 10**15)}, {}]


async def test_many_writers_lose_nothing(ledger: SqliteLedger) -> None:
    await asyncio.gather(*(ledger.append_started(started(number)) for number in range(50)))
    assert len(await ledger.unfinished()) == 50


async def test_a_full_disk_is_a_storage_fault_and_leaves_nothing_half_done(ledger: SqliteLedger) -> None:
    def shrink() -> None:
        pages = ledger._database.connection().execute("PRAGMA page_count").fetchone()[0]
        ledger._database.connection().execute(f"PRAGMA max_page_count = {pages}")

    await ledger._call(shrink)
    outcomes = await asyncio.gather(
        *(ledger.append_started(started(number)) for number in range(200)), return_exceptions=True
    )
    faults = [outcome for outcome in outcomes if not isinstance(outcome, int)]
    assert faults
    assert all(isinstance(fault, StorageError) and fault.code == "storage_full" for fault in faults)
    assert len(await ledger.unfinished()) == 200 - len(faults)


async def test_a_ledger_that_is_not_open_says_so(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path / "x.sqlite3")
    with pytest.raises(StorageError):
        await ledger.unfinished()
    await ledger.close()


def is_open(path: Path) -> bool:
    """Whether this process has a file open."""
    return any(link.exists() and link.samefile(path) for link in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says", None])
async def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ledger.sqlite3"
    if content is None:
        newer = sqlite3.connect(path)
        newer.execute("PRAGMA user_version = 99")
        newer.close()
    else:
        path.write_bytes(content * 100)
    ledger = ledger_at(path)
    with pytest.raises(StorageError, match="start the engine that wrote it") as caught:
        await ledger.open()
    assert caught.value.code == "ledger_unsound"
    # Python 3.13 warns of a connection that nobody closed.
    assert not is_open(path)
    await ledger.close()


async def test_a_commit_is_on_the_disk_when_it_returns(ledger: SqliteLedger) -> None:
    def pragmas() -> tuple[object, object]:
        database = ledger._database.connection()
        return database.execute("PRAGMA synchronous").fetchone(), database.execute("PRAGMA journal_mode").fetchone()

    # 2 is FULL
    assert await ledger._call(pragmas) == ((2,), ("wal",))


def bytes_below(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


async def test_erased_texts_are_gone_from_the_disk_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    ledger = ledger_at(path)
    await ledger.open()
    for number in (1, 2, 3):
        prompt = f"prompt {number} that is searched for"
        await ledger.append_started(replace(started(number), prompt=prompt, accepted_at=WHEN + number * DAY))
    for number in (1, 3):
        await ledger.append_final(replace(final(number), output=f"output {number} that is searched for"))
    before = [(await ledger.find(f"exec_{number:032x}")) for number in (1, 2, 3)]
    proofs = [await ledger.prove(f"exec_{number:032x}", "started") for number in (1, 2, 3)]
    assert await ledger.erase_texts(WHEN + 3 * DAY) == 1
    assert await ledger.erase_texts(WHEN + 3 * DAY) == 0
    erased, under_way, kept = [await ledger.find(f"exec_{number:032x}") for number in (1, 2, 3)]
    assert (under_way, kept) == (before[1], before[2])
    assert before[0] is not None
    assert erased == replace(before[0], output=None, are_texts_erased=True)
    assert [await ledger.prove(f"exec_{number:032x}", "started") for number in (1, 2, 3)] == proofs
    on_disk = await asyncio.to_thread(bytes_below, tmp_path)
    assert [text for text in (b"prompt 1 that", b"output 1 that") if text in on_disk] == []
    assert [text for text in (b"prompt 2 that", b"prompt 3 that", b"output 3 that") if text not in on_disk] == []
    await ledger.close()


async def test_more_texts_than_fit_one_transaction_are_all_erased(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ERASED_AT_ONCE", 2)
    for number in range(1, 6):
        await ledger.append_started(started(number))
        await ledger.append_final(final(number))
    assert await ledger.erase_texts(WHEN + DAY) == 5
