"""The runner's course: set-up, ready, one job, wait to be let go."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from runner.channel import EventWriter, LineReader, take_private_stdout
from runner.engine import LlamaEngine
from runner.generation import Engine, generate
from runner.protocol import (
    ModelInfo,
    RunnerError,
    Setup,
    error_event,
    is_exit,
    parse_job,
    parse_setup,
    ready_event,
)

__all__ = ["BuildInfo", "LoadedEngine", "main", "serve"]

STDIN_FD = 0
BUILD_FILE = Path("/opt/weos/build.json")
# sysexits.h EX_SOFTWARE: a fault of this program, for which there is no event.
EXIT_FAULT = 70


class BuildInfo(NamedTuple):
    """What this image was built as; written by the image build."""

    backend: str
    llama_cpp_version: str


class LoadedEngine(NamedTuple):
    """An engine that needs nothing more than a job, and what it says of itself."""

    engine: Engine
    model: ModelInfo
    cpu_features: list[str]


def serve(
    reader: LineReader, writer: EventWriter, build: BuildInfo, load: Callable[[Setup], LoadedEngine]
) -> None:
    """Run the protocol once, to the end of input or the exit line."""
    try:
        _serve_job(reader, writer, build, load)
    except RunnerError as error:
        writer.send(error_event(error))
    _wait_for_end(reader)


def _serve_job(
    reader: LineReader, writer: EventWriter, build: BuildInfo, load: Callable[[Setup], LoadedEngine]
) -> None:
    line = reader.read_line()
    if line is None:
        return
    loaded = load(parse_setup(line))
    writer.send(ready_event(build.backend, build.llama_cpp_version, loaded.cpu_features, loaded.model))
    # The place of the second lock: every library is mapped, every thread runs, every buffer that llama.cpp
    # needs is allocated, and no byte of the job has been read.
    line = reader.read_line()
    if line is None:
        return
    for event in generate(loaded.engine, parse_job(line)):
        writer.send(event)


def _wait_for_end(reader: LineReader) -> None:
    # The cgroup lives as long as this process does: the supervisor reads its meters meanwhile.
    while True:
        try:
            line = reader.read_line()
        except RunnerError:
            continue
        if line is None or is_exit(line):
            return


def _load_llama(setup: Setup) -> LoadedEngine:
    engine = LlamaEngine(setup)
    engine.warm_up()
    return LoadedEngine(engine, engine.model_info(), engine.cpu_features())


def main() -> int:
    """Run as the image's entry point; return the exit status."""
    writer = EventWriter(take_private_stdout())
    build = json.loads(BUILD_FILE.read_text(encoding="utf-8"))
    try:
        serve(
            LineReader(STDIN_FD),
            writer,
            BuildInfo(build["backend"], build["llama_cpp_version"]),
            _load_llama,
        )
    except Exception as error:  # noqa: BLE001 - the boundary: a traceback's message could hold a prompt
        sys.stderr.write(f"runner fault: {type(error).__name__}\n")
        return EXIT_FAULT
    return 0
