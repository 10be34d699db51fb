"""What the socket of a container engine says: that it listens, that this user may not, or nothing."""

import grp
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.host import container_engine_address
from supervisor.setup.host.container_engine_address import (
    Reach,
    explain_denied,
    is_listening,
    judge_access,
    reach,
    usual_addresses,
)
from supervisor.setup.host.container_engine_api import opened_container_engine
from tests.places import REPOSITORY

PROBE = """
import os, sys
from supervisor.setup.host.container_engine_address import reach
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(*(reach("unix://" + path).value for path in sys.argv[1:]))
"""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


@pytest.fixture
def denied(listening: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A socket that refuses this user; root, whom nothing refuses, is refused by a stand-in for the kernel."""

    def refuse(_: socket.socket, address: str) -> None:
        raise PermissionError(address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return listening


def url(path: Path) -> str:
    return f"unix://{path}"


def test_a_socket_listens_or_is_silent(listening: Path, tmp_path: Path) -> None:
    assert reach(url(listening)) is Reach.LISTENING
    assert is_listening(url(listening))
    assert reach(url(tmp_path / "none.sock")) is Reach.SILENT
    assert reach("tcp://elsewhere:2375") is Reach.LISTENING


def test_another_user_is_denied_and_a_closed_directory_says_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Below a directory that everybody may enter, which pytest's own is not.
    place = Path("/tmp") / f"weos-reach-{os.getpid()}"
    closed = place / "closed"
    closed.mkdir(parents=True)
    place.chmod(0o755)
    closed.chmod(0)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(place / "engine.sock"))
            listener.listen()
            (place / "engine.sock").chmod(0)
            command = [sys.executable, "-c", PROBE, str(place / "engine.sock"), str(closed / "engine.sock")]
            found = subprocess.run(
                command,
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                check=False,
                env={"PYTHONPATH": str(REPOSITORY)},
            )
    finally:
        (place / "engine.sock").unlink()
        closed.rmdir()
        place.rmdir()
    assert found.stdout.split() == ["denied", "silent"], found.stderr


def test_a_user_outside_the_group_is_told_to_join_it(
    denied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group(("docker", "x", 7, [])))
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.struct_group(("docker", "x", 7, ["ana"])))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(("bob", "x", 7, 7, "", "/", "/bin/sh")))
    assert "sudo usermod -aG docker bob, and then: newgrp docker" in explain_denied(url(denied))
    assert "usermod" in judge_access({"DOCKER_HOST": url(denied)}, 7)
    with pytest.raises(SetupError, match="usermod") as caught, opened_container_engine(url(denied)):
        pytest.fail("it was let in")
    assert caught.value.code == "engine_forbidden"


def test_a_membership_newer_than_the_login_is_told(denied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group(("docker", "x", 7, [])))
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.struct_group(("docker", "x", 7, ["ana"])))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(("ana", "x", 7, 7, "", "/", "/bin/sh")))
    told = explain_denied(url(denied))
    assert told.endswith("Run: newgrp docker")
    assert "usermod" not in told


def test_a_socket_that_is_roots_alone_is_told(denied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group(("root", "x", 0, [])))
    assert "root's alone" in explain_denied(url(denied))


def test_users_and_groups_without_a_name_are_told_by_what_there_is(
    denied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: object) -> None:
        raise KeyError

    for module, name in ((grp, "getgrgid"), (grp, "getgrnam"), (pwd, "getpwuid")):
        monkeypatch.setattr(module, name, unknown)
    assert f"usermod -aG {denied.stat().st_gid} $USER" in explain_denied(url(denied))


def test_the_users_own_container_engines_come_before_roots_podman() -> None:
    assert usual_addresses({"XDG_RUNTIME_DIR": "/run/user/7"}) == (
        "unix:///var/run/docker.sock",
        "unix:///run/user/7/docker.sock",
        "unix:///run/user/7/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    )
    assert usual_addresses({}) == ("unix:///var/run/docker.sock", "unix:///run/podman/podman.sock")


def test_root_may_install_and_a_listening_engine_is_enough(listening: Path) -> None:
    assert judge_access({"DOCKER_HOST": "unix:///nowhere.sock"}, 0) == ""
    assert judge_access({"DOCKER_HOST": url(listening)}, 7) == ""


def test_who_has_neither_root_nor_a_container_engine_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_engine_address, "DOCKER_SOCKET", tmp_path / "docker.sock")
    monkeypatch.setattr(container_engine_address, "PODMAN_SOCKET", tmp_path / "podman.sock")
    assert "no container engine answers here, and this user is not root" in judge_access({}, 7)
    named = judge_access({"DOCKER_HOST": "unix:///nowhere.sock"}, 7)
    assert "at unix:///nowhere.sock, which DOCKER_HOST names" in named
    assert named.count("\n") == 0
    assert "Unset DOCKER_HOST, or run as root" in judge_access({"DOCKER_HOST": "tcp://elsewhere:2375"}, 7)


def test_it_is_said_before_anything_is_installed() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import os, runpy; os.geteuid = lambda: 65534; "
        "runpy.run_module('supervisor.setup.host.container_engine_address', run_name='__main__')"
    )
    told = subprocess.run(
        # Without what is installed: this comes before the virtual environment.
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"DOCKER_HOST": "unix:///nowhere.sock"},
    )
    assert told.returncode == 1
    assert told.stderr.startswith("Set-up stopped: no container engine answers at unix:///nowhere.sock")
    assert len(told.stderr.splitlines()) == 1
