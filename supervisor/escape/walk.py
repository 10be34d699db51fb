"""Finds out which system calls pass a lock, by making each of them."""

from collections.abc import Sequence
from typing import Literal

from supervisor.domain.errors import EngineError
from supervisor.domain.policies.system_calls import NUMBERS, name_of
from supervisor.escape.attack import ENDED, Attack
from supervisor.escape.cell import Cell
from supervisor.escape.task import Numbered, observe

__all__ = ["walk_calls"]

_WALK = Numbered(0, Attack("every number", "walk()"))
# These end the process that makes them, so each is tried in its own run. A call passed unless the filter refused it or
# ended the process.
_ENDING = {name: Numbered(0, Attack(name, f"call('{name}', 7)")) for name in ("exit", "exit_group", "rt_sigreturn")}
_REFUSED = {"EPERM", "ENOSYS", ENDED}


def walk_calls(cell: Cell, image_environment: Sequence[str], lock: Literal["one", "two"]) -> tuple[str, ...]:
    """Return the calls that pass, sorted by number.

    Under lock two, the walk runs after the runner's own code has loaded the model. It uses the image's own filter
    program with one change: where the real program ends the process, the changed one answers an error that no call
    gives. The attacks themselves show that the real program ends the process.

    Raises:
        EngineError: ``escape_failed`` if the walk did not finish.
    """
    lock_of_walk: Literal["one", "answering"] = "answering" if lock == "two" else "one"
    answer = observe(cell, image_environment, [_WALK], lock_of_walk, load_model=lock == "two")[0]
    try:
        passed = {int(number) for number in answer.split()}
    except ValueError as error:
        detail = f"the walk over all system calls under lock {lock} ended with {answer[:200]}"
        raise EngineError("escape_failed", detail) from error
    for name, attempt in _ENDING.items():
        if observe(cell, image_environment, [attempt], lock)[0] not in _REFUSED:
            passed.add(NUMBERS[name])
    return tuple(name_of(number) for number in sorted(passed))
