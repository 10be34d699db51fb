"""Further attacks under lock two, once the job may be known; lock one's table lists the attacks repeated here.

The attacker may have acquired descriptors of every kind, memory and threads beforehand.
"""

from supervisor.escape.attack import ENDED, Attack

__all__ = ["CALLS"]


def _ends(name: str, code: str, without: str = "allowed", *, before: str = "None") -> Attack:
    return Attack(name, code, (ENDED,), without, before=before)


def _refused(name: str, code: str, without: str = "allowed") -> Attack:
    return Attack(name, code, ("EPERM",), without)


_PROCESSES = (
    _ends("another program", "call('execve', b'/nonexistent', 0, 0)", "ENOENT"),
    _ends("the interpreter again", "run_again(answer_line)"),
    _ends("a thread", "start_thread()"),
    _ends("a call by a thread started before the lock", "prepared()", "EPERM", before="waiting_thread('socket')"),
    # A filter that ends one thread must end all of them.
    _ends("a call while another thread waits", "call('socket', 1, 1, 0)", "EPERM", before="waiting_thread('socket')"),
)

_CONVENTIONS = (
    _ends("a call by int 0x80", "enter_gate(prepared)", "any", before="find_gate()"),
    _ends("a call by the x32 convention", "call_number(0x40000000 | 39)", "any"),
)

# No file can be opened, and files that are already open are useless.
_FILES = (
    _refused("open a file to read", "call('openat', HERE, MODEL, 0, 0)"),
    _refused("open own memory to write", "call('openat', HERE, b'/proc/self/mem', 0o2000001, 0)"),
    _refused("describe a file", "call('newfstatat', HERE, MODEL, there, 0)"),
    _refused("check whether a file can be read", "call('access', MODEL, 4)"),
    _refused("set close-on-exec by ioctl", "call('ioctl', 0, 0x5451, 0)"),
    _refused("follow a link", "call('readlink', b'/lib', there, 64)"),
    _ends("seek in own memory", "call('lseek', memory, spare, 0)"),
    _ends("write own memory", "call('write', memory, there, 1)"),
    _ends("change own code through a descriptor opened before", "overwrite_own_code()"),
    _ends("read the model", "call('read', model, there, 1)"),
    _ends("read the model at an offset", "call('pread64', model, there, 1, 0)"),
    _ends("write to standard input", "call('write', 0, there, 0)", "any"),
    _ends("read standard error", "call('read', 2, there, 0)", "any"),
    _ends("write a vector", "call('writev', 2, 0, 0)"),
    _ends("list a directory", "call('getdents64', root, there, 4096)"),
    _ends("another descriptor", "call('dup', 0)"),
    _ends("another descriptor at a number", "call('dup3', model, 9, 0)"),
    _ends("another descriptor by fcntl", "call('fcntl', 0, 1030, 0)"),
)

_CODE = (
    _ends("map the model executable", "call('mmap', 0, 4096, 5, 2, model, 0)", "any"),
    _ends("map a program executable", "call('mmap', 0, 4096, 5, 2, program, 0)"),
    _ends("map a file", "call('mmap', 0, 4096, 1, 2, model, 0)"),
    _ends("map shared memory", "call('mmap', 0, 4096, 3, 0x21, -1, 0)"),
    _ends("map over existing memory", "call('mmap', spare, 4096, 3, 0x32, -1, 0)"),
    _ends("protection bits beyond 32 bits", "call('mmap', 0, 4096, 3 | 1 << 40, 0x22, -1, 0)", "any"),
    _ends("make memory execute-only", "call('mprotect', spare, 4096, 4)", "EPERM"),
    _ends("move memory to a fixed address", "call('mremap', spare, 4096, 4096, 3, spare)", "EINVAL"),
    _ends("push pages out of memory", "call('madvise', spare, 4096, 21)"),
    _ends("read a file's pages ahead", "call('madvise', spare, 4096, 3)"),
)

_CHANNELS = (
    _ends("a futex with priority", "call('futex', spare, 134, 0, 0, 0, 0)", "any"),
    _ends("advise about the model's pages", "call('fadvise64', model, 0, 0, 4)"),
    _refused("list the usable CPUs", "call('sched_getaffinity', 0, 128, there)"),
    _refused("size of the machine's memory", "call('sysinfo', there)"),
    _ends("names of the machine", "call('uname', there)"),
    _ends("read a limit", "call('prlimit64', 0, 7, 0, there)"),
    _ends("random bytes", "call('getrandom', there, 8, 0)"),
    _ends("sleep", "call('nanosleep', zeros, 0)"),
    _ends("sleep by a clock", "call('clock_nanosleep', 1, 0, zeros, 0)"),
)

_LOCKS = (
    _ends("a signal other than SIGABRT", "call('tgkill', me, me, 0)"),
    _refused("a signal handler", "call('rt_sigaction', 10, 0, there, 8)"),
    _refused("block the signal that ends the process", "call('rt_sigprocmask', 0, there, 0, 8)"),
    # In gVisor the call is not made, but the process may continue: a signal ends it, and code that ran before the lock
    # can have set a handler for that signal.
    Attack(
        "survive the end by a signal handler",
        "call('getppid')",
        (ENDED,),
        gvisor=("trapped", ENDED),
        before="outlive_the_end()",
    ),
    _ends("another signal stack", "call('sigaltstack', 0, there)"),
    _ends("another filter", "call('seccomp', 1, 1, 1)", "EFAULT"),
    # Last, because it closes a descriptor that the interpreter itself needs.
    _ends("close the input", "call('close', 0)"),
)

# By group, in the report's order.
CALLS: dict[str, tuple[Attack, ...]] = {
    "programs and processes": _PROCESSES,
    "calling conventions": _CONVENTIONS,
    "files": _FILES,
    "memory and code": _CODE,
    "channels between executions": _CHANNELS,
    "the locks themselves": _LOCKS,
}
