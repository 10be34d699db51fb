"""Which system calls pass a lock, found by making every one of them."""

from collections.abc import Sequence
from typing import Literal

from supervisor.domain.errors import EngineError
from supervisor.escape.attack import ENDED, Attack
from supervisor.escape.cell import Cell
from supervisor.escape.system_calls import NUMBERS, name_of
from supervisor.escape.task import Numbered, observe

__all__ = ["walk_calls"]

_WALK = Numbered(0, Attack("every number", "walk()"))
# They end whoever makes them, so each is tried by itself: it passed unless the filter answered or ended it.
_ENDING = {name: Numbered(0, Attack(name, f"call('{name}', 7)")) for name in ("exit", "exit_group", "rt_sigreturn")}
_REFUSED = {"EPERM", "ENOSYS", ENDED}


def walk_calls(cell: Cell, image_environment: Sequence[str], lock: Literal["one", "two"]) -> tuple[str, ...]:
    """Return the calls that pass, by number.

    Under lock two the walk is made after the runner's own code has loaded the model, and asks the image's own program
    with one change: where it ends the process this one answers an error that no call gives. That the real one ends
    the process each of the attacks shows.

    Raises:
        EngineError: ``escape_failed``, the walk did not come to its end.
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
