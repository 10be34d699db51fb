"""The container of one execution, as the body of the container engine's create call, from recipe and policy. Pure."""

from collections.abc import Mapping
from typing import Any

from contracts.wire.units import NANO_CPUS_PER_CPU
from supervisor.domain.policies.policy import GvisorTier, HardenedTier, SandboxPolicy
from supervisor.domain.policies.seccomp_profile import SeccompProfile
from supervisor.domain.sandbox.recipe import SandboxRecipe

__all__ = ["build_container_config", "lock_program_path", "model_path"]


def model_path(policy: SandboxPolicy) -> str:
    """Return the path at which the runner finds the model."""
    return f"{policy.model_directory}/{policy.model_file}"


def lock_program_path(tier: HardenedTier | GvisorTier) -> str:
    """Return the path of lock two's program in the runtime image; the image build compiles one for each tier."""
    return f"/opt/weos/lockdown-{tier.lockdown_end}.bpf"


def build_container_config(
    recipe: SandboxRecipe,
    policy: SandboxPolicy,
    seccomp: SeccompProfile,
    *,
    model_source: str,
    cpus: tuple[int, ...],
    labels: Mapping[str, str],
    cgroup_driver: str,
) -> dict[str, Any]:
    """Return the body of the create call (Docker Engine API 1.41).

    Every value comes from the recipe, the lease or the policy.
    """
    tier = policy.isolation.tier(recipe.isolation)
    return {
        "Image": recipe.runtime_image,
        "User": policy.user,
        "Hostname": policy.hostname,
        "Env": [
            *(f"{name}={value}" for name, value in sorted(policy.environment.items())),
            f"OMP_NUM_THREADS={recipe.scheduling.threads}",
            f"OMP_WAIT_POLICY={recipe.scheduling.omp_wait_policy}",
            *([] if recipe.scheduling.spin_count is None else [f"GOMP_SPINCOUNT={recipe.scheduling.spin_count}"]),
            f"LOCKDOWN_END={tier.lockdown_end}",
        ],
        "Labels": dict(labels),
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Tty": False,
        "NetworkDisabled": True,
        # Applies when the container engine stops or restarts. The first process of a namespace ignores SIGTERM, so the
        # container engine would wait ten seconds in vain before it kills the process.
        "StopTimeout": 0,
        "HostConfig": {
            **_isolation_of(recipe, policy, seccomp),
            **_limits_of(recipe, policy, cpus),
            "CgroupParent": _cgroup_parent(policy, cgroup_driver),
            "LogConfig": {"Type": policy.log_driver, "Config": {}},
            "Init": False,
            "AutoRemove": False,
            "RestartPolicy": {"Name": "no"},
            "Mounts": [_model_mount(policy, model_source)],
        },
    }


def _isolation_of(recipe: SandboxRecipe, policy: SandboxPolicy, seccomp: SeccompProfile) -> dict[str, Any]:
    return {
        "Runtime": policy.isolation.tier(recipe.isolation).runtime,
        "NetworkMode": policy.network,
        "Dns": list(policy.dns),
        "ReadonlyRootfs": policy.read_only,
        "CapDrop": list(policy.cap_drop),
        "SecurityOpt": [*policy.security_options, seccomp.encode_option(recipe.isolation)],
        "IpcMode": policy.ipc,
        "CgroupnsMode": policy.cgroup_namespace,
        "MaskedPaths": list(policy.paths.masked),
        "ReadonlyPaths": list(policy.paths.read_only),
    }


def _limits_of(recipe: SandboxRecipe, policy: SandboxPolicy, cpus: tuple[int, ...]) -> dict[str, Any]:
    ulimits = policy.ulimits.model_dump()
    return {
        "Memory": recipe.memory_bytes,
        "MemorySwap": recipe.memory_bytes,
        "PidsLimit": policy.isolation.tier(recipe.isolation).pids_max,
        "NanoCpus": recipe.scheduling.cores * NANO_CPUS_PER_CPU,
        "CpusetCpus": ",".join(map(str, cpus)),
        "OomScoreAdj": policy.oom_score_adj,
        "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in sorted(ulimits.items())],
    }


def _cgroup_parent(policy: SandboxPolicy, driver: str) -> str:
    # runc names a control group in two ways: by a path, or by a slice of systemd.
    return f"{policy.cgroup_parent}.slice" if driver == "systemd" else f"/{policy.cgroup_parent}"


def _model_mount(policy: SandboxPolicy, source: str) -> dict[str, Any]:
    # A bind mount cannot have noexec, nosuid or nodev (moby #36821), but an anonymous volume of the container engine's
    # local driver can. The container engine mounts it for this container and removes it with the container. Setting
    # ReadOnly as well would make runc mount it again and lose the other options, which include "ro".
    options = {"type": "none", "o": ",".join(["bind", *policy.model_mount_options]), "device": source}
    return {
        "Type": "volume",
        "Target": policy.model_directory,
        "VolumeOptions": {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": options}},
    }
