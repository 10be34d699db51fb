"""What the pool needs to know about an installation: declared recipes, installed images and models. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from contracts.execution.run_request import ExecutionRequest, LimitsRequest, RunRequest
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.installation import Installation
from supervisor.domain.planning.open_choices import choose_backend
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.policies.policy import KeptSandboxes
from supervisor.domain.power.facts import GPU_BACKENDS
from supervisor.domain.sandbox.recipe import SandboxRecipe, recipe_of

__all__ = ["Survey", "survey_installation"]


@dataclass(frozen=True, slots=True)
class Survey:
    """The declared recipes, and the images and models that are installed, at one moment."""

    declared: tuple[tuple[SandboxRecipe, int], ...]
    """Recipes that are always kept ready, with the number of sandboxes of each."""
    images: frozenset[str]
    """Runtime images that a plan can name."""
    models: frozenset[str]
    """Digests of the models that are installed."""


def survey_installation(installation: Installation) -> Survey:
    """Return the survey of an installation.

    A declared recipe that cannot be planned here, for lack of its model or image, is left out.
    """
    return Survey(
        declared=tuple(_declared(installation)),
        images=frozenset(backend.image_id for backend in installation.backends if backend.image_id is not None),
        models=frozenset(model.sha256 for model in installation.models),
    )


def _declared(installation: Installation) -> Iterator[tuple[SandboxRecipe, int]]:
    for kept in installation.policies.pool.keep:
        try:
            backend = kept.backend or choose_backend(installation)
            if backend in GPU_BACKENDS:
                # A waiting GPU sandbox would hold its model on the card. It would be a foreign process there while
                # another execution is metered.
                continue
            yield recipe_of(plan_execution(_request_of(kept, backend), installation)), kept.size
        except Refusal:
            continue


def _request_of(kept: KeptSandboxes, backend: str) -> RunRequest:
    # A recipe does not depend on prompt or limits, so any values work. Context and threads come from the policies.
    execution = ExecutionRequest(
        backend=backend,
        quantization=kept.quantization,
        scheduler_policy=kept.scheduler_policy,
        isolation=kept.isolation,
        limits=LimitsRequest(max_tokens=1),
    )
    return RunRequest(model=kept.model, prompt=".", execution=execution)
