"""The attacker's program and task that are sent into the container, and the answers that come back."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from supervisor.domain.errors import EngineError
from supervisor.domain.policies.system_calls import NUMBERS, WALKED
from supervisor.domain.sandbox.hardening import model_path
from supervisor.escape.attack import Attack
from supervisor.escape.cell import PYTHON, Cell, Ended

__all__ = ["Numbered", "observe"]

# `one`: under the container's rules alone. `two`: with the image's own second lock. `answering`: the same filter
# program, except that it answers where the real one ends the process, so that one process can try every call.
Lock = Literal["one", "two", "answering"]
INSIDE = Path(__file__).resolve().parent / "inside"
MODULES = ("tools", "bombs", "sights", "walk", "driver")
PACKAGE = "supervisor.escape.inside"
UNFILTERED = ["unfiltered"]


@dataclass(frozen=True, slots=True)
class Numbered:
    """An attack and its place in the report."""

    index: int
    attack: Attack


def build_script(
    cell: Cell, image_environment: Sequence[str], attempts: Iterable[Numbered], lock: Lock, *, load_model: bool = False
) -> str:
    """Return the program for the image's interpreter.

    Args:
        cell: the cell to run in.
        image_environment: variables that the image itself sets, as NAME=VALUE.
        attempts: the attempts, in order.
        lock: the lock under which they are tried.
        load_model: whether the runner's own code loads the model before the second lock.
    """
    sandbox = cell.policies.sandbox
    hostname = f"HOSTNAME={sandbox.hostname}"
    task = {
        "facts": {
            "numbers": NUMBERS,
            "model": model_path(sandbox),
            "program": PYTHON[0],
            "environment": [*cell.config()["Env"], *image_environment, hostname],
            "masked": sandbox.paths.masked,
            "threads_tried": 2 * sandbox.isolation.hardened.pids_max,
            "memory_bytes": cell.plan.limits.memory_bytes,
            "descriptors_max": sandbox.ulimits.nofile,
            "hostname": sandbox.hostname,
            "user": sandbox.user,
            "walked": list(WALKED),
        },
        "lock": lock,
        "load_model": load_model,
        "attempts": [(each.index, each.attack.code, each.attack.before) for each in attempts],
    }
    sources = {f"{PACKAGE}.{name}": (INSIDE / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    return (
        "import json, sys, types\n"
        f"for name, source in json.loads({json.dumps(sources)!r}).items():\n"
        "    module = sys.modules[name] = types.ModuleType(name)\n"
        "    exec(compile(source, name, 'exec'), module.__dict__)\n"
        f"sys.modules['{PACKAGE}.driver'].main(json.loads({json.dumps(task)!r}))\n"
    )


def observe(
    cell: Cell, image_environment: Sequence[str], batch: Sequence[Numbered], lock: Lock, *, load_model: bool = False
) -> dict[int, str]:
    """Try attacks one after the other and return every answer; after an attack that ends its container, use a new one.

    Raises:
        EngineError: ``escape_failed`` if the attacker's program did not reach its first attack, or found no filter and
            therefore attacked nothing.
    """
    observed: dict[int, str] = {}
    remaining = list(batch)
    while remaining:
        ended = cell.run(build_script(cell, image_environment, remaining, lock, load_model=load_model))
        tried, answers = _parse(ended)
        observed |= answers
        remaining = [each for each in remaining if each.index not in answers]
        if not tried:
            raise _failed(ended)
        if remaining and remaining[0].index in tried:
            observed[remaining.pop(0).index] = ended.reason
    return observed


def _parse(ended: Ended) -> tuple[set[int], dict[int, str]]:
    # An attack may have left an incomplete line.
    lines: list[Any] = []
    for line in ended.output.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    if UNFILTERED in lines:
        detail = "the containers run without the filter of policies/seccomp.json, or as root; nothing was attacked"
        raise EngineError("escape_failed", detail)
    return {line[0] for line in lines}, {line[0]: line[1] for line in lines if len(line) > 1}


def _failed(ended: Ended) -> EngineError:
    words = ended.errors.decode("utf-8", "replace").strip().splitlines()
    detail = (
        f"the attacker's program ended before its first attack ({ended.reason}): "
        f"{words[-1] if words else 'no error message'}"
    )
    return EngineError("escape_failed", detail[:500])
