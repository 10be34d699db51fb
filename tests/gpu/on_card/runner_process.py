"""The real runner as a process of this machine: its directory, its start in a shape, and one job."""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import minijinja

from contracts.execution.power_evidence import SampleMark
from contracts.execution.run_request import Sampling
from contracts.execution.runner_protocol import (
    DoneEvent,
    ErrorEvent,
    ExitCommand,
    JobCommand,
    PromptEvent,
    ReadyEvent,
    RunnerEvent,
    SetupCommand,
    TokenEvent,
    encode_command,
    parse_event,
)
from contracts.wire.document import sha256_digest
from supervisor.setup.images.runtime_image import BINDINGS
from tests.gpu.on_card.filters import ALLOWS_ALL
from tests.gpu.on_card.shape import Shape
from tests.gpu.on_card.watcher import Watcher
from tests.places import REPOSITORY

__all__ = ["GREEDY", "Answer", "Job", "RunnerFault", "RunnerProcess", "install_runner", "started"]

HERE = Path(__file__).parent
EVENT_TIMEOUT_S = 90.0
WORDS_MAX = 300
GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0)


class RunnerFault(Exception):
    """The runner ended, was silent, or told of a failure."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of a runner."""

    prompt: str
    max_tokens: int
    threads: int = 1
    context_tokens: int = 2048
    batch_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Answer:
    """What a runner answered, with times in ns since the first byte of the job was written."""

    tokens: tuple[int, ...]
    text: str
    finish_reason: str
    prompt_tokens: int
    prompt_done_ns: int
    token_times_ns: tuple[int, ...]
    ready_after_ns: int
    """From the start of the process to `ready`."""
    features: tuple[str, ...]
    on_card: bool
    """Whether its process was on the card at `ready`: llama.cpp computes on the processor where CUDA does not start."""

    @property
    def decode_tokens_per_s(self) -> float:
        """Tokens per second after the first token."""
        return (len(self.token_times_ns) - 1) * 1e9 / (self.token_times_ns[-1] - self.token_times_ns[0])

    @property
    def prefill_tokens_per_s(self) -> float:
        """Prompt tokens per second."""
        return self.prompt_tokens * 1e9 / self.prompt_done_ns


def install_runner(directory: Path, libraries: Path, bindings: Path, lock_two: bytes = ALLOWS_ALL) -> Path:
    """Put the runner, its bindings and its libraries together as the image has them; everybody may read them."""
    library = directory / "lib"
    runtime = REPOSITORY / "runtime-image"
    shutil.copytree(runtime / "runner", library / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    for shim in (runtime / "shims").glob("*.py"):
        shutil.copy(shim, library)
    (library / "llama_cpp").mkdir()
    for name in BINDINGS:
        shutil.copy(bindings / name, library / "llama_cpp")
    shutil.copytree(Path(minijinja.__file__).parent, library / "minijinja")
    (library / "llama_cpp" / "lib").symlink_to(libraries)
    for name in ("confined.py", "start_runner.py"):
        shutil.copy(HERE / name, directory)
    build = {
        "backend": "cuda",
        "llama_cpp_version": "on-card",
        "lockdown_policy": sha256_digest((REPOSITORY / "policies" / "lockdown.json").read_bytes()),
    }
    (directory / "build.json").write_text(json.dumps(build))
    (directory / "lockdown-kill_process.bpf").write_bytes(lock_two)
    return directory


class RunnerProcess:
    """A started runner; use it in `started`."""

    def __init__(self, process: "subprocess.Popen[bytes]", began_ns: int) -> None:
        self._process = process
        self._began_ns = began_ns
        self._errors: list[bytes] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        self._killer: threading.Timer | None = None
        self.ready: ReadyEvent | None = None
        self.ready_after_ns = 0
        self.on_card = False
        """Whether its process is on the card; set by `Bench.loaded`, which can ask the card."""

    @property
    def pid(self) -> int:
        """Its process's id."""
        return self._process.pid

    def load(self, model: Path, job: Job) -> ReadyEvent:
        """Have the model loaded and wait for `ready`.

        Raises:
            RunnerFault: it was not ready.
        """
        setup = SetupCommand(
            model_path=str(model),
            context_tokens=job.context_tokens,
            threads=job.threads,
            batch_tokens=job.batch_tokens,
            repack=False,
        )
        self._send(encode_command(setup))
        event = self._next()
        if not isinstance(event, ReadyEvent):
            raise RunnerFault(f"{type(event).__name__} instead of ready")
        self.ready_after_ns = time.monotonic_ns() - self._began_ns
        self.ready = event
        return event

    def answer(self, job: Job, notice: Callable[[SampleMark], None] = lambda _mark: None) -> Answer:
        """Have one job done.

        Args:
            job: the job.
            notice: told `job` before the first byte is written, then `prefill` and `end` when they happen.

        Raises:
            RunnerFault: it failed.
        """
        command = JobCommand(
            prompt=job.prompt,
            messages=None,
            parse_special=True,
            grammar=None,
            max_tokens=job.max_tokens,
            seed=1,
            sampling=GREEDY,
            stop=(),
        )
        notice("job")
        sent_ns = time.monotonic_ns()
        self._send(encode_command(command))
        prompt_tokens = prompt_ns = 0
        tokens: list[int] = []
        times_ns: list[int] = []
        text: list[str] = []
        while True:
            event, now_ns = self._next(), time.monotonic_ns()
            match event:
                case PromptEvent():
                    prompt_tokens, prompt_ns = event.tokens, now_ns - sent_ns
                    notice("prefill")
                case TokenEvent():
                    tokens.append(event.token_id)
                    text.append(event.text)
                    times_ns.append(now_ns - sent_ns)
                case DoneEvent():
                    notice("end")
                    break
                case _:
                    raise RunnerFault(f"an event that does not belong here: {type(event).__name__}")
        features = () if self.ready is None else self.ready.cpu_features
        return Answer(
            tokens=tuple(tokens),
            text="".join([*text, event.text]),
            finish_reason=event.finish_reason,
            prompt_tokens=prompt_tokens,
            prompt_done_ns=prompt_ns,
            token_times_ns=tuple(times_ns),
            ready_after_ns=self.ready_after_ns,
            features=tuple(features),
            on_card=self.on_card,
        )

    def end(self) -> int:
        """Let it go, and return its exit status."""
        with suppress(OSError):
            self._send(encode_command(ExitCommand()))
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(20)

    def kill(self) -> None:
        """End it in any case."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(20)

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RunnerFault(self._describe_end()) from error

    def _next(self) -> RunnerEvent:
        assert self._process.stdout is not None
        timer = threading.Timer(EVENT_TIMEOUT_S, self._process.kill)
        # Armed only where a long wait is possible: a thread for each token would be measured too.
        if self.ready is None:
            timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise RunnerFault(self._describe_end())
        event = parse_event(line)
        if isinstance(event, ErrorEvent):
            raise RunnerFault(f"{event.code}: {event.message}")
        return event

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line)

    def _describe_end(self) -> str:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        self._reader.join(2)
        words = b"".join(self._errors[-8:]).decode("utf-8", "replace").strip()
        # Where llama.cpp was compiled does not matter.
        words = re.sub(r"/\S+/(ggml|src)/", r"\1/", words)
        return f"it ended with status {status}: {words[-WORDS_MAX:]}"


@contextmanager
def started(
    directory: Path, python: Path, shape: Shape, *, is_wide: bool = False, watcher: Watcher | None = None
) -> Iterator[RunnerProcess]:
    """Start a runner; leaving the context ends it in any case.

    Args:
        directory: see `install_runner`.
        python: an interpreter that every user may read.
        shape: how it is confined; its command is set here.
        is_wide: whether its warm-up computes what a job computes.
        watcher: watches its calls; the shape then has a filter that asks.
    """
    isolated = (str(python), "-I", "-S", "-B")
    wide = ("wide",) if is_wide else ()
    shape = replace(shape, command=(*isolated, str(directory / "start_runner.py"), str(directory), *wide))
    environment = {**shape.environment, "LOCKDOWN_END": "kill_process"}
    shape = replace(shape, environment=environment)
    began_ns = time.monotonic_ns()
    process = subprocess.Popen(
        [*isolated, str(directory / "confined.py"), shape.encode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    runner = RunnerProcess(process, began_ns)
    try:
        if watcher is not None:
            watcher.watch(process.pid)
        yield runner
    finally:
        runner.kill()
        if watcher is not None:
            watcher.join()
