"""Whether a caller is within its limits: pure decisions over what is counted."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.api.problem import LimitName, LimitReached
from contracts.wire.units import NS_PER_S, UJ_PER_J
from supervisor.domain.access.caller import Caller
from supervisor.domain.access.usage import Usage
from supervisor.domain.errors import LimitRefusal

__all__ = ["RequestRates", "UnderWay", "require_within"]

MINUTE_NS = 60 * NS_PER_S
# Nobody knows when an execution of the caller ends; a short answer of a small model takes some seconds.
AT_ONCE_RETRY_S = 5


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The executions of one caller that have not ended, waiting ones too."""

    executions: int
    tokens: int
    """Tokens that they may still generate, by their plans."""


def _refuse(name: LimitName, most: int, used: int, *, whose: Caller, retry_after_s: int) -> LimitRefusal:
    detail = (
        f"the token '{whose.name}' has the limit {name} = {most}; {used} are counted. Ask again in {retry_after_s} s, "
        "or ask the operator for a token with another limit"
    )
    return LimitRefusal(LimitReached(name=name, most=most, used=used), detail, retry_after_s=retry_after_s)


class RequestRates:
    """Requests by caller: a bucket that holds a minute's requests and fills evenly; a new one is full.

    The arithmetic is the virtual schedule of ITU-T I.371's generic cell rate algorithm, in whole nanoseconds.
    """

    def __init__(self) -> None:
        self._full_ns: dict[str, int] = {}
        """When each caller's bucket is full again."""

    def take(self, caller: Caller, now_ns: int) -> None:
        """Count one request.

        Raises:
            LimitRefusal: the bucket is empty; the request is not counted.
        """
        most = caller.limits.requests_per_minute
        if most is None:
            return
        full_ns = max(self._full_ns.get(caller.name, now_ns), now_ns) + MINUTE_NS // most
        wait_ns = full_ns - now_ns - MINUTE_NS
        if wait_ns > 0:
            retry_after_s = -(-wait_ns // NS_PER_S)
            raise _refuse("requests_per_minute", most, most, whose=caller, retry_after_s=retry_after_s)
        self._full_ns[caller.name] = full_ns


def _seconds_to_midnight(now: datetime) -> int:
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return -(-(midnight - now) // timedelta(seconds=1))


def require_within(caller: Caller, used: Usage, under_way: UnderWay, *, max_tokens: int, now: datetime) -> None:
    """Raise if one more execution would go beyond a caller's limits.

    Args:
        caller: who asks for the execution.
        used: what records of today have for the caller.
        under_way: the caller's executions that have no record yet.
        max_tokens: tokens that the execution may generate.
        now: the time, in UTC.

    Raises:
        LimitRefusal: it would; the refusal names the limit.
    """
    limits = caller.limits
    if limits.executions_at_once is not None and under_way.executions >= limits.executions_at_once:
        most, counted = limits.executions_at_once, under_way.executions
        raise _refuse("executions_at_once", most, counted, whose=caller, retry_after_s=AT_ONCE_RETRY_S)
    retry_after_s = _seconds_to_midnight(now)
    if limits.tokens_per_day is not None:
        counted = used.tokens + under_way.tokens
        if counted + max_tokens > limits.tokens_per_day:
            raise _refuse("tokens_per_day", limits.tokens_per_day, counted, whose=caller, retry_after_s=retry_after_s)
    if limits.joules_per_day is not None and used.energy_uj >= limits.joules_per_day * UJ_PER_J:
        counted = used.energy_uj // UJ_PER_J
        raise _refuse("joules_per_day", limits.joules_per_day, counted, whose=caller, retry_after_s=retry_after_s)
