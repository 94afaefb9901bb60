"""Deadlines of what every request does: a timer each would cost more than what it guards."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# How often the open ones are looked at: a deadline may be met so much later.
SWEEP_S = 0.1


class Deadlines:
    """Ends coroutines that take too long, all with one timer of the running loop. For one thread."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[Any], float] = {}
        self._over: set[asyncio.Task[Any]] = set()
        self._swept: asyncio.AbstractEventLoop | None = None

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns.

        Raises:
            TimeoutError: if it takes longer than `seconds`, give or take `SWEEP_S`; it is cancelled then.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task that it can cancel")
        loop = asyncio.get_running_loop()
        self._open[task] = loop.time() + seconds
        if self._swept is not loop:
            self._swept = loop
            loop.call_later(SWEEP_S, self._sweep, loop)
        try:
            return await work
        except asyncio.CancelledError:
            # Somebody else may have cancelled it too; then that is what happened.
            if task in self._over and task.uncancel() <= 0:
                raise TimeoutError from None
            raise
        finally:
            self._open.pop(task, None)
            self._over.discard(task)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task in [task for task, ends_at in self._open.items() if ends_at <= now]:
            del self._open[task]
            self._over.add(task)
            task.cancel()
        if self._open:
            loop.call_later(SWEEP_S, self._sweep, loop)
        else:
            self._swept = None
