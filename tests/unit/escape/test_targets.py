from dataclasses import replace

import pytest

from supervisor.domain.errors import EngineError, Refusal
from supervisor.escape.target import plan_of_target, runnable_backends
from tests.fakes.installation import fixed_installation

INSTALLATION = fixed_installation()


def test_only_backends_with_an_image_and_processor_support_are_tried() -> None:
    # cpu_avx512 lacks its processor, cpu_x86_64 its image.
    assert [backend.name for backend in runnable_backends(INSTALLATION)] == ["cpu_avx2"]


def test_without_an_image_nothing_can_be_tried() -> None:
    bare = replace(INSTALLATION, backends=tuple(replace(each, image_id=None) for each in INSTALLATION.backends))
    with pytest.raises(EngineError) as caught:
        runnable_backends(bare)
    assert caught.value.code == "image_missing"


def test_the_plan_is_that_of_an_execution_with_the_smallest_model() -> None:
    (model,) = INSTALLATION.models
    small = replace(model, name="small", size_bytes=1000)
    plan = plan_of_target(replace(INSTALLATION, models=(model, small)), "cpu_avx2", "gvisor")
    assert (plan.model.name, plan.isolation, plan.policies) == ("small", "gvisor", INSTALLATION.policies.digests)


def test_a_target_needs_a_model() -> None:
    with pytest.raises(EngineError) as caught:
        plan_of_target(replace(INSTALLATION, models=()), "cpu_avx2", "hardened")
    assert caught.value.code == "model_missing"


def test_a_tier_that_the_policies_forbid_is_not_tried() -> None:
    policies = INSTALLATION.policies
    isolation = policies.sandbox.isolation.model_copy(update={"backends": {"cpu_avx2": "gvisor"}})
    strict = replace(policies, sandbox=policies.sandbox.model_copy(update={"isolation": isolation}))
    with pytest.raises(Refusal) as caught:
        plan_of_target(replace(INSTALLATION, policies=strict), "cpu_avx2", "hardened")
    assert caught.value.code == "isolation_required"
