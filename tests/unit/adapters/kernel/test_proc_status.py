from pathlib import Path

import pytest

from supervisor.adapters.kernel.proc_status import read_thread_statuses
from tests.fakes.sandbox_facts import thread_under

STATUS = """Name:\tpython3.11
Uid:\t65532\t65532\t65532\t65532
Gid:\t65532\t65532\t65532\t65532
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t2
Cpus_allowed_list:\t0-1
a line of no form
"""


def add_process(root: Path, pid: int, group: str, *statuses: str) -> None:
    process = root / "proc" / str(pid)
    for number, status in enumerate(statuses):
        thread = process / "task" / str(pid + number)
        thread.mkdir(parents=True)
        (thread / "status").write_text(status)
    process.mkdir(parents=True, exist_ok=True)
    (process / "cgroup").write_text(f"4:cpu:{group}\n0::{group}\n")


def test_every_thread_of_every_process_of_the_container_is_read(tmp_path: Path) -> None:
    add_process(tmp_path, 100, "/c", STATUS, STATUS.replace("Seccomp:\t2", "Seccomp:\t0"))
    add_process(tmp_path, 200, "/c", STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0"))
    add_process(tmp_path, 300, "/other", STATUS)
    (tmp_path / "proc" / "self").mkdir()
    found = read_thread_statuses(100, root=tmp_path)
    assert sorted(found, key=repr) == sorted(
        (thread_under(2), thread_under(2, seccomp_mode=0), thread_under(2, no_new_privileges=False)), key=repr
    )


def test_what_has_gone_is_not_there(tmp_path: Path) -> None:
    assert read_thread_statuses(100, root=tmp_path) == ()
    add_process(tmp_path, 100, "/c")
    assert read_thread_statuses(100, root=tmp_path) == ()
    add_process(tmp_path, 101, "/c", "")
    assert read_thread_statuses(100, root=tmp_path) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [("Seccomp_filters:\t2\n", ""), ("Seccomp:\t2\n", ""), ("Seccomp_filters:\t2", "Seccomp_filters:\tmany")],
)
def test_a_kernel_that_does_not_say_enough_is_told(tmp_path: Path, old: str, new: str) -> None:
    add_process(tmp_path, 100, "/c", STATUS.replace(old, new))
    with pytest.raises(ValueError, match=r"Seccomp|many"):
        read_thread_statuses(100, root=tmp_path)
