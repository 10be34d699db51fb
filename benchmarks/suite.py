"""The benchmarks of the engine against bare llama.cpp and plain containers: a table, a JSON file and plots.

Usage: ``python -m benchmarks.suite [--quick] [--only ROW,ROW] [--output DIRECTORY] [--no-plot]``, or ``make bench``.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from benchmarks.measuring.machine import describe_machine, load_average
from benchmarks.measuring.results import Row, Target, document_of, show_table
from benchmarks.peers.containers import NoOp, labelled_containers
from benchmarks.peers.engine import Engine, prepare_home, serving
from benchmarks.peers.peers import Peers, ensure_peers
from benchmarks.rows.audit import measure_append, measure_inclusion, measure_verification
from benchmarks.rows.clients import measure_clients
from benchmarks.rows.load import measure_rate
from benchmarks.rows.memory import measure_memory
from benchmarks.rows.speed import (
    Bench,
    measure_cold,
    measure_decode,
    measure_decode_beside_neighbours,
    measure_decode_in_process,
    measure_warm,
)
from benchmarks.rows.stream import measure_slow_reader, measure_stream_delay, measure_supervisor_cpu
from supervisor.adapters.docker.sandboxes import INSTANCE_LABEL
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.commands.setup import DEMO_MODEL, DEMO_QUANTIZATION, prepare
from supervisor.commands.supervising import require_process
from supervisor.composition import SOURCE_ROOT
from supervisor.console.steps import ConsoleProgress, Progress

__all__ = ["main"]

PAIRS = 11
QUICK_PAIRS = 5
WINDOW_S = 10.0
LEDGER_ENTRIES = 1_000_000
QUICK_WINDOW_S = 4.0
# Above this, other processes affect the figures as much as we do.
NOISY_LOAD = 0.5

Measuring = Callable[[Bench], Sequence[Row]]


def _model_file(home: Home) -> Path:
    store = ModelStore(home.models)
    wanted = (DEMO_MODEL, DEMO_QUANTIZATION)
    digest = next(model.sha256 for model in store.list() if (model.name, model.quantization) == wanted)
    return home.models / digest.removeprefix("sha256:") / "model.gguf"


@contextmanager
def _no_op(docker_host: str, peers: Peers) -> Iterator[NoOp]:
    no_op = NoOp(docker_host, peers.toolchain_id)
    try:
        yield no_op
    finally:
        no_op.close()


def _cold(bench: Bench) -> Sequence[Row]:
    with _no_op(bench.engine.docker_host, bench.peers) as no_op:
        return [measure_cold(bench, no_op)]


def _audit(bench: Bench) -> Sequence[Row]:
    place = bench.engine.home.root / "ledger-figures"
    place.mkdir(exist_ok=True)
    repetitions = max(3, bench.pairs // 2)
    return [
        measure_append(place, repetitions, bench.step),
        measure_verification(repetitions, bench.window_s / 5, bench.step),
        *measure_inclusion(place, LEDGER_ENTRIES, bench.step),
    ]


def _rate(bench: Bench) -> Sequence[Row]:
    with _no_op(bench.engine.docker_host, bench.peers) as no_op:
        return measure_rate(bench, no_op, pairs=max(3, bench.pairs // 3), window_s=bench.window_s)


ROWS: dict[str, tuple[str, Measuring]] = {
    "warm": ("one-token requests to the engine and to llama-server", lambda bench: [measure_warm(bench)]),
    "decode": ("the engine and llama-bench in turn", lambda bench: [measure_decode(bench)]),
    "decode_inprocess": (
        "the engine and llama-cpp-python in one process in turn",
        lambda bench: [measure_decode_in_process(bench)],
    ),
    "decode_busy": (
        "the same with a busy process on every CPU",
        measure_decode_beside_neighbours,
    ),
    "cold": ("executions without a prepared sandbox, and containers that do nothing", _cold),
    "rate": ("executions by 1, 2 and 8 callers, and containers that do nothing", _rate),
    "clients": ("1, 8 and 64 clients over HTTP", measure_clients),
    "supervisor": ("the supervisor's own processor time while tokens arrive", measure_supervisor_cpu),
    "stream": (
        "tokens on their way to fast and slow readers",
        lambda bench: [measure_stream_delay(bench), measure_slow_reader(bench)],
    ),
    "audit": ("signing, appending, proving and verifying; no containers", _audit),
    "memory": ("eight prepared sandboxes side by side", lambda bench: [measure_memory(bench)]),
}


def _measure(engine: Engine, peers: Peers, names: Sequence[str], progress: Progress, *, quick: bool) -> Iterator[Row]:
    for name in names:
        reason, measuring = ROWS[name]
        with progress.step(f"Measuring {name}", reason) as step:
            pairs, window_s = (QUICK_PAIRS, QUICK_WINDOW_S) if quick else (PAIRS, WINDOW_S)
            bench = Bench(engine, peers, _model_file(engine.home), pairs, window_s, step)
            try:
                # The row before may have taken longer than the server keeps an idle connection.
                engine.http.renew("/v1/version")
                rows = measuring(bench)
            except (RuntimeError, OSError, HTTPException) as error:
                # A row that cannot be measured must not stop the others, or leave them a half-used connection.
                engine.http.close()
                rows = [Row(name, name, "", None, notes=(f"not measured: {error}",))]
            for row in rows:
                for note in row.notes:
                    step.note(note)
            yield from rows


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs, shorter windows")
    parser.add_argument("--only", help=f"rows, with commas between them: {', '.join(ROWS)}")
    parser.add_argument("--output", type=Path, default=Path("build/bench"))
    parser.add_argument("--no-plot", action="store_true")
    options = parser.parse_args(arguments)
    options.rows = list(ROWS) if options.only is None else options.only.split(",")
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"unknown row: {', '.join(sorted(unknown))}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, measure, print the table and write the files."""
    options = _parse(arguments)
    require_process("make bench")
    progress = ConsoleProgress()
    prepared = prepare(Home(default_home()), progress)
    peers = ensure_peers(prepared.home.root, prepared.backend, progress, prepared.docker_host)
    home = prepare_home(prepared.home)
    machine = describe_machine(SOURCE_ROOT, prepared.docker_host, quick=options.quick)
    if load_average() > NOISY_LOAD:
        _say(f"The machine is not quiet (load average {load_average():.2f}): other processes affect the figures.")
    options.output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with serving(home, prepared.docker_host, dict(os.environ)) as engine:
        machine["engine_version"] = engine.engine_version
        for row in _measure(engine, peers, options.rows, progress, quick=options.quick):
            rows.append(row)
            _write(options.output, rows, machine)
    rows.append(_left_behind(home, prepared.docker_host))
    _write(options.output, rows, machine)
    _say(show_table(rows))
    _say(f"written: {options.output / 'results.json'}, {options.output / 'table.md'}")
    if not options.no_plot:
        # Imported here, so that the figures need no plotting library.
        from benchmarks.plots import draw_clients, draw_ratios  # noqa: PLC0415

        _say(f"written: {draw_ratios(rows, options.output / 'ratios.png')}")
        if any("clients" in row.details for row in rows):
            _say(f"written: {draw_clients(rows, options.output / 'clients.png')}")
    return 1 if any(row.spread is None for row in rows) else 0


def _left_behind(home: Home, docker_host: str) -> Row:
    containers = labelled_containers(docker_host, f"{INSTANCE_LABEL}={home.instance_id()}")
    what = "containers left when the engine has ended"
    return Row("left_behind", what, "", Target(0, "at most"), values=(float(len(containers)),))


def _write(output: Path, rows: Sequence[Row], machine: dict[str, object]) -> None:
    (output / "results.json").write_text(json.dumps(document_of(rows, machine), indent=2, default=str) + "\n")
    (output / "table.md").write_text(show_table(rows))


if __name__ == "__main__":
    sys.exit(main())
