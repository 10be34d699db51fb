"""The interface through which the API learns who calls; implemented in `supervisor.adapters.identity.tokens`."""

from dataclasses import dataclass
from typing import Protocol

from contracts.wire.types import RoleName
from supervisor.domain.access.caller import Caller

__all__ = ["CallersPort", "KnownToken"]


@dataclass(frozen=True, slots=True)
class KnownToken:
    """One token, without anything by which it could be guessed."""

    name: str
    role: RoleName
    created_at: str | None
    """When it was made, as a timestamp; None: not known."""
    last_used_on: str | None
    """The last day on which it was used, as YYYY-MM-DD in UTC; None: never."""
    revoked_at: str | None
    """When it was revoked, as a timestamp; None: it is in use."""


class CallersPort(Protocol):
    """Tells callers by their tokens. A token counts from the moment it is made to the moment it is revoked."""

    def find(self, token: bytes) -> Caller | None:
        """Return whose token this is and note that it was used, or return None if it is nobody's."""
        ...

    def known(self) -> tuple[KnownToken, ...]:
        """Return every token, the operator's first."""
        ...
