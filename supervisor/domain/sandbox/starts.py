"""Whether containers start at the moment: a container engine can answer each ping and fail each start. Pure."""

from dataclasses import dataclass

__all__ = ["ENGINE_FAULTS", "StartWatch"]

# Faults of a start that the next start of any sandbox would meet too.
ENGINE_FAULTS = frozenset({"engine_unavailable", "limit_unenforceable", "sandbox_failed"})
# A failed start says something of the next one for so long. The pool tries again within 60 s; where nothing is made
# ahead, the next request has to be let through to find out.
CURRENT_S = 90.0


@dataclass(slots=True)
class StartWatch:
    """How the newest start of a container ended."""

    _detail: str | None = None
    _failed_s: float = 0.0

    def succeed(self) -> None:
        """Note that a container started."""
        self._detail = None

    def fail(self, code: str, detail: str, now_s: float) -> None:
        """Note that a container did not start.

        Args:
            code: code of the fault.
            detail: the container engine's words.
            now_s: monotonic time.
        """
        if code in ENGINE_FAULTS:
            self._detail, self._failed_s = detail, now_s

    def obstacle(self, now_s: float) -> str | None:
        """Return why the next start would fail; None means that nothing is known against it."""
        return self._detail if now_s - self._failed_s < CURRENT_S else None
