"""Whether this process may look at what other users' processes map."""

from pathlib import Path

import pytest

from supervisor.adapters.kernel.privilege import may_observe


@pytest.mark.parametrize(
    ("capabilities", "may"),
    [
        ("0000000000000000", False),
        ("0000000000080000", True),
        ("000001ffffffffff", True),
        # Every capability but SYS_PTRACE.
        ("000001fffff7ffff", False),
    ],
)
def test_a_user_needs_sys_ptrace(tmp_path: Path, capabilities: str, may: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t{capabilities}\nCapBnd:\t000001ffffffffff\n")
    assert may_observe(status, 1000) is may


def test_root_may_and_who_cannot_be_judged_may_not(tmp_path: Path) -> None:
    assert may_observe(tmp_path / "none", 0)
    assert not may_observe(tmp_path / "none", 1000)
    (tmp_path / "status").write_text("Name:\tx\n")
    assert not may_observe(tmp_path / "status", 1000)
