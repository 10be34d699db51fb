"""The ledger as a log: proofs, checkpoints, and what it refuses to open."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.ledger.merkle import consistency_holds, hash_leaf, inclusion_root
from contracts.ledger.note import parse_note
from contracts.ledger.proof import Checkpoint, Leaf
from supervisor.adapters.ledger.log_identity import LogIdentity
from supervisor.adapters.ledger.store import SqliteLedger
from supervisor.domain.errors import Refusal, StorageError
from tests.fakes.ledger import make_log
from tests.unit.adapters.ledger.test_store import LOG, final, ledger_at, started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "ledger.sqlite3"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[SqliteLedger]:
    opened = ledger_at(path)
    await opened.open()
    yield opened
    await opened.close()


async def fill(ledger: SqliteLedger, first: int, last: int) -> None:
    for number in range(first, last):
        await ledger.append_started(started(number))
        await ledger.append_final(final(number))


async def checkpoint_of(ledger: SqliteLedger) -> Checkpoint:
    note = parse_note((await ledger.checkpoint()).encode())
    assert LOG.verifier.holds(note) is True
    return Checkpoint.of_note(note)


async def refusal(path: Path, identity: LogIdentity = LOG) -> str:
    ledger = SqliteLedger(path, identity, path.with_name("checkpoint.note"))
    with pytest.raises(StorageError) as caught:
        await ledger.open()
    await ledger.close()
    assert caught.value.code == "ledger_unsound"
    return caught.value.detail


def remove(path: Path) -> None:
    path.unlink()


def tamper(path: Path, *statements: str) -> None:
    """Change the database as someone would who owns the file: without its triggers."""
    connection = sqlite3.connect(path)
    triggers = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    for trigger in triggers:
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


async def test_every_entry_is_proven_against_the_checkpoint(ledger: SqliteLedger) -> None:
    await fill(ledger, 0, 9)
    checkpoint = await checkpoint_of(ledger)
    assert checkpoint.size == 18
    entries = await ledger.entries(start=0, limit=100)
    assert [entry.position for entry in entries] == list(range(18))
    for entry in entries:
        leaf = Leaf.parse(entry.leaf)
        proof = await ledger.prove(leaf.execution_id, leaf.kind)
        assert proof.index == entry.position
        assert inclusion_root(hash_leaf(entry.leaf), proof.index, checkpoint.size, proof.hashes) == checkpoint.root
    assert [entry.position for entry in await ledger.entries(start=5, limit=2)] == [5, 6]


async def test_numbers_have_no_gaps_and_both_leaves_have_the_same(ledger: SqliteLedger) -> None:
    assert [await ledger.append_started(started(number)) for number in (5, 3, 9)] == [1, 2, 3]
    with pytest.raises(StorageError):
        await ledger.append_started(started(3))
    assert await ledger.append_started(started(4)) == 4
    await ledger.append_final(final(3))
    leaves = [Leaf.parse(entry.leaf) for entry in await ledger.entries(start=0, limit=9)]
    assert [(leaf.kind, leaf.seq) for leaf in leaves] == [
        ("started", 1),
        ("started", 2),
        ("started", 3),
        ("started", 4),
        ("final", 2),
    ]


async def test_a_longer_log_extends_a_shorter_one_over_a_restart(path: Path) -> None:
    first = ledger_at(path)
    await first.open()
    await fill(first, 0, 5)
    before = await checkpoint_of(first)
    await first.close()
    second = ledger_at(path)
    await second.open()
    assert await checkpoint_of(second) == before
    await fill(second, 5, 12)
    after = await checkpoint_of(second)
    proof = await second.prove_consistency(before.size, after.size)
    await second.close()
    assert consistency_holds(before.size, after.size, before.root, after.root, proof)


async def test_an_empty_log_has_a_checkpoint(ledger: SqliteLedger) -> None:
    assert (await checkpoint_of(ledger)).size == 0


async def test_what_is_not_there_is_not_proven(ledger: SqliteLedger) -> None:
    await ledger.append_started(started(1))
    with pytest.raises(Refusal) as caught:
        await ledger.prove(final(1).execution_id, "final")
    assert caught.value.code == "ledger_entry_not_found"
    for first, second in ((0, 1), (1, 2), (2, 1)):
        with pytest.raises(Refusal) as caught:
            await ledger.prove_consistency(first, second)
        assert caught.value.code == "ledger_range_unknown"


async def test_writers_at_once_share_transactions(ledger: SqliteLedger) -> None:
    commits: list[int] = []
    original = ledger._database.write

    def counted(group: list[object]) -> object:
        commits.append(len(group))
        return original(group)  # type: ignore[arg-type] # passed through

    ledger._database.write = counted  # type: ignore[method-assign,assignment] # to count
    numbers = await asyncio.gather(*(ledger.append_started(started(number)) for number in range(100)))
    assert sorted(numbers) == list(range(1, 101))
    assert sum(commits) == 100
    assert len(commits) < 10
    assert (await checkpoint_of(ledger)).size == 100


async def test_one_bad_entry_does_not_take_its_group_along(ledger: SqliteLedger) -> None:
    outcomes = await asyncio.gather(
        *(ledger.append_started(started(number)) for number in (1, 2, 2, 3)),
        ledger.append_final(final(9)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, StorageError) for outcome in outcomes] == [False, False, True, False, True]
    assert (await checkpoint_of(ledger)).size == 3
    leaves = [Leaf.parse(entry.leaf).seq for entry in await ledger.entries(start=0, limit=9)]
    assert leaves == [1, 2, 3]
    await fill(ledger, 10, 13)
    for entry in await ledger.entries(start=0, limit=99):
        leaf = Leaf.parse(entry.leaf)
        proof = await ledger.prove(leaf.execution_id, leaf.kind)
        root = (await checkpoint_of(ledger)).root
        assert inclusion_root(hash_leaf(entry.leaf), proof.index, 9, proof.hashes) == root


async def test_a_seal_that_fails_is_told_to_its_caller_alone(ledger: SqliteLedger) -> None:
    def broken(seq: int) -> bytes:
        message = f"no key for {seq}"
        raise ValueError(message)

    good = started(1)
    bad = type(good)(**{**{name: getattr(good, name) for name in good.__slots__}, "execution_id": "x", "seal": broken})
    outcomes = await asyncio.gather(ledger.append_started(bad), ledger.append_started(good), return_exceptions=True)
    assert isinstance(outcomes[0], ValueError)
    assert outcomes[1] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE leaves SET leaf = x'00' WHERE position = 3",
        "DELETE FROM leaves WHERE position = 3",
        "DELETE FROM leaves WHERE position = 9",
        "DELETE FROM checkpoint",
        "UPDATE checkpoint SET note = 'nothing'",
        "UPDATE checkpoint SET note = replace(note, '10', '11')",
    ],
)
async def test_a_log_that_does_not_lead_to_its_checkpoint_is_not_opened(path: Path, statement: str) -> None:
    ledger = ledger_at(path)
    await ledger.open()
    await fill(ledger, 0, 5)
    await ledger.close()
    tamper(path, statement)
    assert "checkpoint" in await refusal(path) or "leaf 3 is missing" in await refusal(path)


async def test_a_restored_backup_is_refused(path: Path, tmp_path: Path) -> None:
    ledger = ledger_at(path)
    await ledger.open()
    await fill(ledger, 0, 3)
    await ledger.close()
    shutil.copy(path, tmp_path / "backup")
    again = ledger_at(path)
    await again.open()
    await fill(again, 3, 4)
    await again.close()
    shutil.copy(tmp_path / "backup", path)
    assert "older copy" in await refusal(path)
    remove(path)
    assert "older copy" in await refusal(path)


async def test_another_history_of_the_same_log_is_refused(path: Path) -> None:
    ledger = ledger_at(path)
    await ledger.open()
    await fill(ledger, 0, 3)
    await ledger.close()
    remove(path)
    copy = path.with_name("checkpoint.note")
    kept = copy.read_bytes()
    remove(copy)
    other = ledger_at(path)
    await other.open()
    await fill(other, 3, 9)
    await other.close()
    copy.write_bytes(kept)
    assert "are not those" in await refusal(path)


async def test_a_copy_of_another_log_or_of_nothing_is_refused(path: Path) -> None:
    ledger = ledger_at(path)
    await ledger.open()
    await fill(ledger, 0, 2)
    await ledger.close()
    assert "not signed by this log's key" in await refusal(path, make_log())
    path.with_name("checkpoint.note").write_bytes(b"nothing")
    assert "cannot be read" in await refusal(path)


async def test_the_copy_outside_is_the_newest_checkpoint_after_the_end(path: Path) -> None:
    ledger = ledger_at(path)
    await ledger.open()
    await fill(ledger, 0, 4)
    newest = await ledger.checkpoint()
    await ledger.close()
    assert path.with_name("checkpoint.note").read_text() == newest


async def test_a_copy_that_cannot_be_written_fails_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ledger_at(path)
    await ledger.open()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("supervisor.adapters.ledger.checkpoint_file.write_private", full)
    assert await ledger.append_started(started(1)) == 1
    monkeypatch.undo()
    await ledger.close()
