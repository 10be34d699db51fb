"""Every attack of the suite, in the report's order: by group, and within a group lock one before lock two."""

from collections.abc import Iterator
from dataclasses import dataclass

from supervisor.escape import lock_one, lock_two, surroundings
from supervisor.escape.attack import Attack, Moment, expect

__all__ = ["Planned", "plan_attempts"]

_TABLES = (surroundings.SURROUNDINGS, lock_one.CALLS, lock_two.CALLS)
_GROUPS = tuple(dict.fromkeys(group for table in _TABLES for group in table))


@dataclass(frozen=True, slots=True)
class Planned:
    """One attack at one moment, with the answers expected there."""

    group: str
    moment: Moment
    attack: Attack
    expected: tuple[str, ...]


def _before(group: str, isolation: str) -> Iterator[Planned]:
    for table in (surroundings.SURROUNDINGS, lock_one.CALLS):
        for attack in table.get(group, ()):
            yield Planned(group, "lock_one", attack, expect(attack, isolation))


def _after(group: str, isolation: str) -> Iterator[Planned]:
    for attack in lock_one.CALLS.get(group, ()):
        if attack.locked:
            yield Planned(group, "lock_two", attack, attack.locked)
    for attack in lock_two.CALLS.get(group, ()):
        yield Planned(group, "lock_two", attack, expect(attack, isolation))


def plan_attempts(isolation: str) -> tuple[Planned, ...]:
    """Return every attempt of a tier."""
    return tuple(planned for group in _GROUPS for planned in (*_before(group, isolation), *_after(group, isolation)))
