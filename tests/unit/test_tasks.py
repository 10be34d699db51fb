"""Work beside other work: what a cancellation, an error and an end do to it."""

import asyncio

import pytest

from supervisor.tasks import TaskSet, beside, carry_through, repeating


class Gate:
    """Work that ends when the test says so."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.ended = False
        self._fault = fault

    async def work(self) -> str:
        self.begun.set()
        await self.open.wait()
        self.ended = True
        if self._fault is not None:
            raise self._fault
        return "done"


class TestCarryThrough:
    async def test_the_result_is_returned(self) -> None:
        gate = Gate()
        gate.open.set()
        assert await carry_through(gate.work()) == "done"

    async def test_an_error_is_raised(self) -> None:
        gate = Gate(ValueError("broken"))
        gate.open.set()
        with pytest.raises(ValueError, match="broken"):
            await carry_through(gate.work())

    @pytest.mark.parametrize("fault", [None, ValueError("broken")])
    async def test_every_cancellation_waits_for_the_end_of_the_work(
        self, fault: Exception | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        gate = Gate(fault)
        caller = asyncio.create_task(carry_through(gate.work()))
        await gate.begun.wait()
        for _ in range(3):
            caller.cancel()
            await asyncio.sleep(0)
            assert not caller.done()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert gate.ended
        assert ("broken" in caplog.text) is (fault is not None)

    async def test_work_that_is_itself_cancelled_ends_the_wait(self) -> None:
        work = asyncio.create_task(Gate().work())
        caller = asyncio.create_task(carry_through(work))
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller


class TestTaskSet:
    async def test_a_task_leaves_the_set_when_it_ends(self) -> None:
        tasks, gate = TaskSet(), Gate()
        task = tasks.begin(gate.work())
        assert list(tasks) == [task]
        gate.open.set()
        await tasks.wait()
        assert len(tasks) == 0

    async def test_the_wait_includes_tasks_that_are_begun_meanwhile(self) -> None:
        tasks, second = TaskSet(), Gate()

        async def first() -> None:
            tasks.begin(second.work())
            second.open.set()

        tasks.begin(first())
        await tasks.wait()
        assert second.ended

    async def test_the_wait_is_given_up_after_its_time(self) -> None:
        tasks = TaskSet()
        tasks.begin(Gate().work())
        await tasks.wait(timeout_s=0.01)
        assert len(tasks) == 1
        await tasks.cancel()
        assert len(tasks) == 0

    async def test_the_wait_is_given_up_when_it_is_enough(self) -> None:
        tasks, enough = TaskSet(), asyncio.Event()
        tasks.begin(Gate().work())
        waiting = asyncio.create_task(tasks.wait(timeout_s=60, enough=enough))
        await asyncio.sleep(0)
        enough.set()
        await waiting
        assert len(tasks) == 1
        await tasks.cancel()

    async def test_the_wait_ends_with_the_last_task_although_it_is_not_enough(self) -> None:
        tasks, gate = TaskSet(), Gate()
        tasks.begin(gate.work())
        gate.open.set()
        await tasks.wait(timeout_s=60, enough=asyncio.Event())
        assert gate.ended


async def test_work_beside_a_block_ends_with_the_block() -> None:
    gate = Gate()
    async with beside(gate.work(), name="gate") as task:
        await gate.begun.wait()
    assert task.cancelled()
    assert not gate.ended


async def test_repeated_work_survives_its_errors(caplog: pytest.LogCaptureFixture) -> None:
    attempts: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        attempts.append(len(attempts))
        if len(attempts) == 3:
            enough.set()
        raise ValueError("broken")

    async with repeating(work, 0.001, "meter"):
        await enough.wait()
    assert len(attempts) >= 3
    assert "regular work failed: meter" in caplog.text
