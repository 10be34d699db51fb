"""One attack: what is tried, what it must come to, and the judgement of what it came to."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["ENDED", "Attack", "Moment", "Verdict", "expect", "judge"]

Moment = Literal["lock_one", "lock_two"]
Verdict = Literal["blocked", "open", "allowed", "unexpected"]

ALLOWED = "allowed"
NOTHING = "nothing"
# The end of a process by its filter, as the container engine reports it.
ENDED = "SIGSYS"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt: an expression over the tools of `supervisor.escape.inside`.

    What the kernel alone answers (`without`) says that the attempt is a real one: it differs from `expected` wherever
    arguments can be found for which it does; then the attempt fails when its rule is removed. Where the kernel asks
    for a capability before it looks at any argument, both say EPERM: two walls. ``any``: what the kernel says depends
    on how it was built. It is not tried under lock one: without the filter some attempts leave processes and message
    queues behind. Under lock two it is the answer of lock one, and tried.

    Attributes:
        name: What is tried, in words.
        code: The expression.
        expected: The answers that count as blocked; `allowed` where the attempt is known to succeed, see `note`.
        without: What it would be without the rule, or with lock one alone.
        locked: What the same attempt comes to under lock two; empty where it is not tried there.
        gvisor: The answers in the tier gvisor, where they are others.
        alone: Whether it needs a container of its own.
        before: An expression for what must be made before the lock; its value is `prepared`.
        note: Why an attempt that is expected to succeed does no harm, in one tier at least.
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
    """Return the answers that an attack must come to in a tier."""
    return attack.gvisor if isolation == "gvisor" and attack.gvisor else attack.expected


def judge(expected: tuple[str, ...], observed: str) -> Verdict:
    """Return what an answer says: everything but `blocked` and `open` is a failure.

    A look that may find certain things may find fewer of them: another version of a runtime hides more.
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
