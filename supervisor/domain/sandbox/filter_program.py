"""Classic BPF as seccomp(2) runs it: the answer of a filter program to one system call. Pure.

Only the instructions are known that libseccomp, runc and our own compiler write.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

__all__ = ["ALLOW", "X86_64", "SystemCall", "answer"]

# linux/audit.h.
X86_64 = 0xC000003E
# linux/seccomp.h: the upper half of an answer is the action.
ALLOW = 0x7FFF0000
ACTION_BITS = 0xFFFF0000
KILL_PROCESS = 0x80000000
# linux/bpf_common.h: the few instructions, each with its class, size, mode or operation.
LOAD_WORD = 0x20
AND = 0x54
RETURN = 0x06
JUMP = 0x05
JUMP_IF_EQUAL = 0x15
JUMP_IF_GREATER = 0x25
JUMP_IF_AT_LEAST = 0x35
JUMP_IF_SHARES_A_BIT = 0x45
WORD_BYTES = 4


class SystemCall(NamedTuple):
    """What a filter sees of a system call."""

    number: int
    arguments: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    architecture: int = X86_64


def answer(programs: Sequence[bytes], call: SystemCall) -> int:
    """Return the action of the strictest of several filter programs, without its data.

    Args:
        programs: at least one, each as an array of `struct sock_filter` (linux/filter.h).
        call: the system call.

    Raises:
        ValueError: a program has another instruction, or does not end.
    """
    # linux/seccomp.h, struct seccomp_data: number, architecture, instruction pointer, six arguments.
    words = struct.unpack("<16I", struct.pack("<IIQ6Q", call.number, call.architecture, 0, *call.arguments))
    return min((_run(program, words) & ACTION_BITS for program in programs), key=_severity)


def _severity(action: int) -> int:
    # The kernel compares actions as signed numbers, so that SECCOMP_RET_KILL_PROCESS is the lowest.
    return action - (1 << 32) if action & KILL_PROCESS else action


@lru_cache(maxsize=16)
def _decode(program: bytes) -> tuple[tuple[int, int, int, int], ...]:
    return tuple(struct.iter_unpack("<HBBI", program))


def _run(program: bytes, words: tuple[int, ...]) -> int:
    value = position = 0
    instructions = _decode(program)
    while position < len(instructions):
        code, if_true, if_false, operand = instructions[position]
        position += 1
        if code == JUMP_IF_EQUAL:
            position += if_true if value == operand else if_false
        elif code == LOAD_WORD and operand % WORD_BYTES == 0 and operand // WORD_BYTES < len(words):
            value = words[operand // WORD_BYTES]
        elif code == RETURN:
            return operand
        elif code == JUMP_IF_GREATER:
            position += if_true if value > operand else if_false
        elif code == JUMP_IF_AT_LEAST:
            position += if_true if value >= operand else if_false
        elif code == JUMP_IF_SHARES_A_BIT:
            position += if_true if value & operand else if_false
        elif code == JUMP:
            position += operand
        elif code == AND:
            value &= operand
        else:
            message = f"a filter program has the unknown instruction {code:#x}"
            raise ValueError(message)
    message = "a filter program does not end with an answer"
    raise ValueError(message)
