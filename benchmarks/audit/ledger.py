"""Figures of the ledger: appending, proving, the check at start, and verifying.

    python -m benchmarks.audit.ledger DIRECTORY [--entries 1000000] [--appends 500] [--verified 1000]

DIRECTORY is on the disk to be measured; files made in it are removed again. Every figure depends on the machine, and
is of one process; compare runs on one machine only.
"""

import argparse
import asyncio
import resource
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.ledger.merkle import Frontier, hash_leaf, inclusion_root, new_nodes
from contracts.ledger.note import sign_note
from contracts.ledger.proof import Checkpoint, Leaf, parse_proof
from contracts.verify.log import LogVerifier, verify_log
from contracts.verify.log_entries import EntryFacts, StatementFacts
from contracts.wire.envelope import Envelope, decode_base64, seal
from contracts.wire.units import MIB
from supervisor.adapters.ledger.schema import SCHEMA, SCHEMA_VERSION
from supervisor.adapters.ledger.store import SqliteLedger
from supervisor.domain.access.usage import NOTHING
from supervisor.domain.records.ports import FinalEntry, StartedEntry
from tests.attacks.logs import ENGINE, LOG, TRUST, GenuineLog, execution_id
from tests.factories import WHEN

__all__ = ["append", "main", "measure_proof"]


def report(name: str, value: str) -> None:
    """Print one row."""
    sys.stdout.write(f"{name:<58} {value}\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class ProofFigures:
    """The cost of a proof in a long ledger."""

    ledger_bytes: int
    self_check_s: tuple[float, float]
    """The ledger's check at its first and its second start."""
    made_ms: float
    proof_bytes: int
    checked_ms: float
    """The checkpoint's signature included."""


def _payload(envelope: bytes) -> bytes:
    return decode_base64(Envelope.parse(envelope).payload)


async def append(directory: Path, writers: int, executions: int) -> float:
    """Sign and append executions, each a started and a final entry, one after the other in each writer.

    Returns:
        Entries per second.
    """
    ledger = SqliteLedger(directory / "ledger.sqlite3", LOG, directory / "checkpoint.note")
    await ledger.open()
    log, plan = GenuineLog(), GenuineLog().plan()
    # The statements are built in advance, and signed while the clock runs.
    statements = [
        (_payload(log.start(number).envelope), _payload(log.end(number).envelope))
        for number in range(1, executions + 1)
    ]

    async def write(number: int) -> None:
        started, final = statements[number - 1]
        entry = StartedEntry(
            execution_id(number), plan, "prompt", WHEN, None, "sha256:" + "0" * 64, lambda _seq: seal(started, ENGINE)
        )
        await ledger.append_started(entry)
        envelope = seal(final, ENGINE)
        await ledger.append_final(
            FinalEntry(execution_id(number), "completed", envelope, "output", "2026-01-31", NOTHING)
        )

    numbers = iter(range(1, executions + 1))

    async def work() -> None:
        for number in numbers:
            await write(number)

    begun_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(writers)))
    took_s = time.perf_counter() - begun_s
    await ledger.close()
    return 2 * executions / took_s


def made_leaf(position: int) -> bytes:
    """Return a leaf of realistic size that belongs to no envelope."""
    return Leaf(
        schema_version="weos.ledger-leaf/1",
        kind="started" if position % 2 == 0 else "final",
        seq=position // 2 + 1,
        execution_id=execution_id(position // 2 + 1),
        statement_sha256=f"{position:064x}",
        signature="A" * 86 + "==",
        manifest=None,
    ).canonical()


def make_leaves(entries: int) -> Iterator[tuple[int, str, str, bytes]]:
    """Yield many leaves, quickly: the numbers are written into one real leaf."""
    forms = [made_leaf(position) for position in (0, 1)]
    for position in range(entries):
        seq, kind = position // 2 + 1, "started" if position % 2 == 0 else "final"
        leaf = forms[position % 2].replace(b'"seq":1,', b'"seq":%d,' % seq, 1)
        leaf = leaf.replace(execution_id(1).encode(), execution_id(seq).encode(), 1)
        yield position, execution_id(seq), kind, leaf.replace(b"0" * 60, b"%060x" % position, 1)


def make_log(path: Path, entries: int) -> None:
    """Write a ledger of leaves, nodes and a checkpoint, without envelopes."""
    path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"PRAGMA synchronous = OFF; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; BEGIN;")
    nodes: dict[tuple[int, int], bytes] = {}
    tree, hashes = Frontier(), []
    for row in make_leaves(entries):
        leaf_hash = hash_leaf(row[3])
        made = new_nodes(row[0], leaf_hash, lambda level, index: nodes[level, index])
        hashes.append(leaf_hash)
        nodes.update({(level, index): node_hash for level, index, node_hash in made})
        for level, index, _ in made[1:]:
            # The node of two children replaces them; they are not read again.
            nodes.pop((level - 1, 2 * index), None)
            nodes.pop((level - 1, 2 * index + 1), None)
        connection.execute("INSERT INTO leaves VALUES (?, ?, ?, ?)", row)
        connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", (node for node in made if node[0]))
    tree.extend(hashes)
    text = Checkpoint(LOG.verifier.name, tree.size, tree.root()).text
    connection.execute("INSERT INTO checkpoint VALUES (1, ?)", (sign_note(text, LOG.verifier, LOG.signer),))
    connection.execute("COMMIT")
    connection.close()


async def measure_proof(directory: Path, entries: int) -> ProofFigures:
    """Open a long ledger, and prove and check one of its entries."""
    path = directory / "ledger.sqlite3"
    make_log(path, entries)
    opened_s = []
    for is_last in (False, True):
        ledger = SqliteLedger(path, LOG, directory / "checkpoint.note")
        begun_s = time.perf_counter()
        await ledger.open()
        opened_s.append(time.perf_counter() - begun_s)
        if not is_last:
            await ledger.close()
    wanted = execution_id(entries // 3)
    begun_s = time.perf_counter()
    proof = (await ledger.prove(wanted, "final")).encode().encode("utf-8")
    made_ms = (time.perf_counter() - begun_s) * 1e3
    leaf = hash_leaf(ledger_leaf(path, wanted))
    rounds = 200
    begun_s = time.perf_counter()
    for _ in range(rounds):
        parsed, note, checkpoint = parse_proof(proof)
        holds = LOG.verifier.holds(note)
        root = inclusion_root(leaf, parsed.index, checkpoint.size, parsed.hashes)
    checked_ms = (time.perf_counter() - begun_s) / rounds * 1e3
    await ledger.close()
    if not holds or root != checkpoint.root:
        message = "the proof does not hold"
        raise RuntimeError(message)
    return ProofFigures(path.stat().st_size, (opened_s[0], opened_s[1]), made_ms, len(proof), checked_ms)


def prove(directory: Path, entries: int) -> None:
    """Print the cost of a proof."""
    figures = asyncio.run(measure_proof(directory, entries))
    report(f"ledger of {entries} entries, without envelopes", f"{figures.ledger_bytes / MIB:8.0f} MiB")
    for name, took_s in zip(("first", "second"), figures.self_check_s, strict=True):
        report(f"  self-check at start ({name} time)", f"{took_s:8.2f} s")
    report("  an inclusion proof made", f"{figures.made_ms:8.2f} ms, {figures.proof_bytes} bytes")
    report("  it checked, the checkpoint's signature included", f"{figures.checked_ms:8.3f} ms")


def ledger_leaf(path: Path, wanted: str) -> bytes:
    """Return the final leaf of an execution."""
    connection = sqlite3.connect(path)
    row = connection.execute("SELECT leaf FROM leaves WHERE execution_id = ? AND kind = 'final'", (wanted,)).fetchone()
    connection.close()
    return bytes(row[0])


def verify(executions: int, entries: int) -> None:
    """Verify an export, and measure the memory for the ids of a long one."""
    log = GenuineLog()
    for number in range(1, executions + 1):
        log.start(number)
        log.end(number)
    lines = log.lines()
    begun_s = time.perf_counter()
    verdict = verify_log(lines, TRUST).verdict
    took_s = time.perf_counter() - begun_s
    if verdict != "VALID":
        raise RuntimeError(verdict)
    report(
        "`audit log` on one core",
        f"{took_s / len(lines) * 1e3:8.2f} ms an entry = {executions / took_s:.0f} executions/s",
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verifier = LogVerifier(TRUST)
    verifier.begin(lines[0])
    facts = StatementFacts("0.1.0", "0.1.0", "sha256:" + "0" * 64, None, None, "", None, None, None)
    for position, _, _, leaf in make_leaves(entries):
        stated = replace(facts, container_id=f"{position:064x}")
        verifier.add(EntryFacts(position, Leaf.model_validate_json(leaf), hash_leaf(leaf), stated, ()))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    report(f"  memory for the ids of {entries} entries", f"{grown_kib / 1024:8.0f} MiB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--appends", type=int, default=500)
    parser.add_argument("--verified", type=int, default=1000)
    chosen = parser.parse_args()
    place = chosen.directory / "weos-ledger-figures"
    place.mkdir(parents=True)
    try:
        for writers in (1, 32):
            rate = asyncio.run(append(place / f"writers-{writers}", writers, chosen.appends))
            name = f"signed and appended durably, {writers} concurrent writer(s)"
            report(name, f"{rate:8.0f} entries/s = {rate / 2:.0f} executions/s")
        verify(chosen.verified, chosen.entries)
        prove(place / "long", chosen.entries)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
