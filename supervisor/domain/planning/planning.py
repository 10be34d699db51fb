"""From a Run Request to an Execution Plan: admission and resolution in one pure function.

The policies decide everything that the request leaves open. The same request on the same installation therefore gives
the same plan and digest.
"""

from contracts.execution.execution_plan import (
    ExecutionPlan,
    PlannedLimits,
    PlannedModel,
    PlannedPrompt,
    PlannedScheduling,
)
from contracts.execution.run_request import LimitsRequest, RunRequest
from contracts.wire.document import sha256_digest
from contracts.wire.types import RoleName
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.grammars import plan_grammar
from supervisor.domain.planning.installation import Backend, Installation, InstalledModel
from supervisor.domain.planning.memory import choose_batch, size_memory
from supervisor.domain.planning.prompts import choose_prompt_format
from supervisor.domain.policies.policy import AdmissionPolicy, SchedulerPolicy
from supervisor.domain.power.energy import threads_within
from supervisor.domain.sandbox.isolation import choose_tier
from supervisor.domain.scheduling.cores import wanted_cores
from supervisor.domain.scheduling.topology import Core, split_housekeeping

__all__ = ["plan_execution"]


def _check_version(request: RunRequest, installation: Installation) -> None:
    if request.engine_version not in {None, installation.engine_version}:
        detail = (
            f"the request asks for engine version {request.engine_version}, "
            f"but this engine has version {installation.engine_version}"
        )
        raise Refusal("engine_version_mismatch", detail, field="/engine_version")


def _find_model(request: RunRequest, models: tuple[InstalledModel, ...]) -> InstalledModel:
    named = [model for model in models if model.name == request.model]
    if not named:
        names = tuple(sorted({model.name for model in models}))
        detail = f"no model named '{request.model}' is installed; install a model with: weos-engine models add"
        raise Refusal("unknown_model", detail, field="/model", available=names)
    wanted = request.execution.quantization
    for model in named:
        if model.quantization == wanted:
            return model
    available = tuple(sorted(model.quantization for model in named))
    detail = f"the model '{request.model}' is not installed in the quantization '{wanted}'"
    raise Refusal("unknown_quantization", detail, field="/execution/quantization", available=available)


def _find_backend(request: RunRequest, installation: Installation) -> tuple[Backend, str]:
    field = "/execution/backend"
    wanted = request.execution.backend
    installed = tuple(sorted(backend.name for backend in installation.backends if backend.image_id))
    found = next((backend for backend in installation.backends if backend.name == wanted), None)
    if found is None:
        raise Refusal("unknown_backend", f"there is no backend '{wanted}'", field=field, available=installed)
    if found.image_id is None:
        detail = (
            f"the runtime image of '{wanted}' is not installed, or it was not built from this engine's sources; "
            f"build it with: weos-engine images build {wanted}"
        )
        raise Refusal("unknown_backend", detail, field=field, available=installed)
    missing = sorted(found.required_cpu_flags - installation.host.cpu_flags)
    if missing:
        detail = f"the backend '{wanted}' needs CPU instructions that this machine lacks: {', '.join(missing)}"
        raise Refusal("unsupported_cpu", detail, field=field, available=installed)
    return found, found.image_id


def _find_scheduler(request: RunRequest, installation: Installation) -> SchedulerPolicy:
    wanted = request.execution.scheduler_policy
    policies = installation.policies.scheduling
    if wanted not in policies:
        raise Refusal(
            "unknown_scheduler_policy",
            f"there is no scheduler policy '{wanted}'",
            field="/execution/scheduler_policy",
            available=tuple(sorted(policies)),
        )
    return policies[wanted]


def _out_of_range(field: str, detail: str) -> Refusal:
    return Refusal("limit_out_of_range", detail, field=field)


def _choose_timeout_s(limits: LimitsRequest, policy: AdmissionPolicy) -> int:
    timeout_s = limits.timeout_s or policy.limits.timeout_s_default
    if timeout_s > policy.limits.timeout_s_max:
        detail = f"the maximum timeout_s of this installation is {policy.limits.timeout_s_max} s"
        raise _out_of_range("/execution/limits/timeout_s", detail)
    return timeout_s


def _check_max_tokens(limits: LimitsRequest, policy: AdmissionPolicy) -> None:
    if limits.max_tokens > policy.limits.max_tokens:
        detail = f"the maximum max_tokens of this installation is {policy.limits.max_tokens} tokens"
        raise _out_of_range("/execution/limits/max_tokens", detail)


def _choose_context(request: RunRequest, model: InstalledModel, policy: AdmissionPolicy) -> int:
    field = "/execution/context_tokens"
    asked = request.execution.context_tokens
    most = min(policy.limits.context_tokens_max, model.context_length)
    if asked is not None and asked > most:
        raise _out_of_range(field, f"the maximum context of this model in this installation is {most} tokens")
    context_tokens = asked or min(policy.limits.context_tokens_default, most)
    max_tokens = request.execution.limits.max_tokens
    if max_tokens >= context_tokens:
        detail = (
            f"max_tokens is {max_tokens}, which leaves no room for a prompt in a context of {context_tokens} tokens; "
            f"increase context_tokens (at most {most}) or reduce max_tokens"
        )
        raise _out_of_range("/execution/limits/max_tokens", detail)
    return context_tokens


def _find_cores(request: RunRequest, scheduler: SchedulerPolicy, installation: Installation) -> list[Core]:
    leasable, _ = split_housekeeping(installation.host.cores, installation.policies.housekeeping)
    fit = [core for core in leasable if core.is_whole or not scheduler.whole_cores]
    if not fit:
        name = request.execution.scheduler_policy
        detail = (
            f"the scheduler policy '{name}' needs whole physical cores, but the engine may not use every logical CPU "
            f"of any of the {len(leasable)} leasable cores"
        )
        raise Refusal("insufficient_cores", detail, field="/execution/scheduler_policy")
    return fit


def _choose_scheduling(
    request: RunRequest, scheduler: SchedulerPolicy, context_tokens: int, installation: Installation
) -> PlannedScheduling:
    cores = _find_cores(request, scheduler, installation)
    threads = threads_within(
        request.execution.limits.max_watts,
        wanted_cores(scheduler, len(cores)),
        installation.power_of(request.execution.backend),
        installation.policies.power,
        cpus_per_core=max(len(core.cpus) for core in cores),
    )
    return PlannedScheduling(
        policy=request.execution.scheduler_policy,
        # One thread for each physical core: two threads on one core share its arithmetic units and wait for each other.
        cores=threads,
        threads=threads,
        batch_tokens=choose_batch(scheduler, context_tokens),
        repack=scheduler.repack,
        omp_wait_policy="active" if scheduler.waiting == "spin" else "passive",
        spin_count=scheduler.spin_count,
        whole_cores=scheduler.whole_cores,
    )


def _resolve_limits(
    request: RunRequest,
    model: InstalledModel,
    scheduler: SchedulerPolicy,
    installation: Installation,
) -> tuple[int, PlannedLimits]:
    limits, policy = request.execution.limits, installation.policies.admission
    _check_max_tokens(limits, policy)
    timeout_s = _choose_timeout_s(limits, policy)
    context_tokens = _choose_context(request, model, policy)
    planned = PlannedLimits(
        max_tokens=limits.max_tokens,
        max_watts=limits.max_watts,
        timeout_s=timeout_s,
        memory_bytes=size_memory(model.size_bytes, model.cache, context_tokens, scheduler, policy.memory),
        output_bytes=policy.output.base_bytes + limits.max_tokens * policy.output.per_token_bytes,
    )
    return context_tokens, planned


def _plan_model(model: InstalledModel) -> PlannedModel:
    return PlannedModel(
        name=model.name,
        quantization=model.quantization,
        architecture=model.architecture,
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        mixture=model.mixture,
        chat_template=model.chat_template,
        signature=model.signature,
    )


def plan_execution(
    request: RunRequest, installation: Installation, *, role: RoleName = "operator", caller: str = "operator"
) -> ExecutionPlan:
    """Resolve a request into a plan.

    Args:
        request: the Run Request.
        installation: the installation that the request is resolved against.
        role: the caller's role.
        caller: name of the caller's token.

    Raises:
        Refusal: the request names something that does not exist, or exceeds a limit that is allowed or possible. The
            refusal reports the first fault, its field and the available alternatives.
    """
    _check_version(request, installation)
    power = installation.power_of(request.execution.backend)
    if power.sensor_fault is not None:
        raise Refusal("power_sensor_required", power.sensor_fault)
    model = _find_model(request, installation.models)
    backend, image_id = _find_backend(request, installation)
    scheduler = _find_scheduler(request, installation)
    context_tokens, limits = _resolve_limits(request, model, scheduler, installation)
    isolation = choose_tier(
        request.execution.isolation,
        backend=backend.name,
        role=role,
        policy=installation.policies.sandbox.isolation,
        roles=installation.policies.roles,
    )
    prompt_format = choose_prompt_format(request, model)
    prompt = request.prompt_bytes
    return ExecutionPlan(
        schema_version="weos.execution-plan/1",
        engine_version=installation.engine_version,
        backend=backend.name,
        runtime_image=image_id,
        model=_plan_model(model),
        prompt=PlannedPrompt(form=request.prompt_form, sha256=sha256_digest(prompt), size_bytes=len(prompt)),
        prompt_format=prompt_format,
        parse_special=prompt_format == "raw" and request.execution.parse_special is not False,
        grammar=plan_grammar(request.execution),
        policies=dict(installation.policies.digests),
        scheduling=_choose_scheduling(request, scheduler, context_tokens, installation),
        context_tokens=context_tokens,
        seed=request.execution.seed,
        sampling=request.execution.sampling,
        stop=request.execution.stop,
        limits=limits,
        isolation=isolation,
        power_source=power.source,
        role=role,
        caller=caller,
        nonce=request.nonce,
    )
