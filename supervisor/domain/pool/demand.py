"""Which recipes the pool should keep ready: the declared ones and the recently requested ones. Pure."""

from collections import OrderedDict

from supervisor.domain.policies.policy import PoolPolicy
from supervisor.domain.pool.survey import Survey
from supervisor.domain.power.facts import GPU_BACKENDS
from supervisor.domain.sandbox.recipe import SandboxRecipe

__all__ = ["PoolDemand"]


class PoolDemand:
    """Recipes by digest, sorted from the most to the least wanted."""

    def __init__(self, policy: PoolPolicy) -> None:
        self._policy = policy
        self._declared: dict[str, tuple[SandboxRecipe, int]] = {}
        self._recent: OrderedDict[str, SandboxRecipe] = OrderedDict()

    def survey(self, survey: Survey) -> None:
        """Replace the declared recipes, and forget recent recipes whose image or model is no longer installed."""
        self._declared = {recipe.canonical_digest(): (recipe, count) for recipe, count in survey.declared}
        for digest, recipe in list(self._recent.items()):
            if recipe.runtime_image not in survey.images or recipe.model.sha256 not in survey.models:
                del self._recent[digest]

    def ask(self, recipe: SandboxRecipe) -> None:
        """Remember that an execution needed this recipe."""
        # A waiting GPU sandbox would hold its model on the card. It would be a foreign process there while another
        # execution is metered.
        if recipe.backend in GPU_BACKENDS:
            return
        digest = recipe.canonical_digest()
        self._recent[digest] = recipe
        self._recent.move_to_end(digest, last=False)
        while len(self._recent) > self._policy.recent_recipes:
            self._recent.popitem()

    def wanted(self) -> dict[str, tuple[SandboxRecipe, int]]:
        """Return how many sandboxes of each recipe to keep ready.

        A declared recipe that was also requested recently gets the larger of both counts.
        """
        least = self._policy.recent_size
        declared = {
            digest: (recipe, max(count, least) if digest in self._recent else count)
            for digest, (recipe, count) in self._declared.items()
        }
        recent = {digest: (recipe, least) for digest, recipe in self._recent.items()}
        return declared | {digest: each for digest, each in recent.items() if digest not in declared}
