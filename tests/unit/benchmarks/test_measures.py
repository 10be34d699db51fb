import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.audit.verify_rate import record_and_trust
from benchmarks.measuring.load import Load, figures_of, find_lost
from benchmarks.measuring.streaming import delays_ns
from benchmarks.measuring.supervisor_cost import cpu_ns, resident_bytes
from benchmarks.peers.containers import count_rate
from benchmarks.peers.inprocess import loop_environment
from benchmarks.rows.memory import private_and_file_bytes
from contracts.verify.record import verify_record

MIB = 2**20


def test_a_mapped_file_is_counted_apart_from_what_is_private(tmp_path: Path) -> None:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(os.urandom(4 * MIB))
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert len(bytes(mapped)) == 4 * MIB
        private, resident = private_and_file_bytes(os.getpid(), str(weights))
        everything, nothing = private_and_file_bytes(os.getpid(), str(tmp_path / "other.gguf"))
    assert (resident, nothing) == (4 * MIB, 0)
    assert private > MIB
    # Nobody else has mapped the file, so its pages are this process's own too.
    assert everything >= private + 3 * MIB


def test_a_delay_is_what_a_token_took_longer_than_the_fastest() -> None:
    # The client's clock began at another moment than the supervisor's.
    assert delays_ns([0, 20, 40], [1005, 1021, 1049]) == [4, 0, 8]


def test_a_stream_with_other_tokens_than_the_record_has_is_not_compared() -> None:
    with pytest.raises(ValueError, match="argument"):
        delays_ns([0, 20], [5])


def test_what_a_process_uses_is_counted() -> None:
    before = cpu_ns(os.getpid())
    # The kernel brings the count up to date when it likes to.
    for _ in range(10_000):
        if cpu_ns(os.getpid()) > before:
            break
        sum(range(10_000))
    assert cpu_ns(os.getpid()) > before
    assert resident_bytes(os.getpid()) > 2**20


def test_a_rate_counts_what_every_caller_finished() -> None:
    calls: list[int] = []
    assert count_rate(3, 0.01, lambda: lambda: calls.append(1)) > 0
    assert len(calls) >= 3


def test_a_fault_of_one_caller_is_the_measurements() -> None:
    def fail() -> None:
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        count_rate(2, 0.01, lambda: fail)


def test_percentiles_of_a_load_are_over_what_completed() -> None:
    load = Load(8, 2.0, {f"exec_{number}": float(number) for number in range(1, 101)}, rejected=7, failed=["503: x"])
    figures = figures_of(load, 0)
    assert (figures.executions_per_s, figures.rejected, figures.failed) == (50, 7, 1)
    assert (figures.p50_s, figures.p95_s, figures.p99_s) == (50, 95, 99)


def test_a_load_that_completed_nothing_has_no_percentiles() -> None:
    assert figures_of(Load(1, 1.0), 0).p99_s is None


RECORD, TRUST = record_and_trust()


@dataclass
class Answers:
    """Stands where the engine's HTTP client does: pages of executions and their records."""

    pages: list[dict[str, Any]]
    records: dict[str, bytes] = field(default_factory=dict)

    def ask(self, method: str, path: str) -> Any:
        assert method == "GET"
        if path.endswith("/record"):
            return SimpleNamespace(body=self.records[path.split("/")[3]])
        return SimpleNamespace(document=self.pages.pop(0))


def page(*runs: tuple[str, str], following: str | None = None) -> dict[str, Any]:
    return {"runs": [{"execution_id": each, "status": status} for each, status in runs], "next": following}


def lost(answers: Answers, load: Load, before: frozenset[str] = frozenset()) -> list[str]:
    return find_lost(cast("Any", SimpleNamespace(http=answers, trust=TRUST)), load, before)


def genuine_id() -> str:
    record = verify_record(RECORD, TRUST).record
    assert record is not None
    return record.execution_id


def test_what_has_an_answer_and_a_record_that_verifies_is_not_lost() -> None:
    known = genuine_id()
    answers = Answers([page((known, "completed"), following=known), page(("old", "completed"))], {known: RECORD})
    assert lost(answers, Load(1, completed={known: 0.1}), frozenset({"old"})) == []


def test_an_execution_without_an_end_is_lost() -> None:
    answers = Answers([page(("one", "running"))])
    assert lost(answers, Load(1, failed=["503: x"])) == ["one"]


def test_an_execution_that_nobody_was_answered_about_is_lost() -> None:
    assert lost(Answers([page(("one", "completed"))]), Load(1)) == ["one"]


def test_an_answer_about_an_execution_that_the_ledger_does_not_know_is_a_loss() -> None:
    assert lost(Answers([page()]), Load(1, completed={"one": 0.1})) == ["one"]


def test_a_record_that_does_not_verify_is_a_loss() -> None:
    known = genuine_id()
    answers = Answers([page((known, "completed"))], {known: RECORD.replace(b"A", b"B", 1)})
    assert lost(answers, Load(1, completed={known: 0.1})) == [known]


def test_another_executions_record_is_a_loss() -> None:
    answers = Answers([page(("one", "completed"))], {"one": RECORD})
    assert lost(answers, Load(1, completed={"one": 0.1})) == ["one"]


def test_the_bare_loop_waits_as_the_plan_says_whatever_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    spinning = {"threads": 2, "omp_wait_policy": "active", "spin_count": None}
    assert loop_environment(spinning) == {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "active"}
    bounded = {"threads": 1, "omp_wait_policy": "active", "spin_count": 1000}
    assert loop_environment(bounded)["GOMP_SPINCOUNT"] == "1000"
