"""What an attacker finds in the container before the model is read: paths, sights, limits, and what it can use up."""

from supervisor.escape.attack import ENDED, Attack

__all__ = ["SURROUNDINGS"]

_NONE = ("nothing",)
# ENOENT: a kernel without that file; EFBIG: the limit of 0 bytes, which gVisor applies to /proc too.
_DENIED = ("EACCES", "EFBIG", "ENOENT", "EPERM", "EROFS")
_FIFO_NOTE = (
    "runc opens its fifo with these very flags after the filter is on; from lock two on, before a byte of the prompt "
    "is read, nothing can be opened"
)
_EXEC_NOTE = "the runner is started with this call after the filter is on; lock two ends that"
_MOUNT_NOTE = (
    "gVisor does not know how the host mounted it; the host refuses to write all the same, and lock two ends every "
    "mapping of a file"
)
_OWN_KERNEL_NOTE = "gVisor hides no paths; these say what its own kernel makes up, and the processor's name"
_OWN_DEVICES_NOTE = "gVisor's own, which lead to its own kernel; lock one refuses their calls"
_OWN_TMP_NOTE = "gVisor mounts it in its own memory; lock one lets no file be made"
_OWN_THREADS_NOTE = "gVisor's threads are its own; its memory, and what it takes of the host's threads, is limited"


def _sight(name: str, code: str, *, gvisor: tuple[str, ...] = (), note: str | None = None) -> Attack:
    return Attack(name, code, _NONE, "any", (), gvisor, note=note)


def _write(name: str, path: str, text: bytes = b"0", *, gvisor: tuple[str, ...] = ()) -> Attack:
    return Attack(name, f"write_to({path!r}, {text!r})", _DENIED, "any", (), gvisor)


_PROGRAMS = (
    Attack("the interpreter again", "run_again(answer_line)", ("allowed",), "allowed", (), alone=True, note=_EXEC_NOTE),
    Attack("the model as a program", "call('execve', MODEL, 0, 0)", ("EACCES",), "any", ()),
)

_CONVENTIONS = (
    # Under lock one the thread ends (libseccomp's word for another architecture), which is the process where there is
    # one thread. gVisor has no such calls: the instruction faults, and an unknown number is refused like any other.
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
    _write("magic keys", "/proc/sysrq-trigger"),
    _write("interrupts", "/proc/irq/default_smp_affinity"),
    _write("the interpreter's file", "/proc/self/exe"),
    _write("the model's file", "/model/model.gguf"),
    _write("accounts", "/etc/passwd"),
    _write("be spared when memory runs out", "/proc/self/oom_score_adj", b"-1000"),
    _write("map users", "/proc/self/uid_map", b"0 0 1"),
    _sight("files of the control groups", "control_groups()"),
)

_SEEN = (
    _sight("other processes", "other_processes()"),
    _sight("environment", "environment()"),
    _sight("descriptors beside the three", "descriptors()"),
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
        "what /proc says of the machine",
        "machine_facts()",
        gvisor=(
            "allowed: /proc/cgroups /proc/cmdline /proc/cpuinfo /proc/loadavg /proc/meminfo /proc/sentry-meminfo "
            "/proc/stat /proc/uptime",
        ),
        note=_OWN_KERNEL_NOTE,
    ),
    _sight("sensors", "sensors()"),
    _sight("device nodes", "devices()", gvisor=("allowed: /dev/fuse /dev/net/tun",), note=_OWN_DEVICES_NOTE),
    _sight("files that run as somebody else", "privileged_files()"),
    _sight("files of this user or of everybody", "changeable_files()", gvisor=("allowed: /tmp",), note=_OWN_TMP_NOTE),
    _sight("another name of the machine", "machine_name()"),
)

_IDENTITY = (
    _sight("users and groups", "identity()"),
    _sight("capabilities", "capabilities()"),
    # gVisor does not tell; it has no program that could give any.
    _sight("new privileges", "new_privileges()", gvisor=("untold",)),
    _sight("files and cores by size", "file_sizes()"),
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
    # The kernel ends it. The engine's word for that, OOMKilled, comes by a way of its own and now and then not at all.
    Attack("memory bomb", "memory_bomb()", ("SIGKILL",), "allowed", (), alone=True),
    Attack("descriptor bomb", "descriptor_bomb()", ("stopped",), "allowed", (), alone=True),
)

# Group by group, as the report shows them.
SURROUNDINGS: dict[str, tuple[Attack, ...]] = {
    "programs and processes": _PROGRAMS,
    "calling conventions": _CONVENTIONS,
    "memory and code": _CODE,
    "files": _FILES,
    "what can be seen": _SEEN,
    "identity and limits": _IDENTITY,
    "what can be used up": _BOMBS,
}
