"""The caller of the API, as its bearer token identifies it, and what it may do."""

from dataclasses import dataclass

from contracts.wire.types import Permission, RoleName
from supervisor.domain.errors import PermissionRefusal, Refusal
from supervisor.domain.policies.roles import CallerLimits

__all__ = ["Caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of one token, whether it uses the Unix socket or the TCP socket."""

    role: RoleName
    name: str
    """Name of the token. Each token has its own, so two tokens of one role are two callers. Not a secret."""
    permissions: frozenset[Permission]
    """What its role allows."""
    limits: CallerLimits
    """How much it may use: the limits of its token, otherwise of its role."""

    def require(self, permission: Permission) -> None:
        """Raise unless the role allows something.

        Raises:
            PermissionRefusal: it does not.
        """
        if permission not in self.permissions:
            detail = (
                f"the token '{self.name}' has the role '{self.role}', which lacks the permission '{permission}'; "
                "policies/roles.toml lists the permissions of each role"
            )
            raise PermissionRefusal(permission, detail)

    @property
    def sees_only(self) -> str | None:
        """The only caller whose executions it may read: itself; None means that it may read all executions."""
        return None if "read_all" in self.permissions else self.name

    def require_visible(self, owner: str) -> None:
        """Raise unless the caller may know of an execution.

        The refusal is that of an execution which does not exist, so that nobody learns of another's executions.

        Args:
            owner: name of the token that asked for the execution.

        Raises:
            Refusal: ``execution_not_found``.
        """
        if self.sees_only not in {None, owner}:
            raise Refusal("execution_not_found", "no execution has this id")

    def require_cancellable(self, owner: str) -> None:
        """Raise unless the caller may cancel an execution.

        Args:
            owner: name of the token that asked for the execution.

        Raises:
            Refusal: ``execution_not_found``, if the caller may not even read it.
            PermissionRefusal: it may read the execution, and may not cancel those of others.
        """
        self.require_visible(owner)
        self.require("cancel_own" if owner == self.name else "cancel_all")
