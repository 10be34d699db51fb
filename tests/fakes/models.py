"""A model store with every model: the stand-in for `ModelStorePort`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from contracts.execution.execution_plan import PlannedModel
from supervisor.domain.sandbox.ports import LocatedModel
from tests.fakes.sandbox_facts import MODEL_FILE

if TYPE_CHECKING:
    from supervisor.domain.errors import Refusal

__all__ = ["FakeModels"]


class FakeModels:
    """A model store; see `ModelStorePort`."""

    def __init__(self) -> None:
        self.fault: Refusal | None = None
        self.later_fault: Refusal | None = None
        self._located: list[LocatedModel] = []

    def locate(self, model: PlannedModel) -> LocatedModel:
        """See `ModelStorePort`."""
        if self.fault is not None:
            raise self.fault
        self.fault = self.later_fault
        self._located.append(LocatedModel(f"/models/{model.sha256}", MODEL_FILE))
        return self._located[-1]

    def change(self) -> None:
        """Write to every file: what was located before is no longer what it was."""
        self._located.clear()

    def is_unchanged(self, model: LocatedModel) -> bool:
        """See `ModelStorePort`."""
        return any(model is each for each in self._located)

    @contextmanager
    def hold(self, model: PlannedModel) -> Iterator[LocatedModel]:
        """See `ModelStorePort`."""
        yield self.locate(model)
