"""The counters over the time of one execution, in the form of its record. Pure: callers pass in the readings."""

from dataclasses import dataclass
from fractions import Fraction

from contracts.execution.attribution import interval_energy_uj, is_readable
from contracts.execution.power_evidence import MAX_SAMPLES, PowerEvidence, PowerLimitEvidence, PowerSample, SampleMark
from supervisor.domain.power.meter import MeterReading, shorten_reason

__all__ = ["PowerLog"]


@dataclass(frozen=True, slots=True)
class _Entry:
    mark: SampleMark
    cpu_time_ns: int | None
    reading: MeterReading


class PowerLog:
    """Collects samples. Values count from the first one that could be read, times from the job's first byte."""

    def __init__(self, template: PowerEvidence) -> None:
        self._template = template
        self._entries: list[_Entry] = []
        self._job_at_ns: int | None = None
        self._last: _Entry | None = None
        self._ticks = 0
        self._stride = 1
        # The first value of each counter that could be read.
        self._first: dict[str, int] = {}
        self._fault: str | None = None
        self._attributed_uj = Fraction(0)
        self._last_readable: PowerSample | None = None

    def add(self, mark: SampleMark, reading: MeterReading, cpu_time_ns: int | None) -> None:
        """Add one reading.

        Args:
            mark: the moment of the reading.
            reading: the host's counters.
            cpu_time_ns: CPU time of the execution; None means that it could not be read.
        """
        self._last = _Entry(mark, cpu_time_ns, reading)
        if self._fault is None and reading.faults:
            self._fault = reading.faults[0]
        if mark == "tick":
            self._ticks += 1
        if mark != "tick" or self._ticks % self._stride == 0:
            self._keep(self._last)
        values = {"cpu": cpu_time_ns, "busy": reading.busy_ns, **reading.energy_uj}
        for name, value in values.items():
            if value is not None:
                self._first.setdefault(name, value)
        self._attribute(self._sample(self._last, base_ns=0))

    def begin_job(self, at_ns: int) -> None:
        """Set the time at which the first byte of the job was written, on the same clock."""
        self._job_at_ns = at_ns

    @property
    def last_at_ns(self) -> int:
        """Monotonic time of the last reading."""
        return 0 if self._last is None else self._last.reading.at_ns

    @property
    def last_cpu_time_ns(self) -> int | None:
        """CPU time of the execution in the last reading."""
        return None if self._last is None else self._last.cpu_time_ns

    def attributed_uj(self) -> int | None:
        """Return the energy attributed so far, in microjoules, or None if the last reading has a gap."""
        last = self._last_readable
        return None if last is None or last.at_ns != self.last_at_ns else int(self._attributed_uj)

    def _attribute(self, sample: PowerSample) -> None:
        if not is_readable(self._template, sample):
            return
        if self._last_readable is not None:
            self._attributed_uj += interval_energy_uj(self._template, self._last_readable, sample) or 0
        self._last_readable = sample

    def evidence(self, limit: PowerLimitEvidence | None) -> PowerEvidence:
        """Return the record's power evidence.

        Args:
            limit: evidence of the power limit, on the clock of the readings; None means that there is no limit.
        """
        # If no job began, everything up to the last sample was the loading of the model.
        base_ns = self.last_at_ns if self._job_at_ns is None else self._job_at_ns
        samples = tuple(self._sample(entry, base_ns=base_ns) for entry in self._entries)
        interval_ms = self._template.interval_ms * self._stride
        if limit is not None:
            actions = tuple(each.model_copy(update={"at_ns": each.at_ns - base_ns}) for each in limit.actions)
            limit = limit.model_copy(update={"actions": actions})
        # Both name a gap that existed from the beginning, so duplicates are removed.
        reasons = dict.fromkeys(filter(None, (self._template.fallback_reason, self._fault)))
        return self._template.model_copy(
            update={
                "samples": samples,
                "interval_ms": interval_ms,
                "limit": limit,
                "fallback_reason": shorten_reason("; ".join(reasons)) or None,
            }
        )

    def _keep(self, entry: _Entry) -> None:
        self._entries.append(entry)
        if len(self._entries) <= MAX_SAMPLES - len(("job", "prefill", "end")):
            return
        # Every second tick is dropped, now and from now on. The marks stay, and the remaining ticks are evenly spaced.
        self._stride *= 2
        ticks = [index for index, kept in enumerate(self._entries) if kept.mark == "tick"]
        dropped = frozenset(ticks[::2])
        self._entries = [kept for index, kept in enumerate(self._entries) if index not in dropped]

    def _sample(self, entry: _Entry, *, base_ns: int) -> PowerSample:
        busy_ns = entry.reading.busy_ns if self._template.cpu_domains else None
        return PowerSample(
            at_ns=entry.reading.at_ns - base_ns,
            mark=entry.mark,
            cpu_time_ns=self._beyond_first("cpu", entry.cpu_time_ns),
            busy_ns=self._beyond_first("busy", busy_ns),
            energy_uj={
                name: self._beyond_first(name, entry.reading.energy_uj.get(name)) for name in self._template.domains
            },
        )

    def _beyond_first(self, name: str, value: int | None) -> int | None:
        return None if value is None else max(0, value - self._first[name])
