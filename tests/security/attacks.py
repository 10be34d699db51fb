"""What an attacker inside the container tries, row by row: the system call, and who answers what.

`blocked` is the answer under the policy, `without` the kernel's own without the rule. They differ wherever arguments
can be found for which they do: then the row fails when its rule is removed. Where the kernel asks for a capability
before it looks at any argument, both say EPERM: two walls. `any`: what the kernel says depends on how it was built.
"""

from dataclasses import dataclass

__all__ = ["LOCK_ONE", "PRELUDE", "Attack"]

# The attacker's tools: `call` answers "allowed" or the name of an error.
PRELUDE = r"""
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
AT_FDCWD = -100
MODEL = b"/model/model.gguf"
PROGRAM = b"/usr/bin/python3.11"
buffer = ctypes.create_string_buffer(4096)
zeros = ctypes.create_string_buffer(4096)
def call(number, *arguments):
    ctypes.set_errno(0)
    values = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    answer = libc.syscall(ctypes.c_long(number), *values)
    if answer == -1 and ctypes.get_errno():
        return errno.errorcode[ctypes.get_errno()]
    if number in (56, 57) and answer == 0:
        libc._exit(0)
    return "allowed"
def with_file(path, attempt):
    fd = os.open(path, os.O_RDONLY)
    try:
        return attempt(fd)
    finally:
        os.close(fd)
def with_model(number, *arguments):
    return with_file(MODEL, lambda fd: call(number, fd, *arguments))
def page(prot=3, flags=0x22):
    libc.mmap.restype = ctypes.c_void_p
    return libc.mmap(None, 4096, prot, flags, -1, 0)
def address(value):
    return ctypes.addressof(value)
"""


@dataclass(frozen=True)
class Attack:
    """One attempt: an expression in the attacker's interpreter.

    What the kernel alone answers (`without`) says that the attempt is a real one. It is not tried in the suite: without
    the filter some attempts leave processes and message queues behind, and the engine loses the exit status.
    """

    name: str
    code: str
    blocked: str = "EPERM"
    without: str = "allowed"


def _families() -> tuple[Attack, ...]:
    plain = {1: "unix", 2: "inet", 10: "inet6", 16: "netlink"}
    # What a kernel has of these differs, and some ask for a capability.
    others = {17: "packet", 38: "alg", 40: "vsock", 44: "xdp"}
    return tuple(
        Attack(f"socket {name}", f"call(41, {number}, 2, 0)", without="allowed" if number in plain else "any")
        for number, name in (plain | others).items()
    )


# Under lock one, before the model is read: (name, code, answer under the policy, answer of the kernel alone).
LOCK_ONE: tuple[Attack, ...] = (
    # Another program, another process.
    Attack("execveat of a descriptor", "call(322, -1, b'', 0, 0, 0x1000)", without="EBADF"),
    Attack("fork", "call(57)"),
    Attack("clone of a process", "call(56, 17, 0, 0, 0, 0)"),
    Attack("clone of a user namespace", "call(56, 0x10000000 | 17, 0, 0, 0, 0)", without="any"),
    Attack("clone3", "call(435, 0, 0)", "ENOSYS", "EINVAL"),
    Attack("signal to another process", "call(62, os.getpid(), 0)"),
    # Sockets.
    *_families(),
    Attack("socketpair", "call(53, 1, 1, 0, address(buffer))"),
    Attack("connect", "call(42, -1, 0, 0)", without="EBADF"),
    Attack("sendto", "call(44, -1, 0, 0, 0, 0, 0)", without="EBADF"),
    # Memory and code.
    Attack("map writable and executable", "call(9, 0, 4096, 7, 0x22, -1, 0)"),
    Attack("map anonymous and executable", "call(9, 0, 4096, 5, 0x22, -1, 0)"),
    Attack("map executable only", "call(9, 0, 4096, 4, 0x22, -1, 0)"),
    Attack(
        "map a file shared and executable",
        "with_file(b'/usr/bin/python3.11', lambda fd: call(9, 0, 4096, 5, 1, fd, 0))",
    ),
    Attack("make written memory executable", "call(10, page(), 4096, 5)"),
    Attack("make written memory executable by key", "call(329, page(), 4096, 5, -1)"),
    Attack("read implies execute", "call(135, 0x400000)"),
    Attack("memory without a name", "call(319, b'x', 0)"),
    Attack("watch page faults", "call(323, 0x800)", without="any"),
    Attack("what of a file is in memory", "call(27, page(), 4096, address(buffer))"),
    Attack("write at a place", "call(18, -1, address(buffer), 1, 0)", without="EBADF"),
    # Files.
    Attack("create a file", "call(257, AT_FDCWD, b'/dev/x', 0o101, 0o600)", without="any"),
    Attack("open to read and write", "call(257, AT_FDCWD, b'/proc/self/mem', 2, 0)"),
    Attack("truncate on opening", "call(257, AT_FDCWD, b'/dev/null', 0o1001, 0)"),
    Attack("file without a name", "call(257, AT_FDCWD, b'/dev', 0o20200002, 0o600)", without="any"),
    Attack("open to write", "call(257, AT_FDCWD, b'/dev/null', 1, 0)"),
    Attack("open by the old call", "call(2, b'/dev/null', 0)"),
    Attack("open by the new call", "call(437, -1, 0, 0, 0)", without="EINVAL"),
    Attack("creat", "call(85, 1, 0)", without="EFAULT"),
    Attack("mkdir", "call(83, 1, 0)", without="EFAULT"),
    Attack("mknod", "call(133, 1, 0o10600, 0)", without="EFAULT"),
    Attack("link", "call(86, 1, 1)", without="EFAULT"),
    Attack("symlink", "call(88, 1, 1)", without="EFAULT"),
    Attack("rename", "call(82, 1, 1)", without="EFAULT"),
    Attack("unlink", "call(87, 1)", without="EFAULT"),
    Attack("chmod", "call(90, 1, 0)", without="EFAULT"),
    Attack("chown", "call(92, 1, 0, 0)", without="EFAULT"),
    Attack("truncate", "call(76, 1, 0)", without="EFAULT"),
    # The terminal's and every device's own calls.
    Attack("push a key into the terminal", "call(16, 0, 0x5412, address(buffer))", "ENOTTY", "any"),
    Attack("bytes waiting", "call(16, 0, 0x541b, address(buffer))", "ENOTTY"),
    # Other processes.
    Attack("ptrace", "call(101, 0, 0, 0, 0)"),
    Attack("read another's memory", "call(310, os.getpid(), 0, 0, 0, 0, 0)"),
    Attack("write another's memory", "call(311, os.getpid(), 0, 0, 0, 0, 0)"),
    Attack("pidfd", "call(434, os.getpid(), 0)"),
    Attack("steal a descriptor", "call(438, -1, 0, 0)", without="EBADF"),
    Attack("compare kernel objects", "call(312, os.getpid(), os.getpid(), 0, 0, 0)", without="any"),
    # Namespaces, mounts, roots.
    Attack("unshare", "call(272, 0)"),
    Attack("setns", "call(308, -1, 0)", without="EBADF"),
    Attack("mount", "call(165, 1, 1, 1, 0, 0)", without="EFAULT"),
    Attack("umount", "call(166, b'/model', 0x10000)", without="EINVAL"),
    Attack("fsopen", "call(430, b'tmpfs', 0)", without="EPERM"),
    Attack("move_mount", "call(429, -1, 0, -1, 0, 0x10000)", without="any"),
    Attack("chroot", "call(161, 1)", without="EFAULT"),
    Attack("pivot_root", "call(155, 1, 1)", without="any"),
    Attack("open by handle", "call(304, -1, address(buffer), 0)", without="any"),
    # Channels between executions.
    Attack("flock", "with_model(73, 1)"),
    Attack("record lock", "with_model(72, 6, address(zeros))"),
    Attack("open file description lock", "with_model(72, 37, address(zeros))"),
    Attack("lease", "with_model(72, 1024, 0)", without="any"),
    Attack("directory notification", "with_model(72, 1026, 0)"),
    Attack("inotify", "call(294, 0)"),
    Attack("fanotify", "call(300, 0x200, 0)"),
    Attack("message queue by name", "call(240, b'x', 0o102, 0o600, 0)"),
    Attack("System V message queue", "call(68, 0, 0o1600)"),
    Attack("System V shared memory", "call(29, 0, 4096, 0o1600)"),
    Attack("System V semaphore", "call(64, 0, 1, 0o1600)"),
    Attack("add_key", "call(248, 1, 1, 0, 0, 0)", without="EFAULT"),
    Attack("request_key", "call(249, 1, 1, 0, 0)", without="EFAULT"),
    Attack("keyctl", "call(250, 9999, 0, 0, 0, 0)", without="ENOTSUP"),
    # The kernel's large interfaces.
    Attack("bpf", "call(321, 0, address(buffer), 1 << 20)", without="E2BIG"),
    Attack("perf", "call(298, address(buffer), 0, -1, -1, 1 << 20)", without="any"),
    Attack("io_uring", "call(425, 0, 0)", without="any"),
    Attack("asynchronous input and output", "call(206, 0, 0)", without="any"),
    # The machine.
    Attack("kexec_load", "call(246, 0, 0, 0, 0)", without="any"),
    Attack("load a module", "call(313, -1, b'', 0)", without="any"),
    Attack("remove a module", "call(176, b'x', 0)", without="any"),
    Attack("set a clock", "call(227, 9999, address(buffer))", without="EINVAL"),
    Attack("set the time of day", "call(164, 1, 0)", without="EFAULT"),
    Attack("steer the clock", "call(159, 1)", without="EFAULT"),
    Attack("reboot", "call(169, 0, 0, 0, 0)", without="EPERM"),
    Attack("kernel log", "call(103, 10, 0, 0)", without="any"),
    Attack("local descriptor table", "call(154, 0, address(buffer), 16)"),
    Attack("input and output ports", "call(172, 3)", without="any"),
    # Identity and limits.
    Attack("setuid", "call(105, os.getuid())"),
    Attack("setgid", "call(106, os.getgid())"),
    Attack("setgroups", "call(116, 0, 0)", without="EPERM"),
    Attack("capset", "call(126, 0, 0)", without="EFAULT"),
    Attack("prctl", "call(157, 4, 1, 0, 0, 0)"),
    Attack("set a limit", "call(302, 0, 4, address(zeros), 0)"),
    Attack("limits of another process", "call(302, os.getpid(), 7, 0, 0)"),
    # Lock two may be set, and nothing else of that kind.
    Attack("filter with a listener", "call(317, 1, 8, 1)", without="EFAULT"),
    Attack("filter of one thread", "call(317, 1, 0, 1)", without="EFAULT"),
    Attack("strict mode", "call(317, 0, 1, 0)", without="EINVAL"),
)
