"""Which recipes the pool should have ready: those that are declared, and those that were asked for lately. Pure."""

from collections import OrderedDict

from supervisor.domain.policies.policy import PoolPolicy
from supervisor.domain.pool.survey import Survey
from supervisor.domain.power.facts import GPU_BACKENDS
from supervisor.domain.sandbox.recipe import SandboxRecipe

__all__ = ["PoolDemand"]


class PoolDemand:
    """Recipes by digest, the most wanted first."""

    def __init__(self, policy: PoolPolicy) -> None:
        self._policy = policy
        self._declared: dict[str, tuple[SandboxRecipe, int]] = {}
        self._recent: OrderedDict[str, SandboxRecipe] = OrderedDict()

    def survey(self, survey: Survey) -> None:
        """Take what is declared now, and forget what is no longer installed."""
        self._declared = {recipe.canonical_digest(): (recipe, count) for recipe, count in survey.declared}
        for digest, recipe in list(self._recent.items()):
            if recipe.runtime_image not in survey.images or recipe.model.sha256 not in survey.models:
                del self._recent[digest]

    def ask(self, recipe: SandboxRecipe) -> None:
        """Note that an execution asked for one."""
        # One that waits holds its model on the card, where it is a stranger to the execution that is metered.
        if recipe.backend in GPU_BACKENDS:
            return
        digest = recipe.canonical_digest()
        self._recent[digest] = recipe
        self._recent.move_to_end(digest, last=False)
        while len(self._recent) > self._policy.recent_recipes:
            self._recent.popitem()

    def wanted(self) -> dict[str, tuple[SandboxRecipe, int]]:
        """Return how many of each recipe there should be; of one that is declared, more where it is also asked for."""
        least = self._policy.recent_size
        declared = {
            digest: (recipe, max(count, least) if digest in self._recent else count)
            for digest, (recipe, count) in self._declared.items()
        }
        recent = {digest: (recipe, least) for digest, recipe in self._recent.items()}
        return declared | {digest: each for digest, each in recent.items() if digest not in declared}
