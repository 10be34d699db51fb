"""How far the logits on the card are from those of the processor, position by position over one text."""

import array
import math
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import TypeAlias

from tests.gpu.on_card.bench import Bench
from tests.gpu.on_card.filters import ALLOWS_ALL
from tests.gpu.on_card.prove_tokens import NO_CARD

__all__ = ["prove_logits"]

HERE = Path(__file__).parent
TIMEOUT_S = 120
# The vocabulary of the demonstration's model.
VOCABULARY = 49_152
TEXT = (
    "The sea is a large body of salt water that covers most of the surface of the planet. It has been important to "
    "people for thousands of years, because it gives them food and lets them travel from one place to another. In the "
    "15th century, sailors from Portugal began to explore the coast of Africa. They used a new kind of ship, the "
    "caravel, which could sail against the wind. In 1488 Bartolomeu Dias reached the southern end of Africa, and "
    "ten years later Vasco da Gama found the way to India. The water boils at 100 degrees, and 12 times 12 is 144."
)
REHEARSED_CHARS = 60

# A string: Python 3.11 cannot subscript arrays.
Positions: TypeAlias = "list[tuple[int, array.array[float]]]"


def _positions(bench: Bench, directory: Path, **environment: str) -> Positions:
    text = TEXT[:REHEARSED_CHARS] if bench.is_rehearsal else TEXT
    program = (str(bench.python), "-I", "-S", "-B", str(HERE / "compute_logits.py"))
    done = subprocess.run(
        [*program, str(directory), str(bench.model), "1"],
        input=text.encode(),
        env=bench.environment(**environment),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    size = 4 * (1 + VOCABULARY)
    found: Positions = []
    for start in range(0, len(done.stdout), size):
        token, logits = array.array("i"), array.array("f")
        token.frombytes(done.stdout[start : start + 4])
        logits.frombytes(done.stdout[start + 4 : start + size])
        found.append((token[0], logits))
    return found


def _log_total(logits: Sequence[float]) -> float:
    largest = max(logits)
    return largest + math.log(sum(math.exp(each - largest) for each in logits))


def _surprise(positions: Positions) -> float:
    """Return the mean of the negative logarithms of the probabilities of each next token."""
    pairs = pairwise(positions)
    return mean(_log_total(logits) - logits[following] for (_token, logits), (following, _) in pairs)


def _divergence(true: Sequence[float], other: Sequence[float]) -> float:
    true_total, other_total = _log_total(true), _log_total(other)
    return sum(
        math.exp(one - true_total) * ((one - true_total) - (two - other_total))
        for one, two in zip(true, other, strict=True)
    )


def prove_logits(bench: Bench) -> dict[str, object]:
    """Compare both, and the card with itself."""
    directory = bench.install(ALLOWS_ALL)
    card, again = _positions(bench, directory), _positions(bench, directory)
    processor = _positions(bench, directory, **NO_CARD)
    sides = [(ours, theirs) for (_, ours), (_, theirs) in zip(card, processor, strict=True)]
    apart = [[abs(one - other) for one, other in zip(ours, theirs, strict=True)] for ours, theirs in sides]
    same_choice = [
        max(range(VOCABULARY), key=ours.__getitem__) == max(range(VOCABULARY), key=theirs.__getitem__)
        for ours, theirs in sides
    ]
    return {
        "positions": len(card),
        "card_equals_itself": card == again,
        "same_choice": sum(same_choice),
        "apart": {"mean": mean(map(mean, apart)), "largest": max(map(max, apart))},
        "perplexity": {"card": math.exp(_surprise(card)), "processor": math.exp(_surprise(processor))},
        "divergence_nats": mean(_divergence(theirs, ours) for ours, theirs in sides),
    }
