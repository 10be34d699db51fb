"""Lock two: `lockdown.json`, the system calls that a runner may still make once its model is loaded.

The image build compiles the file (`runtime-image/build/lockdown_compiler.py`). This module only checks its shape.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.wire.canonical import MAX_SAFE_INTEGER
from contracts.wire.document import Contract
from supervisor.domain.policies.seccomp_profile import CallName

__all__ = ["LockdownPolicy"]

Bits = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]


class LockdownCondition(Contract):
    """A condition that holds if the masked argument is one of the values."""

    argument: Annotated[int, Field(ge=0, le=5)]
    """Index of the argument."""
    mask: Bits | None = None
    """Bits that are compared; null means all 64."""
    values: Annotated[tuple[Bits, ...], Field(min_length=1)]
    """Values that the masked argument may have."""


class LockdownRule(Contract):
    """System calls that are treated alike."""

    comment: Annotated[str, StringConstraints(min_length=1)]
    """The reason for the rule."""
    calls: Annotated[tuple[CallName, ...], Field(min_length=1)]
    """Names of the calls."""
    action: Literal["allow", "refuse"]
    """`refuse` makes the call fail with EPERM."""
    conditions: tuple[LockdownCondition, ...] = ()
    """All of them must hold."""


class LockdownPolicy(Contract):
    """`lockdown.json`: the first matching rule decides; a call that no rule matches ends the process."""

    architecture: Literal["x86_64"]
    """A call by another convention ends the process."""
    otherwise: Literal["end_process"]
    """What happens if no rule matches. How the process ends depends on the tier: `lockdown_end` in `sandbox.toml`."""
    rules: Annotated[tuple[LockdownRule, ...], Field(min_length=1)]
    """The rules."""

    @property
    def allowed(self) -> frozenset[str]:
        """Calls that are allowed, with or without conditions."""
        return frozenset(call for rule in self.rules if rule.action == "allow" for call in rule.calls)
