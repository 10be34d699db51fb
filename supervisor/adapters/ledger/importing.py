"""Put the export of a ledger into a home that has none, verifying every line on the way.

What comes in is the log, byte for byte: leaves, envelopes and checkpoint, and so the same proofs. What an export does
not hold does not come in: prompts, outputs, Idempotency-Keys, and the log's key. The owner of that key puts it into
the home, and the supervisor continues the log; without it the ledger can be read, exported and proven from, and the
supervisor refuses to serve on it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from contracts.ledger.bundle import LedgerEntryView
from contracts.ledger.note import parse_note
from contracts.verify.log import LogVerifier
from contracts.verify.log_report import LogReport
from contracts.verify.trust import Trust
from supervisor.adapters.files import write_private
from supervisor.adapters.home import LOG_KEY, Home
from supervisor.adapters.identity.keys import key_path, load_signer
from supervisor.adapters.ledger.export import build_ledger
from supervisor.adapters.ledger.log_identity import identify_log
from supervisor.adapters.ledger.reader import read_ledger
from supervisor.domain.errors import EngineError

__all__ = ["import_ledger"]


def _make_room(home: Home) -> None:
    """Make sure that the home has no entries, and remove the empty database that a start may have left.

    Raises:
        EngineError: ``ledger_exists``.
    """
    detail = f"{home.root} has a ledger with entries; import into a new home (WEOS_HOME)"
    if home.checkpoint_copy.exists():
        raise EngineError("ledger_exists", detail)
    if not home.ledger.exists():
        return
    try:
        with read_ledger(home.ledger):
            raise EngineError("ledger_exists", detail)
    except EngineError as error:
        if error.code != "ledger_missing":
            raise
    for ending in ("", "-wal", "-shm"):
        Path(f"{home.ledger}{ending}").unlink(missing_ok=True)


def _require_own_key(home: Home, note: str) -> bool:
    """Return whether the home has the log's key.

    Raises:
        EngineError: ``log_key_differs``, it has another log's.
    """
    if not key_path(home.keys, LOG_KEY).exists():
        return False
    verifier = identify_log(load_signer(home.keys, LOG_KEY).key)
    if verifier.holds(parse_note(note.encode("utf-8"))) is not True:
        detail = f"{key_path(home.keys, LOG_KEY)} is the key of another ledger; import into a new home (WEOS_HOME)"
        raise EngineError("log_key_differs", detail)
    return True


def _refuse(report: LogReport) -> EngineError:
    failed = next(check for check in report.checks if check.code != "OK")
    return EngineError("import_refused", f"{failed.code}: {failed.name}: {failed.message}; nothing was imported")


def import_ledger(
    home: Home, lines: Iterator[bytes], trust: Trust, on_entry: Callable[[int], None] = lambda _entries: None
) -> tuple[LogReport, bool]:
    """Import an export; executions that were under way come in as such.

    Args:
        home: one without entries, on which no supervisor is running.
        lines: the export.
        trust: whom the caller trusts; only a VALID export comes in.
        on_entry: told of each entry, with the number of all.

    Returns:
        The report, and whether the home has the log's key.

    Raises:
        EngineError: ``home_taken``, ``ledger_exists``, ``log_key_differs``, ``key_unsafe``, ``passphrase_wrong``; or
            ``import_refused`` with the code of the verdict.
    """
    with home.take():
        _make_room(home)
        verifier = LogVerifier(trust, allow_open=True)
        reader = verifier.begin(next(lines, b""))
        header = verifier.header
        if reader is None or header is None:
            raise _refuse(verifier.finish())
        has_key = _require_own_key(home, header.checkpoint)
        with build_ledger(home.ledger, header) as builder:
            for line in lines:
                facts = reader.read(line)
                verifier.add(facts)
                if facts.leaf is None or verifier.has_findings or verifier.is_over:
                    break
                builder.add(facts.leaf, LedgerEntryView.parse(line.removesuffix(b"\n")).envelope)
                on_entry(header.entries)
            report = verifier.finish()
            if report.verdict != "VALID":
                raise _refuse(report)
        write_private(home.checkpoint_copy, header.checkpoint.encode("utf-8"))
    return report, has_key
