"""The same container, asked of Podman in its own words: nothing is dropped, and nothing is added but one bound."""

from typing import Any

import pytest

from supervisor.domain.sandbox.hardening import build_container_config
from supervisor.domain.sandbox.podman import build_podman_spec, describe_podman_settings
from supervisor.domain.sandbox.recipe import recipe_of
from tests.factories import make_plan
from tests.fakes.installation import IMAGE, fixed_installation

POLICIES = fixed_installation().policies


def config(**host: Any) -> dict[str, Any]:
    made = build_container_config(
        recipe_of(make_plan()),
        POLICIES.sandbox,
        POLICIES.seccomp,
        model_source="/store/abc",
        cpus=(1, 3),
        labels={"weos.sandbox": "x"},
        cgroup_driver="cgroupfs",
    )
    return {**made, "HostConfig": {**made["HostConfig"], **host}}


def spec(asked: dict[str, Any], name: str | None = "weos-1") -> dict[str, Any]:
    return build_podman_spec(asked, name, runtime="runc", seccomp_file="/home/seccomp.json", processes_max=1000)


def test_the_container_is_exactly_as_designed() -> None:
    memory_bytes = make_plan().limits.memory_bytes
    asked = config()
    assert spec(asked) == {
        "name": "weos-1",
        "image": IMAGE,
        "user": "65532:65532",
        "hostname": "sandbox",
        "env": dict(line.split("=", 1) for line in asked["Env"]),
        "unsetenv": ["TERM", "container"],
        "labels": {"weos.sandbox": "x"},
        "stdin": True,
        "terminal": False,
        "stop_timeout": 0,
        "httpproxy": False,
        "systemd": "false",
        "sdnotifyMode": "ignore",
        "image_volume_mode": "ignore",
        "use_image_hosts": True,
        "use_image_resolve_conf": True,
        "netns": {"nsmode": "none"},
        "ipcns": {"nsmode": "none"},
        "pidns": {"nsmode": "private"},
        "utsns": {"nsmode": "private"},
        "cgroupns": {"nsmode": "private"},
        "cgroup_parent": "/weos",
        "read_only_filesystem": True,
        "cap_drop": ["ALL"],
        "no_new_privileges": True,
        "seccomp_profile_path": "/home/seccomp.json",
        "mask": list(POLICIES.sandbox.paths.masked),
        "restart_policy": "no",
        "log_configuration": {"driver": "none"},
        "oom_score_adj": 500,
        "r_limits": [
            {"type": "core", "soft": 0, "hard": 0},
            {"type": "fsize", "soft": 0, "hard": 0},
            {"type": "memlock", "soft": 65536, "hard": 65536},
            {"type": "nofile", "soft": 64, "hard": 64},
            {"type": "stack", "soft": 67_108_864, "hard": 67_108_864},
            {"type": "nproc", "soft": 1000, "hard": 1000},
        ],
        "resource_limits": {
            "memory": {"limit": memory_bytes, "swap": memory_bytes},
            "pids": {"limit": 64},
            "cpu": {"quota": 200_000, "period": 100_000, "cpus": "1,3"},
        },
        # Nothing is mounted but the model.
        "mounts": [
            {
                "type": "bind",
                "source": "/store/abc",
                "destination": "/model",
                "options": ["bind", "ro", "nosuid", "nodev", "noexec", "private"],
            }
        ],
    }


def test_another_program_and_a_file_that_is_written_are_asked_for_too() -> None:
    output = {"Type": "bind", "Source": "/work/out", "Target": "/output.gguf"}
    asked = config(Mounts=[*config()["HostConfig"]["Mounts"], output])
    made = spec({**asked, "Entrypoint": ["python3"], "Cmd": ["-c", "pass"]}, name=None)
    assert (made["entrypoint"], made["command"], "name" in made) == (["python3"], ["-c", "pass"], False)
    assert made["mounts"][1] == {
        "type": "bind",
        "source": "/work/out",
        "destination": "/output.gguf",
        "options": ["bind", "rw", "nosuid", "nodev", "noexec", "private"],
    }


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (config(Privileged=True), "Privileged"),
        (config(Runtime="weos-gvisor"), "Runtime"),
        (config(NetworkMode="host"), "NetworkMode"),
        (config(IpcMode="host"), "IpcMode"),
        (config(ReadonlyRootfs=False), "ReadonlyRootfs"),
        (config(SecurityOpt=["seccomp={}"]), "SecurityOpt"),
        (config(ReadonlyPaths=["/proc/elsewhere"]), "ReadonlyPaths"),
        ({**config(), "Tty": True}, "Tty"),
        ({**config(), "Volumes": {"/x": {}}}, "Volumes"),
    ],
)
def test_what_cannot_be_asked_of_podman_is_refused_by_name(asked: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        spec(asked)


INSPECTED = {
    "OCIRuntime": "runc",
    "HostConfig": {"AutoRemove": False, "CgroupParent": "/weos", "NetworkMode": "none", "IpcMode": "shareable"},
}


def test_settings_are_dockers_words_for_what_podman_and_the_kernel_say() -> None:
    host = config()["HostConfig"]
    seen = describe_podman_settings(INSPECTED, has_own_cgroup_namespace=True, has_own_ipc=True)
    assert seen == {field: host[field] for field in seen}
    assert set(seen) == {"AutoRemove", "CgroupParent", "CgroupnsMode", "IpcMode", "NetworkMode", "Runtime"}


def test_a_namespace_is_told_as_the_kernel_shows_it() -> None:
    seen = describe_podman_settings(INSPECTED, has_own_cgroup_namespace=False, has_own_ipc=None)
    assert (seen["CgroupnsMode"], seen["IpcMode"]) == ("host", None)
