"""The policy of a role: what its tokens may do, and how much."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from contracts.wire.document import Contract
from contracts.wire.types import IsolationTier, Permission

__all__ = ["CallerLimits", "RolePolicy"]

# A permission and the one that it is worth nothing without, or would let through what that one withholds.
_NEEDS: dict[Permission, Permission] = {
    "read_all": "read_own",
    "cancel_own": "read_own",
    # The answer to a cancellation shows the execution.
    "cancel_all": "read_all",
}


Limit = Annotated[int, Field(ge=1, le=1_000_000_000_000)]


class CallerLimits(Contract):
    """How much one token may use; null: without this limit."""

    requests_per_minute: Limit | None = None
    executions_at_once: Limit | None = None
    tokens_per_day: Limit | None = None
    joules_per_day: Limit | None = None

    def replaced_by(self, own: "CallerLimits") -> "CallerLimits":
        """Return these limits with those in their places that a token has of its own."""
        return CallerLimits.model_validate(self.model_dump() | own.model_dump(exclude_none=True))


class RolePolicy(Contract):
    """One table of `roles.toml`."""

    isolation: IsolationTier
    permissions: Annotated[tuple[Permission, ...], Field(min_length=1)]
    limits: CallerLimits

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        if len(set(self.permissions)) < len(self.permissions):
            message = "a permission is named twice"
            raise ValueError(message)
        for permission, needed in _NEEDS.items():
            if permission in self.permissions and needed not in self.permissions:
                message = f"{permission} needs {needed}"
                raise ValueError(message)
        return self
