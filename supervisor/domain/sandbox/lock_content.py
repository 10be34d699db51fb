"""Whether the filters of a sandbox's threads are the locks of the policies, decided from their own programs. Pure.

The kernel hands out the program of every filter. Lock two must be the bytes that the image's manifest names. Lock one
is compiled by the container engine, so its program is run for every call and compared with `seccomp.json`.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from supervisor.domain.policies.seccomp_profile import SeccompArgument, SeccompProfile, SeccompRule
from supervisor.domain.policies.system_calls import NUMBERS, name_of
from supervisor.domain.sandbox.filter_program import ALLOW, SystemCall, answer

__all__ = ["FilterChain", "find_deviation", "shared_chain"]

FilterChain = tuple[bytes, ...]
"""The filter programs of one thread, the newest first."""

ARGUMENTS = 6
ARGUMENT_BITS = 64
WHOLE = (1 << ARGUMENT_BITS) - 1
# The kernel's table and as many numbers again, for the calls of newer kernels.
NUMBERS_TRIED = 1024
# asm/unistd.h: the x32 convention sets this bit of the number. linux/audit.h: the convention of int 0x80.
X32_BIT = 0x40000000
I386 = 0x40000003


def shared_chain(chains: Sequence[FilterChain]) -> FilterChain | None:
    """Return the filters that all threads have; None: there is no thread, or one has other filters than another."""
    return chains[0] if chains and all(chain == chains[0] for chain in chains) else None


@lru_cache(maxsize=16)
def find_deviation(programs: FilterChain, profile: SeccompProfile) -> str | None:
    """Return the first system call that filters answer otherwise than a profile; None: there is none.

    Every number is tried by every calling convention. Where the profile has conditions on arguments, each is met, and
    each is missed by every single bit.

    Raises:
        ValueError: a program is not understood.
    """
    rules: dict[int, list[SeccompRule]] = {}
    for rule in profile.syscalls:
        for name in rule.names:
            rules.setdefault(NUMBERS[name], []).append(rule)
    for number in range(NUMBERS_TRIED):
        of_number = rules.get(number, [])
        for arguments in _arguments_to_try(of_number):
            is_allowed = answer(programs, SystemCall(number, arguments)) == ALLOW
            if is_allowed != any(_allows(rule, arguments) for rule in of_number):
                return f"{name_of(number)} with {', '.join(map(hex, arguments))}"
        for foreign in (SystemCall(number | X32_BIT), SystemCall(number, architecture=I386)):
            if answer(programs, foreign) == ALLOW:
                return f"{name_of(number)} by another calling convention"
    return None


def _condition(argument: SeccompArgument) -> tuple[int, int]:
    """Return the mask of a condition, and the value that the masked argument must have."""
    return (WHOLE, argument.value) if argument.valueTwo is None else (argument.value, argument.valueTwo)


def _meets(argument: SeccompArgument, arguments: Sequence[int]) -> bool:
    mask, value = _condition(argument)
    return arguments[argument.index] & mask == value


def _allows(rule: SeccompRule, arguments: Sequence[int]) -> bool:
    return rule.action == "SCMP_ACT_ALLOW" and all(_meets(each, arguments) for each in rule.args)


def _arguments_to_try(rules: Sequence[SeccompRule]) -> Iterator[tuple[int, ...]]:
    yield (0,) * ARGUMENTS
    for rule in rules:
        for others in (0, WHOLE):
            met = [others] * ARGUMENTS
            for each in rule.args:
                mask, value = _condition(each)
                met[each.index] = value | (others & ~mask)
            yield tuple(met)
            for each in rule.args:
                for bit in range(ARGUMENT_BITS):
                    flipped = list(met)
                    flipped[each.index] ^= 1 << bit
                    yield tuple(flipped)
