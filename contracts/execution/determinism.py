"""The determinism class of an execution: what decides its tokens, besides model, prompt and limits."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.runner_protocol import MAX_THREADS
from contracts.wire.document import Contract, Many
from contracts.wire.types import BackendName

__all__ = ["CpuFeature", "Determinism", "classify_determinism"]

# Name of a CPU instruction set, as ggml reports it.
CpuFeature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Determinism(Contract):
    """Executions of one class with equal model, prompt, seed, sampling, stop texts and context give equal tokens."""

    sampling: Literal["greedy", "seeded"]
    """`greedy`: always the most probable token. `seeded`: tokens are drawn at random with the plan's seed."""
    backend: BackendName
    """Name of the build of llama.cpp; it decides which CPU instructions the computation uses."""
    cpu_features: Many[CpuFeature]
    """CPU instruction sets in use, as ggml reported them, sorted."""
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    """Number of computing threads; it decides how sums are split, and so how they are rounded."""
    batch_tokens: Annotated[int, Field(ge=1, le=65_536)]
    """Number of prompt tokens computed in one batch; it decides how sums are rounded, too."""
    repack: bool
    """Whether weights were rearranged when the model was loaded; other code then multiplies them."""


def classify_determinism(plan: ExecutionPlan, cpu_features: tuple[str, ...] | None) -> Determinism | None:
    """Return the class of an execution, or None if its runner never became ready.

    Args:
        plan: the plan that was executed.
        cpu_features: instruction sets that ggml reported; None: the runner never became ready.
    """
    if cpu_features is None:
        return None
    return Determinism(
        sampling="greedy" if plan.sampling.temperature == 0 else "seeded",
        backend=plan.backend,
        cpu_features=tuple(sorted(set(cpu_features))),
        threads=plan.scheduling.threads,
        batch_tokens=plan.scheduling.batch_tokens,
        repack=plan.scheduling.repack,
    )
