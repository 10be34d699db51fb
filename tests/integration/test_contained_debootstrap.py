"""A program of the host's makes a root filesystem as root in a container, for a user who is not root."""

import tarfile
from pathlib import Path

import docker
import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_api import opened_container_engine
from supervisor.setup.images.contained_debootstrap import bootstrap_in_container

pytestmark = pytest.mark.docker
# Stands for debootstrap, which takes minutes: it is root, mounts and makes devices. The last argument is the target.
MAKE_ROOT = """
echo "I: as $(id -u)"
mkdir -p "$0/etc" "$0/dev" "$0/proc"
mount -t proc proc "$0/proc" && umount "$0/proc"
mknod "$0/dev/null" c 1 3
echo 12.15 > "$0/etc/debian_version"; echo here > "$0/etc/hostname"
cat > /dev/null < /etc/passwd
! touch /etc/weos-was-here 2> /dev/null
"""
DEADLINE_S = 60


def test_the_archive_has_what_root_made_without_what_is_left_out(tmp_path: Path, docker_host: str) -> None:
    lines: list[str] = []
    with opened_container_engine(docker_host) as client:
        bootstrap_in_container(
            client,
            ("/bin/sh", "-ec", MAKE_ROOT),
            tmp_path / "root.tar",
            left_out=("./dev/*", "./etc/hostname"),
            deadline_s=DEADLINE_S,
            on_line=lines.append,
        )
    with tarfile.open(tmp_path / "root.tar") as archive:
        names = set(archive.getnames())
        version = archive.extractfile("./etc/debian_version")
        assert version is not None
        assert version.read() == b"12.15\n"
    assert lines == ["I: as 0"]
    assert {"./dev", "./proc", "./etc/debian_version"} <= names
    assert not {"./dev/null", "./etc/hostname"} & names


def test_a_failure_shows_the_last_lines_and_leaves_no_container(
    tmp_path: Path, docker_host: str, engine_client: docker.DockerClient
) -> None:
    def bootstrap() -> None:
        with opened_container_engine(docker_host) as client:
            bootstrap_in_container(
                client,
                ("/bin/sh", "-c", "echo no mirror; exit 3"),
                tmp_path / "root.tar",
                left_out=(),
                deadline_s=DEADLINE_S,
                on_line=lambda _: None,
            )

    with pytest.raises(SetupError, match="status 3") as caught:
        bootstrap()
    assert "no mirror" in caught.value.detail
    containers = engine_client.api.containers(all=True, filters={"label": "org.weos.setup=1"})
    assert [each for each in containers if "no mirror" in each["Command"]] == []
