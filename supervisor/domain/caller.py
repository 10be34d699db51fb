"""Who asks, as far as a bearer token tells."""

from dataclasses import dataclass

from contracts.wire.types import RoleName

__all__ = ["Caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of one token, over whichever socket."""

    role: RoleName
    name: str
    """Of the token: one for each, so two tokens of one role are two callers. No secret."""
