"""Attacks on the container's surroundings, before the model is read: files, visible facts, limits and resources."""

from supervisor.escape.attack import ENDED, Attack

__all__ = ["SURROUNDINGS"]

_NONE = ("nothing",)
# ENOENT: a kernel without that file. EFBIG: the limit of 0 bytes, which gVisor also applies to /proc.
_DENIED = ("EACCES", "EFBIG", "ENOENT", "EPERM", "EROFS")
_FIFO_NOTE = (
    "runc opens its fifo with the same flags after it has set the filter; from lock two on, before a byte of the "
    "prompt is read, no file can be opened"
)
_EXEC_NOTE = "this call starts the runner after the filter is set; lock two ends a process that makes it"
_MOUNT_NOTE = (
    "gVisor does not know the host's mount options; the host still refuses writes, and lock two ends a process that "
    "maps a file"
)
_OWN_KERNEL_NOTE = "gVisor hides no paths; these show facts that its own kernel makes up, and the processor's name"
_OWN_DEVICES_NOTE = "gVisor's own devices, which lead to its own kernel; lock one refuses the calls that they need"
_OWN_TMP_NOTE = "gVisor mounts /tmp in its own memory; lock one lets no file be created"
_OWN_THREADS_NOTE = "the threads belong to gVisor's kernel, whose memory and number of host threads are limited"


def _sight(name: str, code: str, *, gvisor: tuple[str, ...] = (), note: str | None = None) -> Attack:
    return Attack(name, code, _NONE, "any", (), gvisor, note=note)


def _write(name: str, path: str, text: bytes = b"0", *, gvisor: tuple[str, ...] = ()) -> Attack:
    return Attack(name, f"write_to({path!r}, {text!r})", _DENIED, "any", (), gvisor)


_PROGRAMS = (
    Attack("the interpreter again", "run_again(answer_line)", ("allowed",), "allowed", (), alone=True, note=_EXEC_NOTE),
    Attack("the model as a program", "call('execve', MODEL, 0, 0)", ("EACCES",), "any", ()),
)

_CONVENTIONS = (
    # Under lock one the thread ends (libseccomp's default for another architecture), and with the only thread the
    # process. gVisor has no such calls: the instruction faults, and an unknown number is refused like any other.
    Attack("a call by int 0x80", "enter_gate(prepared)", (ENDED,), "any", (), ("SIGSEGV",), before="find_gate()"),
    Attack("a call by the x32 convention", "call_number(0x40000000 | 39)", (ENDED,), "any", (), ("EPERM",)),
)

_CODE = (
    Attack(
        "map the model executable",
        "call('mmap', 0, 4096, 5, 2, model, 0)",
        ("EPERM",),
        "any",
        (),
        ("allowed",),
        note=_MOUNT_NOTE,
    ),
    Attack("change own code", "overwrite_own_code()", ("allowed",), "allowed", (), ("EBADF",), note=_FIFO_NOTE),
)

_FILES = (
    Attack("create a file in every directory", "create_everywhere()", ("EPERM",), "any", ()),
    _sight("write to every file", "write_anywhere()"),
    _write("memory of the machine", "/dev/mem"),
    _write("kernel settings", "/proc/sys/kernel/core_pattern"),
    _write("SysRq keys", "/proc/sysrq-trigger"),
    _write("interrupts", "/proc/irq/default_smp_affinity"),
    _write("the interpreter's file", "/proc/self/exe"),
    _write("the model's file", "/model/model.gguf"),
    _write("file of user accounts", "/etc/passwd"),
    _write("be spared by the out-of-memory killer", "/proc/self/oom_score_adj", b"-1000"),
    _write("map users", "/proc/self/uid_map", b"0 0 1"),
    _sight("files of the control groups", "control_groups()"),
)

_SEEN = (
    _sight("other processes", "other_processes()"),
    _sight("environment", "environment()"),
    _sight("descriptors beyond the standard three", "descriptors()"),
    _sight("network interfaces", "interfaces()"),
    _sight("mounts that can be written", "writable_mounts()", gvisor=("allowed: /model /tmp",), note=_MOUNT_NOTE),
    _sight(
        "what the model's mount allows",
        "model_mount()",
        gvisor=("allowed: nodev noexec nosuid ro",),
        note=_MOUNT_NOTE,
    ),
    _sight(
        "masked paths",
        "masked_paths()",
        gvisor=(
            "allowed: /proc/cgroups /proc/cmdline /proc/cpuinfo /proc/loadavg /proc/meminfo /proc/net /proc/stat "
            "/proc/uptime /sys",
        ),
        note=_OWN_KERNEL_NOTE,
    ),
    _sight(
        "facts about the machine in /proc",
        "machine_facts()",
        gvisor=(
            "allowed: /proc/cgroups /proc/cmdline /proc/cpuinfo /proc/loadavg /proc/meminfo /proc/sentry-meminfo "
            "/proc/stat /proc/uptime",
        ),
        note=_OWN_KERNEL_NOTE,
    ),
    _sight("sensors", "sensors()"),
    _sight("device nodes", "devices()", gvisor=("allowed: /dev/fuse /dev/net/tun",), note=_OWN_DEVICES_NOTE),
    _sight("files that run as another user", "privileged_files()"),
    _sight(
        "files that this user or everybody can change",
        "changeable_files()",
        gvisor=("allowed: /tmp",),
        note=_OWN_TMP_NOTE,
    ),
    _sight("unexpected host name", "machine_name()"),
)

_IDENTITY = (
    _sight("users and groups", "identity()"),
    _sight("capabilities", "capabilities()"),
    # gVisor does not report this flag; its image has no program that could give privileges.
    _sight("new privileges", "new_privileges()", gvisor=("untold",)),
    _sight("limits on files and core dumps", "file_sizes()"),
)

_BOMBS = (
    Attack(
        "thread bomb",
        "thread_bomb()",
        ("stopped",),
        "allowed",
        (),
        ("allowed",),
        alone=True,
        note=_OWN_THREADS_NOTE,
    ),
    # The kernel ends the process. The container engine's flag for that, OOMKilled, arrives separately and is sometimes
    # missing.
    Attack("memory bomb", "memory_bomb()", ("SIGKILL",), "allowed", (), alone=True),
    Attack("descriptor bomb", "descriptor_bomb()", ("stopped",), "allowed", (), alone=True),
)

# By group, in the report's order.
SURROUNDINGS: dict[str, tuple[Attack, ...]] = {
    "programs and processes": _PROGRAMS,
    "calling conventions": _CONVENTIONS,
    "memory and code": _CODE,
    "files": _FILES,
    "what can be seen": _SEEN,
    "identity and limits": _IDENTITY,
    "what can be used up": _BOMBS,
}
