"""The escape suite: runs every attack on one sandbox, several containers at a time, and reports the answers."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, Literal

from contracts.execution.escape_report import EscapeAttempt, EscapeReport
from supervisor.domain.policies.system_calls import WALKED
from supervisor.escape.attack import judge
from supervisor.escape.catalogue import Planned
from supervisor.escape.cell import Cell
from supervisor.escape.container_engine_facts import ContainerEngineFacts
from supervisor.escape.task import Numbered, observe
from supervisor.escape.walk import walk_calls

__all__ = ["run_suite"]

# Called with the number of finished steps and the number of all steps.
Tell = Callable[[int, int], None]

WALK_GROUP = "every system call"
WALK_NAME = f"numbers 0 to {WALKED[-1]}, except the calls that the policy allows"
ANSWER_LENGTH_MAX = 1000


def run_suite(
    cells: Sequence[Cell],
    image_environment: Sequence[str],
    facts: ContainerEngineFacts,
    planned: Sequence[Planned],
    tell: Tell = lambda _done, _total: None,
) -> EscapeReport:
    """Try every attack and return the report. The cells take turns, each with one container at a time.

    Raises:
        EngineError: ``escape_failed`` if an attack could not be tried.
    """
    cell_at = itertools.cycle(cells)
    with ThreadPoolExecutor(len(cells)) as pool:
        try:
            walks = {lock: pool.submit(walk_calls, next(cell_at), image_environment, lock) for lock in _LOCKS}
            trials = [
                pool.submit(observe, next(cell_at), image_environment, batch, lock) for batch, lock in _batches(planned)
            ]
            _await_all([*walks.values(), *trials], tell)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    observed = {index: answer for trial in trials for index, answer in trial.result().items()}
    return _build_report(cells[0], facts, planned, observed, {lock: walk.result() for lock, walk in walks.items()})


_LOCKS: tuple[Literal["one", "two"], ...] = ("one", "two")


def _batches(planned: Sequence[Planned]) -> Iterable[tuple[list[Numbered], Literal["one", "two"]]]:
    # Under lock one nearly every attack gets an answer, so one container serves for all of them. Under lock two nearly
    # every attack ends the process, so each attack has its own container.
    together = []
    # Attacks that may wait for an answer in vain go first.
    in_turn = sorted(enumerate(planned), key=lambda item: not item[1].attack.before.startswith("waiting"))
    for index, each in in_turn:
        numbered = Numbered(index, each.attack)
        if each.moment == "lock_one" and not each.attack.alone:
            together.append(numbered)
        else:
            yield [numbered], "one" if each.moment == "lock_one" else "two"
    if together:
        yield together, "one"


def _await_all(futures: Sequence["Future[Any]"], tell: Tell) -> None:
    for done, future in enumerate(as_completed(futures), 1):
        future.result()
        tell(done, len(futures))


def _build_report(
    cell: Cell,
    facts: ContainerEngineFacts,
    planned: Sequence[Planned],
    observed: dict[int, str],
    walked: dict[Literal["one", "two"], tuple[str, ...]],
) -> EscapeReport:
    plan, policies = cell.plan, cell.policies
    return EscapeReport(
        schema_version="weos.escape-report/1",
        engine_version=plan.engine_version,
        isolation=plan.isolation,
        backend=plan.backend,
        runtime_image=plan.runtime_image,
        policies=dict(policies.digests),
        kernel=facts.kernel,
        container_engine=facts.container_engine,
        runtime=facts.runtime,
        calls_walked=len(WALKED),
        calls_before=walked["one"],
        calls_after=walked["two"],
        attempts=(
            *(_build_attempt(each, observed[index]) for index, each in enumerate(planned)),
            _build_walk_attempt("lock_one", walked["one"], policies.seccomp.allowed),
            _build_walk_attempt("lock_two", walked["two"], policies.lockdown.allowed),
        ),
    )


def _build_attempt(planned: Planned, observed: str) -> EscapeAttempt:
    return EscapeAttempt(
        group=planned.group,
        name=planned.attack.name,
        moment=planned.moment,
        expected=planned.expected,
        observed=observed[:ANSWER_LENGTH_MAX],
        verdict=judge(planned.expected, observed),
        note=planned.attack.note if any(answer.startswith("allowed") for answer in planned.expected) else None,
    )


def _build_walk_attempt(
    moment: Literal["lock_one", "lock_two"], passed: tuple[str, ...], allowed: frozenset[str]
) -> EscapeAttempt:
    beyond = [name for name in passed if name not in allowed]
    observed = f"allowed: {' '.join(beyond)}" if beyond else "nothing"
    return EscapeAttempt(
        group=WALK_GROUP,
        name=WALK_NAME,
        moment=moment,
        expected=("nothing",),
        observed=observed[:ANSWER_LENGTH_MAX],
        verdict=judge(("nothing",), observed),
    )
