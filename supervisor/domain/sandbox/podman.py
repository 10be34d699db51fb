"""The container of one execution as the body of Podman's own create call, from the body of Docker's. Pure.

Podman's compatible API drops what a sandbox needs: options of the model's mount, hidden paths, the kind of its
namespaces. Its own API (libpod) has all of them.
"""

from collections.abc import Mapping
from typing import Any

from contracts.wire.units import NANO_CPUS_PER_CPU

__all__ = ["SECCOMP_OPTION", "build_podman_spec", "describe_podman_settings"]

SECCOMP_OPTION = "seccomp="
NO_NEW_PRIVILEGES = "no-new-privileges:true"
CFS_PERIOD_US = 100_000
# What Podman hides in no way that can be asked for: these it mounts read-only itself.
READ_ONLY_ALWAYS = frozenset({"/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"})
# Fields of Docker's body that have one meaning only under Podman.
FIXED: Mapping[str, Any] = {
    "AttachStdin": True,
    "AttachStdout": True,
    "AttachStderr": True,
    "OpenStdin": True,
    "StdinOnce": True,
    "Tty": False,
    "NetworkDisabled": True,
    "StopTimeout": 0,
}
FIXED_HOST: Mapping[str, Any] = {
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "IpcMode": "none",
    "CgroupnsMode": "private",
    "Init": False,
    "AutoRemove": False,
    "RestartPolicy": {"Name": "no"},
    "LogConfig": {"Type": "none", "Config": {}},
}
# What the two tables above are in Podman's words, and what Podman would do otherwise.
SPEC: Mapping[str, Any] = {
    "stdin": True,
    "terminal": False,
    "stop_timeout": 0,
    "netns": {"nsmode": "none"},
    "ipcns": {"nsmode": "none"},
    "pidns": {"nsmode": "private"},
    "utsns": {"nsmode": "private"},
    "cgroupns": {"nsmode": "private"},
    "read_only_filesystem": True,
    "cap_drop": ["ALL"],
    "no_new_privileges": True,
    "restart_policy": "no",
    "log_configuration": {"driver": "none"},
    # Podman sets these variables of its own, and the proxy's of the host.
    "unsetenv": ["TERM", "container"],
    "httpproxy": False,
    "systemd": "false",
    "sdnotifyMode": "ignore",
    "image_volume_mode": "ignore",
    "use_image_hosts": True,
    "use_image_resolve_conf": True,
}


def build_podman_spec(
    config: Mapping[str, Any], name: str | None, *, runtime: str, seccomp_file: str, processes_max: int
) -> dict[str, Any]:
    """Return the body of `POST /libpod/containers/create` (Podman 4.0) for the same container.

    Args:
        config: the body of Docker's create call.
        name: the container's name, None to let Podman choose it.
        runtime: the runtime that Podman starts every container with.
        seccomp_file: a file with the profile of `config`, since Podman takes no profile in a request.
        processes_max: RLIMIT_NPROC, which Podman otherwise sets to a value that it may not be allowed to set.

    Raises:
        ValueError: the body asks for something that this cannot express; nothing is dropped silently.
    """
    left, host = dict(config), dict(config["HostConfig"])
    del left["HostConfig"]
    _take_fixed(left, FIXED)
    _take_fixed(host, FIXED_HOST)
    _take_fixed(host, {"Runtime": runtime})
    options = [each for each in host.pop("SecurityOpt") if not each.startswith(SECCOMP_OPTION)]
    _require(options == [NO_NEW_PRIVILEGES], f"SecurityOpt {options}")
    read_only = host.pop("ReadonlyPaths")
    _require(set(read_only) <= READ_ONLY_ALWAYS, f"ReadonlyPaths {read_only}")
    # Without a network there is no name server to be seen, and Podman mounts no file that names one.
    host.pop("Dns")
    entrypoint = {"entrypoint": list(left.pop("Entrypoint"))} if "Entrypoint" in left else {}
    command = {"command": list(left.pop("Cmd"))} if "Cmd" in left else {}
    spec: dict[str, Any] = {
        **({} if name is None else {"name": name}),
        **entrypoint,
        **command,
        **SPEC,
        "image": left.pop("Image"),
        "user": left.pop("User"),
        "hostname": left.pop("Hostname"),
        "env": dict(line.split("=", 1) for line in left.pop("Env")),
        "labels": left.pop("Labels"),
        "cgroup_parent": host.pop("CgroupParent"),
        "seccomp_profile_path": seccomp_file,
        "mask": list(host.pop("MaskedPaths")),
        "oom_score_adj": host.pop("OomScoreAdj"),
        "r_limits": _limits(host.pop("Ulimits"), processes_max),
        "resource_limits": _resources(host),
        "mounts": [_mount(each) for each in host.pop("Mounts")],
    }
    _require(not left and not host, f"{sorted((*left, *host))}")
    return spec


def describe_podman_settings(
    inspected: Mapping[str, Any], *, has_own_cgroup_namespace: bool | None, has_own_ipc: bool | None
) -> dict[str, Any]:
    """Return the settings of a container in Docker's words, for the isolation receipt.

    Podman's own word on two namespaces is of no use: the kernel's is taken.

    Args:
        inspected: Podman's answer to `GET /libpod/containers/ID/json`.
        has_own_cgroup_namespace: whether its namespace of control groups is another than the host's; None: not seen.
        has_own_ipc: whether its namespace of System V IPC is another than the host's; None: not seen.
    """
    host = inspected["HostConfig"]
    return {
        "AutoRemove": host.get("AutoRemove"),
        "CgroupParent": host.get("CgroupParent"),
        "CgroupnsMode": _kind(has_own_cgroup_namespace, "private"),
        # Whether it has a place for shared memory is seen among its mounts.
        "IpcMode": _kind(has_own_ipc, "none"),
        "NetworkMode": host.get("NetworkMode"),
        "Runtime": inspected.get("OCIRuntime"),
    }


def _kind(is_own: bool | None, own: str) -> str | None:
    if is_own is None:
        return None
    return own if is_own else "host"


def _take_fixed(fields: dict[str, Any], fixed: Mapping[str, Any]) -> None:
    for field, value in fixed.items():
        _require(fields.pop(field) == value, f"{field} other than {value}")


def _require(is_so: bool, what: str) -> None:
    if not is_so:
        message = f"a sandbox cannot be asked of Podman with {what}"
        raise ValueError(message)


def _limits(ulimits: list[dict[str, Any]], processes_max: int) -> list[dict[str, Any]]:
    named = [{"type": each["Name"], "soft": each["Soft"], "hard": each["Hard"]} for each in ulimits]
    return [*named, {"type": "nproc", "soft": processes_max, "hard": processes_max}]


def _resources(host: dict[str, Any]) -> dict[str, Any]:
    quota_us = host.pop("NanoCpus") * CFS_PERIOD_US // NANO_CPUS_PER_CPU
    return {
        "memory": {"limit": host.pop("Memory"), "swap": host.pop("MemorySwap")},
        "pids": {"limit": host.pop("PidsLimit")},
        "cpu": {"quota": quota_us, "period": CFS_PERIOD_US, "cpus": host.pop("CpusetCpus")},
    }


def _mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    if mount["Type"] == "volume":
        # Podman binds a directory with these options itself; Docker needs a volume for that.
        volume = mount["VolumeOptions"]["DriverConfig"]["Options"]
        source, options = volume["device"], volume["o"].split(",")
    else:
        source, options = mount["Source"], ["bind", "rw", "nosuid", "nodev", "noexec"]
    return {"type": "bind", "source": source, "destination": mount["Target"], "options": [*options, "private"]}
