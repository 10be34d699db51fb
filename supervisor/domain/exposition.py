"""Counters and gauges in the text that Prometheus reads (exposition format 0.0.4)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["EXPOSITION_TYPE", "Family", "Histogram", "Sample", "encode_exposition", "label_samples"]

EXPOSITION_TYPE = "text/plain"


@dataclass(frozen=True, slots=True)
class Sample:
    """One number."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    """What a histogram's parts add to the name."""


@dataclass(frozen=True, slots=True)
class Family:
    """The numbers of one name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    samples: Sequence[Sample]


class Histogram:
    """How often a quantity was at most so large."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Begin with none; bounds ascend."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one."""
        place = next((place for place, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        self._counts[place] += 1
        self._sum += value

    def samples(self, **labels: str) -> tuple[Sample, ...]:
        """Return its parts: each bucket counts all that are at most its bound."""
        parts, so_far = [], 0
        for bound, count in zip((*map(_number, self._bounds), "+Inf"), self._counts, strict=True):
            so_far += count
            parts.append(Sample(so_far, {**labels, "le": bound}, "_bucket"))
        return (*parts, Sample(self._sum, labels, "_sum"), Sample(so_far, labels, "_count"))


def label_samples(label: str, values: Mapping[str, float]) -> list[Sample]:
    """Return a sample for each value of one label, sorted."""
    return [Sample(value, {label: name}) for name, value in sorted(values.items())]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def encode_exposition(families: Iterable[Family]) -> bytes:
    """Return the text of these families."""
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {family.description}", f"# TYPE {family.name} {family.kind}"]
        for sample in family.samples:
            pairs = ",".join(f'{name}="{_quote(value)}"' for name, value in sorted(sample.labels.items()))
            labels = f"{{{pairs}}}" if pairs else ""
            lines.append(f"{family.name}{sample.suffix}{labels} {_number(sample.value)}")
    return "".join(f"{line}\n" for line in lines).encode("utf-8")
