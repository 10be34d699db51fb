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
def child_supervisor(
    client: EngineClient,
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    start_timeout_s: float = START_TIMEOUT_S,
) -> Iterator[None]:
    """Start a supervisor and stop it at the end.

    Args:
        client: speaks to the home that is served.
        log: file for the supervisor's output.
        environment: of the supervisor; None means ours.
        start_timeout_s: seconds that it gets until it serves.

    Raises:
        EngineError: ``engine_unavailable``, the supervisor ended early, perhaps because another one has the home, or
            did not serve in time. The message says which, and contains what it wrote at the end.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    rotate_log(log)
    with log.open("ab") as sink:
        begin = sink.tell()
        command_line = [sys.executable, "-P", "-m", "supervisor", "serve", "--port", "0"]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
            command_line, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment
        )
    try:
        deadline_s = time.monotonic() + start_timeout_s
        # Another supervisor of this home would answer too, and outlive this block.
        while not client.is_served_by(process.pid):
            status = process.poll()
            if status is not None:
                raise _start_error(f"the supervisor ended with status {status} before it served", log, begin)
            if time.monotonic() > deadline_s:
                what = f"the supervisor did not serve within {start_timeout_s:.0f} s and was ended"
                raise _start_error(f"{what}; start it without a time limit: weos-engine serve", log, begin)
            time.sleep(POLL_S)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _start_error(what: str, log: Path, begin: int) -> EngineError:
    # The log also has what earlier supervisors wrote.
    written = log.read_bytes()[begin:].decode("utf-8", "replace").splitlines()[-LINES_SHOWN:]
    said = "Its last lines:\n  " + "\n  ".join(written) if written else "It wrote nothing."
    return EngineError("engine_unavailable", f"{what}. Its log is {log}. {said}")
