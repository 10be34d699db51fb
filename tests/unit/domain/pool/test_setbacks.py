"""How long a recipe waits after failures, and which of them are told."""

from supervisor.domain.pool.setbacks import Setback, Setbacks


def after(failures: int, code: str = "model_crashed") -> list[Setback]:
    """The setbacks of a recipe that fails whenever it may be tried."""
    setbacks, now_s, told = Setbacks(10), 0.0, []
    for _ in range(failures):
        setback = setbacks.add("a", code, now_s)
        assert setback is not None
        told.append(setback)
        now_s = setback.not_before_s
    return told


def test_each_failure_doubles_the_wait_up_to_ten_minutes() -> None:
    assert [each.wait_s for each in after(9)] == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert after(2_000)[-1].wait_s == 600


def test_a_container_engine_that_fails_is_asked_each_minute() -> None:
    assert [each.wait_s for each in after(5, "sandbox_failed")] == [10, 20, 40, 60, 60]


def test_ever_fewer_failures_are_told() -> None:
    assert [each.count for each in after(40) if each.is_told] == [1, 2, 4, 8, 16, 32]


def test_a_recipe_waits_and_others_do_not() -> None:
    setbacks = Setbacks(10)
    setbacks.add("a", "model_crashed", 0)
    assert [setbacks.may_try("a", now_s) for now_s in (0, 9.9, 10)] == [False, False, True]
    assert setbacks.may_try("b", 0)


def test_what_fails_beside_another_attempt_counts_once() -> None:
    setbacks = Setbacks(10)
    setbacks.add("a", "model_crashed", 0)
    assert setbacks.add("a", "model_crashed", 9.9) is None
    later = setbacks.add("a", "engine_unavailable", 10)
    assert later == Setback(2, "engine_unavailable", 20, 30)
    assert setbacks.count_by_code() == {"engine_unavailable": 1}


def test_a_success_and_a_recipe_that_nobody_wants_are_forgotten() -> None:
    setbacks = Setbacks(10)
    for recipe in ("a", "b", "c"):
        setbacks.add(recipe, "model_crashed", 0)
    assert setbacks.count_by_code() == {"model_crashed": 3}
    setbacks.forget("a")
    setbacks.forget("never failed")
    setbacks.keep({"c", "d"})
    assert setbacks.count_by_code() == {"model_crashed": 1}
    assert [setbacks.may_try(recipe, 1) for recipe in ("a", "b", "c")] == [True, True, False]
