"""What a sandbox consists of before any job enters it: all that a plan says of it but the request's own words. Pure."""

from contracts.execution.execution_plan import ExecutionPlan, PlannedModel, PlannedScheduling
from contracts.wire.document import Contract
from contracts.wire.types import BackendName, Count, Digest, IsolationTier

__all__ = ["SandboxRecipe", "recipe_of"]


class SandboxRecipe(Contract):
    """Two plans with equal recipes can use the same sandbox, once, whichever comes first."""

    backend: BackendName
    runtime_image: Digest
    model: PlannedModel
    policies: dict[str, Digest]
    scheduling: PlannedScheduling
    context_tokens: Count
    memory_bytes: Count
    isolation: IsolationTier


def recipe_of(plan: ExecutionPlan) -> SandboxRecipe:
    """Return what a plan's sandbox consists of: no prompt, no sampling, no seed, no limit that the job has."""
    return SandboxRecipe(
        backend=plan.backend,
        runtime_image=plan.runtime_image,
        model=plan.model,
        policies=plan.policies,
        scheduling=plan.scheduling,
        context_tokens=plan.context_tokens,
        memory_bytes=plan.limits.memory_bytes,
        isolation=plan.isolation,
    )
