"""A ledger whose process is killed without warning holds everything that was acknowledged."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from supervisor.adapters.identity.keys import load_signer
from supervisor.adapters.ledger.log_identity import LogIdentity, identify_log
from supervisor.adapters.ledger.reader import read_ledger
from supervisor.adapters.ledger.store import SqliteLedger

# So many appends before the last kill; `WEOS_APPENDS=1000` for the figure.
APPENDS = int(os.environ.get("WEOS_APPENDS", "150"))
WRITERS = 8
PROGRAM = "tests.integration.appending"


def kill_after(directory: Path, acknowledged_more: int) -> set[tuple[str, str]]:
    """Let a process append, kill it after so many more were acknowledged; return those that it told of."""
    with subprocess.Popen(
        [sys.executable, "-m", PROGRAM, str(directory), str(WRITERS)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line)
            if len(told) == acknowledged_more:
                process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    # What was cut off in the middle of a line was not told.
    complete = (line.split() for line in told if line.endswith("\n"))
    return {(execution_id, kind) for kind, execution_id in complete}


async def test_nothing_that_was_acknowledged_is_missing_after_kill(tmp_path: Path) -> None:
    acknowledged: set[tuple[str, str]] = set()
    rounds = random.Random(APPENDS)  # noqa: S311 - the moments of the kills, the same in every run
    while len(acknowledged) < APPENDS:
        acknowledged |= kill_after(tmp_path, rounds.randint(1, max(2, APPENDS // 5)))
    signer = load_signer(tmp_path / "keys", "log")
    log = LogIdentity(identify_log(signer.key), signer, None)
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", log, tmp_path / "checkpoint.note")
    await ledger.open()
    missing = []
    for execution_id, kind in acknowledged:
        stored = await ledger.find(execution_id)
        if stored is None or (kind == "final" and stored.envelope is None):
            missing.append((execution_id, kind))
    await ledger.close()
    assert missing == []
    with read_ledger(tmp_path / "ledger.sqlite3") as reader:
        assert reader.checkpoint.size >= len(acknowledged)
