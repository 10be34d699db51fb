"""One attack: the attempt, the expected answers, and the judgement of the observed answer."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["ENDED", "Attack", "Moment", "Verdict", "expect", "judge"]

Moment = Literal["lock_one", "lock_two"]
Verdict = Literal["blocked", "open", "allowed", "unexpected"]

ALLOWED = "allowed"
NOTHING = "nothing"
# How the container engine reports a process that its filter ended.
ENDED = "SIGSYS"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt: an expression over the tools of `supervisor.escape.inside`.

    `without` is the kernel's own answer, and shows that the attempt is real. It differs from `expected` if arguments
    exist for which it can differ; the attempt then fails when its rule is removed. If the kernel asks for a capability
    before it looks at any argument, both answers are EPERM, and two barriers protect. ``any`` means that the kernel's
    answer depends on its build. Under lock one `without` is not tried, because without the filter some attempts leave
    processes and message queues behind. Under lock two it is the answer under lock one, and is tried.

    Attributes:
        name: The attempt, in words.
        code: The expression.
        expected: The answers that count as blocked; `allowed` if the attempt is known to succeed, see `note`.
        without: The answer without the rule, or with lock one alone.
        locked: The answers of the same attempt under lock two; empty if it is not tried there.
        gvisor: The answers in the tier gvisor, if they differ.
        alone: Whether the attempt needs a container of its own.
        before: An expression that is evaluated before the lock; its value is `prepared`.
        note: Why an attempt that is expected to succeed, in at least one tier, does no harm.
    """

    name: str
    code: str
    expected: tuple[str, ...] = ("EPERM",)
    without: str = ALLOWED
    locked: tuple[str, ...] = (ENDED,)
    gvisor: tuple[str, ...] = ()
    alone: bool = False
    before: str = "None"
    note: str | None = None


def expect(attack: Attack, isolation: str) -> tuple[str, ...]:
    """Return the expected answers of an attack in a tier."""
    return attack.gvisor if isolation == "gvisor" and attack.gvisor else attack.expected


def judge(expected: tuple[str, ...], observed: str) -> Verdict:
    """Return the verdict on an answer; every verdict except `blocked` and `open` is a failure.

    An attempt that looks for things may find fewer than expected, since another version of a runtime may hide more.
    """
    if observed in expected or (_is_look(observed) and any(_covers(answer, observed) for answer in expected)):
        return "open" if observed.startswith(ALLOWED) else "blocked"
    return "allowed" if observed.startswith(ALLOWED) else "unexpected"


def _is_look(answer: str) -> bool:
    return answer == NOTHING or answer.startswith(f"{ALLOWED}: ")


def _covers(expected: str, observed: str) -> bool:
    return expected.startswith(f"{ALLOWED}: ") and _things(observed) <= _things(expected)


def _things(answer: str) -> set[str]:
    return set(answer.removeprefix(NOTHING).removeprefix(f"{ALLOWED}: ").split())
