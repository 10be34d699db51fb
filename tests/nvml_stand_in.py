"""Build the stand-in of NVIDIA's library, and run Python with it on the library path."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

__all__ = ["LEASE", "StandIn", "build_stand_in"]

SOURCE = Path(__file__).with_suffix(".c")
LIBRARY = "libnvidia-ml.so.1"
COMPILE = ("-shared", "-fPIC", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror")
# What a script is told of the one thing that it shall tell: its last line, as JSON.
PREAMBLE = "import json, sys\nfrom pathlib import Path\ndef tell(value): print(json.dumps(value))\n"
# A supervisor's meters on the device, and an execution that wants 200 W; what it keeps lies in the first argument.
LEASE = """
import asyncio, os, signal
from supervisor.adapters.home import Home
from supervisor.power.meter_leases import MeterLeases
from supervisor.power.meters import open_gpu, open_metering
from tests.factories import make_gpu_plan
from tests.fakes.installation import fixed_installation
home, power = Home(Path(sys.argv[1])), fixed_installation().policies.power
gpu = open_gpu(home.calibration, home.gpu_limit, power, ["cpu_avx2", "cuda"])
meters = MeterLeases(lambda: open_metering(home.calibration, power), power, gpu)
def lease(during):
    async def on_card():
        async with meters.metering_for(make_gpu_plan(200)) as metering:
            return during(metering)
    return asyncio.run(on_card())
"""


def build_stand_in(directory: Path) -> Path:
    """Compile it with the compiler that the README asks a new machine to have."""
    if shutil.which("cc") is None:
        pytest.fail("there is no C compiler to build the stand-in library with; run: apt-get install gcc libc6-dev")
    subprocess.run(["cc", *COMPILE, str(SOURCE), "-o", LIBRARY], cwd=directory, check=True, timeout=120)
    return directory


class StandIn:
    """The device as a file, and processes that have it."""

    def __init__(self, library: Path, state: Path) -> None:
        self._library = library
        self.state = state
        self.set(power_mw="150000", limit_mw="300000", range_mw="100000 700000", mig="0")

    def set(self, **values: str | None) -> None:
        """Replace lines of the state by their first word; None removes one."""
        kept = [line for line in self._lines() if line.split()[0] not in values]
        new = [f"{word} {value}" for word, value in values.items() if value is not None]
        self.state.write_text("".join(f"{line}\n" for line in (*kept, *new)))

    def get(self, word: str) -> str | None:
        """Return the values of a line."""
        return next((line.partition(" ")[2] for line in self._lines() if line.split()[0] == word), None)

    def _lines(self) -> list[str]:
        return self.state.read_text().splitlines() if self.state.exists() else []

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that has it."""
        return {**os.environ, "LD_LIBRARY_PATH": str(self._library), "NVML_STAND_IN": str(self.state)}

    def run(self, script: str, *arguments: object, status: int = 0) -> Any:
        """Run a script in a process of its own; what it hands to `tell` last is returned."""
        ran = subprocess.run(
            [sys.executable, "-c", PREAMBLE + script, *map(str, arguments)],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == status, ran.stderr
        return json.loads(ran.stdout.splitlines()[-1]) if ran.stdout else None
