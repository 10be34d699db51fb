from typing import Any

import pytest

from contracts.wire.types import IsolationTier
from supervisor.domain.models.quantizing import QuantizationNeeds
from supervisor.domain.sandbox.hardening import build_container_config
from supervisor.domain.sandbox.quantization import build_quantization_config, seccomp_of_quantization
from supervisor.domain.sandbox.recipe import recipe_of
from tests.factories import make_plan
from tests.fakes.installation import fixed_installation

POLICIES = fixed_installation().policies
NEEDS = QuantizationNeeds(memory_bytes=700, output_bytes=500)


def config(isolation: IsolationTier = "hardened") -> dict[str, Any]:
    return build_quantization_config(
        recipe_of(make_plan()).model_copy(update={"isolation": isolation}),
        POLICIES,
        NEEDS,
        file_type=15,
        model_source="/store/abc",
        output_source="/store/incoming-1/model.gguf",
        cpus=(0, 1),
        cgroup_driver="cgroupfs",
    )


@pytest.mark.parametrize("isolation", ["hardened", "gvisor"])
def test_it_differs_from_an_executions_container_in_nothing_else(isolation: IsolationTier) -> None:
    recipe = recipe_of(make_plan()).model_copy(update={"isolation": isolation, "memory_bytes": NEEDS.memory_bytes})
    ours = config(isolation)
    theirs = build_container_config(
        recipe,
        POLICIES.sandbox,
        seccomp_of_quantization(POLICIES.seccomp, POLICIES.sandbox.quantization),
        model_source="/store/abc",
        cpus=(0, 1),
        labels={},
        cgroup_driver="cgroupfs",
    )
    assert ours.pop("Cmd") == ["quantize", "/model/model.gguf", "/output.gguf", "15", str(recipe.scheduling.threads)]
    mounts, limits = ours["HostConfig"].pop("Mounts"), ours["HostConfig"].pop("Ulimits")
    their_mounts, their_limits = theirs["HostConfig"].pop("Mounts"), theirs["HostConfig"].pop("Ulimits")
    assert mounts == [
        *their_mounts,
        {"Type": "bind", "Source": "/store/incoming-1/model.gguf", "Target": "/output.gguf"},
    ]
    assert [each for each in limits if each not in their_limits] == [{"Name": "fsize", "Soft": 500, "Hard": 500}]
    assert [each["Name"] for each in their_limits if each not in limits] == ["fsize"]
    assert ours == theirs


def test_lock_one_gets_two_rules_more() -> None:
    profile = seccomp_of_quantization(POLICIES.seccomp, POLICIES.sandbox.quantization)
    assert profile.syscalls[:-2] == POLICIES.seccomp.syscalls
    rules = [(rule.names, [(each.index, each.value, each.op) for each in rule.args]) for rule in profile.syscalls[-2:]]
    assert rules == [
        (("openat",), [(2, 0o1 | 0o100 | 0o1000, "SCMP_CMP_EQ")]),
        (("futex",), [(1, 9 | 256, "SCMP_CMP_EQ")]),
    ]
    assert profile.allowed == POLICIES.seccomp.allowed
