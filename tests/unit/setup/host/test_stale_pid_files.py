from pathlib import Path

import pytest

from supervisor.setup.host.container_engine import remove_stale_pid_files


def lay(root: Path, name: str, number: str, program: str | None) -> Path:
    file = root / "run" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(number)
    if program is not None:
        (root / "proc" / number).mkdir(parents=True)
        (root / "proc" / number / "comm").write_text(program + "\n")
    return file


@pytest.mark.parametrize(
    ("name", "program"), [("docker.pid", "dockerd"), ("docker/containerd/containerd.pid", "containerd")]
)
def test_the_pid_file_of_a_running_engine_stays(tmp_path: Path, name: str, program: str) -> None:
    file = lay(tmp_path, name, "7", program)
    remove_stale_pid_files(tmp_path / "run", tmp_path / "proc")
    assert file.exists()


@pytest.mark.parametrize("name", ["docker.pid", "docker/containerd/containerd.pid"])
@pytest.mark.parametrize("program", [None, "python3"])
def test_the_pid_file_of_a_killed_engine_goes_whoever_has_its_number_now(
    tmp_path: Path, name: str, program: str | None
) -> None:
    file = lay(tmp_path, name, "7", program)
    remove_stale_pid_files(tmp_path / "run", tmp_path / "proc")
    assert not file.exists()


def test_nothing_left_is_nothing_to_do(tmp_path: Path) -> None:
    remove_stale_pid_files(tmp_path / "run", tmp_path / "proc")
    lay(tmp_path, "docker.pid", "words", None)
    remove_stale_pid_files(tmp_path / "run", tmp_path / "proc")
