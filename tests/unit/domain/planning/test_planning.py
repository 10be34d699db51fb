import json
from dataclasses import replace
from typing import Any

import pytest

from contracts.execution.execution_plan import PlannedScheduling
from contracts.execution.run_request import RunRequest
from supervisor.adapters.policies import POLICY_FILES
from supervisor.domain.errors import Refusal
from supervisor.domain.models.cache_shape import CacheShape
from supervisor.domain.planning.installation import Backend, Installation
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.policies.policy import KeptSandboxes
from supervisor.domain.pool.survey import survey_installation
from supervisor.domain.power.energy import gpu_limit_within
from supervisor.domain.power.facts import GpuLimits
from supervisor.domain.scheduling.topology import Core
from tests.fakes.installation import IMAGE, MODEL_SHA256, fixed_installation
from tests.fakes.run_requests import spec_request

POLICIES = fixed_installation().policies.scheduling


def request_with(execution: dict[str, Any] | None = None, **changes: Any) -> RunRequest:
    base = spec_request(**changes)
    base["execution"] = base["execution"] | (execution or {})
    return RunRequest.parse(json.dumps(base).encode())


def refusal_of(request: RunRequest, installation: Installation | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        plan_execution(request, installation or fixed_installation())
    return caught.value


def test_every_artifact_is_named_by_its_digest() -> None:
    plan = plan_execution(request_with(), fixed_installation())
    assert plan.model.sha256 == MODEL_SHA256
    assert plan.runtime_image == IMAGE
    assert set(plan.policies) == set(POLICY_FILES)
    assert plan.prompt.size_bytes == len("Explique inferência eficiente".encode())


def test_equal_requests_get_one_plan() -> None:
    one = plan_execution(request_with(), fixed_installation())
    other = plan_execution(request_with(), fixed_installation())
    assert one.canonical_digest() == other.canonical_digest()


@pytest.mark.parametrize(
    "changed",
    [
        request_with(prompt="another"),
        request_with({"seed": 1}),
        request_with({"stop": ["x"]}),
        request_with({"sampling": {"temperature": 0.5}}),
        request_with({"context_tokens": 512}),
        request_with({"limits": {"max_tokens": 9, "max_watts": 25}}),
        request_with(nonce="n1"),
    ],
)
def test_every_choice_of_the_request_is_in_the_digest(changed: RunRequest) -> None:
    one = plan_execution(request_with(), fixed_installation())
    assert plan_execution(changed, fixed_installation()).canonical_digest() != one.canonical_digest()


def test_the_prompt_itself_is_not_in_the_plan() -> None:
    assert "Explique" not in plan_execution(request_with(), fixed_installation()).model_dump_json()


def test_the_engines_version_is_accepted_and_another_refused() -> None:
    installation = fixed_installation()
    assert plan_execution(request_with(engine_version=installation.engine_version), installation)
    assert refusal_of(request_with(engine_version="9.9.9")).code == "engine_version_mismatch"


@pytest.mark.parametrize(
    ("request_", "code", "field", "available"),
    [
        (request_with(model="other"), "unknown_model", "/model", ("smollm2-135m-instruct",)),
        (
            request_with({"quantization": "q8_0"}),
            "unknown_quantization",
            "/execution/quantization",
            ("q4_1",),
        ),
        (request_with({"backend": "tpu"}), "unknown_backend", "/execution/backend", ("cpu_avx2", "cpu_avx512")),
        (request_with({"backend": "cpu_x86_64"}), "unknown_backend", "/execution/backend", ("cpu_avx2", "cpu_avx512")),
        (request_with({"backend": "cpu_avx512"}), "unsupported_cpu", "/execution/backend", ("cpu_avx2", "cpu_avx512")),
        (
            request_with({"scheduler_policy": "greedy"}),
            "unknown_scheduler_policy",
            "/execution/scheduler_policy",
            ("default", "efficiency", "exclusive", "throughput"),
        ),
        (request_with({"limits": {"max_tokens": 8193}}), "limit_out_of_range", "/execution/limits/max_tokens", None),
        (
            request_with({"limits": {"max_tokens": 8, "timeout_s": 3601}}),
            "limit_out_of_range",
            "/execution/limits/timeout_s",
            None,
        ),
        (request_with({"context_tokens": 8193}), "limit_out_of_range", "/execution/context_tokens", None),
        (
            request_with({"limits": {"max_tokens": 512}, "context_tokens": 512}),
            "limit_out_of_range",
            "/execution/limits/max_tokens",
            None,
        ),
        (
            request_with({"limits": {"max_tokens": 8, "max_watts": 1}}),
            "power_limit_unenforceable",
            "/execution/limits/max_watts",
            None,
        ),
    ],
)
def test_an_impossible_request_is_refused_with_its_field(
    request_: RunRequest, code: str, field: str, available: tuple[str, ...] | None
) -> None:
    refusal = refusal_of(request_)
    assert refusal.code == code
    assert refusal.errors[0].field == field
    assert refusal.available == available


def test_memory_counts_a_window_with_a_batch_and_a_state() -> None:
    installation = fixed_installation()
    plain, more = (
        CacheShape(token_bytes=0, window_token_bytes=window, window_tokens=256, state_bytes=state)
        for window, state in ((0, 0), (1_048_576, 4_194_304))
    )
    memory_bytes = []
    for cache in (plain, more):
        models = (replace(installation.models[0], cache=cache),)
        memory_bytes.append(plan_execution(request_with(), replace(installation, models=models)).limits.memory_bytes)
    # 512 tokens of a batch beside 256 of the window
    assert memory_bytes[1] - memory_bytes[0] == 768 * 1_048_576 + 4_194_304


def test_memory_counts_repacked_weights_and_the_cache() -> None:
    installation = fixed_installation()
    plan = plan_execution(request_with(), installation)
    model = installation.models[0]
    buffers = 2**28 + model.size_bytes // 10
    sizes = buffers + 2 * model.size_bytes + 2048 * model.cache.token_bytes
    assert 0 <= plan.limits.memory_bytes - sizes < 4096
    # The kernel counts in pages and would put a lower limit in force than the plan says.
    assert plan.limits.memory_bytes % 4096 == 0
    plain = installation.policies.scheduling["default"].model_copy(update={"repack": False})
    policies = replace(installation.policies, scheduling={"default": plain})
    lean = plan_execution(request_with(), replace(installation, policies=policies))
    assert abs(lean.limits.memory_bytes - (plan.limits.memory_bytes - model.size_bytes)) < 4096


def test_output_is_bounded_by_the_requested_tokens() -> None:
    assert plan_execution(request_with(), fixed_installation()).limits.output_bytes == 65536 + 8 * 512


def test_the_default_context_is_at_most_the_models_own() -> None:
    installation = fixed_installation()
    small = replace(installation.models[0], context_length=100)
    assert plan_execution(request_with(), replace(installation, models=(small,))).context_tokens == 100


def plan_under(policy: str, **machine: Any) -> PlannedScheduling:
    unlimited = request_with({"scheduler_policy": policy, "limits": {"max_tokens": 8}})
    return plan_execution(unlimited, fixed_installation(**machine)).scheduling


def pairs(count: int) -> tuple[Core, ...]:
    """So many cores of two logical CPUs each, numbered as Linux does."""
    return tuple(Core((cpu, cpu + count)) for cpu in range(count))


def test_there_is_a_thread_for_each_physical_core_not_for_each_sibling() -> None:
    scheduling = plan_under("default", cores=pairs(3))
    assert (scheduling.cores, scheduling.threads) == (3, 3)


def test_the_core_kept_for_the_supervisor_is_not_planned() -> None:
    assert (plan_under("default", cpus=3).cores, plan_under("default", cpus=4).cores) == (3, 3)


@pytest.mark.parametrize(
    ("policy", "cores", "waiting", "whole"),
    [
        ("default", 8, ("passive", POLICIES["default"].spin_count), False),
        ("exclusive", 8, ("active", None), True),
        ("throughput", 1, ("passive", None), False),
        ("efficiency", 1, ("passive", None), False),
    ],
)
def test_every_choice_of_a_scheduler_policy_is_in_the_plan(
    policy: str, cores: int, waiting: tuple[str, int | None], whole: bool
) -> None:
    scheduling = plan_under(policy, cpus=17)
    assert (scheduling.policy, scheduling.cores, scheduling.threads) == (policy, cores, cores)
    assert (scheduling.omp_wait_policy, scheduling.spin_count) == waiting
    assert scheduling.whole_cores is whole
    assert (scheduling.batch_tokens, scheduling.repack) == (POLICIES[policy].batch_tokens, POLICIES[policy].repack)


def test_a_policy_of_whole_cores_gets_only_whole_cores() -> None:
    mixed = (Core((0,), is_whole=False), Core((1, 3)), Core((2,), is_whole=False))
    assert (plan_under("exclusive", cores=mixed).cores, plan_under("default", cores=mixed).cores) == (1, 3)


def test_whole_cores_are_refused_if_the_machine_has_none() -> None:
    halves = (Core((0,), is_whole=False), Core((1,), is_whole=False))
    refusal = refusal_of(request_with({"scheduler_policy": "exclusive"}), fixed_installation(cores=halves))
    assert refusal.code == "insufficient_cores"
    assert "of any of the 2 leasable cores" in refusal.detail
    assert refusal.errors[0].field == "/execution/scheduler_policy"


def test_a_batch_is_never_larger_than_the_context() -> None:
    plan = plan_execution(request_with({"context_tokens": 100}), fixed_installation())
    assert plan.scheduling.batch_tokens == 100


def test_a_power_limit_counts_the_siblings_that_a_core_keeps_from_others() -> None:
    capped = request_with({"limits": {"max_tokens": 8, "max_watts": 4}})
    # 0.47 W for the idle sibling of each busy one: 4 W hold two threads without, one with it.
    alone = plan_execution(capped, fixed_installation(cores=tuple(Core((cpu,)) for cpu in range(3))))
    beside = plan_execution(capped, fixed_installation(cores=pairs(3)))
    assert (alone.scheduling.threads, beside.scheduling.threads) == (2, 1)


def test_a_power_limit_reduces_the_threads() -> None:
    # The fixed machine is an EPYC of the third generation: 1.87 W a busy CPU, 95 % of the limit is used.
    free = plan_execution(request_with({"limits": {"max_tokens": 8}}), fixed_installation(cpus=4))
    capped = plan_execution(request_with({"limits": {"max_tokens": 8, "max_watts": 4}}), fixed_installation(cpus=4))
    assert (free.scheduling.threads, capped.scheduling.threads) == (3, 2)
    assert capped.scheduling.cores == 2


def test_the_lowest_limit_named_in_a_refusal_is_accepted() -> None:
    refusal = refusal_of(request_with({"limits": {"max_tokens": 8, "max_watts": 0.01}}))
    lowest = float(refusal.detail.split()[-2])
    plan = plan_execution(request_with({"limits": {"max_tokens": 8, "max_watts": lowest}}), fixed_installation())
    assert plan.scheduling.threads == 1
    assert refusal_of(request_with({"limits": {"max_tokens": 8, "max_watts": lowest - 0.02}}))


def test_an_unknown_processor_uses_the_last_row() -> None:
    capped = request_with({"limits": {"max_tokens": 8, "max_watts": 4}})
    assert plan_execution(capped, fixed_installation(processor="Sparc")).scheduling.threads == 1


def test_no_sandbox_is_kept_ready_on_a_gpu() -> None:
    installation = with_card()
    kept = [
        KeptSandboxes(
            model="smollm2-135m-instruct",
            quantization="q4_1",
            backend=backend,
            scheduler_policy="default",
            isolation="hardened",
            size=1,
        )
        for backend in ("cuda", "cpu_avx2")
    ]
    pool = installation.policies.pool.model_copy(update={"keep": tuple(kept)})
    survey = survey_installation(replace(installation, policies=replace(installation.policies, pool=pool)))
    assert [recipe.backend for recipe, _ in survey.declared] == ["cpu_avx2"]


def test_a_kept_sandbox_without_a_backend_gets_the_best_that_is_installed_and_runs() -> None:
    fixed = fixed_installation()
    old = replace(fixed.backends[0], name="cpu_x86_64", required_cpu_flags=frozenset())
    assert [recipe.backend for recipe, _ in survey_installation(fixed).declared] == ["cpu_avx2"]
    without_f16c = replace(fixed, backends=(replace(fixed.backends[0], required_cpu_flags=frozenset({"f16c"})), old))
    assert [recipe.backend for recipe, _ in survey_installation(without_f16c).declared] == ["cpu_x86_64"]
    assert survey_installation(replace(fixed, backends=())).declared == ()


def with_card() -> Installation:
    fixed = fixed_installation()
    on_gpu = replace(fixed.power, source="nvml", gpu=GpuLimits(100_000, 400_000))
    cuda = Backend("cuda", frozenset(), IMAGE)
    return replace(fixed, backends=(*fixed.backends, cuda), power=replace(fixed.power, on_gpu=on_gpu))


def test_an_execution_on_a_gpu_is_planned_by_its_meter_and_its_lowest_limit() -> None:
    installation = with_card()
    plan = plan_execution(request_with({"backend": "cuda", "limits": {"max_tokens": 8}}), installation)
    assert plan.power_source == "nvml"
    assert plan_execution(request_with(), installation).power_source == "model"
    fault = refusal_of(request_with({"backend": "cuda", "limits": {"max_tokens": 8, "max_watts": 25}}), installation)
    assert fault.code == "power_limit_unenforceable"
    assert "plus a GPU that accepts no limit below 100 W" in fault.detail
    lowest = float(fault.detail.split()[-2])
    limits = {"max_tokens": 8, "max_watts": lowest}
    assert plan_execution(request_with({"backend": "cuda", "limits": limits}), installation).scheduling.threads == 1


@pytest.mark.parametrize(
    ("max_watts", "threads", "given_mw"),
    # What the margin leaves of it beside busy threads of 1.87 W; no more and no less than the device takes.
    [(200, 1, 188_130), (200, 8, 175_040), (1000, 1, 400_000), (1e308, 1, 400_000), (107.2, 1, 100_000)],
)
def test_a_gpu_gets_the_power_that_the_threads_leave(max_watts: float, threads: int, given_mw: int) -> None:
    policy = fixed_installation().policies.power
    limits = GpuLimits(100_000, 400_000)
    assert gpu_limit_within(max_watts, threads, busy_cpu_mw=1870, gpu=limits, policy=policy) == given_mw
