"""The compiler of lock two, judged by an interpreter of its own that knows nothing of how it compiles."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build import lockdown_compiler as compiler
from supervisor.composition import SOURCE_ROOT

X86_64 = 0xC000003E
I386 = 0x40000003
ALLOW, REFUSE, KILL = "allow", "refuse", "kill"
VERDICTS = {0x7FFF0000: ALLOW, 0x00050001: REFUSE, 0x80000000: KILL}
POLICY = (SOURCE_ROOT / "policies" / "lockdown.json").read_bytes()

Arguments = tuple[int, ...]


def compiled(document: dict[str, Any] | bytes) -> bytes:
    """The program for the tier `hardened`."""
    policy = document if isinstance(document, bytes) else json.dumps(document).encode()
    return compiler.compile_policy(policy)["kill_process"]


def interpret(program: bytes, number: int, arguments: Arguments, architecture: int = X86_64) -> str:
    """Run a program over one call, as networking/filter.rst describes the machine."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments)
    steps = list(struct.iter_unpack("<HBBI", program))
    accumulator = position = 0
    while True:
        code, if_true, if_false, operand = steps[position]
        position += 1
        if code == 0x20:
            assert operand % 4 == 0
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x15:
            position += if_true if accumulator == operand else if_false
        elif code == 0x35:
            position += if_true if accumulator >= operand else if_false
        else:
            assert code == 0x06
            return VERDICTS[operand]


def decide(document: dict[str, Any], number: int, arguments: Arguments) -> str:
    """What the policy says, read as a person reads it."""
    for rule in document["rules"]:
        if number not in {compiler.NUMBERS[call] for call in rule["calls"]}:
            continue
        if all(
            arguments[condition["argument"]] & condition.get("mask", 2**64 - 1) in condition["values"]
            for condition in rule.get("conditions", [])
        ):
            return str(rule["action"])
    return KILL


EDGES = [0, 1, 2, 3, 4, 7, 34, 128, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40 + 3, 2**53 - 1]
NUMBERS = st.sampled_from(EDGES) | st.integers(0, 2**53 - 1)


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    mask = draw(st.none() | NUMBERS)
    values = draw(st.lists(NUMBERS, min_size=1, max_size=4))
    condition: dict[str, Any] = {"argument": draw(st.integers(0, 5))}
    if mask is None:
        return condition | {"values": values}
    return condition | {"mask": mask, "values": [value & mask for value in values]}


RULES = st.fixed_dictionaries(
    {
        "comment": st.just("why"),
        "calls": st.lists(st.sampled_from(sorted(compiler.NUMBERS)), min_size=1, max_size=3),
        "action": st.sampled_from([ALLOW, REFUSE]),
        "conditions": st.lists(conditions(), max_size=3),
    }
)
POLICIES = st.fixed_dictionaries(
    {
        "architecture": st.just("x86_64"),
        "otherwise": st.just("end_process"),
        "rules": st.lists(RULES, min_size=1, max_size=6),
    }
)
ARGUMENTS = st.tuples(*[st.sampled_from(EDGES) | st.integers(0, 2**64 - 1)] * 6)


@st.composite
def arguments_near(draw: st.DrawFn, document: dict[str, Any]) -> tuple[int, Arguments]:
    """A call that fits one of the rules, or nearly."""
    rule = draw(st.sampled_from(document["rules"]))
    arguments = list(draw(ARGUMENTS))
    for condition in rule.get("conditions", []):
        value = draw(st.sampled_from(condition["values"]))
        noise = draw(st.sampled_from([0, 0, 0, 1, 2**32, 2**63]) | st.integers(0, 2**64 - 1))
        arguments[condition["argument"]] = value ^ (noise & ~condition.get("mask", 0) & (2**64 - 1))
    return compiler.NUMBERS[draw(st.sampled_from(rule["calls"]))], tuple(arguments)


@given(st.data())
def test_a_program_decides_as_its_policy_reads(data: st.DataObject) -> None:
    document = data.draw(POLICIES)
    program = compiled(document)
    number, arguments = data.draw(arguments_near(document))
    assert interpret(program, number, arguments) == decide(document, number, arguments)


@given(st.data())
def test_the_repositorys_program_decides_as_its_policy_reads(data: st.DataObject) -> None:
    document = json.loads(POLICY)
    number, arguments = data.draw(arguments_near(document) | st.tuples(st.integers(0, 500), ARGUMENTS))
    assert interpret(compiled(POLICY), number, arguments) == decide(document, number, arguments)


@given(st.sampled_from(sorted(compiler.NUMBERS.values())), ARGUMENTS)
def test_another_convention_ends_the_process(number: int, arguments: Arguments) -> None:
    program = compiled(POLICY)
    assert interpret(program, number, arguments, I386) == KILL
    assert interpret(program, number | 0x40000000, arguments) == KILL


@pytest.mark.parametrize(
    ("call", "arguments", "verdict"),
    [
        ("read", (0,), ALLOW),
        ("read", (4,), KILL),
        ("read", (2**32,), KILL),
        ("write", (3,), ALLOW),
        ("write", (4,), KILL),
        ("futex", (0, 128), ALLOW),
        ("futex", (0, 137 | 256), ALLOW),
        ("futex", (0, 0), KILL),
        ("futex", (0, 1), KILL),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),
        ("mmap", (0, 4096, 3, 0x4022), ALLOW),
        ("mmap", (0, 4096, 5, 0x22), KILL),
        ("mmap", (0, 4096, 3, 0x21), KILL),
        ("mmap", (0, 4096, 3, 0x2), KILL),
        ("mmap", (0, 4096, 3, 0x32), KILL),
        ("mprotect", (0, 4096, 3), ALLOW),
        ("mprotect", (0, 4096, 5), KILL),
        ("madvise", (0, 4096, 4), ALLOW),
        ("madvise", (0, 4096, 21), KILL),
        ("mremap", (0, 0, 0, 1), ALLOW),
        ("mremap", (0, 0, 0, 3), KILL),
        ("tgkill", (1, 1, 6), ALLOW),
        ("tgkill", (1, 1, 9), KILL),
        ("openat", (0, 0, 0), REFUSE),
        ("exit_group", (0,), ALLOW),
        ("clock_nanosleep", (0,), KILL),
    ],
)
def test_the_second_lock_allows_computing_and_answering(call: str, arguments: Arguments, verdict: str) -> None:
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    assert interpret(compiled(POLICY), compiler.NUMBERS[call], padded) == verdict


def test_programs_differ_in_how_they_end_a_process_and_in_nothing_else() -> None:
    programs = compiler.compile_policy(POLICY)
    ends = {"kill_process": 0x80000000, "trap": 0x00030000}
    assert set(programs) == set(ends)
    steps = {way: list(struct.iter_unpack("<HBBI", program)) for way, program in programs.items()}
    killing = [ends["trap"] if step[3] == ends["kill_process"] else step[3] for step in steps["kill_process"]]
    assert killing == [step[3] for step in steps["trap"]]
    assert ends["kill_process"] not in [step[3] for step in steps["trap"]]
    assert ends["trap"] not in [step[3] for step in steps["kill_process"]]


RULE: dict[str, Any] = {"comment": "", "calls": ["read"], "action": "allow"}


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "aarch64"},
        {"otherwise": "allow"},
        {"otherwise": "refuse"},
        {"extra": 1},
        {"rules": [RULE | {"calls": ["execve"]}]},
        {"rules": [RULE | {"action": "log"}]},
        {"rules": [RULE | {"extra": 1}]},
        {"rules": [{"calls": ["read"]}]},
        {"rules": [RULE | {"conditions": [{"argument": 6, "values": [0]}]}]},
        {"rules": [RULE | {"conditions": [{"argument": 0, "values": []}]}]},
        {"rules": [RULE | {"conditions": [{"argument": 0, "mask": 1, "values": [2]}]}]},
        {"rules": [RULE | {"conditions": [{"argument": 0, "values": list(range(100))}]}]},
        {"rules": [RULE | {"calls": ["read"] * 2000}]},
    ],
)
def test_what_cannot_be_compiled_is_refused(change: dict[str, Any]) -> None:
    document = {"architecture": "x86_64", "otherwise": "end_process", "rules": [RULE]} | change
    with pytest.raises(compiler.PolicyError):
        compiled(document)
