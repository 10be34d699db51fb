"""A ledger leaves its home in one file and comes into another: the same checkpoint, the same proofs."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contracts.ledger.proof import InclusionProof
from contracts.verify.trust import Trust, TrustedKey
from contracts.wire.envelope import Envelope
from supervisor.adapters.home import LOG_KEY, Home
from supervisor.adapters.identity.keys import key_path, load_signer
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.ledger.log_identity import LogIdentity, identify_log
from supervisor.adapters.ledger.reader import read_ledger
from supervisor.adapters.ledger.store import SqliteLedger
from supervisor.cli import _root
from supervisor.composition import serve
from supervisor.domain.access.usage import Usage, usage_of
from supervisor.domain.errors import EngineError
from supervisor.domain.records.ports import FinalEntry, StartedEntry
from supervisor.execution.recorder import Recorder
from tests.attacks.logs import DEVELOPMENT, ENGINE, execution_id
from tests.factories import WHEN, in_container, make_conclusion, make_plan
from tests.releases import make_keyring, sealed_keyring, sealed_manifest, sealed_revocation

PLAN = make_plan().model_copy(update={"engine_version": DEVELOPMENT})
RECORDER = Recorder(DEVELOPMENT, None, ENGINE)
DAY = "2026-01-31"


def open_ledger(home: Home) -> SqliteLedger:
    signer = load_signer(home.keys, LOG_KEY)
    return SqliteLedger(home.ledger, LogIdentity(identify_log(signer.key), signer, None), home.checkpoint_copy)


async def start(ledger: SqliteLedger, number: int) -> None:
    name = execution_id(number)
    entry = StartedEntry(
        name,
        PLAN,
        "prompt",
        WHEN,
        None,
        "sha256:" + "0" * 64,
        lambda seq: RECORDER.seal_started(name, PLAN, seq=seq, accepted_at=WHEN),
    )
    await ledger.append_started(entry)


async def end(ledger: SqliteLedger, number: int) -> None:
    conclusion = in_container(make_conclusion(), number)
    record, envelope = RECORDER.record(
        execution_id(number), PLAN, conclusion, seq=number, accepted_at=WHEN, finished_at=WHEN
    )
    used = usage_of(record)
    await ledger.append_final(FinalEntry(execution_id(number), "completed", envelope, "Olá", DAY, used))


async def fill(home: Home, executions: int, *, under_way: int = 0) -> None:
    ledger = open_ledger(home)
    await ledger.open()
    for number in range(1, executions + 1):
        await start(ledger, number)
        await end(ledger, number)
    for number in range(executions + 1, executions + under_way + 1):
        await start(ledger, number)
    await ledger.close()


async def used_in(home: Home) -> Mapping[str, Usage]:
    ledger = open_ledger(home)
    await ledger.open()
    try:
        return await ledger.usage_on(DAY)
    finally:
        await ledger.close()


async def read_all(home: Home) -> tuple[str, list[InclusionProof], tuple[bytes, ...], list[str]]:
    ledger = open_ledger(home)
    await ledger.open()
    try:
        stored = await ledger.page(before=None, limit=100, caller=None)
        proofs = [await ledger.prove(run.execution_id, "started") for run in stored]
        proofs += [await ledger.prove(run.execution_id, "final") for run in stored if run.outcome]
        under_way = [run.execution_id for run in await ledger.unfinished()]
        return await ledger.checkpoint(), proofs, await ledger.prove_consistency(3, 7), under_way
    finally:
        await ledger.close()


def trust_of(home: Home) -> Trust:
    verifier = identify_log(load_signer(home.keys, LOG_KEY).key)
    key = TrustedKey(engine_version=DEVELOPMENT, public_key=ENGINE.public_key)
    return Trust(schema_version="weos.trust/1", keys=(key,), logs=(verifier.encode(),))


async def serve_once(home: Home) -> None:
    async with serve(home, "unix:///nowhere"):
        pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    asyncio.run(fill(home, 3, under_way=1))
    (tmp_path / "trust.json").write_bytes(trust_of(home).canonical())
    monkeypatch.setenv("WEOS_HOME", str(home.root))
    return home


@pytest.fixture
def other(tmp_path: Path) -> Home:
    return Home(tmp_path / "other")


def call(*arguments: str | Path, home: Home | None = None) -> Result:
    env = {} if home is None else {"WEOS_HOME": str(home.root)}
    return CliRunner(env=env).invoke(_root, [str(each) for each in arguments])


def done(*arguments: str | Path, home: Home | None = None) -> str:
    result = call(*arguments, home=home)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def code_of(result: Result) -> str:
    assert isinstance(result.exception, EngineError), (result.output, result.exception)
    return result.exception.code


def export(tmp_path: Path) -> Path:
    done("ledger", "export", tmp_path / "export")
    return tmp_path / "export"


def give_key(home: Home, other: Home) -> None:
    other.keys.mkdir(parents=True, mode=0o700)
    for path in (key_path(home.keys, LOG_KEY), home.keys / "passphrase"):
        (other.keys / path.name).write_bytes(path.read_bytes())
        (other.keys / path.name).chmod(0o600)


def test_a_ledger_whose_texts_were_erased_proves_the_same(home: Home, tmp_path: Path) -> None:
    before = export(tmp_path).read_bytes()

    async def erase() -> int:
        ledger = open_ledger(home)
        await ledger.open()
        try:
            return await ledger.erase_texts(WHEN + timedelta(days=1))
        finally:
            await ledger.close()

    assert asyncio.run(erase()) == 3
    assert export(tmp_path).read_bytes() == before
    trust = tmp_path / "trust.json"
    assert done("audit", "log", tmp_path / "export", "--trust", trust, "--allow-open").endswith("VALID\n")


def test_an_export_verifies_and_names_what_is_under_way(home: Home, tmp_path: Path) -> None:
    file, trust = export(tmp_path), tmp_path / "trust.json"
    assert call("audit", "log", file, "--trust", trust).output.splitlines()[-1] == "MISSING_RESULT"
    assert done("audit", "log", file, "--trust", trust, "--allow-open").endswith("VALID\n")


async def test_an_export_is_one_state_while_the_supervisor_writes(home: Home, tmp_path: Path) -> None:
    ledger = open_ledger(home)
    await ledger.open()
    with read_ledger(home.ledger) as reader:
        before = reader.checkpoint.size
        await start(ledger, 9)
        assert (len(list(reader.entries())), len(reader.open_executions())) == (before, 1)
    with read_ledger(home.ledger) as reader:
        assert reader.checkpoint.size == before + 1
    await ledger.close()


def test_an_imported_ledger_is_the_same(home: Home, other: Home, tmp_path: Path) -> None:
    file = export(tmp_path)
    give_key(home, other)
    said = done("ledger", "import", file, "--trust", tmp_path / "trust.json", home=other)
    assert "7 entries were verified" in said
    assert "not continued" not in said
    assert asyncio.run(read_all(other)) == asyncio.run(read_all(home))
    assert asyncio.run(used_in(other)) == asyncio.run(used_in(home)) != {}
    done("ledger", "export", tmp_path / "again", home=other)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    assert other.ledger.stat().st_mode & 0o077 == 0


def test_an_imported_ledger_is_continued_by_whoever_has_its_key(home: Home, other: Home, tmp_path: Path) -> None:
    file = export(tmp_path)
    give_key(home, other)
    done("ledger", "import", file, "--trust", tmp_path / "trust.json", home=other)

    async def go_on() -> None:
        ledger = open_ledger(other)
        await ledger.open()
        (left,) = await ledger.unfinished()
        assert (left.plan, left.accepted_at) == (PLAN, WHEN)
        await end(ledger, 4)
        await ledger.close()

    asyncio.run(go_on())
    done("ledger", "export", tmp_path / "longer", home=other)
    assert done("audit", "log", tmp_path / "longer", "--trust", tmp_path / "trust.json").endswith("VALID\n")


def test_without_its_key_a_ledger_is_for_reading(home: Home, other: Home, tmp_path: Path) -> None:
    file = export(tmp_path)
    assert "not continued" in done("ledger", "import", file, "--trust", tmp_path / "trust.json", home=other)
    done("ledger", "export", tmp_path / "again", home=other)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    assert done("ledger", "checkpoint", home=other) == done("ledger", "checkpoint")
    with pytest.raises(EngineError, match="needs its log key") as refused:
        asyncio.run(serve_once(other))
    assert refused.value.code == "key_missing"
    assert not key_path(other.keys, LOG_KEY).exists()
    # Another key does not continue it.
    with pytest.raises(EngineError, match="not signed by this log's key"):
        asyncio.run(read_all(other))


def test_a_ledger_comes_into_an_empty_home_only(home: Home, other: Home, tmp_path: Path) -> None:
    file, trust = export(tmp_path), tmp_path / "trust.json"
    assert code_of(call("ledger", "import", file, "--trust", trust)) == "ledger_exists"
    home.checkpoint_copy.unlink()
    assert code_of(call("ledger", "import", file, "--trust", trust)) == "ledger_exists"
    load_signer(other.keys, LOG_KEY)
    assert code_of(call("ledger", "import", file, "--trust", trust, home=other)) == "log_key_differs"
    key_path(other.keys, LOG_KEY).unlink()
    with other.take():
        assert code_of(call("ledger", "import", file, "--trust", trust, home=other)) == "home_taken"


def test_an_empty_ledger_makes_place_for_another(home: Home, other: Home, tmp_path: Path) -> None:
    file = export(tmp_path)
    give_key(home, other)
    asyncio.run(fill(other, 0))
    done("ledger", "import", file, "--trust", tmp_path / "trust.json", home=other)
    assert asyncio.run(read_all(other)) == asyncio.run(read_all(home))


@pytest.mark.parametrize("position", [0, 3, -1])
def test_a_forged_export_leaves_nothing_behind(home: Home, other: Home, tmp_path: Path, position: int) -> None:
    lines = export(tmp_path).read_bytes().splitlines(keepends=True)
    lines[position] = lines[position].replace(b"a", b"b", 1)
    (tmp_path / "export").write_bytes(b"".join(lines))
    refused = call("ledger", "import", tmp_path / "export", "--trust", tmp_path / "trust.json", home=other)
    assert code_of(refused) == "import_refused"
    assert not list((other.root / "ledger").glob("*"))
    assert not other.checkpoint_copy.exists()


def test_a_truncated_export_is_refused(home: Home, other: Home, tmp_path: Path) -> None:
    lines = export(tmp_path).read_bytes().splitlines(keepends=True)
    (tmp_path / "export").write_bytes(b"".join(lines[:-1]))
    refused = call("ledger", "import", tmp_path / "export", "--trust", tmp_path / "trust.json", home=other)
    assert code_of(refused) == "import_refused"
    assert "INCONSISTENT" in str(refused.exception)


def test_release_documents_go_with_an_export(home: Home, tmp_path: Path) -> None:
    store = ReleaseStore(home.root)
    store.add_keyrings((sealed_keyring(make_keyring()),))
    with store.staged("0.1.0") as directory:
        (directory / "manifest.json").write_bytes(sealed_manifest())
    store.add_revocation("0.1.0", sealed_revocation())
    header = json.loads(export(tmp_path).read_bytes().splitlines()[0])
    for name, sealed in (
        ("keyrings", sealed_keyring(make_keyring())),
        ("manifests", sealed_manifest()),
        ("revocations", sealed_revocation()),
    ):
        assert header[name] == [Envelope.parse(sealed).model_dump(mode="json", exclude_none=True)]


def test_a_range_is_proven_from_the_home(home: Home, tmp_path: Path) -> None:
    done("ledger", "range", "0", "6", tmp_path / "range")
    trust = tmp_path / "trust.json"
    assert done("audit", "range", tmp_path / "range", "--trust", trust).endswith("VALID\n")
    (tmp_path / "note").write_text(done("ledger", "checkpoint"))
    shown = call("audit", "range", tmp_path / "range", "--trust", trust, "--seen", tmp_path / "note", "--json")
    assert json.loads(shown.output)["range"] == {"from": 0, "to": 6, "newest": 7}
    done("ledger", "range", "0", "7", tmp_path / "range")
    missing = call("audit", "range", tmp_path / "range", "--trust", trust)
    assert (missing.exit_code, missing.output.splitlines()[-1]) == (1, "MISSING_RESULT")
    assert code_of(call("ledger", "range", "0", "8", tmp_path / "range")) == "ledger_range_unknown"


def test_a_home_without_a_ledger_says_so(home: Home, other: Home, tmp_path: Path) -> None:
    assert code_of(call("ledger", "checkpoint", home=other)) == "ledger_missing"
    asyncio.run(fill(other, 0))
    assert code_of(call("ledger", "export", tmp_path / "export", home=other)) == "ledger_missing"
    assert not (tmp_path / "export").exists()
    other.ledger.write_bytes(b"something else that is long enough to be looked at" * 100)
    assert code_of(call("ledger", "checkpoint", home=other)) == "ledger_unsound"


def test_a_ledger_of_another_schema_is_not_read(home: Home) -> None:
    connection = sqlite3.connect(home.ledger)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert code_of(call("ledger", "checkpoint")) == "ledger_unsound"
