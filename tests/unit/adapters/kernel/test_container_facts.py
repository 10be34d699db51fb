import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.adapters.kernel.container_facts import facts_of, read_facts
from supervisor.adapters.kernel.mapped_files import MappedFileReader
from supervisor.domain.sandbox.receipt import MountPoint, SandboxFacts

MOUNTINFO = r"""74 49 0:39 / / ro,relatime master:2 - overlay overlay rw,lowerdir=/a:/b
90 74 254:0 /store/x /model ro,nosuid,nodev,noexec,relatime master:3 - ext4 /dev/vda rw
91 74 254:0 /s /with\040space rw - tmpfs tmpfs rw
"""
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max file size             0                    0                    bytes
Max open files            64                   128                  files
Max nice priority         0                    0
"""
DEVICES = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0
  eth0:     120       1    0    0    0     0          0         0        0       0    0    0    0     0
"""


def look(root: Path, pid: int = 7, reader: MappedFileReader | None = None) -> SandboxFacts:
    return read_facts(
        pid,
        image_id="sha256:1",
        model_path="/model/model.gguf",
        watched=("/proc/keys", "/proc/net", "/proc/asound"),
        engine={"Runtime": "runc"},
        mapped=reader or MappedFileReader(),
        root=root,
    )


@pytest.fixture
def host(tmp_path: Path) -> Path:
    process = tmp_path / "proc" / "7"
    (process / "net").mkdir(parents=True)
    (tmp_path / "proc" / "keys").touch()
    (tmp_path / "proc" / "net").mkdir()
    (process / "mountinfo").write_text(MOUNTINFO)
    (process / "limits").write_text(LIMITS)
    (process / "net" / "dev").write_text(DEVICES)
    (process / "environ").write_bytes(b"A=1\0B=\xff\0")
    (process / "oom_score_adj").write_text("500\n")
    (process / "cgroup").write_text("4:memory:/weos/0123\n")
    (process / "root" / "model").mkdir(parents=True)
    (process / "root" / "model" / "model.gguf").write_bytes(b"weights")
    (process / "root" / "lib.so").write_bytes(b"code")
    (process / "maps").write_text(
        "7f00-7f01 r-xp 00000000 00:27 12                         /lib.so\n"
        "7f01-7f02 r--p 00000000 00:27 12                         /lib.so\n"
        "7f02-7f03 r--s 00000000 fe:00 13                         /model/model.gguf\n"
        "7f03-7f04 rw-p 00000000 00:00 0 \n"
        "7f04-7f05 rw-p 00000000 00:00 0                          [heap]\n"
        "7f05-7f06 r-xp 00000000 00:01 9                          /memfd:x (deleted)\n"
    )
    return tmp_path


def test_what_the_kernel_says_is_read(host: Path) -> None:
    facts = look(host)
    assert facts.mounts == (
        MountPoint("/", "/", "overlay", frozenset({"ro", "relatime"})),
        MountPoint("/model", "/store/x", "ext4", frozenset({"ro", "nosuid", "nodev", "noexec", "relatime"})),
        MountPoint("/with space", "/s", "tmpfs", frozenset({"rw"})),
    )
    assert facts.interfaces == ("lo", "eth0")
    assert facts.environment == ("A=1", "B=\ufffd")
    assert facts.limits is not None
    assert facts.limits["Max open files"] == (64, 128)
    assert facts.limits["Max cpu time"] == (None, None)
    assert facts.oom_score_adj == 500
    assert facts.control_group == "/weos/0123"
    assert facts.present == {"/proc/keys": "/proc/keys", "/proc/net": "/proc/1/net"}
    assert facts.engine == {"Runtime": "runc"}
    assert facts.model == facts_of((host / "proc/7/root/model/model.gguf").stat())


def test_mapped_files_are_hashed_and_what_has_no_file_is_none(host: Path) -> None:
    assert look(host).mapped_files == {"/lib.so": hashlib.sha256(b"code").hexdigest(), "/memfd:x (deleted)": None}


def test_a_link_is_not_followed_out_of_the_container(host: Path) -> None:
    library = host / "proc/7/root/lib.so"
    library.unlink()
    library.symlink_to(host / "proc/keys")
    mapped = look(host).mapped_files
    assert mapped is not None
    assert mapped["/lib.so"] is None


def test_a_file_that_changed_is_hashed_again(host: Path) -> None:
    reader = MappedFileReader()
    first = look(host, reader=reader).mapped_files
    assert look(host, reader=reader).mapped_files == first
    (host / "proc/7/root/lib.so").write_bytes(b"edoc")
    second = look(host, reader=reader).mapped_files
    assert second is not None
    assert second["/lib.so"] == hashlib.sha256(b"edoc").hexdigest()


def test_what_is_remembered_is_bounded(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.adapters.kernel.mapped_files.REMEMBERED_MAX", 1)
    reader = MappedFileReader()
    library = host / "proc/7/root/lib.so"
    for content in (b"one", b"four"):
        library.write_bytes(content)
        mapped = look(host, reader=reader).mapped_files
        assert mapped is not None
        assert mapped["/lib.so"] == hashlib.sha256(content).hexdigest()


def test_what_cannot_be_read_is_none_never_empty(tmp_path: Path) -> None:
    facts = look(tmp_path)
    unseen = (facts.mounts, facts.interfaces, facts.environment, facts.limits, facts.oom_score_adj, facts.model)
    assert unseen == (None,) * 6
    assert facts.mapped_files is None
    assert (facts.memory_bytes, facts.pids_max, facts.cpu_quota_nano, facts.control_group) == (None,) * 4
    assert facts.threads == ()


def test_a_real_process_is_understood() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import ctypes, sys; print('ready', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        facts = look(Path("/"), child.pid)
    finally:
        child.communicate()
    assert facts.mounts
    assert "lo" in (facts.interfaces or ())
    assert f"PATH={os.environ['PATH']}" in (facts.environment or ())
    assert facts.limits is not None
    assert "Max open files" in facts.limits
    digests = facts.mapped_files
    assert digests
    assert any("libc" in path and digest for path, digest in digests.items())
