"""Paired comparisons: the order of the two sides in each pair, and statistics of their ratios. Pure."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Pair", "Spread", "alternate", "percentile", "ratios", "spread_of"]

RESAMPLES = 2000
# Confidence of the interval around the median.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Pair:
    """One quantity of ours and of the peer's, measured one right after the other."""

    ours: float
    peer: float


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the spread around it."""

    count: int
    median: float
    quartile_low: float
    quartile_high: float
    interval_low: float
    """Bootstrap interval of the median, 95 %."""
    interval_high: float


def alternate(pairs: int, seed: int) -> Iterator[bool]:
    """Yield for each pair whether ours goes first: once in every two pairs, at random.

    So that neither a machine that slows down nor one side's after-effects on the other count for one side alone.
    """
    draw = random.Random(seed)  # noqa: S311 - an order, no secret
    for start in range(0, pairs, 2):
        first = draw.random() < 0.5  # noqa: PLR2004 - a coin
        yield first
        if start + 1 < pairs:
            yield not first


def ratios(pairs: Sequence[Pair]) -> tuple[float, ...]:
    """Return ours over the peer's, pair by pair."""
    return tuple(pair.ours / pair.peer for pair in pairs)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        message = "nothing has no percentile"
        raise ValueError(message)
    ranked = sorted(values)
    return ranked[max(0, -int(-len(ranked) * percent // 100) - 1)]


def spread_of(values: Sequence[float], seed: int = 0) -> Spread:
    """Return the median, the quartiles and the median's bootstrap interval.

    Raises:
        ValueError: there is no value.
    """
    draw = random.Random(seed)  # noqa: S311 - resampling, no secret
    low, high = percentile(values, 25), percentile(values, 75)
    medians = [median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2 * 100
    return Spread(
        count=len(values),
        median=median(values),
        quartile_low=low,
        quartile_high=high,
        interval_low=percentile(medians, tail),
        interval_high=percentile(medians, 100 - tail),
    )
