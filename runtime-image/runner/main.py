"""The entry point: the real descriptors, the build's own file and llama.cpp put together."""

import json
import sys
from pathlib import Path

from runner.channel import EventWriter, LineReader, take_private_stdout
from runner.ending import exit_on_abort
from runner.lockdown import load_program, lock_down
from runner.model import LlamaModel
from runner.protocol import Setup
from runner.session import BuildInfo, LoadedModel, serve

__all__ = ["main"]

STDIN_FD = 0
BUILD_FILE = Path("/opt/weos/build.json")
# sysexits.h EX_SOFTWARE: a fault of this program, for which there is no event.
EXIT_FAULT = 70


def _load_llama(setup: Setup) -> LoadedModel:
    model = LlamaModel(setup)
    model.warm_up()
    return LoadedModel(model, model.model_info(), model.cpu_features())


def main() -> int:
    """Run as the image's entry point; return the exit status."""
    exit_on_abort()
    writer = EventWriter(take_private_stdout())
    try:
        build = json.loads(BUILD_FILE.read_text(encoding="utf-8"))
        info = BuildInfo(build["backend"], build["llama_cpp_version"], build["lockdown_policy"])
        serve(LineReader(STDIN_FD), writer, info, _load_llama, lambda: lock_down(load_program()))
    except Exception as error:  # noqa: BLE001 - the boundary: a traceback's message could hold a prompt
        sys.stderr.write(f"runner fault: {type(error).__name__}\n")
        return EXIT_FAULT
    return 0
