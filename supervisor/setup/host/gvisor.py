"""The tier `gvisor`: Debian's runsc installed, and registered with the container engine that answers.

An engine that set-up started has it registered from the beginning. The configuration of any other is changed only after
showing the change and being told to.
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
from supervisor.setup.host.engine_api import opened_engine
from supervisor.setup.host.engine_config import (
    Runtime,
    add_runtime,
    describe_change,
    gvisor_runtime,
    gvisor_tier,
    replace_config,
)
from supervisor.setup.host.machine import Host, install_packages
from supervisor.setup.host.programs import find_program

__all__ = ["Engine", "ensure_gvisor", "registered_runtimes"]

UNIX_SCHEME = "unix://"
RELOAD_DEADLINE_S = 20.0
RELOAD_POLL_S = 0.2
VALIDATE_TIMEOUT_S = 30
CREDENTIALS = struct.Struct("3i")
WHY = "the isolation tier 'gvisor' runs executions under runsc"


@dataclass(frozen=True)
class Engine:
    """The engine that answers, as this module needs it; tests give another one.

    Attributes:
        address: Where it answers.
        process: Its process number, None where it is not a daemon of this machine.
        config: The configuration that it reads.
        runtimes: Asks it for its runtimes.
        reload: Tells it to read its configuration again.
    """

    address: str
    process: int | None
    config: Path
    runtimes: Callable[[], Mapping[str, RegisteredRuntime]]
    reload: Callable[[], None]

    @classmethod
    def at(cls, address: str, host: Host) -> "Engine":
        """Return the engine at an address."""
        process = _find_process(address, host)
        return cls(
            address=address,
            process=process,
            config=host.engine_config if process is None else _config_of(process, host.engine_config),
            runtimes=lambda: registered_runtimes(address),
            # dockerd(8): SIGHUP reloads the configuration; containers go on.
            reload=lambda: None if process is None else os.kill(process, signal.SIGHUP),
        )


def registered_runtimes(address: str) -> Mapping[str, RegisteredRuntime]:
    """Return the runtimes that the engine knows.

    Raises:
        SetupError: engine_unreachable or engine_failed.
    """
    with opened_engine(address) as client:
        return read_runtimes(client.info(), find_program)


def is_registered(tier: GvisorTier, runtimes: Mapping[str, RegisteredRuntime]) -> bool:
    """Tell whether executions would be taken in this tier."""
    try:
        require_registered(tier, runtimes)
    except Refusal:
        return False
    return True


def ensure_gvisor(home: Path, host: Host, engine: Engine, progress: Progress, *, consent: bool) -> None:
    """Install runsc and register it, each where it is missing.

    Args:
        home: WEOS_HOME; a configuration within it is set-up's own.
        host: the machine.
        engine: the engine that is to have the tier.
        progress: where it is told.
        consent: whether a configuration that is not set-up's own may be changed.

    Raises:
        SetupError: gvisor_missing, consent_needed, engine_config_unsound, or what the engine's questions raise.
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
    if is_registered(gvisor_tier(), engine.runtimes()):
        progress.unchanged("isolation tier gvisor")
        return
    _register(home, host, engine, gvisor_runtime(program), progress, consent=consent)


def _register(home: Path, host: Host, engine: Engine, wanted: Runtime, progress: Progress, *, consent: bool) -> None:
    by_hand = (
        f'let it know a runtime "{wanted.name}" with path "{wanted.program}" and '
        f"runtimeArgs {' '.join(wanted.arguments)}"
    )
    if engine.process is None:
        message = f"the engine at {engine.address} is not a dockerd of this machine; {by_hand}"
        raise SetupError("gvisor_missing", message)
    is_own = engine.config.is_relative_to(home)
    if host.user_id != 0:
        message = f"changing {engine.config} needs root: sudo make gvisor YES=1; or {by_hand}"
        raise SetupError("gvisor_missing", message)
    old = engine.config.read_text(encoding="utf-8") if engine.config.exists() else None
    new = add_runtime(old, wanted, engine.config)
    change = describe_change(old, new, engine.config)
    if not (consent or is_own):
        message = (
            f"the container engine at {engine.address} was here before, so its configuration is changed only if you "
            f"say so. This would change, and it would read it again without stopping a container:\n{change}\n"
            "To have it changed: make gvisor YES=1"
        )
        raise SetupError("consent_needed", message)
    with progress.step("Registering runsc with the container engine", WHY) as step:
        for line in change.splitlines():
            step.note(line)
        _validate(host, new, home)
        kept = replace_config(engine.config, new)
        if kept is not None:
            step.note(f"what was there is kept in {kept}")
        engine.reload()
        if not _comes_to_know(engine):
            _take_back(engine, kept)
            message = (
                f"the engine at {engine.address} read {engine.config} and does not know '{wanted.name}', so it has its "
                "former configuration again; its log says why (journalctl -u docker)"
            )
            raise SetupError("gvisor_missing", message)


def _validate(host: Host, text: str, home: Path) -> None:
    # dockerd has --validate from version 23 on; before, a configuration that it cannot read leaves the one in force.
    helped: list[str] = []
    host.run(
        ("dockerd", "--help"),
        timeout_s=VALIDATE_TIMEOUT_S,
        code="gvisor_missing",
        purpose="see what dockerd can do",
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


def _comes_to_know(engine: Engine) -> bool:
    deadline_s = time.monotonic() + RELOAD_DEADLINE_S
    while not is_registered(gvisor_tier(), engine.runtimes()):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(RELOAD_POLL_S)
    return True


def _take_back(engine: Engine, kept: Path | None) -> None:
    if kept is None:
        engine.config.unlink()
    else:
        kept.replace(engine.config)
    engine.reload()


def _find_process(address: str, host: Host) -> int | None:
    if not address.startswith(UNIX_SCHEME):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address.removeprefix(UNIX_SCHEME))
        except OSError:
            return None
        # unix(7): whoever called listen, which is systemd where it made the socket.
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
        purpose="find the engine's process",
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
