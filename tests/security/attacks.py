"""What an attacker inside the container tries, row by row: the system call, and who answers what.

`blocked` is the answer under the policy, `without` the kernel's own without the rule. They differ wherever arguments
can be found for which they do: then the row fails when its rule is removed. Where the kernel asks for a capability
before it looks at any argument, both say EPERM: two walls. `any`: what the kernel says depends on how it was built.
"""

from dataclasses import dataclass

__all__ = ["KILLED", "LOCKED_PRELUDE", "LOCK_ONE", "LOCK_TWO", "PRELUDE", "Attack"]

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

# The answer of a call that ends the process.
KILLED = "killed"


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
    Attack("push a key into the terminal", "call(16, 0, 0x5412, address(buffer))", without="any"),
    Attack("bytes waiting", "call(16, 0, 0x541b, address(buffer))"),
    # Other processes.
    Attack("ptrace", "call(101, 16, 99999, 0, 0)", without="ESRCH"),
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

# What an attacker may have got hold of before lock two: descriptors of every kind, memory, and the lock itself.
LOCKED_PRELUDE = (
    PRELUDE
    + r"""
sys.path.insert(0, "/opt/weos/lib")
import _thread
from runner.lockdown import load_program, lock_down
program = load_program()
model = os.open(MODEL, os.O_RDONLY)
interpreter = os.open(PROGRAM, os.O_RDONLY)
try:
    memory = os.open("/proc/self/mem", os.O_WRONLY)
except PermissionError:
    # gVisor gives nobody his memory to write to; a number that no descriptor has takes its place.
    memory = 99
directory = os.open("/", os.O_RDONLY)
spare = page()
def start_thread():
    _thread.start_new_thread(int, ())
    return "allowed"
"""
)

# Under lock two, when the job may be known; `without` is the answer under lock one alone.
LOCK_TWO: tuple[Attack, ...] = (
    # Another program, another process, another thread.
    Attack("another program", "call(59, b'/nonexistent', 0, 0)", KILLED, "ENOENT"),
    Attack("another program by descriptor", "call(322, -1, b'', 0, 0, 0x1000)", KILLED, "EPERM"),
    Attack("a thread", "start_thread()", KILLED),
    Attack("a process", "call(57)", KILLED, "EPERM"),
    Attack("clone of a process", "call(56, 17, 0, 0, 0, 0)", KILLED, "EPERM"),
    Attack("clone3", "call(435, 0, 0)", KILLED, "ENOSYS"),
    # Sockets.
    Attack("a socket", "call(41, 1, 1, 0)", KILLED, "EPERM"),
    # Files: none is opened, and those that are open are of no use.
    Attack("open a file to read", "call(257, AT_FDCWD, MODEL, 0, 0)"),
    Attack("open own memory to write", "call(257, AT_FDCWD, b'/proc/self/mem', 0o2000001, 0)"),
    Attack("describe a file", "call(262, AT_FDCWD, MODEL, address(buffer), 0)"),
    Attack("may a file be read", "call(21, MODEL, 4)"),
    Attack("follow a link", "call(89, b'/lib', address(buffer), 64)"),
    Attack("move to a place in own memory", "call(8, memory, spare, 0)", KILLED),
    Attack("write own memory", "call(1, memory, address(buffer), 1)", KILLED),
    Attack("read the model", "call(0, model, address(buffer), 1)", KILLED),
    Attack("read the model at a place", "call(17, model, address(buffer), 1, 0)", KILLED),
    Attack("write to standard input", "call(1, 0, address(buffer), 0)", KILLED, "any"),
    Attack("read standard error", "call(0, 2, address(buffer), 0)", KILLED, "any"),
    Attack("write in pieces", "call(20, 2, 0, 0)", KILLED),
    Attack("list a directory", "call(217, directory, address(buffer), 4096)", KILLED),
    Attack("another descriptor", "call(32, 0)", KILLED),
    Attack("another descriptor at a number", "call(292, model, 9, 0)", KILLED),
    Attack("another descriptor by fcntl", "call(72, 0, 1030, 0)", KILLED),
    Attack("close the input", "call(3, 0)", KILLED),
    Attack("what a descriptor does at another program", "call(16, 0, 0x5451, 0)"),
    # Memory and code.
    Attack("map the model executable", "call(9, 0, 4096, 5, 2, model, 0)", KILLED, "any"),
    Attack("map a program executable", "call(9, 0, 4096, 5, 2, interpreter, 0)", KILLED),
    Attack("map a file", "call(9, 0, 4096, 1, 2, model, 0)", KILLED),
    Attack("map shared memory", "call(9, 0, 4096, 3, 0x21, -1, 0)", KILLED),
    Attack("map writable and executable", "call(9, 0, 4096, 7, 0x22, -1, 0)", KILLED, "EPERM"),
    Attack("map over what is there", "call(9, spare, 4096, 3, 0x32, -1, 0)", KILLED),
    Attack("bits beyond the lower half", "call(9, 0, 4096, 3 | 1 << 40, 0x22, -1, 0)", KILLED, "any"),
    Attack("make memory executable", "call(10, spare, 4096, 5)", KILLED, "EPERM"),
    Attack("move memory to a place", "call(25, spare, 4096, 4096, 3, spare)", KILLED, "EINVAL"),
    Attack("push a file's pages out", "call(28, spare, 4096, 21)", KILLED),
    Attack("read a file's pages ahead", "call(28, spare, 4096, 3)", KILLED),
    # Channels to another execution, and answers about the machine.
    Attack("wake whoever maps the model", "call(202, spare, 1, 1, 0, 0, 0)", KILLED),
    Attack("wait for whoever maps the model", "call(202, spare, 0, 1, 0, 0, 0)", KILLED, "EAGAIN"),
    Attack("a futex with priority", "call(202, spare, 134, 0, 0, 0, 0)", KILLED, "any"),
    Attack("processors", "call(204, 0, 128, address(buffer))"),
    Attack("the machine's memory", "call(99, address(buffer))"),
    Attack("names of the machine", "call(63, address(buffer))", KILLED),
    Attack("limits", "call(302, 0, 7, 0, address(buffer))", KILLED),
    Attack("random bytes", "call(318, address(buffer), 8, 0)", KILLED),
    Attack("sleep", "call(35, address(zeros), 0)", KILLED),
    Attack("sleep by a clock", "call(230, 1, 0, address(zeros), 0)", KILLED),
    # Signals, and the locks themselves.
    Attack("a signal that is not abort's", "call(234, os.getpid(), os.getpid(), 0)", KILLED),
    Attack("block the signal that ends the process", "call(14, 0, address(buffer), 0, 8)"),
    Attack("a signal handler", "call(13, 10, 0, address(buffer), 8)"),
    Attack("another signal stack", "call(131, 0, address(buffer))", KILLED),
    Attack("another filter", "call(317, 1, 1, 1)", KILLED, "EFAULT"),
    Attack("prctl", "call(157, 4, 1, 0, 0, 0)", KILLED, "EPERM"),
)
