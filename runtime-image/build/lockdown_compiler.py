"""Compile `lockdown.json` into the programs of lock two: classic BPF, as seccomp(2) takes it.

Usage: ``lockdown_compiler.py POLICY DIRECTORY`` writes a program for each way to end a process, `lockdown-WAY.bpf`.
Runs in the toolchain container, so it needs nothing but python.
The first rule that fits decides. A condition holds where the masked 64-bit argument is one of its values; the kernel
hands out arguments as two halves of 32 bits, and both are compared.
"""

import json
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# linux/bpf_common.h: the few instructions that are used, each with its class, size, mode or operation.
LOAD_WORD = 0x20
JUMP_IF_EQUAL = 0x15
JUMP_IF_AT_LEAST = 0x35
AND = 0x54
RETURN = 0x06
# linux/seccomp.h: what a program may return.
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | 1  # SECCOMP_RET_ERRNO with EPERM
# SECCOMP_RET_KILL_PROCESS: nothing that the process has prepared changes it. gVisor (0.0~20221219) takes it for the end
# of one thread: the others would go on, or wait for it for ever. So there SECCOMP_RET_TRAP: SIGSYS. It ends a process
# that has set no handler for it before; under the lock none can be set.
ENDS = {"kill_process": 0x80000000, "trap": 0x00030000}
# linux/seccomp.h, struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits.
NUMBER_OFFSET = 0
ARCHITECTURE_OFFSET = 4
ARGUMENTS_OFFSET = 16
ARGUMENT_BYTES = 8
ARGUMENTS = 6
# linux/audit.h; asm/unistd.h: the x32 convention sets this bit of the number.
AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
# linux/bpf_common.h, BPF_MAXINSNS; a jump's distance is one byte.
INSTRUCTIONS_MAX = 4096
JUMP_MAX = 255
HALF = 0xFFFFFFFF
WHOLE = (1 << 64) - 1

# arch/x86/entry/syscalls/syscall_64.tbl: numbers of the calls that a policy may name.
NUMBERS = {
    "read": 0,
    "write": 1,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "ioctl": 16,
    "access": 21,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "nanosleep": 35,
    "getpid": 39,
    "exit": 60,
    "readlink": 89,
    "sysinfo": 99,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "tgkill": 234,
    "openat": 257,
    "newfstatat": 262,
}
ACTIONS = {"allow": ALLOW, "refuse": REFUSE}


class Condition(NamedTuple):
    """Holds where the masked argument is one of the values."""

    argument: int
    mask: int
    values: tuple[int, ...]


class Rule(NamedTuple):
    """What happens to a call for which every condition holds."""

    number: int
    conditions: tuple[Condition, ...]
    action: int


class Instruction(NamedTuple):
    """One instruction; a jump's targets are distances from the next one."""

    code: int
    if_true: int
    if_false: int
    operand: int


class PolicyError(Exception):
    """The policy says something that cannot be compiled."""


def _fields(value: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    if not required <= set(value) <= required | optional:
        message = f"fields {sorted(value)} instead of {sorted(required)} and perhaps {sorted(optional)}"
        raise PolicyError(message)


def _condition(value: Mapping[str, Any]) -> Condition:
    _fields(value, {"argument", "values"}, {"mask"})
    condition = Condition(value["argument"], value.get("mask", WHOLE), tuple(value["values"]))
    if condition.argument not in range(ARGUMENTS) or not condition.values:
        message = f"argument {condition.argument} with {len(condition.values)} values"
        raise PolicyError(message)
    if any(number & condition.mask != number for number in condition.values):
        message = "a value has bits that the mask leaves out: it would never be met"
        raise PolicyError(message)
    return condition


def parse_rules(document: Mapping[str, Any]) -> list[Rule]:
    """Return the rules of a policy, one for each call it names.

    Raises:
        PolicyError: an unknown field, call or action, another architecture, or a default that is not the strictest.
    """
    _fields(document, {"architecture", "otherwise", "rules"}, set())
    if (document["architecture"], document["otherwise"]) != ("x86_64", "end_process"):
        message = "only x86_64 is known, and only end_process may be the default"
        raise PolicyError(message)
    rules = []
    for value in document["rules"]:
        _fields(value, {"comment", "calls", "action"}, {"conditions"})
        unknown = set(value["calls"]) - set(NUMBERS)
        if unknown or value["action"] not in ACTIONS:
            message = f"unknown calls {sorted(unknown)} or action {value['action']!r}"
            raise PolicyError(message)
        conditions = tuple(_condition(condition) for condition in value.get("conditions", ()))
        rules += [Rule(NUMBERS[call], conditions, ACTIONS[value["action"]]) for call in value["calls"]]
    return rules


def _alternative(condition: Condition, value: int, met: int, not_met: int) -> list[Instruction]:
    # Both halves of the argument against both halves of one value; the targets count from the end of this block.
    offset = ARGUMENTS_OFFSET + ARGUMENT_BYTES * condition.argument
    high_mask, low_mask = condition.mask >> 32, condition.mask & HALF
    high = [
        Instruction(LOAD_WORD, 0, 0, offset + 4),
        Instruction(AND, 0, 0, high_mask),
        Instruction(JUMP_IF_EQUAL, met, not_met, value >> 32),
    ]
    low = [
        Instruction(LOAD_WORD, 0, 0, offset),
        Instruction(AND, 0, 0, low_mask),
        Instruction(JUMP_IF_EQUAL, 0, not_met + len(high), value & HALF),
    ]
    return [*low, *high]


def _condition_block(condition: Condition, not_met: int) -> list[Instruction]:
    block: list[Instruction] = []
    for value in reversed(condition.values):
        # The last value's failure leads out; an earlier one's leads to the next value.
        block = [*_alternative(condition, value, len(block), 0 if block else not_met), *block]
    return block


def _rule_block(rule: Rule) -> list[Instruction]:
    block = [Instruction(RETURN, 0, 0, rule.action)]
    for condition in reversed(rule.conditions):
        block = [*_condition_block(condition, len(block)), *block]
    return [
        Instruction(LOAD_WORD, 0, 0, NUMBER_OFFSET),
        Instruction(JUMP_IF_EQUAL, 0, len(block), rule.number),
        *block,
    ]


def compile_rules(rules: Sequence[Rule], end_action: int) -> list[Instruction]:
    """Return the program: the convention first, then every rule in its order, then the end of the process.

    Args:
        rules: what is let through or refused.
        end_action: what ends the process: a value of ``ENDS``.

    Raises:
        PolicyError: a rule or the whole is too long for the machine.
    """
    end = Instruction(RETURN, 0, 0, end_action)
    program = [
        Instruction(LOAD_WORD, 0, 0, ARCHITECTURE_OFFSET),
        Instruction(JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        end,
        Instruction(LOAD_WORD, 0, 0, NUMBER_OFFSET),
        Instruction(JUMP_IF_AT_LEAST, 0, 1, X32_BIT),
        end,
    ]
    for rule in rules:
        program += _rule_block(rule)
    program.append(end)
    if len(program) > INSTRUCTIONS_MAX or any(max(step.if_true, step.if_false) > JUMP_MAX for step in program):
        message = "a rule has too many alternatives, or there are too many rules"
        raise PolicyError(message)
    return program


def _encoded(program: Sequence[Instruction]) -> Iterator[bytes]:
    # linux/filter.h, struct sock_filter.
    for step in program:
        yield struct.pack("<HBBI", step.code, step.if_true, step.if_false, step.operand)


def compile_policy(policy: bytes) -> dict[str, bytes]:
    """Return the programs as seccomp(2) takes them, by the way in which each ends a process.

    Raises:
        PolicyError: see `parse_rules` and `compile_rules`.
    """
    rules = parse_rules(json.loads(policy))
    return {way: b"".join(_encoded(compile_rules(rules, action))) for way, action in ENDS.items()}


if __name__ == "__main__":
    for way, program in compile_policy(Path(sys.argv[1]).read_bytes()).items():
        Path(sys.argv[2], f"lockdown-{way}.bpf").write_bytes(program)
