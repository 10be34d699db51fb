"""A container's first process is held, ended, and never mistaken for another."""

import os
import subprocess
import sys
from pathlib import Path

from supervisor.adapters.kernel.first_process import FirstProcess

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def lay_groups(root: Path, pid: int, groups: str) -> Path:
    (root / "proc" / str(pid)).mkdir(parents=True)
    (root / "proc" / str(pid) / "cgroup").write_text(groups)
    return root


def begin(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command)


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_it_is_ended_and_its_end_is_seen(tmp_path: Path) -> None:
    with begin(*SLEEPER) as process:
        held = FirstProcess.of(process.pid, "abc", root=lay_groups(tmp_path, process.pid, "1:pids:/weos/abc\n"))
        assert held is not None
        held.kill()
        assert await held.wait_ended(60)
        process.wait()


async def test_one_that_does_not_end_is_told_so(tmp_path: Path) -> None:
    with begin(*SLEEPER) as process:
        held = FirstProcess.of(process.pid, "abc", root=lay_groups(tmp_path, process.pid, "1:pids:/weos/abc\n"))
        assert held is not None
        assert not await held.wait_ended(0.01)
        process.kill()


async def test_one_that_has_ended_can_be_ended_again(tmp_path: Path) -> None:
    with begin(sys.executable, "-c", "") as process:
        held = FirstProcess.of(process.pid, "abc", root=lay_groups(tmp_path, process.pid, "1:pids:/weos/abc\n"))
        process.wait()
    assert held is not None
    held.kill()
    assert await held.wait_ended(60)


def test_a_number_that_is_another_process_by_now_is_not_held(tmp_path: Path) -> None:
    before = count_descriptors()
    assert FirstProcess.of(os.getpid(), "abc", root=lay_groups(tmp_path, os.getpid(), "1:pids:/user\n")) is None
    assert FirstProcess.of(os.getpid(), "abc", root=tmp_path / "none") is None
    assert FirstProcess.of(2**22 + 1, "abc", root=tmp_path) is None
    assert count_descriptors() == before
