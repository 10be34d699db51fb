"""Which rules of the sandbox's shape a job on the card lives with."""

from pathlib import Path

from tests.gpu.on_card.bench import Bench
from tests.gpu.on_card.filters import ALLOWS_ALL
from tests.gpu.on_card.record_calls import Recording
from tests.gpu.on_card.runner_process import Job, RunnerFault

__all__ = ["find_shape"]

JOB = Job("The sea is blue and the", 8)
RULES = ("limits", "devices", "read_only", "networks", "uid", "masked")


class _Search:
    """Tries shapes, and keeps what became of each."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._directory = bench.install(ALLOWS_ALL)
        self.said: dict[str, str] = {}

    def lives(self, shown: tuple[str, ...], relaxed: tuple[str, ...]) -> bool:
        """Return whether a job is done on the card with these paths shown and these rules left out."""
        self._bench.shown, self._bench.relaxed = shown, relaxed
        name = f"without {' '.join(relaxed) or 'no rule'}, showing {' '.join(shown) or 'nothing'}"
        try:
            answer = self._bench.run(self._directory, self._bench.sandbox(), JOB)
        except RunnerFault as error:
            self.said[name] = f"failed: {error}"
            return False
        self.said[name] = "done on the card" if answer.on_card else "done, but by the processor"
        return answer.on_card


def find_shape(bench: Bench, plain: Recording) -> dict[str, object]:
    """Try the whole shape; where it fails, find what a job on the card needs, and have the bench leave it open.

    Args:
        bench: where things are; `shown` and `relaxed` are set.
        plain: what an unconfined runner did.
    """
    search = _Search(bench)
    shown: tuple[str, ...] = ()
    relaxed: tuple[str, ...] = ()
    if not search.lives(shown, relaxed):
        shown = _looked_at(bench, plain)
        relaxed = _rules_at_fault(search, bench, shown)
        for path in shown:
            fewer = tuple(each for each in shown if each != path)
            if search.lives(fewer, relaxed):
                shown = fewer
        bench.shown, bench.relaxed = shown, relaxed
    return {"tried": search.said, "shown": shown, "left_out": relaxed}


def _rules_at_fault(search: _Search, bench: Bench, shown: tuple[str, ...]) -> tuple[str, ...]:
    if search.lives(shown, ()):
        return ()
    for rule in RULES:
        if search.lives(shown, (rule,)):
            bench.relaxed = ()
            parts = list(bench.sandbox().limits) if rule == "limits" else []
            return next(((f"{rule}:{part}",) for part in parts if search.lives(shown, (f"{rule}:{part}",))), (rule,))
    return RULES


def _looked_at(bench: Bench, plain: Recording) -> tuple[str, ...]:
    """Return the existing paths below masked ones that the unconfined runner looked at."""
    bench.shown = bench.relaxed = ()
    masked = bench.sandbox().masked
    seen = sorted({call.target.rstrip("/") for call in plain.calls if call.target.startswith("/")})
    below = [path for path in seen if Path(path).exists() and any(Path(path).is_relative_to(each) for each in masked)]
    # A folder shows what lies in it.
    return tuple(path for path in below if not any(path != each and Path(path).is_relative_to(each) for each in below))
