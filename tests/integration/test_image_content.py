import hashlib
import io
import json
import stat
import tarfile
from pathlib import Path

import docker
import pytest

from supervisor.setup.images.runtime_image import BuiltImage, build_runtime_image
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

EXPORT_TIMEOUT_S = 120
MANIFEST = "/opt/weos/manifest.json"
# Mount points and placeholders that the engine puts into every container it creates.
ENGINE_MADE = {
    *("/.dockerenv", "/dev/console", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"),
}

Export = dict[str, tuple[tarfile.TarInfo, bytes]]


@pytest.fixture(scope="module")
def image(weos_home: Path, docker_host: str) -> BuiltImage:
    return build_runtime_image(weos_home, "cpu_avx2", SilentProgress(), docker_host)


@pytest.fixture(scope="module")
def exported(image: BuiltImage, docker_host: str) -> Export:
    client = docker.APIClient(base_url=docker_host, timeout=EXPORT_TIMEOUT_S)
    container_id = client.create_container(image.image_id)["Id"]
    try:
        data = b"".join(client.export(container_id))
    finally:
        client.remove_container(container_id, force=True)
        client.close()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            f"/{member.name}": (member, file.read() if (file := tar.extractfile(member)) else b"")
            if member.isreg()
            else (member, b"")
            for member in tar
        }


def test_python_is_the_only_program_in_the_image(exported: Export) -> None:
    programs = {name for name, (member, _) in exported.items() if member.isreg() and member.mode & 0o111}
    assert programs - ENGINE_MADE == {"/usr/bin/python3.11", "/usr/lib64/ld-linux-x86-64.so.2"}


@pytest.mark.parametrize(
    "name", ["sh", "bash", "dash", "busybox", "apt", "dpkg", "pip", "gcc", "cc", "ld", "perl", "python3"]
)
def test_no_shell_package_manager_or_compiler_is_there_under_any_path(exported: Export, name: str) -> None:
    assert not [path for path in exported if path.rpartition("/")[2] == name]


@pytest.mark.parametrize("package", ["ensurepip", "pip", "tkinter", "test", "idlelib", "subprocess", "socket"])
def test_the_standard_library_holds_only_what_is_used(exported: Export, package: str) -> None:
    assert not [path for path in exported if path.startswith(f"/usr/lib/python3.11/{package}")]


def test_everything_is_roots_and_writable_by_root_alone(exported: Export) -> None:
    for name, (member, _) in exported.items():
        assert (member.uid, member.gid) == (0, 0), name
        assert not member.mode & (stat.S_ISUID | stat.S_ISGID), name
        assert member.issym() or not member.mode & (stat.S_IWGRP | stat.S_IWOTH), name


def test_the_manifest_names_every_file_by_its_content(exported: Export, image: BuiltImage) -> None:
    manifest_data = exported[MANIFEST][1]
    assert "sha256:" + hashlib.sha256(manifest_data).hexdigest() == image.manifest_sha256
    assert Path(image.manifest_path).read_bytes() == manifest_data
    manifest = json.loads(manifest_data)
    named = {entry["path"]: entry for entry in manifest["files"]}
    found = {
        name: (member, data)
        for name, (member, data) in exported.items()
        if member.isreg() and name not in ENGINE_MADE | {MANIFEST}
    }
    assert set(named) == set(found)
    for name, (member, data) in found.items():
        entry = named[name]
        assert entry["sha256"] == hashlib.sha256(data).hexdigest(), name
        assert (entry["size_bytes"], entry["mode"]) == (len(data), f"{member.mode & 0o7777:04o}"), name
    links = {name: member.linkname for name, (member, _) in exported.items() if member.issym()}
    assert {entry["path"]: entry["target"] for entry in manifest["links"]} == {
        name: target for name, target in links.items() if name not in ENGINE_MADE
    }
