"""An abort has an exit status of its own, on every thread."""

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[3] / "runtime-image"
WAIT_S = 60
HERE = "os.abort()"
ON_ANOTHER_THREAD = "_thread.start_new_thread(os.abort, ()); _thread.allocate_lock().acquire() or time.sleep(60)"


@pytest.mark.parametrize("how", [HERE, ON_ANOTHER_THREAD])
def test_an_abort_ends_the_process_with_the_number_of_its_signal(how: str) -> None:
    program = (
        f"import _thread, os, sys, time; sys.path.insert(0, {str(RUNNER)!r})\n"
        f"from runner.ending import exit_on_abort\nexit_on_abort()\n{how}\ntime.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=WAIT_S).returncode == 6
