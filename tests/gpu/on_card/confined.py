"""Give a process the shape of a sandbox without a container engine, then start a program in it.

Usage: ``confined.py SPEC``, as root. SPEC is the JSON of `tests.gpu.on_card.shape.Shape`. What a container engine does
besides, control groups, a root directory and process ids of its own, is left out. Only the standard library is needed.
"""

import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

# linux/sched.h, linux/mount.h, linux/prctl.h, linux/seccomp.h, asm/unistd_64.h.
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWNET = 0x00020000, 0x08000000, 0x40000000
MS_RDONLY, MS_BIND, MS_REC, MS_PRIVATE = 1, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 8
SYS_SECCOMP, SYS_MOUNT_SETATTR = 317, 442
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
INSTRUCTION_BYTES = 8
CAPABILITIES = 64

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


class Program(ctypes.Structure):
    """linux/filter.h, struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


class MountAttributes(ctypes.Structure):
    """linux/mount.h, struct mount_attr."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace"))


def check(status: int, what: str) -> int:
    """Return the status, or raise OSError where it is negative."""
    if status < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return status


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Call mount(2)."""
    encoded = [None if text is None else text.encode() for text in (kind, data)]
    status = LIBC.mount(source.encode(), target.encode(), encoded[0], ctypes.c_ulong(flags), encoded[1])
    check(status, f"mount {target}")


def set_read_only(path: str, *, is_read_only: bool, recursively: bool = False) -> None:
    """Call mount_setattr(2)."""
    attribute = (MOUNT_ATTR_RDONLY, 0) if is_read_only else (0, MOUNT_ATTR_RDONLY)
    attributes = MountAttributes(*attribute, 0, 0)
    status = LIBC.syscall(
        ctypes.c_long(SYS_MOUNT_SETATTR),
        ctypes.c_long(AT_FDCWD),
        ctypes.c_char_p(path.encode()),
        ctypes.c_long(AT_RECURSIVE if recursively else 0),
        ctypes.byref(attributes),
        ctypes.c_long(ctypes.sizeof(attributes)),
    )
    check(status, f"mount_setattr {path}")


def make_devices(staging: str, devices: list[str]) -> None:
    """Put a /dev in place that holds these devices alone."""
    mount("tmpfs", staging, "tmpfs", 0, "mode=755")
    for device in devices:
        place = Path(staging) / Path(device).relative_to("/dev")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        mount(device, str(place), None, MS_BIND)
    mount(staging, "/dev", None, MS_BIND | MS_REC)


def hide(path: str) -> None:
    """Hide a path behind nothing; one that does not exist hides itself."""
    if Path(path).is_dir():
        # What is shown again is put in; then everything becomes read-only.
        mount("tmpfs", path, "tmpfs", 0, "mode=755")
    elif Path(path).exists():
        mount("/dev/null", path, None, MS_BIND)


def hide_all_but(masked: list[str], shown: list[str]) -> None:
    """Hide paths, but for some below them."""
    kept = {path: os.open(path, os.O_PATH) for path in shown if Path(path).exists()}
    for path in masked:
        if path not in kept:
            hide(path)
    for path, descriptor in kept.items():
        source = f"/proc/self/fd/{descriptor}"
        place = Path(path)
        if path in masked:
            continue
        if Path(source).is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        mount(source, path, None, MS_BIND | MS_REC)
    for descriptor in kept.values():
        os.close(descriptor)


def confine_files(shape: dict[str, Any]) -> None:
    """Change what this process sees of the file system."""
    check(LIBC.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    if shape["devices"] is not None:
        make_devices(shape["staging"], shape["devices"])
    hide_all_but(shape["masked"], shape["shown"])
    if shape["read_only"] is not None:
        set_read_only("/", is_read_only=True, recursively=True)
        # As in a container, where /proc can be written but for what the policy names.
        set_read_only("/proc", is_read_only=False)
        for path in filter(os.path.exists, shape["read_only"]):
            mount(path, path, None, MS_BIND | MS_REC)
            set_read_only(path, is_read_only=True)


def drop_privileges(uid: int) -> None:
    """Become an unprivileged user without capabilities, for good."""
    for capability in range(CAPABILITIES):
        # Fails beyond the kernel's last one.
        LIBC.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def install_filter(program: bytes, *, with_listener: bool) -> None:
    """Install lock one; with a listener, it is the descriptor that the parent looks for."""
    prepared = Program(len(program) // INSTRUCTION_BYTES, program)
    status = LIBC.syscall(
        ctypes.c_long(SYS_SECCOMP),
        ctypes.c_long(SECCOMP_SET_MODE_FILTER),
        ctypes.c_long(SECCOMP_FILTER_FLAG_NEW_LISTENER if with_listener else 0),
        ctypes.byref(prepared),
    )
    check(status, "seccomp")


def main(shape: dict[str, Any]) -> None:
    """Confine this process and become the program."""
    program = None if shape["filter_file"] is None else Path(shape["filter_file"]).read_bytes()
    if shape["files"]:
        confine_files(shape)
    if shape["networks"]:
        check(LIBC.unshare(CLONE_NEWNET | CLONE_NEWIPC), "unshare")
    for name, value in shape["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
    if shape["uid"] is not None:
        drop_privileges(shape["uid"])
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "prctl")
    command, environment = shape["command"], shape["environment"]
    if program is not None:
        install_filter(program, with_listener=shape["listens"])
    os.execve(command[0], command, environment)  # noqa: S606 - no shell


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
