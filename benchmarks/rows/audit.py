"""Rows of the ledger and of verification, which need neither containers nor the supervisor."""

import asyncio
import shutil
from pathlib import Path

from benchmarks.audit.ledger import append, measure_proof
from benchmarks.audit.verify_rate import measure, record_and_trust, signature_rate
from benchmarks.measuring.machine import load_average
from benchmarks.measuring.results import Row, Target
from contracts.verify.record import verify_record
from supervisor.console.steps import Step

__all__ = ["measure_append", "measure_inclusion", "measure_verification"]

WRITERS = 32
EXECUTIONS = 1000
KB = 1000


def measure_append(place: Path, repetitions: int, step: Step) -> Row:
    """Sign records and append them durably, by many writers at once."""
    load, rates = load_average(), []
    for number in range(repetitions):
        step.update(number, repetitions, f"{WRITERS} writers, {EXECUTIONS} executions")
        directory = place / f"append-{number}"
        try:
            rates.append(asyncio.run(append(directory, WRITERS, EXECUTIONS)))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    what = f"records signed, appended and made durable in groups, {WRITERS} writers"
    target = Target(2000, "at least", "/s")
    return Row("append", what, "/s", target, values=tuple(rates), load_average=load)


def measure_verification(repetitions: int, seconds: float, step: Step) -> Row:
    """Verify one record again and again, by processor time; beside it the signature alone."""
    load = load_average()
    record, trust = record_and_trust()
    rates, floors = [], []
    for number in range(repetitions):
        step.update(number, repetitions, "by processor time, on one core")
        rates.append(measure("record", lambda: verify_record(record, trust).verdict, seconds))
        floors.append(signature_rate(seconds / 2))
    notes = (f"a record of 200 tokens; its signature alone: {max(floors):,.0f}/s",)
    target = Target(5000, "at least", "/s")
    what = "records verified on one core"
    details = {"signature_alone_per_s": floors}
    values = tuple(rates)
    return Row("verify", what, "/s", target, values=values, load_average=load, notes=notes, details=details)


def measure_inclusion(place: Path, entries: int, step: Step) -> list[Row]:
    """Prove one entry of a long ledger, and check the proof."""
    load = load_average()
    step.update(0, 1, f"a ledger of {entries:,} entries")
    directory = place / "long"
    try:
        figures = asyncio.run(measure_proof(directory, entries))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    size, took = Target(2, "at most", "KB"), Target(1, "at most", "ms")
    what = f"inclusion proof among {entries:,} records"
    return [
        Row("proof_size", f"{what}: size", "KB", size, values=(figures.proof_bytes / KB,), load_average=load),
        Row(
            "proof_check",
            f"{what}: to check, the checkpoint's signature included",
            "ms",
            took,
            values=(figures.checked_ms,),
            load_average=load,
        ),
    ]
