"""Read `policies/`: the exact set of files, strictly parsed, each known by the digest of its bytes."""

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract, sha256_digest
from contracts.wire.errors import ContractError
from contracts.wire.strict_json import decode_json
from contracts.wire.types import RoleName
from supervisor.domain.errors import EngineError
from supervisor.domain.policies.lockdown import LockdownPolicy
from supervisor.domain.policies.policy import (
    AdmissionPolicy,
    HousekeepingPolicy,
    Policies,
    PoolPolicy,
    PowerPolicy,
    SandboxPolicy,
    SchedulerPolicy,
)
from supervisor.domain.policies.roles import RolePolicy
from supervisor.domain.policies.seccomp_profile import SeccompProfile

__all__ = ["POLICY_FILES", "load_policies"]

POLICY_FILES = (
    "admission.toml",
    "lockdown.json",
    "pool.toml",
    "power.toml",
    "roles.toml",
    "sandbox.toml",
    "scheduling.toml",
    "seccomp.json",
)
MAX_POLICY_BYTES = 262_144
_T = TypeVar("_T", bound=Contract)


def _refuse(name: str, what: str) -> EngineError:
    detail = (
        f"policies/{name}: {what}. The engine does not start without sound policies; restore the file and start again"
    )
    return EngineError("policy_unsound", detail)


def _decode(name: str, data: bytes) -> Any:  # noqa: ANN401 - any document
    # TOML has values that JSON has not (dates, infinities, integers of any size); none of them means anything here.
    document = data if name.endswith(".json") else canonical_bytes(tomllib.loads(data.decode("utf-8")))
    return decode_json(document, max_bytes=MAX_POLICY_BYTES)


def _read(directory: Path, name: str) -> tuple[Any, str]:
    path = directory / name
    try:
        if path.is_symlink():
            raise _refuse(name, "is a symbolic link, which could change what it names")
        data = path.read_bytes()
        if len(data) > MAX_POLICY_BYTES:
            raise _refuse(name, f"is larger than {MAX_POLICY_BYTES} bytes")
        return _decode(name, data), sha256_digest(data)
    except (OSError, ContractError, ValueError, RecursionError) as error:
        # tomllib raises more than its own error: ValueError for 5,000 digits, RecursionError for deep nesting.
        raise _refuse(name, str(error)) from error


def _parse(kind: type[_T], name: str, value: Any) -> _T:  # noqa: ANN401 - any document
    try:
        return kind.model_validate_json(canonical_bytes(value))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _refuse(name, f"{where}: {first['msg']}") from error


def _parse_power(value: dict[str, Any]) -> PowerPolicy:
    power = _parse(PowerPolicy, "power.toml", value)
    for family in power.family:
        try:
            re.compile(family.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise _refuse("power.toml", f"the pattern of row '{family.name}' is no regular expression") from error
        if family.busy_mw <= family.idle_mw:
            raise _refuse("power.toml", f"row '{family.name}' draws less when busy than when idle")
    if power.family[-1].pattern:
        raise _refuse("power.toml", "the last row must have an empty pattern, to fit every processor")
    return power


def _parse_scheduling(value: dict[str, Any]) -> tuple[HousekeepingPolicy, dict[str, SchedulerPolicy]]:
    name = "scheduling.toml"
    tables = dict(value)
    housekeeping = _parse(HousekeepingPolicy, name, tables.pop("housekeeping", {}))
    if "default" not in tables:
        raise _refuse(name, "has no policy named 'default'")
    return housekeeping, {policy: _parse(SchedulerPolicy, name, table) for policy, table in tables.items()}


def _parse_roles(value: dict[str, Any]) -> dict[RoleName, RolePolicy]:
    names: tuple[RoleName, ...] = get_args(RoleName)
    if set(value) != set(names):
        raise _refuse("roles.toml", f"must have exactly the tables {', '.join(names)}")
    return {name: _parse(RolePolicy, "roles.toml", value[name]) for name in names}


def _require_none_forbidden(name: str, allowed: frozenset[str], forbidden: tuple[str, ...]) -> None:
    for call in sorted(allowed.intersection(forbidden)):
        raise _refuse(name, f"allows the system call '{call}', which sandbox.toml forbids")


def load_policies(directory: Path) -> Policies:
    """Read all policies.

    Raises:
        EngineError: ``policy_unsound``; a file is missing, unknown, unparsable, or loosens a mandatory rule.
    """
    present = {path.name for path in directory.iterdir() if path.name != "README.md"} if directory.is_dir() else set()
    for name in sorted(present - set(POLICY_FILES)):
        raise _refuse(name, "is not a file that the engine knows")
    read = {name: _read(directory, name) for name in POLICY_FILES}
    housekeeping, scheduling = _parse_scheduling(read["scheduling.toml"][0])
    sandbox = _parse(SandboxPolicy, "sandbox.toml", read["sandbox.toml"][0])
    seccomp = _parse(SeccompProfile, "seccomp.json", read["seccomp.json"][0])
    lockdown = _parse(LockdownPolicy, "lockdown.json", read["lockdown.json"][0])
    calls = sandbox.system_calls
    _require_none_forbidden("seccomp.json", seccomp.allowed, calls.forbidden)
    _require_none_forbidden("lockdown.json", lockdown.allowed, calls.forbidden + calls.forbidden_after_lockdown)
    return Policies(
        admission=_parse(AdmissionPolicy, "admission.toml", read["admission.toml"][0]),
        scheduling=scheduling,
        housekeeping=housekeeping,
        power=_parse_power(read["power.toml"][0]),
        pool=_parse(PoolPolicy, "pool.toml", read["pool.toml"][0]),
        sandbox=sandbox,
        seccomp=seccomp,
        lockdown=lockdown,
        roles=_parse_roles(read["roles.toml"][0]),
        digests={name: digest for name, (_, digest) in read.items()},
    )
