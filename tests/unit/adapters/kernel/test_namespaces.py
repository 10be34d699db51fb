import os
from pathlib import Path

import pytest

from supervisor.adapters.kernel.namespaces import FIRST_NAMESPACES, has_own_namespace

OWN, ANOTHER = "ipc:[4026539999]", "ipc:[4026538888]"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for name, target in (("self", OWN), ("7", ANOTHER), ("8", OWN), ("9", FIRST_NAMESPACES["ipc"])):
        namespaces = tmp_path / "proc" / name / "ns"
        namespaces.mkdir(parents=True)
        (namespaces / "ipc").symlink_to(target)
    return tmp_path


@pytest.mark.parametrize(("pid", "is_own"), [(7, True), (8, False), (9, False), (10, None)])
def test_a_namespace_is_own_where_neither_supervisor_nor_host_has_it(host: Path, pid: int, is_own: bool | None) -> None:
    assert has_own_namespace(pid, "ipc", root=host) is is_own


@pytest.mark.parametrize("kind", sorted(FIRST_NAMESPACES))
def test_this_process_has_none_of_its_own(kind: str) -> None:
    assert has_own_namespace(os.getpid(), kind) is False
