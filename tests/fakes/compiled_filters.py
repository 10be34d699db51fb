"""Lock one as a container engine compiles it, made with our own compiler."""

from functools import cache

from build.lockdown_compiler import ALLOW, ENDS, REFUSE, WHOLE, Condition, Instruction, Rule, compile_rules
from supervisor.adapters.policies import load_policies
from supervisor.domain.policies.seccomp_profile import SeccompArgument, SeccompProfile
from supervisor.domain.policies.system_calls import NUMBERS
from tests.places import REPOSITORY

__all__ = ["encode", "lock_one", "rules_of"]


def _condition(argument: SeccompArgument) -> Condition:
    if argument.valueTwo is None:
        return Condition(argument.index, WHOLE, (argument.value,))
    return Condition(argument.index, argument.value, (argument.valueTwo,))


def rules_of(profile: SeccompProfile) -> list[Rule]:
    """Return the rules that a container engine compiles."""
    return [
        Rule(NUMBERS[name], tuple(map(_condition, rule.args)), ALLOW if rule.action == "SCMP_ACT_ALLOW" else REFUSE)
        for rule in profile.syscalls
        for name in rule.names
    ]


def encode(program: list[Instruction]) -> bytes:
    """Return a program as the kernel hands it out."""
    return b"".join(
        each.code.to_bytes(2, "little") + bytes((each.if_true, each.if_false)) + each.operand.to_bytes(4, "little")
        for each in program
    )


@cache
def lock_one() -> bytes:
    """Return the program of the repository's own lock one."""
    profile = load_policies(REPOSITORY / "policies").seccomp
    return encode(compile_rules(rules_of(profile), ENDS["kill_process"]))
