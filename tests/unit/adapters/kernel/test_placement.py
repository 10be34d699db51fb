"""Where a container runs and whether it runs, in both versions of control groups."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.adapters.kernel.placement import find_placement, keep_apart, thaw_left_group

V1 = "5:cpuset:/weos/abc\n4:cpu,cpuacct:/weos/abc\n3:freezer:/weos/abc\n"
V1_FILES = ("cpuset/weos/abc/cpuset.cpus", "cpu,cpuacct/weos/abc/cpu.shares", "freezer/weos/abc/freezer.state")
V2_FILES = ("weos/abc/cpuset.cpus", "weos/abc/cpu.weight", "weos/abc/cgroup.freeze")
CASES = [(V1, V1_FILES, ("1024", "2"), ("FROZEN", "THAWED")), ("0::/weos/abc\n", V2_FILES, ("100", "1"), ("1", "0"))]


def lay(root: Path, membership: str, names: tuple[str, ...]) -> list[Path]:
    (root / "proc" / "7").mkdir(parents=True)
    (root / "proc" / "7" / "cgroup").write_text(membership)
    files = [root / "sys" / "fs" / "cgroup" / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    return files


@pytest.mark.parametrize(("membership", "names", "weights", "words"), CASES)
def test_a_group_is_moved_weighed_and_frozen(
    tmp_path: Path, membership: str, names: tuple[str, ...], weights: tuple[str, str], words: tuple[str, str]
) -> None:
    cpus, weight, freezer = lay(tmp_path, membership, names)
    placement = find_placement(7, root=tmp_path)
    assert placement is not None
    placement.place(frozenset({3, 1}), in_background=False)
    assert (cpus.read_text(), weight.read_text()) == ("1,3", weights[0])
    placement.place(frozenset({2}), in_background=True)
    assert (cpus.read_text(), weight.read_text()) == ("2", weights[1])
    placement.freeze()
    assert freezer.read_text() == words[0]
    placement.thaw()
    assert freezer.read_text() == words[1]


@pytest.mark.parametrize("missing", range(3))
@pytest.mark.parametrize(("membership", "names"), [(V1, V1_FILES), ("0::/weos/abc\n", V2_FILES)])
def test_a_group_that_lacks_a_file_cannot_be_placed(
    tmp_path: Path, membership: str, names: tuple[str, ...], missing: int
) -> None:
    lay(tmp_path, membership, names)[missing].unlink()
    assert find_placement(7, root=tmp_path) is None


@pytest.mark.parametrize(("membership", "names", "weights", "words"), CASES)
def test_what_a_killed_supervisor_left_frozen_is_thawed(
    tmp_path: Path, membership: str, names: tuple[str, ...], weights: tuple[str, str], words: tuple[str, str]
) -> None:
    del weights
    freezer = lay(tmp_path, membership, names)[2]
    freezer.write_text(words[0])
    thaw_left_group("other", root=tmp_path)
    assert freezer.read_text() == words[0]
    thaw_left_group("abc", root=tmp_path)
    assert freezer.read_text() == words[1]


THREE_THREADS = """
import sys, threading
for _ in range(2):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process() -> Iterator[int]:
    """A process of three threads."""
    with subprocess.Popen(
        [sys.executable, "-c", THREE_THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
        child.kill()


def allowed(pid: int) -> list[set[int]]:
    return [
        os.sched_getaffinity(task) for task in sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
    ]


def test_each_thread_keeps_to_its_own_core(process: int) -> None:
    usable = tuple(sorted(os.sched_getaffinity(0)))
    cores = (usable[:1], usable, usable[-1:])
    keep_apart(process, cores)
    assert allowed(process) == [set(core) for core in cores]


def test_threads_are_left_alone_where_they_are_not_as_many_as_cores(process: int) -> None:
    before = allowed(process)
    keep_apart(process, (tuple(os.sched_getaffinity(0))[:1],) * 2)
    assert allowed(process) == before


def test_a_process_that_has_ended_cannot_be_spread(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        keep_apart(7, ((0,),), root=tmp_path)
