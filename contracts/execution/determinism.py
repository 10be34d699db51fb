"""The determinism class of an execution: everything beside model, prompt and limits that the tokens depend on."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.runner_protocol import MAX_THREADS
from contracts.wire.document import Contract, Many
from contracts.wire.types import BackendName

__all__ = ["Determinism", "classify_determinism"]


class Determinism(Contract):
    """Two executions of one class with equal model, prompt, seed, sampling, stops and context give the same tokens."""

    sampling: Literal["greedy", "seeded"]
    """`greedy`: the most probable token, nothing is drawn. `seeded`: drawn with the plan's seed."""
    backend: BackendName
    """The build of llama.cpp: which instructions its kernels are made of."""
    cpu_features: Many[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]]
    """Instruction sets in use, as ggml reported them, sorted."""
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    """Computing threads: they decide how sums are split, and so how they are rounded."""
    batch_tokens: Annotated[int, Field(ge=1, le=65_536)]
    """Prompt tokens computed at once, likewise."""
    repack: bool
    """Whether weights were rearranged at load: then other kernels multiply them."""


def classify_determinism(plan: ExecutionPlan, cpu_features: tuple[str, ...] | None) -> Determinism | None:
    """Return the class of an execution; None where its runner never became ready.

    Args:
        plan: what was executed.
        cpu_features: instruction sets that ggml reported.
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
