"""Both locks as rules: read from the policies, asked about a call, widened by what was recorded, and compiled."""

import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from build.lockdown_compiler import ALLOW, ENDS, REFUSE, WHOLE, Condition, Rule, compile_rules, parse_rules
from supervisor.domain.policies.seccomp_profile import SeccompProfile, SeccompRule
from supervisor.domain.policies.system_calls import NUMBERS

__all__ = [
    "ALLOWS_ALL",
    "ASKS_ABOUT_ALL",
    "END",
    "REFUSE",
    "SIGNIFICANT",
    "compile_lock",
    "decide",
    "lock_one_rules",
    "lock_two_rules",
    "rule_for",
    "without_call",
]

END = ENDS["kill_process"]
# linux/seccomp.h: SECCOMP_RET_USER_NOTIF, SECCOMP_RET_ERRNO.
ASK, ERRNO = 0x7FC00000, 0x00050000
RETURN = 0x06
INSTRUCTION = struct.Struct("<HBBI")
ALLOWS_ALL = INSTRUCTION.pack(RETURN, 0, 0, ALLOW)
ASKS_ABOUT_ALL = INSTRUCTION.pack(RETURN, 0, 0, ASK)

# The arguments of a call that say what it does; the others are addresses, lengths and descriptors. 32 bits of each.
SIGNIFICANT: dict[str, tuple[int, ...]] = {
    "arch_prctl": (0,),
    "clone": (0,),
    "eventfd2": (1,),
    "fcntl": (1,),
    "futex": (1,),
    "ioctl": (1,),
    "madvise": (2,),
    "memfd_create": (1,),
    "mmap": (2, 3),
    "mprotect": (2,),
    "mremap": (3,),
    "openat": (2,),
    "pipe2": (1,),
    "prctl": (0,),
    "read": (0,),
    "seccomp": (0, 1),
    "socket": (0, 1, 2),
    "tgkill": (2,),
    "write": (0,),
}
LOW_HALF = 0xFFFFFFFF


def _conditions(rule: SeccompRule) -> tuple[Condition, ...]:
    return tuple(
        Condition(each.index, WHOLE, (each.value,))
        if each.valueTwo is None
        else Condition(each.index, each.value, (each.valueTwo,))
        for each in rule.args
    )


def lock_one_rules(profile: SeccompProfile) -> list[Rule]:
    """Return the rules of `policies/seccomp.json`."""
    return [
        Rule(
            NUMBERS[name],
            _conditions(rule),
            ALLOW if rule.action == "SCMP_ACT_ALLOW" else ERRNO | (rule.errnoRet or 1),
        )
        for rule in profile.syscalls
        for name in rule.names
    ]


def lock_two_rules(policy: Path) -> list[Rule]:
    """Return the rules of `policies/lockdown.json`."""
    return parse_rules(json.loads(policy.read_bytes()))


def decide(rules: Iterable[Rule], otherwise: int, number: int, arguments: Sequence[int]) -> int:
    """Return what a lock does with a call."""
    for rule in rules:
        if rule.number == number and all(
            arguments[each.argument] & each.mask in each.values for each in rule.conditions
        ):
            return rule.action
    return otherwise


def rule_for(name: str, arguments: Sequence[int]) -> Rule:
    """Return the rule that lets a recorded call through: this call with these significant arguments."""
    conditions = tuple(
        Condition(index, LOW_HALF, (value,)) for index, value in zip(SIGNIFICANT.get(name, ()), arguments, strict=True)
    )
    return Rule(NUMBERS[name], conditions, ALLOW)


def without_call(rules: Iterable[Rule], gone: Rule) -> list[Rule]:
    """Return the rules but one."""
    return [rule for rule in rules if rule != gone]


def compile_lock(rules: Sequence[Rule], otherwise: int) -> bytes:
    """Return the program as seccomp(2) takes it.

    Raises:
        build.lockdown_compiler.PolicyError: it is too long.
    """
    return b"".join(
        INSTRUCTION.pack(step.code, step.if_true, step.if_false, step.operand)
        for step in compile_rules(rules, otherwise)
    )
