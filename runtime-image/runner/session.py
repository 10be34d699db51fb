"""The runner's course: set-up, lock, ready, one job, wait to be let go."""

from collections.abc import Callable
from typing import NamedTuple

from runner.channel import EventWriter, LineReader
from runner.events import ModelInfo, error_event, ready_event
from runner.generation import Model, generate
from runner.protocol import RunnerError, Setup, is_exit, parse_job, parse_setup

__all__ = ["BuildInfo", "LoadedModel", "serve"]


class BuildInfo(NamedTuple):
    """What this image was built as; written by the image build."""

    backend: str
    llama_cpp_version: str
    lockdown_policy: str


class LoadedModel(NamedTuple):
    """A model that needs nothing more than a job, and what it says of itself."""

    model: Model
    info: ModelInfo
    cpu_features: list[str]


Loader = Callable[[Setup], LoadedModel]
Lock = Callable[[], None]


def serve(reader: LineReader, writer: EventWriter, build: BuildInfo, load: Loader, lock: Lock) -> None:
    """Run the protocol once, to the end of input or the exit line."""
    try:
        _serve_job(reader, writer, build, load, lock)
    except RunnerError as error:
        writer.send(error_event(error))
    except MemoryError:
        writer.send(error_event(RunnerError("out_of_memory", "the interpreter got no memory")))
    _wait_for_end(reader)


def _serve_job(reader: LineReader, writer: EventWriter, build: BuildInfo, load: Loader, lock: Lock) -> None:
    line = reader.read_line()
    if line is None:
        return
    loaded = load(parse_setup(line))
    # Every library is mapped, every thread runs, every buffer that llama.cpp needs is allocated, and no byte of the
    # job has been read. Before `ready`, so that the supervisor sees the lock from outside before it sends the job.
    # Measured from here to the end of a job, strace -f: read, write, futex, brk, munmap; besides, rt_sigaction and
    # exit_group when the process ends.
    lock()
    ready = ready_event(build.backend, build.llama_cpp_version, loaded.cpu_features, loaded.info, build.lockdown_policy)
    writer.send(ready)
    line = reader.read_line()
    if line is None:
        return
    for event in generate(loaded.model, parse_job(line)):
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
