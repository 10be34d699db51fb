"""The isolation tier of an execution and its availability, decided from policy and registered runtimes. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from contracts.wire.types import IsolationTier, RoleName
from supervisor.domain.errors import ExecutionFault, Refusal
from supervisor.domain.policies.policy import GvisorTier, IsolationPolicy
from supervisor.domain.policies.roles import RolePolicy

__all__ = ["RegisteredRuntime", "choose_tier", "fault_of_start", "read_runtimes", "require_registered"]

# The weakest tier first.
STRENGTH: tuple[IsolationTier, ...] = get_args(IsolationTier)
FIELD = "/execution/isolation"
HOW_TO_FIX = "install and register it with: make gvisor"
DETAIL_MAX = 512
# dockerd 20.10: there is no runtime of this name; its program could not be run, or ended without a message.
RUNTIME_MISSING = ("Unknown runtime", "unable to retrieve OCI runtime error")


@dataclass(frozen=True, slots=True)
class RegisteredRuntime:
    """A runtime that is registered with the container engine, and whether its program is installed."""

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
    """Return the tier of a request.

    Raises:
        Refusal: ``isolation_required`` if the request names a weaker tier than the policies demand.
    """
    demanded = _stronger(policy.backends.get(backend, STRENGTH[0]), roles[role].isolation)
    if asked is None:
        return _stronger(policy.default, demanded)
    if _stronger(asked, demanded) != asked:
        detail = (
            f"executions of role '{role}' on backend '{backend}' must run at least in the isolation tier '{demanded}'"
        )
        raise Refusal("isolation_required", detail, field=FIELD)
    return asked


def read_runtimes(info: Mapping[str, Any], find_program: Callable[[str], str | None]) -> dict[str, RegisteredRuntime]:
    """Return the runtimes of the container engine's answer to `GET /info`, by name.

    Args:
        info: the answer.
        find_program: returns the path of a program, or None if it is not installed.
    """
    # The container engine's own runtimes are listed without arguments, and possibly without a path.
    return {
        name: RegisteredRuntime(
            program=str(entry.get("path") or name),
            arguments=tuple(entry.get("runtimeArgs") or ()),
            is_installed=find_program(entry.get("path") or name) is not None,
        )
        for name, entry in (info.get("Runtimes") or {}).items()
    }


def require_registered(tier: GvisorTier, runtimes: Mapping[str, RegisteredRuntime]) -> None:
    """Raise unless the container engine would run the policy's program with the policy's arguments.

    Raises:
        Refusal: ``isolation_unavailable``; the tier is never replaced by another.
    """
    found = runtimes.get(tier.runtime)
    if found is None:
        raise _unavailable(f"the container engine has no runtime '{tier.runtime}'")
    if found.program.rpartition("/")[2] != tier.program or sorted(found.arguments) != sorted(tier.arguments):
        raise _unavailable(
            f"the container engine runs '{tier.runtime}' with another program or other arguments than "
            "policies/sandbox.toml sets"
        )
    if not found.is_installed:
        raise _unavailable(f"the program of runtime '{tier.runtime}' is not installed at {found.program}")


def fault_of_start(runtime: str, explanation: str) -> ExecutionFault:
    """Return why the container engine could not start a container.

    Args:
        runtime: the requested runtime.
        explanation: the container engine's error message.
    """
    if "cgroup" in explanation:
        detail = f"the runtime '{runtime}' cannot set up the sandbox's control group, so its limits would not hold"
        return ExecutionFault("limit_unenforceable", detail)
    if any(words in explanation for words in RUNTIME_MISSING):
        detail = f"the runtime '{runtime}' cannot be run; check this machine with: weos-engine doctor"
        return ExecutionFault("isolation_unavailable", detail)
    detail = f"the container engine could not start the sandbox: {explanation}"
    return ExecutionFault("sandbox_failed", detail[:DETAIL_MAX])


def _unavailable(what: str) -> Refusal:
    return Refusal("isolation_unavailable", f"{what}; {HOW_TO_FIX}", field=FIELD)


def _stronger(one: IsolationTier, other: IsolationTier) -> IsolationTier:
    return max(one, other, key=STRENGTH.index)
