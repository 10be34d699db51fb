"""The caller of the API, as its bearer token identifies it."""

from dataclasses import dataclass

from contracts.wire.types import RoleName

__all__ = ["Caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of one token, whether it uses the Unix socket or the TCP socket."""

    role: RoleName
    name: str
    """Name of the token. Each token has its own, so two tokens of one role are two callers. Not a secret."""
