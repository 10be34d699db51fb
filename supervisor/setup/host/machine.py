"""The machine that set-up works on: what it is, what may be done to it, and Debian's packages on it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_address import Reach, reach
from supervisor.setup.host.programs import find_program, run_command

if TYPE_CHECKING:
    import subprocess

__all__ = ["Host", "install_obstacle", "install_packages"]

INSTALL_TIMEOUT_S = 1200
INSTALL_UPDATE = ("apt-get", "update", "-q")
# Without the recommended packages.
INSTALL = ("apt-get", "install", "-qy", "--no-install-recommends")
ENGINE_CONFIG = Path("/etc/docker/daemon.json")


@dataclass(frozen=True)
class Host:
    """The machine as set-up needs it; tests pass a fake.

    Attributes:
        describe_obstacle: Returns why executions cannot run with the container engine at an address.
        container_engine_config: Where a container engine of this machine looks for its configuration.
        reach: What the address of a container engine says to this user.
    """

    environment: Mapping[str, str]
    user_id: int
    is_debian_family: bool
    is_systemd_running: bool
    is_answering: Callable[[str], bool]
    describe_obstacle: Callable[[str], str | None]
    find_program: Callable[[str], str | None]
    run: Callable[..., None]
    start_detached: Callable[[list[str], Path], "subprocess.Popen[bytes]"]
    container_engine_config: Path = ENGINE_CONFIG
    reach: Callable[[str], Reach] = reach

    @classmethod
    def this(
        cls,
        is_answering: Callable[[str], bool],
        describe_obstacle: Callable[[str], str | None],
        start_detached: Callable[[list[str], Path], "subprocess.Popen[bytes]"],
    ) -> "Host":
        """Return the machine this runs on, with the functions that ask and start its container engine."""
        return cls(
            environment=os.environ,
            user_id=os.geteuid(),
            is_debian_family=is_debian_family(),
            is_systemd_running=is_systemd_running(),
            is_answering=is_answering,
            describe_obstacle=describe_obstacle,
            find_program=find_program,
            run=run_command,
            start_detached=start_detached,
        )


def is_debian_family(release: Path = Path("/etc/os-release")) -> bool:
    """Return whether this is Debian or made from it."""
    try:
        lines = release.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    family = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()
    return bool({"debian", "ubuntu"} & set(family))


def is_systemd_running() -> bool:
    """Return whether systemd is the service manager: sd_booted(3), this directory exists exactly then."""
    return Path("/run/systemd/system").is_dir()


def install_packages(
    host: Host, packages: Sequence[str], progress: Progress, *, code: str, what: str, reason: str, missing: str
) -> None:
    """Install Debian packages.

    Args:
        host: the machine.
        packages: their names.
        progress: where it is told.
        code: of the error.
        what: what is installed, for a person.
        reason: why.
        missing: what is the matter without them, as the beginning of a sentence.

    Raises:
        SetupError: with `code`; it may not be installed here, or could not be.
    """
    obstacle = install_obstacle(host)
    if obstacle:
        command = f"apt-get update && apt-get install --no-install-recommends {' '.join(packages)}"
        raise SetupError(code, f"{missing}, and {obstacle}; {reason}. Install it: {command}")
    with progress.step(f"Installing {what}", reason) as step:
        watch = _AptLines(step)
        for command_line in (INSTALL_UPDATE, (*INSTALL, *packages)):
            host.run(
                command_line, timeout_s=INSTALL_TIMEOUT_S, code=code, purpose=f"install {what}", on_line=watch.take
            )


def install_obstacle(host: Host) -> str | None:
    """Return why nothing may be installed here, None where it may."""
    if host.environment.get("WEOS_NO_INSTALL") == "1":
        return "WEOS_NO_INSTALL=1 forbids installing it"
    if not host.is_debian_family:
        return "this is neither Debian nor Ubuntu, so set-up does not know how to install it"
    if host.user_id != 0:
        return "installing it needs root"
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
