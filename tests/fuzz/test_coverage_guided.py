"""A fuzzer that is led by coverage tries the parsers, for a bounded number of runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FUZZ_DEPTH
from tests.places import REPOSITORY

# Some ten seconds in all on one core.
RUNS = {
    "bundle": 1_500,
    "event": 20_000,
    "stream": 6_000,
    "gguf": 20_000,
    "command": 8_000,
    "json": 15_000,
    "proof": 15_000,
    "record": 10_000,
    "request": 15_000,
    "statement": 2_500,
}


def fuzz(target: str, directory: Path, runs: int) -> subprocess.CompletedProcess[str]:
    options = [f"-runs={runs * FUZZ_DEPTH}", *(["-seed=1"] if FUZZ_DEPTH == 1 else [])]
    # Measuring the coverage of lines too would take most of the time.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.harness", target, str(directory), *options],
        cwd=REPOSITORY,
        env={**environment, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


@pytest.mark.parametrize("target", RUNS)
def test_no_parser_breaks_its_promise(target: str, tmp_path: Path) -> None:
    done = fuzz(target, tmp_path, RUNS[target])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    begun, ended = (int(count) for count in re.findall(r"(?:INITED|DONE) +cov: (\d+)", done.stderr))
    assert ended > begun, "the fuzzer found no way that the seeds had not taken"


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    done = fuzz("planted", tmp_path, 200_000)
    assert done.returncode != 0
    assert "PlantedFault" in done.stdout
    (found,) = tmp_path.glob("crash-*")
    assert b'"token"' in found.read_bytes()
