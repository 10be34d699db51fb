"""Find the container engine; on Debian or Ubuntu, as root and unless forbidden, install and start it."""

import os
import subprocess
import time
from pathlib import Path

import docker
import requests

from supervisor.adapters.files import build_lock, rotate_log, usable_home, write_public
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import SetupError
from supervisor.domain.sandbox.container_engine import describe_container_engine
from supervisor.setup.host.container_engine_address import (
    DOCKER_SOCKET,
    Reach,
    explain_denied,
    is_listening,
    usual_addresses,
)
from supervisor.setup.host.container_engine_config import add_runtime, gvisor_runtime, write_own_config
from supervisor.setup.host.machine import Host, install_obstacle, install_packages
from supervisor.setup.host.programs import system_path

__all__ = [
    "DOCKER_SOCKET",
    "ensure_container_engine",
    "find_container_engine",
    "is_answering",
    "remove_stale_pid_files",
    "this_host",
]

PING_TIMEOUT_S = 5
# Longer: on a busy machine Podman counts its images for seconds before it describes itself.
DESCRIBE_TIMEOUT_S = 30
# Any that the SDK takes; no path has it.
NO_VERSION = "1.41"
START_DEADLINE_S = 60.0
START_POLL_S = 0.25
SERVICE_TIMEOUT_S = 120
LOG_LINES_SHOWN = 12

# containerd and iptables, which a bridge network needs, are named in case a derived distribution only recommends them.
PACKAGES = ("docker.io", "containerd", "iptables")
ENGINE_PID_FILES = {"docker.pid": "dockerd", "docker/containerd/containerd.pid": "containerd"}
WHY = "every execution runs in a container of its own"


def is_answering(docker_host: str) -> bool:
    """Return whether a container engine answers at this address."""
    if not is_listening(docker_host):
        return False
    try:
        return _ask(docker_host, "_ping", PING_TIMEOUT_S).ok
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError):
        return False


def _ask(docker_host: str, path: str, timeout_s: int) -> requests.Response:
    # Without a version in the path, and so without asking for it before: Podman looks up packages to tell its version,
    # which took seconds on a busy machine.
    client = docker.APIClient(base_url=docker_host, version=NO_VERSION, timeout=timeout_s)
    try:
        return client.get(f"{client.base_url}/{path}", timeout=timeout_s)
    finally:
        client.close()


def _describe_obstacle(docker_host: str) -> str | None:
    try:
        version, info = (_ask(docker_host, path, DESCRIBE_TIMEOUT_S).json() for path in ("version", "info"))
        return describe_container_engine(version, info).obstacle
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
        return f"it does not describe itself ({type(error).__name__}). Look at it: docker info"


def remove_stale_pid_files(run: Path = Path("/var/run"), processes: Path = Path("/proc")) -> None:
    """Remove the pid files of a killed container engine; it does not start if another process has that number now."""
    for name, program in ENGINE_PID_FILES.items():
        file = run / name
        try:
            number = int(file.read_text())
        except (OSError, ValueError):
            continue
        try:
            is_alive = (processes / str(number) / "comm").read_text().strip() == program
        except OSError:
            is_alive = False
        if not is_alive:
            file.unlink(missing_ok=True)


def _start_detached(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    remove_stale_pid_files()
    log.parent.mkdir(parents=True, exist_ok=True)
    rotate_log(log)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - a fixed program, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # dockerd looks for containerd and iptables itself.
            env={**os.environ, "PATH": system_path()},
        )


def this_host() -> Host:
    """Return the machine this runs on."""
    return Host.this(is_answering, _describe_obstacle, _start_detached)


def ensure_container_engine(home: Path, progress: Progress, host: Host | None = None) -> str:
    """Return the address of a container engine that can execute, after installing and starting it if needed.

    Raises:
        SetupError: engine_unreachable, engine_forbidden, engine_unsupported, engine_missing or engine_start_failed.
    """
    host = host or this_host()
    address = _ensure_answering(host, home, progress)
    obstacle = host.describe_obstacle(address)
    if obstacle is not None:
        raise SetupError("engine_unsupported", f"the container engine at {address}: {obstacle}")
    return address


def _ensure_answering(host: Host, home: Path, progress: Progress) -> str:
    named = host.environment.get("DOCKER_HOST")
    if named:
        if host.is_answering(named):
            return named
        _require_permission(host, named)
        message = (
            f"DOCKER_HOST is {named} and no container engine answers there; {WHY}. "
            "Start it, or let set-up find one: unset DOCKER_HOST"
        )
        raise SetupError("engine_unreachable", message)
    found = _find_answering(host)
    if found:
        return found
    for address in usual_addresses(host.environment):
        _require_permission(host, address)
    with usable_home(home), build_lock(home):
        # The previous holder of the lock may have started it.
        return _find_answering(host) or _provide(host, home, progress)


def find_container_engine() -> str | None:
    """Return the address of a container engine that answers now, None if none does; changes nothing."""
    host = this_host()
    named = host.environment.get("DOCKER_HOST")
    if named:
        return named if host.is_answering(named) else None
    return _find_answering(host)


def _provide(host: Host, home: Path, progress: Progress) -> str:
    if host.find_program("dockerd") is None:
        _install(host, progress)
    _start(host, home, progress)
    return f"unix://{DOCKER_SOCKET}"


def _find_answering(host: Host) -> str | None:
    addresses = usual_addresses(host.environment)
    return next((address for address in addresses if host.is_answering(address)), None)


def _require_permission(host: Host, address: str) -> None:
    if host.reach(address) is Reach.DENIED:
        raise SetupError("engine_forbidden", explain_denied(address))


def _install(host: Host, progress: Progress) -> None:
    if host.is_systemd_running and install_obstacle(host) is None and not host.container_engine_config.exists():
        # The service starts as it is installed, so its configuration must exist before.
        config = add_runtime(None, gvisor_runtime(), host.container_engine_config)
        write_public(host.container_engine_config, config.encode("utf-8"))
    install_packages(
        host,
        PACKAGES,
        progress,
        code="engine_missing",
        what="Debian's docker.io",
        reason=WHY,
        missing="no container engine answers",
    )


def _start(host: Host, home: Path, progress: Progress) -> None:
    if host.user_id != 0:
        message = (
            "a container engine is installed and does not answer, and starting it needs root. "
            "Start it: sudo systemctl start docker (and join its group: sudo usermod -aG docker $USER, newgrp docker)"
        )
        raise SetupError("engine_unreachable", message)
    with progress.step("Starting the container engine", WHY) as step:
        if host.is_systemd_running:
            host.run(
                ("systemctl", "start", "docker"),
                timeout_s=SERVICE_TIMEOUT_S,
                code="engine_start_failed",
                purpose="start the container engine (see: journalctl -u docker)",
            )
            _wait_until_answering(host, step, None, None)
            return
        log = home / "log" / "dockerd.log"
        step.note(f"no systemd here: dockerd runs in a session of its own, its log is {log}")
        config = write_own_config(home, host.container_engine_config)
        command = ["dockerd", "--config-file", str(config)]
        _wait_until_answering(host, step, host.start_detached(command, log), log)


def _wait_until_answering(host: Host, step: Step, process: "subprocess.Popen[bytes] | None", log: Path | None) -> None:
    started_s = time.monotonic()
    while (waited_s := time.monotonic() - started_s) < START_DEADLINE_S:
        if host.is_answering(f"unix://{DOCKER_SOCKET}"):
            return
        if process is not None and process.poll() is not None:
            raise _start_error(f"dockerd ended with status {process.returncode}", log)
        step.update(waited_s, START_DEADLINE_S, "waiting for it to answer")
        time.sleep(START_POLL_S)
    raise _start_error(f"the container engine did not answer within {START_DEADLINE_S:.0f} s", log)


def _start_error(what: str, log: Path | None) -> SetupError:
    if log is None:
        return SetupError("engine_start_failed", f"{what}. See: journalctl -u docker")
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    tail = "\n  ".join(lines[-LOG_LINES_SHOWN:])
    return SetupError("engine_start_failed", f"{what}. The last lines of {log}:\n  {tail}\nTry by hand: dockerd")
