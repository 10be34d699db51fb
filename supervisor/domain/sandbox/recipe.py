"""The contents of a sandbox before a job enters it: everything in a plan except the request's own content. Pure."""

from contracts.execution.execution_plan import ExecutionPlan, PlannedModel, PlannedScheduling
from contracts.wire.document import Contract
from contracts.wire.types import BackendName, Count, Digest, IsolationTier

__all__ = ["SandboxRecipe", "recipe_of"]


class SandboxRecipe(Contract):
    """The recipe of a sandbox. A sandbox serves one execution, of any plan with the same recipe."""

    backend: BackendName
    runtime_image: Digest
    model: PlannedModel
    policies: dict[str, Digest]
    scheduling: PlannedScheduling
    context_tokens: Count
    memory_bytes: Count
    isolation: IsolationTier


def recipe_of(plan: ExecutionPlan) -> SandboxRecipe:
    """Return the recipe of a plan's sandbox, without prompt, sampling, seed and the limits of the job."""
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
