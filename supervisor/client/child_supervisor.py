"""A supervisor in a child process, started for the length of a block."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from supervisor.adapters.files import rotate_log
from supervisor.client.engine_client import EngineClient
from supervisor.domain.errors import EngineError

__all__ = ["child_supervisor"]

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
POLL_S = 0.05
LINES_SHOWN = 10


@contextmanager
def child_supervisor(client: EngineClient, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Start a supervisor and stop it at the end.

    Args:
        client: speaks to the home that is served.
        log: file for the supervisor's output.
        environment: of the supervisor; None means ours.

    Raises:
        EngineError: ``engine_unavailable``, the supervisor did not start, perhaps because another one has the home.
            The message contains the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    rotate_log(log)
    with log.open("ab") as sink:
        command_line = [sys.executable, "-P", "-m", "supervisor", "serve", "--port", "0"]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
            command_line, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment
        )
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        # Another supervisor of this home would answer too, and outlive this block.
        while not client.is_served_by(process.pid):
            if process.poll() is not None or time.monotonic() > deadline_s:
                tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-LINES_SHOWN:])
                detail = f"the supervisor did not start; the end of {log}:\n  {tail}"
                raise EngineError("engine_unavailable", detail)
            time.sleep(POLL_S)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
