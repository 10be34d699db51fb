"""The tier `gvisor`: Debian's runsc installed, and registered with the container engine that answers.

A container engine that set-up started has it registered from the beginning. The configuration of any other one is
changed only with consent, after the change was shown.
"""

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.console.steps import Progress
from supervisor.domain.errors import Refusal, SetupError
from supervisor.domain.policies.policy import GvisorTier
from supervisor.domain.sandbox.isolation import RegisteredRuntime, read_runtimes, require_registered
from supervisor.setup.host.container_engine_api import opened_container_engine
from supervisor.setup.host.container_engine_config import (
    Runtime,
    add_runtime,
    describe_change,
    gvisor_runtime,
    gvisor_tier,
    replace_config,
)
from supervisor.setup.host.machine import Host, install_packages
from supervisor.setup.host.programs import find_program

__all__ = ["ContainerEngine", "ensure_gvisor", "registered_runtimes"]

UNIX_SCHEME = "unix://"
RELOAD_DEADLINE_S = 20.0
RELOAD_POLL_S = 0.2
VALIDATE_TIMEOUT_S = 30
CREDENTIALS = struct.Struct("3i")
WHY = "the isolation tier 'gvisor' runs executions under runsc"


@dataclass(frozen=True)
class ContainerEngine:
    """The container engine that answers, as this module needs it; tests pass a fake.

    Attributes:
        address: Where it answers.
        process: Its process number, None where it is not a daemon of this machine.
        config: The configuration file that it reads.
        runtimes: Returns the runtimes that it knows.
        reload: Makes it read its configuration again.
    """

    address: str
    process: int | None
    config: Path
    runtimes: Callable[[], Mapping[str, RegisteredRuntime]]
    reload: Callable[[], None]

    @classmethod
    def at(cls, address: str, host: Host) -> "ContainerEngine":
        """Return the container engine at an address."""
        process = _find_process(address, host)
        return cls(
            address=address,
            process=process,
            config=host.container_engine_config
            if process is None
            else _config_of(process, host.container_engine_config),
            runtimes=lambda: registered_runtimes(address),
            # dockerd(8): SIGHUP reloads the configuration; containers go on.
            reload=lambda: None if process is None else os.kill(process, signal.SIGHUP),
        )


def registered_runtimes(address: str) -> Mapping[str, RegisteredRuntime]:
    """Return the runtimes that the container engine knows.

    Raises:
        SetupError: engine_unreachable or engine_failed.
    """
    with opened_container_engine(address) as client:
        return read_runtimes(client.info(), find_program)


def is_registered(tier: GvisorTier, runtimes: Mapping[str, RegisteredRuntime]) -> bool:
    """Return whether executions are accepted in this tier."""
    try:
        require_registered(tier, runtimes)
    except Refusal:
        return False
    return True


def ensure_gvisor(
    home: Path, host: Host, container_engine: ContainerEngine, progress: Progress, *, consent: bool
) -> None:
    """Install runsc if it is missing, and register it if it is not registered.

    Args:
        home: WEOS_HOME; a configuration within it is set-up's own.
        host: the machine.
        container_engine: where to register it.
        progress: shows the steps.
        consent: whether a configuration that is not set-up's own may be changed.

    Raises:
        SetupError: gvisor_missing, consent_needed, engine_config_unsound, engine_unreachable or engine_failed.
    """
    program = host.find_program("runsc")
    if program is None:
        install_packages(
            host,
            ("runsc",),
            progress,
            code="gvisor_missing",
            what="Debian's runsc",
            reason=WHY,
            missing="runsc is not installed",
        )
        program = host.find_program("runsc")
    if is_registered(gvisor_tier(), container_engine.runtimes()):
        progress.unchanged("isolation tier gvisor")
        return
    _register(home, host, container_engine, gvisor_runtime(program), progress, consent=consent)


def _register(
    home: Path, host: Host, container_engine: ContainerEngine, wanted: Runtime, progress: Progress, *, consent: bool
) -> None:
    by_hand = f'add a runtime "{wanted.name}" with path "{wanted.program}" and runtimeArgs {" ".join(wanted.arguments)}'
    if container_engine.process is None:
        message = f"the container engine at {container_engine.address} is not a dockerd of this machine; {by_hand}"
        raise SetupError("gvisor_missing", message)
    is_own = container_engine.config.is_relative_to(home)
    if host.user_id != 0:
        message = f"changing {container_engine.config} needs root: sudo make gvisor YES=1; or {by_hand}"
        raise SetupError("gvisor_missing", message)
    old = container_engine.config.read_text(encoding="utf-8") if container_engine.config.exists() else None
    new = add_runtime(old, wanted, container_engine.config)
    change = describe_change(old, new, container_engine.config)
    if not (consent or is_own):
        message = (
            f"set-up did not start the container engine at {container_engine.address}, so it changes the configuration "
            f"only with your consent. No container would be stopped. The change:\n{change}\n"
            "To make it: make gvisor YES=1"
        )
        raise SetupError("consent_needed", message)
    with progress.step("Registering runsc with the container engine", WHY) as step:
        for line in change.splitlines():
            step.note(line)
        _validate(host, new, home)
        kept = replace_config(container_engine.config, new)
        if kept is not None:
            step.note(f"the former configuration is kept in {kept}")
        container_engine.reload()
        if not _comes_to_know(container_engine):
            _take_back(container_engine, kept)
            message = (
                f"the container engine at {container_engine.address} read {container_engine.config} and still does not "
                f"know '{wanted.name}', so its former configuration was restored; see its log: journalctl -u docker"
            )
            raise SetupError("gvisor_missing", message)


def _validate(host: Host, text: str, home: Path) -> None:
    # dockerd has --validate since version 23. An older one that cannot read a configuration keeps the one in force.
    helped: list[str] = []
    host.run(
        ("dockerd", "--help"),
        timeout_s=VALIDATE_TIMEOUT_S,
        code="gvisor_missing",
        purpose="ask dockerd for its options",
        on_line=helped.append,
    )
    if not any("--validate" in line for line in helped):
        return
    trial = home / "engine" / "trial.json"
    trial.parent.mkdir(parents=True, exist_ok=True)
    trial.write_text(text, encoding="utf-8")
    try:
        host.run(
            ("dockerd", "--validate", "--config-file", str(trial)),
            timeout_s=VALIDATE_TIMEOUT_S,
            code="engine_config_unsound",
            purpose="have dockerd validate its new configuration",
        )
    finally:
        trial.unlink()


def _comes_to_know(container_engine: ContainerEngine) -> bool:
    deadline_s = time.monotonic() + RELOAD_DEADLINE_S
    while not is_registered(gvisor_tier(), container_engine.runtimes()):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(RELOAD_POLL_S)
    return True


def _take_back(container_engine: ContainerEngine, kept: Path | None) -> None:
    if kept is None:
        container_engine.config.unlink()
    else:
        kept.replace(container_engine.config)
    container_engine.reload()


def _find_process(address: str, host: Host) -> int | None:
    if not address.startswith(UNIX_SCHEME):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address.removeprefix(UNIX_SCHEME))
        except OSError:
            return None
        # unix(7): the process that called listen, which is systemd if systemd created the socket.
        peer, _, _ = CREDENTIALS.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    if _is_dockerd(peer):
        return int(peer)
    if not host.is_systemd_running:
        return None
    shown: list[str] = []
    host.run(
        ("systemctl", "show", "--property", "MainPID", "--value", "docker"),
        timeout_s=VALIDATE_TIMEOUT_S,
        code="gvisor_missing",
        purpose="find the process of the container engine",
        on_line=shown.append,
    )
    number = int(shown[0]) if shown and shown[0].isdigit() else 0
    return number if _is_dockerd(number) else None


def _is_dockerd(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip() == "dockerd"
    except OSError:
        return False


def _config_of(process: int, default: Path) -> Path:
    words = Path(f"/proc/{process}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--config-file":
            return Path(following)
        if word.startswith("--config-file="):
            return Path(word.removeprefix("--config-file="))
    return default
