import hashlib
import struct
from collections.abc import Callable

import pytest

from build.lockdown_compiler import ALLOW as COMPILED_ALLOW
from build.lockdown_compiler import ENDS, REFUSE, Condition, Rule, compile_rules
from supervisor.adapters.policies import load_policies
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.policies.system_calls import NUMBERS
from supervisor.domain.sandbox.filter_program import ALLOW, SystemCall, answer
from supervisor.domain.sandbox.lock_content import FilterChain, find_deviation
from supervisor.domain.sandbox.locks import judge_filters
from tests.fakes.compiled_filters import encode, rules_of
from tests.fakes.filters import LOCK_TWO, lock_one
from tests.places import REPOSITORY

PROFILE = load_policies(REPOSITORY / "policies").seccomp
KILL, TRAP, ERRNO = 0x80000000, 0x00030000, 0x00050000
PATH = "/opt/weos/lockdown-kill_process.bpf"
FILES = {PATH: hashlib.sha256(LOCK_TWO).hexdigest()}


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<HBBI", *each) for each in instructions)


def returning(action: int) -> bytes:
    return program((0x06, 0, 0, action))


def judge(*chains: FilterChain) -> tuple[str, ...]:
    return judge_filters(chains, image_files=FILES, program_path=PATH, profile=PROFILE)


def refused(*chains: FilterChain) -> str:
    with pytest.raises(ExecutionFault) as caught:
        judge(*chains)
    assert caught.value.code == "lock_missing"
    return caught.value.detail


def test_both_locks_are_told_by_their_programs() -> None:
    chain = (LOCK_TWO, lock_one())
    assert judge(chain, chain) == tuple(f"sha256:{hashlib.sha256(each).hexdigest()}" for each in chain)


@pytest.mark.parametrize(
    "chains",
    [
        (),
        ((LOCK_TWO,),),
        ((LOCK_TWO, lock_one()), (LOCK_TWO, lock_one(), lock_one())),
        ((LOCK_TWO, lock_one()), (returning(ALLOW), lock_one())),
    ],
)
def test_threads_that_are_not_under_the_same_two_locks_are_refused(chains: tuple[FilterChain, ...]) -> None:
    assert "are not under the same two filters" in refused(*chains)


def test_a_false_lock_two_is_refused() -> None:
    assert "not the program of lock two" in refused((returning(ALLOW), lock_one()))


@pytest.mark.parametrize("first", [returning(ALLOW), returning(ERRNO | 1)])
def test_a_false_lock_one_is_refused_with_the_call_that_shows_it(first: bytes) -> None:
    assert "lock one does not answer as seccomp.json says: " in refused((LOCK_TWO, first))


def test_a_program_that_is_not_understood_is_refused() -> None:
    assert "unknown instruction 0x87" in refused((LOCK_TWO, program((0x87, 0, 0, 0))))
    assert "does not end" in refused((LOCK_TWO, program((0x20, 0, 0, 0))))


def without(rules: list[Rule], name: str) -> list[Rule]:
    return [each for each in rules if each.number != NUMBERS[name]]


WIDER: dict[str, Callable[[list[Rule]], list[Rule]]] = {
    "another call": lambda rules: [*rules, Rule(NUMBERS["ptrace"], (), COMPILED_ALLOW)],
    "a call beyond the kernel's table": lambda rules: [*rules, Rule(900, (), COMPILED_ALLOW)],
    "a call without its condition": lambda rules: [
        *without(rules, "clone"),
        Rule(NUMBERS["clone"], (), COMPILED_ALLOW),
    ],
    "another value of an argument": lambda rules: [
        *rules,
        Rule(NUMBERS["arch_prctl"], (Condition(0, (1 << 64) - 1, (0x1003,)),), COMPILED_ALLOW),
    ],
    "half of an argument": lambda rules: [
        Rule(NUMBERS["prlimit64"], (Condition(0, 0xFFFFFFFF, (0,)), Condition(2, 0xFFFFFFFF, (0,))), COMPILED_ALLOW),
        *rules,
    ],
    "a call less": lambda rules: without(rules, "brk"),
    "a call refused first": lambda rules: [Rule(NUMBERS["futex"], (), REFUSE), *rules],
}


@pytest.mark.parametrize("change", WIDER.values(), ids=WIDER)
def test_a_lock_one_that_differs_in_one_rule_is_found(change: Callable[[list[Rule]], list[Rule]]) -> None:
    changed = encode(compile_rules(change(rules_of(PROFILE)), ENDS["kill_process"]))
    assert find_deviation((changed,), PROFILE) is not None
    assert find_deviation((lock_one(),), PROFILE) is None


def test_a_lock_one_that_lets_another_convention_through_is_found() -> None:
    for_any_architecture = lock_one()[3 * 8 :]
    assert "by another calling convention" in str(find_deviation((for_any_architecture,), PROFILE))


def test_of_several_filters_the_strictest_answer_holds() -> None:
    call = SystemCall(0)
    assert answer((returning(ALLOW), returning(ERRNO | 1)), call) == ERRNO
    assert answer((returning(ERRNO), returning(TRAP), returning(ALLOW)), call) == TRAP
    assert answer((returning(TRAP), returning(KILL)), call) == KILL


def test_each_instruction_does_what_the_kernel_does() -> None:
    # Loads the low half of argument 1, masks it, and compares it in three ways; a jump leads over an answer.
    steps = program(
        (0x20, 0, 0, 24),
        (0x54, 0, 0, 0xFF),
        (0x15, 0, 1, 7),
        (0x06, 0, 0, TRAP),
        (0x45, 0, 1, 8),
        (0x06, 0, 0, TRAP),
        (0x25, 0, 1, 100),
        (0x06, 0, 0, ERRNO),
        (0x35, 0, 1, 50),
        (0x05, 0, 0, 1),
        (0x06, 0, 0, ALLOW),
        (0x06, 0, 0, KILL),
    )
    expected = {7: TRAP, 0x107: TRAP, 8: TRAP, 101: ERRNO, 100: KILL, 50: KILL, 33: ALLOW}
    assert {each: answer((steps,), SystemCall(0, (0, each, 0, 0, 0, 0))) for each in expected} == expected
    by_convention = program((0x20, 0, 0, 4), (0x15, 0, 1, 0xC000003E), (0x06, 0, 0, ALLOW)) + returning(KILL)
    assert answer((by_convention,), SystemCall(0)) == ALLOW
    assert answer((by_convention,), SystemCall(0, architecture=0x40000003)) == KILL


@pytest.mark.parametrize("offset", [2, 64])
def test_a_load_beside_the_words_of_a_call_is_refused(offset: int) -> None:
    with pytest.raises(ValueError, match="unknown instruction 0x20"):
        answer((program((0x20, 0, 0, offset)) + returning(ALLOW),), SystemCall(0))
