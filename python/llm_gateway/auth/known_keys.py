"""Personal keys that were looked up a while ago, and how new ones are."""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from llm_gateway.auth.personal_key_shelves import KeyShelves, Row
from llm_gateway.auth.personal_key_text import is_well_formed
from llm_gateway.auth.refusal import refusal
from llm_gateway.errors import Fault

_log = logging.getLogger("llm_gateway.auth")

_KEPT = 10_000
# A known key is looked up again: beside the requests after the first, before the next after the second.
_FRESH_S = 30.0
_STALE_S = 60.0
# A store that has failed is asked again this long after, by one request of each key.
_PAUSE_S = 1.0
_UNKNOWN_S = 10.0
# What of keys never seen here is asked of the store at once, and how many may wait for that.
_UNKNOWN_AT_ONCE = 64
_UNKNOWN_WAITING = 1_000
_USE_NOTED_EVERY_S = 60.0


class KnownKey:
    """A key that the store has, as of `confirmed_at`; times by a clock that only grows."""

    __slots__ = ("confirmed_at", "failed_at", "noted_at", "row")

    def __init__(self, row: Row, now: float) -> None:
        self.row = row
        self.confirmed_at = now
        self.failed_at: float | None = None
        self.noted_at: float | None = None


class KnownKeys:
    """Tells which key a credential is, by the SHA-256 of it: a key in use costs the store nothing.

    While the store does not answer, known keys go on for `local_for_s` after they were last confirmed. What
    the store does not know is remembered for a moment, and few look-ups of unknown keys go on at once: who
    makes keys up does not reach the store with all of them.
    """

    def __init__(
        self, shelves: KeyShelves, local_for_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shelves = shelves
        self._local_for_s = local_for_s
        self._clock = clock
        self._known: OrderedDict[bytes, KnownKey] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[KnownKey | Fault | None]] = {}
        self._introducing = 0
        self._turns = asyncio.Semaphore(_UNKNOWN_AT_ONCE)
        self._noting: set[asyncio.Task[None]] = set()

    @property
    def longest_s(self) -> float:
        """How long a key may go on being known here after it is gone from the store."""
        return max(_STALE_S, self._local_for_s)

    async def get(self, credential: bytes) -> KnownKey:
        """Returns the key. Raises: `unauthenticated` if there is none, `overloaded` if nobody can tell."""
        digest = hashlib.sha256(credential).digest()
        known = self._known.get(digest)
        if known is None:
            return await self._introduced(digest, credential)
        self._known.move_to_end(digest)
        age_s = self._clock() - known.confirmed_at
        if age_s < _FRESH_S:
            return known
        return await self._confirmed(digest, known, age_s)

    def used(self, known: KnownKey) -> None:
        """Notes, beside the requests and once a minute, that a key is in use."""
        now = self._clock()
        if known.noted_at is not None and now - known.noted_at < _USE_NOTED_EVERY_S:
            return
        known.noted_at = now
        task = asyncio.create_task(self._note(known.row))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    def forget(self, user: str) -> None:
        """Has the keys of a user looked up again when they are next used."""
        for digest in [digest for digest, known in self._known.items() if known.row.user == user]:
            del self._known[digest]

    async def stop(self) -> None:
        """Returns when nothing is being asked any more."""
        tasks = [*self._asking.values(), *self._noting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _introduced(self, digest: bytes, credential: bytes) -> KnownKey:
        if not is_well_formed(credential):
            raise refusal("not written as a personal key is")
        if self._clock() < self._unknown.get(digest, float("-inf")):
            raise refusal("a personal key that was unknown a moment ago")
        task = self._asking.get(digest)
        if task is None:
            if self._introducing >= _UNKNOWN_AT_ONCE + _UNKNOWN_WAITING:
                raise _overloaded("many unknown keys are being looked up", retry_after_s=1)
            self._introducing += 1
            task = self._ask(digest, self._found(credential))
            task.add_done_callback(self._one_less)
        # Others may wait for the same answer, whatever becomes of this request.
        answer = await asyncio.shield(task)
        if isinstance(answer, Fault):
            raise answer
        if answer is None:
            raise refusal("no such personal key")
        return answer

    async def _confirmed(self, digest: bytes, known: KnownKey, age_s: float) -> KnownKey:
        task = self._asking.get(digest)
        paused = known.failed_at is not None and self._clock() - known.failed_at < _PAUSE_S
        if task is None and not paused:
            task = self._ask(digest, self._shelves.row(known.row.user, known.row.id))
        if age_s < _STALE_S:
            return known
        # After a failure nobody waits: the next answer is for the requests after it.
        answer = await asyncio.shield(task) if task is not None and known.failed_at is None else None
        if isinstance(answer, KnownKey):
            return answer
        if known.failed_at is None and answer is None:
            raise refusal("a personal key that is no more")
        if age_s < self._local_for_s:
            return known
        raise _overloaded("the store of personal keys does not answer", retry_after_s=5)

    async def _found(self, credential: bytes) -> Row | None:
        async with self._turns:
            return await self._shelves.find(credential)

    def _ask(
        self, digest: bytes, look_up: Coroutine[Any, Any, Row | None]
    ) -> asyncio.Task[KnownKey | Fault | None]:
        task = asyncio.create_task(self._answer(digest, look_up))
        self._asking[digest] = task
        task.add_done_callback(lambda _: self._asking.pop(digest, None))
        return task

    async def _answer(
        self, digest: bytes, look_up: Coroutine[Any, Any, Row | None]
    ) -> KnownKey | Fault | None:
        asked_at = self._clock()
        try:
            row = await look_up
        except Fault as fault:
            if (known := self._known.get(digest)) is not None:
                known.failed_at = self._clock()
            return fault
        return self._learn(digest, row, asked_at)

    def _learn(self, digest: bytes, row: Row | None, asked_at: float) -> KnownKey | None:
        if row is None:
            self._known.pop(digest, None)
            self._unknown.pop(digest, None)
            self._unknown[digest] = self._clock() + _UNKNOWN_S
            if len(self._unknown) > _KEPT:
                self._unknown.popitem(last=False)
            return None
        known = self._known.get(digest)
        if known is None:
            known = self._known[digest] = KnownKey(row, asked_at)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        known.row, known.confirmed_at, known.failed_at = row, asked_at, None
        return known

    def _one_less(self, _: object) -> None:
        self._introducing -= 1

    async def _note(self, row: Row) -> None:
        try:
            await self._shelves.note_use(row)
        except Fault as fault:
            _log.debug("the use of a personal key was not noted: %s", fault.message)


def _overloaded(why: str, retry_after_s: int) -> Fault:
    return Fault("overloaded", f"{why}; try again in a few seconds", retry_after_s=retry_after_s)
