"""The small types that several contracts share: names, digests, times and safe integers."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo

from contracts.wire.canonical import MAX_SAFE_INTEGER

__all__ = [
    "WHOLE",
    "BackendName",
    "CallerName",
    "Count",
    "Digest",
    "EngineVersion",
    "ExecutionId",
    "IsolationTier",
    "ModelName",
    "Nanoseconds",
    "Nonce",
    "Permission",
    "PolicyName",
    "Positive",
    "QuantizationName",
    "ReleaseVersion",
    "RoleName",
    "Timestamp",
]

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
QuantizationName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,15}$")]
BackendName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
# Patterns say `[0-9]`: `\d` means any of Unicode's 700 digits to the validator, and one of ten to a JSON Schema.
# Semantic Versioning 2.0.0; a development version ends in `+dev.` and twelve hexadecimal digits of its source's digest.
EngineVersion = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}(\+dev\.[0-9a-f]{12})?$", max_length=64)
]
# A released version: the three numbers of Semantic Versioning, without leading zeros.
ReleaseVersion = Annotated[
    str,
    StringConstraints(pattern=r"^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$", max_length=64),
]
ExecutionId = Annotated[str, StringConstraints(pattern=r"^exec_[0-9a-f]{32}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Nonce = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
# How a sandbox is isolated from the host, weaker tier first: runc, or gVisor's own kernel. Our profile applies in both.
IsolationTier = Literal["hardened", "gvisor"]
# Who sends a request: the operator of this installation, or an agent of one of the three kinds in section 8 of the
# specification.
RoleName = Literal["operator", "observer", "experimenter", "optimizer"]
# What a token may do, by the role it has; each operation of the API demands one. `own` and `all` say whose executions:
# the caller's own, or every caller's.
Permission = Literal["plan", "run", "read_own", "read_all", "cancel_own", "cancel_all", "ledger", "metrics", "admin"]
# The name of a token, which tells the callers of one installation apart. It is no secret; the token is.
CallerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]
# Only dates that exist, by RFC 3339 (appendix C) and the Gregorian calendar. No leap second, since the engine's clock
# has none, and no year 0. The pattern holds all of this, so that a JSON Schema refuses what the validator refuses.
_YEAR = "[1-9][0-9]{3}"
_LEAP_YEAR = "([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)"
_MONTH_AND_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = f"({_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29)"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}"
# RFC 3339, UTC, milliseconds: 2026-01-31T12:00:00.000Z
Timestamp = Annotated[str, StringConstraints(pattern=f"^{_DATE}T{_TIME}Z$")]


def _read_whole(value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - any JSON value
    asked = isinstance(value, float) and info.context is not None and info.context["reads_whole_floats"]
    # What is no integer after all, or too large for one, is left to the validator of integers.
    return int(value) if asked and value.is_integer() and abs(value) <= MAX_SAFE_INTEGER else value


# Marks the integers of requests: JSON Schema and JavaScript make no difference between 8.0 and 8, so a request may say
# either (`Contract.READS_WHOLE_FLOATS`). The same field in a plan or a record takes 8 alone.
WHOLE = BeforeValidator(_read_whole)
Count = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
Nanoseconds = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
