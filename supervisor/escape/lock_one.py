"""Attacks by system calls under lock one, before the model is read; the important ones are repeated under lock two."""

from supervisor.escape.attack import ENDED, Attack

__all__ = ["CALLS"]

# The answer if lock two refuses a call instead of ending the process; see lockdown.json.
_REFUSED = ("EPERM",)
# runc answers ENOSYS for numbers beyond the last number in a profile, regardless of the profile's own default.
_NEWER = ("EPERM", "ENOSYS")
# How the kernel itself treats a probe's call that does not come from a probe; an older kernel has no such call.
_PROBE = ("EPERM", "ENOSYS", "ENXIO", "SIGILL", "SIGSYS")


def _call(
    name: str,
    code: str,
    without: str = "allowed",
    *,
    expected: tuple[str, ...] = ("EPERM",),
    gvisor: tuple[str, ...] = (),
) -> Attack:
    # Tried under lock one. Lock two ends the process for every number that it does not name; the walk shows that.
    return Attack(name, code, expected, without, (), gvisor)


def _both(
    name: str,
    code: str,
    without: str = "allowed",
    *,
    expected: tuple[str, ...] = ("EPERM",),
    locked: tuple[str, ...] = (ENDED,),
    gvisor: tuple[str, ...] = (),
) -> Attack:
    # Tried under lock one and again under lock two.
    return Attack(name, code, expected, without, locked, gvisor)


def _families() -> tuple[Attack, ...]:
    plain = {1: "unix", 2: "inet", 10: "inet6", 16: "netlink"}
    # Kernels differ in these families, and some families need a capability.
    others = {17: "packet", 38: "alg", 40: "vsock", 44: "xdp"}
    return tuple(
        _call(f"socket {name}", f"call('socket', {number}, 2, 0)", "allowed" if number in plain else "any")
        for number, name in (plain | others).items()
    )


_PROCESSES = (
    _both("execveat of a descriptor", "call('execveat', program, b'', 0, 0, 0x1000)", "EFAULT"),
    _call("execveat of a path", "call('execveat', HERE, PROGRAM, 0, 0, 0)", "EFAULT"),
    _both("fork", "call('fork')"),
    _both("vfork", "call('vfork')"),
    _both("clone of a process", "call('clone', 17, 0, 0, 0, 0)"),
    _call("clone of a user namespace", "call('clone', 0x10000000 | 17, 0, 0, 0, 0)", "any"),
    _both("clone3", "call('clone3', 0, 0)", "EINVAL", expected=("ENOSYS",)),
    _call("fork bomb", "every_process()", expected=("ENOSYS EPERM",)),
    _both("signal to another process", "call('kill', me, 0)"),
    _call("signal to a thread", "call('tkill', me, 0)"),
    _call("signal with a value", "call('rt_sigqueueinfo', me, 0, there)", "any"),
    _both("ptrace", "call('ptrace', 16, 99999, 0, 0)", "ESRCH"),
    _call("ask to be traced", "call('ptrace', 0, 0, 0, 0)"),
    _both("read another process's memory", "call('process_vm_readv', me, 0, 0, 0, 0, 0)"),
    _both("write another process's memory", "call('process_vm_writev', me, 0, 0, 0, 0, 0)"),
    _both("descriptor of a process", "call('pidfd_open', me, 0)"),
    _both("steal a descriptor", "call('pidfd_getfd', -1, 0, 0)", "EBADF"),
    _both("signal by descriptor", "call('pidfd_send_signal', -1, 0, 0, 0)", "EBADF"),
    _both("advise about another process's memory", "call('process_madvise', -1, 0, 0, 4, 0)", "EBADF", expected=_NEWER),
    _call("reap a dying process's memory", "call('process_mrelease', -1, 0)", "EBADF", expected=_NEWER),
    _call("move another process's pages", "call('move_pages', 0, 0, 0, 0, 0, 0)"),
    _both("compare kernel objects", "call('kcmp', me, me, 0, 0, 0)", "any"),
    _call("start a session", "call('setsid')", "EPERM"),
    _both("run on other CPUs", "call('sched_setaffinity', 0, 128, there)", "any"),
    _call("scheduling class", "call('sched_setscheduler', 0, 0, zeros)"),
    _call("scheduling attributes", "call('sched_setattr', 0, zeros, 0)", "any"),
    _call("priority", "call('setpriority', 0, 0, 0)"),
    _call("input and output priority", "call('ioprio_set', 1, 0, 0)"),
)

_SOCKETS = (
    _both("socket of every family, 0 to 45", "every_family()"),
    *_families(),
    _both("socketpair", "call('socketpair', 1, 1, 0, there)"),
    _both("connect", "call('connect', -1, 0, 0)", "EBADF"),
    _call("bind", "call('bind', -1, 0, 0)", "EBADF"),
    _call("listen", "call('listen', -1, 0)", "EBADF"),
    _call("accept", "call('accept', -1, 0, 0)", "EBADF"),
    _call("accept4", "call('accept4', -1, 0, 0, 0)", "EBADF"),
    _both("sendto", "call('sendto', -1, 0, 0, 0, 0, 0)", "EBADF"),
    _call("sendmsg", "call('sendmsg', -1, zeros, 0)", "EBADF"),
    _call("sendmmsg", "call('sendmmsg', -1, zeros, 1, 0)", "EBADF"),
    _call("recvfrom", "call('recvfrom', -1, 0, 0, 0, 0, 0)", "EBADF"),
    _call("recvmsg", "call('recvmsg', -1, zeros, 0)", "EBADF"),
    _call("recvmmsg", "call('recvmmsg', -1, zeros, 1, 0, 0)", "EBADF"),
)

_CODE = (
    _both("map writable and executable", "call('mmap', 0, 4096, 7, 0x22, -1, 0)"),
    _call("map anonymous and executable", "call('mmap', 0, 4096, 5, 0x22, -1, 0)"),
    _call("map executable only", "call('mmap', 0, 4096, 4, 0x22, -1, 0)"),
    _both("map a file shared and executable", "call('mmap', 0, 4096, 5, 1, program, 0)"),
    _call("map a file writable and executable", "call('mmap', 0, 4096, 7, 2, program, 0)"),
    _call("map shared and executable", "call('mmap', 0, 4096, 7, 0x21, -1, 0)"),
    _both("make written memory executable", "call('mprotect', spare, 4096, 5)"),
    _call("make memory writable and executable", "call('mprotect', spare, 4096, 7)"),
    _call("make the stack executable", "call('mprotect', spare, 4096, 0x01000005)", "EINVAL"),
    _both("make written memory executable by key", "call('pkey_mprotect', spare, 4096, 5, -1)"),
    _call("a key for memory", "call('pkey_alloc', 0, 0)", "any"),
    _both("read implies execute", "call('personality', 0x400000)"),
    _both("a file in memory without a name", "call('memfd_create', b'x', 0)"),
    _both("a file in secret memory", "call('memfd_secret', 0)", "any", expected=_NEWER),
    _both("watch page faults", "call('userfaultfd', 0x800)", "any"),
    _call("remap pages of a file", "call('remap_file_pages', 0, 0, 0, 0, 0)", "EINVAL"),
    _call("load a library by the old call", "call('uselib', 1)", "any"),
    _both("write at an offset", "call('pwrite64', -1, there, 1, 0)", "EBADF"),
    _call("write a vector at an offset", "call('pwritev', -1, there, 1, 0, 0)", "EBADF"),
    _call("write a vector with flags", "call('pwritev2', -1, there, 1, 0, 0, 0)", "EBADF"),
    _both("local descriptor table", "call('modify_ldt', 0, there, 16)"),
    _both("lock memory", "call('mlock', spare, 4096)"),
    _call("lock all memory", "call('mlockall', 4)", "EINVAL"),
)

_FILES = (
    _both("create a file in /", "call('openat', HERE, b'/x', 0o101, 0o700)", "any", locked=_REFUSED),
    _call("create a file in /dev", "call('openat', HERE, b'/dev/x', 0o101, 0o700)", "any"),
    _call("open to read and write", "call('openat', HERE, b'/proc/self/mem', 2, 0)"),
    _call("truncate on opening", "call('openat', HERE, b'/dev/null', 0o1001, 0)"),
    _call("create a file without a name", "call('openat', HERE, b'/dev', 0o20200002, 0o600)", "any"),
    _call("open to write", "call('openat', HERE, b'/dev/null', 1, 0)"),
    _both("open by the old call", "call('open', b'/dev/null', 0)"),
    _both("open by the new call", "call('openat2', -1, 0, 0, 0)", "EINVAL"),
    _both("creat", "call('creat', 1, 0)", "EFAULT"),
    _call("mkdir", "call('mkdir', 1, 0)", "EFAULT"),
    _call("mkdirat", "call('mkdirat', HERE, 1, 0)", "EFAULT"),
    _call("rmdir", "call('rmdir', 1)", "EFAULT"),
    _both("mknod", "call('mknod', 1, 0o10600, 0)", "EFAULT"),
    _call("mknodat", "call('mknodat', HERE, 1, 0o10600, 0)", "EFAULT"),
    _call("link", "call('link', 1, 1)", "EFAULT"),
    _call("linkat", "call('linkat', HERE, 1, HERE, 1, 0)", "EFAULT"),
    _call("symlink", "call('symlink', 1, 1)", "EFAULT"),
    _call("symlinkat", "call('symlinkat', 1, HERE, 1)", "EFAULT"),
    _both("rename", "call('rename', 1, 1)", "EFAULT"),
    _call("renameat2", "call('renameat2', HERE, 1, HERE, 1, 0)", "EFAULT"),
    _both("unlink", "call('unlink', 1)", "EFAULT"),
    _call("unlinkat", "call('unlinkat', HERE, 1, 0)", "EFAULT"),
    _both("chmod", "call('chmod', 1, 0)", "EFAULT"),
    _call("fchmod", "call('fchmod', -1, 0)", "EBADF"),
    _both("chown", "call('chown', 1, 0, 0)", "EFAULT"),
    _call("fchown", "call('fchown', -1, 0, 0)", "EBADF"),
    _both("truncate", "call('truncate', 1, 0)", "EFAULT"),
    _call("ftruncate", "call('ftruncate', -1, 0)", "EBADF"),
    _call("reserve disk space", "call('fallocate', -1, 0, 0, 1)", "EBADF"),
    _call("set the times of a file", "call('utimensat', HERE, 1, 0, 0)", "EFAULT"),
    _call("set an extended attribute", "call('setxattr', 1, 1, 0, 0, 0)", "EFAULT"),
    _call("copy within the kernel", "call('copy_file_range', -1, 0, -1, 0, 1, 0)", "EBADF"),
    _call("send a file", "call('sendfile', -1, -1, 0, 1)", "EBADF"),
    _both("push a key into the terminal", "call('ioctl', 0, 0x5412, there)", "any", locked=_REFUSED),
    _call("count waiting input bytes", "call('ioctl', 0, 0x541b, there)"),
    _both("open a file by its handle", "call('open_by_handle_at', -1, there, 0)", "any"),
    _both("handle of a file", "call('name_to_handle_at', HERE, b'/', zeros, there, 0)", "any"),
    _both("quotas", "call('quotactl', 0x80000700, 0, 0, 0)", "any"),
    _call("quotas by descriptor", "call('quotactl_fd', -1, 0, 0, 0)", "any", expected=_NEWER),
)

_NAMESPACES = (
    _both("unshare", "call('unshare', 0)"),
    _call("unshare the user namespace", "call('unshare', 0x10000000)", "any"),
    _both("setns", "call('setns', -1, 0)", "EBADF"),
    _both("mount", "call('mount', 1, 1, 1, 0, 0)", "EFAULT"),
    _both("umount", "call('umount2', b'/model', 0x10000)", "EINVAL"),
    _both("fsopen", "call('fsopen', b'tmpfs', 0)", "EPERM"),
    _call("fsconfig", "call('fsconfig', -1, 0, 0, 0, 0)", "any"),
    _call("fsmount", "call('fsmount', -1, 0, 0)", "EPERM"),
    _call("fspick", "call('fspick', HERE, b'/', 0)", "EPERM"),
    _both("open_tree", "call('open_tree', HERE, b'/', 0)", "any"),
    _both("move_mount", "call('move_mount', -1, 0, -1, 0, 0x10000)", "any"),
    _call("mount_setattr", "call('mount_setattr', -1, 0, 0, 0, 0)", "any", expected=_NEWER),
    _call("list of mounts", "call('listmount', 0, 0, 0, 0)", "any", expected=_NEWER),
    _both("chroot", "call('chroot', 1)", "EFAULT"),
    _both("pivot_root", "call('pivot_root', 1, 1)", "any"),
    _call("change the working directory", "call('chdir', b'/')"),
)

_CHANNELS = (
    _both("flock", "call('flock', model, 1)"),
    _both("record lock", "call('fcntl', model, 6, zeros)"),
    _call("open file description lock", "call('fcntl', model, 37, zeros)"),
    _call("lease", "call('fcntl', model, 1024, 0)", "any"),
    _call("directory notification", "call('fcntl', model, 1026, 0)"),
    _call("seals", "call('fcntl', model, 1033, 1)", "any"),
    _both("inotify", "call('inotify_init1', 0)"),
    _call("inotify by the old call", "call('inotify_init')"),
    _both("fanotify", "call('fanotify_init', 0x200, 0)"),
    _both("which pages of a file are cached", "call('mincore', spare, 4096, there)"),
    _call("how many pages of a file are cached", "call('cachestat', -1, 0, 0, 0)", "any", expected=_NEWER),
    _call("read a file ahead", "call('readahead', model, 0, 4096)"),
    _both("message queue by name", "call('mq_open', b'x', 0o102, 0o600, 0)"),
    _call("remove a message queue", "call('mq_unlink', 1)", "EFAULT"),
    _call("send to a message queue", "call('mq_timedsend', -1, 0, 0, 0, 0)", "EBADF"),
    _call("receive from a message queue", "call('mq_timedreceive', -1, 0, 0, 0, 0)", "EBADF"),
    _call("notification by a message queue", "call('mq_notify', -1, 0)", "EBADF"),
    _both("System V message queue", "call('msgget', 0, 0o1600)"),
    _call("send to a System V queue", "call('msgsnd', -1, zeros, 0, 0)", "EINVAL"),
    _both("System V shared memory", "call('shmget', 0, 4096, 0o1600)"),
    _call("attach shared memory", "call('shmat', -1, 0, 0)", "EINVAL"),
    _both("System V semaphore", "call('semget', 0, 1, 0o1600)"),
    _call("change a semaphore", "call('semop', -1, 0, 0)", "EINVAL"),
    _both("add_key", "call('add_key', 1, 1, 0, 0, 0)", "EFAULT"),
    _both("request_key", "call('request_key', 1, 1, 0, 0)", "EFAULT"),
    _both("keyctl", "call('keyctl', 9999, 0, 0, 0, 0)", "ENOTSUP"),
    _call("the user's keyring", "call('keyctl', 0, -4, 1, 0, 0)"),
    _both("a pipe", "call('pipe2', there, 0)"),
    _both("event counter", "call('eventfd2', 0, 0)"),
    _both("signals by descriptor", "call('signalfd4', -1, zeros, 8, 0)"),
    _both("timer by descriptor", "call('timerfd_create', 1, 0)"),
    _call("timer", "call('timer_create', 1, 0, there)"),
    _both("epoll", "call('epoll_create1', 0)"),
    _both("splice", "call('splice', -1, 0, -1, 0, 1, 0)", "EBADF"),
    _both("tee", "call('tee', -1, -1, 1, 0)", "EBADF"),
    _both("vmsplice", "call('vmsplice', -1, 0, 0, 0)", "EBADF"),
    _both("wake processes that map the model", "call('futex', spare, 1, 1, 0, 0, 0)"),
    _both("wait for processes that map the model", "call('futex', spare, 0, 1, 0, 0, 0)", "EAGAIN"),
    _both("wake by the new call", "call('futex_wake', spare, 1, 1, 2)", "any", expected=_NEWER),
    _call("wait for many futexes", "call('futex_waitv', 0, 0, 0, 0, 0)", "any", expected=_NEWER),
)

_KERNEL = (
    _both("bpf", "call('bpf', 0, there, 1 << 20)", "E2BIG"),
    _both("perf", "call('perf_event_open', there, 0, -1, -1, 1 << 20)", "any"),
    _both("io_uring", "call('io_uring_setup', 0, 0)", "any"),
    _both("enter io_uring", "call('io_uring_enter', -1, 0, 0, 0, 0, 0)", "any"),
    _call("register with io_uring", "call('io_uring_register', -1, 0, 0, 0)", "any"),
    _both("asynchronous input and output", "call('io_setup', 0, 0)", "any"),
    _both("create landlock rules", "call('landlock_create_ruleset', 0, 0, 1)", "any", expected=_NEWER),
    _call("add a landlock rule", "call('landlock_add_rule', -1, 0, 0, 0)", "any", expected=_NEWER),
    _call("apply landlock rules", "call('landlock_restrict_self', -1, 0)", "any", expected=_NEWER),
    _both("cookie of the profiler", "call('lookup_dcookie', 0, 0, 0)", "any"),
    # Linux lets these two pass every filter (kernel/seccomp.c), and ends a process that makes them outside of a probe.
    _both("the call of a uprobe", "call('uprobe')", "any", expected=_PROBE, locked=_PROBE),
    _both("the call of a uretprobe", "call('uretprobe')", "any", expected=_PROBE, locked=_PROBE),
    _call("barriers", "call('membarrier', 0, 0, 0)"),
    _call("NUMA policy of memory", "call('set_mempolicy', 0, 0, 0)"),
    _call("NFS server", "call('nfsservctl', 0, 0, 0)", "ENOSYS"),
    _call("an unassigned call number", "call_number(500)", "ENOSYS", expected=("EPERM", "ENOSYS")),
)

_MACHINE = (
    _both("kexec_load", "call('kexec_load', 0, 0, 0, 0)", "any"),
    _both("kexec_file_load", "call('kexec_file_load', -1, -1, 0, 0, 0)", "any"),
    _both("load a module", "call('finit_module', -1, b'', 0)", "any"),
    _both("load a module from memory", "call('init_module', 0, 0, 0)", "any"),
    _call("remove a module", "call('delete_module', b'x', 0)", "any"),
    _both("set a clock", "call('clock_settime', 9999, there)", "EINVAL"),
    _both("set the time of day", "call('settimeofday', 1, 0)", "EFAULT"),
    _both("steer the clock", "call('adjtimex', 1)", "EFAULT"),
    _call("steer a clock", "call('clock_adjtime', 0, 1)", "EFAULT"),
    _both("reboot", "call('reboot', 0, 0, 0, 0)", "EPERM"),
    _both("kernel log", "call('syslog', 10, 0, 0)", "any"),
    _both("set the host name", "call('sethostname', 0, 65)", "EPERM"),
    _call("set the domain name", "call('setdomainname', 0, 65)", "EPERM"),
    _both("swap on", "call('swapon', 1, 0)", "EPERM"),
    _call("swap off", "call('swapoff', 1)", "EPERM"),
    _both("process accounting", "call('acct', 1)", "any"),
    _both("input and output ports", "call('iopl', 3)", "any"),
    _both("an input and output port", "call('ioperm', 0, 1, 1)", "any"),
    _call("hang up the terminal", "call('vhangup')", "EPERM"),
    _call("sync all file systems", "call('sync')"),
)

_IDENTITY = (
    _both("setuid", "call('setuid', 65532)"),
    _call("setuid to root", "call('setuid', 0)", "EPERM"),
    _call("setgid", "call('setgid', 65532)"),
    _call("setreuid", "call('setreuid', -1, -1)"),
    _call("setregid", "call('setregid', -1, -1)"),
    _call("setresuid", "call('setresuid', -1, -1, -1)"),
    _call("setresgid", "call('setresgid', -1, -1, -1)"),
    _call("setfsuid", "call('setfsuid', -1)"),
    _call("setfsgid", "call('setfsgid', -1)"),
    _both("setgroups", "call('setgroups', 0, 0)", "EPERM"),
    _both("capset", "call('capset', 0, 0)", "EFAULT"),
    _call("set another segment register", "call('arch_prctl', 0x1001, zeros)"),
    _both("prctl", "call('prctl', 4, 1, 0, 0, 0)"),
    _call("umask of new files", "call('umask', 0o777)"),
    _both("set a limit", "call('prlimit64', 0, 4, zeros, 0)"),
    _call("set a limit by the old call", "call('setrlimit', 4, zeros)"),
    _call("limits of another process", "call('prlimit64', me, 7, 0, 0)"),
)

_LOCKS = (
    _both("filter with a listener", "call('seccomp', 1, 8, 1)", "EFAULT"),
    _call("filter of one thread", "call('seccomp', 1, 0, 1)", "EFAULT"),
    _call("strict mode", "call('seccomp', 0, 1, 0)", "EINVAL"),
)

# By group, in the report's order.
CALLS: dict[str, tuple[Attack, ...]] = {
    "programs and processes": _PROCESSES,
    "sockets": _SOCKETS,
    "memory and code": _CODE,
    "files": _FILES,
    "namespaces and mounts": _NAMESPACES,
    "channels between executions": _CHANNELS,
    "interfaces of the kernel": _KERNEL,
    "the machine": _MACHINE,
    "identity and limits": _IDENTITY,
    "the locks themselves": _LOCKS,
}
