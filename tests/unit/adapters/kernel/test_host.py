"""What is read of the machine: from trees like those that Linux shows."""

import os
import threading
from pathlib import Path

from supervisor.adapters.kernel.host import pinned, read_host_facts
from supervisor.domain.scheduling.topology import Core


def machine(root: Path, siblings: dict[int, str], *, nodes: dict[int, int] | None = None, online: str = "") -> Path:
    """Write a machine with these CPUs, each with the list of its core's."""
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU\nflags\t\t: sse2 avx2\n")
    base = root / "sys" / "devices" / "system" / "cpu"
    for cpu, text in siblings.items():
        (base / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (base / f"cpu{cpu}" / "topology" / "core_cpus_list").write_text(text + "\n")
        (base / f"cpu{cpu}" / f"node{(nodes or {}).get(cpu, 0)}").mkdir()
    if online:
        (base / "online").write_text(online + "\n")
    return root


def test_this_host_is_described() -> None:
    host = read_host_facts()
    assert host.logical_cpus
    assert host.memory_bytes > 2**28


def test_an_unnamed_processor_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("processor : 0\n")
    host = read_host_facts(tmp_path, usable={0, 1})
    assert (host.processor, host.cpu_flags) == ("", frozenset())
    assert host.cores == (Core((0,)), Core((1,)))


def test_siblings_and_nodes_are_read(tmp_path: Path) -> None:
    root = machine(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, nodes={1: 1, 3: 1})
    host = read_host_facts(root, usable={0, 1, 2, 3})
    assert host.cores == (Core((0, 2), node=0), Core((1, 3), node=1))
    assert host.logical_cpus == (0, 1, 2, 3)
    assert (host.processor, host.cpu_flags) == ("Some CPU", frozenset({"sse2", "avx2"}))


def test_siblings_may_be_written_as_a_range(tmp_path: Path) -> None:
    root = machine(tmp_path, {0: "0-1", 1: "0-1"})
    assert read_host_facts(root, usable={0, 1}).cores == (Core((0, 1)),)


def test_the_older_name_of_the_list_is_read(tmp_path: Path) -> None:
    root = machine(tmp_path, {0: "0-1", 1: "0-1"})
    for path in (root / "sys").rglob("core_cpus_list"):
        path.rename(path.with_name("thread_siblings_list"))
    assert read_host_facts(root, usable={0, 1}).cores == (Core((0, 1)),)


def test_a_cpu_that_is_switched_off_is_not_used(tmp_path: Path) -> None:
    root = machine(tmp_path, {0: "0", 1: "1", 2: "2"}, online="0,2")
    assert read_host_facts(root, usable={0, 1, 2}).logical_cpus == (0, 2)


def test_a_core_of_which_a_sibling_is_not_ours_is_not_whole(tmp_path: Path) -> None:
    root = machine(tmp_path, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"})
    assert read_host_facts(root, usable={0, 2, 3}).cores == (Core((0,), is_whole=False), Core((2, 3)))


def test_every_thread_is_pinned_and_those_started_meanwhile_and_all_are_free_again() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    seen: list[set[int]] = []
    go_on = threading.Event()

    def look() -> None:
        go_on.wait()
        seen.append(os.sched_getaffinity(0))

    earlier = threading.Thread(target=look)
    earlier.start()
    with pinned(one):
        later = threading.Thread(target=look)
        later.start()
        assert os.sched_getaffinity(0) == one
        go_on.set()
        earlier.join()
        later.join()
    assert seen == [one, one]
    assert os.sched_getaffinity(0) == before


def test_without_housekeeping_cores_nothing_is_pinned() -> None:
    before = os.sched_getaffinity(0)
    with pinned(()):
        assert os.sched_getaffinity(0) == before
