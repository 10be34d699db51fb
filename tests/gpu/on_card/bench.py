"""What every proof gets: where things are, the card, and runners to start."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from supervisor.adapters.policies import load_policies
from supervisor.adapters.power.nvml_device import NvmlDevice
from supervisor.domain.policies.policy import Policies
from tests.gpu.on_card.card import process_memory
from tests.gpu.on_card.runner_process import Answer, Job, RunnerProcess, install_runner, started
from tests.gpu.on_card.shape import Shape, plain_shape, sandbox_shape
from tests.gpu.on_card.watcher import Watcher
from tests.places import REPOSITORY

__all__ = ["Bench"]


@dataclass
class Bench:
    """One run of all proofs on one machine."""

    work: Path
    """A directory that every user may read, for what the proofs need."""
    model: Path
    libraries: Path
    """llama.cpp compiled for the card, without CUDA's virtual memory management."""
    vmm_libraries: Path | None
    """The same with it; None: it was not compiled."""
    bindings: Path
    python: Path
    """An interpreter that every user may read."""
    library_path: tuple[str, ...]
    """Where CUDA's own libraries lie."""
    card: NvmlDevice
    is_rehearsal: bool
    """Whether there is no card: everything is computed by the processor, and nothing is proved."""
    shown: tuple[str, ...] = ()
    """Paths below the sandbox's masked ones that a job on the card needs."""
    relaxed: tuple[str, ...] = ()
    """Rules of the sandbox's shape that a job on the card does not live with, see `Shape.without`."""
    policies: Policies = field(default_factory=lambda: load_policies(REPOSITORY / "policies"))
    _installed: int = 0

    def count(self, tokens: int) -> int:
        """Return how many tokens are asked for: a few in a rehearsal, which a processor computes."""
        return max(4, tokens // 64) if self.is_rehearsal else tokens

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of an unconfined runner."""
        return {"LD_LIBRARY_PATH": ":".join(self.library_path), "LANG": "C.UTF-8", **more}

    def install(self, lock_two: bytes, libraries: Path | None = None) -> Path:
        """Return a directory with the runner, its libraries and this lock two."""
        self._installed += 1
        directory = self.work / f"runner-{self._installed}"
        directory.mkdir(mode=0o755)
        return install_runner(directory, libraries or self.libraries, self.bindings, lock_two)

    def plain(self, **more: str) -> Shape:
        """Return the shape of an unconfined process."""
        return plain_shape(self.environment(**more))

    def sandbox(self, **more: str) -> Shape:
        """Return the shape of a sandbox with the card's devices."""
        staging = self.work / "dev"
        staging.mkdir(exist_ok=True)
        shape = replace(sandbox_shape(self.environment(**more), self.policies.sandbox, staging), shown=self.shown)
        for rule in self.relaxed:
            shape = shape.without(rule)
        return shape

    @contextmanager
    def loaded(
        self,
        directory: Path,
        shape: Shape,
        job: Job,
        *,
        is_wide: bool = False,
        watcher: Watcher | None = None,
    ) -> Iterator[RunnerProcess]:
        """Start a runner and wait for `ready`.

        Raises:
            RunnerFault: it was not ready.
        """
        # A processor would compute for a minute.
        is_wide = is_wide and not self.is_rehearsal
        with started(directory, self.python, shape, is_wide=is_wide, watcher=watcher) as runner:
            runner.load(self.model, job)
            runner.on_card = self.is_rehearsal or process_memory(self.card, runner.pid) is not None
            yield runner

    def run(self, directory: Path, shape: Shape, job: Job, *, is_wide: bool = False) -> Answer:
        """Start a runner, have one job done, and let it go.

        Raises:
            RunnerFault: it failed.
        """
        with self.loaded(directory, shape, job, is_wide=is_wide) as runner:
            answer = runner.answer(job)
            runner.end()
            return answer
