"""Lock two: `lockdown.json`, what a runner may still do once its model is loaded.

The image build compiles the file (`runtime-image/build/lockdown_compiler.py`); here it is only held to its shape.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.document import Contract
from supervisor.domain.policies.seccomp_profile import CallName

__all__ = ["LockdownPolicy"]

Bits = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]


class LockdownCondition(Contract):
    """Holds where the masked argument is one of the values."""

    argument: Annotated[int, Field(ge=0, le=5)]
    """Which argument."""
    mask: Bits | None = None
    """Bits that are looked at; null: all 64."""
    values: Annotated[tuple[Bits, ...], Field(min_length=1)]
    """What they may be."""


class LockdownRule(Contract):
    """Calls with one treatment."""

    comment: Annotated[str, StringConstraints(min_length=1)]
    """Why."""
    calls: Annotated[tuple[CallName, ...], Field(min_length=1)]
    """The calls."""
    action: Literal["allow", "refuse"]
    """`refuse` answers EPERM."""
    conditions: tuple[LockdownCondition, ...] = ()
    """All of them must hold."""


class LockdownPolicy(Contract):
    """`lockdown.json`: the first rule that fits decides; what none fits ends the process."""

    architecture: Literal["x86_64"]
    """Calls by another convention end the process."""
    otherwise: Literal["end_process"]
    """What happens where no rule fits; how it is done is the tier's, `lockdown_end` in `sandbox.toml`."""
    rules: Annotated[tuple[LockdownRule, ...], Field(min_length=1)]
    """The rules."""

    @property
    def allowed(self) -> frozenset[str]:
        """Calls that are let through, under conditions or without."""
        return frozenset(call for rule in self.rules if rule.action == "allow" for call in rule.calls)
