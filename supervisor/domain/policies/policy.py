"""The policies as values: what each file of `policies/` may contain. Anything else is rejected."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from contracts.execution.power_evidence import PowerModel
from contracts.execution.runner_protocol import MAX_CONTEXT_TOKENS, MAX_THREADS
from contracts.wire.document import Contract
from contracts.wire.types import BackendName, IsolationTier, ModelName, PolicyName, QuantizationName, RoleName
from supervisor.domain.policies.lockdown import LockdownPolicy
from supervisor.domain.policies.roles import RolePolicy
from supervisor.domain.policies.seccomp_profile import CallName, SeccompProfile

__all__ = [
    "AdmissionLimits",
    "AdmissionPolicy",
    "GovernorPolicy",
    "GvisorTier",
    "HousekeepingPolicy",
    "IsolationPolicy",
    "KeptSandboxes",
    "Policies",
    "PoolPolicy",
    "PowerPolicy",
    "QuantizationPolicy",
    "SandboxPolicy",
    "SchedulerPolicy",
]

PositiveInt = Annotated[int, Field(ge=1)]


class AdmissionLimits(Contract):
    """Upper bounds and defaults of a request's limits."""

    max_tokens: PositiveInt
    context_tokens_default: Annotated[int, Field(ge=1, le=MAX_CONTEXT_TOKENS)]
    context_tokens_max: Annotated[int, Field(ge=1, le=MAX_CONTEXT_TOKENS)]
    timeout_s_default: PositiveInt
    timeout_s_max: PositiveInt


class OutputBudget(Contract):
    """How many bytes a runner may write."""

    base_bytes: PositiveInt
    per_token_bytes: PositiveInt


class MemoryBudget(Contract):
    """Memory of a sandbox beyond model and context, and memory that is kept from all sandboxes."""

    base_bytes: PositiveInt
    buffers_percent: Annotated[int, Field(ge=0, le=100)]
    reserve_bytes: Annotated[int, Field(ge=0)]


class QueuePolicy(Contract):
    """How many executions may wait, and the Retry-After of a request that is refused because the queue is full."""

    waiting_max: Annotated[int, Field(ge=0)]
    waiting_per_caller_max: Annotated[int, Field(ge=0)]
    retry_after_max_s: PositiveInt
    service_s_unknown: PositiveInt


class TextsPolicy(Contract):
    """For how many days prompts and outputs are kept; None means that nothing is erased."""

    keep_days: Annotated[int, Field(ge=1, le=36_500)] | None = None


class AdmissionPolicy(Contract):
    """`admission.toml`."""

    limits: AdmissionLimits
    output: OutputBudget
    memory: MemoryBudget
    texts: TextsPolicy
    queue: QueuePolicy


class SchedulerPolicy(Contract):
    """One table of `scheduling.toml`."""

    cores_max: Annotated[int, Field(ge=1, le=MAX_THREADS)]
    whole_cores: bool
    batch_tokens: Annotated[int, Field(ge=1, le=65_536)]
    repack: bool
    waiting: Literal["passive", "bounded", "spin"]
    spin_count: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None

    @model_validator(mode="after")
    def _bound_what_is_bounded(self) -> Self:
        if (self.spin_count is not None) != (self.waiting == "bounded"):
            message = 'spin_count must be set if waiting = "bounded", and only then'
            raise ValueError(message)
        return self


class HousekeepingPolicy(Contract):
    """The table `housekeeping` of `scheduling.toml`: cores for the supervisor's own work."""

    cores: Annotated[int, Field(ge=0)]
    cores_min: PositiveInt

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.cores >= self.cores_min:
            message = "cores must be less than cores_min; otherwise no core would be left to lease"
            raise ValueError(message)
        return self


class PowerFamily(Contract):
    """One row of `power.toml`."""

    name: str
    pattern: str
    idle_mw: Annotated[int, Field(ge=0)]
    busy_mw: PositiveInt
    low_percent: Annotated[int, Field(ge=0, le=100)]
    high_percent: Annotated[int, Field(ge=100)]

    def matches(self, processor: str) -> bool:
        """Return whether the row applies to a processor of this name."""
        return re.search(self.pattern, processor) is not None

    def as_model(self) -> PowerModel:
        """Return the row in the form that records use."""
        return PowerModel(
            family=self.name,
            idle_mw=self.idle_mw,
            busy_mw=self.busy_mw,
            low_percent=self.low_percent,
            high_percent=self.high_percent,
        )


class MeterPolicy(Contract):
    """The table `meter` of `power.toml`: how energy is metered."""

    require_sensor: bool
    interval_ms: Annotated[int, Field(ge=100, le=30_000)]
    calibration_max_age_days: PositiveInt


class GovernorPolicy(Contract):
    """The table `governor` of `power.toml`: how a power limit is enforced."""

    interval_ms: Annotated[int, Field(ge=100, le=5_000)]
    updates_min: Annotated[int, Field(ge=1, le=100)]
    period_us: Annotated[int, Field(ge=1_000, le=1_000_000)]
    target_percent: Annotated[int, Field(ge=1, le=100)]
    start_percent: Annotated[int, Field(ge=1, le=100)]
    smoothing_percent: Annotated[int, Field(ge=1, le=100)]
    payback_percent: Annotated[int, Field(ge=0, le=200)]
    hold_percent: Annotated[int, Field(ge=0, le=20)]
    tolerance_percent: Annotated[int, Field(ge=0, le=100)]
    grace_ms: PositiveInt
    sensor_lost_ms: PositiveInt
    quota_floor_percent: Annotated[int, Field(ge=1, le=100)]


class PowerPolicy(Contract):
    """`power.toml`."""

    cap_margin_percent: Annotated[int, Field(ge=1, le=100)]
    meter: MeterPolicy
    governor: GovernorPolicy
    family: Annotated[tuple[PowerFamily, ...], Field(min_length=1)]


class SandboxUlimits(Contract):
    """Resource limits of the container's processes."""

    core: Literal[0]
    fsize: Literal[0]
    nofile: PositiveInt
    memlock: PositiveInt
    stack: PositiveInt


class SandboxPaths(Contract):
    """Paths hidden or made read-only in the container."""

    masked: tuple[str, ...]
    read_only: tuple[str, ...]


class SandboxSystemCalls(Contract):
    """System calls that no lock may allow. A lock whose own file allows one of them does not load."""

    forbidden: Annotated[tuple[CallName, ...], Field(min_length=1)]
    forbidden_after_lockdown: Annotated[tuple[CallName, ...], Field(min_length=1)]


class QuantizationPolicy(Contract):
    """The table `quantization` of `sandbox.toml`: how the container that quantizes a model differs from the others."""

    output_file: Annotated[str, StringConstraints(pattern=r"^/[a-z.]{1,32}$")]
    open_flags: Literal[577]
    wait_operation: Literal[265]
    memory_base_bytes: PositiveInt
    words_bytes_max: PositiveInt
    timeout_s: PositiveInt


class HardenedTier(Contract):
    """The tier `hardened`."""

    runtime: Literal["runc"]
    lockdown_end: Literal["kill_process"]
    pids_max: PositiveInt


class GvisorTier(Contract):
    """The tier `gvisor`."""

    runtime: Literal["weos-gvisor"]
    lockdown_end: Literal["trap"]
    pids_max: PositiveInt
    program: Literal["runsc"]
    arguments: tuple[
        Literal["--network=none"],
        Literal["--platform=ptrace"],
        Literal["--oci-seccomp=true"],
    ]
    file_server_capabilities: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class IsolationPolicy(Contract):
    """The isolation tiers, and the minimum tier of each backend."""

    default: IsolationTier
    backends: dict[BackendName, IsolationTier]
    hardened: HardenedTier
    gvisor: GvisorTier

    def tier(self, name: IsolationTier) -> HardenedTier | GvisorTier:
        """Return the definition of a tier."""
        return self.gvisor if name == "gvisor" else self.hardened


class SandboxPolicy(Contract):
    """`sandbox.toml`. A rule with a single literal value is mandatory: a file that loosens it does not load."""

    user: Literal["65532:65532"]
    network: Literal["none"]
    dns: tuple[Literal["127.0.0.1"]]
    read_only: Literal[True]
    cap_drop: tuple[Literal["ALL"]]
    security_options: tuple[Literal["no-new-privileges:true"]]
    ipc: Literal["none"]
    cgroup_namespace: Literal["private"]
    cgroup_parent: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,16}$")]
    log_driver: Literal["none"]
    hostname: str
    oom_score_adj: Annotated[int, Field(ge=0, le=1000)]
    model_directory: str
    model_file: str
    model_mount_options: tuple[Literal["ro"], Literal["nosuid"], Literal["nodev"], Literal["noexec"]]
    ulimits: SandboxUlimits
    environment: dict[str, str]
    paths: SandboxPaths
    system_calls: SandboxSystemCalls
    quantization: QuantizationPolicy
    isolation: IsolationPolicy


class KeptSandboxes(Contract):
    """One table `[[keep]]` of `pool.toml`: sandboxes for requests of this kind are kept ready."""

    model: ModelName
    quantization: QuantizationName
    backend: BackendName | None = None
    """None: the best one that is installed and runs on this processor."""
    scheduler_policy: PolicyName
    isolation: IsolationTier
    size: Annotated[int, Field(ge=1, le=64)]


class PoolPolicy(Contract):
    """`pool.toml`."""

    size_max: Annotated[int, Field(ge=0, le=256)]
    memory_percent: Annotated[int, Field(ge=0, le=90)]
    max_age_s: Annotated[int, Field(ge=1, le=86_400)]
    prepare_timeout_s: Annotated[int, Field(ge=1, le=600)]
    at_once: Annotated[int, Field(ge=1, le=64)]
    tend_every_s: Annotated[int, Field(ge=1, le=60)]
    recent_recipes: Annotated[int, Field(ge=0, le=64)]
    recent_size: Annotated[int, Field(ge=0, le=64)]
    keep: Annotated[tuple[KeptSandboxes, ...], Field(max_length=64)]


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies, and the digest of every policy file by its name."""

    admission: AdmissionPolicy
    scheduling: Mapping[str, SchedulerPolicy]
    housekeeping: HousekeepingPolicy
    power: PowerPolicy
    pool: PoolPolicy
    sandbox: SandboxPolicy
    seccomp: SeccompProfile
    lockdown: LockdownPolicy
    roles: Mapping[RoleName, RolePolicy]
    digests: Mapping[str, str]
