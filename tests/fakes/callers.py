"""Callers known by tokens in memory: the stand-in for `CallersPort`."""

from collections.abc import Mapping

from contracts.wire.types import RoleName
from supervisor.domain.access.caller import Caller
from supervisor.domain.access.ports import KnownToken
from supervisor.domain.policies.roles import CallerLimits, RolePolicy

__all__ = ["FakeCallers", "caller_of"]


def caller_of(
    roles: Mapping[RoleName, RolePolicy],
    role: RoleName,
    name: str | None = None,
    limits: CallerLimits | None = None,
) -> Caller:
    """A caller of a role, allowed what the role's policy says."""
    return Caller(role, name or role, frozenset(roles[role].permissions), limits or roles[role].limits)


class FakeCallers:
    """Tokens that a test adds and removes; see `CallersPort`."""

    def __init__(self, roles: Mapping[RoleName, RolePolicy]) -> None:
        self._roles = roles
        self._by_token: dict[bytes, Caller] = {}

    def add(self, token: str, role: RoleName, name: str, limits: CallerLimits | None = None) -> None:
        """Make a token known."""
        self._by_token[token.encode()] = caller_of(self._roles, role, name, limits)

    def find(self, token: bytes) -> Caller | None:
        """See `CallersPort`."""
        return self._by_token.get(token)

    def known(self) -> tuple[KnownToken, ...]:
        """See `CallersPort`."""
        return tuple(KnownToken(each.name, each.role, None, None, None) for each in self._by_token.values())
