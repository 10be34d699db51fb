"""The container that quantizes a model: that of an execution, with one file to write. Pure."""

from typing import Any

from supervisor.domain.models.quantizing import QuantizationNeeds
from supervisor.domain.policies.policy import Policies, QuantizationPolicy
from supervisor.domain.policies.seccomp_profile import SeccompArgument, SeccompProfile, SeccompRule
from supervisor.domain.sandbox.hardening import build_container_config, model_path
from supervisor.domain.sandbox.recipe import SandboxRecipe

__all__ = ["build_quantization_config", "seccomp_of_quantization"]


def seccomp_of_quantization(seccomp: SeccompProfile, policy: QuantizationPolicy) -> SeccompProfile:
    """Return lock one with two rules more: to open the result, and to wait for the end of a thread."""
    rules = (
        _rule(
            "The result is opened to be written.",
            "openat",
            SeccompArgument(index=2, value=policy.open_flags, op="SCMP_CMP_EQ"),
        ),
        _rule("pthread_join.", "futex", SeccompArgument(index=1, value=policy.wait_operation, op="SCMP_CMP_EQ")),
    )
    return seccomp.model_copy(update={"syscalls": (*seccomp.syscalls, *rules)})


def _rule(comment: str, call: str, argument: SeccompArgument) -> SeccompRule:
    return SeccompRule(comment=comment, names=(call,), action="SCMP_ACT_ALLOW", args=(argument,))


def build_quantization_config(
    recipe: SandboxRecipe,
    policies: Policies,
    needs: QuantizationNeeds,
    *,
    file_type: int,
    model_source: str,
    output_source: str,
    cpus: tuple[int, ...],
    cgroup_driver: str,
) -> dict[str, Any]:
    """Return the body of the create call.

    Args:
        recipe: of an execution of the model: image, tier, cores and threads.
        policies: those in force.
        needs: bounds of memory and result.
        file_type: number of the target's file type.
        model_source: directory that holds the model's file.
        output_source: the empty file that the result is written to.
        cpus: the CPUs that it may use.
        cgroup_driver: the container engine's.
    """
    policy = policies.sandbox.quantization
    config = build_container_config(
        recipe.model_copy(update={"memory_bytes": needs.memory_bytes}),
        policies.sandbox,
        seccomp_of_quantization(policies.seccomp, policy),
        model_source=model_source,
        cpus=cpus,
        labels={},
        cgroup_driver=cgroup_driver,
    )
    host = config["HostConfig"]
    size = {"Name": "fsize", "Soft": needs.output_bytes, "Hard": needs.output_bytes}
    # One file and no directory: nothing else can be made beside it.
    output = {"Type": "bind", "Source": output_source, "Target": policy.output_file}
    threads = str(recipe.scheduling.threads)
    return {
        **config,
        "Cmd": ["quantize", model_path(policies.sandbox), policy.output_file, str(file_type), threads],
        "HostConfig": {
            **host,
            "Ulimits": [*(each for each in host["Ulimits"] if each["Name"] != "fsize"), size],
            "Mounts": [*host["Mounts"], output],
        },
    }
