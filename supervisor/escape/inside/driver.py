"""The program that runs in the container instead of the runner: checks the filter, attacks, and writes the answers."""

import errno
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.escape.inside.bombs import Bombs
from supervisor.escape.inside.sights import Sights
from supervisor.escape.inside.tools import Tools
from supervisor.escape.inside.walk import Walk

__all__ = ["main"]

LIBRARY = "/opt/weos/lib"
# linux/seccomp.h and linux/bpf_common.h: the return instruction, the actions that end a process, and an error answer.
RETURN = 0x06
ENDS = {0x80000000, 0x00030000}  # SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP
ANSWER = 0x00050000 | errno.EXFULL
INSTRUCTION = "<HBBI"
EXIT_UNFILTERED = 71


def _say(*values: object) -> None:
    os.write(1, json.dumps(values).encode("ascii") + b"\n")


def _require_filter() -> None:
    # Without the filter some attacks leave processes and message queues behind on the host.
    status = Path("/proc/self/status").read_text()
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    capable = int(values["CapEff"], 16)
    if values.get("Seccomp", "").strip() != "2" or capable or "0" in values["Uid"].split():
        _say("unfiltered")
        os._exit(EXIT_UNFILTERED)


def _answering(program: bytes) -> bytes:
    """Return the same filter program, changed to answer EXFULL where the real one ends the process.

    One process can then try every call. No call of the kernel gives this error.
    """
    steps = list(struct.iter_unpack(INSTRUCTION, program))
    replaced = [
        (code, yes, no, ANSWER if code == RETURN and operand in ENDS else operand) for code, yes, no, operand in steps
    ]
    if replaced == steps:
        message = "the image's second lock ends nothing"
        raise ValueError(message)
    return b"".join(struct.pack(INSTRUCTION, *step) for step in replaced)


def _load_model(path: str) -> None:
    # Loads it as the runner does, so that the second lock covers the same threads and mappings as in an execution.
    from runner.main import _load_llama  # noqa: PLC0415 - the image's own, and only needed here
    from runner.protocol import Setup  # noqa: PLC0415

    _load_llama(Setup(path, 512, 2, 512, True))


def _lock_for(mode: str) -> Callable[[], None]:
    if mode == "one":
        return lambda: None
    from runner.lockdown import load_program, lock_down  # noqa: PLC0415 - the image's own

    program = load_program()
    if mode == "answering":
        program = _answering(program)
    return lambda: lock_down(program)


def _attempt(code: str, names: dict[str, Any]) -> str:
    try:
        return str(eval(code, names))  # noqa: S307 - rows of the suite's own tables
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "OSError")
    except Exception as error:  # noqa: BLE001 - any other error means that the attempt was not allowed
        return type(error).__name__


def main(task: dict[str, Any]) -> None:
    """Try the attempts of a task one after the other, under the lock that it names."""
    # First, before this program opens anything. The descriptor of the listing itself is closed when it is checked.
    listed = os.listdir("/proc/self/fd")  # noqa: PTH208 - names, not paths
    descriptors = [name for name in listed if os.path.lexists(f"/proc/self/fd/{name}")]
    _require_filter()
    sys.path.insert(0, LIBRARY)
    facts: dict[str, Any] = task["facts"]
    tools = Tools(facts)
    names: dict[str, Any] = {}
    for part in (tools, Sights(facts, descriptors, tools), Bombs(facts), Walk(facts, tools)):
        names |= {name: getattr(part, name) for name in dir(part) if not name.startswith("_")}
    if task["load_model"]:
        _load_model(facts["model"])
    lock = _lock_for(task["lock"])
    prepared = [eval(before, names) for _, _, before in task["attempts"]]  # noqa: S307 - see above
    lock()
    for (index, code, _), value in zip(task["attempts"], prepared, strict=True):
        _say(index)
        names |= {"prepared": value, "answer_line": f"import os; os.write(1, b'[{index}, \"allowed\"]\\n')"}
        _say(index, _attempt(code, names))
    # Threads of an attack may still be waiting.
    os._exit(0)
