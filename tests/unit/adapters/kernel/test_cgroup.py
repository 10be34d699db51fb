from pathlib import Path

import pytest

from supervisor.adapters.kernel.cgroup import (
    UNLIMITED,
    CpuQuota,
    GroupLimits,
    find_cpu_counter,
    find_cpu_quota,
    is_in_container,
    judge_quotas,
    prepare_parent,
    read_cpu_time_ns,
    read_limits,
    remove_left_groups,
)


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


VERSION_1 = {
    "memory/weos/1/memory.limit_in_bytes": "1073741824\n",
    "memory/weos/1/memory.memsw.limit_in_bytes": "1073741824\n",
    "pids/weos/1/pids.max": "64\n",
    "cpu/weos/1/cpu.cfs_quota_us": "150000\n",
    "cpu/weos/1/cpu.cfs_period_us": "100000\n",
}
VERSION_2 = {
    "weos/1/memory.max": "1073741824\n",
    "weos/1/memory.swap.max": "0\n",
    "weos/1/pids.max": "64\n",
    "weos/1/cpu.max": "150000 100000\n",
}
MEMBER_1 = "9:name=systemd:/weos/1\n4:memory:/weos/1\n3:pids:/weos/1\n2:cpu:/weos/1\n0::/weos/1\n"
MEMBER_2 = "0::/weos/1\n"


def limits_in(root: Path, membership: str, files: dict[str, str]) -> GroupLimits:
    lay(root, membership, None)
    for name, content in files.items():
        path = root / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return read_limits(7, root=root)


@pytest.mark.parametrize(("membership", "files"), [(MEMBER_1, VERSION_1), (MEMBER_2, VERSION_2)], ids=["v1", "v2"])
def test_limits_of_both_versions_are_read(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    found = limits_in(tmp_path, membership, files)
    assert found == GroupLimits("/weos/1", 2**30, 2**30, 64, 1_500_000_000)


@pytest.mark.parametrize("up", ["/..", "/../..", "/../../.."])
@pytest.mark.parametrize(("membership", "files"), [(MEMBER_1, VERSION_1), (MEMBER_2, VERSION_2)], ids=["v1", "v2"])
def test_a_namespace_of_the_supervisors_own_hides_no_group(
    tmp_path: Path, membership: str, files: dict[str, str], up: str
) -> None:
    found = limits_in(tmp_path, membership.replace(":/weos", f":{up}/weos"), files)
    assert found == GroupLimits("/weos/1", 2**30, 2**30, 64, 1_500_000_000)


def test_a_group_beside_the_supervisors_own_is_not_taken_for_one_of_the_top(tmp_path: Path) -> None:
    files = {f"system.slice/docker-1.scope/{name.split('/')[-1]}": text for name, text in VERSION_2.items()}
    found = limits_in(tmp_path, "0::/../docker-1.scope\n", files)
    assert found == GroupLimits("/docker-1.scope", None, None, None, None)


def test_the_top_itself_is_a_path(tmp_path: Path) -> None:
    assert limits_in(tmp_path, "0::/..\n", {}).path == "/"


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        (MEMBER_1, VERSION_1 | {"cpu/weos/1/cpu.cfs_quota_us": "-1\n", "pids/weos/1/pids.max": "max\n"}),
        (MEMBER_2, VERSION_2 | {"weos/1/cpu.max": "max 100000\n", "weos/1/pids.max": "max\n"}),
    ],
)
def test_no_limit_is_not_a_small_one(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    found = limits_in(tmp_path, membership, files)
    assert (found.pids_max, found.cpu_quota_nano) == (UNLIMITED, UNLIMITED)


@pytest.mark.parametrize("text", ["", "a b\n", "1\n"])
def test_a_quota_that_is_not_understood_is_none(tmp_path: Path, text: str) -> None:
    assert limits_in(tmp_path, MEMBER_2, VERSION_2 | {"weos/1/cpu.max": text}).cpu_quota_nano is None


def test_limits_that_are_not_there_are_none(tmp_path: Path) -> None:
    assert limits_in(tmp_path, MEMBER_1, {}) == GroupLimits("/weos/1", None, None, None, None)
    assert read_limits(8, root=tmp_path) == GroupLimits(None, None, None, None, None)
    (tmp_path / "sys/fs/cgroup/memory/weos/1").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory/weos/1/memory.limit_in_bytes").write_text("much\n")
    assert read_limits(7, root=tmp_path).memory_bytes is None


def test_a_parent_group_gets_the_cpus_above_it_where_it_has_none(tmp_path: Path) -> None:
    above = tmp_path / "sys" / "fs" / "cgroup" / "cpuset"
    parent, inner = above / "weos", above / "weos" / "inner"
    inner.mkdir(parents=True)
    for group, cpus, nodes in ((above, "0-3\n", "0\n"), (parent, "\n", "\n"), (inner, "1\n", "\n")):
        (group / "cpuset.cpus").write_text(cpus)
        (group / "cpuset.mems").write_text(nodes)
    prepare_parent("/weos/inner", root=tmp_path)
    assert (parent / "cpuset.cpus").read_text() == "0-3\n"
    assert (inner / "cpuset.cpus").read_text() == "1\n"
    assert (parent / "cpuset.mems").read_text() == (inner / "cpuset.mems").read_text() == "0\n"


def test_a_parent_group_that_is_not_there_is_made(tmp_path: Path) -> None:
    above = tmp_path / "sys" / "fs" / "cgroup" / "cpuset"
    above.mkdir(parents=True)
    (above / "cpuset.cpus").write_text("0\n")
    # A kernel fills a new group with its files; here nothing does, and that is left to the engine.
    prepare_parent("/weos", root=tmp_path)
    assert (above / "weos").is_dir()


def test_version_2_needs_no_preparation(tmp_path: Path) -> None:
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    prepare_parent("/weos", root=tmp_path)
    assert list((tmp_path / "sys" / "fs" / "cgroup").iterdir()) == []


@pytest.mark.parametrize(
    "place",
    ["memory/weos/abc", "weos/abc", "memory/weos/libpod-abc", "weos.slice/docker-abc.scope"],
    ids=["v1", "v2", "podman", "systemd"],
)
def test_a_group_that_was_left_is_removed_and_one_in_use_stays(tmp_path: Path, place: str) -> None:
    mount = tmp_path / "sys" / "fs" / "cgroup"
    group, other = mount / place, (mount / place).with_name("def")
    group.mkdir(parents=True)
    other.mkdir()
    remove_left_groups("abc", root=tmp_path)
    assert (group.exists(), other.exists()) == (False, True)
    (other / "child").mkdir()
    remove_left_groups("def", root=tmp_path)
    assert other.exists()
    remove_left_groups("ghi", root=tmp_path)


@pytest.mark.parametrize(
    ("membership", "file", "before", "stat", "set_to", "held_back"),
    [
        ("4:cpu:/weos/abc\n", "cpu/weos/abc/cpu.cfs_quota_us", "200000\n", "throttled_time 77\n", "10000", (77, 3)),
        ("0::/weos/abc\n", "weos/abc/cpu.max", "200000 100000\n", "throttled_usec 77\n", "10000 20000", (77_000, 3)),
    ],
)
def test_cpu_time_is_set_and_what_was_held_back_is_read(
    tmp_path: Path, membership: str, file: str, before: str, stat: str, set_to: str, held_back: tuple[int, int]
) -> None:
    root = lay(tmp_path, membership, file, before)
    setting = root / "sys" / "fs" / "cgroup" / file
    setting.with_name("cpu.cfs_period_us").write_text("100000\n")
    setting.with_name("cpu.stat").write_text(f"nr_periods 9\nnr_throttled 3\n{stat}")
    quota = find_cpu_quota(7, root=root)
    assert quota is not None
    quota.set(500_000_000, 20_000)
    assert setting.read_text() == set_to
    assert setting.name == "cpu.max" or setting.with_name("cpu.cfs_period_us").read_text() == "20000"
    assert quota.read_throttling() == held_back
    quota.set(1, 20_000)
    assert setting.read_text().split()[0] == "1000"


@pytest.mark.parametrize("stat", ["nr_periods 9\n", "nr_throttled x\n", None])
def test_what_was_held_back_is_unknown_never_zero(tmp_path: Path, stat: str | None) -> None:
    if stat is not None:
        (tmp_path / "cpu.stat").write_text(stat)
    assert CpuQuota(tmp_path / "cpu.max").read_throttling() is None


def test_without_a_quota_to_be_seen_there_is_none(tmp_path: Path) -> None:
    assert find_cpu_quota(7, root=tmp_path) is None


@pytest.mark.parametrize("place", ["cpu", "cpu,cpuacct", "."])
def test_groups_that_can_be_written_can_be_governed(tmp_path: Path, place: str) -> None:
    (tmp_path / "sys" / "fs" / "cgroup" / place).mkdir(parents=True)
    assert judge_quotas(root=tmp_path) is None


def test_without_control_groups_nothing_can_be_governed(tmp_path: Path) -> None:
    assert "no control groups" in (judge_quotas(root=tmp_path) or "")


def test_groups_that_may_not_be_written_cannot_be_governed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A read-only file system, as a container has it: not even root may write there.
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    monkeypatch.setattr("supervisor.adapters.kernel.cgroup.os.access", lambda _path, _mode, **_options: False)
    assert "may not be written" in (judge_quotas(root=tmp_path) or "")


CONTAINER = "c" * 64


@pytest.mark.parametrize(
    ("membership", "is_in"),
    [
        (f"4:cpuacct,cpu:/weos/{CONTAINER}\n0::/\n", True),
        (f"0::/system.slice/docker-{CONTAINER}.scope/inner\n", True),
        (f"0::/../{CONTAINER}\n", True),
        ("0::/weos/" + "d" * 64 + "\n", False),
        ("", False),
    ],
)
def test_a_process_is_in_the_container_that_its_groups_are_named_after(
    tmp_path: Path, membership: str, is_in: bool
) -> None:
    root = lay(tmp_path, membership, None)
    assert is_in_container(7, CONTAINER, root=root) is is_in
    assert not is_in_container(7, None, root=root)
    assert not is_in_container(8, CONTAINER, root=root)
