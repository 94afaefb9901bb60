"""Deadlines end what takes too long, and nothing else."""

import asyncio

import pytest

from llm_gateway.asgi.deadlines import SWEEP_S, Deadlines


async def _soon(value: str) -> str:
    await asyncio.sleep(0)
    return value


def test_gives_what_is_done_in_time() -> None:
    deadlines = Deadlines()
    assert asyncio.run(deadlines.within(30, _soon("done"))) == "done"


def test_passes_on_what_goes_wrong() -> None:
    async def fails() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(Deadlines().within(30, fails()))


def test_ends_what_takes_too_long_also_in_the_next_loop() -> None:
    deadlines = Deadlines()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(deadlines.within(0.01, asyncio.sleep(60)), timeout=30))


def test_leaves_its_task_fit_to_go_on() -> None:
    async def twice() -> str:
        deadlines = Deadlines()
        with pytest.raises(TimeoutError):
            await deadlines.within(0, asyncio.sleep(60))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(2 * SWEEP_S)
        return await deadlines.within(30, _soon("again"))

    assert asyncio.run(twice()) == "again"


def test_ends_only_those_whose_time_is_over() -> None:
    async def several() -> list[object]:
        deadlines = Deadlines()
        late = [deadlines.within(0.01 * number, asyncio.sleep(60)) for number in range(3)]
        in_time = [deadlines.within(60, asyncio.sleep(3 * SWEEP_S, result)) for result in "ab"]
        return list(await asyncio.gather(*late, *in_time, return_exceptions=True))

    *late, a, b = asyncio.run(several())
    assert all(isinstance(error, TimeoutError) for error in late)
    assert (a, b) == ("a", "b")


def test_a_cancelled_task_is_cancelled_even_at_its_deadline() -> None:
    async def cancelled() -> bool:
        deadlines = Deadlines()
        task = asyncio.create_task(deadlines.within(0, asyncio.sleep(60)))
        await asyncio.sleep(0)
        deadlines._sweep(asyncio.get_running_loop())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert asyncio.run(cancelled())
