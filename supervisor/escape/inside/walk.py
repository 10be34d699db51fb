"""Tries every system call by number, and finds those that a filter lets through."""

from typing import Any

from supervisor.escape.inside.tools import ALLOWED, Tools

__all__ = ["Walk"]

# Answers of a filter: EPERM; ENOSYS for calls unknown to its author; and EXFULL, the error that no call gives, in the
# program that answers where the real one ends the process (see `driver`).
REFUSALS = {"EPERM", "ENOSYS", "EXFULL"}
# These end the process that makes them, or take its stack away. The suite tries each in its own run.
ENDING = {"exit", "exit_group", "rt_sigreturn"}
# Linux lets these pass every filter, but they do nothing without a probe. The suite tries them as separate attacks.
PROBES = {"uprobe", "uretprobe"}


class Walk:
    """Names for the expressions of attacks."""

    def __init__(self, facts: dict[str, Any], tools: Tools) -> None:
        self._tools = tools
        self._numbers: list[int] = facts["walked"]
        # Calls that pass under a condition, with arguments that meet it and that the kernel itself does not refuse.
        spare, there = tools.spare, tools.there
        self._arguments: dict[int, tuple[int | bytes, ...]] = {
            tools.number(name): arguments
            for name, arguments in {
                "arch_prctl": (0x1002, tools.thread_pointer),  # ARCH_SET_FS, to its current value
                "fcntl": (0, 1),  # F_GETFD
                "futex": (there, 129, 1),  # FUTEX_WAKE, private
                "ioctl": (0, 0x5451),  # FIOCLEX
                "madvise": (spare, 4096, 4),  # MADV_DONTNEED
                "mmap": (0, 4096, 1, 0x22, -1, 0),
                "mprotect": (spare, 4096, 1),
                "mremap": (spare, 4096, 4096, 1),  # MREMAP_MAYMOVE
                "openat": (tools.HERE, b"/", 0, 0),
                "prlimit64": (0, 7, 0, there),  # RLIMIT_NOFILE
                "read": (0, there, 0),
                "seccomp": (1, 1, 1),  # a filter at an address without one
                "tgkill": (-1, -1, 6),
                "write": (2, there, 0),
            }.items()
        }

    def walk(self) -> str:
        """Return the numbers of the calls that the filter did not answer."""
        skipped = {self._tools.number(name) for name in ENDING | PROBES}
        return " ".join(str(number) for number in self._numbers if number not in skipped and self._passes(number))

    def _passes(self, number: int) -> bool:
        if number == self._tools.number("clone"):
            return self._starts_thread()
        # -1 is not a descriptor, address, process or length, so the kernel itself refuses it, with an error of its own.
        return self._tools.call_number(number, *self._arguments.get(number, (-1,) * 6)) not in REFUSALS

    def _starts_thread(self) -> bool:
        try:
            return self._tools.start_thread() == ALLOWED
        except RuntimeError:
            return False
