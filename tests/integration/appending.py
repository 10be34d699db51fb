"""A process that appends to a ledger until it is killed; tells of every entry once it is durable.

python -m tests.integration.appending DIRECTORY WRITERS
"""

import asyncio
import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

from supervisor.adapters.identity.keys import load_signer
from supervisor.adapters.ledger.log_identity import LogIdentity, identify_log
from supervisor.adapters.ledger.store import SqliteLedger
from supervisor.domain.access.usage import NOTHING
from supervisor.domain.records.ports import FinalEntry, StartedEntry
from supervisor.execution.recorder import Recorder
from tests.factories import in_container, make_conclusion, make_plan


def _tell(kind: str, execution_id: str) -> None:
    os.write(sys.stdout.fileno(), f"{kind} {execution_id}\n".encode("ascii"))


async def _append(ledger: SqliteLedger, recorder: Recorder) -> None:
    plan = make_plan()
    while True:
        name, now = f"exec_{secrets.token_hex(16)}", datetime.now(UTC)

        def seal(seq: int, name: str = name, now: datetime = now) -> bytes:
            return recorder.seal_started(name, plan, seq=seq, accepted_at=now)

        seq = await ledger.append_started(StartedEntry(name, plan, "prompt", now, None, "sha256:" + "0" * 64, seal))
        _tell("started", name)
        conclusion = in_container(make_conclusion(), seq)
        _, envelope = recorder.record(name, plan, conclusion, seq=seq, accepted_at=now, finished_at=now)
        await ledger.append_final(FinalEntry(name, "completed", envelope, "output", "2026-01-31", NOTHING))
        _tell("final", name)


async def _append_for_ever(directory: Path, writers: int) -> None:
    signer, engine = load_signer(directory / "keys", "log"), load_signer(directory / "keys", "engine")
    log = LogIdentity(identify_log(signer.key), signer, None)
    ledger = SqliteLedger(directory / "ledger.sqlite3", log, directory / "checkpoint.note")
    await ledger.open()
    recorder = Recorder(make_plan().engine_version, None, engine)
    await asyncio.gather(*(_append(ledger, recorder) for _ in range(writers)))


if __name__ == "__main__":
    asyncio.run(_append_for_ever(Path(sys.argv[1]), int(sys.argv[2])))
