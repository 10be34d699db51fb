"""A backup leaves a home, also a served one, and comes into another: whole, verified, and never behind unnoticed."""

import asyncio
import io
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.adapters.backup.archive import BackupContents
from supervisor.adapters.files import digest_of_file
from supervisor.adapters.home import LOG_KEY, Home
from supervisor.adapters.identity.keys import key_path, load_signer
from supervisor.adapters.ledger.reader import read_ledger
from tests.unit.adapters.ledger.test_export_and_import import (
    call,
    code_of,
    done,
    end,
    fill,
    open_ledger,
    read_all,
    start,
    trust_of,
)

EXECUTIONS, ENTRIES = 4, 9


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home")
    asyncio.run(fill(home, EXECUTIONS, under_way=1))
    home.trust_file.write_bytes(trust_of(home).canonical())
    monkeypatch.setenv("WEOS_HOME", str(home.root))
    return home


@pytest.fixture
def other(tmp_path: Path) -> Home:
    return Home(tmp_path / "other")


def back_up(tmp_path: Path, *options: str) -> Path:
    done("backup", tmp_path / "backup.tar", *options)
    return tmp_path / "backup.tar"


def refused(file: Path, other: Home, *options: str | Path) -> str:
    """Restore and return the code of the refusal; nothing has come into the home."""
    before = sorted(other.root.rglob("*")) if other.root.exists() else []
    code = code_of(call("restore", file, *options, home=other))
    left = [path for path in sorted(other.root.rglob("*")) if path not in before]
    assert [path.name for path in left if path.name not in {"run", "supervisor.lock"}] == []
    return code


def test_a_backup_with_its_keys_is_the_same_ledger_and_goes_on(home: Home, other: Home, tmp_path: Path) -> None:
    file = back_up(tmp_path, "--keys")
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"{ENTRIES} entries were verified" in done("restore", file, home=other)
    assert asyncio.run(read_all(other)) == asyncio.run(read_all(home))
    for path in (other.ledger, *other.keys.iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600
    assert other.checkpoint_copy.exists()

    async def go_on() -> None:
        ledger = open_ledger(other)
        await ledger.open()
        await end(ledger, EXECUTIONS + 1)
        await ledger.close()

    asyncio.run(go_on())
    with read_ledger(other.ledger) as reader:
        assert reader.checkpoint.size == ENTRIES + 1


def test_texts_and_keys_of_idempotency_come_along(home: Home, other: Home, tmp_path: Path) -> None:
    done("restore", back_up(tmp_path, "--keys"), home=other)

    def rows(of: Home) -> list[object]:
        connection = sqlite3.connect(of.ledger)
        try:
            return connection.execute(
                "SELECT * FROM texts JOIN executions USING (execution_id) ORDER BY seq"
            ).fetchall()
        finally:
            connection.close()

    assert rows(other) == rows(home) != []


@pytest.mark.usefixtures("home")
def test_keys_leave_the_home_only_when_asked_for(other: Home, tmp_path: Path) -> None:
    file = back_up(tmp_path)
    with tarfile.open(file) as tar:
        assert [name for name in tar.getnames() if "key" in name or "passphrase" in name] == []
    assert "can be read but not continued" in done("restore", file, home=other)
    assert not other.keys.exists()


def test_what_is_written_while_a_backup_is_made_is_no_part_of_it(home: Home, other: Home, tmp_path: Path) -> None:
    async def back_up_while_serving() -> Path:
        ledger = open_ledger(home)
        await ledger.open()
        await start(ledger, EXECUTIONS + 2)
        file = await asyncio.to_thread(back_up, tmp_path, "--keys")
        await end(ledger, EXECUTIONS + 2)
        await ledger.close()
        return file

    file = asyncio.run(back_up_while_serving())
    assert f"{ENTRIES + 1} entries were verified" in done("restore", file, home=other)


def test_nothing_is_restored_while_a_supervisor_runs(home: Home, other: Home, tmp_path: Path) -> None:
    file = back_up(tmp_path)
    other.root.mkdir()
    with other.take():
        assert refused(file, other) == "home_taken"
    assert home.ledger.exists()


@pytest.mark.parametrize("there", ["ledger/ledger.sqlite3", "trust.json"])
@pytest.mark.usefixtures("home")
def test_a_home_that_has_something_is_refused(other: Home, tmp_path: Path, there: str) -> None:
    (other.root / there).parent.mkdir(parents=True)
    (other.root / there).write_bytes(b"mine")
    assert refused(back_up(tmp_path), other) == "home_not_empty"
    assert (other.root / there).read_bytes() == b"mine"


def test_a_copy_behind_the_checkpoint_that_outlived_its_ledger_is_recognised(home: Home, tmp_path: Path) -> None:
    file = back_up(tmp_path)
    asyncio.run(fill_more(home))
    shutil.rmtree(home.ledger.parent)
    home.trust_file.unlink()
    result = call("restore", file, home=home)
    assert code_of(result) == "backup_behind"
    assert f"has {ENTRIES} entries, and the newest checkpoint speaks of {ENTRIES + 2}" in str(result.exception)
    assert not home.ledger.exists()


async def fill_more(home: Home) -> None:
    ledger = open_ledger(home)
    await ledger.open()
    await start(ledger, EXECUTIONS + 2)
    await end(ledger, EXECUTIONS + 2)
    await ledger.close()


def test_a_copy_behind_a_checkpoint_that_was_kept_is_recognised(home: Home, other: Home, tmp_path: Path) -> None:
    file = back_up(tmp_path)
    asyncio.run(fill_more(home))
    assert refused(file, other, "--checkpoint", home.checkpoint_copy) == "backup_behind"


def test_a_copy_that_is_not_behind_is_restored(home: Home, other: Home, tmp_path: Path) -> None:
    shutil.copyfile(home.checkpoint_copy, tmp_path / "kept.note")
    asyncio.run(fill_more(home))
    file = back_up(tmp_path, "--keys")
    done("restore", file, "--checkpoint", tmp_path / "kept.note", home=other)


def test_a_checkpoint_of_another_ledger_is_not_compared(other: Home, home: Home, tmp_path: Path) -> None:
    stranger = Home(tmp_path / "stranger")
    asyncio.run(fill(stranger, 1))
    file = back_up(tmp_path)
    assert refused(file, other, "--checkpoint", stranger.checkpoint_copy) == "backup_behind"
    (tmp_path / "note").write_text("no checkpoint")
    assert refused(file, other, "--checkpoint", tmp_path / "note") == "checkpoint_unsound"
    assert home.ledger.exists()


def test_whom_the_caller_trusts_counts_before_the_backup_s_own_file(home: Home, other: Home, tmp_path: Path) -> None:
    stranger = Home(tmp_path / "stranger")
    (tmp_path / "trust").write_bytes(trust_of(stranger).canonical())
    file = back_up(tmp_path)
    assert refused(file, other, "--trust", tmp_path / "trust") == "backup_unsound"
    done("restore", file, "--trust", home.trust_file, home=other)


def test_a_key_of_another_ledger_is_refused(other: Home, home: Home, tmp_path: Path) -> None:
    load_signer(other.keys, LOG_KEY)
    assert refused(back_up(tmp_path), other) == "log_key_differs"
    assert key_path(home.keys, LOG_KEY).exists()


def test_without_a_trust_file_there_is_no_backup(home: Home, tmp_path: Path) -> None:
    home.trust_file.unlink()
    assert code_of(call("backup", tmp_path / "backup.tar")) == "trust_missing"
    assert not (tmp_path / "backup.tar").exists()


@pytest.mark.usefixtures("home")
def test_every_damaged_byte_of_a_file_is_found(other: Home, tmp_path: Path) -> None:
    file = back_up(tmp_path)
    with tarfile.open(file) as tar:
        places = [member.offset_data + member.size // 2 for member in tar]
    sound = file.read_bytes()
    for place in places:
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert refused(file, other) == "backup_unsound"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("part", [0, 1, 3])
def test_an_archive_that_was_cut_is_refused(other: Home, tmp_path: Path, part: int) -> None:
    file = back_up(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * part // 4])
    assert refused(file, other) == "backup_unsound"


def named(name: str, **attributes: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(member, key, value)
    return member


HOSTILE = {
    "a name that leads out": named("../escaped"),
    "an absolute name": named("/tmp/escaped"),
    "a name that leads out of keys": named("keys/../../escaped"),
    "a hidden name": named("keys/.ssh"),
    "a token": named("token"),
    "a symbolic link": named("keys/log.pem", type=tarfile.SYMTYPE, linkname="/etc/shadow"),
    "a hard link": named("keys/log.pem", type=tarfile.LNKTYPE, linkname="ledger.sqlite3"),
    "a device": named("keys/log.pem", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a pipe": named("keys/log.pem", type=tarfile.FIFOTYPE),
    "a folder": named("keys/log.pem", type=tarfile.DIRTYPE),
    "a sparse file": named("keys/log.pem", type=tarfile.GNUTYPE_SPARSE),
    "a second ledger": named("ledger.sqlite3"),
}


def rewritten(file: Path, change: Callable[[tarfile.TarFile, BackupContents, Iterator[tarfile.TarInfo]], None]) -> None:
    """Write the archive again, as an attacker would who can compute digests."""
    beside = file.with_suffix(".new")
    with tarfile.open(file) as old, tarfile.open(beside, "w") as new:
        members = iter(old)
        content = old.extractfile(next(members))
        assert content is not None
        contents = BackupContents.parse(content.read())
        change(new, contents, members)
    beside.replace(file)


def put(tar: tarfile.TarFile, member: tarfile.TarInfo, data: bytes) -> None:
    member.size = len(data) if member.type in {tarfile.REGTYPE, tarfile.AREGTYPE} else 0
    tar.addfile(member, io.BytesIO(data))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("is_listed", [True, False])
def test_a_hostile_member_is_refused(other: Home, tmp_path: Path, kind: str, is_listed: bool) -> None:
    file = back_up(tmp_path)

    def add(new: tarfile.TarFile, contents: BackupContents, members: Iterator[tarfile.TarInfo]) -> None:
        files = dict(contents.files)
        if is_listed:
            files.setdefault(HOSTILE[kind].name, "sha256:" + "0" * 64)
        put(new, named("backup.json"), contents.model_copy(update={"files": files}).canonical())
        with tarfile.open(file) as old:
            for member in members:
                content = old.extractfile(member.name)
                assert content is not None
                put(new, named(member.name), content.read())
        put(new, named(HOSTILE[kind].name, **{k: getattr(HOSTILE[kind], k) for k in ("type", "linkname")}), b"x")

    rewritten(file, add)
    assert refused(file, other) == "backup_unsound"
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON texts BEGIN DELETE FROM texts; END", "the ledger's tables"),
        ("DROP TRIGGER leaves_no_delete", "the ledger's tables"),
        (
            "DROP TRIGGER leaves_no_update; UPDATE leaves SET leaf = x'00' WHERE position = 2; {trigger}",
            "cannot be read",
        ),
        (
            "DROP TRIGGER leaves_no_update; UPDATE leaves SET leaf = (SELECT leaf FROM leaves WHERE position = 4) "
            "WHERE position = 2; {trigger}",
            "does not verify",
        ),
        ("UPDATE checkpoint SET note = replace(note, char(10), char(13))", "cannot be read"),
        ("PRAGMA user_version = 99", "schema 99"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_ledger_that_was_changed_and_listed_again_is_refused(
    other: Home, tmp_path: Path, statement: str, reason: str
) -> None:
    file = back_up(tmp_path)
    database = tmp_path / "changed.sqlite3"
    with tarfile.open(file) as tar:
        content = tar.extractfile("ledger.sqlite3")
        assert content is not None
        database.write_bytes(content.read())
    connection = sqlite3.connect(database)
    trigger = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'leaves_no_update'").fetchone()[0]
    connection.executescript(statement.replace("{trigger}", trigger))
    connection.close()

    def replace(new: tarfile.TarFile, contents: BackupContents, members: Iterator[tarfile.TarInfo]) -> None:
        files = dict(contents.files) | {"ledger.sqlite3": digest_of_file(database)}
        put(new, named("backup.json"), contents.model_copy(update={"files": files}).canonical())
        with tarfile.open(file) as old:
            for member in members:
                content = old.extractfile(member.name)
                assert content is not None
                is_ledger = member.name == "ledger.sqlite3"
                put(new, named(member.name), database.read_bytes() if is_ledger else content.read())

    rewritten(file, replace)
    result = call("restore", file, home=other)
    assert code_of(result) in {"backup_unsound", "ledger_unsound"}
    assert reason in str(result.exception)
    assert not other.ledger.exists()
