"""Find the container engine; on Debian or Ubuntu, as root and unless forbidden, install and start it."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import requests

from supervisor.setup.commands import find_program, run_command, system_path
from supervisor.setup.engine_address import is_listening
from supervisor.setup.errors import SetupError
from supervisor.setup.progress import Progress, Step
from supervisor.setup.storage import build_lock, usable_home

__all__ = ["Host", "ensure_engine", "find_engine", "is_answering", "remove_stale_pid_files"]

DOCKER_SOCKET = Path("/var/run/docker.sock")
PING_TIMEOUT_S = 5
START_DEADLINE_S = 60.0
START_POLL_S = 0.25
INSTALL_TIMEOUT_S = 1200
SERVICE_TIMEOUT_S = 120
LOG_LINES_SHOWN = 12

INSTALL_UPDATE = ("apt-get", "update", "-q")
# Without the recommended packages; containerd and iptables, which a bridge network needs, are named in case
# a derived distribution only recommends them.
INSTALL_ENGINE = (
    "apt-get",
    "install",
    "-qy",
    "--no-install-recommends",
    "docker.io",
    "containerd",
    "iptables",
)
MANUAL_INSTALL = "apt-get update && apt-get install --no-install-recommends docker.io containerd iptables"
ENGINE_PID_FILES = {"docker.pid": "dockerd", "docker/containerd/containerd.pid": "containerd"}
WHY = "every execution runs in a container of its own"


def is_answering(docker_host: str) -> bool:
    """Tell whether an engine answers at this address."""
    if not is_listening(docker_host):
        return False
    try:
        client = docker.APIClient(base_url=docker_host, timeout=PING_TIMEOUT_S)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError):
        return False


def _is_debian_family() -> bool:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    family = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()
    return bool({"debian", "ubuntu"} & set(family))


def _is_systemd_running() -> bool:
    # sd_booted(3): this directory exists exactly where systemd is the service manager.
    return Path("/run/systemd/system").is_dir()


def remove_stale_pid_files(run: Path = Path("/var/run"), processes: Path = Path("/proc")) -> None:
    """Remove what a killed engine left: its next start refuses when another process has the number by then."""
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


@dataclass(frozen=True)
class Host:
    """The machine as this module needs it; tests give another one."""

    environment: Mapping[str, str]
    user_id: int
    is_debian_family: bool
    is_systemd_running: bool
    is_answering: Callable[[str], bool]
    find_program: Callable[[str], str | None]
    run: Callable[..., None]
    start_detached: Callable[[list[str], Path], "subprocess.Popen[bytes]"]

    @classmethod
    def this(cls) -> "Host":
        """Return the machine this runs on."""
        return cls(
            environment=os.environ,
            user_id=os.geteuid(),
            is_debian_family=_is_debian_family(),
            is_systemd_running=_is_systemd_running(),
            is_answering=is_answering,
            find_program=find_program,
            run=run_command,
            start_detached=_start_detached,
        )


def ensure_engine(home: Path, progress: Progress, host: Host | None = None) -> str:
    """Return the address of an engine that answers, made to answer if need be.

    Raises:
        SetupError: engine_unreachable, engine_missing or engine_start_failed.
    """
    host = host or Host.this()
    named = host.environment.get("DOCKER_HOST")
    if named:
        if host.is_answering(named):
            return named
        message = (
            f"DOCKER_HOST is {named} and no engine answers there; {WHY}. "
            "Start that engine, or let set-up find one: unset DOCKER_HOST"
        )
        raise SetupError("engine_unreachable", message)
    found = _find_answering(host)
    if found:
        return found
    with usable_home(home), build_lock(home):
        # Whoever held the lock before may have started it.
        return _find_answering(host) or _provide(host, home, progress)


def find_engine() -> str | None:
    """Return the address of an engine that answers now, None where none does; changes nothing."""
    host = Host.this()
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
    addresses = (f"unix://{socket}" for socket in _usual_sockets(host.environment))
    return next((address for address in addresses if host.is_answering(address)), None)


def _usual_sockets(environment: Mapping[str, str]) -> list[Path]:
    sockets = [DOCKER_SOCKET]
    runtime_dir = environment.get("XDG_RUNTIME_DIR")
    if runtime_dir:
        sockets.append(Path(runtime_dir) / "podman" / "podman.sock")
    return [*sockets, Path("/run/podman/podman.sock")]


def _install(host: Host, progress: Progress) -> None:
    obstacle = _install_obstacle(host)
    if obstacle:
        message = f"no container engine answers, and {obstacle}; {WHY}. Install one: {MANUAL_INSTALL}"
        raise SetupError("engine_missing", message)
    with progress.step("Installing Debian's docker.io", f"no container engine is here, and {WHY}") as step:
        watch = _AptLines(step)
        for command in (INSTALL_UPDATE, INSTALL_ENGINE):
            host.run(
                command,
                timeout_s=INSTALL_TIMEOUT_S,
                code="engine_missing",
                purpose="install the container engine",
                on_line=watch.take,
            )


def _install_obstacle(host: Host) -> str | None:
    if host.environment.get("WEOS_NO_INSTALL") == "1":
        return "WEOS_NO_INSTALL=1 forbids installing one"
    if not host.is_debian_family:
        return "this is neither Debian nor Ubuntu, so set-up does not know how to install one"
    if host.user_id != 0:
        return "installing one needs root"
    return None


class _AptLines:
    """How far apt is, by the lines it prints: three for each package."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._packages = 0
        self._lines = 0

    def take(self, line: str) -> None:
        words = line.split()
        if "newly" in words and "installed," in words:
            self._packages = int(words[words.index("newly") - 1])
        if line.startswith(("Get:", "Unpacking ", "Setting up ")):
            self._lines += 1
            self._step.update(self._lines, max(3 * self._packages, self._lines), line)


def _start(host: Host, home: Path, progress: Progress) -> None:
    if host.user_id != 0:
        message = (
            "a container engine is installed and does not answer, and starting it needs root. "
            "Start it: sudo systemctl start docker (and join its group: sudo usermod -aG docker $USER)"
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
        _wait_until_answering(host, step, host.start_detached(["dockerd"], log), log)


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
