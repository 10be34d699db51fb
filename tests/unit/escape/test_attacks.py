import json
import re
from collections import Counter
from typing import get_args

import pytest

from build import lockdown_compiler
from contracts.wire.types import IsolationTier
from supervisor.adapters.policies import load_policies
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.policies.system_calls import NUMBERS, WALKED, name_of
from supervisor.escape import lock_one, lock_two, surroundings
from supervisor.escape.attack import Attack, Verdict, expect, judge
from supervisor.escape.catalogue import plan_attempts
from supervisor.escape.task import INSIDE, MODULES

POLICIES = load_policies(SOURCE_ROOT / "policies")
TIERS: tuple[IsolationTier, ...] = get_args(IsolationTier)
TABLES = (lock_one.CALLS, lock_two.CALLS, surroundings.SURROUNDINGS)
ATTACKS = [attack for table in TABLES for attacks in table.values() for attack in attacks]


def calls_of(table: dict[str, tuple[Attack, ...]]) -> str:
    return " ".join(attack.code for attacks in table.values() for attack in attacks)


@pytest.mark.parametrize(
    ("expected", "observed", "verdict"),
    [
        (("EPERM",), "EPERM", "blocked"),
        (("EPERM", "ENOSYS"), "ENOSYS", "blocked"),
        (("EPERM",), "allowed", "allowed"),
        (("EPERM",), "allowed: /dev/x", "allowed"),
        (("EPERM",), "EACCES", "unexpected"),
        (("SIGSYS",), "SIGSEGV", "unexpected"),
        (("nothing",), "nothing", "blocked"),
        (("nothing",), "allowed: eth0", "allowed"),
        (("EPERM",), "nothing", "unexpected"),
        (("allowed",), "allowed", "open"),
        (("allowed",), "EPERM", "unexpected"),
        (("allowed",), "allowed: /dev/x", "allowed"),
        (("allowed: /a /b",), "allowed: /a /b", "open"),
        (("allowed: /a /b",), "allowed: /b", "open"),
        (("allowed: /a /b",), "nothing", "blocked"),
        (("allowed: /a /b",), "allowed: /b /c", "allowed"),
        (("allowed: /a /b",), "allowed", "allowed"),
    ],
)
def test_an_answer_is_judged_by_the_expected_answers(
    expected: tuple[str, ...], observed: str, verdict: Verdict
) -> None:
    assert judge(expected, observed) == verdict


def test_a_tier_may_expect_another_answer() -> None:
    attack = Attack("x", "y", ("EPERM",), gvisor=("SIGSEGV",))
    assert [expect(attack, tier) for tier in ("hardened", "gvisor")] == [("EPERM",), ("SIGSEGV",)]
    assert expect(Attack("x", "y"), "gvisor") == ("EPERM",)


@pytest.mark.parametrize("tier", TIERS)
def test_an_attack_is_identified_by_its_name_and_moment(tier: IsolationTier) -> None:
    counted = Counter((each.attack.name, each.moment) for each in plan_attempts(tier))
    assert [key for key, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("tier", TIERS)
def test_an_attack_that_is_expected_to_succeed_has_a_note(tier: IsolationTier) -> None:
    for planned in plan_attempts(tier):
        if any(answer.startswith("allowed") for answer in planned.expected):
            assert planned.attack.note, planned.attack.name


def test_every_call_that_is_named_has_a_number() -> None:
    named = {name for attack in ATTACKS for name in re.findall(r"call\('(\w+)'", attack.code)}
    assert named - set(NUMBERS) == set()
    calls = POLICIES.sandbox.system_calls
    assert {*calls.forbidden, *calls.forbidden_after_lockdown, *POLICIES.seccomp.allowed} - set(NUMBERS) == set()


def test_numbers_agree_with_the_second_locks_compiler() -> None:
    assert {name: NUMBERS[name] for name in lockdown_compiler.NUMBERS} == lockdown_compiler.NUMBERS
    assert (NUMBERS["open_tree"], NUMBERS["openat2"], NUMBERS["futex_wake"]) == (428, 437, 454)
    assert max(NUMBERS.values()) in WALKED
    assert (name_of(0), name_of(511)) == ("read", "number_511")


def test_every_condition_of_lock_one_has_its_attack() -> None:
    conditional = {name for rule in POLICIES.seccomp.syscalls if rule.args for name in rule.names}
    assert {name for name in conditional if f"call('{name}'" not in calls_of(lock_one.CALLS)} == set()


def test_every_condition_and_refusal_of_lock_two_has_its_attack() -> None:
    named = {
        name for rule in POLICIES.lockdown.rules if rule.conditions or rule.action == "refuse" for name in rule.calls
    }
    assert {name for name in named if f"call('{name}'" not in calls_of(lock_two.CALLS)} == set()


def test_modules_inside_the_container_import_nothing_of_the_host() -> None:
    sources = {name: (INSIDE / f"{name}.py").read_text() for name in MODULES}
    assert {path.stem for path in INSIDE.glob("*.py")} == {*MODULES, "__init__"}
    imported = {word for text in sources.values() for word in re.findall(r"^(?:from|import) ([\w.]+)", text, re.M)}
    of_ours = {name for name in imported if name.startswith(("supervisor", "contracts"))}
    assert of_ours <= {f"supervisor.escape.inside.{name}" for name in MODULES}
    # One argument of a program may have so many bytes (linux/binfmts.h, MAX_ARG_STRLEN).
    tables = json.dumps([(attack.code, attack.before) for attack in ATTACKS])
    assert len(json.dumps(sources)) + len(tables) + len(json.dumps(NUMBERS)) < 100_000
