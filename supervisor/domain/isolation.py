"""Which isolation tier an execution gets, and whether it is there: decided from policy and registration. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from contracts.types import IsolationTier, RoleName
from supervisor.domain.errors import Refusal
from supervisor.domain.policy import GvisorTier, IsolationPolicy, RolePolicy

__all__ = ["RegisteredRuntime", "choose_tier", "require_registered"]

# The weaker one first.
STRENGTH: tuple[IsolationTier, ...] = get_args(IsolationTier)
FIELD = "/execution/isolation"
MEND = "install and register it with: make gvisor"


@dataclass(frozen=True, slots=True)
class RegisteredRuntime:
    """A runtime as the container engine knows it, and whether its program is there."""

    program: str
    arguments: tuple[str, ...]
    is_installed: bool


def choose_tier(
    asked: IsolationTier | None,
    *,
    backend: str,
    role: RoleName,
    policy: IsolationPolicy,
    roles: Mapping[RoleName, RolePolicy],
) -> IsolationTier:
    """Return the tier that a request gets.

    Raises:
        Refusal: ``isolation_required``, it names a weaker one than the policies demand.
    """
    demanded = _stronger(policy.backends.get(backend, STRENGTH[0]), roles[role].isolation)
    if asked is None:
        return _stronger(policy.default, demanded)
    if _stronger(asked, demanded) != asked:
        detail = (
            f"executions of role '{role}' on backend '{backend}' must have at least the isolation tier '{demanded}'"
        )
        raise Refusal("isolation_required", detail, field=FIELD)
    return asked


def require_registered(tier: GvisorTier, runtimes: Mapping[str, RegisteredRuntime]) -> None:
    """Make sure that the container engine would run the policy's program with the policy's arguments.

    Raises:
        Refusal: ``isolation_unavailable``; the tier is never replaced by another.
    """
    found = runtimes.get(tier.runtime)
    if found is None:
        raise _unavailable(f"the container engine knows no runtime '{tier.runtime}'")
    if found.program.rpartition("/")[2] != tier.program or sorted(found.arguments) != sorted(tier.arguments):
        raise _unavailable(
            f"the container engine runs '{tier.runtime}' with other arguments than policies/sandbox.toml"
        )
    if not found.is_installed:
        raise _unavailable(f"the program of runtime '{tier.runtime}' is not at {found.program}")


def _unavailable(what: str) -> Refusal:
    return Refusal("isolation_unavailable", f"{what}; {MEND}", field=FIELD)


def _stronger(one: IsolationTier, other: IsolationTier) -> IsolationTier:
    return max(one, other, key=STRENGTH.index)
