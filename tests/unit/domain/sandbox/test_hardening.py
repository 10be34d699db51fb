import json
from typing import Any

import pytest

from contracts.execution.execution_plan import ExecutionPlan
from supervisor.domain.sandbox.hardening import build_container_config, model_path
from supervisor.domain.sandbox.recipe import recipe_of
from tests.factories import make_plan
from tests.fakes.installation import IMAGE, fixed_installation

POLICIES = fixed_installation().policies
POLICY = POLICIES.sandbox
# The container engine's own list, which ours replaces, and what the design adds.
HIDDEN = [
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/proc/cpuinfo", "/proc/meminfo"),
    *("/proc/uptime", "/proc/loadavg", "/proc/interrupts", "/proc/cmdline", "/proc/net", "/proc/pressure"),
    *("/sys/class/dmi", "/sys/devices/virtual/dmi", "/sys/class/powercap", "/sys/devices/virtual/powercap"),
]


def config(driver: str = "cgroupfs", plan: ExecutionPlan | None = None) -> dict[str, Any]:
    return build_container_config(
        recipe_of(plan or make_plan()),
        POLICY,
        POLICIES.seccomp,
        model_source="/store/abc",
        cpus=(1, 3),
        labels={"weos.sandbox": "x"},
        cgroup_driver=driver,
    )


@pytest.mark.parametrize(
    ("planned", "environment"),
    [
        ({"omp_wait_policy": "passive", "spin_count": None}, ["OMP_WAIT_POLICY=passive"]),
        ({"omp_wait_policy": "passive", "spin_count": 70}, ["OMP_WAIT_POLICY=passive", "GOMP_SPINCOUNT=70"]),
        ({"omp_wait_policy": "active", "spin_count": None}, ["OMP_WAIT_POLICY=active"]),
    ],
)
def test_the_waiting_mode_is_passed_to_libgomp(planned: dict[str, Any], environment: list[str]) -> None:
    plan = make_plan()
    scheduling = plan.scheduling.model_copy(update=planned)
    spelled = config(plan=plan.model_copy(update={"scheduling": scheduling}))["Env"]
    assert [each for each in spelled if each.startswith(("OMP_WAIT", "GOMP"))] == environment


def test_the_container_is_exactly_as_designed() -> None:
    memory_bytes = make_plan().limits.memory_bytes
    assert config() == {
        "Image": IMAGE,
        "User": "65532:65532",
        "Hostname": "sandbox",
        # The host's environment never enters.
        "Env": [
            "GGML_NO_BACKTRACE=1",
            "HOME=/nonexistent",
            "LANG=C.UTF-8",
            "OMP_NUM_THREADS=2",
            "OMP_WAIT_POLICY=passive",
            f"GOMP_SPINCOUNT={POLICIES.scheduling['default'].spin_count}",
            "LOCKDOWN_END=kill_process",
        ],
        "Labels": {"weos.sandbox": "x"},
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Tty": False,
        "NetworkDisabled": True,
        "StopTimeout": 0,
        "HostConfig": {
            "Runtime": "runc",
            "NetworkMode": "none",
            "Dns": ["127.0.0.1"],
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true", POLICIES.seccomp.encode_option("hardened")],
            "IpcMode": "none",
            "CgroupnsMode": "private",
            "CgroupParent": "/weos",
            "LogConfig": {"Type": "none", "Config": {}},
            "Memory": memory_bytes,
            "MemorySwap": memory_bytes,
            "PidsLimit": 64,
            "NanoCpus": 2_000_000_000,
            "CpusetCpus": "1,3",
            "OomScoreAdj": 500,
            "Ulimits": [
                {"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "fsize", "Soft": 0, "Hard": 0},
                {"Name": "memlock", "Soft": 65536, "Hard": 65536},
                {"Name": "nofile", "Soft": 64, "Hard": 64},
                {"Name": "stack", "Soft": 67108864, "Hard": 67108864},
            ],
            "MaskedPaths": list(POLICY.paths.masked),
            "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "Init": False,
            "AutoRemove": False,
            "RestartPolicy": {"Name": "no"},
            # Nothing is mounted but the model.
            "Mounts": [
                {
                    "Type": "volume",
                    "Target": "/model",
                    "VolumeOptions": {
                        "NoCopy": True,
                        "DriverConfig": {
                            "Name": "local",
                            "Options": {"type": "none", "o": "bind,ro,nosuid,nodev,noexec", "device": "/store/abc"},
                        },
                    },
                }
            ],
        },
    }


@pytest.mark.parametrize("path", HIDDEN)
def test_paths_that_the_design_hides_are_masked(path: str) -> None:
    assert any(path == masked or path.startswith(f"{masked}/") for masked in POLICY.paths.masked)


def test_the_runner_finds_the_model_where_it_is_mounted() -> None:
    assert model_path(POLICY) == "/model/model.gguf"


def test_the_filter_is_passed_completely_and_without_comments() -> None:
    option = POLICIES.seccomp.encode_option("hardened")
    profile = json.loads(option.removeprefix("seccomp="))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert profile["architectures"] == ["SCMP_ARCH_X86_64"]
    assert len(profile["syscalls"]) == len(POLICIES.seccomp.syscalls)
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": []} in profile["syscalls"]
    assert "comment" not in option


def test_systemd_gets_a_slice() -> None:
    assert config("systemd")["HostConfig"]["CgroupParent"] == "weos.slice"


def test_gvisor_gets_the_same_container_under_its_own_runtime() -> None:
    hardened, gvisor = config(), config(plan=make_plan().model_copy(update={"isolation": "gvisor"}))
    host = gvisor["HostConfig"]
    assert (host["Runtime"], host["PidsLimit"]) == ("weos-gvisor", 256)
    same = {"Runtime": "runc", "PidsLimit": 64, "SecurityOpt": hardened["HostConfig"]["SecurityOpt"]}
    assert gvisor["Env"] == [*hardened["Env"][:-1], "LOCKDOWN_END=trap"]
    assert {**gvisor, "HostConfig": host | same, "Env": hardened["Env"]} == hardened


def test_gvisor_gets_the_same_filter_in_terms_that_it_supports() -> None:
    # runsc reads no errnoRet: with it the C library would hear EPERM of clone3 and give up.
    hardened, gvisor = (
        json.loads(POLICIES.seccomp.encode_option(tier).removeprefix("seccomp=")) for tier in ("hardened", "gvisor")
    )
    assert "errnoRet" not in json.dumps(gvisor)
    assert {"names": ["clone3"], "action": "SCMP_ACT_TRACE", "args": []} in gvisor["syscalls"]
    kept = [rule for rule in hardened["syscalls"] if rule["names"] != ["clone3"]]
    assert [rule for rule in gvisor["syscalls"] if rule["names"] != ["clone3"]] == kept
