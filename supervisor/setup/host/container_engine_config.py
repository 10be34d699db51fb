"""The container engine's configuration: add a runtime, describe the change, write it safely."""

import difflib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.adapters.files import PUBLIC, replaced, write_public
from supervisor.adapters.installation.backends import default_source_root
from supervisor.adapters.policies import load_policies
from supervisor.domain.errors import SetupError
from supervisor.domain.policies.policy import GvisorTier

__all__ = [
    "Runtime",
    "add_runtime",
    "describe_change",
    "gvisor_runtime",
    "gvisor_tier",
    "replace_config",
    "write_own_config",
]

# Where Debian's package puts it; the container engine accepts the name before the program exists.
RUNSC = "/usr/bin/runsc"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime as the container engine's configuration names it."""

    name: str
    program: str
    arguments: tuple[str, ...]


def gvisor_tier() -> GvisorTier:
    """Return what policies/sandbox.toml says of the tier `gvisor`."""
    return load_policies(default_source_root() / "policies").sandbox.isolation.gvisor


def gvisor_runtime(program: str | None = None) -> Runtime:
    """Return the runtime of the tier `gvisor`: name and arguments as policies/sandbox.toml has them."""
    tier = gvisor_tier()
    return Runtime(tier.runtime, program or RUNSC, tier.arguments)


def add_runtime(text: str | None, runtime: Runtime, where: Path) -> str:
    """Return the text of a configuration with this runtime; everything else in it stays as it is.

    Args:
        text: the configuration there is, None where there is none.
        runtime: what to add, or to put in the place of another of its name.
        where: the file, for a person.

    Raises:
        SetupError: engine_config_unsound.
    """
    try:
        config: Any = json.loads(text) if text and text.strip() else {}
    except ValueError as error:
        raise SetupError("engine_config_unsound", f"{where} is not JSON ({error}); correct it first") from error
    if not isinstance(config, dict) or not isinstance(config.get("runtimes", {}), dict):
        message = f"{where} is not a configuration of a container engine; correct it first"
        raise SetupError("engine_config_unsound", message)
    wanted = {"path": runtime.program, "runtimeArgs": list(runtime.arguments)}
    runtimes = config.get("runtimes", {}) | {runtime.name: wanted}
    return json.dumps(config | {"runtimes": runtimes}, indent=4) + "\n"


def describe_change(old: str | None, new: str, where: Path) -> str:
    """Return the difference, line by line."""
    before = (old or "").splitlines()
    lines = difflib.unified_diff(before, new.splitlines(), f"{where} (now)", f"{where} (then)", lineterm="")
    return "\n".join(lines)


def replace_config(path: Path, text: str) -> Path | None:
    """Put a configuration in place in one step; return where the one before is kept, None where there was none."""
    kept: Path | None = None
    mode = PUBLIC
    if path.exists():
        mode = path.stat().st_mode & 0o777
        kept = path.with_name(f"{path.name}.before-weos-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        with replaced(kept, mode) as copy:
            copy.write_bytes(path.read_bytes())
    with replaced(path, mode) as fresh:
        fresh.write_text(text, encoding="utf-8")
    return kept


def write_own_config(home: Path, machine_config: Path) -> Path:
    """Write the configuration for a container engine that set-up starts: the machine's own, and the tier `gvisor`.

    Raises:
        SetupError: engine_config_unsound.
    """
    text = machine_config.read_text(encoding="utf-8") if machine_config.exists() else None
    own = home / "engine" / "daemon.json"
    write_public(own, add_runtime(text, gvisor_runtime(), machine_config).encode("utf-8"))
    return own
