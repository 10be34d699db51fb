"""What the executions of each caller have used today, as their records say. A day is one of UTC."""

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.execution.attribution import attribute_energy
from contracts.execution.metrics_record import MetricsRecord
from contracts.execution.power_evidence import Phase

__all__ = ["NOTHING", "DailyUsage", "Usage", "day_of", "usage_of"]

_PHASES: tuple[Phase, Phase] = ("load", "job")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one execution, or several, used."""

    tokens: int
    """Tokens of prompts and answers."""
    energy_uj: int
    """Attributed energy. What could not be attributed is not in it."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.tokens + other.tokens, self.energy_uj + other.energy_uj)


NOTHING = Usage(0, 0)


def day_of(timestamp: str) -> str:
    """Return the day of a timestamp, as YYYY-MM-DD."""
    return timestamp.partition("T")[0]


def usage_of(record: MetricsRecord) -> Usage:
    """Return what one execution used, whether it completed or not.

    Its tokens are those of its prompt and its answer, its energy is that from the load of the model on.
    """
    raw, power = record.measurements, record.power
    tokens = 0
    if raw is not None:
        tokens = len(raw.token_times_ns) + (0 if raw.tokens_prompt is None else raw.tokens_prompt)
    energies = [] if power is None else [attribute_energy(power, phase) for phase in _PHASES]
    return Usage(tokens, int(sum(energy.total_uj for energy in energies if energy is not None)))


class DailyUsage:
    """The sums of one day, by the name of the caller; a new day begins with none."""

    def __init__(self) -> None:
        self._day = ""
        self._by_caller: dict[str, Usage] = {}

    def begin(self, day: str, by_caller: Mapping[str, Usage]) -> None:
        """Take over the sums of a day, which the ledger has."""
        self._day, self._by_caller = day, dict(by_caller)

    def add(self, caller: str, day: str, usage: Usage) -> None:
        """Count an execution that ended on a day; a day before the current one no longer counts."""
        if day > self._day:
            self.begin(day, {})
        if day == self._day:
            self._by_caller[caller] = self._by_caller.get(caller, NOTHING) + usage

    def of(self, caller: str, day: str) -> Usage:
        """Return what a caller used on a day; nothing is known of other days than the current one."""
        return self._by_caller.get(caller, NOTHING) if day == self._day else NOTHING
