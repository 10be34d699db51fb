from pathlib import Path

import pytest

from supervisor.adapters.cgroup import find_cpu_counter, read_cpu_time_ns


def lay(root: Path, membership: str, counter: str | None, content: str = "") -> Path:
    (root / "proc" / "7").mkdir(parents=True)
    (root / "proc" / "7" / "cgroup").write_text(membership)
    if counter is not None:
        path = root / "sys" / "fs" / "cgroup" / counter
        path.parent.mkdir(parents=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "counter", "content"),
    [
        ("5:cpuacct:/docker/abc\n4:cpu:/docker/abc\n", "cpuacct/docker/abc/cpuacct.usage", "123000\n"),
        ("4:cpu,cpuacct:/docker/abc\n", "cpu,cpuacct/docker/abc/cpuacct.usage", "123000\n"),
        ("4:cpu,cpuacct:/docker/abc\n", "cpuacct/docker/abc/cpuacct.usage", "123000\n"),
        (
            "0::/system.slice/docker-abc.scope\n",
            "system.slice/docker-abc.scope/cpu.stat",
            "usage_usec 123\nuser_usec 1\n",
        ),
    ],
)
def test_both_versions_are_read(tmp_path: Path, membership: str, counter: str, content: str) -> None:
    found = find_cpu_counter(7, root=lay(tmp_path, membership, counter, content))
    assert found is not None
    assert read_cpu_time_ns(found) == 123_000


@pytest.mark.parametrize("membership", ["5:cpuacct:/docker/abc\n", "0::/x\n", "3:pids:/x\n", ""])
def test_what_is_not_there_is_not_found(tmp_path: Path, membership: str) -> None:
    assert find_cpu_counter(7, root=lay(tmp_path, membership, None)) is None


def test_a_process_that_has_gone_has_no_counter(tmp_path: Path) -> None:
    assert find_cpu_counter(7, root=tmp_path) is None


@pytest.mark.parametrize(
    ("name", "content"), [("cpuacct.usage", "x"), ("cpu.stat", "user_usec 1\n"), ("cpu.stat", None)]
)
def test_a_counter_that_cannot_be_read_is_none_never_zero(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert read_cpu_time_ns(tmp_path / name) is None
